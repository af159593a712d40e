"""Intervals: their promise on simulated errors, and where it cannot be kept."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.evaluation import ages
from boneage.prediction import conformal
from boneage.prediction.conformal import Calibration


def simulated(rng, count) -> Calibration:
    """Errors that grow with age, skewed and far from normal."""
    predicted = rng.uniform(0, 228, count)
    scale = 2 + predicted / 15
    return Calibration(predicted, predicted + scale * rng.gumbel(size=count), "girls")


def test_quantile_counts_the_new_hand():
    errors = np.arange(1.0, 11)
    # the ceil(11 c)-th of ten
    assert conformal.quantile(errors, 0.5) == 6
    assert conformal.quantile(errors, 0.9) == 10
    assert conformal.quantile(errors, 10 / 11) == 10
    assert conformal.quantile(errors, 0.92) == math.inf


@pytest.mark.parametrize(("hands", "finite"), [(0, False), (8, False), (9, True)])
def test_nine_hands_are_the_fewest_for_nine_in_ten(hands, finite):
    width = conformal.quantile(np.arange(float(hands)), 0.9)
    assert math.isfinite(width) == finite
    if finite:
        assert width == hands - 1


@given(st.lists(st.floats(0, 300), min_size=0, max_size=60), st.floats(0.01, 0.99))
@settings(max_examples=200, deadline=None)
def test_enough_of_the_errors_are_not_above_the_quantile(errors, coverage):
    width = conformal.quantile(np.array(errors), coverage)
    assert sum(e <= width for e in errors) >= min(
        len(errors), math.ceil((len(errors) + 1) * coverage - 1e-9)
    )


@pytest.mark.parametrize("hands", [9, 19, 40])
def test_promise_holds_on_average_for_few_hands(hands):
    rng = np.random.default_rng(hands)
    errors = np.abs(rng.standard_t(2, (4000, hands + 1)))
    inside = [conformal.quantile(row[:-1], 0.9) >= row[-1] for row in errors]
    # at least what was promised, and with the (n + 1) no more than 1 / (n + 1) above
    assert 0.9 - 0.015 < np.mean(inside) < 0.9 + 1 / (hands + 1) + 0.015


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_promise_holds_in_each_group_of_ages(coverage):
    rng = np.random.default_rng(0)
    inside, band = [], []
    for _ in range(60):
        calibration = simulated(rng, 500)
        new = simulated(rng, 100)
        for predicted, true in zip(new.predicted_months, new.true_months, strict=True):
            half = calibration.width(predicted, coverage).half_months
            inside.append(abs(predicted - true) <= half)
            band.append(int(ages.age_group(predicted)))
    inside, band = np.array(inside), np.array(band)
    for group in range(4):
        share = inside[band == group].mean()
        assert abs(share - coverage) < 0.03, group
    # one width for all ages would not: the errors of the oldest are far larger
    widths = [calibration.width(age, 0.9).half_months for age in (30, 90, 150, 200)]
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]


def test_small_group_is_taken_with_the_others_of_its_sex():
    ages = np.concatenate(
        [np.full(conformal.MIN_GROUP_HANDS - 1, 30.0), np.full(60, 150.0)]
    )
    errors = np.where(ages < 60, 2.0, 8.0)
    calibration = Calibration(ages, ages + errors, "boys")
    young, old = calibration.width(30, 0.9), calibration.width(150, 0.9)
    assert young == (8.0, "boys", 109)
    assert old == (8.0, "boys predicted 10 to 15 years", 60)
    one_more = Calibration(
        np.append(ages, 30.0), np.append(ages + errors, 32.0), "boys"
    )
    assert one_more.width(30, 0.9) == (2.0, "boys predicted below 5 years", 50)


def test_small_group_that_is_further_off_keeps_its_own_width():
    ages = np.repeat([30.0, 150.0], [40, 60])
    calibration = Calibration(ages, ages + np.where(ages < 60, 20.0, 8.0), "boys")
    assert calibration.width(30, 0.5) == (20.0, "boys predicted below 5 years", 40)
    assert calibration.width(150, 0.5) == (8.0, "boys predicted 10 to 15 years", 60)


@pytest.mark.parametrize(
    ("age", "group"),
    [
        (59.9, "girls predicted below 5 years"),
        (60, "girls predicted 5 to 10 years"),
        (179, "girls predicted 10 to 15 years"),
        (400, "girls predicted 15 years or more"),
        (-3, "girls predicted below 5 years"),
    ],
)
def test_groups_in_words(age, group):
    calibration = simulated(np.random.default_rng(1), 1000)
    assert calibration.width(age, 0.9).group == group


def test_hands_within_their_intervals_are_counted():
    calibration = Calibration(np.full(60, 100.0), np.full(60, 103.0), "boys")
    others = Calibration(
        np.array([100.0, 100, 100, 100]), np.array([97.0, 103, 103.5, 100]), "boys"
    )
    assert calibration.coverage_count(others, 0.9) == (3, 4)


def test_hands_without_an_interval_are_not_counted_as_within():
    calibration = Calibration(np.full(8, 100.0), np.full(8, 103.0), "boys")
    others = Calibration(np.array([100.0]), np.array([400.0]), "boys")
    assert calibration.coverage_count(others, 0.9) == (0, 0)


def test_group_too_small_for_the_coverage_is_taken_with_the_others():
    ages = np.repeat([30.0, 150.0], [60, 60])
    calibration = Calibration(ages, ages + np.where(ages < 60, 2.0, 8.0), "boys")
    assert calibration.width(30, 0.98) == (2.0, "boys predicted below 5 years", 60)
    assert calibration.width(30, 0.99) == (8.0, "boys", 120)


def test_usable_range_ends_where_ages_beyond_the_reach_are_predicted():
    # what the network can say ends at 20 and 180; the youngest and oldest are beyond
    true = np.arange(2.0, 222)
    calibration = Calibration(np.clip(true, 20, 180), true, "girls")
    assert calibration.usable_range_months() == (20, 180)
    # most of those beyond are predicted a little inside of it
    inside = np.where(true > 180, 176.0, np.clip(true, 20, 180))
    inside[-1] = 182
    assert Calibration(inside, true, "girls").usable_range_months()[1] == 176


def test_usable_range_of_a_network_without_limits_is_its_reach():
    true = np.arange(0.0, 201)
    low, high = Calibration(true, true, "boys").usable_range_months()
    assert low == pytest.approx(2, abs=1.01)
    assert high == pytest.approx(198, abs=1.01)


def test_one_misread_hand_does_not_move_the_usable_range():
    true = np.arange(2.0, 222)
    predicted = np.clip(true, 20, 180)
    predicted[0], predicted[-1] = 150, 60
    calibration = Calibration(predicted, true, "girls")
    assert calibration.usable_range_months() == (20, 180)


def test_usable_range_of_a_network_that_says_one_age_is_that_age():
    true = np.arange(0.0, 200)
    calibration = Calibration(np.full(200, 127.0), true, "boys")
    assert calibration.usable_range_months() == (127, 127)


def test_usable_range_of_a_network_that_tells_no_ages_apart_is_one_age():
    predicted = np.random.default_rng(0).uniform(120, 134, 300)
    true = np.random.default_rng(1).uniform(0, 228, 300)
    low, high = Calibration(predicted, true, "boys").usable_range_months()
    assert low == high == np.median(predicted)


def test_three_quarters_of_the_hands_beyond_the_reach_are_outside_the_range():
    predicted = np.arange(20.0, 220)
    true = predicted.copy()
    # the reach begins at 22: six hands are younger, predicted 20, 21 and 30 to 33
    true[10:14] = 5
    low, _ = Calibration(predicted, true, "girls").usable_range_months()
    assert low == 32


def test_without_validation_hands_no_range_is_known():
    empty = Calibration(np.zeros(0), np.zeros(0), "boys")
    assert empty.usable_range_months() == (-math.inf, math.inf)
