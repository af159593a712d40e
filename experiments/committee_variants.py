"""Other kinds of committee, for comparison with members of different seeds."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import ops

from boneage.segmentation import unet
from boneage.segmentation.committee import Committee, EpochPlan

CLIP_LIMIT = 0.03
DROPOUT = 0.3
DROPPED = ("down3_relu2", "bottom_relu2", "up3_relu2")
"""The layers after which activations are dropped: the deepest, as Bayesian SegNet does.

Source: Kendall, Badrinarayanan & Cipolla, Bayesian SegNet, BMVC 2017.
"""


@keras.saving.register_keras_serializable("boneage_benchmarks")
class ReluDropout(keras.layers.Layer):
    """A rectifier with dropout that stays active in prediction."""

    def __init__(self, **facts: object) -> None:
        """Accept the usual arguments of a layer."""
        super().__init__(**facts)
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Drop whole activations, in training and after."""
        return keras.random.dropout(ops.relu(x), DROPOUT, seed=self.seeds)


class Snapshots(Committee):
    """One network; the members are its states after the last epochs.

    Source: Huang et al., Snapshot ensembles, ICLR 2017.
    """

    def train_epoch(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        rows: np.ndarray,
        seeds: list[int],
        plan: EpochPlan,
    ) -> Iterator[tuple[int, float]]:
        """Hand each member's weights on to the next, and train the first."""
        for older, newer in zip(self.members[:0:-1], self.members[-2::-1], strict=True):
            older.set_weights(newer.get_weights())
        first = Committee(self.members[:1], self.clip_limit)
        yield from first.train_epoch(images, masks, rows, seeds, plan)


class DropoutPasses(Committee):
    """One network with active dropout; the members are its repeated predictions.

    Source: Gal & Ghahramani, Dropout as a Bayesian approximation, ICML 2016.
    """

    passes = 1

    def probabilities(self, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """(pass, image, row, column) float32 in [0, 1]."""
        once = super().probabilities
        return np.concatenate([once(images, batch_size) for _ in range(self.passes)])


def seeds(count: int, size: int, filters: int, seed: int) -> Committee:
    """The committee of the pipeline."""
    return Committee.new(count, size, filters, seed, CLIP_LIMIT)


def snapshots(count: int, size: int, filters: int, seed: int) -> Committee:
    """Snapshots, which start equal."""
    members = seeds(count, size, filters, seed).members
    return Snapshots(members, CLIP_LIMIT)


def dropout(count: int, size: int, filters: int, seed: int) -> Committee:
    """A U-Net whose deepest layers drop activations."""

    def dropping(layer: keras.Layer) -> keras.Layer:
        if layer.name in DROPPED:
            return ReluDropout(name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    keras.utils.set_random_seed(seed * 1000)
    plain = unet.build(size, filters)
    network = keras.models.clone_model(plain, clone_function=dropping)
    network.compile(optimizer=keras.optimizers.Adam(), loss=unet.dice_and_cross_entropy)
    committee = DropoutPasses([network], CLIP_LIMIT)
    committee.passes = count
    return committee


KINDS: dict[str, Callable[[int, int, int, int], Committee]] = {
    "seeds": seeds,
    "snapshots": snapshots,
    "dropout": dropout,
}
