"""Trainings that step 4 does not offer, for benchmarks/levers.py to try."""

import keras
import numpy as np
from keras import layers, ops

from boneage.regression import regressor
from boneage.regression.parts import Hands
from boneage.regression.training import Training

__all__ = ["Averaged", "Beside", "Distributed", "OfUnitGain", "Training"]

EMA_MOMENTUM = 0.99
"""A step's: about the last hundred steps are averaged."""
MONTHS = 240
"""Bins of the label distribution, one a month from 0 on."""
BIN_DEVIATION = 4.0
"""Standard deviation of the targets, months."""


@keras.saving.register_keras_serializable()
class AveragingAdam(keras.optimizers.Adam):
    """Adam that leaves the moving average of the weights when `fit` ends."""

    latest: list[np.ndarray] | None = None
    """The weights themselves, to go on from."""

    def finalize_variable_values(self, var_list: list) -> None:
        """Put the average in their place."""
        self.latest = [ops.convert_to_numpy(variable) for variable in var_list]
        super().finalize_variable_values(var_list)


class Averaged(Training):
    """Validates and keeps a moving average of the weights over steps."""

    def _begin(self) -> keras.Model:
        model = super()._begin()
        optimizer = AveragingAdam(
            self.settings.learning_rate, use_ema=True, ema_momentum=EMA_MOMENTUM
        )
        model.compile(optimizer=optimizer, loss=model.loss)
        return model

    def _epoch(self, epoch: int) -> dict:
        latest = self.model.optimizer.latest
        if latest is not None:
            for variable, value in zip(
                self.model.trainable_variables, latest, strict=True
            ):
                variable.assign(value)
        return super()._epoch(epoch)


class OfUnitGain(Training):
    """One unit of the linear unit is a standard deviation of age, and no sixteenth."""

    def _build(self) -> keras.Model:
        gain, regressor.HEAD_GAIN = regressor.HEAD_GAIN, 1.0
        try:
            return super()._build()
        finally:
            regressor.HEAD_GAIN = gain


class Distributed(Training):
    """Learns a distribution over months, and answers its expectation.

    Targets are normal about the age; the loss is cross-entropy plus the expectation's
    MAE in years, near enough a tenth of it in months (Gao et al., Age estimation using
    expectation of label distribution learning, IJCAI 2018).
    """

    def _build(self) -> keras.Model:
        plain = super()._build()
        pooled = plain.get_layer(regressor.LINEAR_UNIT).input
        logits = layers.Dense(MONTHS, dtype="float32", name=regressor.LINEAR_UNIT)(
            pooled
        )
        kept = layers.Activation("linear", dtype="float32", name="bone_age_months")
        return keras.Model(plain.inputs, kept(logits), name=plain.name)

    def _begin(self) -> keras.Model:
        model = super()._begin()
        model.compile(optimizer=model.optimizer, loss=of_distribution)
        return model

    def predict(self, model: keras.Model, hands: Hands) -> np.ndarray:
        """Expected months, (hand,) float32."""
        inputs, logits = model.inputs, model.outputs[0]
        # one layer in place of an op in the graph, which has no name of its own
        return super().predict(keras.Model(inputs, Expectation()(logits)), hands)


class Expectation(layers.Layer):
    """(N, months) logits -> (N, 1) months."""

    def call(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Mean of the distribution."""
        months = ops.cast(ops.arange(MONTHS), "float32")
        share = ops.softmax(ops.cast(logits, "float32"))
        return ops.sum(share * months, axis=-1, keepdims=True)


class Beside(Training):
    """Learns the months of the linear unit, and a distribution beside them.

    The distribution teaches the backbone and is not asked: predictions and activation
    maps are the linear unit's, and exact.
    """

    def _build(self) -> keras.Model:
        plain = super()._build()
        pooled = plain.get_layer(regressor.LINEAR_UNIT).input
        logits = layers.Dense(MONTHS, dtype="float32", name="distribution")(pooled)
        both = layers.Concatenate(dtype="float32", name="months_and_distribution")(
            [plain.outputs[0], logits]
        )
        return keras.Model(plain.inputs, both, name=plain.name)

    def _begin(self) -> keras.Model:
        model = super()._begin()
        model.compile(optimizer=model.optimizer, loss=of_both)
        return model

    def predict(self, model: keras.Model, hands: Hands) -> np.ndarray:
        """Months of the linear unit, (hand,) float32."""
        inputs, both = model.inputs, model.outputs[0]
        return super().predict(keras.Model(inputs, First()(both)), hands)


class First(layers.Layer):
    """(N, 1 + months) -> (N, 1) months."""

    def call(self, both: keras.KerasTensor) -> keras.KerasTensor:
        """The linear unit's."""
        return both[:, :1]


@keras.saving.register_keras_serializable()
def of_distribution(true: keras.KerasTensor, logits: keras.KerasTensor) -> object:
    """Cross-entropy of the months plus a tenth of the expectation's MAE, (N,)."""
    months = ops.cast(ops.arange(MONTHS), "float32")
    expected = ops.sum(ops.softmax(logits) * months, axis=-1)
    return _surprise(true, logits) + 0.1 * ops.abs(expected - true[:, 0])


@keras.saving.register_keras_serializable()
def of_both(true: keras.KerasTensor, both: keras.KerasTensor) -> object:
    """Cross-entropy of the months plus a tenth of the linear unit's MAE, (N,)."""
    return _surprise(true, both[:, 1:]) + 0.1 * ops.abs(both[:, 0] - true[:, 0])


def _surprise(true: keras.KerasTensor, logits: keras.KerasTensor) -> object:
    months = ops.cast(ops.arange(MONTHS), "float32")
    target = ops.softmax(-0.5 * ((months - true) / BIN_DEVIATION) ** 2)
    return -ops.sum(target * ops.log_softmax(logits), axis=-1)
