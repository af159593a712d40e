"""Palm, fingers and forearm of a mask, and what of a whole hand is missing."""

from dataclasses import dataclass

import cv2
import numpy as np

from boneage.io.radiographs import Mask

WORKING_SIZE_PX = 256
NEAREST_TIP, SMALLEST_FINGER = 1.5, 0.25
"""Distance of a fingertip from the palm's centre, and area of a finger, in palm radii
and their squares."""
PALM_OPENING = 0.55
"""Of the palm's radius: an opening with this disk takes off the fingers alone."""

# Masks of the committee stop short of the border, so nearness is counted as contact.
# Distances to the border are shares of the longer side, lengths are palm radii. Beyond
# these limits lie, of the committee's masks of 31 validation radiographs that were cut:
# 122 of 124 with fingers shortened by 15 to 100 %. Of 290 masks of validation
# radiographs, those whose forearm ends 1 radius below the palm's centre (281), 1.15
# (226 of 286) or 1.3 (15 of 283), which moves answers by less than 2 months; of 1,000
# as they are, 2. Of 12 originals, 43 of 48 cut as near at a side, none at 1.5.
TOP_GAP, LONGEST_TOP, TOP_DEPTH = 0.06, 0.9, 0.2
"""A hand's top, the highest fifth of a palm radius, is one fingertip wide, or two."""
BORDER_GAP, LONGEST_AT_BORDER = 0.016, 0.75
"""Where the mask goes as far as the border, less is enough."""
SIDE_GAP, LONGEST_SIDE = 0.02, 1.8
SHORTEST_FOREARM = 1.25
FEWEST_FINGERS = 3
CLOSED = 2.0
"""Fingers that touch are one broad part, which goes on above the palm's centre for more
palm radii: of 8 simulated hands with closed fingers all, of 174 hands without fingers
(cut off above the palm) none, of 168 with a fifth of their fingers none."""


@dataclass(frozen=True)
class HandShape:
    """What a mask looks like, of a hand at any angle.

    small: the mask at the working size. radius: of the palm, the largest circle inside,
    px of `small`. angles: directions of the fingertips from the palm's centre,
    ascending, degrees clockwise from straight up. forearm: how far the mask goes on
    against the fingers' mean direction, palm radii. reaches_border: whether it goes on
    to the border there. breadth: how far up from the palm's centre it is broader than a
    finger, palm radii.
    """

    small: Mask
    radius: float
    angles: np.ndarray
    forearm: float
    reaches_border: bool
    breadth: float

    @property
    def tilt(self) -> float:
        """Mean direction of the fingers, -180 to 180 degrees; NaN without any."""
        return _mean_direction(self.angles)


def measure(mask: Mask) -> HandShape | None:
    """Measure a mask; None where it is too small to have fingers."""
    small = _shrunk(mask)
    # the forearm may leave the image, the distance to the border is not its width
    hand = cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(hand, cv2.DIST_L2, 5)
    radius = float(distance.max())
    if radius < 4:  # px: nothing with fingers
        return None
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    side = 2 * round(PALM_OPENING * radius) + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    palm = cv2.dilate(cv2.morphologyEx(hand, cv2.MORPH_OPEN, disk), np.ones((3, 3)))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(
        cv2.subtract(hand, palm)
    )
    angles = []
    for label in range(1, count):
        rows, columns = np.nonzero(labels == label)
        away = np.hypot(rows - row, columns - column)
        tip = int(away.argmax())
        area = statistics[label, cv2.CC_STAT_AREA]
        if area >= SMALLEST_FINGER * radius**2 and away[tip] > NEAREST_TIP * radius:
            angles.append(np.arctan2(columns[tip] - column, row - rows[tip]))
    fingers = np.sort(np.degrees(angles))
    forearm, reaches_border = _forearm(hand, (row, column), _mean_direction(fingers))
    breadth = _rows_above(palm, (row, column)) / radius
    return HandShape(small, radius, fingers, forearm / radius, reaches_border, breadth)


def missing_parts(shape: HandShape) -> list[str]:
    """What an upright hand lacks; an empty list for a whole one.

    shape: of a mask with the fingers upwards.
    """
    small, radius = shape.small, shape.radius
    top, top_px = _end(small, TOP_DEPTH * radius)
    missing = []
    at_border = top <= BORDER_GAP * WORKING_SIZE_PX
    longest = LONGEST_AT_BORDER if at_border else LONGEST_TOP
    if top <= TOP_GAP * WORKING_SIZE_PX and top_px > longest * radius:
        missing.append("fingers are cut off")
    elif len(shape.angles) < FEWEST_FINGERS and shape.breadth < CLOSED:
        missing.append(f"fewer than {FEWEST_FINGERS} fingers")
    for side in (small.T, small.T[::-1]):
        gap, length_px = _end(side, TOP_DEPTH * radius)
        if gap <= SIDE_GAP * WORKING_SIZE_PX and length_px > LONGEST_SIDE * radius:
            missing.append("a side is cut off")
    if shape.reaches_border and shape.forearm < SHORTEST_FOREARM:
        missing.append("the wrist is cut off")
    return missing


def _shrunk(mask: Mask) -> Mask:
    """The mask with its longer side at the working size."""
    scale = WORKING_SIZE_PX / max(mask.shape)
    size = [max(1, round(side * scale)) for side in mask.shape[::-1]]
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return np.where(small > 127, 255, 0).astype(np.uint8)


def _end(hand: Mask, depth_px: float) -> tuple[int, int]:
    """Rows above the hand, and columns that it covers in its first rows."""
    first = int(np.argmax(hand.any(axis=1)))
    last = first + max(1, round(depth_px))
    return first, int(hand[first:last].any(axis=0).sum())


def _rows_above(palm: Mask, centre: tuple[int, int]) -> int:
    """How far the palm goes up, within 45 degrees of its centre, px."""
    rows, columns = np.nonzero(palm)
    up = centre[0] - rows
    return int(up[abs(columns - centre[1]) <= up].max(initial=0))


def _mean_direction(degrees: np.ndarray) -> float:
    if len(degrees) == 0:
        return float("nan")
    x, y = np.sin(np.radians(degrees)).sum(), np.cos(np.radians(degrees)).sum()
    return float(np.degrees(np.arctan2(x, y)))


def _forearm(framed: Mask, centre: tuple[int, int], tilt: float) -> tuple[float, bool]:
    """How far the hand goes on below the palm, px, and whether to the border.

    framed: with a black frame of 2 px.
    """
    if np.isnan(tilt):
        return 0.0, False
    rows, columns = np.nonzero(framed)
    up, right = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    along = (rows - centre[0]) * up - (columns - centre[1]) * right
    across = (rows - centre[0]) * right + (columns - centre[1]) * up
    below = (along > 0) & (abs(across) < along)
    if not below.any():
        return 0.0, False
    rows, columns = rows[below], columns[below]
    margin = 2 + TOP_GAP * WORKING_SIZE_PX / 2
    bottom, end = framed.shape
    gap = min(rows.min(), columns.min(), bottom - rows.max(), end - columns.max())
    return float(along[below].max()), bool(gap <= margin)
