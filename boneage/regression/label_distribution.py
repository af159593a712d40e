"""Bone age as a distribution over months: what a network with 240 logits says.

Gao et al., Age estimation using expectation of label distribution learning, IJCAI 2018.
"""

import numpy as np

MONTHS = 240
"""Logits, one a month from 0 on; the oldest hands of RSNA are 228 months old."""

_PLACES, _SHARES = np.polynomial.legendre.leggauss(64)
NODES = ((_PLACES + 1) / 2) ** 4
SHARES = 2 * ((_PLACES + 1) / 2) ** 3 * _SHARES
"""Of the integral in `pull`; dense at the start, where far logits soon outweigh all."""


def expected_months(outputs: np.ndarray) -> np.ndarray:
    """Bone ages, (N,) float32, of a network's outputs: (N, 1) months, or logits.

    outputs: (N, 1), or (N, MONTHS), whose expectation it is.
    """
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    return (_softmax(outputs) @ np.arange(MONTHS)).astype(np.float32)


def logit_attribution(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Months by which one more of each logit moves the expectation, (N, MONTHS).

    The mean of the expectation's gradient along the straight line between two sets of
    logits. So `pull * (end - start)` sums to the difference of their expectations:
    logits share it among them without a rest (integrated gradients; Sundararajan, Taly
    & Yan, Axiomatic attribution for deep networks, ICML 2017).

    start, end: (N, MONTHS).
    """
    bins, mean = np.arange(MONTHS), np.zeros(np.shape(end))
    for node, share in zip(NODES, SHARES, strict=True):
        of_month = _softmax(start + node * (end - start))
        expected = of_month @ bins
        mean += share * of_month * (bins - expected[:, np.newaxis])
    return mean


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(np.float64(logits) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
