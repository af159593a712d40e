"""Run every benchmark and print one table of times in the same run.

    python -m benchmarks

The radiographs are phantoms of an original's size, so that nothing has to be brought.
"""

from benchmarks import batches, coarse


def main() -> None:
    """Print the table: ours, the rival, their ratio, the floor, ours over the floor."""
    rows = [coarse.compare(), batches.compare()]
    print(
        f"{'work':<34}{'ours':>10}{'rival':>10}{'faster':>9}{'floor':>10}{'x floor':>9}"
    )
    for row in rows:
        print(
            f"{row.work:<34}{row.ours_s * 1e3:>8.1f}ms{row.rival_s * 1e3:>8.1f}ms"
            f"{row.rival_s / row.ours_s:>9.1f}x{row.floor_s * 1e3:>8.1f}ms"
            f"{row.ours_s / row.floor_s:>9.2f}x"
        )
        print(f"    rival: {row.rival}; floor: {row.floor}")


if __name__ == "__main__":
    main()
