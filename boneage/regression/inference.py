"""Predictions of a network for packed hands, a batch in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from boneage.regression import label_distribution

if TYPE_CHECKING:
    import keras

    from boneage.regression.dataset import HandDataset


def predict(
    model: keras.Model, hands: HandDataset, size: int, batch_size: int = 32
) -> np.ndarray:
    """Bone ages in months, (hand,) float32, a batch of hands in memory at a time."""
    return label_distribution.expected_months(outputs(model, hands, size, batch_size))


def outputs(
    model: keras.Model, hands: HandDataset, size: int, batch_size: int = 32
) -> np.ndarray:
    """Outputs of a network or of its trained part, (hand, output) float32."""
    batches = [np.zeros((0, model.outputs[0].shape[1]), np.float32)]
    for start in range(0, len(hands), batch_size):
        rows = range(start, min(start + batch_size, len(hands)))
        images = np.stack([hands.image(index, size) for index in rows])
        is_male = hands.cohort.is_male[rows.start : rows.stop]
        batches.append(_outputs_of_images(model, images, is_male, batch_size))
    return np.concatenate(batches)


def predict_images(
    model: keras.Model, images: np.ndarray, is_male: np.ndarray, batch_size: int
) -> np.ndarray:
    """Bone ages in months, (N,) float32, of images at the network's size.

    images: (N, size, size) uint8. is_male: (N,) bool. N is at most `batch_size`, to
    which the images are padded: one compiled shape, and the same arithmetic for every
    hand on any number of devices.
    """
    return label_distribution.expected_months(
        _outputs_of_images(model, images, is_male, batch_size)
    )


def _outputs_of_images(
    model: keras.Model, images: np.ndarray, is_male: np.ndarray, batch_size: int
) -> np.ndarray:
    from boneage.regression import network

    chosen = np.arange(batch_size).clip(max=len(images) - 1)
    fed = network.feed_dict(model, images[chosen], is_male[chosen])
    # with several devices each predicts the whole batch, one after the other
    return model.predict_on_batch(fed)[: len(images)]
