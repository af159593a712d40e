"""One child over time: bone age against chronological age, and months of it a year.

Only radiographs that a table's patient column or DICOM headers give to one child of one
sex, with different chronological ages, are put together. Children are numbered in the
order of the call: no output names a patient.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boneage.io.files import atomic_write
from boneage.prediction.record import STATEMENT, Prediction
from boneage.prediction.reference import ReferenceTable
from boneage.reporting.formats import format_signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    *("child", "radiographs", "first_age_months", "last_age_months"),
    *("bone_age_months_a_year", "lower", "upper", "files", "notes"),
)
TABLE = "follow_up.csv"
BONE_AGE, CHRONOLOGICAL = "#0072B2", "#B04A00"
TRANSPARENT = 0.25


class Rate(NamedTuple):
    """Months of bone age a year of life; NaN where it cannot be told."""

    months_a_year: float
    lower: float
    upper: float


@dataclass(frozen=True)
class FollowUp:
    """The radiographs of one child, ascending by chronological age.

    number: of the child, from 1. predictions: two or more.
    """

    number: int
    predictions: tuple[Prediction, ...]

    @property
    def measured(self) -> list[Prediction]:
        """Those whose bone age is no limit and has an interval."""
        return [prediction for prediction in self.predictions if _is_sure(prediction)]

    def rate(self) -> Rate:
        """Slope of bone age over chronological age by weighted least squares.

        Weights are the inverse squares of the intervals' widths, taken as those of
        normal errors; the rate's interval has their coverage. It takes the errors of
        two radiographs as independent: where one child's errors are alike, as they tend
        to be, it is too wide and not too narrow. NaN with fewer than two ages.
        """
        ages, months, deviations = self._line_data()
        if len(ages) < 2 or np.ptp(ages) == 0:
            return Rate(math.nan, math.nan, math.nan)
        weights = deviations**-2.0
        centred = ages - np.average(ages, weights=weights)
        information = float((weights * centred**2).sum())
        slope = 12 * float((weights * centred * months).sum()) / information
        half = 12 * self._quantile() / math.sqrt(information)
        return Rate(slope, slope - half, slope + half)

    def line(self) -> tuple[np.ndarray, np.ndarray]:
        """The fitted line's ends: chronological and bone ages, (2,) months each."""
        ages, months, deviations = self._line_data()
        weights = deviations**-2.0
        slope = self.rate().months_a_year / 12
        ends = np.array([ages.min(), ages.max()])
        middle, mean = (np.average(v, weights=weights) for v in (ages, months))
        return ends, mean + slope * (ends - middle)

    def notes(self) -> list[str]:
        """What to know before reading the rate."""
        limits = len(self.predictions) - len(self.measured)
        notes = []
        if limits:
            notes.append(
                f"{limits} of {len(self.predictions)} bone ages are limits or have no "
                "interval and are not part of the rate"
            )
        doubtful = sum(bool(prediction.doubts) for prediction in self.measured)
        if doubtful:
            notes.append(f"{doubtful} of the bone ages have warnings")
        if math.isnan(self.rate().months_a_year):
            notes.append("no rate: it takes two bone ages at different ages")
        return notes

    def rate_in_words(self) -> str:
        """Write `10.4 months of bone age a year, 90 % interval 4.1 to 16.7`."""
        rate = self.rate()
        if math.isnan(rate.months_a_year):
            return "no rate"
        percent = f"{100 * self.predictions[0].coverage:g} %"
        value, lower, upper = (format_signed(v, 1).lstrip("+") for v in rate)
        words = f"{value} months of bone age a year, {percent} interval"
        return f"{words} {lower} to {upper}"

    def to_record(self) -> dict:
        """The child for JSON."""
        rate = (None if math.isnan(v) else round(v, 1) for v in self.rate())
        value, lower, upper = rate
        return {
            "child": self.number,
            "files": [prediction.file for prediction in self.predictions],
            "bone_age_months_a_year": value,
            "lower": lower,
            "upper": upper,
            "notes": self.notes(),
        }

    def _quantile(self) -> float:
        return NormalDist().inv_cdf((1 + self.predictions[0].coverage) / 2)

    def _line_data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Chronological ages, bone ages and standard errors, (n,) months each."""
        values = [
            (p.chronological_age_months, p.bone_age_months, p.upper_months)
            for p in self.measured
        ]
        ages, months, upper = np.array(values, float).reshape(-1, 3).T
        # the upper half: the lower one may end at birth
        return ages, months, (upper - months) / self._quantile()


def _is_sure(prediction: Prediction) -> bool:
    """Whether a bone age is no limit and has an interval."""
    return not prediction.qualifier and not math.isnan(prediction.lower_months)


def follow_ups(
    predictions: Sequence[Prediction],
) -> tuple[list[FollowUp], list[str]]:
    """Children with several radiographs, in the order of the call, and what was left.

    A patient that stands for two sexes is not taken for one child.
    """
    by_patient: dict[str, list[Prediction]] = {}
    notes, without_age, repeated = [], 0, 0
    seen: set[tuple[str, str, float]] = set()
    for prediction in predictions:
        if prediction.refusal or not prediction.patient:
            continue
        if math.isnan(prediction.chronological_age_months):
            without_age += 1
            continue
        age_months = prediction.chronological_age_months
        key = (prediction.patient, prediction.file, age_months)
        if key in seen:
            # the other hand of a radiograph is no second time
            repeated += 1
            continue
        seen.add(key)
        by_patient.setdefault(prediction.patient, []).append(prediction)
    if without_age:
        notes.append(
            f"{without_age} radiographs of known patients have no chronological age: "
            "not in the follow-up"
        )
    if repeated:
        notes.append(
            f"{repeated} further hands of a radiograph, or radiographs listed twice: "
            "not in the follow-up"
        )
    of_two_sexes = 0
    children: list[FollowUp] = []
    for of_patient in by_patient.values():
        if len({prediction.sex for prediction in of_patient}) > 1:
            of_two_sexes += 1
            continue
        ordered = sorted(of_patient, key=lambda p: p.chronological_age_months)
        if ordered[0].chronological_age_months < ordered[-1].chronological_age_months:
            children.append(FollowUp(len(children) + 1, tuple(ordered)))
    if of_two_sexes:
        notes.append(
            f"{of_two_sexes} patients have radiographs of two sexes, and may be two "
            "children: not in the follow-up"
        )
    return children, notes


def summary_lines(children: Sequence[FollowUp]) -> list[str]:
    """A line for each child, for the screen."""
    if not children:
        return ["follow-up: no child has radiographs at two ages"]
    return [
        f"child {child.number}: {len(child.predictions)} radiographs, "
        + "; ".join([child.rate_in_words(), *child.notes()])
        for child in children
    ]


def write(
    folder: Path,
    children: Sequence[FollowUp],
    reference: ReferenceTable | None,
    suffix: str = "png",
) -> None:
    """Write a figure for each child, and a table of all."""
    import matplotlib

    from boneage.plotting import STYLE, save

    for child in children:
        with matplotlib.rc_context(STYLE | {"text.parse_math": False}):
            save(draw(child, reference), folder / f"child_{child.number}.{suffix}")
    with (
        atomic_write(folder / TABLE) as temporary,
        temporary.open(
            "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for child in children:
            record = child.to_record()
            ages = [p.chronological_age_months for p in child.predictions]
            writer.writerow(
                [
                    *(child.number, len(ages), f"{ages[0]:.1f}", f"{ages[-1]:.1f}"),
                    *(record[name] for name in COLUMNS[4:7]),
                    " | ".join(record["files"]),
                    "; ".join([*record["notes"], STATEMENT]),
                ]
            )


def draw(child: FollowUp, reference: ReferenceTable | None) -> Figure:
    """Bone ages with intervals over chronological age, the fitted line, a reference."""
    from matplotlib.figure import Figure

    from boneage.plotting import FAINT

    figure = Figure(figsize=(5.6, 6.2))
    axes = figure.subplots()
    ages = np.array([p.chronological_age_months for p in child.predictions]) / 12
    known = [p.bone_age_months for p in child.predictions]
    known += [m for p in child.predictions for m in (p.lower_months, p.upper_months)]
    years = np.array([*known, *(12 * ages)]) / 12
    ends = [math.floor(np.nanmin(years) - 0.3), math.ceil(np.nanmax(years) + 0.3)]
    axes.plot(ends, ends, color=FAINT, lw=1, label="bone age = chronological age")
    sex = child.predictions[0].sex
    if reference is not None and sex in reference.ages:
        _band(axes, reference, child)
    if not math.isnan(child.rate().months_a_year):
        across, up = child.line()
        axes.plot(across / 12, up / 12, color=BONE_AGE, lw=1.2, label="fitted line")
    _points(axes, child)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set(ylabel="bone age (years)")
    axes.set_xlabel(f"chronological age (years)\n\n{STATEMENT.capitalize()}.")
    axes.set_title(
        f"Child {child.number}, sex {sex}: {len(ages)} radiographs\n"
        f"{child.rate_in_words()}"
    )
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower left", fontsize=8
    )
    return figure


def _band(axes: Axes, reference: ReferenceTable, child: FollowUp) -> None:
    table = reference.ages[child.predictions[0].sex] / 12
    lower, upper = (table[:, 1] + k * table[:, 2] for k in (-2, 2))
    source = reference.source
    source = source if len(source) <= 60 else f"{source[:57]}..."
    axes.fill_between(
        *(table[:, 0], lower, upper),
        color=CHRONOLOGICAL,
        alpha=TRANSPARENT / 2,
        lw=0,
        label=f"mean \N{PLUS-MINUS SIGN} 2 standard deviations: {source}",
    )


def _points(axes: Axes, child: FollowUp) -> None:
    percent = f"{100 * child.predictions[0].coverage:g} %"
    for prediction in child.predictions:
        across = prediction.chronological_age_months / 12
        limits = [prediction.lower_months / 12, prediction.upper_months / 12]
        axes.plot([across] * 2, limits, color=BONE_AGE, lw=4, alpha=TRANSPARENT)
        axes.plot(
            *(across, prediction.bone_age_months / 12, "o"),
            color=BONE_AGE,
            mfc=BONE_AGE if _is_sure(prediction) else "white",
        )
    axes.plot([], [], "o-", color=BONE_AGE, lw=4, label=f"bone age, {percent} interval")
    if len(child.measured) < len(child.predictions):
        axes.plot(
            [], [], "o", color=BONE_AGE, mfc="white", label="a limit: not in the line"
        )
