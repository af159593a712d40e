"""Find the hand that a radiograph shows: turned, tilted, as a negative, one of two.

The committee learned from upright positives. Where it is uncertain, it looks
again at quarter turns and at the negative, and the most plausible hand wins.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from boneage.io.radiographs import Mask
from boneage.io.transforms import from_square
from boneage.segmentation import (
    dice,
    hand_images,
    hand_shape,
    image_quality,
    preprocessing,
)
from boneage.segmentation.compiled_committee import PredictingCommittee
from boneage.segmentation.hand_shape import HandShape
from boneage.segmentation.laterality import Side, laterality

UPRIGHT_DEGREES = 25.0
"""Tilts that are read as they are: 393 of 400 RSNA radiographs lie within."""
REMAINING_DEGREES = 10.0
"""Tilts that are left after a turn by an eighth, which blurs in any case."""
SURE = 0.04
"""One minus the Dice of the members. Below on 394 of 400 RSNA radiographs; above on 12
originals in 48 of 48 turns (90 to 270 degrees) and 48 of 48 negatives, but in 19 of 24
tilts of 45 degrees and 6 of 24 of 30: these need the fingers' direction."""
SECOND_HAND = 0.35
"""Least area of a further hand, as a share of the first one's."""
MARGIN = 0.12
"""Around a hand that is cut out of a larger radiograph, as a share of its longer
side."""


@dataclass(frozen=True)
class FoundHand:
    """A hand, upright and bone bright, as it is to be read.

    radiograph: (row, column) uint8 or uint16. mask: of its size, all 0 where nothing
    was found. disagreement: one minus the members' mean Dice. shape: what the mask
    looks like, None where it is too small. contrast: `image_quality.hand_contrast`.
    notes: what was done to the radiograph.
    """

    radiograph: np.ndarray
    mask: Mask
    disagreement: float
    shape: HandShape | None
    contrast: float
    notes: tuple[str, ...] = ()

    @property
    def side(self) -> Side | None:
        """Left or right, by the thumb."""
        return laterality(self.shape)


class _Look(NamedTuple):
    """What the committee makes of a radiograph that was turned, or inverted."""

    degrees: float
    is_negative: bool
    probabilities: np.ndarray
    disagreement: float
    shape: HandShape | None
    contrast: float

    @property
    def is_convincing(self) -> bool:
        """Whether there is no need to look any further."""
        return (
            self.shape is not None
            and 4 <= len(self.shape.angles) <= 6
            and abs(self.shape.tilt) <= UPRIGHT_DEGREES
            and self.disagreement < SURE
            and self.contrast > 0
        )

    @property
    def plausibility(self) -> float:
        """The higher the better; 0 at best."""
        if self.shape is None:
            return -np.inf
        fingers = len(self.shape.angles)
        tilt = abs(self.shape.tilt) if fingers else 180.0
        dark = 0.3 * (self.contrast < 0)
        return -(self.disagreement + 0.05 * abs(fingers - 5) + tilt / 500 + dark)


def find_hands(
    committee: PredictingCommittee, radiograph: np.ndarray
) -> list[FoundHand]:
    """Find the hands of a radiograph; the first is the one to read.

    That is the left one of two, and otherwise the larger. Where there is none, one
    with an empty mask is returned. Upright positives are looked at once.
    """
    look = _look(committee, radiograph, 0, False)
    notes: list[str] = []
    is_tilted = False
    if not look.is_convincing:
        best = _search(committee, radiograph, look)
        if best.is_negative:
            radiograph = image_quality.inverted(radiograph)
            notes.append("a negative, with dark bones: inverted before it was read")
        if best.degrees:
            radiograph = turned(radiograph, best.degrees)
            notes.append(_turn_note(best.degrees))
            is_tilted = best.degrees % 90 != 0
        if notes:
            look = _look(committee, radiograph, 0, False)
    windows = _hand_windows(look.probabilities.mean(axis=0), radiograph.shape)
    # a tilted frame makes a hand small: what lies around it goes
    if len(windows) < 2 and not (windows and is_tilted):
        return [_found(radiograph, look, tuple(notes))]
    hands = []
    for window in windows:
        part = np.ascontiguousarray(radiograph[window])
        hands.append(_found(part, _look(committee, part, 0, False), tuple(notes)))
    return sorted(hands, key=lambda hand: hand.side != "left")


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn clockwise, on a black ground that holds the whole image."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(image, -round(degrees / 90)))
    height, width = image.shape
    centre = (width - 1) / 2, (height - 1) / 2
    matrix = cv2.getRotationMatrix2D(centre, -degrees, 1)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = np.array([height * sine + width * cosine, height * cosine + width * sine])
    size = np.ceil(size).astype(int)
    matrix[:, 2] += (size - (width, height)) / 2
    return cv2.warpAffine(image, matrix, size.tolist(), flags=cv2.INTER_LINEAR)


def _search(
    committee: PredictingCommittee, radiograph: np.ndarray, first: _Look
) -> _Look:
    """The most plausible look at quarter turns, eighths and the negative."""
    # as small as members see it, and a little more
    small = image_quality.shrunk(radiograph, 2 * committee.size)
    best = first
    for turns in ((0, 90, 180, 270), (45, 135, 225, 315)):
        looks = [
            _look(committee, small, degrees, is_negative)
            for is_negative in (False, True)
            for degrees in turns
        ]
        best = max([best, *looks], key=lambda look: look.plausibility)
        if best.is_convincing:
            break
    # in doubt, as it is: odd hands and what is no hand stay what they are
    is_clear = first.shape is not None and best.plausibility > first.plausibility + 0.1
    if not best.is_convincing and not is_clear:
        best = first
    tilt = best.shape.tilt if best.shape is not None else 0.0
    # a quarter turn loses nothing, other turns blur a little; a hand that would be read
    # as it is must be read the same after a quarter turn
    is_oblique = best.degrees % 90 != 0
    if abs(tilt) > (REMAINING_DEGREES if is_oblique else UPRIGHT_DEGREES):
        upright = _look(committee, small, best.degrees - tilt, best.is_negative)
        best = max(best, upright, key=lambda look: look.plausibility)
    return best


def _look(
    committee: PredictingCommittee,
    radiograph: np.ndarray,
    degrees: float,
    is_negative: bool,
) -> _Look:
    seen = image_quality.inverted(radiograph) if is_negative else radiograph
    seen = turned(seen, degrees)
    image = preprocessing.prepare(seen, committee.size, committee.clip_limit)
    probabilities = committee.probabilities(image[np.newaxis], batch_size=1)
    small = image_quality.shrunk(seen, committee.size)
    mask = hand_images.committee_mask(probabilities[:, 0], small.shape)
    return _Look(
        degrees,
        is_negative,
        probabilities[:, 0],
        float(dice.pairwise_disagreement(probabilities)[0]),
        hand_shape.measure(mask),
        image_quality.hand_contrast(small, mask) if mask.any() else float("nan"),
    )


def _turn_note(degrees: float) -> str:
    degrees = (degrees + 180) % 360 - 180
    if abs(degrees) == 180:
        return "turned upside down before it was read"
    way = "clockwise" if degrees > 0 else "anticlockwise"
    return f"turned by {abs(degrees):.0f} degrees {way} before it was read"


def _found(radiograph: np.ndarray, look: _Look, notes: tuple[str, ...]) -> FoundHand:
    mask = hand_images.committee_mask(look.probabilities, radiograph.shape)
    return FoundHand(
        radiograph, mask, look.disagreement, look.shape, look.contrast, notes
    )


def _hand_windows(
    probability: np.ndarray, shape: tuple[int, int]
) -> list[tuple[slice, slice]]:
    """Rows and columns around all that looks like a hand, the largest first."""
    scale = len(probability) / max(shape)
    small = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    inside = (from_square(probability, small) > 0.5).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(inside)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    boxes = []
    for label in 1 + np.argsort(-areas) if count > 1 else ():
        if areas[label - 1] < SECOND_HAND * areas.max():
            break
        measured = hand_shape.measure(np.uint8(255) * (labels == label))
        if measured is not None and len(measured.angles) >= hand_shape.FEWEST_FINGERS:
            left, top, width, height = statistics[label, :4] / scale
            boxes.append(np.array([[top, top + height], [left, left + width]]))
    return [_window(box, boxes, shape) for box in boxes]


def _window(
    box: np.ndarray, boxes: list[np.ndarray], shape: tuple[int, int]
) -> tuple[slice, slice]:
    """One hand's part of the radiograph, as far as half way to the others.

    box, boxes: ((top, bottom), (left, right)), px.
    """
    margin = MARGIN * np.ptp(box, axis=1).max()
    slices = []
    for axis, ((low, high), size) in enumerate(zip(box, shape, strict=True)):
        start, end = max(0, low - margin), min(size, high + margin)
        for first, last in (other[axis] for other in boxes):
            if last <= low:
                start = max(start, (last + low) / 2)
            elif first >= high:
                end = min(end, (high + first) / 2)
        slices.append(slice(int(start), int(np.ceil(end))))
    return slices[0], slices[1]
