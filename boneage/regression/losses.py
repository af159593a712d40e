"""What a training makes small."""

from collections.abc import Callable

import keras
from keras import ops

from boneage.regression.label_distribution import MONTHS

HUBER_MONTHS = 12.0
BIN_DEVIATION = 4.0
"""Standard deviation of the distribution that is to be learned, months."""
MEAN_WEIGHT = 0.1
"""Of the error of the distribution's mean, beside the cross-entropy."""


@keras.saving.register_keras_serializable()
def label_distribution(true: keras.KerasTensor, logits: keras.KerasTensor) -> object:
    """Cross-entropy of the months plus a tenth of their mean's error, (N,).

    The months to be learned are normal about the age. Source: Gao et al., Age
    estimation using expectation of label distribution learning, IJCAI 2018.

    true: (N, 1) months. logits: (N, MONTHS).
    """
    bins = ops.cast(ops.arange(MONTHS), "float32")
    true = ops.cast(true, "float32")
    expected = ops.sum(ops.softmax(logits) * bins, axis=-1)
    return label_cross_entropy(true, logits) + MEAN_WEIGHT * ops.abs(
        expected - true[:, 0]
    )


def label_cross_entropy(true: keras.KerasTensor, logits: keras.KerasTensor) -> object:
    """Cross-entropy of a normal distribution about the age, (N,)."""
    bins = ops.cast(ops.arange(MONTHS), "float32")
    target = ops.softmax(-0.5 * ((bins - true) / BIN_DEVIATION) ** 2)
    return -ops.sum(target * ops.log_softmax(logits), axis=-1)


LOSSES: dict[str, Callable[[], str | keras.losses.Loss | Callable]] = {
    "mae": lambda: "mean_absolute_error",
    "mse": lambda: "mean_squared_error",
    "huber": lambda: keras.losses.Huber(HUBER_MONTHS),
    "distribution": lambda: label_distribution,
}
