"""Make the guide's picture of both ages: the head of a page on a simulated radiograph.

Reads   models/pretrained, docs/guide/invented_reference.csv
Writes  docs/pictures/chronological_age.png

    python -m docs.make_chronological_age
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

BONE_AGE_MONTHS, CHRONOLOGICAL_AGE = 96, "12y3m"
SEED, RADIOGRAPH_PX = 4, 1400
HEAD_SHARE = 0.26
"""Of the page: what stands above the pictures."""


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "chronological_age.png"
    """File to write."""


def main(options: Options) -> None:
    """Simulate a girl's hand, read it with her age, keep the head of the page."""
    rng = np.random.default_rng(SEED)
    phantom = radiograph.simulate(rng, BONE_AGE_MONTHS, False, RADIOGRAPH_PX)
    reference = REPOSITORY / "docs" / "guide" / "invented_reference.csv"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        radiographs.write(folder / "hand.png", phantom.radiograph)
        command = [sys.executable, REPOSITORY / "predict.py", folder / "hand.png"]
        command += ["--sex", "female", "--chronological-age", CHRONOLOGICAL_AGE]
        command += ["--reference", reference, "--report", folder / "pages"]
        command += ["--models", Layout(models=REPOSITORY / "models").pretrained]
        subprocess.run(command, check=True)
        page = cv2.imread(str(folder / "pages" / "hand_bone_age.png"))
    cv2.imwrite(str(options.out), page[: round(HEAD_SHARE * len(page))])
    cli.summary(wrote=options.out)


if __name__ == "__main__":
    cli.run(main, Options)
