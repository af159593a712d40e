"""Which differences between paced transfer and its rivals hold up.

Intervals are of the percentile bootstrap over test radiographs and, where a method was
trained with several seeds, over those too: each resample draws radiographs, the same
for both methods of a pair, and trainings. A difference holds up when its 95 % interval
leaves out zero. Few seeds are a small sample of trainings: the interval is then too
short rather than too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boneage.regression import agreement, comparison
from boneage.regression.agreement import METRICS, Metric
from boneage.regression.rivals import Method

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """Test MAE of `one` less that of `other`, months: below 0, `one` is better."""

    one: Method
    other: Method
    months: float
    lower: float
    upper: float

    @property
    def holds(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.lower > 0 or self.upper < 0

    def __str__(self) -> str:
        better, worse = self.one.label, self.other.label
        if self.months > 0:
            better, worse = worse, better
        size, ends = abs(self.months), sorted([abs(self.lower), abs(self.upper)])
        if self.holds:
            said = (
                f"{better} is better than {worse} by {size:.1f} months "
                f"({ends[0]:.1f} to {ends[1]:.1f})"
            )
        else:
            said = (
                f"{self.one.label} and {self.other.label}: no difference that holds "
                f"up ({self.months:+.1f} months, {self.lower:+.1f} to "
                f"{self.upper:+.1f})"
            )
        if min(len(self.one.seeds), len(self.other.seeds)) == 1:
            said += "; one seed, so another training might say otherwise"
        if self.one.epochs != self.other.epochs:
            said += (
                f"; budgets differ: {self.one.epochs} and {self.other.epochs} epochs"
            )
        return said


def resampled(
    metric: Metric,
    method: Method,
    rows: np.ndarray,
    trainings: np.ndarray,
) -> np.ndarray:
    """A metric, averaged over the trainings of each resample, (resample,).

    rows: (resample, radiograph). trainings: (resample, seed), places among the seeds.
    """
    true, predicted = method.true_months, method.predicted_months
    values = [
        metric(true[chosen], predicted[np.ix_(seeds, chosen)]).mean()
        for chosen, seeds in zip(rows, trainings, strict=True)
    ]
    return np.array(values)


def draw(
    radiographs: int, seeds: int, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (resample, radiograph) and trainings (resample, seed) of a bootstrap."""
    rows = rng.integers(0, radiographs, (resamples, radiographs))
    return rows, rng.integers(0, seeds, (resamples, seeds))


def tabulate(group: str, method: Method, seed: int, resamples: int) -> pd.DataFrame:
    """Every metric of a method: the mean over its seeds, with an interval.

    Returns:
        `group,method,seeds,epochs,radiographs,validation_mae,metric,value,lower,upper`.
    """
    import pandas as pd

    true, count = method.true_months, len(method.seeds)
    rng = np.random.default_rng(seed)
    rows, trainings = draw(len(true), count, resamples, rng)
    found = []
    for name, metric in METRICS.items():
        value = float(metric(true, method.predicted_months).mean())
        values = resampled(metric, method, rows, trainings)
        lower, upper = np.nanquantile(values, [0.025, 0.975])
        found.append((name, value, lower, upper))
    table = pd.DataFrame(found, columns=["metric", "value", "lower", "upper"])
    facts = {
        "group": group,
        "method": method.label,
        "seeds": count,
        "epochs": method.epochs,
        "radiographs": len(true),
        "validation_mae": method.validation_mae,
    }
    return table.assign(**facts)[[*facts, *table.columns]]


def compare(one: Method, other: Method, seed: int, resamples: int) -> Difference:
    """Test MAE of `one` less that of `other`, on the same resampled radiographs.

    Trainings of the same seeds are drawn together: they share order, augmentation
    and, where the start is the same, the head's first weights.
    """
    rng = np.random.default_rng(seed)
    rows, of_one = draw(len(one.true_months), len(one.seeds), resamples, rng)
    of_other = of_one
    if one.seeds != other.seeds:
        of_other = rng.integers(0, len(other.seeds), (resamples, len(other.seeds)))
    differences = resampled(agreement.mae, one, rows, of_one) - resampled(
        agreement.mae, other, rows, of_other
    )
    mae = [
        agreement.mae(m.true_months, m.predicted_months).mean() for m in (one, other)
    ]
    lower, upper = np.quantile(differences, [0.025, 0.975])
    return Difference(one, other, float(mae[0] - mae[1]), float(lower), float(upper))


def of_group(methods: list[Method], seed: int, resamples: int) -> list[Difference]:
    """Every paced method against every rival, and against the paced ones after it."""
    return [
        compare(one, other, seed, resamples)
        for place, one in enumerate(methods)
        if one.is_paced
        for other in methods[place + 1 :]
    ]


def verdict(methods: list[Method], found: list[Difference]) -> str:
    """Whether paced transfer wins, ties or loses against the best conventional start.

    Both are chosen by validation, so that the test part decides nothing twice.
    """
    paced = [method for method in methods if method.is_paced]
    rivals = [method for method in methods if not method.is_paced]
    if not paced or not rivals:
        return "only paced runs" if paced else "no paced run"
    one = min(paced, key=lambda method: method.validation_mae)
    other = min(rivals, key=lambda method: method.validation_mae)
    difference = next(d for d in found if d.one is one and d.other is other)
    outcome = (
        "ties with"
        if not difference.holds
        else ("wins against" if difference.months < 0 else "loses against")
    )
    return (
        f"paced transfer {outcome} the conventional start that validation prefers: "
        f"{difference}"
    )


def in_words(methods: list[Method], found: list[Difference]) -> list[str]:
    """The verdict, then every difference; each is a sentence."""
    return [verdict(methods, found), *(str(difference) for difference in found)]


def markdown(table: pd.DataFrame, words: dict[str, list[str]], notes: list[str]) -> str:
    """Write tables and words for people: a section a group, a row a method.

    table: of `tabulate`, of all methods. words: of `in_words`, by group. notes: what to
    know before reading it.
    """
    text = [
        "# Paced transfer and conventional transfer",
        "",
        "Test part; errors in months, predicted less true: the mean over the seeds, "
        "and in brackets the 95 % bootstrap interval over radiographs and seeds. "
        "Validation chose the epoch, and of a paced run the stage.",
        "",
        *[f"- {note}" for note in notes],
    ]
    text = text if notes else text[:-1]
    for group, said in words.items():
        rows = table[table.group == group]
        names = ["method", "seeds", "epochs", "radiographs", "validation MAE"]
        text += ["", f"## {group}", ""]
        text.append("| " + " | ".join([*names, *comparison.HEADINGS.values()]) + " |")
        text.append(
            "|---" + "|---:" * (len(names) + len(comparison.HEADINGS) - 1) + "|"
        )
        for method in rows.method.unique():
            of_method = rows[rows.method == method].set_index("metric")
            first = of_method.iloc[0]
            cells = [method, str(first.seeds), str(first.epochs)]
            cells += [str(first.radiographs), f"{first.validation_mae:.1f}"]
            cells += [
                comparison.with_interval(name, of_method.loc[name])
                for name in comparison.HEADINGS
            ]
            text.append("| " + " | ".join(cells) + " |")
        text += ["", *[f"- {line}" for line in said]]
    return "\n".join(text) + "\n"
