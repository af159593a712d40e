"""How many months each channel of the pooled features adds to a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boneage.regression import label_distribution

if TYPE_CHECKING:
    from boneage.regression.hand_network import HandNetwork


class ChannelWeights(NamedTuple):
    """`(weights * pooled).sum(axis=1) + offsets == predicted_months`.

    weights: (N, channel), months that a channel adds for each unit of its mean.
    offsets: (N,), months that no channel adds. predicted_months: (N,).
    """

    weights: np.ndarray
    offsets: np.ndarray
    predicted_months: np.ndarray


class HeadAttribution:
    """Attributes predictions to channels, through the linear unit or the logits."""

    def __init__(self, network: HandNetwork):
        """Keep `network`; calls read its weights."""
        self._network = network

    def __call__(self, units: np.ndarray, is_male: np.ndarray) -> ChannelWeights:
        """Attribute predictions to channels.

        units: (N, unit), the outputs of the layer LINEAR_UNIT. is_male: (N,) bool.
        """
        kernel, intercept = self._network.head_weights()
        sex = is_male[:, np.newaxis] - 0.5
        baseline_logits = np.broadcast_to(intercept, units.shape)
        by_sex = np.zeros_like(kernel)
        if self._network.takes_sex:
            # the unit sees pooled, pooled * sex and sex, one after the other
            channels = len(kernel) // 2
            baseline_logits = baseline_logits + sex * kernel[-1]
            kernel, by_sex = kernel[:channels], kernel[channels:-1]
        per_unit, offsets, predicted = self._in_months(baseline_logits, units)
        weights = per_unit @ kernel.T + sex * (per_unit @ by_sex.T)
        return ChannelWeights(weights, offsets, predicted)

    def _in_months(
        self, baseline_logits: np.ndarray, units: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Months for each unit, and what the head predicts without and with features.

        baseline_logits, units: (N, unit), outputs of the layer for features of zero and
        for those of the hands. Returns (N, unit), (N,) and (N,) months.
        """
        rescaling = self._network.rescaling
        if rescaling is None:
            months = self._network.logit_months()
            return (
                label_distribution.logit_attribution(baseline_logits, units, months),
                label_distribution.expected_months(baseline_logits, months),
                label_distribution.expected_months(units, months),
            )
        scale, offset = rescaling
        return (
            np.full(units.shape, scale),
            offset + scale * baseline_logits[:, 0],
            offset + scale * units[:, 0],
        )
