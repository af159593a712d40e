"""Trainings that step 4 does not offer, for experiments/ablations.py to try."""

import keras
import numpy as np
from keras import layers, ops

from boneage.regression import network
from boneage.regression.dataset import HandDataset
from boneage.regression.label_distribution import MONTHS
from boneage.regression.losses import MEAN_WEIGHT, label_cross_entropy
from boneage.regression.trainer import Training

__all__ = ["Averaged", "Beside", "OfUnitGain", "Training"]

EMA_MOMENTUM = 0.99
"""A step's: about the last hundred steps are averaged."""


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

    def _resume(self) -> None:
        """A checkpoint holds the average, not what to go on from: begin anew."""
        for path in self.run.folder.glob("*_*.keras"):
            path.unlink()

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
        gain, network.HEAD_GAIN = network.HEAD_GAIN, 1.0
        try:
            return super()._build()
        finally:
            network.HEAD_GAIN = gain


class Beside(Training):
    """Learns the months of the linear unit, and a distribution beside them.

    The distribution teaches the backbone and is not asked: predictions and activation
    maps are the linear unit's, and exact.
    """

    def _build(self) -> keras.Model:
        plain = super()._build()
        pooled = plain.get_layer(network.LINEAR_UNIT).input
        logits = layers.Dense(MONTHS, dtype="float32", name="distribution")(pooled)
        both = layers.Concatenate(dtype="float32", name="months_and_distribution")(
            [plain.outputs[0], logits]
        )
        return keras.Model(plain.inputs, both, name=plain.name)

    def _begin(self) -> keras.Model:
        model = super()._begin()
        model.compile(optimizer=model.optimizer, loss=of_both)
        return model

    def outputs(self, model: keras.Model, hands: HandDataset) -> np.ndarray:
        """Months of the linear unit, (hand, 1) float32."""
        return super().outputs(model, hands)[:, :1]


@keras.saving.register_keras_serializable()
def of_both(true: keras.KerasTensor, both: keras.KerasTensor) -> object:
    """Cross-entropy of the months plus a tenth of the linear unit's MAE, (N,)."""
    off = ops.abs(both[:, 0] - true[:, 0])
    return label_cross_entropy(true, both[:, 1:]) + MEAN_WEIGHT * off
