"""Draw the README's diagram of the pipeline.

Reads   nothing
Writes  docs/pictures/pipeline.png

    python -m docs.make_pipeline
"""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from boneage import cli
from boneage.layout import REPOSITORY

FILES, PERSON, RESULT = "#E8EEF4", "#FCE8D2", "#DDEEDF"
BOXES = {
    "radiographs": (0, 1, "0: radiographs\nand ages", FILES),
    "coarse": (1, 1, "1: coarse\nmasks", FILES),
    "committee": (2, 1, "2: committee\nof U-Nets", FILES),
    "person": (2, 0, "person,\nannotating", PERSON),
    "hands": (3, 1, "3: masks and\nenhanced hands", FILES),
    "networks": (4, 1, "4: bone-age\nnetworks", FILES),
    "statistics": (5, 1.7, "5: errors with\nintervals", RESULT),
    "maps": (5, 1, "6: activation\nmaps", RESULT),
    "prediction": (5, 0.3, "predict.py:\nage, interval, page", RESULT),
}
"""Name -> column, row, words, colour."""
ARROWS = (
    ("radiographs", "coarse"),
    ("coarse", "committee"),
    ("committee", "hands"),
    ("hands", "networks"),
    ("networks", "statistics"),
    ("networks", "maps"),
    ("networks", "prediction"),
)
WIDTH, HEIGHT, SPACING = 1.3, 0.5, 1.85


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "pipeline.png"
    """File to write."""


def main(options: Options) -> None:
    """Draw a box for what each numbered step makes, and arrows between them."""
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-0.75, 5 * SPACING + 0.75), ylim=(-0.32, 2.05))
    axes.set_axis_off()
    for column, row, words, colour in BOXES.values():
        x, y = column * SPACING, row
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        style = "round,pad=0,rounding_size=0.08"
        axes.add_patch(
            FancyBboxPatch(corner, WIDTH, HEIGHT, style, fc=colour, ec="#667788")
        )
        axes.text(x, y, words, ha="center", va="center", size=9)
    for start, end in ARROWS:
        first, last = BOXES[start], BOXES[end]
        begin = (first[0] * SPACING + WIDTH / 2, first[1])
        arrow(axes, begin, (last[0] * SPACING - WIDTH / 2, last[1]))
    middle, top, bottom = 2 * SPACING, 1 - HEIGHT / 2, HEIGHT / 2
    arrow(axes, (middle - 0.15, top), (middle - 0.15, bottom))
    arrow(axes, (middle + 0.15, bottom), (middle + 0.15, top))
    axes.text(middle - 0.22, 0.5, "asks", ha="right", va="center", size=8)
    axes.text(middle + 0.22, 0.5, "masks", ha="left", va="center", size=8)
    figure.savefig(options.out, dpi=110)
    cli.summary(wrote=options.out)


def arrow(axes: Axes, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow between two points of the picture."""
    properties = {"arrowstyle": "-|>", "color": "#445566", "lw": 1.2}
    axes.annotate("", end, begin, arrowprops=properties)


if __name__ == "__main__":
    cli.run(main, Options)
