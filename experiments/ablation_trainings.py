"""Trainings for experiments/ablations.py that step 4 does not offer."""

import keras
import numpy as np
from keras import layers, ops

from boneage.regression import network
from boneage.regression.dataset import HandDataset
from boneage.regression.label_distribution import MONTHS
from boneage.regression.losses import MEAN_WEIGHT, label_cross_entropy
from boneage.regression.trainer import Training

__all__ = ["AuxiliaryDistribution", "AveragedWeights", "Training", "UnitGain"]

EMA_MOMENTUM = 0.99
"""Momentum per step: averages about the last hundred steps."""


@keras.saving.register_keras_serializable()
class AveragingAdam(keras.optimizers.Adam):
    """Adam that sets the weights to their moving average at the end of `fit`."""

    latest: list[np.ndarray] | None = None
    """The weights before, to continue with."""

    def finalize_variable_values(self, var_list: list) -> None:
        """Store the weights and replace them with the average."""
        self.latest = [ops.convert_to_numpy(variable) for variable in var_list]
        super().finalize_variable_values(var_list)


class AveragedWeights(Training):
    """Validates and saves a moving average of the weights."""

    def _begin(self) -> keras.Model:
        model = super()._begin()
        optimizer = AveragingAdam(
            self.settings.learning_rate, use_ema=True, ema_momentum=EMA_MOMENTUM
        )
        model.compile(optimizer=optimizer, loss=model.loss)
        return model

    def _resume(self) -> None:
        """Start again, because checkpoints hold the average and not the weights."""
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


class UnitGain(Training):
    """The linear unit is in standard deviations of age, not in sixteenths of them."""

    def _build(self) -> keras.Model:
        gain, network.HEAD_GAIN = network.HEAD_GAIN, 1.0
        try:
            return super()._build()
        finally:
            network.HEAD_GAIN = gain


class AuxiliaryDistribution(Training):
    """Regresses months, with a distribution over months as an auxiliary output.

    The distribution is used only in the loss; predictions and activation maps are those
    of the linear unit.
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
        model.compile(optimizer=model.optimizer, loss=months_and_distribution_loss)
        return model

    def outputs(self, model: keras.Model, hands: HandDataset) -> np.ndarray:
        """Predictions of the linear unit, (hand, 1) float32 months."""
        return super().outputs(model, hands)[:, :1]


@keras.saving.register_keras_serializable()
def months_and_distribution_loss(
    true: keras.KerasTensor, both: keras.KerasTensor
) -> object:
    """Cross-entropy of the distribution plus a tenth of the MAE in months, (N,)."""
    error = ops.abs(both[:, 0] - true[:, 0])
    return label_cross_entropy(true, both[:, 1:]) + MEAN_WEIGHT * error
