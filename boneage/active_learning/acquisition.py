"""Which radiographs the committee should ask a person to annotate.

A measure maps `probabilities: (member, image, row, column), float32 in [0, 1]` to
`score: (image,) float32`, higher where the members disagree more. Pixelwise measures
are summed over the image and divided by the hand's size: large hands are not favoured.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from boneage.segmentation.compiled_committee import compiled_copy
from boneage.segmentation.dice import pairwise_disagreement

if TYPE_CHECKING:
    from boneage.segmentation.committee import Committee
    from boneage.segmentation.compiled_committee import PredictingCommittee

SMALLEST_HAND = 0.01
"""Fraction of the image; for smaller predicted hands, the score is divided by it."""


def _entropy(probability: np.ndarray) -> np.ndarray:
    """Binary entropy in bits; 0 at 0 and 1."""
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    return -clipped * np.log2(clipped) - (1 - clipped) * np.log2(1 - clipped)


def _per_hand(pixel_scores: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Sum (image, row, column) over pixels, over the hand's expected pixels."""
    hand = probabilities.mean(axis=0).mean(axis=(1, 2))
    return pixel_scores.mean(axis=(1, 2)) / np.maximum(hand, SMALLEST_HAND)


def vote_entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of the members' votes (Dagan & Engelson, ICML 1995)."""
    votes = (probabilities > 0.5).mean(axis=0)
    return _per_hand(_entropy(votes), probabilities)


def consensus_entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of the members' mean probability (Settles 2009, section 3.2)."""
    return _per_hand(_entropy(probabilities.mean(axis=0)), probabilities)


def jensen_shannon(probabilities: np.ndarray) -> np.ndarray:
    """Consensus entropy less the members' own (BALD: Houlsby et al. 2011)."""
    own = _entropy(probabilities).mean(axis=0)
    return _per_hand(_entropy(probabilities.mean(axis=0)) - own, probabilities)


def feature_cosine(features: np.ndarray) -> np.ndarray:
    """One minus the cosine of the members' last feature maps, mean over pairs.

    The first implementation's measure. features: (member, image, row, column, channel).
    """
    flat = features.reshape(*features.shape[:2], -1).astype(np.float32)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-12)
    members = len(unit)
    cosines = [
        (unit[first] * unit[second]).sum(axis=1)
        for first in range(members)
        for second in range(first + 1, members)
    ]
    return 1 - np.mean(cosines, axis=0)


ACQUISITION_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "vote_entropy": vote_entropy,
    "consensus_entropy": consensus_entropy,
    "jensen_shannon": jensen_shannon,
    "pairwise_dice": pairwise_disagreement,
}
FEATURE_ACQUISITION_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "feature_cosine": feature_cosine,
}
RANDOM = "random"
"""Random selection, the baseline that is hard to beat."""

NAMES = (*ACQUISITION_FUNCTIONS, *FEATURE_ACQUISITION_FUNCTIONS, RANDOM)


def scorer(committee: "Committee", measure: str) -> "PredictingCommittee":
    """The committee to score a pool with: compiled, unless its features are asked."""
    if measure in FEATURE_ACQUISITION_FUNCTIONS:
        return committee
    return compiled_copy(committee)


def pool_scores(
    committee: "PredictingCommittee",
    images: np.ndarray,
    rows: np.ndarray,
    measure: str,
    batch_size: int = 16,
) -> Iterator[np.ndarray]:
    """Yield the scores, (image,), of the pool, batch by batch.

    Args:
        committee: the members whose disagreement is measured; a Committee of Keras for
            a measure of features.
        images: (N, size, size) uint8, may be mapped from disk.
        rows: (image,) int64, which of them to score.
        measure: a name in NAMES, but not RANDOM.
        batch_size: images per forward pass.
    """
    for start in range(0, len(rows), batch_size):
        batch = images[rows[start : start + batch_size]]
        if measure in FEATURE_ACQUISITION_FUNCTIONS:
            features = cast("Committee", committee).features(batch, batch_size)
            yield FEATURE_ACQUISITION_FUNCTIONS[measure](features)
        else:
            probabilities = committee.probabilities(batch, batch_size)
            yield ACQUISITION_FUNCTIONS[measure](probabilities)
