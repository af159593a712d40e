"""One random affine and brightness change, for U-Nets and regressors."""

from dataclasses import dataclass

import cv2
import numpy as np


def augment(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turn, scale, shift, mirror a pair together; change the image's brightness.

    image: (size, size) uint8; mask: the same, 0 or 255. Radiographs are taken with the
    hand at any angle and under any exposure; the numbers cover what archives hold.
    """
    size = image.shape[0]
    angle_degrees = rng.uniform(-25, 25)
    scale = rng.uniform(0.8, 1.25)
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), angle_degrees, scale)
    matrix[:, 2] += rng.uniform(-0.1, 0.1, 2) * size
    image = cv2.warpAffine(image, matrix, (size, size))
    mask = cv2.warpAffine(mask, matrix, (size, size), flags=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        image, mask = cv2.flip(image, 1), cv2.flip(mask, 1)
    gamma, gain = np.exp(rng.uniform(-0.4, 0.4)), rng.uniform(0.7, 1.3)
    levels = np.linspace(0, 1, 256) ** gamma * gain * 255
    return cv2.LUT(image, levels.clip(0, 255).astype(np.uint8)), mask


@dataclass(frozen=True)
class AugmentationParameters:
    """What augmentation does to one hand; None for nothing.

    matrix: (2, 3), from the old to the new place. levels: (256,) uint8, the new grey
    value of each.
    """

    matrix: np.ndarray | None
    is_mirrored: bool = False
    levels: np.ndarray | None = None

    def of(self, image: np.ndarray) -> np.ndarray:
        """Change a hand, (size, size) uint8."""
        if self.matrix is None:
            return image
        image = cv2.warpAffine(image, self.matrix, image.shape)
        return cv2.LUT(cv2.flip(image, 1) if self.is_mirrored else image, self.levels)


def sample_augmentation(
    size: int, strength: float, rng: np.random.Generator, mirrored_share: float
) -> AugmentationParameters:
    """Draw a turn, scale, shift, mirroring, and brightness for a hand of `size` px.

    strength 1: 15 degrees, 10 per cent of size, 10 per cent of gamma and gain; 0 leaves
    the hand as it is, unmirrored, too. Scale stays small, for the size of the crop says
    little but that of bones says much.
    """
    if strength == 0:
        return AugmentationParameters(None)
    angle_degrees = rng.uniform(-15, 15) * strength
    scale = 1 + rng.uniform(-0.1, 0.1) * strength
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), angle_degrees, scale)
    matrix[:, 2] += rng.uniform(-0.1, 0.1, 2) * strength * size
    is_mirrored = bool(rng.random() < mirrored_share)
    gamma = np.exp(rng.uniform(-0.1, 0.1) * strength)
    gain = 1 + rng.uniform(-0.1, 0.1) * strength
    levels = np.linspace(0, 1, 256) ** gamma * gain * 255
    return AugmentationParameters(
        matrix, is_mirrored, levels.clip(0, 255).astype(np.uint8)
    )
