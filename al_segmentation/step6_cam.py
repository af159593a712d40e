"""Show where the networks look: activation maps over the hands, as pictures and a page.

Reads   models/regression/<run>/ with model.keras and predictions.csv, and
        cam_history.h5 where step4_regression_with_cam.py left one; data/segment_all.h5
Writes  models/regression/<run>/cam/: <id>.png, contact_sheet.png, index.html (opens in
        a browser from disk) and evolution.webm; overlays of an earlier call go

    python al_segmentation/step6_cam.py --limit 60
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from boneage import cli, hdf5
from boneage.cohort import Cohort
from boneage.files import InputError
from boneage.regression import runs

HANDS_BY = "al_segmentation/step3_gen_segmentation_with_enhance.py"


@dataclass(frozen=True)
class Options(cli.Paths):
    """Which networks, which hands."""

    run: str | None = None
    """A run's name; default: every finished run."""
    ids: tuple[int, ...] = ()
    """Only these hands, of either part."""
    part: Literal["test", "validation"] = "test"
    """The part that hands are chosen from."""
    limit: int = 60
    """Hands to show, chosen from the best to the worst predicted."""
    batch_size: int = 16
    """Hands a forward pass."""


def main(options: Options) -> None:
    """Explain each run and write its gallery."""
    hands = hdf5.read(options.layout.hands_h5, HANDS_BY)
    for run in runs.chosen(options.layout.regression, options.run):
        explain(run, hands, options)


def explain(run: runs.Run, hands: hdf5.Packed, options: Options) -> None:
    """Write the gallery of one run."""
    from boneage.explanation import activation_maps, report

