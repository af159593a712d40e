"""Intervals that cover as often as they promise: split conformal prediction.

The networks were asked about hands held back from their training. Among n of them the
error that ceil((n + 1) coverage) do not exceed is the half width of the interval: a new
hand of the same kind is inside with at least that probability, whatever the networks
and however their errors are distributed (Papadopoulos et al., ECML 2002; Lei et al.,
JASA 113 (2018) 1094, section 2.2). Errors depend on sex and age, so the hands are
compared with those of their own sex and predicted age alone, which makes the promise
hold in each group (Mondrian: Vovk, Conditional validity of inductive conformal
predictors, PMLR 25 (2012) 475, section 4).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

AGE_EDGES_MONTHS = (60.0, 120.0, 180.0)
"""Of the predicted age: the true one is not known of a new hand."""
LEAST_HANDS = 50
"""Of a group of its own: with fewer, one set of hands differs from the next so much
that the interval covers 9 in 10 on average, but 8 or 10 with these hands."""


class IntervalWidth(NamedTuple):
    """Half of an interval's width and the hands that it comes from.

    half_months: inf where there are too few hands for any finite interval. group: in
    words. hands: their number.
    """

    half_months: float
    group: str
    hands: int


def quantile(errors_months: np.ndarray, coverage: float) -> float:
    """The half width that `errors_months`, (n,), at least 0, promise; inf for few.

    The ceil((n + 1) coverage)-th smallest: the new hand counts as one of them, which
    is what makes the promise hold for every n and not for large ones alone.
    """
    # a hair less: 0.9 * 10 is 9.000000000000002 in some orders of multiplication
    rank = math.ceil((len(errors_months) + 1) * coverage - 1e-9)
    if rank > len(errors_months):
        return math.inf
    return float(np.partition(errors_months, rank - 1)[rank - 1])


@dataclass(frozen=True)
class Calibration:
    """Hands of one sex held back from training, and what the networks said of them.

    predicted_months, true_months: (n,) float. who: girls or boys.
    """

    predicted_months: np.ndarray
    true_months: np.ndarray
    who: str

    def __len__(self) -> int:
        return len(self.true_months)

    def width(self, predicted_months: float, coverage: float) -> IntervalWidth:
        """Half the interval around a new prediction, and whom it was compared with.

        Those predicted as old. Where these are fewer than LEAST_HANDS, all of the sex,
        unless those few were further off: of two intervals that hold what they promise
        the wider one holds it, too.
        """
        errors = np.abs(self.predicted_months - self.true_months)
        band = np.searchsorted(AGE_EDGES_MONTHS, self.predicted_months, "right")
        here = int(np.searchsorted(AGE_EDGES_MONTHS, predicted_months, "right"))
        alike = band == here
        group = f"{self.who} predicted {_words(here)}"
        own = IntervalWidth(quantile(errors[alike], coverage), group, int(alike.sum()))
        if own.hands >= LEAST_HANDS and math.isfinite(own.half_months):
            return own
        of_all = IntervalWidth(quantile(errors, coverage), self.who, len(self))
        finite = [w for w in (own, of_all) if math.isfinite(w.half_months)]
        return max(finite, default=of_all)

    def covered(self, others: "Calibration", coverage: float) -> tuple[int, int]:
        """How many other hands lie within their intervals, and how many have one."""
        widths = np.array(
            [
                self.width(predicted, coverage).half_months
                for predicted in others.predicted_months
            ]
        )
        has_one = np.isfinite(widths)
        errors = np.abs(others.predicted_months - others.true_months)
        return int(np.count_nonzero(has_one & (errors <= widths))), int(has_one.sum())


def _words(band: int) -> str:
    years = [f"{edge / 12:g}" for edge in AGE_EDGES_MONTHS]
    if band == 0:
        return f"below {years[0]} years"
    if band == len(years):
        return f"{years[-1]} years or more"
    return f"{years[band - 1]} to {years[band]} years"
