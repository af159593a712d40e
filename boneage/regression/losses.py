"""Loss functions of the regressors."""

from collections.abc import Callable

import keras
from keras import ops

from boneage.regression.label_distribution import (
    CENTRE_STEP_MONTHS,
    DEVIATION_MONTHS,
    MONTHS,
    target_centres,
)

HUBER_MONTHS = 12.0
MEAN_WEIGHT = 0.1
"""Weight of the absolute error of the mean, beside the cross-entropy."""


@keras.saving.register_keras_serializable("boneage")
def label_distribution(true: keras.KerasTensor, logits: keras.KerasTensor) -> object:
    """Cross-entropy with the target distribution, plus a tenth of the mean's error.

    Source: Gao et al., Age estimation using expectation of label distribution learning,
    IJCAI 2018.

    true: (N, 1) months. logits: (N, MONTHS). Returns (N,).
    """
    months = ops.cast(ops.arange(MONTHS), "float32")
    true = ops.cast(true, "float32")
    expected = ops.sum(ops.softmax(logits) * months, axis=-1)
    error = ops.abs(expected - true[:, 0])
    return label_cross_entropy(true, logits) + MEAN_WEIGHT * error


def label_cross_entropy(true: keras.KerasTensor, logits: keras.KerasTensor) -> object:
    """Cross-entropy with a normal distribution whose mean over the months is `true`.

    true: (N, 1) float32 months. logits: (N, MONTHS). Returns (N,).
    """
    months = ops.cast(ops.arange(MONTHS), "float32")
    offsets = (months - _centre(true)) / DEVIATION_MONTHS
    target = ops.softmax(-0.5 * offsets**2)
    return -ops.sum(target * ops.log_softmax(logits), axis=-1)


def _centre(true: keras.KerasTensor) -> keras.KerasTensor:
    """Centre of the target distribution, (N, 1): `target_centres`, interpolated."""
    centres = ops.convert_to_tensor(target_centres())
    last = len(target_centres()) - 1
    place = ops.clip(true / CENTRE_STEP_MONTHS - 1, 0, last)
    below = ops.clip(ops.floor(place), 0, last - 1)
    share = place - below
    index = ops.cast(below, "int32")
    return (1 - share) * ops.take(centres, index) + share * ops.take(centres, index + 1)


LOSSES: dict[str, Callable[[], str | keras.losses.Loss | Callable]] = {
    "mae": lambda: "mean_absolute_error",
    "mse": lambda: "mean_squared_error",
    "huber": lambda: keras.losses.Huber(HUBER_MONTHS),
    "distribution": lambda: label_distribution,
}
