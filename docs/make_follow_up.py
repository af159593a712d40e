"""Draw the guide's figure of one child over time, from invented bone ages.

Reads   nothing
Writes  docs/pictures/follow_up.png

    python -m docs.make_follow_up
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage import cli
from boneage.layout import REPOSITORY
from boneage.prediction.record import Prediction
from boneage.prediction.reference import read_reference
from boneage.reporting import follow_up

EXAMPLE = REPOSITORY / "docs" / "guide" / "invented_reference.csv"
AGES_MONTHS = (74, 87, 98, 111, 122)
BONE_AGES_MONTHS = (58, 70, 88, 98, 116)
HALF_WIDTH_MONTHS = 18


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "follow_up.png"
    """File to write."""


def main(options: Options) -> None:
    """Draw the figure that predict.py --follow-up writes for such a child."""
    nothing = np.zeros((0, 0), np.uint8)
    predictions = [
        Prediction(
            file=f"radiograph_{number}.png",
            sex="male",
            bone_age_months=bone_age,
            lower_months=bone_age - HALF_WIDTH_MONTHS,
            upper_months=bone_age + HALF_WIDTH_MONTHS,
            coverage=0.9,
            warnings=(),
            months_by_run={},
            calibration_group="",
            radiograph=nothing,
            mask=nothing,
            explanations={},
        ).with_child(age, "invented")
        for number, (age, bone_age) in enumerate(
            zip(AGES_MONTHS, BONE_AGES_MONTHS, strict=True), 1
        )
    ]
    children, _ = follow_up.follow_ups(predictions)
    with tempfile.TemporaryDirectory() as name:
        follow_up.write(Path(name), children, read_reference(EXAMPLE))
        (Path(name) / "child_1.png").replace(options.out)
    cli.summary(*follow_up.summary_lines(children), wrote=options.out)


if __name__ == "__main__":
    cli.run(main, Options)
