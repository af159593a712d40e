"""A distribution over months: its mean, its loss, and who moves the mean."""

import keras
import numpy as np
import pytest

from boneage.regression import label_distribution, losses
from boneage.regression.label_distribution import MONTHS


def logits_about(*ages, deviation=4.0):
    """Of normal distributions about ages, (age, MONTHS) float32."""
    off = np.arange(MONTHS) - np.array(ages)[:, np.newaxis]
    return (-0.5 * (off / deviation) ** 2).astype(np.float32)


def test_months_are_the_mean_of_the_distribution():
    said = label_distribution.expected_months(logits_about(30, 100.25, 228))
    np.testing.assert_allclose(said, [30, 100.25, 227.98], atol=0.02)
    assert said.dtype == np.float32
    even = np.full((1, MONTHS), 7.0, np.float32)
    np.testing.assert_allclose(
        label_distribution.expected_months(even), [119.5], rtol=1e-6
    )


def test_months_of_one_output_are_that_output():
    assert label_distribution.expected_months(np.array([[3.5], [-2.0]])).tolist() == [
        3.5,
        -2,
    ]


def test_logits_beyond_what_an_exponential_holds():
    far = np.full((1, MONTHS), -1e4, np.float32)
    far[0, 77] = 1e4
    assert label_distribution.expected_months(far).tolist() == [77]


@pytest.mark.parametrize("sharpness", [0.01, 0.1, 1])
def test_logits_share_the_difference_without_a_rest(sharpness):
    rng = np.random.default_rng(0)
    start, end = sharpness * rng.normal(0, 2, (2, 5, MONTHS))
    end += sharpness * 3 * logits_about(20, 60, 110, 170, 220)
    shared = (label_distribution.logit_attribution(start, end) * (end - start)).sum(
        axis=1
    )
    moved = label_distribution.expected_months(
        end
    ) - label_distribution.expected_months(start)
    assert np.abs(moved).max() > 1  # months
    np.testing.assert_allclose(shared, moved, atol=1e-2)


def test_later_months_pull_up_and_earlier_ones_down():
    at = logits_about(100)
    pull = label_distribution.logit_attribution(at, at)[0]
    assert pull[104] > 0 > pull[96]
    # a hair along the gradient
    nudged = at.copy()
    nudged[0, 104] += 0.01
    gain = float(
        label_distribution.expected_months(nudged)[0]
        - label_distribution.expected_months(at)[0]
    )
    assert gain / 0.01 == pytest.approx(pull[104], rel=0.05)


def loss_of(true, logits):
    """Of single hands, as Keras calls it."""
    months = np.array(true, np.float32)[:, np.newaxis]
    return keras.ops.convert_to_numpy(losses.label_distribution(months, logits))


def test_loss_is_least_where_the_distribution_is_about_the_age():
    ages = [40, 90, 100, 110, 160]
    found = loss_of([100] * 5, logits_about(*ages))
    assert found.argmin() == 2
    assert (np.diff(found) < 0).tolist() == [True, True, False, False]
    # the entropy of a normal distribution, and no error of the mean
    entropy = 0.5 * np.log(2 * np.pi * np.e * label_distribution.DEVIATION_MONTHS**2)
    assert found[2] == pytest.approx(entropy, abs=1e-3)


def test_loss_counts_a_tenth_of_the_months_between_age_and_mean():
    ages, logits = [100], logits_about(101)
    alone = keras.ops.convert_to_numpy(
        losses.label_cross_entropy(np.array([[100.0]], np.float32), logits)
    )
    assert loss_of(ages, logits) - alone == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("age", [1.0, 4.0, 7.5, 60.0, 131.0, 228.0, 237.0])
def test_mean_of_the_target_is_the_age_at_both_ends_too(age):
    # where the cross-entropy is stationary the prediction is the target
    logits = keras.Variable(np.zeros((1, MONTHS), np.float32))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = losses.label_cross_entropy(np.array([[age]], np.float32), logits.value)
    gradient = tape.gradient(loss, logits.value)
    target = 1 / MONTHS - keras.ops.convert_to_numpy(gradient)[0]
    assert target.min() >= -1e-6
    assert target @ np.arange(MONTHS) == pytest.approx(age, abs=0.02)


def test_ages_beyond_the_target_s_range_have_the_nearest_target():
    logits = logits_about(100)
    losses_of = [
        keras.ops.convert_to_numpy(
            losses.label_cross_entropy(np.array([[age]], np.float32), logits)
        )
        for age in (0.0, 0.5, 238.5, 239.5)
    ]
    assert losses_of[0] == losses_of[1]
    assert losses_of[2] == losses_of[3]
