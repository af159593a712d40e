"""All runs and their average on the test part, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boneage.errors import InputError
from boneage.evaluation.ages import GROUPS
from boneage.evaluation.bootstrap import bootstrap_interval
from boneage.evaluation.metrics import METRICS
from boneage.parallel import Skipped
from boneage.regression.run_folder import Run
from boneage.regression.settings import AVERAGE

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TestPredictions:
    """Predictions of a run, or of an average of runs, on the test part.

    Attributes:
        name: of the run.
        predictions: `id,is_male,bone_age_months,predicted_months`, ascending by id.
        age_mean_months, age_range_months: of the training part.
        split_hash: of the split.
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

    def flaws(self) -> list[str]:
        """Flaws of the predictions that show without the truth, with the run's name."""
        flaws = prediction_flaws(self.arrays[1], self.age_range_months)
        return [f"{self.name}: {flaw}" for flaw in flaws]


def read_test_predictions(run: Run) -> TestPredictions:
    """Read the test rows of a finished run.

    Raises:
        InputError: it has none, or config.json lacks a fact.
    """
    config = run.read_config()
    wanted = ("age_mean_months", "age_range_months", "split_hash")
    absent = [key for key in wanted if key not in config]
    if absent:
        raise InputError(
            f"{run.config} must state {', '.join(absent)}; train the run again"
        )
    if run.history.is_file():
        run.read_history()
    predictions = run.read_predictions("test").sort_values("id", ignore_index=True)
    if predictions.empty:
        raise InputError(
            f"{run.predictions} must have rows of the test part (got none); train the "
            "run again"
        )
    return TestPredictions(run.name, predictions, *(config[key] for key in wanted))


def read_all_test_predictions(
    runs: list[Run],
) -> tuple[list[TestPredictions], list[Skipped]]:
    """Read the runs that can be read; the others are skipped with their reasons.

    Raises:
        InputError: none can be read.
    """
    readable, skipped = [], []
    for run in runs:
        try:
            readable.append(read_test_predictions(run))
        except InputError as error:
            skipped.append(Skipped(run, str(error)))
    if not readable:
        raise InputError(skipped[0].reason)
    return readable, skipped


def average_predictions(
    runs: list[TestPredictions],
) -> tuple[TestPredictions | None, list[str]]:
    """The mean of the runs that share split and test radiographs, and their names.

    Of several such sets the largest; None if no two runs share theirs. Runs that
    predict NaN or infinity are left out.
    """
    sets: dict[tuple, list[TestPredictions]] = {}
    for run in runs:
        if np.isfinite(run.arrays[1]).all():
            key = (run.split_hash, *run.predictions.id)
            sets.setdefault(key, []).append(run)
    alike = max(sets.values(), key=len, default=[])
    if len(alike) < 2:
        return None, []
    ranges = np.array([run.age_range_months for run in alike])
    mean_months = np.mean([run.arrays[1] for run in alike], axis=0)
    mean = TestPredictions(
        AVERAGE,
        alike[0].predictions.assign(predicted_months=mean_months),
        float(np.mean([run.age_mean_months for run in alike])),
        (ranges[:, 0].min(), ranges[:, 1].max()),
        alike[0].split_hash,
    )
    return mean, [run.name for run in alike]


def tabulate(
    run: TestPredictions, seed: int = 0, resamples: int = 2000
) -> pd.DataFrame:
    """All metrics in all groups that have radiographs.

    Args:
        run: a run, or an average of runs.
        seed: of the bootstrap; equal for all runs, so that they share resamples.
        resamples: of the bootstrap.

    Returns:
        `run,group,radiographs,metric,value,lower,upper,mean_predictor`; the last is
        the metric of always predicting the mean age of the training part.
    """
    import pandas as pd

    true, predicted, is_male = run.arrays
    rows = []
    for group, belongs in GROUPS.items():
        chosen = belongs(true, is_male)
        if not chosen.any():
            continue
        mean = np.full(chosen.sum(), run.age_mean_months)
        for name, metric in METRICS.items():
            rng = np.random.default_rng(seed)
            interval = bootstrap_interval(
                metric.function, true[chosen], predicted[chosen], rng, resamples
            )
            mean_predictor = float(metric.function(true[chosen], mean))
            rows.append(
                (run.name, group, chosen.sum(), name, *interval, mean_predictor)
            )
    columns = "run group radiographs metric value lower upper mean_predictor"
    return pd.DataFrame(rows, columns=columns.split())


def to_markdown(table: pd.DataFrame, notes: list[str]) -> str:
    """Write the table for people: a section for each group, a row for each run.

    table: of `tabulate`, of all runs. notes: what to know before reading it.
    """
    headings = [metric.heading for metric in METRICS.values()]
    text = [
        "# Agreement of predicted and true bone ages",
        "",
        "Test part. Errors are in months, predicted minus true; 95 % bootstrap "
        "intervals are in brackets. The last row of each section is the error of "
        "always predicting the mean age of the training part.",
        "",
        *[f"- {note}" for note in notes],
    ]
    for group in table.group.unique():
        rows = table[table.group == group]
        text += ["", f"## {group}", ""]
        text.append("| run | radiographs | " + " | ".join(headings) + " |")
        text.append("|---" + "|---:" * (len(headings) + 1) + "|")
        mean_predictors: dict[tuple, None] = {}
        for run in rows.run.unique():
            of_run = rows[rows.run == run].set_index("metric")
            count = of_run.radiographs.iloc[0]
            text.append(
                f"| {run} | {count} | " + " | ".join(metric_cells(of_run)) + " |"
            )
            mean_cells = [
                metric.format(of_run.mean_predictor[name])
                for name, metric in METRICS.items()
            ]
            # runs of one test part share this row
            mean_predictors[(count, *mean_cells)] = None
        for count, *cells in mean_predictors:
            text.append(f"| training mean | {count} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def metric_cells(rows: pd.DataFrame) -> list[str]:
    """Every metric as `7.5 (7.2 to 7.8)`; `rows` has value, lower, upper by metric."""
    return [
        metric.format_interval(*rows.loc[name, ["value", "lower", "upper"]])
        for name, metric in METRICS.items()
    ]


def to_screen(table: pd.DataFrame, group: str = "all") -> list[str]:
    """The main columns of one group as aligned lines."""
    lines = [("run", "n", "MAE, months", "training mean", "ratio", "median", "CCC")]
    for run in table.run.unique():
        chosen = table[(table.run == run) & (table.group == group)].set_index("metric")
        mae = chosen.loc["mae"]
        cells = dict(zip(METRICS, metric_cells(chosen), strict=True))
        median = chosen.value["median_absolute_error"]
        lines.append(
            (
                run,
                str(mae.radiographs),
                cells["mae"],
                METRICS["mae"].format(mae.mean_predictor),
                f"{mae.value / mae.mean_predictor:.2f}",
                METRICS["median_absolute_error"].format(median),
                cells["concordance_correlation"],
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


def prediction_flaws(
    predicted_months: np.ndarray, age_range_months: tuple[float, float]
) -> list[str]:
    """Flaws of predictions that show without the truth, one line each.

    Args:
        predicted_months: (N,).
        age_range_months: least and greatest bone age of the training part.
    """
    flaws = []
    count = len(predicted_months)
    known = predicted_months[~np.isnan(predicted_months)]
    if len(known) < count:
        flaws.append(f"{count - len(known)} of {count} predictions are NaN")
    if len(known) > 1 and np.ptp(known) < 0.01:
        flaws.append(f"constant: every prediction is {known[0]:.1f} months")
    least, greatest = age_range_months
    beyond = ((known < least) | (known > greatest)).sum()
    if beyond:
        flaws.append(
            f"{beyond} of {count} predictions beyond the {least:g} to {greatest:g} "
            f"months of training ({known.min():.1f} to {known.max():.1f})"
        )
    return flaws
