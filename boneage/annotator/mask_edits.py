"""One-click corrections of a mask, and how the radiograph is shown under it.

Masks: (row, column) uint8, 0 or 255, of the radiograph's own size, in and out. An empty
mask comes back empty.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from boneage.io.radiographs import Mask

GRABCUT_PX = 640
"""Longer side at which GrabCut looks at a hand: under a second for any radiograph."""
BAND_OUTSIDE, BAND_INSIDE = 0.02, 0.01
"""How far the edge may move, shares of the hand's longer side; a finger is thin."""
CUT_ROUNDS = 3
SMOOTHING = 0.006
"""Width of the smoothing, as a share of the hand's longer side."""
MAP_COLOUR = (0, 200, 255)
"""RGB of the disagreement map: far from the grey of bone and the orange of the mask."""


MASK_COLOUR = (255, 120, 0)
"""RGB of the mask where it lies over a radiograph."""
MASK_OPACITY = 0.4
MASK_ALPHA = round(255 * MASK_OPACITY)


def stretched(radiograph: np.ndarray) -> np.ndarray:
    """Bring all grey levels but the extreme ones to 0 to 255: (row, column) uint8.

    radiograph: (row, column) uint8 or uint16.
    """
    low, high = np.percentile(radiograph, [0.5, 99.8])
    scaled = (radiograph - np.float32(low)) * np.float32(255 / max(high - low, 1))
    return scaled.clip(0, 255).astype(np.uint8)


def overlay_disagreement(grey: np.ndarray, disagreement: np.ndarray) -> np.ndarray:
    """Lay the disagreement over a radiograph: (row, column, 3) uint8, RGB.

    grey, disagreement: (row, column) uint8; 0 leaves the radiograph as it is.
    """
    share = 0.8 * disagreement[..., None].astype(np.float32) / 255
    colour = np.array(MAP_COLOUR, np.float32)
    return (grey[..., None] * (1 - share) + colour * share).astype(np.uint8)


def layer_of(mask: Mask) -> np.ndarray:
    """A mask as a layer to draw on: (row, column, 4) uint8, RGBA."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask > 0] = (*MASK_COLOUR, MASK_ALPHA)
    return layer


def mask_of_layers(layers: Sequence[np.ndarray], shape: tuple[int, int]) -> Mask | None:
    """The mask drawn on the one layer of a canvas; None where it is not of `shape`.

    layers: (row, column, 4) uint8, RGBA. An edge that the brush left half transparent
    is inside from half of the mask's own opacity on.
    """
    # more than one: the canvas still holds what an earlier radiograph left on it
    if len(layers) != 1 or layers[0].shape != (*shape, 4):
        return None
    return np.where(layers[0][..., 3] > MASK_ALPHA // 2, 255, 0).astype(np.uint8)


def refine_edge(radiograph: np.ndarray, mask: Mask) -> Mask:
    """Move the edge to where the grey levels change, within a narrow band around it.

    radiograph: (row, column) uint8 or uint16. What lies deeper inside than the band
    stays inside, what lies further outside stays outside.
    Source: GrabCut, Rother et al., ACM Transactions on Graphics 23 (2004), 309-314.
    """
    if not mask.any():
        return mask
    left, top, width, height = cv2.boundingRect(mask)
    outwards_px = max(3, round(BAND_OUTSIDE * max(width, height)))
    inwards_px = max(2, round(BAND_INSIDE * max(width, height)))
    # beyond the band GrabCut needs some background to learn what it looks like
    margin_px = 3 * outwards_px
    rows = slice(max(0, top - margin_px), top + height + margin_px)
    columns = slice(max(0, left - margin_px), left + width + margin_px)
    inside = mask[rows, columns]
    core = cv2.erode(inside, _disk(inwards_px))
    reach = cv2.dilate(inside, _disk(outwards_px))
    shrink = min(1.0, GRABCUT_PX / max(inside.shape))

    def small(image: np.ndarray, how: int = cv2.INTER_NEAREST) -> np.ndarray:
        return cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=how)

    # the root, as in the coarse mask: skin is fainter than bone
    grey = small(np.sqrt(stretched(radiograph[rows, columns]) * 255.0), cv2.INTER_AREA)
    labels = np.where(small(inside) > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    labels[small(core) > 0] = cv2.GC_FGD
    labels[small(reach) == 0] = cv2.GC_BGD
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return mask
    labels = labels.astype(np.uint8)
    colour = cv2.cvtColor(grey.astype(np.uint8), cv2.COLOR_GRAY2BGR)
    # its mixtures start by chance; the same click is to give the same mask
    cv2.setRNGSeed(0)
    cv2.grabCut(
        *(colour, labels, None, np.zeros((1, 65)), np.zeros((1, 65))),
        CUT_ROUNDS,
        cv2.GC_INIT_WITH_MASK,
    )
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    large = cv2.resize(found, inside.shape[::-1], interpolation=cv2.INTER_LINEAR)
    refined = np.zeros_like(mask)
    cut = ((large > 0.5) & (reach > 0)) | (core > 0)
    refined[rows, columns] = cut * np.uint8(255)
    return refined


def _disk(radius_px: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)


def fill_holes(mask: Mask) -> Mask:
    """Fill what every piece encloses."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mask.copy(), outlines, -1, 255, cv2.FILLED)


def keep_largest(mask: Mask) -> Mask:
    """Keep the piece of the most pixels, with its holes; diagonals join."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return mask
    largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    return np.where(labels == largest, 255, 0).astype(np.uint8)


def smooth(mask: Mask) -> Mask:
    """Round off what is finer than a few pixels: steps, spikes, specks, slits."""
    if not mask.any():
        return mask
    _, _, width, height = cv2.boundingRect(mask)
    sigma_px = max(1.0, SMOOTHING * max(width, height))
    blurred = cv2.GaussianBlur(mask, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    return cv2.threshold(blurred, 127, 255, cv2.THRESH_BINARY)[1]
