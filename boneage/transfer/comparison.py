"""Which differences between paced transfer and its rivals hold up.

A 95 % interval has two sources of chance: which radiographs were tested (percentile
bootstrap, the same resamples for both methods of a pair), and which trainings happened
to be run (Student's t with one degree of freedom less than seeds, because two or three
trainings are too few to resample). With one seed the second is unknown and left out. A
difference holds up when its interval leaves out zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boneage.evaluation import metrics
from boneage.evaluation.comparison import metric_cells
from boneage.evaluation.metrics import METRICS, MetricFunction
from boneage.transfer import methods as transfer_methods
from boneage.transfer.methods import Method

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
                f"{better} is better than {worse} by {size:.2f} months "
                f"({ends[0]:.2f} to {ends[1]:.2f})"
            )
        else:
            said = (
                f"{self.one.label} and {self.other.label}: no difference that holds "
                f"up ({self.months:+.2f} months, {self.lower:+.2f} to "
                f"{self.upper:+.2f})"
            )
        if min(len(self.one.seeds), len(self.other.seeds)) == 1:
            said += "; one seed, so another training might say otherwise"
        return "; ".join([said, *self.unfair()])

    def unfair(self) -> list[str]:
        """What differs between the two beside where they start, and when."""
        one, other = self.one.trained[0].settings, self.other.trained[0].settings
        facts = {
            name: (one.get(name), other.get(name))
            for name in transfer_methods.METHOD_SETTINGS
        }
        facts["epochs"] = (self.one.epochs, self.other.epochs)
        return [
            f"{name.replace('_', ' ')} differ: {' and '.join(map(str, values))}"
            for name, values in facts.items()
            if values[0] != values[1]
        ]


def resampled(metric: MetricFunction, method: Method, rows: np.ndarray) -> np.ndarray:
    """A metric of each training on each resample, (resample, seed).

    rows: (resample, radiograph), places among the test radiographs.
    """
    true, predicted = method.true_months, method.predicted_months
    return np.array([metric(true[chosen], predicted[:, chosen]) for chosen in rows])


def add_seed_variance(
    values: np.ndarray, observed: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What the mean over all trainings may be, given those that were run.

    values: (resample, seed). observed: (seed,), on the test part itself. Returns
    (resample,): the mean, moved by the standard error of the observed mean times a
    draw of Student's t; with one seed the values themselves.
    """
    mean, count = values.mean(axis=1), len(observed)
    if count == 1:
        return mean
    error = observed.std(ddof=1) / np.sqrt(count)
    return mean + error * rng.standard_t(count - 1, len(values))


def bootstrap_rows(count: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a bootstrap over `count` radiographs, (resample, radiograph)."""
    return rng.integers(0, count, (resamples, count))


def _interval(values: np.ndarray, radiographs: int) -> tuple[float, float]:
    """The middle 95 % of resampled values; NaN of one radiograph: it says nothing."""
    if radiographs < 2:
        return np.nan, np.nan
    lower, upper = np.nanquantile(values, [0.025, 0.975])
    return float(lower), float(upper)


def tabulate(group: str, method: Method, seed: int, resamples: int) -> pd.DataFrame:
    """Every metric of a method: the mean over its seeds, with an interval.

    Returns:
        `group,method,seeds,epochs,radiographs,validation_mae,metric,value,lower,upper`.
    """
    import pandas as pd

    true, count = method.true_months, len(method.seeds)
    rng = np.random.default_rng(seed)
    rows = bootstrap_rows(len(true), resamples, rng)
    found = []
    for name, metric in METRICS.items():
        observed = metric.function(true, method.predicted_months)
        value = float(observed.mean())
        values = add_seed_variance(
            resampled(metric.function, method, rows), observed, rng
        )
        # Student's t knows no bounds, the metrics do
        values = np.clip(values, *metric.bounds)
        lower, upper = _interval(values, len(true))
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

    Trainings of the same seeds are compared one by one: they share order and
    augmentation and, where the start is the same, the head's first weights.
    """
    rng = np.random.default_rng(seed)
    rows = bootstrap_rows(len(one.true_months), resamples, rng)
    of_one, of_other = (resampled(metrics.mae, m, rows) for m in (one, other))
    mae_one, mae_other = (
        metrics.mae(m.true_months, m.predicted_months) for m in (one, other)
    )
    if one.seeds == other.seeds:
        paired = mae_one - mae_other
        differences = add_seed_variance(of_one - of_other, paired, rng)
    else:
        differences = add_seed_variance(of_one, mae_one, rng)
        differences -= add_seed_variance(of_other, mae_other, rng)
    lower, upper = _interval(differences, len(one.true_months))
    months = mae_one.mean() - mae_other.mean()
    return Difference(one, other, float(months), float(lower), float(upper))


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
    conventional = [method for method in methods if not method.is_paced]
    if not paced or not conventional:
        return "only paced runs" if paced else "no paced run"
    one = min(paced, key=lambda method: method.validation_mae)
    other = min(conventional, key=lambda method: method.validation_mae)
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
    said = [verdict(methods, found), *(str(difference) for difference in found)]
    if len(found) > 1:
        said.append(
            f"{len(found)} comparisons at 95 %: of as many equal pairs, "
            f"{0.05 * len(found):.2g} hold up by chance"
        )
    return said


def markdown(table: pd.DataFrame, words: dict[str, list[str]], notes: list[str]) -> str:
    """Write tables and words for people: a section a group, a row a method.

    table: of `tabulate`, of all methods. words: of `in_words`, by group. notes: what to
    know before reading it.
    """
    text = [
        "# Paced transfer and conventional transfer",
        "",
        "Test part; errors in months, predicted less true: the mean over the seeds, "
        "and in brackets the 95 % interval over radiographs and trainings. "
        "Validation chose the epoch, and of a paced run the stage.",
        "",
        *[f"- {note}" for note in notes],
    ]
    text = text if notes else text[:-1]
    for group, said in words.items():
        rows = table[table.group == group]
        names = ["method", "seeds", "epochs", "radiographs", "validation MAE"]
        text += ["", f"## {group}", ""]
        headings = [*names, *(metric.heading for metric in METRICS.values())]
        text.append("| " + " | ".join(headings) + " |")
        text.append("|---" + "|---:" * (len(headings) - 1) + "|")
        for method in rows.method.unique():
            of_method = rows[rows.method == method].set_index("metric")
            first = of_method.iloc[0]
            cells = [method, str(first.seeds), str(first.epochs)]
            cells += [str(first.radiographs), f"{first.validation_mae:.1f}"]
            cells += metric_cells(of_method)
            text.append("| " + " | ".join(cells) + " |")
        text += ["", *[f"- {line}" for line in said]]
    return "\n".join(text) + "\n"
