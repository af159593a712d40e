"""Make the README's report page: predict.py on one simulated radiograph.

Reads   models/pretrained
Writes  docs/pictures/report_page.png

    python -m docs.make_report_page
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from boneage import cli
from boneage.io import radiographs
from boneage.layout import REPOSITORY, Layout
from boneage.phantoms import radiograph

AGE_MONTHS, SEED, RADIOGRAPH_PX = 60, 2, 1400
MARGIN_PX = 60


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "report_page.png"
    """File to write."""


def main(options: Options) -> None:
    """Simulate a boy of five, read his hand, keep the page without its gap."""
    rng = np.random.default_rng(SEED)
    phantom = radiograph.simulate(rng, AGE_MONTHS, True, RADIOGRAPH_PX)
    models = Layout(models=REPOSITORY / "models").pretrained
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        radiographs.write(folder / "hand.png", phantom.radiograph)
        command = [sys.executable, REPOSITORY / "predict.py", folder / "hand.png"]
        command += ["--sex", "male", "--report", folder / "pages", "--models", models]
        subprocess.run(command, check=True)
        page = cv2.imread(str(folder / "pages" / "hand_bone_age.png"))
    cv2.imwrite(str(options.out), without_gap(page))
    cli.summary(wrote=options.out)


def without_gap(page: np.ndarray) -> np.ndarray:
    """The page (row, column, channel) without the longest run of white rows."""
    rows = np.flatnonzero((page < 255).any(axis=(1, 2)))
    gaps = np.diff(rows)
    widest = int(gaps.argmax())
    if gaps[widest] <= MARGIN_PX:
        return page
    upper = page[: rows[widest] + MARGIN_PX // 2]
    lower = page[rows[widest + 1] - MARGIN_PX // 2 :]
    return np.vstack([upper, lower])


if __name__ == "__main__":
    cli.run(main, Options)
