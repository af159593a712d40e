"""Metrics of agreement between predicted and true bone ages.

The function of a metric takes `(true_months, predicted_months)`, (..., radiograph)
float, and returns one float for each leading index: a plain float for two vectors, and
all resamples of a bootstrap in one call. An error is predicted minus true. NaN means
undefined. A new metric is a function and its record in METRICS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MetricFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A metric and how tables show it.

    Attributes:
        function: see the module's docstring.
        heading: head of its column.
        decimals: shown in tables.
        bounds: least and greatest value it can have.
    """

    function: MetricFunction
    heading: str
    decimals: int = 1
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def format(self, value: float) -> str:
        """Write a value with its decimals; a dash if it is undefined."""
        if np.isnan(value):
            return "-"
        # adding 0.0 turns -0.0 into 0.0
        return f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"

    def format_interval(self, value: float, lower: float, upper: float) -> str:
        """Write `7.5 (7.2 to 7.8)`; the value alone if there is no interval."""
        if np.isnan(lower):
            return self.format(value)
        ends = f"{self.format(lower)} to {self.format(upper)}"
        return f"{self.format(value)} ({ends})"


def mae(true_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Mean absolute error, months (in this field also "mean absolute difference")."""
    return np.abs(predicted_months - true_months).mean(axis=-1)


def mse(true_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Mean squared error, months squared."""
    return np.square(predicted_months - true_months).mean(axis=-1)


def median_absolute_error(
    true_months: np.ndarray, predicted_months: np.ndarray
) -> np.ndarray:
    """Median absolute error, months."""
    return np.median(np.abs(predicted_months - true_months), axis=-1)


def explained_variance(
    true_months: np.ndarray, predicted_months: np.ndarray
) -> np.ndarray:
    """1 - var(error) / var(true), blind to bias; NaN if all true ages are equal."""
    error_variance = (predicted_months - true_months).var(axis=-1)
    return 1 - error_variance / _variance_or_nan(true_months)


def r2(true_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Coefficient of determination, 1 - mse / var(true); NaN if all ages are equal."""
    return 1 - mse(true_months, predicted_months) / _variance_or_nan(true_months)


def concordance_correlation(
    true_months: np.ndarray, predicted_months: np.ndarray
) -> np.ndarray:
    """Agreement with the line of identity, -1 to 1; 0 for a constant prediction.

    2 cov / (var + var + squared difference of the means), with the variances over N
    as in Lin, Biometrics 45 (1989) 255; NaN if all true ages are equal.
    """
    true_mean = true_months.mean(axis=-1, keepdims=True)
    predicted_mean = predicted_months.mean(axis=-1, keepdims=True)
    products = (true_months - true_mean) * (predicted_months - predicted_mean)
    shift = (true_mean - predicted_mean)[..., 0]
    spread = _variance_or_nan(true_months) + predicted_months.var(axis=-1)
    return 2 * products.mean(axis=-1) / (spread + np.square(shift))


def bias(true_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Mean error, months; above 0 the predictions are too old."""
    return (predicted_months - true_months).mean(axis=-1)


def lower_limit_of_agreement(
    true_months: np.ndarray, predicted_months: np.ndarray
) -> np.ndarray:
    """Bias - 1.96 standard deviations: 2.5 % of the errors are expected below.

    Source: Bland and Altman, Lancet 327 (1986) 307. NaN for one radiograph.
    """
    errors = predicted_months - true_months
    return errors.mean(axis=-1) - 1.96 * _sample_deviation(errors)


def upper_limit_of_agreement(
    true_months: np.ndarray, predicted_months: np.ndarray
) -> np.ndarray:
    """Bias + 1.96 standard deviations: 2.5 % of the errors are expected above."""
    errors = predicted_months - true_months
    return errors.mean(axis=-1) + 1.96 * _sample_deviation(errors)


METRICS: dict[str, Metric] = {
    "mae": Metric(mae, "MAE", bounds=(0, np.inf)),
    "median_absolute_error": Metric(
        median_absolute_error, "median AE", bounds=(0, np.inf)
    ),
    "mse": Metric(mse, "MSE", bounds=(0, np.inf)),
    "explained_variance": Metric(explained_variance, "EVS", 3, (-np.inf, 1)),
    "r2": Metric(r2, "R2", 3, (-np.inf, 1)),
    "concordance_correlation": Metric(concordance_correlation, "CCC", 3, (-1, 1)),
    "bias": Metric(bias, "bias"),
    "lower_limit_of_agreement": Metric(lower_limit_of_agreement, "lower limit"),
    "upper_limit_of_agreement": Metric(upper_limit_of_agreement, "upper limit"),
}
"""Name -> metric, in the order of the tables' columns."""


def _variance_or_nan(months: np.ndarray) -> np.ndarray:
    # the range decides: a variance of equal numbers may come out as 1e-30
    varied = np.ptp(months, axis=-1) > 0
    return np.where(varied, months.var(axis=-1), np.nan)


def _sample_deviation(errors: np.ndarray) -> np.ndarray:
    count = errors.shape[-1]
    if count < 2:
        return np.full(errors.shape[:-1], np.nan)
    return errors.std(axis=-1, ddof=1)


def spread_over_errors(errors: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` indices from the least to the largest absolute error, (n,) int.

    Evenly spaced in the sorted order, best and worst included; NaN counts as worst.
    """
    order = np.argsort(np.abs(errors), kind="stable")
    if len(order) <= limit:
        return order
    return order[np.linspace(0, len(order) - 1, limit).round().astype(int)]
