"""Calibration on local radiographs: a line for each sex, intervals from local errors.

Children, readers and atlases of one place differ from those that the networks learned
from. From radiographs of that place, with bone ages that its readers gave, a line maps
predictions to local bone ages. The lines are ridge regressions of the errors on a
common offset, a common slope and what the sexes differ by, so that few radiographs
change little and no change is the answer that they start from (Hoerl and Kennard,
Technometrics 12 (1970) 55). Penalties count in radiographs that show no change, and are
chosen by leaving one out.

Intervals are the shipped ones times a factor: the quantile of local errors, each in
units of the shipped half width at its sex and predicted age (locally weighted split
conformal prediction: Lei et al., JASA 113 (2018) 1094, section 5.2). The errors are
those of lines fitted without the radiograph's child (cross-conformal prediction: Vovk,
Ann Math Artif Intell 74 (2015) 9), so that none is judged by itself.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boneage.errors import InputError
from boneage.io import files
from boneage.io.provenance import file_hash
from boneage.layout import Layout
from boneage.prediction.conformal import (
    MIN_GROUP_HANDS,
    Calibration,
    IntervalWidth,
    quantile,
)
from boneage.prediction.inputs import Sex

MADE_BY = "calibrate.py"
MIN_RADIOGRAPHS, MIN_OF_SEX = 30, 10
"""Fewer in all, or of a sex, tell a line from chance too seldom."""
PENALTIES = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, math.inf)
"""Radiographs without any change that offset or slope are weighed against; inf: 0."""
FOLDS = 20
STEEPEST, FLATTEST = 1.6, 0.6
"""Slopes beyond these are faults of a table, and no difference between places."""


class Line(NamedTuple):
    """Local bone age as a function of the networks' prediction, both in months."""

    intercept_months: float = 0.0
    slope: float = 1.0

    def apply(self, months: float) -> float:
        """The calibrated age; no skeleton is younger than birth."""
        return max(self.intercept_months + self.slope * months, 0.0)


UNCHANGED = Line()


@dataclass(frozen=True)
class LocalReadings:
    """Local radiographs as the networks and a person read them.

    predicted_months, read_months: (n,) float. is_male: (n,) bool. child: (n,) int,
    equal for radiographs of one child.
    """

    predicted_months: np.ndarray
    read_months: np.ndarray
    is_male: np.ndarray
    child: np.ndarray

    def __len__(self) -> int:
        return len(self.read_months)

    def select(self, chosen: np.ndarray) -> LocalReadings:
        """Keep the radiographs where `chosen`, (n,) bool, holds."""
        return LocalReadings(
            self.predicted_months[chosen],
            self.read_months[chosen],
            self.is_male[chosen],
            self.child[chosen],
        )

    def of(self, sex: Sex) -> np.ndarray:
        """Which are of a sex, (n,) bool."""
        return self.is_male == (sex == "male")

    @property
    def sexes(self) -> list[Sex]:
        """Those with enough radiographs for a line of their own."""
        both: tuple[Sex, Sex] = ("female", "male")
        return [sex for sex in both if self.of(sex).sum() >= MIN_OF_SEX]


def fit_lines(local: LocalReadings) -> dict[Sex, Line]:
    """A line for each sex, shrunk towards none as far as leaving one out advises."""
    errors = local.read_months - local.predicted_months
    middle = local.predicted_months.mean()
    spread = max(float(local.predicted_months.std()), 1.0)
    design = _design(local, middle, spread)
    best = min(
        itertools.product(PENALTIES[::-1], repeat=2),
        key=lambda penalties: _leave_one_out_error(design, errors, penalties),
    )
    weights, _ = _ridge(design, errors, best)
    both = len(set(local.is_male.tolist())) == 2
    lines: dict[Sex, Line] = {}
    for sex in local.sexes:
        sign = (1.0 if sex == "male" else -1.0) if both else 0.0
        offset = weights[0] + sign * weights[1]
        tilt = (weights[2] + sign * weights[3]) / spread
        lines[sex] = Line(float(offset - tilt * middle), float(1 + tilt))
    return lines


def _design(local: LocalReadings, middle: float, spread: float) -> np.ndarray:
    """Offset and slope, common and by sex: (n, 4) float; 0 by sex with one sex."""
    both = len(set(local.is_male.tolist())) == 2
    sign = np.where(local.is_male, 1.0, -1.0) if both else np.zeros(len(local))
    tilt = (local.predicted_months - middle) / spread
    return np.stack([np.ones(len(local)), sign, tilt, sign * tilt], axis=1)


def _ridge(
    design: np.ndarray, errors: np.ndarray, penalties: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (4,) and leverages (n,) with penalties of offsets and of slopes."""
    weight_penalties = np.repeat(penalties, 2)
    used = np.isfinite(weight_penalties) & design.any(axis=0)
    weights, leverages = np.zeros(design.shape[1]), np.zeros(len(errors))
    if used.any():
        part = design[:, used]
        # a hair: two sexes whose predictions do not overlap may be collinear
        gram = part.T @ part + np.diag(weight_penalties[used] + 1e-6)
        solved = np.linalg.solve(gram, part.T)
        weights[used] = solved @ errors
        leverages = (part * solved.T).sum(axis=1)
    return weights, leverages


def _leave_one_out_error(
    design: np.ndarray, errors: np.ndarray, penalties: Sequence[float]
) -> float:
    """Mean absolute error of each radiograph by the fit without it, months."""
    weights, leverages = _ridge(design, errors, penalties)
    left = errors - design @ weights
    return float(np.abs(left / np.maximum(1 - leverages, 1e-6)).mean())


def out_of_fold(local: LocalReadings) -> np.ndarray:
    """Each radiograph calibrated by lines fitted without its child, (n,) months.

    Children, sorted by predicted age, are dealt out to FOLDS folds in turn: each fold
    has all ages, and the same radiographs give the same folds.
    """
    children, first = np.unique(local.child, return_index=True)
    order = np.lexsort((local.predicted_months[first], local.is_male[first]))
    fold_of_child = np.empty(len(children), int)
    fold_of_child[order] = np.arange(len(children)) % min(FOLDS, len(children))
    fold = fold_of_child[np.searchsorted(children, local.child)]
    months = np.empty(len(local))
    for number in np.unique(fold):
        inside = fold == number
        lines = fit_lines(local.select(~inside))
        for sex in ("female", "male"):
            chosen = inside & local.of(sex)
            line = lines.get(sex, UNCHANGED)
            months[chosen] = [line.apply(m) for m in local.predicted_months[chosen]]
    return months


@dataclass(frozen=True)
class LocalCalibration:
    """A calibration as it is stored beside the models.

    made: date. table_hash: of the table of bone ages. models_hash: of the networks that
    it holds for. radiographs, children: their numbers. lines: by sex; a sex that is
    missing stays as it is. predicted_months, calibrated_months, read_months, is_male:
    of the local radiographs, (n,), the second out of fold: intervals come from these.
    mae_before_months, mae_after_months, gain_months: cross-validated, the last with the
    limits of its 95 % interval. covered_before: local radiographs inside the shipped
    intervals of nominal coverage `coverage`.
    """

    made: str
    table_hash: str
    models_hash: str
    radiographs: int
    children: int
    lines: dict[Sex, Line]
    predicted_months: list[float]
    calibrated_months: list[float]
    read_months: list[float]
    is_male: list[bool]
    mae_before_months: float
    mae_after_months: float
    gain_months: tuple[float, float, float]
    coverage: float
    covered_before: int

    def in_words(self) -> str:
        """Name it, as every calibrated answer does."""
        return (
            f"calibrated on {self.radiographs} local radiographs, {self.made} "
            f"({self.table_hash})"
        )

    def lines_in_words(self) -> list[str]:
        """How each sex is changed."""
        words = []
        for sex, line in self.lines.items():
            if line == UNCHANGED:
                words.append(f"{sex}: the predicted months as they are")
                continue
            sign = "-" if line.intercept_months < 0 else "+"
            words.append(
                f"{sex}: {line.slope:.3f} times the predicted months {sign} "
                f"{abs(line.intercept_months):.1f}"
            )
        return words

    def gain_in_words(self) -> str:
        """The cross-validated gain, or that intervals alone are local."""
        if all(line == UNCHANGED for line in self.lines.values()):
            return (
                f"intervals alone: the shipped ones contain {self.covered_before} of "
                f"{self.radiographs} local bone ages, nominally "
                f"{100 * self.coverage:g} %"
            )
        gain, lower, upper = self.gain_months
        return (
            f"cross-validated MAE {self.mae_after_months:.1f} instead of "
            f"{self.mae_before_months:.1f} months, gain {gain:.1f} (95 % interval "
            f"{lower:.1f} to {upper:.1f})"
        )


def write(path: Path, calibration: LocalCalibration) -> None:
    """Write it as JSON, atomically."""
    files.write_json(path, asdict(calibration))


def read(path: Path) -> LocalCalibration | None:
    """The stored calibration; None if there is none.

    Raises:
        InputError: the file cannot be used.
    """
    if not path.exists():
        return None
    names = list(LocalCalibration.__dataclass_fields__)
    content = files.read_json(path, MADE_BY, names)
    try:
        content["lines"] = {
            sex: Line._make(map(float, line)) for sex, line in content["lines"].items()
        }
        arrays = ("predicted_months", "calibrated_months", "read_months", "is_male")
        lengths = {len(np.array(content[name], float)) for name in arrays}
        if lengths != {content["radiographs"]}:
            raise ValueError("lists of different lengths")
        content["gain_months"] = tuple(map(float, content["gain_months"]))
        return LocalCalibration(**{name: content[name] for name in names})
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} must be a calibration ({error}); run {MADE_BY} again, or remove "
            f"it: {MADE_BY} --remove"
        ) from error


def models_hash(layout: Layout, networks: Sequence[Path]) -> str:
    """Twelve hexadecimal digits that name a committee and the networks after it."""
    paths = [*sorted(layout.committee.glob("member_*")), *sorted(networks)]
    hashes = " ".join(file_hash(path) or "" for path in paths)
    return hashlib.sha256(hashes.encode()).hexdigest()[:12]


class Calibrator:
    """A stored calibration together with the shipped intervals that it stretches."""

    def __init__(
        self,
        calibration: LocalCalibration,
        shipped: Mapping[Sex, Calibration],
        coverage: float,
    ) -> None:
        """Measure local errors in units of the shipped intervals of this coverage."""
        self.calibration, self.shipped, self.coverage = calibration, shipped, coverage
        self._is_male = np.array(calibration.is_male, bool)
        errors = np.abs(
            np.array(calibration.read_months) - np.array(calibration.calibrated_months)
        )
        halves = [
            self._unit("male" if is_male else "female", months)
            for is_male, months in zip(
                self._is_male, calibration.predicted_months, strict=True
            )
        ]
        # where the shipped validation hands are too few, all errors count alike
        self._has_units = bool(np.isfinite(halves).all())
        self._errors = errors / np.array(halves) if self._has_units else errors

    def _unit(self, sex: Sex, predicted_months: float) -> float:
        if sex not in self.shipped:
            return math.inf
        return self.shipped[sex].width(predicted_months, self.coverage).half_months

    def has(self, sex: Sex) -> bool:
        """Whether a sex is calibrated: it had radiographs enough."""
        return sex in self.calibration.lines

    def line(self, sex: Sex) -> Line:
        """The line of a sex; none where it is not calibrated."""
        return self.calibration.lines.get(sex, UNCHANGED)

    def width(self, sex: Sex, predicted_months: float) -> IntervalWidth:
        """Half the interval around a calibrated age, from the local errors.

        predicted_months: before calibration. The errors of the sex alone where it has
        MIN_GROUP_HANDS, else those of all local radiographs.
        """
        errors, group = self._errors, "local radiographs"
        of_sex = self._is_male == (sex == "male")
        if of_sex.sum() >= MIN_GROUP_HANDS:
            errors = errors[of_sex]
            group = f"local radiographs of {self.shipped[sex].population}"
        unit = self._unit(sex, predicted_months) if self._has_units else 1.0
        return IntervalWidth(quantile(errors, self.coverage) * unit, group, len(errors))
