"""A map over its hand: colour where the hand looks older or younger."""

import numpy as np

OLDER_RGB, YOUNGER_RGB = (255, 140, 0), (64, 160, 255)
"""Equally light on a dark radiograph, and distinct in colour blindness."""
MOST_OPAQUE = 0.7
"""Opacity of the strongest colour, through which bone is still visible."""


def overlay(
    hand: np.ndarray, map_months: np.ndarray, limit_months: float
) -> np.ndarray:
    """Colour a hand where it looks older (orange) or younger (blue).

    The greater the value, the more opaque the colour; where a map is near 0 the hand
    stays grey. A sequential scale of the absolute value would hide that regions
    disagree, and a rainbow would show edges that are not there.

    Args:
        hand: (row, column) uint8.
        map_months: (row, column) float32, a map of `saliency`.
        limit_months: value of the strongest colour; equal for all hands that are shown
            together.

    Returns:
        (row, column, 3) uint8, RGB.
    """
    share = np.clip(np.abs(map_months) / limit_months, 0, 1)[..., np.newaxis]
    colour = np.where(map_months[..., np.newaxis] > 0, OLDER_RGB, YOUNGER_RGB)
    opacity = MOST_OPAQUE * share
    mixed = hand[..., np.newaxis] * (1 - opacity) + colour * opacity
    return np.round(mixed).astype(np.uint8)


def colour_limit(maps_months: np.ndarray) -> float:
    """A round number of months, at least 0.1, that 98 % of the cells do not exceed.

    maps_months: (N, row, column).
    """
    reach = max(float(np.quantile(np.abs(maps_months), 0.98)), 0.1)
    power = 10.0 ** np.floor(np.log10(reach) + 1e-9)
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(next(step * power for step in steps if step * power >= reach * 0.999))


def colour_bar(width: int, height: int) -> np.ndarray:
    """The colours of `overlay` from younger to older, (height, width, 3) uint8, RGB."""
    values = np.linspace(-1, 1, width, dtype=np.float32)
    row = overlay(np.full((1, width), 90, np.uint8), values[np.newaxis], 1.0)
    return np.repeat(row, height, axis=0)
