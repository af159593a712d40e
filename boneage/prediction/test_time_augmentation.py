"""Test-time augmentation: the same hand mirrored, slightly turned, slightly zoomed."""

from typing import NamedTuple

import cv2
import numpy as np

from boneage.errors import InputError


class View(NamedTuple):
    """A change of the hand's image. degrees: anticlockwise. scale: above 1 enlarges."""

    mirrored: bool = False
    degrees: float = 0.0
    scale: float = 1.0


# within what the networks were trained with, mirrored views beside the others, and no
# larger than the margin around the hand allows
VIEWS = (
    View(),
    View(mirrored=True),
    View(degrees=5),
    View(mirrored=True, degrees=-5),
    View(mirrored=True, degrees=5),
    View(degrees=-5),
    View(scale=0.95),
    View(mirrored=True, scale=0.95),
    View(scale=1.04),
    View(mirrored=True, scale=1.04),
)
"""The first view is the hand as it is; activation maps are made of it."""


def check_view_count(count: int) -> None:
    """Raise InputError unless there are so many views."""
    if not 1 <= count <= len(VIEWS):
        raise InputError(
            f"--views must be from 1 to {len(VIEWS)} (got {count}); 1 is the hand as "
            "it is"
        )


def make_views(image: np.ndarray, count: int, mirrored: bool = True) -> np.ndarray:
    """The first `count` views of a hand, (view, size, size) uint8.

    image: (size, size) uint8. mirrored: False for a network that was trained without
    flips: it gets the same views unmirrored, without repetition.
    """
    views = VIEWS[:count]
    if not mirrored:
        views = tuple(dict.fromkeys(view._replace(mirrored=False) for view in views))
    return np.stack([_render(image, view) for view in views])


def trained_with_flips(config: dict) -> bool:
    """Whether a run's training, by its config.json, mirrored hands."""
    settings = config["settings"]
    return settings["augmentation"] > 0 and settings["mirrored_share"] > 0


def _render(image: np.ndarray, view: View) -> np.ndarray:
    if view.mirrored:
        image = cv2.flip(image, 1)
    if (view.degrees, view.scale) == (0, 1):
        return image
    centre = (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), view.degrees, view.scale)
    return cv2.warpAffine(image, matrix, image.shape)


def prediction_column(count: int) -> str:
    """Column of predictions.csv with a run's mean prediction over `count` views."""
    return "predicted_months" if count == 1 else f"predicted_{count}_views_months"
