"""Whether a calibration on local radiographs helps, before it is stored."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import binom
from tqdm import tqdm

from boneage.errors import InputError
from boneage.evaluation.bootstrap import bootstrap_interval
from boneage.io.provenance import file_hash
from boneage.parallel import Skipped
from boneage.prediction.conformal import Calibration
from boneage.prediction.inputs import InputRadiograph, Sex
from boneage.prediction.local_calibration import (
    FLATTEST,
    MIN_OF_SEX,
    MIN_RADIOGRAPHS,
    STEEPEST,
    UNCHANGED,
    LocalCalibration,
    LocalReadings,
    fit_lines,
    out_of_fold,
)

if TYPE_CHECKING:
    from boneage.prediction.predictor import Predictor

TOO_FEW_COVERED = 0.05
"""Probability of as few covered by chance, below which intervals are replaced."""


class Origin(NamedTuple):
    """What a calibration is made of and for, as `LocalCalibration` states it."""

    table_hash: str
    models_hash: str

    @classmethod
    def of(cls, table: Path, predictor: Predictor) -> Origin:
        """The hashes of a table and of what a predictor consists of."""
        return cls(file_hash(table) or "", predictor.models_hash)


def read_locally(
    predictor: Predictor, inputs: Sequence[InputRadiograph], skipped: list[Skipped]
) -> LocalReadings:
    """What the networks predict of radiographs whose bone ages are known.

    Radiographs that cannot be read, are refused, or whose sex is not known are added to
    `skipped`. Those without a patient count as children of their own.

    Raises:
        InputError: a model is broken.
    """
    predictor.load()
    rows: list[tuple[float, float, bool]] = []
    children: list[str] = []
    for number, radiograph in enumerate(tqdm(inputs, "reading", disable=None)):
        try:
            if radiograph.sex == "unknown":
                raise InputError(
                    f"{radiograph.path}: the sex must be male or female for a "
                    "calibration (got unknown)"
                )
            prediction = predictor.predict(radiograph)
            if prediction.refusal:
                raise InputError(f"{radiograph.path} refused: {prediction.refusal}")
        except InputError as error:
            skipped.append(Skipped(radiograph.path, str(error)))
            continue
        is_male = radiograph.sex == "male"
        rows.append((prediction.bone_age_months, radiograph.read_months, is_male))
        children.append(radiograph.patient or f"{number}")
    predicted, read, is_male_column = np.array(rows, float).reshape(-1, 3).T
    _, child = np.unique(np.array(children, str), return_inverse=True)
    return LocalReadings(predicted, read, is_male_column.astype(bool), child)


def calibrate(
    local: LocalReadings,
    shipped: Mapping[Sex, Calibration],
    coverage: float,
    origin: Origin,
) -> LocalCalibration:
    """A calibration that helps: lines with a gain, or at least intervals that cover.

    The gain is the mean fall of the absolute error when each child is calibrated by
    lines fitted without it; lines are kept if its 95 % interval, a bootstrap over
    children, lies above 0. Otherwise only the intervals are replaced, if so few local
    bone ages lie inside the shipped ones as chance makes in 1 of 20 cases.

    Raises:
        InputError: too few radiographs, lines that no two places differ by, or
            neither lines nor intervals help.
    """
    sexes = local.sexes
    kept = np.any([local.of(sex) for sex in sexes], axis=0) if sexes else None
    if kept is None or kept.sum() < MIN_RADIOGRAPHS:
        counts = ", ".join(f"{local.of(s).sum()} {s}" for s in ("female", "male"))
        raise InputError(
            f"calibration must have {MIN_RADIOGRAPHS} radiographs with bone ages or "
            f"more, and {MIN_OF_SEX} of a sex to change it (got {counts}); add some"
        )
    local = local.select(kept)
    lines = fit_lines(local)
    for sex, line in lines.items():
        if not FLATTEST <= line.slope <= STEEPEST:
            raise InputError(
                f"bone ages and predictions must rise together (got {line.slope:.2f} "
                f"months a month for sex {sex}); look for wrong units, sexes or rows"
            )
    calibrated = out_of_fold(local)
    before = np.abs(local.read_months - local.predicted_months)
    after = np.abs(local.read_months - calibrated)
    gain = gain_interval(local.child, before, after)
    covered = covered_count(local, shipped, coverage)
    result = LocalCalibration(
        f"{datetime.date.today():%Y-%m-%d}",
        *origin,
        len(local),
        len(np.unique(local.child)),
        lines,
        _rounded(local.predicted_months),
        _rounded(calibrated),
        _rounded(local.read_months),
        local.is_male.tolist(),
        round(float(before.mean()), 3),
        round(float(after.mean()), 3),
        gain,
        coverage,
        covered,
    )
    if gain[1] > 0:
        return result
    if binom.cdf(covered, len(local), coverage) < TOO_FEW_COVERED:
        return replace(
            result,
            lines=dict.fromkeys(lines, UNCHANGED),
            calibrated_months=result.predicted_months,
            mae_after_months=result.mae_before_months,
            gain_months=(0.0, 0.0, 0.0),
        )
    raise InputError(
        f"calibration would not help: cross-validated gain {gain[0]:.1f} months, 95 % "
        f"interval {gain[1]:.1f} to {gain[2]:.1f}, and the {100 * coverage:g} % "
        f"intervals contain {covered} of {len(local)} bone ages; nothing was changed, "
        "use the models as they are"
    )


def gain_interval(
    child: np.ndarray, before: np.ndarray, after: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Mean fall of the absolute error, months, with its 95 % interval over children."""
    _, place = np.unique(child, return_inverse=True)
    counts = np.bincount(place)
    mean_before, mean_after = (np.bincount(place, e) / counts for e in (before, after))
    rng = np.random.default_rng(seed)
    value, lower, upper = bootstrap_interval(_mean_fall, mean_before, mean_after, rng)
    return round(value, 3), round(lower, 3), round(upper, 3)


def _mean_fall(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before - after).mean(axis=-1)


def covered_count(
    local: LocalReadings, shipped: Mapping[Sex, Calibration], coverage: float
) -> int:
    """Local bone ages inside the shipped intervals; one without an interval is not."""
    count = 0
    for sex, calibration in shipped.items():
        chosen = local.of(sex)
        ours = Calibration(
            local.predicted_months[chosen], local.read_months[chosen], "local"
        )
        count += calibration.coverage_count(ours, coverage)[0]
    return count


def _rounded(months: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in months]
