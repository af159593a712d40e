"""Coarse hand masks by thresholds alone: the start of the annotation loop.

Archived radiographs have frames, tilted fields, bright backgrounds and marker plates.
So Otsu's threshold is applied above a fitted background, within several candidates for
the collimated field; the candidate that gives the most hand-like shape wins.
"""

import cv2
import numpy as np

from boneage.io.radiographs import Mask
from boneage.io.transforms import to_uint8

WORKING_SIZE_PX = 256
DISK = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
SKIN_SHARE = 0.55
"""Fraction of Otsu's threshold of the root of the excess: skin is fainter than bone."""

# Ranges of the checked masks of 329 RSNA radiographs, and the cost of a unit outside.
# area: log of the fraction of the image; solidity: fraction of the convex hull;
# compactness: log of 4 pi area / outline^2, low for ragged shapes; forearm: covered
# fraction of the image side that is covered most; contact: sum of the other three;
# enclosure: that of the side covered least.
PLAUSIBLE = {
    "area": (np.log(0.10), np.log(0.42), 1.0),
    "solidity": (0.54, 0.82, 8.0),
    "compactness": (np.log(0.145), np.log(0.45), 1.0),
    "forearm": (0.0, 0.45, 2.0),
    "contact": (0.0, 0.0, 3.0),
    "enclosure": (0.0, 0.0, 3.0),
}

NO_HAND = ("no fingers", "touches all borders")
"""Of the flags of `implausibilities`, those that no drawn mask of a hand has."""


def coarse_mask(radiograph: np.ndarray) -> Mask:
    """Segment the hand with Otsu's threshold and the giant component.

    radiograph: (row, column), uint8 or uint16, grey, bone bright (or dark).
    The mask has its size; it is all 0 if nothing exceeds the background.
    """
    small = _shrunk(radiograph).astype(np.float32)
    low, high = np.percentile(small, [0.5, 99.5]).astype(np.float32)
    small = np.clip((small - low) / max(high - low, np.float32(1e-6)), 0, 1)
    hand, score = _best_hand(small)
    if implausibilities(hand):
        negative, negative_score = _best_hand(1 - small)
        # half a unit: bone is bright unless the shape says clearly otherwise
        if negative_score > score + 0.5 and not implausibilities(negative):
            hand = negative
    large = cv2.resize(hand, radiograph.shape[::-1])
    return cv2.threshold(large, 127, 255, cv2.THRESH_BINARY)[1]


def published_coarse_mask(radiograph: np.ndarray) -> Mask:
    """The first implementation's mask: brighten x5, Otsu x 0.9, largest component.

    radiograph: (row, column), uint8 or uint16, grey.
    """
    bright = cv2.convertScaleAbs(to_uint8(radiograph), alpha=5)
    otsu, _ = cv2.threshold(bright, 0, 255, cv2.THRESH_OTSU)
    _, above = cv2.threshold(bright, 0.9 * otsu, 255, cv2.THRESH_BINARY)
    square = np.ones((5, 5), np.uint8)
    return cv2.dilate(_giant(cv2.dilate(above, square)), square)


def largest_hand(mask: Mask) -> Mask:
    """Keep the largest component and fill its holes; an empty mask stays empty."""
    giant = _giant((mask > 0).astype(np.uint8))
    return cv2.drawContours(giant, _outlines(giant), -1, 255, cv2.FILLED)


def implausibilities(mask: Mask) -> list[str]:
    """What makes this an implausible hand; an empty list for a plausible one.

    All 329 checked masks lie within these limits: area 0.09 to 0.46 of the image,
    solidity 0.49 to 0.88, compactness above 0.139, contact with further sides to 0.05.
    """
    if not mask.any():
        return ["empty"]
    hand = largest_hand(_shrunk((mask > 0).astype(np.uint8) * 255) > 127)
    if not hand.any():
        return ["too small"]
    shape = _measures(hand)
    flags = {
        "too small": shape["area"] < np.log(0.05),
        "too large": shape["area"] > np.log(0.50),
        "no fingers": shape["solidity"] > 0.90,
        "scattered": shape["solidity"] < 0.48,
        "ragged": shape["compactness"] < np.log(0.12),
        "touches all borders": shape["enclosure"] > 0,
        "touches several borders": shape["contact"] > 0.08,
    }
    return [flag for flag, is_so in flags.items() if is_so]


def no_hand_reasons(mask: Mask) -> list[str]:
    """Why nobody can have meant this mask; an empty list for most masks.

    An inverted mask touches all borders; a square or a blot has no fingers.
    """
    return [flag for flag in implausibilities(mask) if flag in NO_HAND]


def _best_hand(small: np.ndarray) -> tuple[Mask, float]:
    """The most plausible hand of all candidate fields, and its score."""
    grey = cv2.GaussianBlur(np.sqrt(small), (0, 0), 1.5)
    steepness = cv2.magnitude(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))
    fields = _fields(small)
    hands = [_hand_within(small, field) for field in fields]
    scores = [
        _plausibility(hand, field, steepness)
        for hand, field in zip(hands, fields, strict=True)
    ]
    best = int(np.argmax(scores))
    return hands[best], scores[best]


def _hand_within(small: np.ndarray, field: np.ndarray) -> Mask:
    """Otsu's threshold above the background, and the giant component."""
    excess = np.clip(small - _background(small, field), 0, 1) * 255
    excess = cv2.medianBlur(excess.astype(np.uint8), 3)
    root = np.sqrt(excess[field] * 255.0).astype(np.uint8)[None]
    otsu, _ = cv2.threshold(root, 0, 255, cv2.THRESH_OTSU)
    above = ((excess > SKIN_SHARE * otsu**2 / 255) & field).astype(np.uint8)
    return largest_hand(cv2.morphologyEx(above, cv2.MORPH_OPEN, DISK))


def _plausibility(hand: Mask, field: np.ndarray, steepness: np.ndarray) -> float:
    """Score a hand by its measures, and by how steep and how cut off its outline is."""
    if not hand.any():
        return -np.inf
    points = np.concatenate(_outlines(hand))[:, 0]
    column, row = points.T
    free = np.all((points > 1) & (points < np.subtract(hand.shape[::-1], 2)), axis=1)
    if not free.any():
        return -np.inf
    # a tenth of a hand's outline may be faint, but no more
    faint = np.percentile(steepness[row[free], column[free]], 10)
    # the forearm ends at the edge of the field, the fingers do not
    outside = cv2.dilate((~field).astype(np.uint8), DISK)
    cut_off = np.mean(free & (outside[row, column] > 0))
    score = 0.3 * np.log(np.clip(faint, 0.003, 0.5)) - 2.5 * max(0.0, cut_off - 0.05)
    for name, value in _measures(hand).items():
        low, high, cost = PLAUSIBLE[name]
        score -= cost * (max(0.0, low - value) + max(0.0, value - high))
    return float(score)


def _measures(hand: Mask) -> dict[str, float]:
    """The measures named in PLAUSIBLE, of one component at the working size."""
    outline = max(_outlines(hand), key=cv2.contourArea)
    hull_area = max(1.0, cv2.contourArea(cv2.convexHull(outline)))
    length_px = max(1.0, cv2.arcLength(outline, True))
    sides = np.sort([side.mean() / 255 for side in (*hand[[0, -1]], *hand.T[[0, -1]])])
    return {
        "area": np.log(cv2.countNonZero(hand) / hand.size),
        "solidity": cv2.contourArea(outline) / hull_area,
        "compactness": np.log(4 * np.pi * cv2.countNonZero(hand) / length_px**2),
        "forearm": sides[3],
        "contact": sides[:3].sum(),
        "enclosure": sides[0],
    }


def _fields(small: np.ndarray) -> list[np.ndarray]:
    """Candidates for the collimated field: distinct (row, column) bool."""
    guesses = [np.ones(small.shape, bool), *_cut_at_lines(small)]
    # or it is one rectangle, brighter or darker than its surroundings
    grey = (small * 255).astype(np.uint8)
    otsu, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    for part in (grey > 0.7 * otsu, grey <= otsu):
        for outline in _outlines(_giant(part.astype(np.uint8))):
            hull = cv2.convexHull(outline)
            if cv2.contourArea(hull) > 0.85 * np.prod(cv2.minAreaRect(hull)[1]):
                filled = cv2.fillConvexPoly(np.zeros_like(grey), hull, 255)
                guesses.append(cv2.erode(filled, DISK) > 0)
    return list({guess.tobytes(): guess for guess in guesses if guess.any()}.values())


def _cut_at_lines(small: np.ndarray) -> list[np.ndarray]:
    """Crop the image at straight lines away from its centre.

    Longest first, a line is an edge of the field if enough of its part within the
    field so far lies on image edges: half near the image's border, more inside, where
    it could follow a finger. Three fields, with ever stricter demands inside; the last
    admits no line there.
    """
    height, width = small.shape
    grey = cv2.GaussianBlur((255 * np.sqrt(small)).astype(np.uint8), (0, 0), 1)
    edges = cv2.Canny(grey, 12, 30, L2gradient=True)
    lines = cv2.HoughLines(edges, 1.5, np.pi / 180, max(2, min(small.shape) // 5))
    if lines is None:
        return []
    rho, theta = np.reshape(lines, (-1, 2))[:300].T
    c, s = np.cos(theta), np.sin(theta)
    # 0 through the centre, 1 or -1 at the last corner
    offset = c * width + s * height - 2 * rho
    offset /= width * abs(c) + height * abs(s)
    tilt = np.minimum(theta % (np.pi / 2), -theta % (np.pi / 2))
    kept = (abs(offset) > 0.4) & (tilt < np.pi / 6)
    # normals towards the centre: inside is where c x + s y > rho
    c, s, rho = np.stack([c, s, rho])[:, kept] * np.sign(offset[kept])
    outer = abs(offset[kept]) > 0.8
    c, s, rho = c[:, None], s[:, None], rho[:, None]
    # (line, point): one pixel apart, around the point nearest to the centre
    along = np.arange(-max(small.shape) // 1.5, max(small.shape) // 1.5)
    along = along + s * width / 2 - c * height / 2
    x, y = np.rint([rho * c + along * s, rho * s - along * c]).astype(int)
    visible = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    near = cv2.dilate(edges, np.ones((3, 3), np.uint8)) > 0
    hit = near.ravel()[np.where(visible, y * width + x, 0)]
    row, column = np.ogrid[:height, :width]
    fields = []
    for share in (0.75, 0.85, np.inf):
        field, remaining = np.ones(small.shape, bool), visible
        while True:
            length = np.count_nonzero(remaining, axis=1)
            on_edges = np.count_nonzero(hit & remaining, axis=1)
            is_edge = length > np.where(outer, 0.2, 0.4) * min(small.shape)
            is_edge &= on_edges > np.where(outer, 0.5, share) * np.maximum(length, 1)
            if not is_edge.any():
                break
            best = np.argmax(on_edges * is_edge)
            remaining = remaining & (c[best] * x + s[best] * y > rho[best] + 2)
            field &= c[best] * column + s[best] * row > rho[best] + 2
        fields.append(field)
    return fields


def _background(small: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Fit a quadratic surface to the background, without the brighter hand."""
    step = max(1, max(small.shape) // 32)
    shape = small[::step, ::step].shape
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].reshape(2, -1)
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    grey = small[::step, ::step].ravel()
    known = field[::step, ::step].ravel()
    if known.sum() < 50:
        return np.zeros_like(small)
    fitted = known & (grey <= np.quantile(grey[known], 0.4))
    for terms in (1, 1, 6, 6, 6, 6):
        basis = surface[:, :terms]
        weights = np.linalg.lstsq(basis[fitted], grey[fitted], rcond=None)[0]
        rest = grey - basis @ weights
        spread = 1.4826 * np.median(abs(rest[fitted])) + 0.01
        fitted = known & (rest < 1.5 * spread) & (rest > -4 * spread)
    level = (grey - rest).reshape(shape).astype(np.float32)
    return cv2.resize(level, small.shape[::-1])


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Shrink the longest side to the working size; smaller images keep theirs."""
    scale = min(1.0, WORKING_SIZE_PX / max(image.shape))
    size = [max(1, round(side * scale)) for side in image.shape[::-1]]
    # a mean of 9 pixels is smooth enough: most pixels of a large radiograph are skipped
    step = max(1, max(image.shape) // (3 * WORKING_SIZE_PX))
    return cv2.resize(image[::step, ::step].copy(), size, interpolation=cv2.INTER_AREA)


def _giant(mask: Mask) -> Mask:
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    if count <= 2:  # nothing to choose from
        return np.where(mask > 0, np.uint8(255), np.uint8(0))
    areas = statistics[:, cv2.CC_STAT_AREA]
    areas[0] = 0  # the background
    return ((labels == np.argmax(areas)) & (mask > 0)).astype(np.uint8) * 255


def _outlines(mask: Mask) -> tuple[np.ndarray, ...]:
    return tuple(cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])
