"""Pictures that show no hand: what a folder may hold beside radiographs of hands."""

from collections.abc import Callable

import cv2
import numpy as np

SIDE_PX = 512


def noise(rng: np.random.Generator) -> np.ndarray:
    """Independent grey levels, as of an empty exposure: (512, 512) uint8."""
    return rng.integers(0, 256, (SIDE_PX, SIDE_PX), dtype=np.uint8)


def clouds(rng: np.random.Generator) -> np.ndarray:
    """Smooth blots of about an eighth of the side."""
    grey = cv2.GaussianBlur(rng.random((SIDE_PX, SIDE_PX)), (0, 0), SIDE_PX / 16)
    return cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def text_page(rng: np.random.Generator) -> np.ndarray:
    """Lines of print, dark on white."""
    page = np.full((720, SIDE_PX), 245, np.uint8)
    letters = np.array(list("abcdefghiklmnoprstuvwz   "))
    for row in range(50, 690, 26):
        line = "".join(rng.choice(letters, rng.integers(20, 42)))
        cv2.putText(page, line, (30, row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 20, 1)
    return page


def frame(rng: np.random.Generator) -> np.ndarray:
    """One grey level within a frame of another."""
    inner, outer = rng.choice([0, 40, 128, 255], 2, replace=False)
    image = np.full((SIDE_PX, SIDE_PX), outer, np.uint8)
    margin = int(rng.integers(10, 150))
    image[margin:-margin, margin:-margin] = inner
    return image


def chest(rng: np.random.Generator) -> np.ndarray:
    """A trunk with two dark lungs, ribs, spine and heart."""
    image = np.full((SIDE_PX, SIDE_PX), 20, np.float32)
    middle = SIDE_PX // 2 + int(rng.integers(-20, 20))
    cv2.ellipse(image, (middle, 330), (220, 330), 0, 0, 360, 150, -1)
    for side in (-1, 1):
        lung = middle + side * 95, 260
        cv2.ellipse(image, lung, (75, 165), side * 5, 0, 360, 55, -1)
        for row in range(120, 430, 38):
            arc = middle + side * 95, row
            cv2.ellipse(image, arc, (90, 30), side * 15, 180, 360, 110, 7)
    cv2.rectangle(image, (middle - 18, 40), (middle + 18, 511), 205, -1)
    cv2.ellipse(image, (middle + 45, 340), (75, 65), 30, 0, 360, 185, -1)
    return _exposed(image, rng)


def foot(rng: np.random.Generator) -> np.ndarray:
    """A sole with a heel, metatarsals and five short toes, seen from above."""
    image = np.full((SIDE_PX, SIDE_PX), 12, np.float32)
    shift = int(rng.integers(-25, 25))
    columns = np.array([190, 330, 345, 310, 300, 225, 215, 185]) + shift
    rows = np.array([140, 130, 260, 380, 470, 470, 380, 260])
    cv2.fillPoly(image, [np.column_stack([columns, rows])], 95.0)
    for column, row, radius in zip(
        (200, 235, 265, 293, 318),
        (122, 112, 110, 114, 124),
        (24, 15, 14, 13, 12),
        strict=True,
    ):
        cv2.circle(image, (column + shift, row), radius, 95, -1)
        cv2.line(image, (column + shift, row), (column + shift, row + 140), 180, 9)
    cv2.ellipse(image, (262 + shift, 400), (42, 75), 0, 0, 360, 190, -1)
    return _exposed(cv2.GaussianBlur(image, (0, 0), 3), rng)


def skull(rng: np.random.Generator) -> np.ndarray:
    """A bright ring, two dark orbits and a jaw."""
    image = np.full((SIDE_PX, SIDE_PX), 10, np.float32)
    cv2.ellipse(image, (256, 220), (165, 190), 0, 0, 360, 120, -1)
    cv2.ellipse(image, (256, 220), (165, 190), 0, 0, 360, 210, 16)
    for column in (190, 322):
        cv2.ellipse(image, (column, 270), (42, 36), 0, 0, 360, 50, -1)
    cv2.ellipse(image, (256, 400), (95, 70), 0, 0, 360, 160, -1)
    return _exposed(image, rng)


def bars(rng: np.random.Generator) -> np.ndarray:
    """A test pattern of upright bars, as wide as fingers."""
    image = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    width, gap = int(rng.integers(25, 45)), int(rng.integers(15, 40))
    for left in range(60, 430, width + gap):
        image[90:420, left : left + width] = 170
    return _exposed(image, rng)


NON_HANDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise": noise,
    "clouds": clouds,
    "page of text": text_page,
    "empty frame": frame,
    "chest": chest,
    "foot": foot,
    "skull": skull,
    "bars": bars,
}


def _exposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soft edges, quantum noise and an exposure by chance, as radiographs have them."""
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5)
    soft = soft * rng.uniform(0.7, 1.2) + rng.normal(0, 4, soft.shape)
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)
