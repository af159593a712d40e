"""Metrics against values worked out by hand, and their edge cases."""

import numpy as np
import pytest

from boneage.evaluation import comparison, metrics
from boneage.evaluation.bootstrap import bootstrap_interval

TRUE = np.array([10.0, 20, 30, 40])
PREDICTED = np.array([12.0, 18, 33, 45])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mae", 3.0),
        ("mse", 10.5),
        ("median_absolute_error", 2.5),
        ("explained_variance", 1 - 6.5 / 125),
        ("r2", 1 - 10.5 / 125),
        ("concordance_correlation", 2 * 142.5 / (125 + 166.5 + 2**2)),
        ("bias", 2.0),
        ("lower_limit_of_agreement", 2 - 1.96 * (26 / 3) ** 0.5),
        ("upper_limit_of_agreement", 2 + 1.96 * (26 / 3) ** 0.5),
    ],
)
def test_metric_equals_the_formula(name, value):
    assert metrics.METRICS[name].function(TRUE, PREDICTED) == pytest.approx(
        value, abs=1e-12
    )


def test_table_of_metrics_is_complete():
    assert list(metrics.METRICS) == [
        "mae",
        "median_absolute_error",
        "mse",
        "explained_variance",
        "r2",
        "concordance_correlation",
        "bias",
        "lower_limit_of_agreement",
        "upper_limit_of_agreement",
    ]


@pytest.mark.parametrize("metric", metrics.METRICS.values())
def test_leading_axes_give_one_value_each(metric):
    true = np.stack([TRUE, TRUE + 3, TRUE[::-1]])
    predicted = np.stack([PREDICTED, TRUE, PREDICTED])
    together = metric.function(true, predicted)
    alone = [metric.function(*pair) for pair in zip(true, predicted, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_perfect_prediction():
    assert metrics.mae(TRUE, TRUE) == 0
    assert metrics.r2(TRUE, TRUE) == 1
    assert metrics.concordance_correlation(TRUE, TRUE) == pytest.approx(1)


def test_constant_prediction_concords_with_nothing():
    constant = np.full(4, 25.0)
    assert metrics.concordance_correlation(TRUE, constant) == 0
    assert metrics.explained_variance(TRUE, constant) == 0


@pytest.mark.parametrize(
    "metric",
    [
        metrics.explained_variance,
        metrics.r2,
        metrics.concordance_correlation,
    ],
)
def test_shares_are_undefined_where_truth_is_constant(metric):
    # 0.1 three times: the computed variance is not quite 0
    assert np.isnan(metric(np.full(3, 0.1), np.array([1.0, 2, 3])))


def test_limits_of_agreement_are_undefined_for_one_radiograph():
    assert np.isnan(metrics.lower_limit_of_agreement(TRUE[:1], PREDICTED[:1]))


def test_interval_of_the_mean_matches_the_central_limit():
    rng = np.random.default_rng(0)
    errors = rng.normal(3, 10, 1000)
    true = rng.uniform(0, 228, 1000)
    value, low, high = bootstrap_interval(
        metrics.bias, true, true + errors, np.random.default_rng(1)
    )
    half = 1.96 * errors.std(ddof=1) / 1000**0.5
    assert value == pytest.approx(errors.mean())
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.05)


def test_interval_depends_on_the_seed_alone():
    drawn = [
        bootstrap_interval(
            metrics.mae, TRUE, PREDICTED, np.random.default_rng(seed), 100
        )
        for seed in (3, 3)
    ]
    assert drawn[0] == drawn[1]


def test_resamples_without_a_value_do_not_count():
    # a quarter of the resamples of three hold one radiograph alone
    _, low, high = bootstrap_interval(
        metrics.r2, TRUE[:3], PREDICTED[:3], np.random.default_rng(0)
    )
    assert np.isfinite([low, high]).all()


def test_interval_is_undefined_without_two_radiographs():
    rng = np.random.default_rng(0)
    # two radiographs: drawn twice each, R2 is not defined
    for seed in range(6):
        once = np.random.default_rng(seed)
        bootstrap_interval(metrics.r2, TRUE[:2], TRUE[:2] + 1, once, 1)
    none = bootstrap_interval(metrics.mae, TRUE[:0], TRUE[:0], rng)
    one = bootstrap_interval(metrics.mae, TRUE[:1], PREDICTED[:1], rng)
    assert np.isnan(none).all()
    assert one[0] == 2
    assert np.isnan(one[1:]).all()


def test_nan_prediction_makes_the_metric_nan():
    broken = np.array([12.0, np.nan, 33, 45])
    for metric in metrics.METRICS.values():
        values = bootstrap_interval(
            metric.function, TRUE, broken, np.random.default_rng(0)
        )
        assert np.isnan(values).all()


def test_two_thousand_radiographs_take_less_than_a_second():
    import time

    rng = np.random.default_rng(0)
    true = rng.uniform(0, 228, 2000)
    began = time.process_time()
    bootstrap_interval(metrics.mae, true, true + rng.normal(size=2000), rng)
    assert time.process_time() - began < 1


def test_flags_name_what_is_wrong():
    assert comparison.prediction_flaws(np.array([12.0, 200]), [1, 228]) == []
    assert comparison.prediction_flaws(np.array([120.0, 120]), [1, 228]) == [
        "constant: every prediction is 120.0 months"
    ]
    assert comparison.prediction_flaws(np.array([np.nan, -4, 230, 100]), [1, 228]) == [
        "1 of 4 predictions are NaN",
        "2 of 4 predictions beyond the 1 to 228 months of training (-4.0 to 230.0)",
    ]
    assert comparison.prediction_flaws(np.array([np.nan]), [1, 228]) == [
        "1 of 1 predictions are NaN"
    ]


def test_spanning_takes_best_and_worst():
    errors = np.array([5.0, -1, 3, 0, -9, 2])
    assert metrics.spread_over_errors(errors, 3).tolist() == [3, 5, 4]
    assert metrics.spread_over_errors(errors, 99).tolist() == [3, 1, 5, 2, 0, 4]
    assert metrics.spread_over_errors(errors, 1).tolist() == [3]
