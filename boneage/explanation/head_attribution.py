"""What a network's head makes of pooled features: months, shared out among channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boneage.regression import label_distribution

if TYPE_CHECKING:
    import keras


class ChannelWeights(NamedTuple):
    """`(weights * pooled).sum(axis=1) + offsets == predicted_months`.

    weights: (N, channel), months that a channel adds for each unit of its mean.
    offsets: (N,), months that none of them adds. predicted_months: (N,).
    """

    weights: np.ndarray
    offsets: np.ndarray
    predicted_months: np.ndarray


class HeadAttribution:
    """The linear unit of one network, or the logits of its distribution."""

    def __init__(self, model: keras.Model):
        """Of `model`, a network of `regressor.build`; weights are read at every call.

        Raises:
            ValueError: it has no such layers.
        """
        from boneage.regression import network

        self._unit = model.get_layer(network.LINEAR_UNIT)
        self.units = self._unit.output
        self._takes_sex = network.takes_sex(model)
        self._months = None
        if not network.has_distribution(model):
            self._months = model.get_layer("bone_age_months")

    def __call__(self, units: np.ndarray, is_male: np.ndarray) -> ChannelWeights:
        """Share out what the head says.

        units: (N, unit), what the layer `units` put out. is_male: (N,) bool.
        """
        kernel, intercept = (np.asarray(w) for w in self._unit.get_weights())
        sex = is_male[:, np.newaxis] - 0.5
        at_rest = np.broadcast_to(intercept, units.shape)
        by_sex = np.zeros_like(kernel)
        if self._takes_sex:
            # the unit sees pooled, pooled * sex and sex, one after the other
            channels = len(kernel) // 2
            at_rest = at_rest + sex * kernel[-1]
            kernel, by_sex = kernel[:channels], kernel[channels:-1]
        pull, offsets, months = self._in_months(at_rest, units)
        weights = pull @ kernel.T + sex * (pull @ by_sex.T)
        return ChannelWeights(weights, offsets, months)

    def _in_months(
        self, at_rest: np.ndarray, units: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Months a unit adds, (N, unit), and months at rest and as they are, (N,)."""
        if self._months is None:
            pull = label_distribution.logit_attribution(at_rest, units)
            return (
                pull,
                label_distribution.expected_months(at_rest),
                label_distribution.expected_months(units),
            )
        scale, offset = float(self._months.scale), float(self._months.offset)
        said = (offset + scale * outputs[:, 0] for outputs in (at_rest, units))
        return np.full(units.shape, scale), *said
