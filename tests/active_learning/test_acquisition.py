"""The measures of disagreement on images of 2 x 2 pixels."""

import numpy as np
import pytest

from boneage.active_learning import acquisition
from boneage.segmentation import dice

DISAGREEMENT = ("vote_entropy", "jensen_shannon", "pairwise_dice")


def committee(*members) -> np.ndarray:
    """(member, 1, 2, 2) of one image's probabilities a member."""
    return np.array(members, np.float32)[:, np.newaxis]


LEFT, TOP = [[1, 0], [1, 0]], [[1, 1], [0, 0]]
ONE_OF_FOUR = committee(LEFT, TOP)


def test_vote_entropy():
    # two pixels of one bit each, an expected hand of two pixels
    assert acquisition.vote_entropy(ONE_OF_FOUR) == pytest.approx(1.0, abs=1e-4)


def test_consensus_entropy():
    # every pixel one bit, an expected hand of two pixels
    halves = committee(np.full((2, 2), 0.5), np.full((2, 2), 0.5))
    assert acquisition.consensus_entropy(halves) == pytest.approx(2.0, abs=1e-4)


def test_jensen_shannon_counts_sure_members_that_differ():
    assert acquisition.jensen_shannon(ONE_OF_FOUR) == pytest.approx(1.0, abs=1e-4)


def test_jensen_shannon_does_not_count_members_that_agree_in_doubt():
    halves = committee(np.full((2, 2), 0.5), np.full((2, 2), 0.5))
    assert acquisition.jensen_shannon(halves) == pytest.approx(0.0, abs=1e-4)


def test_pairwise_dice():
    # masks of two pixels with one in common: Dice 1/2
    assert dice.pairwise_disagreement(ONE_OF_FOUR) == pytest.approx(0.5)


def test_pairwise_dice_is_the_mean_over_all_pairs():
    three = committee(LEFT, TOP, TOP)
    assert dice.pairwise_disagreement(three) == pytest.approx((0.5 + 0.5 + 0) / 3)


def test_pairwise_dice_of_empty_masks():
    nothing = np.zeros((2, 2))
    assert dice.pairwise_disagreement(committee(nothing, nothing)) == 0
    assert dice.pairwise_disagreement(committee(nothing, LEFT)) == 1


def test_feature_cosine():
    # one image of one pixel, two channels
    features = np.array([[3.0, 0], [0, 2]]).reshape(2, 1, 1, 1, 2)
    assert acquisition.feature_cosine(features) == pytest.approx(1.0)
    features = np.array([[1.0, 0], [5, 5]]).reshape(2, 1, 1, 1, 2)
    assert acquisition.feature_cosine(features) == pytest.approx(1 - np.sqrt(0.5))


@pytest.mark.parametrize("name", DISAGREEMENT)
def test_members_that_say_the_same_do_not_disagree(name):
    one = np.random.default_rng(0).random((1, 3, 4, 4), dtype=np.float32)
    scores = acquisition.ACQUISITION_FUNCTIONS[name](np.concatenate([one, one, one]))
    np.testing.assert_allclose(scores, np.zeros(3), atol=1e-5)


def test_members_with_the_same_features_do_not_disagree():
    one = np.random.default_rng(0).random((1, 3, 4, 4, 2), dtype=np.float32)
    scores = acquisition.feature_cosine(np.concatenate([one, one * 2]))
    np.testing.assert_allclose(scores, np.zeros(3), atol=1e-5)


@pytest.mark.parametrize("name", acquisition.ACQUISITION_FUNCTIONS)
def test_a_larger_hand_does_not_score_more(name):
    rng = np.random.default_rng(0)
    small = np.zeros((2, 1, 32, 32), np.float32)
    small[:, :, 12:20, 12:20] = rng.random((2, 1, 8, 8))
    large = np.zeros_like(small)
    enlarged = small[:, :, 12:20, 12:20].repeat(3, axis=2).repeat(3, axis=3)
    large[:, :, 4:28, 4:28] = enlarged
    measure = acquisition.ACQUISITION_FUNCTIONS[name]
    np.testing.assert_allclose(measure(large), measure(small), rtol=1e-3)


@pytest.mark.parametrize("name", acquisition.ACQUISITION_FUNCTIONS)
def test_each_image_has_its_own_score(name):
    rng = np.random.default_rng(0)
    both = rng.random((2, 2, 4, 4), dtype=np.float32)
    measure = acquisition.ACQUISITION_FUNCTIONS[name]
    alone = np.concatenate([measure(both[:, :1]), measure(both[:, 1:])])
    np.testing.assert_allclose(measure(both), alone, rtol=1e-5)


@pytest.mark.parametrize("name", acquisition.ACQUISITION_FUNCTIONS)
def test_an_image_without_a_hand_has_a_finite_score(name):
    scores = acquisition.ACQUISITION_FUNCTIONS[name](np.zeros((2, 1, 4, 4), np.float32))
    assert np.isfinite(scores).all()
