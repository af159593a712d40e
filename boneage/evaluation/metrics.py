"""How well predicted bone ages agree with the true ones.

Every metric takes `(true_months, predicted_months)`, (..., radiograph) float, and
gives one float for each leading index: a plain float for two vectors, and all resamples
of a bootstrap in one call. An error is predicted less true. NaN where undefined.
"""

from collections.abc import Callable

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mae(true_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Mean absolute error, months; the field's "mean absolute difference"."""
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
    """1 - var(error) / var(true): blind to bias. NaN where all true ages are equal."""
    error_variance = (predicted_months - true_months).var(axis=-1)
    return 1 - error_variance / _variance_or_nan(true_months)


def r2(true_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Coefficient of determination, 1 - mse / var(true). NaN like the one before."""
    return 1 - mse(true_months, predicted_months) / _variance_or_nan(true_months)


def concordance_correlation(
    true_months: np.ndarray, predicted_months: np.ndarray
) -> np.ndarray:
    """Agreement with the line of identity, -1 to 1; 0 for a constant prediction.

    2 cov / (var + var + squared difference of the means), with the variances over N
    as in Lin, Biometrics 45 (1989) 255. NaN where all true ages are equal.
    """
    true_mean = true_months.mean(axis=-1, keepdims=True)
    predicted_mean = predicted_months.mean(axis=-1, keepdims=True)
    products = (true_months - true_mean) * (predicted_months - predicted_mean)
    shift = (true_mean - predicted_mean)[..., 0]
    spread = _variance_or_nan(true_months) + predicted_months.var(axis=-1)
    return 2 * products.mean(axis=-1) / (spread + np.square(shift))


def bias(true_months: np.ndarray, predicted_months: np.ndarray) -> np.ndarray:
    """Mean error, months: above 0 the network says too old."""
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
    "mae": mae,
    "mse": mse,
    "median_absolute_error": median_absolute_error,
    "explained_variance": explained_variance,
    "r2": r2,
    "concordance_correlation": concordance_correlation,
    "bias": bias,
    "lower_limit_of_agreement": lower_limit_of_agreement,
    "upper_limit_of_agreement": upper_limit_of_agreement,
}


def _variance_or_nan(months: np.ndarray) -> np.ndarray:
    # the range decides: a variance of equal numbers may come out as 1e-30
    varied = np.ptp(months, axis=-1) > 0
    return np.where(varied, months.var(axis=-1), np.nan)


def _sample_deviation(errors: np.ndarray) -> np.ndarray:
    count = errors.shape[-1]
    if count < 2:
        return np.full(errors.shape[:-1], np.nan)
    return errors.std(axis=-1, ddof=1)


def spanning(errors: np.ndarray, limit: int) -> np.ndarray:
    """Rows from the least to the greatest absolute error, at most `limit`, (n,) int.

    Evenly spaced among the sorted ones, best and worst included; NaN counts as worst.
    """
    order = np.argsort(np.abs(errors), kind="stable")
    if len(order) <= limit:
        return order
    return order[np.linspace(0, len(order) - 1, limit).round().astype(int)]
