"""All runs side by side on the test part, with their average, as one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boneage.errors import InputError
from boneage.evaluation import bootstrap, comparison, metrics
from boneage.evaluation.ages import AGE_GROUP_COUNT, age_group, age_group_name
from boneage.evaluation.bootstrap import with_interval
from boneage.parallel import Skipped
from boneage.regression.run_folder import Run
from boneage.regression.settings import AVERAGE

if TYPE_CHECKING:
    import pandas as pd

GROUPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "all": lambda months, is_male: np.ones(len(months), bool),
    "male": lambda months, is_male: is_male,
    "female": lambda months, is_male: ~is_male,
    **{
        age_group_name(group): lambda months, is_male, group=group: (
            age_group(months) == group
        )
        for group in range(AGE_GROUP_COUNT)
    },
}
"""(bone_age_months (N,), is_male (N,) bool) -> (N,) bool."""

HEADINGS = {
    "mae": "MAE",
    "median_absolute_error": "median AE",
    "mse": "MSE",
    "explained_variance": "EVS",
    "r2": "R2",
    "concordance_correlation": "CCC",
    "bias": "bias",
    "lower_limit_of_agreement": "lower limit",
    "upper_limit_of_agreement": "upper limit",
}
"""Metric -> the head of its column, in the order of the columns."""
UNITLESS = ("explained_variance", "r2", "concordance_correlation")
"""Metrics without unit: three decimals instead of one."""


@dataclass(frozen=True)
class TestPredictions:
    """What a run, or an average of runs, said about the test part.

    predictions: `id,is_male,bone_age_months,predicted_months`, ascending by id.
    age_mean_months, age_range_months: of the training part. split_hash: of the split.
    """

    name: str
    predictions: pd.DataFrame
    age_mean_months: float
    age_range_months: tuple[float, float]
    split_hash: str

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True and predicted months, (N,) float, and is_male, (N,) bool."""
        return (
            self.predictions.bone_age_months.to_numpy(float),
            self.predictions.predicted_months.to_numpy(float),
            self.predictions.is_male.to_numpy(bool),
        )

    def flags(self) -> list[str]:
        """What is wrong with the predictions whatever the truth, by name."""
        predicted = self.arrays[1]
        faults = comparison.flags(predicted, self.age_range_months)
        return [f"{self.name}: {fault}" for fault in faults]


def read(run: Run) -> TestPredictions:
    """Read the test rows of a finished run.

    Raises:
        InputError: it has none, or config.json lacks a fact.
    """
    config = run.read_config()
    wanted = ("age_mean_months", "age_range_months", "split_hash")
    absent = [key for key in wanted if key not in config]
    if absent:
        raise InputError(f"{run.config}: no {', '.join(absent)}; train the run again")
    if run.history.is_file():
        run.read_history()
    predictions = run.read_predictions("test").sort_values("id", ignore_index=True)
    if predictions.empty:
        raise InputError(f"{run.predictions}: no rows of the test part")
    return TestPredictions(run.name, predictions, *(config[key] for key in wanted))


def read_all(runs: list[Run]) -> tuple[list[TestPredictions], list[Skipped]]:
    """Read the runs that can be read; the others are set aside with their reasons.

    Raises:
        InputError: none can be read.
    """
    answers, set_aside = [], []
    for run in runs:
        try:
            answers.append(read(run))
        except InputError as error:
            set_aside.append(Skipped(run, str(error)))
    if not answers:
        raise InputError(set_aside[0].reason)
    return answers, set_aside


def average(answers: list[TestPredictions]) -> tuple[TestPredictions | None, list[str]]:
    """The mean of the runs that share split and test radiographs, and their names.

    Of several such sets the largest; None when no two runs share theirs. A run that
    predicts something else than numbers has no say.
    """
    sets: dict[tuple, list[TestPredictions]] = {}
    for one in answers:
        if not np.isfinite(one.arrays[1]).all():
            continue
        key = (one.split_hash, *one.predictions.id)
        sets.setdefault(key, []).append(one)
    alike = max(sets.values(), key=len, default=[])
    if len(alike) < 2:
        return None, []
    said = np.mean([one.arrays[1] for one in alike], axis=0)
    ranges = np.array([one.age_range_months for one in alike])
    mean = TestPredictions(
        AVERAGE,
        alike[0].predictions.assign(predicted_months=said),
        float(np.mean([one.age_mean_months for one in alike])),
        (ranges[:, 0].min(), ranges[:, 1].max()),
        alike[0].split_hash,
    )
    return mean, [one.name for one in alike]


def tabulate(
    answers: TestPredictions, seed: int = 0, resamples: int = 2000
) -> pd.DataFrame:
    """All metrics in all groups that have radiographs.

    Args:
        answers: of a run or an average.
        seed: of the bootstrap; equal for all, so that they share resamples.
        resamples: of the bootstrap.

    Returns:
        `run,group,radiographs,metric,value,lower,upper,mean_predictor`; the last is
        the metric of always answering the training mean.
    """
    import pandas as pd

    true, predicted, is_male = answers.arrays
    rows = []
    for group, belongs in GROUPS.items():
        chosen = belongs(true, is_male)
        if not chosen.any():
            continue
        mean = np.full(chosen.sum(), answers.age_mean_months)
        for metric_name, metric in metrics.METRICS.items():
            rng = np.random.default_rng(seed)
            values = bootstrap.with_interval(
                metric, true[chosen], predicted[chosen], rng, resamples
            )
            without_network = float(metric(true[chosen], mean))
            rows.append(
                (
                    answers.name,
                    group,
                    chosen.sum(),
                    metric_name,
                    *values,
                    without_network,
                )
            )
    columns = "run group radiographs metric value lower upper mean_predictor"
    return pd.DataFrame(rows, columns=columns.split())


def markdown(table: pd.DataFrame, notes: list[str]) -> str:
    """Write the table for people: a section a group, a row a run.

    table: of `tabulate`, of all runs. notes: what to know before reading it.
    """
    text = [
        "# Agreement of predicted and true bone ages",
        "",
        "Test part; errors in months, predicted less true; in brackets the 95 % "
        "bootstrap interval. The last row of a section is what always answering the "
        "mean of the training part would get.",
        "",
        *[f"- {note}" for note in notes],
    ]
    for group in table.group.unique():
        rows = table[table.group == group]
        text += ["", f"## {group}", ""]
        text.append("| run | radiographs | " + " | ".join(HEADINGS.values()) + " |")
        text.append("|---" + "|---:" * (len(HEADINGS) + 1) + "|")
        means = {}
        for run in rows.run.unique():
            of_run = rows[rows.run == run].set_index("metric")
            count = of_run.radiographs.iloc[0]
            cells = [with_interval(name, of_run.loc[name]) for name in HEADINGS]
            text.append(f"| {run} | {count} | " + " | ".join(cells) + " |")
            alone = [
                format_metric(name, of_run.mean_predictor[name]) for name in HEADINGS
            ]
            means[(count, *alone)] = None
        for count, *cells in means:
            text.append(f"| training mean | {count} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def on_screen(table: pd.DataFrame, group: str = "all") -> list[str]:
    """The main columns of one group as aligned lines."""
    lines = [("run", "n", "MAE, months", "training mean", "ratio", "median", "CCC")]
    for run in table.run.unique():
        chosen = table[(table.run == run) & (table.group == group)].set_index("metric")
        mae = chosen.loc["mae"]
        lines.append(
            (
                run,
                str(mae.radiographs),
                with_interval("mae", mae),
                format_metric("mae", mae.mean_predictor),
                f"{mae.value / mae.mean_predictor:.2f}",
                format_metric("mae", chosen.value["median_absolute_error"]),
                with_interval(
                    "concordance_correlation", chosen.loc["concordance_correlation"]
                ),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def format_with_interval(metric: str, row: pd.Series) -> str:
    """Write `7.5 (7.2 to 7.8)`; the value alone where there is no interval."""
    value = format_metric(metric, row.value)
    if np.isnan(row.lower):
        return value
    return f"{value} ({format_metric(metric, row.lower)} to {format_metric(metric, row.upper)})"


def format_metric(metric: str, value: float) -> str:
    """Write a metric with the decimals that it deserves; a dash for undefined."""
    if np.isnan(value):
        return "-"
    decimals = 3 if metric in UNITLESS else 1
    # adding 0.0 turns -0.0 into 0.0
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def flags(predicted_months: np.ndarray, age_range_months: list[float]) -> list[str]:
    """What is wrong with predictions whatever the truth: one line for each fault.

    Args:
        predicted_months: (N,).
        age_range_months: least and greatest bone age of the training part.
    """
    found = []
    count = len(predicted_months)
    known = predicted_months[~np.isnan(predicted_months)]
    if len(known) < count:
        found.append(f"{count - len(known)} of {count} predictions are NaN")
    if len(known) > 1 and np.ptp(known) < 0.01:
        found.append(f"constant: every prediction is {known[0]:.1f} months")
    least, greatest = age_range_months
    beyond = ((known < least) | (known > greatest)).sum()
    if beyond:
        found.append(
            f"{beyond} of {count} predictions beyond the {least:g} to {greatest:g} "
            f"months of training ({known.min():.1f} to {known.max():.1f})"
        )
    return found
