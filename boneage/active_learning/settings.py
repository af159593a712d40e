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
    """How the committee is built, trained, and how it asks.

    The published values: --filters 32 --optimizer rmsprop --learning-rate 1e-4
    --no-anneal --batch-size 4 --images-per-epoch 0 --measure feature_cosine.
    """

    members: int = 2
    """U-Nets in the committee"""
    filters: int = 32
    """filters at full resolution; 16 is four times faster"""
    epochs: int = 100
    """epochs in all; after each but the last the oracle is asked"""
    images_per_epoch: int = 400
    """augmented images each member sees an epoch; 0 for every pair once"""
    batch_size: int = 8
    """images a training step"""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """how the weights are updated"""
    learning_rate: float = 1e-3
    """learning rate of the first step of each epoch"""
    anneal: bool = True
    """let the rate fall within each epoch, to rise again for the next"""
    measure: Measure = "vote_entropy"
    """how the members' disagreement is measured"""
    queries: int = 10
    """radiographs to ask about after each epoch"""
    score_at_most: int = 0
    """score a random part of the pool each epoch; 0 for all of it"""
    first: int = 20
    """radiographs to ask about before anything is trained, where none is annotated"""
    test_fraction: float = 0.2
    """share of the first annotated pairs kept for testing, drawn once"""
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
            raise InputError(f"--test-fraction {self.test_fraction}: between 0 and 1")
