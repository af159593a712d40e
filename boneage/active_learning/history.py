"""history.csv of the committee: a row an epoch."""

from pathlib import Path

from boneage.io.files import atomic_write
from boneage.layout import HISTORY_CSV

COLUMNS = (
    *("epoch", "training_pairs", "pool", "asked", "pool_score"),
    *("loss", "test_dice", "seconds"),
)
"""pool_score: the measure's mean over the pool; empty where nobody is asked."""


def write(folder: Path, rows: list[dict]) -> None:
    """Write all rows, atomically; what a row does not have stays empty."""
    with atomic_write(folder / HISTORY_CSV) as temporary, temporary.open("w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for row in rows:
            cells = ("" if row.get(n) is None else str(row[n]) for n in COLUMNS)
            file.write(",".join(cells) + "\n")
