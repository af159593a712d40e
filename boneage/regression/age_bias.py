"""The pull of predictions towards the middle ages, and how much of it is taken back.

A network that is unsure predicts nearer to the mean of its training ages: the youngest
are predicted too old, the oldest too young. Source of the correction: Cole et al.,
Molecular Psychiatry 23 (2018) 1385; de Lange & Cole, NeuroImage: Clinical 26 (2020)
102229. Whole, it makes predictions of no bias at any age, and larger errors; a part of
it shares both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boneage.regression.hand_network import REPORTED

if TYPE_CHECKING:
    import keras


LEAST_SLOPE = 0.5
"""Below it a line that is inverted makes more noise than ages."""


class Correction(NamedTuple):
    """Corrected months: `intercept_months + slope * predicted months`."""

    slope: float
    intercept_months: float

    def apply(self, predicted_months: np.ndarray) -> np.ndarray:
        """Corrected predictions, of the same shape."""
        return self.intercept_months + self.slope * predicted_months


def fit(
    predicted_months: np.ndarray, true_months: np.ndarray, strength: float
) -> Correction:
    """Invert the line from true to predicted ages, for a share `strength` of its pull.

    predicted_months, true_months: (n,), of hands that the network did not learn from.
    strength: 0 changes nothing, 1 leaves no linear dependence of the error on the age.

    Raises:
        ValueError: the predictions hardly follow the ages.
    """
    slope, intercept = np.polyfit(true_months, predicted_months, 1)
    if not slope > LEAST_SLOPE:
        raise ValueError(
            f"predictions grow by {slope:.2f} months for each month of age"
        )
    return Correction(
        float(1 - strength + strength / slope), float(-strength * intercept / slope)
    )


def correct_network(model: keras.Model, correction: Correction) -> None:
    """Make a network put out corrected months.

    Only the last layer changes, so that activation maps still add up to predictions.

    model: a network of `network.build_network`.
    """
    from boneage.regression import network

    slope, intercept = correction
    reported = model.get_layer(REPORTED)
    if network.has_distribution(model):
        # the shares of the months add up to 1
        (months,) = reported.get_weights()
        reported.set_weights([intercept + slope * months])
    else:
        reported.scale = slope * reported.scale
        reported.offset = intercept + slope * reported.offset
