"""Bone age as a distribution over months: the output of a network with 240 logits.

Gao et al., Age estimation using expectation of label distribution learning, IJCAI 2018.
"""

import functools

import numpy as np

MONTHS = 240
"""Logits, one per month from 0 on; the oldest hands of RSNA are 228 months old."""

DEVIATION_MONTHS = 4.0
"""Standard deviation of the normal distribution that a network is to predict."""

CENTRE_STEP_MONTHS = 0.5
"""Distance between the ages of `target_centres`."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
# dense at the start of the line, where large logits soon outweigh all others
PLACES = ((_NODES + 1) / 2) ** 4
PLACE_WEIGHTS = 2 * ((_NODES + 1) / 2) ** 3 * _WEIGHTS
"""Quadrature of the integral in `logit_attribution`."""


def expected_months(
    outputs: np.ndarray, months: np.ndarray | None = None
) -> np.ndarray:
    """Bone ages, (N,) float32, of the outputs of a network.

    outputs: (N, 1) months, or (N, MONTHS) logits, whose expectation is returned.
    months: (MONTHS,), that the logits stand for; None for 0, 1, 2 and so on.
    """
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    months = np.arange(MONTHS) if months is None else months
    return (_softmax(outputs) @ months).astype(np.float32)


@functools.cache
def target_centres() -> np.ndarray:
    """Centre of the target distribution of each age, so that its mean is the age.

    Over the months 0 to 239 a normal distribution is cut off: about an age of 1 month
    its mean would be 3.3 months, and networks would learn to predict the youngest too
    old and the oldest too young. With the centre further out the mean is right.

    Returns:
        (age,) float32, months, for the ages CENTRE_STEP_MONTHS, 2 CENTRE_STEP_MONTHS
        and so on, below MONTHS - 1.
    """
    ages = np.arange(CENTRE_STEP_MONTHS, MONTHS - 1, CENTRE_STEP_MONTHS)
    months = np.arange(MONTHS)
    low, high = ages - 50 * DEVIATION_MONTHS, ages + 50 * DEVIATION_MONTHS
    for _ in range(60):  # bisection: the mean grows with the centre
        centres = (low + high) / 2
        offsets = (months - centres[:, np.newaxis]) / DEVIATION_MONTHS
        is_low = _softmax(-0.5 * offsets**2) @ months < ages
        low, high = np.where(is_low, centres, low), np.where(is_low, high, centres)
    return centres.astype(np.float32)


def logit_attribution(
    start: np.ndarray, end: np.ndarray, months: np.ndarray | None = None
) -> np.ndarray:
    """Months by which a unit of each logit moves the expectation, (N, MONTHS).

    The mean of the expectation's gradient along the straight line between two sets of
    logits. So `logit_attribution(start, end) * (end - start)` sums to the difference of
    their expectations, without a remainder (integrated gradients; Sundararajan, Taly &
    Yan, Axiomatic attribution for deep networks, ICML 2017).

    start, end: (N, MONTHS). months: as for `expected_months`.
    """
    months = np.arange(MONTHS) if months is None else months
    mean = np.zeros(np.shape(end))
    for place, weight in zip(PLACES, PLACE_WEIGHTS, strict=True):
        probabilities = _softmax(start + place * (end - start))
        expected = probabilities @ months
        mean += weight * probabilities * (months - expected[:, np.newaxis])
    return mean


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(np.float64(logits) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
