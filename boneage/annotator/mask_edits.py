"""Corrections of a mask, and how the radiograph is shown under it.

Masks: (row, column) uint8, 0 or 255, of the radiograph's own size, in and out. An empty
mask comes back empty.
"""

import cv2
import numpy as np

from boneage.io.radiographs import Mask

GRABCUT_PX = 448
"""Longer side at which GrabCut looks at a hand: at 640, outlines drawn with a wobble
are refined to a Dice of 0.9837 and not 0.9834, in twice the time."""
BAND_OUTSIDE, BAND_INSIDE = 0.02, 0.01
"""How far the edge may move, shares of the hand's longer side; a finger is thin."""
CUT_ROUNDS = 1
"""More change a mask by 0.001 of Dice at most, and take twice as long."""
CLICK_REACH, CLICK_FACTOR = 0.1, 2.5
"""How far a click reaches: at most this share of the longer side, and so many times its
distance from where the mask ends. On pieces cut from or added to 12 radiographs' masks,
a click in their middle corrects 0.9 of their area (median)."""
THIN = 0.005
"""Share of the longer side: thinner strips join no pieces."""
CLICK_PX = 200
"""Longer side of the window around a click."""
MARKER_PX = 3
TARGET, OTHER = 1, 2
"""Markers of the watershed: to be as the click asks, and to stay as it is."""
SMOOTHING = 0.006
"""Width of the smoothing, as a share of the hand's longer side."""
MAP_COLOUR = (0, 200, 255)
"""RGB of the disagreement map: far from the grey of bone and the orange of the mask."""
MAP_OPACITY = 0.8
"""Where the members disagree completely."""

SECOND_COLOUR = (90, 255, 90)
"""RGB of the coarse mask's outline."""
OUTLINE_WIDTH = 0.002
"""Share of the radiograph's longer side."""
MASK_COLOUR = (255, 120, 0)
"""RGB of the mask where it lies over a radiograph."""
MASK_OPACITY = 0.4
"""On thumbnails; on the page the person chooses."""


def stretched(radiograph: np.ndarray) -> np.ndarray:
    """Bring all grey levels but the extreme ones to 0 to 255: (row, column) uint8.

    radiograph: (row, column) uint8 or uint16.
    """
    low, high = np.percentile(radiograph, [0.5, 99.8])
    scaled = (radiograph - np.float32(low)) * np.float32(255 / max(high - low, 1))
    return scaled.clip(0, 255).astype(np.uint8)


def disagreement_layer(disagreement: np.ndarray) -> np.ndarray:
    """The disagreement as a layer over a radiograph: (row, column, 4) uint8, RGBA.

    disagreement: (row, column) uint8; where it is 0 the layer is transparent.
    """
    layer = np.empty((*disagreement.shape, 4), np.uint8)
    layer[..., :3] = MAP_COLOUR
    layer[..., 3] = cv2.convertScaleAbs(disagreement, alpha=MAP_OPACITY)
    return layer


def outline_layer(mask: Mask) -> np.ndarray:
    """The outline of a mask as a layer over a radiograph: (row, column, 4), RGBA."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    width_px = max(1, round(OUTLINE_WIDTH * max(mask.shape)))
    return cv2.drawContours(layer, outlines, -1, (*SECOND_COLOUR, 255), width_px)


def refine_edge(radiograph: np.ndarray, mask: Mask) -> Mask:
    """Move the edge to where the grey levels change, within a narrow band around it.

    radiograph: (row, column) uint8 or uint16. What lies deeper inside than the band
    stays inside, what lies further outside stays outside.
    """
    return _cut_between(radiograph, mask, mask)


def merge(radiograph: np.ndarray, first: Mask, second: Mask) -> Mask:
    """Where two masks differ, let the grey levels decide; elsewhere as `refine_edge`.

    radiograph: (row, column) uint8 or uint16. Where the masks have nothing in common,
    the first comes back.
    """
    both = first & second
    return _cut_between(radiograph, both, first | second) if both.any() else first


def _cut_between(radiograph: np.ndarray, smaller: Mask, larger: Mask) -> Mask:
    """GrabCut between two masks, one inside the other, and in a band around them.

    Source: GrabCut, Rother et al., ACM Transactions on Graphics 23 (2004), 309-314.
    """
    if not smaller.any():
        return smaller
    left, top, width, height = cv2.boundingRect(larger)
    outwards_px = max(3, round(BAND_OUTSIDE * max(width, height)))
    inwards_px = max(2, round(BAND_INSIDE * max(width, height)))
    # beyond the band GrabCut needs some background to learn what it looks like
    margin_px = 3 * outwards_px
    rows = slice(max(0, top - margin_px), top + height + margin_px)
    columns = slice(max(0, left - margin_px), left + width + margin_px)
    shape = larger[rows, columns].shape
    shrink = min(1.0, GRABCUT_PX / max(shape))

    def small(image: np.ndarray, how: int) -> np.ndarray:
        return cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=how)

    grey = _root(stretched(small(radiograph[rows, columns], cv2.INTER_AREA)))
    inside = small(smaller[rows, columns], cv2.INTER_NEAREST)
    reached = small(larger[rows, columns], cv2.INTER_NEAREST)
    labels = np.where(inside > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    labels[_distance(inside == 0) > inwards_px * shrink] = cv2.GC_FGD
    labels[_distance(reached) > outwards_px * shrink] = cv2.GC_BGD
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return smaller
    labels = labels.astype(np.uint8)
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    # its mixtures start by chance; the same click is to give the same mask
    cv2.setRNGSeed(0)
    cv2.grabCut(
        *(colour, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65))),
        CUT_ROUNDS,
        cv2.GC_INIT_WITH_MASK,
    )
    is_hand = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    large = cv2.resize(is_hand, shape[::-1], interpolation=cv2.INTER_LINEAR)
    refined = np.zeros_like(larger)
    refined[rows, columns] = np.where(large > 0.5, np.uint8(255), np.uint8(0))
    return refined


def move_to_edge(
    radiograph: np.ndarray,
    mask: Mask,
    point: tuple[int, int],
    second: Mask | None = None,
) -> Mask:
    """Grow or shrink the mask around a point, up to the nearest edges.

    radiograph: (row, column) uint8 or uint16. point: row and column. Outside the mask,
    its surroundings are added; inside, they are removed. How far depends on how far the
    point is from where the mask ends: click in the middle of what is wrong.
    second: another mask of the radiograph; where it differs at the point, the piece by
    which it does is taken from it, as far as that is thick.
    Source: watershed, Meyer, Signal Processing 38 (1994), 113-125.
    """
    adds = mask[point] == 0
    if second is not None and (second[point] > 0) == adds:
        return _with_piece(mask, second, point)
    target = (mask > 0) == adds
    largest_px = CLICK_REACH * max(mask.shape)
    distance_px = _distance(target)[point] if target.any() else largest_px
    reach_px = round(min(largest_px, CLICK_FACTOR * distance_px)) + MARKER_PX
    rows = slice(max(0, point[0] - reach_px), point[0] + reach_px + 1)
    columns = slice(max(0, point[1] - reach_px), point[1] + reach_px + 1)
    shrink = min(1.0, CLICK_PX / (2 * reach_px + 1))
    grey = _root(stretched(radiograph[rows, columns]))
    shape = grey.shape
    grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(grey, (0, 0), 1)
    near = target[rows, columns].astype(np.uint8)
    near = cv2.resize(near, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    click = [
        min(int((place - part.start) * shrink), side - 1)
        for place, part, side in zip(point, (rows, columns), grey.shape, strict=True)
    ]
    is_click = np.ones(grey.shape, np.uint8)
    is_click[tuple(click)] = 0
    from_click = _distance(1 - is_click)
    # two waters: the one spreads from the click and from what is right already, the
    # other from beyond the reach; they meet at the steepest edge between them
    markers = np.zeros(grey.shape, np.int32)
    markers[_distance(near == 0) > MARKER_PX] = TARGET
    markers[(near == 0) & (from_click > reach_px * shrink - 1)] = OTHER
    markers[from_click <= MARKER_PX] = TARGET
    cv2.watershed(cv2.merge([grey] * 3), markers)
    flooded = (markers != OTHER).astype(np.float32)
    flooded = cv2.resize(flooded, shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    changed = np.zeros(mask.shape, np.uint8)
    changed[rows, columns] = flooded & ~target[rows, columns]
    # only the piece that holds the click
    _, pieces = cv2.connectedComponents(changed[rows, columns])
    piece = pieces[point[0] - rows.start, point[1] - columns.start]
    changed[rows, columns] &= pieces == piece
    return np.where(changed > 0, np.uint8(255 if adds else 0), mask)


def _with_piece(mask: Mask, second: Mask, point: tuple[int, int]) -> Mask:
    """The mask, changed to the second one around a point where the two differ.

    Pieces that only a thin strip along the outline joins are apart.
    """
    target = second[point]
    differs = ((mask != target) & (second == target)).astype(np.uint8)
    depth = _distance(differs == 0)
    thin_px = min(THIN * max(mask.shape), float(depth[point]) / 2)
    _, pieces = cv2.connectedComponents((depth > thin_px).astype(np.uint8))
    core = (pieces == pieces[point]).astype(np.uint8)
    near = (_distance(core) <= thin_px + 1) & (differs > 0)
    return np.where(near, target, mask)


def _distance(excluded: np.ndarray) -> np.ndarray:
    """Of each pixel to the nearest where `excluded` is not 0, in pixels: float32."""
    return cv2.distanceTransform((excluded == 0).astype(np.uint8), cv2.DIST_L2, 5)


def _root(grey: np.ndarray) -> np.ndarray:
    """Grey levels by their root, as for the coarse mask: skin is fainter than bone."""
    return cv2.LUT(grey, np.sqrt(np.arange(256) * 255.0).astype(np.uint8))


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
