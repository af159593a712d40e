"""Random changes of geometry and brightness, for U-Nets and regressors alike."""

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class AugmentationRanges:
    """How far a radiograph is changed at most; every draw is uniform.

    Attributes:
        turn_degrees: to either side.
        scale: least and greatest factor of size.
        shift: to either side, as a share of the image's side.
        log_gamma: to either side; 0 leaves the contrast as it is.
        gain: least and greatest factor of brightness.
        mirrored_share: probability of a horizontal flip.
    """

    turn_degrees: float
    scale: tuple[float, float]
    shift: float
    log_gamma: float
    gain: tuple[float, float]
    mirrored_share: float = 0.5


# hands lie in radiographs at any angle and under any exposure
RADIOGRAPHS = AugmentationRanges(25, (0.8, 1.25), 0.1, 0.4, (0.7, 1.3))
# a hand that was cut out is upright and centred, and its size carries information
HANDS = AugmentationRanges(15, (0.9, 1.1), 0.1, 0.1, (0.9, 1.1))


def hand_ranges(strength: float, mirrored_share: float = 0.5) -> AugmentationRanges:
    """HANDS, with every range multiplied by `strength`."""
    low, high = (1 + strength * (bound - 1) for bound in HANDS.scale)
    darker, brighter = (1 + strength * (bound - 1) for bound in HANDS.gain)
    return replace(
        HANDS,
        turn_degrees=strength * HANDS.turn_degrees,
        scale=(low, high),
        shift=strength * HANDS.shift,
        log_gamma=strength * HANDS.log_gamma,
        gain=(darker, brighter),
        mirrored_share=mirrored_share,
    )


@dataclass(frozen=True)
class AugmentationParameters:
    """One draw: what is done to one image.

    Attributes:
        matrix: (2, 3), from a pixel's old place to its new one.
        is_mirrored: whether left and right are exchanged afterwards.
        levels: (256,) uint8, the new grey value of each old one.
    """

    matrix: np.ndarray
    is_mirrored: bool
    levels: np.ndarray

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Change an image, (size, size) uint8."""
        return cv2.LUT(self._move(image, cv2.INTER_LINEAR), self.levels)

    def apply_to_mask(self, mask: np.ndarray) -> np.ndarray:
        """Move the image's mask with it, (size, size) uint8, 0 or 255."""
        return self._move(mask, cv2.INTER_NEAREST)

    def _move(self, image: np.ndarray, interpolation: int) -> np.ndarray:
        moved = cv2.warpAffine(image, self.matrix, image.shape, flags=interpolation)
        return cv2.flip(moved, 1) if self.is_mirrored else moved


def sample_augmentation(
    size: int, ranges: AugmentationRanges, rng: np.random.Generator
) -> AugmentationParameters:
    """Draw a turn, scale, shift, flip and brightness for an image of `size` px."""
    angle_degrees = rng.uniform(-ranges.turn_degrees, ranges.turn_degrees)
    scale = rng.uniform(*ranges.scale)
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), angle_degrees, scale)
    matrix[:, 2] += rng.uniform(-ranges.shift, ranges.shift, 2) * size
    is_mirrored = bool(rng.random() < ranges.mirrored_share)
    gamma = np.exp(rng.uniform(-ranges.log_gamma, ranges.log_gamma))
    levels = np.linspace(0, 1, 256) ** gamma * rng.uniform(*ranges.gain) * 255
    return AugmentationParameters(
        matrix, is_mirrored, np.rint(levels.clip(0, 255)).astype(np.uint8)
    )


def keep_inside(
    parameters: AugmentationParameters, image: np.ndarray
) -> AugmentationParameters:
    """The same change, moved (and shrunk if need be) so that no fingertip is lost.

    The hand's left, right and upper ends stay in the image; the forearm may leave it
    at the lower border, where hands that were cut out end anyway.

    image: (size, size) uint8, the hand on black, before the change.
    """
    points = cv2.findNonZero((image > 0).astype(np.uint8))
    if points is None:
        return parameters
    size = image.shape[0]
    hull = cv2.convexHull(points)[:, 0].astype(np.float64)
    matrix = parameters.matrix.copy()
    moved = hull @ matrix[:, :2].T + matrix[:, 2]
    too_wide = np.ptp(moved[:, 0]) / (size - 1)
    if too_wide > 1:
        matrix /= too_wide
        moved /= too_wide
    left, top = moved.min(axis=0)
    right = moved[:, 0].max()
    matrix[0, 2] += max(0.0, -left) - max(0.0, right - (size - 1))
    matrix[1, 2] += max(0.0, -top)
    return replace(parameters, matrix=matrix)


def augment_pair(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Change a radiograph and its mask together, for the committee.

    image: (size, size) uint8; mask: the same, 0 or 255.
    """
    parameters = sample_augmentation(image.shape[0], RADIOGRAPHS, rng)
    return parameters.apply(image), parameters.apply_to_mask(mask)
