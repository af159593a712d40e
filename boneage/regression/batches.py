"""Batches of hands from the packed file, never more than a few in memory."""

from collections.abc import Callable

import keras
import numpy as np

from boneage.augmentation import hand_ranges, keep_inside, sample_augmentation
from boneage.regression.dataset import HandDataset


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, augmented batches; the same for the same seed, epoch and number.

    Every batch is full: what does not fill one waits for another epoch's order, so
    that devices always share a batch evenly.
    """

    def __init__(
        self,
        hands: HandDataset,
        feed: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]],
        size: int,
        batch_size: int,
        augmentation: float,
        seed: int,
        workers: int = 1,
        share: tuple[int, int] = (0, 1),
        mirrored_share: float = 0.5,
    ) -> None:
        """Batches of `hands`.

        Args:
            hands: the training part.
            feed: makes the network's inputs of images and sexes.
            size: side of the images, px.
            batch_size: hands a step, of all devices together.
            augmentation: strength, see `augmentation.hand_ranges`; 0 for none, and no
                flips either.
            seed: of order and augmentation.
            workers: threads.
            share: of each batch: the first of 2 processes has (0, 2). `batch_size` is
                that of all, and a multiple of their number.
            mirrored_share: probability of a horizontal flip.
        """
        super().__init__(workers=workers, max_queue_size=8)
        self.hands, self.feed, self.size = hands, feed, size
        self.batch_size = min(batch_size, len(hands))
        self.augmentation, self.seed, self.share = augmentation, seed, share
        self.ranges = hand_ranges(augmentation, mirrored_share)
        self.start_epoch(0)

    def __len__(self) -> int:
        return len(self.hands) // self.batch_size

    def start_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch, counted from 0."""
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, epoch]).permutation(
            len(self.hands)
        )

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """One batch: the network's inputs, and (batch, 1) months."""
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        rng = np.random.default_rng([self.seed, self.epoch, index])
        # drawn for all, so that every process draws the same
        changes = [sample_augmentation(self.size, self.ranges, rng) for _ in chosen]
        index, processes = self.share
        own = np.array_split(np.arange(len(chosen)), processes)[index]
        images = np.stack([self.hands.image(chosen[n], self.size) for n in own])
        if self.augmentation > 0:
            images = np.stack(
                [
                    keep_inside(changes[n], image).apply(image)
                    for n, image in zip(own, images, strict=True)
                ]
            )
        chosen = chosen[own]
        cohort = self.hands.cohort
        months = cohort.bone_age_months[chosen].astype(np.float32)[:, np.newaxis]
        return self.feed(images, cohort.is_male[chosen]), months
