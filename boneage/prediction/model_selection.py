"""Choose the networks that predict for each sex, and measure their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.cli import list_some
from boneage.errors import InputError
from boneage.io.files import read_json
from boneage.layout import PRETRAINED, Layout
from boneage.prediction import test_time_augmentation
from boneage.prediction.conformal import Calibration
from boneage.prediction.inputs import Sex
from boneage.prediction.record import Qualifier
from boneage.regression import run_folder
from boneage.regression.run_folder import Run
from boneage.segmentation.hand_images import Enhancement

if TYPE_CHECKING:
    import pandas as pd

SEXES: tuple[Sex, Sex] = ("female", "male")
MAX_RUNS = 3
"""Runs averaged by default: each costs the time of a whole network."""
MAX_ERROR_RATIO = 1.15
"""Of a run's validation error to the best run's; averaging worse runs seldom helps."""
COMMITTEE_BY = "al_segmentation/step2_interactive_segmentation.py"
SPREAD_QUANTILE = 0.99
"""Share of the validation hands on which the runs differ by no more than is usual. Of
1,000 such hands the errors of the shipped runs are 7.3 months between the quantiles
0.95 and 0.99, as of all, and 20 months beyond."""
REQUIRED_FACTS = ["backbone", "preprocessing", "sex", "age_range_months", "split_hash"]
"""Facts of config.json without which a run cannot predict."""


@dataclass(frozen=True)
class CandidateRun:
    """A finished run, its facts and its predictions for validation and test hands.

    name: of the run, with its folder's where another run has the same.
    """

    name: str
    run: Run
    config: dict
    predictions: pd.DataFrame

    def predictions_for(self, sex: Sex, part: str, column: str) -> pd.DataFrame:
        """`id,bone_age_months` and a column of predictions, for one sex of a part."""
        table = self.predictions
        chosen = table[(table.split == part) & (table.is_male == (sex == "male"))]
        return chosen[["id", "bone_age_months", column]]

    def validation_mae(self, sex: Sex) -> float:
        """Mean absolute error in months; NaN without such hands."""
        table = self.predictions_for(sex, "validation", "predicted_months")
        return float((table.predicted_months - table.bone_age_months).abs().mean())


@dataclass(frozen=True)
class SexEnsemble:
    """The runs whose predictions are averaged for one sex.

    calibration: their average on the validation hands, for intervals. test_hands: the
    same on the test hands. usual_spread_months: range of the runs' predictions that
    SPREAD_QUANTILE of the validation hands do not exceed. measured_view_count: views of
    each hand behind these predictions; 1 if predictions.csv lacks the number wanted.
    warnings: of runs that were trained on hands of another committee.
    """

    sex: Sex
    candidates: tuple[CandidateRun, ...]
    calibration: Calibration
    test_hands: Calibration
    usual_spread_months: float
    measured_view_count: int
    warnings: tuple[str, ...] = ()

    def qualifier(self, predicted_months: float) -> Qualifier:
        """Whether a prediction is a limit: the runs predict nothing beyond it."""
        lowest, highest = self.calibration.usable_range_months()
        if predicted_months <= lowest:
            return "or younger"
        return "or older" if predicted_months >= highest else ""

    @property
    def age_range_months(self) -> tuple[float, float]:
        """Youngest and oldest bone age that every run was trained on."""
        ranges = [run.config["age_range_months"] for run in self.candidates]
        return max(low for low, _ in ranges), min(high for _, high in ranges)


def find_models(layout: Layout, names: Sequence[str] = ()) -> Layout:
    """The models trained in `layout` if they are complete, else the pretrained ones.

    Args:
        layout: of the models.
        names: runs to use; where all are folders, a committee is enough.

    Raises:
        InputError: no such folder, or neither has a committee and a finished run.
    """
    # a user who names no folder may have none: the pretrained models are enough
    if layout.models != Layout.models and not layout.models.is_dir():
        raise InputError(
            f"--models must be a folder (got {layout.models}, which does not exist); "
            "name the folder with committee/ and regression/"
        )
    is_elsewhere = bool(names) and all(Path(name).is_dir() for name in names)
    pretrained = Layout(layout.data, PRETRAINED)
    for candidate in (layout, pretrained):
        has_committee = candidate.committee_state.is_file()
        has_run = any(candidate.regression.glob("*/predictions.csv"))
        if has_committee and (has_run or is_elsewhere):
            return candidate
    raise InputError(
        f"{layout.models} must contain a committee and a finished run, and so does not "
        f"{pretrained.models}; train both (README.md), or name their folder with "
        "--models"
    )


def select_ensembles(
    layout: Layout, names: Sequence[str], view_count: int
) -> tuple[dict[Sex, SexEnsemble], list[str]]:
    """The runs to average for each sex, and why other runs were left out.

    A sex that no run was trained on has no ensemble.

    Args:
        layout: of the models.
        names: names or folders of runs; empty for the best: up to MAX_RUNS of one
            split, within MAX_ERROR_RATIO of the lowest validation error.
        view_count: views of each hand to average.

    Raises:
        InputError: a run is missing, unfinished or broken; or the named runs were
            trained on different splits, so that no hand is known to be new to all.
    """
    runs = named_runs(layout, names)
    candidates, notes = [], []
    for name, run in zip(_distinct_names(runs), runs, strict=True):
        try:
            candidates.append(_read_candidate(name, run))
        except InputError as error:
            if names:
                raise
            notes.append(f"run left out: {error}")
    ensembles = {}
    for sex in SEXES:
        usable = [
            candidate
            for candidate in candidates
            if candidate.config["sex"] in ("all", sex)
            and not np.isnan(candidate.validation_mae(sex))
        ]
        if not names:
            usable = _select_best(usable, sex)
        if usable:
            warnings = [w for c in usable for w in _committee_warnings(layout, c)]
            ensemble = _make_ensemble(sex, usable, view_count)
            ensembles[sex] = replace(ensemble, warnings=tuple(warnings))
            notes += [warning for warning in warnings if warning not in notes]
    if not ensembles:
        raise InputError(
            f"{layout.regression} must contain a run with validation hands (got none: "
            f"{'; '.join(notes) or 'no validation hands'}); run {run_folder.TRAINED_BY}"
        )
    return ensembles, notes


def named_runs(layout: Layout, names: Sequence[str]) -> list[Run]:
    """The runs of these names, or in these folders; all finished runs for no names.

    Raises:
        InputError: a run is missing or unfinished.
    """
    if not names:
        return run_folder.finished_runs(layout.regression)
    runs = []
    for name in names:
        # a name, or a folder elsewhere, such as a stage of paced transfer
        places = (layout.regression / name, Path(name))
        folder = next((p for p in places if (p / "predictions.csv").is_file()), None)
        if folder is None:
            existing = [run.name for run in run_folder.finished_runs(layout.regression)]
            raise InputError(
                f"--runs must name finished runs (got {name}); {layout.regression} "
                f"has {list_some(existing)}"
            )
        if Run(folder) not in runs:
            runs.append(Run(folder))
    return runs


def _distinct_names(runs: Sequence[Run]) -> list[str]:
    """Names of runs; with the parent folder, or the whole path, where they clash."""
    for name_of in (
        lambda run: run.name,
        lambda run: f"{run.folder.parent.name}/{run.name}",
    ):
        names = [name_of(run) for run in runs]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in runs]


def _read_candidate(name: str, run: Run) -> CandidateRun:
    config = run.read_config()
    absent = [key for key in REQUIRED_FACTS if key not in config]
    if absent:
        raise InputError(
            f"{run.config} must state {', '.join(absent)}; train the run again"
        )
    try:
        Enhancement.for_new(config["preprocessing"])
    except InputError as error:
        raise InputError(f"{run.config}: {error}") from None
    predictions = run.read_predictions()
    if not np.isfinite(predictions.predicted_months).all():
        raise InputError(
            f"{run.predictions} must contain numbers only (predicted_months has "
            "others); train the run again"
        )
    return CandidateRun(name, run, config, predictions)


def _committee_warnings(layout: Layout, candidate: CandidateRun) -> list[str]:
    """Says so if the committee that will cut the hands is not the one of training.

    Without a committee there is nothing to compare; loading it reports that.
    """
    known = candidate.config["preprocessing"].get("committees", [])
    if not known or not layout.committee_state.is_file():
        return []
    state = read_json(layout.committee_state, COMMITTEE_BY)
    used = state.get("committee_hash")
    if used in known:
        return []
    return [
        f"{candidate.name} was trained on hands cut out by another committee "
        f"({', '.join(known)}) than the one in use ({used}): its errors and intervals "
        "may not apply"
    ]


def _select_best(candidates: list[CandidateRun], sex: Sex) -> list[CandidateRun]:
    """The best candidate, and those of its split that are nearly as good."""
    ranked = sorted(candidates, key=lambda candidate: candidate.validation_mae(sex))
    return [
        candidate
        for candidate in ranked
        if candidate.config["split_hash"] == ranked[0].config["split_hash"]
        and candidate.validation_mae(sex)
        <= MAX_ERROR_RATIO * ranked[0].validation_mae(sex)
    ][:MAX_RUNS]


def _make_ensemble(
    sex: Sex, candidates: list[CandidateRun], view_count: int
) -> SexEnsemble:
    first, *others = candidates
    for other in others:
        if other.config["split_hash"] != first.config["split_hash"]:
            raise InputError(
                f"{first.run.name} and {other.run.folder} cannot be averaged: they "
                "were trained on different splits and share no validation set; choose "
                "runs of one split"
            )
    has_views = all(
        test_time_augmentation.prediction_column(view_count) in candidate.predictions
        for candidate in candidates
    )
    measured = view_count if has_views else 1
    column = test_time_augmentation.prediction_column(measured)
    validation = _join_predictions(candidates, sex, "validation", column)
    spread = np.ptp(validation.to_numpy()[:, 1:], axis=1)
    return SexEnsemble(
        sex,
        tuple(candidates),
        _average(sex, validation),
        _average(sex, _join_predictions(candidates, sex, "test", column)),
        float(np.quantile(spread, SPREAD_QUANTILE)) if len(spread) else np.inf,
        measured,
    )


def _join_predictions(
    candidates: list[CandidateRun], sex: Sex, part: str, column: str
) -> pd.DataFrame:
    """True age, and each run's prediction, of the hands that all runs predicted."""
    tables = [
        candidate.predictions_for(sex, part, column).set_index("id")
        for candidate in candidates
    ]
    joined = tables[0][["bone_age_months"]]
    for number, table in enumerate(tables):
        joined = joined.join(table[column].rename(f"run_{number}"), how="inner")
    return joined


def _average(sex: Sex, joined: pd.DataFrame) -> Calibration:
    values = joined.to_numpy(float)
    population = "boys" if sex == "male" else "girls"
    return Calibration(values[:, 1:].mean(axis=1), values[:, 0], population)
