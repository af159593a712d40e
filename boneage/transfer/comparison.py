"""Which differences between paced and conventional transfer are significant.

The 95 % intervals cover two sources of chance: the choice of test radiographs
(percentile bootstrap, with the same resamples for both methods of a pair) and the
choice of seeds (Student's t with one degree of freedom fewer than seeds, because two or
three trainings are too few to resample). With one seed the second is unknown and left
out. A difference is significant if its interval excludes zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boneage.evaluation import metrics
from boneage.evaluation.comparison import metric_cells
from boneage.evaluation.metrics import METRICS, MetricFunction
from boneage.transfer.methods import METHOD_SETTINGS, Method

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """Test MAE of `first` minus that of `second`, months; negative if it is better."""

    first: Method
    second: Method
    months: float
    lower: float
    upper: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.lower > 0 or self.upper < 0

    def __str__(self) -> str:
        better, worse = self.first.label, self.second.label
        if self.months > 0:
            better, worse = worse, better
        size, ends = abs(self.months), sorted([abs(self.lower), abs(self.upper)])
        if self.is_significant:
            text = (
                f"{better} is better than {worse} by {size:.2f} months "
                f"({ends[0]:.2f} to {ends[1]:.2f})"
            )
        else:
            text = (
                f"no significant difference between {self.first.label} and "
                f"{self.second.label} ({self.months:+.2f} months, {self.lower:+.2f} to "
                f"{self.upper:+.2f})"
            )
        if min(len(self.first.seeds), len(self.second.seeds)) == 1:
            text += "; based on one seed, so the variation between trainings is unknown"
        return "; ".join([text, *self.confounders()])

    def confounders(self) -> list[str]:
        """Differences between the two besides start layer and stages, in words."""
        first, second = (
            method.results[0].settings for method in (self.first, self.second)
        )
        facts = {name: (first.get(name), second.get(name)) for name in METHOD_SETTINGS}
        facts["epochs"] = (self.first.epochs, self.second.epochs)
        return [
            f"different {name.replace('_', ' ')}: {' and '.join(map(str, values))}"
            for name, values in facts.items()
            if values[0] != values[1]
        ]


def resampled(metric: MetricFunction, method: Method, rows: np.ndarray) -> np.ndarray:
    """A metric of each training on each resample, (resample, seed).

    rows: (resample, radiograph), indices of test radiographs.
    """
    true, predicted = method.true_months, method.predicted_months
    return np.array([metric(true[chosen], predicted[:, chosen]) for chosen in rows])


def add_seed_variance(
    values: np.ndarray, observed: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Resampled means over seeds with the variation between trainings added.

    values: (resample, seed). observed: (seed,), on the test part itself. Returns
    (resample,): the mean plus the standard error of the observed mean times a draw of
    Student's t; with one seed the values themselves.
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
    """The central 95 % of resampled values; NaN for fewer than two radiographs."""
    if radiographs < 2:
        return np.nan, np.nan
    lower, upper = np.nanquantile(values, [0.025, 0.975])
    return float(lower), float(upper)


def tabulate(group: str, method: Method, seed: int, resamples: int) -> pd.DataFrame:
    """Every metric of a method: the mean over its seeds and the interval.

    Returns:
        `group,method,seeds,epochs,radiographs,validation_mae,metric,value,lower,upper`.
    """
    import pandas as pd

    true, count = method.true_months, len(method.seeds)
    rng = np.random.default_rng(seed)
    rows = bootstrap_rows(len(true), resamples, rng)
    table_rows = []
    for name, metric in METRICS.items():
        observed = metric.function(true, method.predicted_months)
        value = float(observed.mean())
        values = add_seed_variance(
            resampled(metric.function, method, rows), observed, rng
        )
        # Student's t is unbounded, but the metrics are not
        values = np.clip(values, *metric.bounds)
        lower, upper = _interval(values, len(true))
        table_rows.append((name, value, lower, upper))
    table = pd.DataFrame(table_rows, columns=["metric", "value", "lower", "upper"])
    facts = {
        "group": group,
        "method": method.label,
        "seeds": count,
        "epochs": method.epochs,
        "radiographs": len(true),
        "validation_mae": method.validation_mae,
    }
    return table.assign(**facts)[[*facts, *table.columns]]


def compare(first: Method, second: Method, seed: int, resamples: int) -> Difference:
    """Test MAE of `first` minus that of `second`, on the same resampled radiographs.

    Trainings of equal seeds are compared in pairs, because they share order and
    augmentation and, for the same start, the initial weights of the head.
    """
    rng = np.random.default_rng(seed)
    rows = bootstrap_rows(len(first.true_months), resamples, rng)
    values, other_values = (resampled(metrics.mae, m, rows) for m in (first, second))
    mae, other_mae = (
        metrics.mae(m.true_months, m.predicted_months) for m in (first, second)
    )
    if first.seeds == second.seeds:
        differences = add_seed_variance(values - other_values, mae - other_mae, rng)
    else:
        differences = add_seed_variance(values, mae, rng)
        differences -= add_seed_variance(other_values, other_mae, rng)
    lower, upper = _interval(differences, len(first.true_months))
    months = mae.mean() - other_mae.mean()
    return Difference(first, second, float(months), float(lower), float(upper))


def compare_group(methods: list[Method], seed: int, resamples: int) -> list[Difference]:
    """Each paced method compared with the conventional and the later paced methods."""
    return [
        compare(first, second, seed, resamples)
        for place, first in enumerate(methods)
        if first.is_paced
        for second in methods[place + 1 :]
    ]


def verdict(methods: list[Method], differences: list[Difference]) -> str:
    """Whether paced transfer wins, ties or loses against the best conventional method.

    Both are chosen by validation MAE, so that the test part is used only once.
    """
    paced = [method for method in methods if method.is_paced]
    conventional = [method for method in methods if not method.is_paced]
    if not paced or not conventional:
        return "no conventional run" if paced else "no paced run"
    best, baseline = (
        min(group, key=lambda method: method.validation_mae)
        for group in (paced, conventional)
    )
    difference = next(
        d for d in differences if d.first is best and d.second is baseline
    )
    outcome = "ties with"
    if difference.is_significant:
        outcome = "wins against" if difference.months < 0 else "loses against"
    return (
        f"paced transfer {outcome} the conventional baseline with the lowest "
        f"validation MAE: {difference}"
    )


def in_words(methods: list[Method], differences: list[Difference]) -> list[str]:
    """The verdict and, where it does not say it all, every difference, a line each."""
    lines, count = [verdict(methods, differences)], len(differences)
    if count > 1:
        lines += map(str, differences)
        lines.append(
            f"{count} comparisons at the 95 % level: if all methods were equal, "
            f"{0.05 * count:.2g} would appear significant by chance"
        )
    return lines


def markdown(table: pd.DataFrame, words: dict[str, list[str]], notes: list[str]) -> str:
    """Tables and their summaries in Markdown: a section per group, a row per method.

    table: of `tabulate`, of all methods. words: of `in_words`, by group. notes: for the
    top of the page.
    """
    text = [
        "# Paced transfer and conventional transfer",
        "",
        "Test part. Errors are predicted minus true bone age in months: the mean over "
        "the seeds, with the 95 % interval over radiographs and trainings in brackets. "
        "Validation chose the epoch and the stage of paced runs.",
        "",
        *[f"- {note}" for note in notes],
    ]
    text = text if notes else text[:-1]
    for group, lines in words.items():
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
        text += ["", *[f"- {line}" for line in lines]]
    return "\n".join(text) + "\n"
