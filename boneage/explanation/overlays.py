"""An activation map over its hand."""

import numpy as np

OLDER_RGB, YOUNGER_RGB = (255, 140, 0), (64, 160, 255)
"""Of equal lightness on a dark radiograph; orange and blue differ to every eye."""
MOST_OPAQUE = 0.7
"""Bone structure still shows through the strongest colour."""


def overlay(hand: np.ndarray, deviation: np.ndarray, limit_months: float) -> np.ndarray:
    """Colour a hand where it looks older or younger than its prediction.

    Orange: the region alone would give a higher age than the whole hand, blue: a lower
    one; the stronger the opacity, the greater the difference. Neutral regions stay
    grey, so that the bone is seen where nothing is said. A sequential map of the
    absolute contribution would hide that regions disagree, and a rainbow would show
    edges that are not there.

    Args:
        hand: (row, column) uint8.
        deviation: (row, column) float32, months; the map less its mean, see
            `activation_maps.deviations`.
        limit_months: where opacity ends; the same for all hands shown together.

    Returns:
        (row, column, 3) uint8, RGB.
    """
    share = np.clip(np.abs(deviation) / limit_months, 0, 1)[..., np.newaxis]
    colour = np.where(deviation[..., np.newaxis] > 0, OLDER_RGB, YOUNGER_RGB)
    opacity = MOST_OPAQUE * share
    mixed = hand[..., np.newaxis] * (1 - opacity) + colour * opacity
    return np.round(mixed).astype(np.uint8)


def colour_limit(deviations: np.ndarray) -> float:
    """A round number of months, at least 0.1, that 98 % of the cells stay below.

    deviations: (N, row, column), months.
    """
    reach = max(float(np.quantile(np.abs(deviations), 0.98)), 0.1)
    power = 10.0 ** np.floor(np.log10(reach) + 1e-9)
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(next(step * power for step in steps if step * power >= reach * 0.999))


def colour_bar(width: int, height: int) -> np.ndarray:
    """From younger to older as `overlay` paints mid-grey, (height, width, 3) RGB."""
    deviation = np.linspace(-1, 1, width, dtype=np.float32)
    row = overlay(np.full((1, width), 90, np.uint8), deviation[np.newaxis], 1.0)
    return np.repeat(row, height, axis=0)
