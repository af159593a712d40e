"""Draw the README's picture: what every step makes of three simulated radiographs.

Reads   the demo's files (make demo)
Writes  docs/strip.png

    python docs/make_strip.py --data demo/data --models demo/models
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from boneage import cli
from boneage.cohort import table
from boneage.explanation import activation_maps, overlays
from boneage.explanation.activation_maps import Explainer, explain_hands
from boneage.io import hdf5, radiographs, transforms
from boneage.layout import REPOSITORY
from boneage.regression.dataset import HandDataset
from boneage.regression.run_folder import Run

TITLES = ("radiograph", "coarse mask", "committee's mask", "hand", "activation map")


@dataclass(frozen=True)
class Options(cli.Paths):
    """What to show."""

    run: str = "xception_all_cam"
    """The network whose activation maps are shown."""
    ages_months: tuple[int, ...] = (24, 96, 180)
    """One test radiograph near each of these bone ages."""
    out: Path = REPOSITORY / "docs" / "strip.png"
    """Where to."""


def main(options: Options) -> None:
    """Draw a row for each radiograph."""
    layout = options.layout
    everyone, parts = table.split_cohort(layout)
    test = everyone.select(parts == "test")
    nearest = [
        np.abs(test.bone_age_months - age).argmin() for age in options.ages_months
    ]
    shown = test.select(np.isin(np.arange(len(test)), nearest))
    order = np.argsort(shown.bone_age_months)
    packed = hdf5.open_packed(layout.hands_h5, "make demo")
    explainer = Explainer(Run(layout.regression / options.run).load_model())
    hands = HandDataset(packed, packed.row_indices(shown.ids), shown)
    explanation = explain_hands(explainer, hands, batch_size=len(shown))
    deviations = activation_maps.centred_maps(explanation.maps)
    limit_months = overlays.colour_limit(deviations)

    figure = Figure(figsize=(10, 2.25 * len(order)), layout="constrained")
    grid = figure.subplots(len(order), len(TITLES), squeeze=False)
    for row, number in zip(grid, order, strict=True):
        radiograph_id = int(shown.ids[number])
        hand = hands.image(number, hdf5.HAND_PX)
        pictures = (
            radiographs.read(layout.radiograph(radiograph_id)),
            radiographs.read(layout.coarse_mask(radiograph_id)),
            radiographs.read(layout.mask(radiograph_id)),
            hand,
            overlays.overlay(
                hand, explainer.grid.upsample(deviations[number]), limit_months
            ),
        )
        for axes, picture in zip(row, pictures, strict=True):
            square = picture
            if picture.ndim == 2:
                square = transforms.pad_to_square(picture)
            axes.imshow(square, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
    for axes, title in zip(grid[0], TITLES, strict=True):
        axes.set_title(title, fontsize=11)
    figure.savefig(options.out, dpi=100)
    cli.summary(f"{len(order)} radiographs", wrote=options.out)


if __name__ == "__main__":
    cli.run(main, Options)
