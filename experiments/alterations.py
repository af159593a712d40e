"""Ways in which a radiograph reaches a reader altered, at four strengths each."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from boneage.errors import InputError
from boneage.segmentation import image_quality
from boneage.segmentation.coarse import coarse_mask
from boneage.segmentation.hand_search import turned

TWELVE_BITS = 4095


class Alteration(NamedTuple):
    """A function of a radiograph and a strength, and the strengths to try.

    The radiograph is (row, column) uint8 or uint16, with the fingers upwards, and so is
    the result. words: how a strength is written.
    """

    apply: Callable[[np.ndarray, float], np.ndarray]
    strengths: tuple[float, ...]
    words: str


def flip(image: np.ndarray, degrees: float) -> np.ndarray:
    """Mirror left to right, then turn clockwise."""
    return turned(np.ascontiguousarray(image[:, ::-1]), degrees)


def brighten(image: np.ndarray, levels: float) -> np.ndarray:
    """Add grey levels of 255; what leaves the range is clipped."""
    return _from_unit(_to_unit(image) + levels / 255, image.dtype)


def change_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Stretch the grey levels about their mean."""
    unit = _to_unit(image)
    return _from_unit((unit - unit.mean()) * factor + unit.mean(), image.dtype)


def change_gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    """Raise the grey levels, 0 to 1, to a power."""
    return _from_unit(_to_unit(image) ** gamma, image.dtype)


def invert(image: np.ndarray, gamma: float) -> np.ndarray:
    """Make a negative, shown with a gamma."""
    return change_gamma(image_quality.inverted(image), gamma)


def blur(image: np.ndarray, share: float) -> np.ndarray:
    """Blur by a Gaussian whose deviation is a share of the longer side."""
    return cv2.GaussianBlur(image, (0, 0), share * max(image.shape))


def compress(image: np.ndarray, quality: float) -> np.ndarray:
    """Compress as JPEG, which has 8 bits."""
    pixels = _from_unit(_to_unit(image), np.dtype(np.uint8))
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


def add_border(image: np.ndarray, share: float) -> np.ndarray:
    """Add black on all four sides, a share of the longer side each."""
    margin = round(share * max(image.shape))
    return np.pad(image, margin)


def add_marker(image: np.ndarray, share: float) -> np.ndarray:
    """Show 12 bits in a file of 16, with a label of 65535 in the upper right corner.

    share: of the radiograph that the label covers.
    """
    marked = np.round(_to_unit(image) * TWELVE_BITS).astype(np.uint16)
    height, width = image.shape
    side = max(1, round((share * height * width) ** 0.5))
    top, right = height // 40, width - width // 40
    marked[top : top + side, max(0, right - side) : right] = 65535
    return marked


def cut_fingers(image: np.ndarray, share: float) -> np.ndarray:
    """Let the upper border cut the fingers off, a share of the longest one's length."""
    row, radius, top = _palm(image)
    return image[round(top + share * max(0.0, row - 1.1 * radius - top)) :]


def cut_wrist(image: np.ndarray, radii: float) -> np.ndarray:
    """Let the lower border cut the forearm off, palm radii below the palm's centre."""
    row, radius, _ = _palm(image)
    return image[: round(row + radii * radius)]


ALTERATIONS = {
    "turn": Alteration(turned, (90, 135, 180, 270), "{:g} degrees clockwise"),
    "tilt": Alteration(turned, (-45, -20, 20, 45), "{:g} degrees clockwise"),
    "flip": Alteration(
        flip, (0, 90, 180, 270), "mirrored, then {:g} degrees clockwise"
    ),
    "brightness": Alteration(brighten, (-80, -40, 40, 80), "{:+g} grey levels of 255"),
    "contrast": Alteration(change_contrast, (0.25, 0.5, 1.5, 2.5), "{:g} times"),
    "gamma": Alteration(change_gamma, (0.4, 0.7, 1.5, 2.5), "gamma {:g}"),
    "inversion": Alteration(invert, (0.4, 0.7, 1.0, 2.0), "gamma {:g} of the negative"),
    "resolution": Alteration(
        lambda image, longer_px: image_quality.shrunk(image, int(longer_px)),
        (512, 256, 128, 64),
        "longer side {:g} px",
    ),
    "blur": Alteration(
        blur, (0.0025, 0.005, 0.01, 0.02), "sigma {:g} of the longer side"
    ),
    "JPEG": Alteration(compress, (50, 20, 10, 5), "quality {:g}"),
    "black border": Alteration(
        add_border, (0.05, 0.1, 0.25, 0.5), "{:g} of the longer side"
    ),
    "saturated marker": Alteration(
        add_marker, (0.01, 0.02, 0.04, 0.06), "{:g} of the area"
    ),
    "cut fingers": Alteration(
        cut_fingers, (0.15, 0.3, 0.6, 1.0), "{:g} of the fingers' length"
    ),
    "cut wrist": Alteration(
        cut_wrist,
        (2.2, 1.6, 1.0, 0.5),
        "forearm ends {:g} palm radii below the palm's centre",
    ),
}


def _to_unit(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / np.iinfo(image.dtype).max


def _from_unit(unit: np.ndarray, dtype: np.dtype) -> np.ndarray:
    largest = np.iinfo(dtype).max
    return np.round(np.clip(unit, 0, 1) * largest).astype(dtype)


def _palm(image: np.ndarray) -> tuple[int, float, int]:
    """Row and radius of the palm, the largest circle in the hand; the hand's first row.

    Raises:
        InputError: no hand.
    """
    mask = coarse_mask(image)
    if not mask.any():
        raise InputError("the radiograph must show a hand to be cut (got none)")
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row = int(np.argmax(distance.max(axis=1)))
    return row, float(distance.max()), int(np.argmax(mask.any(axis=1)))
