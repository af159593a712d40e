"""Intervals that cover as often as they promise: split conformal prediction.

The runs have predicted hands that were held back from their training. Among n of these
the half width of the interval is the error that ceil((n + 1) coverage) of them do not
exceed: a new hand of the same kind lies inside with at least that probability, whatever
the networks and the distribution of their errors (Papadopoulos et al., ECML 2002; Lei
et al., JASA 113 (2018) 1094, section 2.2). Errors depend on sex and age, so a hand is
compared with those of its own sex and predicted age alone, which makes the promise hold
in each group (Mondrian: Vovk, Conditional validity of inductive conformal predictors,
PMLR 25 (2012) 475, section 4).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from boneage.evaluation.ages import age_group, age_group_name

MIN_GROUP_HANDS = 50
"""Hands of a group of its own: with fewer, one set of hands differs from the next so
much that an interval covers 9 in 10 on average, but 8 or 10 with these hands."""


REACH = 0.99
"""Quantile of the predictions, and one minus it, between which a network predicts."""
CAUGHT = 0.75
"""Share of the hands beyond the reach whose prediction is called a limit."""


class IntervalWidth(NamedTuple):
    """Half of an interval's width and the hands that it was derived from.

    half_months: inf where there are too few hands for any finite interval. group: in
    words. hands: their number.
    """

    half_months: float
    group: str
    hands: int


def quantile(errors_months: np.ndarray, coverage: float) -> float:
    """The half width that covers a new hand with probability `coverage`; inf for few.

    errors_months: (n,), at least 0. The ceil((n + 1) coverage)-th smallest: the new
    hand counts as one of them, so that the promise holds for every n and not for large
    ones alone.
    """
    # a hair less: 0.9 * 10 is 9.000000000000002 in some orders of multiplication
    rank = math.ceil((len(errors_months) + 1) * coverage - 1e-9)
    if rank > len(errors_months):
        return math.inf
    return float(np.partition(errors_months, rank - 1)[rank - 1])


@dataclass(frozen=True)
class Calibration:
    """Hands of one sex held back from training, and their predictions.

    predicted_months, true_months: (n,) float. population: girls or boys.
    """

    predicted_months: np.ndarray
    true_months: np.ndarray
    population: str

    def __len__(self) -> int:
        return len(self.true_months)

    def width(self, predicted_months: float, coverage: float) -> IntervalWidth:
        """Half the interval around a new prediction, and the hands behind it.

        These are the hands of the same predicted age group; the true age of a new hand
        is unknown. Where these are fewer than MIN_GROUP_HANDS, all hands of the sex,
        unless the errors of those few were larger: of two intervals that keep their
        promise the wider one keeps it, too.
        """
        errors = np.abs(self.predicted_months - self.true_months)
        group = int(age_group(predicted_months))
        is_alike = age_group(self.predicted_months) == group
        own = IntervalWidth(
            quantile(errors[is_alike], coverage),
            f"{self.population} predicted {age_group_name(group)}",
            int(is_alike.sum()),
        )
        if own.hands >= MIN_GROUP_HANDS and math.isfinite(own.half_months):
            return own
        of_sex = IntervalWidth(quantile(errors, coverage), self.population, len(self))
        finite = [w for w in (own, of_sex) if math.isfinite(w.half_months)]
        return max(finite, default=of_sex)

    def usable_range_months(self) -> tuple[float, float]:
        """Lowest and highest prediction that stand for an age and not for a limit.

        Very young and very old hands get the predictions at the ends of what a network
        predicts. Its reach is the range between the REACH quantile of its predictions
        for these hands and one minus it. Hands with a true age beyond the reach cannot
        be predicted right; the usable range ends where CAUGHT of them are outside.
        Without such hands it is the reach.
        """
        predicted, true = self.predicted_months, self.true_months
        if not len(self):
            return -math.inf, math.inf
        low, middle, high = np.quantile(predicted, [1 - REACH, 0.5, REACH])
        too_young, too_old = predicted[true < low], predicted[true > high]
        if len(too_young):
            low = np.quantile(too_young, CAUGHT, method="higher")
        if len(too_old):
            high = np.quantile(too_old, 1 - CAUGHT, method="lower")
        # a network that tells no ages apart predicts the same for all of them
        return float(min(low, middle)), float(max(high, middle))

    def coverage_count(self, others: "Calibration", coverage: float) -> tuple[int, int]:
        """How many other hands lie within their intervals, and how many have one."""
        half_widths = np.array(
            [
                self.width(predicted, coverage).half_months
                for predicted in others.predicted_months
            ]
        )
        has_interval = np.isfinite(half_widths)
        errors = np.abs(others.predicted_months - others.true_months)
        is_inside = has_interval & (errors <= half_widths)
        return int(np.count_nonzero(is_inside)), int(np.count_nonzero(has_interval))
