"""Run every benchmark and print one table of times in the same run.

    python -m benchmarks
    python -m benchmarks --only training_speed --rounds 11

Everything is simulated or noise, so that nothing has to be brought. Nothing else should
run on the machine; the ratios bear it better than the times.
"""

import importlib
import os
import time
from dataclasses import dataclass

import tyro

from benchmarks.timing import HEADER, Size
from boneage.errors import InputError

MODULES = (
    *("coarse", "images", "committee_speed", "batches", "training_speed"),
    *("backbone_speed", "reading"),
    *("clients", "memory", "starting", "annotator"),
)


@dataclass(frozen=True)
class Options(Size):
    """What is measured, and how often."""

    only: tuple[str, ...] = MODULES
    """Which benchmarks."""


def main(options: Options) -> None:
    """Print the table: ours, the baseline, the floor, ratios and goals."""
    unknown = [name for name in options.only if name not in MODULES]
    if unknown:
        names = ", ".join(MODULES)
        raise InputError(f"--only must name some of {names} (got {unknown[0]})")
    rounds = 1 if options.quick else options.rounds
    size = Size(options.quick, rounds, options.radiographs)
    # as the scripts: TensorFlow's warnings are worth reading, its notes are not
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    print(HEADER)
    start = time.monotonic()
    for name in options.only:
        for row in importlib.import_module(f"benchmarks.{name}").compare(size):
            print("\n".join(row.lines()), flush=True)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
