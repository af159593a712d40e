"""Whether a radiograph is a negative, and whether its hand is large and sharp enough.

`python -m experiments.input_limits` derives the limits, from shrunk and blurred
validation hands, and checks them on others. Those below are older: from 53 and 40 hands
at half of their original size. 24 validation hands read by both pretrained networks
agree with the warnings; refusals could begin lower (docs/results/stress.md).
"""

from typing import NamedTuple

import cv2
import numpy as np

from boneage.io.radiographs import Mask

WORKING_SIZE_PX = 512
"""Length of the hand when its sharpness is measured: what regressors see is smaller."""

BLURRED, HOPELESSLY_BLURRED = 0.03, 0.0225
"""Sharpness below which predictions move by 6 months, and by 24, on average;
`python -m experiments.input_limits`."""
SMALL_PX, HOPELESSLY_SMALL_PX = 95, 68
"""Lengths of a hand below which they do; the same command."""


BLOCK_PX = 8
"""Side of the blocks that JPEG compresses one by one."""
BLOCKY = 4.0
"""Blockiness of coarse compression. 84 validation radiographs at half size, which were
compressed as WebP, reach 2.8, 300 at 299 px 3.5; of 8 originals that were compressed as
JPEG, those of quality 50 reach 3.3, and seven of quality 10 lie above 8, all of 5 above
6.9."""


class Detail(NamedTuple):
    """Whether a hand shows what bone age is read from.

    reason: what is wrong, empty if nothing. is_hopeless: whether an answer would tell
    nothing.
    """

    reason: str = ""
    is_hopeless: bool = False


def hand_contrast(radiograph: np.ndarray, mask: Mask) -> float:
    """How much brighter the hand is than the ground beside it, -1 to 1.

    radiograph: of the mask's proportions, of any size.
    Medians of the eroded mask and of a ring around it, in units of the radiograph's
    grey levels from the 1st to the 99th percentile. Of 3,000 RSNA radiographs under
    the committee's masks the least is 0.13. NaN where mask or ring is empty.
    """
    small = np.uint8(255) * (shrunk(mask, 256) > 127)
    grey = cv2.resize(radiograph, small.shape[::-1], interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(small, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    radius = float(cv2.distanceTransform(framed, cv2.DIST_L2, 5).max())
    inside = cv2.erode(small, _disk(max(2, 0.15 * radius)))
    gap = max(2.0, 0.1 * radius)
    ring = cv2.dilate(small, _disk(3 * gap)) & ~cv2.dilate(small, _disk(gap))
    if not inside.any() or not ring.any():
        return float("nan")
    low, high = np.percentile(grey, [1, 99])
    difference = np.median(grey[inside > 0]) - np.median(grey[ring > 0])
    return float(np.clip(difference / max(high - low, 1e-6), -1, 1))


def is_negative(radiograph: np.ndarray, mask: Mask) -> bool:
    """Whether the hand is darker than the ground beside it."""
    return hand_contrast(radiograph, mask) < 0


def shrunk(image: np.ndarray, longer_px: int) -> np.ndarray:
    """The image with its longer side at `longer_px` at most."""
    scale = min(1.0, longer_px / max(image.shape))
    size = [max(1, round(side * scale)) for side in image.shape[::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def inverted(radiograph: np.ndarray) -> np.ndarray:
    """The positive of a negative: (row, column) uint8 or uint16."""
    return np.iinfo(radiograph.dtype).max - radiograph


def check_detail(radiograph: np.ndarray, mask: Mask) -> Detail:
    """Whether a hand is large and sharp enough. mask: not empty."""
    length_px = hand_length_px(mask)
    if length_px < SMALL_PX:
        reason = f"the hand is {length_px} px long, {SMALL_PX} are needed"
        return Detail(reason, length_px < HOPELESSLY_SMALL_PX)
    sharp = sharpness(radiograph, mask)
    if np.isnan(sharp):
        return Detail("a faint image, its grey levels too few to show detail")
    if sharp < BLURRED:
        reason = f"a blurred or enlarged image, sharpness {sharp:.3f} of {BLURRED}"
        return Detail(reason, sharp < HOPELESSLY_BLURRED)
    blocks = blockiness(radiograph, mask)
    if blocks > BLOCKY:
        return Detail(f"coarsely compressed, blockiness {blocks:.1f} above {BLOCKY:g}")
    return Detail()


def hand_length_px(mask: Mask) -> int:
    """Longer side of the hand's bounding box in the radiograph's own pixels."""
    return max(cv2.boundingRect(mask)[2:])


def sharpness(radiograph: np.ndarray, mask: Mask) -> float:
    """Share of fine detail in the hand's grey levels, about 0 to 1.

    Deviation of what a Gaussian of 1/340 of the hand's length takes away, less what
    rounding to grey levels adds, over the deviation of the grey levels, well inside
    the mask. NaN for an empty mask, and for a faint image whose few grey levels would
    hide the detail.
    """
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        return float("nan")
    window = np.s_[top : top + height, left : left + width]
    scale = WORKING_SIZE_PX / max(width, height)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.resize(radiograph[window].astype(np.float32), size, interpolation=how)
    inside = cv2.resize(mask[window], size, interpolation=cv2.INTER_LINEAR)
    # the skin's own edge would outshine the bones'
    inside = cv2.erode(inside, _disk(WORKING_SIZE_PX / 40)) > 127
    if not inside.any():
        return float("nan")
    fine = grey - cv2.GaussianBlur(grey, (0, 0), WORKING_SIZE_PX / 340)
    levels = np.unique(radiograph[window][mask[window] > 0])
    step = float(np.median(np.diff(levels))) if len(levels) > 1 else 0.0
    rounding, contrast = step**2 / 12, float(grey[inside].var())
    variance = max(0.0, float(fine[inside].var()) - rounding)
    value = float(np.sqrt(variance / max(contrast, 1e-6)))
    # little detail, or too few grey levels to show it
    is_hidden = BLURRED**2 * contrast < rounding
    return float("nan") if value < BLURRED and is_hidden else value


def blockiness(radiograph: np.ndarray, mask: Mask) -> float:
    """How much grey levels jump between the blocks of JPEG; 1 where they do not.

    Mean difference of neighbours by their place in a block of 8 px, the greatest over
    the median of the eight places; the lesser of both directions, well inside the
    mask. Images that were resized or tilted afterwards show no blocks any more. NaN
    where the mask is too small.
    """
    left, top, width, height = cv2.boundingRect(mask)
    window = np.s_[top : top + height, left : left + width]
    # the skin's own edge has no place in a block; a large disk would be slow
    depth = cv2.distanceTransform(mask[window], cv2.DIST_L2, 3)
    inside = depth > max(2, max(width, height) / 60)
    grey = radiograph[window].astype(np.float32)
    ratios = []
    for values, within in ((grey, inside), (grey.T, inside.T)):
        jumps = np.where(within[1:] & within[:-1], abs(np.diff(values, axis=0)), 0)
        counts = np.count_nonzero(within[1:] & within[:-1], axis=1)
        sums = jumps.sum(axis=1)
        places = np.arange(len(sums)) % BLOCK_PX
        by_place = [np.bincount(places, x, BLOCK_PX) for x in (sums, counts)]
        if not by_place[1].all():
            return float("nan")
        means = by_place[0] / by_place[1]
        ratios.append(means.max() / max(float(np.median(means)), 1e-3))
    return float(min(ratios))


def _disk(radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
