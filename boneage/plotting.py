"""The style of all figures, and saving them."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from boneage.io.files import atomic_write

# Okabe and Ito's colours, distinguishable with all common kinds of colour vision
SEXES = {
    "male": {"color": "#0072B2", "marker": "o"},
    "female": {"color": "#D55E00", "marker": "^"},
}


INK, FAINT = "#222222", "#8a8a8a"


STYLE = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "legend.frameon": False,
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
}
"""Matplotlib settings of all figures."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary)
