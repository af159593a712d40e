"""The committee: U-Nets that differ in seed, in order and augmentation of batches."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from boneage.augmentation import augment_pair
from boneage.io import keras_models
from boneage.io.files import atomic_write
from boneage.segmentation import committee_folder, unet
from boneage.segmentation.compiled_committee import mask_probabilities

OPTIMIZERS = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}


@dataclass(frozen=True)
class EpochPlan:
    """One epoch of one member: its steps, batch size and learning rate."""

    steps: int
    batch_size: int
    learning_rate: float
    anneal: bool
    """Whether the rate falls to a hundredth within each epoch, and restarts.

    The members that ask, and those that are kept, have then settled (Loshchilov &
    Hutter, SGDR, ICLR 2017).
    """

    def rate(self, step: int) -> float:
        """Learning rate of one step."""
        if not self.anneal:
            return self.learning_rate
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * (0.01 + 0.99 * cosine)


class Committee:
    """Members trained on the same annotations, which disagree where these are few."""

    def __init__(
        self,
        members: list[keras.Model],
        clip_limit: float,
        epoch: int = 0,
        committee_hash: str = "",
    ) -> None:
        """Take members of one input size, after an `epoch`.

        clip_limit: see `preprocessing.prepare`. committee_hash: `hash_weights` at that
        epoch; an exported committee keeps it, though its weights are rounded.
        """
        self.members = members
        self.clip_limit = clip_limit
        self.epoch = epoch
        self.committee_hash = committee_hash
        self._feature_models: list[keras.Model] | None = None

    @property
    def size(self) -> int:
        """Side of the images, px."""
        return self.members[0].input_shape[1]

    @classmethod
    def new(
        cls,
        count: int,
        size: int,
        filters: int,
        seed: int,
        clip_limit: float,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
    ) -> "Committee":
        """Members with random weights, each from a seed of its own."""
        members = []
        for member in range(count):
            keras.utils.set_random_seed(seed * 1000 + member)
            network = unet.build(size, filters)
            network.compile(
                optimizer=OPTIMIZERS[optimizer](learning_rate),
                loss=unet.dice_and_cross_entropy,
            )
            members.append(network)
        return cls(members, clip_limit)

    @classmethod
    def load(cls, folder: Path) -> "Committee":
        """Load the members of a finished epoch.

        Raises:
            InputError: there is no committee, or a member is damaged.
        """
        state = committee_folder.read_state(folder)
        advice = committee_folder.advice(folder)
        members: list[keras.Model] = []
        for path in committee_folder.member_paths(folder, state):
            network = keras_models.load(
                path, [unet.FEATURES], advice, with_optimizer=True
            )
            members.append(network)
            committee_folder.check_input(
                path, network.input_shape[1:], members[0].input_shape[1:], advice
            )
        return cls(
            members, state["clip_limit"], state["epoch"], state["committee_hash"]
        )

    def hash_weights(self) -> str:
        """Name the committee by the content of its weights: 12 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=6)
        for member in self.members:
            for weights in member.get_weights():
                digest.update(np.ascontiguousarray(weights))  # type: ignore[arg-type]
        return digest.hexdigest()

    def train_epoch(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        rows: np.ndarray,
        seeds: list[int],
        plan: EpochPlan,
    ) -> Iterator[tuple[int, float]]:
        """Train one epoch; yields a member's number and mean loss after each batch.

        Args:
            images: (N, size, size) uint8, may be mapped from disk.
            masks: the same shape, 0 or 255.
            rows: which of them to train on.
            seeds: determine, with the member's number, order and augmentation.
            plan: how much and how fast.
        """
        for index, member in enumerate(self.members):
            rng = np.random.default_rng([*seeds, index])
            seen = plan.steps * plan.batch_size
            passes = -(-seen // len(rows))
            order = np.concatenate([rng.permutation(rows) for _ in range(passes)])
            losses = []
            for step in range(plan.steps):
                member.optimizer.learning_rate.assign(plan.rate(step))
                start = step * plan.batch_size
                pairs = [
                    augment_pair(images[row], masks[row], rng)
                    for row in order[start : start + plan.batch_size]
                ]
                x = np.stack([image for image, _ in pairs])[..., None]
                y = np.stack([mask for _, mask in pairs])[..., None] > 127
                loss = member.train_on_batch(x.astype(np.float32), y.astype(np.float32))
                losses.append(float(loss))
                yield index, float(np.mean(losses))

    def probabilities(self, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """(member, image, row, column) float32 in [0, 1] of (image, size, size) uint8.

        The last partial batch is padded, predicted and cut: nothing goes unscored.
        """
        return np.stack(
            [
                mask_probabilities(_predict(member, images, batch_size)[..., 0])
                for member in self.members
            ]
        )

    def features(self, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """Last feature maps, (member, image, row, column, channel) float32."""
        if self._feature_models is None:
            self._feature_models = [
                keras.Model(member.input, member.get_layer(unet.FEATURES).output)
                for member in self.members
            ]
        return np.stack(
            [_predict(model, images, batch_size) for model in self._feature_models]
        )

    def save_epoch(self, folder: Path, epoch: int) -> list[Path]:
        """Write the members beside those of the last epoch, `member_<k>.<epoch>`."""
        paths = []
        for index, member in enumerate(self.members):
            path = committee_folder.pending_path(folder, index, epoch)
            with atomic_write(path) as temporary:
                member.save(temporary)
            paths.append(path)
        return paths


def _predict(network: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    outputs = []
    for start in range(0, len(images), batch_size):
        rows = np.arange(start, start + batch_size).clip(max=len(images) - 1)
        batch = images[rows][..., None].astype(np.float32)
        outputs.append(network.predict_on_batch(batch)[: len(images) - start])
    return np.concatenate(outputs)
