"""Draw the guide's comparison of readers, from invented readings.

Reads   nothing
Writes  docs/pictures/readers.png

    python -m docs.make_readers
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage import cli
from boneage.evaluation import reader_agreement
from boneage.evaluation.reader_agreement import ReaderSettings
from boneage.layout import REPOSITORY
from boneage.regression.settings import BootstrapSettings

RADIOGRAPHS, SEED = 120, 1
# reader -> bias and standard deviation of the errors, months
READERS = {"Dr A": (0, 7), "Dr B": (4, 8), "Dr C": (-2, 9)}
NETWORKS = {"network 1": (0, 5), "network 2": (5, 14)}


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "readers.png"
    """File to write."""


def main(options: Options) -> None:
    """Invent readings, compare them, keep the figure."""
    rng = np.random.default_rng(SEED)
    true = rng.uniform(40, 200, RADIOGRAPHS)
    columns = {
        name: true + rng.normal(bias, deviation, RADIOGRAPHS)
        for name, (bias, deviation) in (READERS | NETWORKS).items()
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [",".join(["id", *columns])]
        for number, months in enumerate(zip(*columns.values(), strict=True)):
            rows.append(",".join([str(number), *(f"{m:.0f}" for m in months)]))
        (folder / "readings.csv").write_text("\n".join(rows) + "\n")
        settings = ReaderSettings(folder / "readings.csv", tuple(NETWORKS))
        lines = reader_agreement.write(folder, settings, BootstrapSettings())
        (folder / "readers.png").replace(options.out)
    cli.summary(*lines, wrote=options.out)


if __name__ == "__main__":
    cli.run(main, Options)
