"""The committee's options, as flags of step2_interactive_segmentation.py."""

from dataclasses import dataclass
from typing import Literal

from boneage.errors import InputError, check_minimum

Measure = Literal[
    "vote_entropy",
    "consensus_entropy",
    "jensen_shannon",
    "pairwise_dice",
    "feature_cosine",
    "random",
]


@dataclass(frozen=True)
class CommitteeSettings:
    """Settings of the committee: its networks, training and queries.

    The published values: --filters 32 --optimizer rmsprop --learning-rate 1e-4
    --no-anneal --batch-size 4 --images-per-epoch 0 --measure feature_cosine.
    """

    members: int = 2
    """U-Nets in the committee"""
    filters: int = 32
    """filters at full resolution; 16 is four times faster"""
    epochs: int = 100
    """number of epochs; queries follow each but the last"""
    images_per_epoch: int = 400
    """augmented images per member and epoch; 0 for every pair once"""
    batch_size: int = 8
    """images per training step"""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """optimizer of the members"""
    learning_rate: float = 1e-3
    """learning rate of the first step of each epoch"""
    anneal: bool = True
    """cosine decay of the learning rate within each epoch"""
    measure: Measure = "vote_entropy"
    """measure of the members' disagreement"""
    queries: int = 10
    """number of radiographs to ask about after each epoch"""
    ahead: bool = False
    """training of the next epoch while a person annotates; queries lag one round"""
    score_at_most: int = 0
    """size of a random sample of the pool to score each epoch; 0 for all"""
    first: int = 20
    """number of radiographs to ask about first, if none is annotated"""
    test_fraction: float = 0.2
    """fraction of the first annotated pairs kept for testing, drawn once"""
    seed: int = 0
    """random seed of weights, order, augmentation, and the test part"""

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        check_minimum(2, members=self.members, first=self.first)
        check_minimum(
            1,
            filters=self.filters,
            epochs=self.epochs,
            batch_size=self.batch_size,
            queries=self.queries,
        )
        check_minimum(
            0, images_per_epoch=self.images_per_epoch, score_at_most=self.score_at_most
        )
        if not 0 < self.test_fraction < 1:
            raise InputError(
                f"--test-fraction must be between 0 and 1 (got {self.test_fraction})"
            )
