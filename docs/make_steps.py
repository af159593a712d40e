"""Draw the README's first picture: what each step makes of three simulated radiographs.

Reads   models/pretrained
Writes  docs/pictures/steps.png

    python -m docs.make_steps
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from boneage import cli, predict_bone_age
from boneage.explanation import overlays
from boneage.io import radiographs, transforms
from boneage.layout import REPOSITORY, Layout
from boneage.phantoms import radiograph
from boneage.segmentation import coarse

TITLES = ("radiograph", "coarse mask", "committee's mask", "hand", "what moves the age")
SEEDS = {24: 1, 60: 2, 180: 7}
"""Bone age in months -> seed of the phantom."""
RADIOGRAPH_PX = 1400


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "steps.png"
    """File to write."""


def main(options: Options) -> None:
    """Draw one row for each radiograph."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for age_months, seed in SEEDS.items():
            rng = np.random.default_rng(seed)
            phantom = radiograph.simulate(rng, age_months, True, RADIOGRAPH_PX)
            files.append(Path(folder) / f"{age_months}.png")
            radiographs.write(files[-1], phantom.radiograph)
        models = Layout(models=REPOSITORY / "models").pretrained
        predictions = predict_bone_age(files, "male", models=models, maps="occlusion")

    figure = Figure(figsize=(10, 2.05 * len(files)), layout="constrained")
    grid = figure.subplots(len(files), len(TITLES), squeeze=False)
    for row, prediction in zip(grid, predictions, strict=True):
        explanations = list(prediction.explanations.values())
        hand = explanations[0].hand
        mean_map = np.mean([shown.map_months for shown in explanations], axis=0)
        limit_months = overlays.colour_limit(mean_map)
        pictures = (
            transforms.pad_to_square(prediction.radiograph),
            transforms.pad_to_square(coarse.coarse_mask(prediction.radiograph)),
            transforms.pad_to_square(prediction.mask),
            hand,
            overlays.overlay(hand, mean_map, limit_months),
        )
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
    for axes, title in zip(grid[0], TITLES, strict=True):
        axes.set_title(title, fontsize=11)
    figure.savefig(options.out, dpi=100)
    cli.summary(f"{len(files)} radiographs", wrote=options.out)


if __name__ == "__main__":
    cli.run(main, Options)
