"""The learning rate over a training."""

import math
from collections.abc import Callable

import keras

from boneage.regression.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, steps: int, step: int) -> float:
    """Rate of a step: linear warm-up, then a cosine down to a hundredth, or nothing.

    steps: of one epoch. step: counted from 0 over the whole training.
    """
    warmup = settings.warmup_epochs * steps
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    if settings.decay == "none":
        return settings.learning_rate
    done = (step - warmup) / max(settings.epochs * steps - warmup, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    return settings.learning_rate * (0.01 + 0.99 * cosine)


class RateByStep(keras.callbacks.Callback):
    """Sets the learning rate before each step."""

    def __init__(self, rate: Callable[[int], float], first_step: int) -> None:
        """`rate` of a step, counted on from `first_step`."""
        super().__init__()
        self.rate, self.step = rate, first_step

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Set the rate of this step."""
        if keras.backend.backend() == "jax":
            # there `fit` holds the state outside of the network, the rate, too
            self.model.jax_state_sync()
        self.model.optimizer.learning_rate.assign(self.rate(self.step))
        self.step += 1


class StopAfterEpoch(keras.callbacks.Callback):
    """Leaves `fit` after each epoch: validation and checkpoints happen outside."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Ask `fit` to return."""
        self.model.stop_training = True
