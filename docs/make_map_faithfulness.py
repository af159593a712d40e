"""Compare activation maps with the known growth plates of simulated hands.

Reads   the demo's files (make demo)
Writes  docs/pictures/map_faithfulness.png

    python -m docs.make_map_faithfulness --data demo/data --models demo/models
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boneage import cli
from boneage.explanation import faithfulness, saliency
from boneage.explanation.activation_maps import DISPLAY_PX, Explainer
from boneage.layout import REPOSITORY
from boneage.regression import dataset
from boneage.regression.run_folder import Run
from experiments import bone_regions
from experiments.map_faithfulness import ATTENTION, SIZE, DeletionTest

SHARES = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6])
WORDS = {
    "deleted": "the most attended places blurred",
    "inserted": "only these shown, the rest blurred",
}


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Which network, how many hands, and where the picture goes."""

    paths: cli.Paths
    run: str = "efficientnet_lite0_all_cam"
    """Run whose maps are tested."""
    shown: int = 3
    """Hands in the picture, spread over the ages of the test part."""
    out: Path = REPOSITORY / "docs" / "pictures" / "map_faithfulness.png"
    """File to write."""


def main(options: Options) -> None:
    """Draw a few hands, and the curves of the whole test part."""
    hands, _ = dataset.select_hands(options.layout, "test")
    explainer = Explainer(Run(options.layout.regression / options.run).open_network())
    maps = saliency.map_hands(
        saliency.MAPS["exact"], explainer, hands, description=options.run
    )
    attention = maps._replace(values=ATTENTION[SIZE](maps.values))
    regions = bone_regions.phantom_bones(options.layout, hands)
    test = DeletionTest(explainer, hands, batch_size=16)
    own, another = (test.curves(attention, SHARES, shift) for shift in (0, 1))

    figure = Figure(figsize=(13.5, 2.9), layout="constrained")
    *pictures, deleted, inserted = figure.subplots(1, options.shown + len(WORDS))
    order = np.argsort(hands.cohort.bone_age_months)
    chosen = order[np.linspace(0, len(order) - 1, options.shown + 2).astype(int)[1:-1]]
    for axes, number in zip(pictures, chosen, strict=True):
        hand = hands.image(number, DISPLAY_PX)
        shown = attention.grid.upsample(attention.values[number])
        draw_hand(axes, hand, shown, regions[number])
    for axes, way in ((deleted, "deleted"), (inserted, "inserted")):
        draw_curves(axes, WORDS[way], own[way], another[way])
    figure.savefig(options.out, dpi=100)
    cli.summary(f"{len(hands)} hands of {options.run}", wrote=options.out)


def draw_hand(
    axes: Axes, hand: np.ndarray, attention: np.ndarray, region: np.ndarray
) -> None:
    """Attention over the hand, growth plates and carpals outlined."""
    on_hand = attention * (hand > 0)
    axes.imshow(hand, cmap="gray")
    axes.imshow(on_hand, cmap="inferno", alpha=0.55)
    axes.contour(region, levels=[0.5], colors="cyan", linewidths=0.8)
    there = region & (hand > 0)
    share, area = (
        faithfulness.share_inside(values[None], there[None])[0]
        for values in (on_hand, (hand > 0).astype(float))
    )
    axes.set_title(f"{share:.0%} of attention on {area:.0%} of hand", fontsize=9)
    axes.set_axis_off()


def draw_curves(axes: Axes, title: str, own: np.ndarray, another: np.ndarray) -> None:
    """How far predictions move, by their own maps and by those of other hands.

    own, another: (hand, share), months.
    """
    for months, label, colour in (
        (own, "own map", "tab:orange"),
        (another, "another hand's map", "grey"),
    ):
        axes.plot(SHARES * 100, months.mean(axis=0), color=colour, label=label)
    axes.set_xlabel("% of the image")
    axes.set_ylabel("prediction moves, months")
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


if __name__ == "__main__":
    cli.run(main, Options)
