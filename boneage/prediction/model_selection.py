"""Which networks are asked about whom, and how far off they are known to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.cli import list_some
from boneage.errors import InputError
from boneage.layout import REPOSITORY, Layout
from boneage.prediction import test_time_augmentation
from boneage.prediction.conformal import Calibration
from boneage.prediction.inputs import Sex
from boneage.regression import run_folder
from boneage.regression.run_folder import Run
from boneage.segmentation.hand_images import Enhancement

if TYPE_CHECKING:
    import pandas as pd

SEXES: tuple[Sex, Sex] = ("female", "male")
MOST_RUNS = 3
"""Asked by default; each costs as much time as the others together would save."""
AS_GOOD = 1.15
"""Times the best run's error on validation hands; averaging worse ones seldom helps."""
SPREAD_SHARE = 0.95
"""Of the validation hands, on which the runs lie closer together than the warning."""
WANTED = ("backbone", "preprocessing", "sex", "age_range_months", "split_hash")
"""Facts of config.json without which a run cannot be asked."""


@dataclass(frozen=True)
class CandidateRun:
    """A finished run, its facts and what it said about hands held back.

    name: of the run, with its folder's where another one has the same.
    """

    name: str
    run: Run
    config: dict
    predictions: pd.DataFrame

    def said(self, sex: Sex, part: str, column: str) -> pd.DataFrame:
        """`id,bone_age_months` and what it said of a part's hands of one sex."""
        table = self.predictions
        chosen = table[(table.split == part) & (table.is_male == (sex == "male"))]
        return chosen[["id", "bone_age_months", column]]

    def validation_mae(self, sex: Sex) -> float:
        """Mean absolute error in months; NaN without such hands."""
        said = self.said(sex, "validation", "predicted_months")
        return float((said.predicted_months - said.bone_age_months).abs().mean())


@dataclass(frozen=True)
class SexEnsemble:
    """The runs that are asked about one sex.

    held_back: what their average said of validation hands, for intervals. tested: the
    same of test hands. greatest_spread_months: of the runs' answers, on 95 % of the
    validation hands. measured_views: 1 where the runs were not measured with the
    views that are asked for.
    """

    sex: Sex
    candidates: tuple[CandidateRun, ...]
    held_back: Calibration
    tested: Calibration
    greatest_spread_months: float
    measured_views: int

    @property
    def age_range_months(self) -> tuple[float, float]:
        """Bone ages that every run has seen in training."""
        ranges = [each.config["age_range_months"] for each in self.candidates]
        return max(low for low, _ in ranges), min(high for _, high in ranges)


def find_models(layout: Layout, names: Sequence[str] = ()) -> Layout:
    """The models trained in `layout` where they are complete, else those shipped.

    Args:
        layout: of the models.
        names: folders of the runs to ask, wherever; a committee is enough then.

    Raises:
        InputError: no such folder, or neither has a committee and a finished run.
    """
    if not layout.models.is_dir():
        raise InputError(f"--models {layout.models}: no such folder")
    is_elsewhere = names and all(Path(name).is_dir() for name in names)
    shipped = Layout(layout.data, Layout(models=REPOSITORY / "models").pretrained)
    for found in (layout, shipped):
        has_committee = found.committee_state.is_file()
        has_run = any(found.regression.glob("*/predictions.csv"))
        if has_committee and (has_run or is_elsewhere):
            return found
    raise InputError(
        f"{layout.models}: no committee with a finished run, and none shipped in "
        f"{shipped.models}; train both (README.md), or name their folder with --models"
    )


def select_ensembles(
    layout: Layout, names: Sequence[str], view_count: int
) -> tuple[dict[Sex, SexEnsemble], list[str]]:
    """Who is asked about each sex, and why some runs are not asked.

    A sex that no run was trained on is left out.

    Args:
        layout: of the models.
        names: runs' names, or folders; empty for the best: those within AS_GOOD of
            the run with the lowest validation error, trained on the same split.
        view_count: how many views of each hand will be shown to them.

    Raises:
        InputError: a run is missing, unfinished or broken; those named were trained
            on different splits, so that no hand is known to be new to all.
    """
    named = named_runs(layout, names)
    candidates, notes = [], []
    for name, run in zip(_told_apart(named), named, strict=True):
        try:
            candidates.append(_candidate(name, run))
        except InputError as error:
            if names:
                raise
            notes.append(f"not asked: {error}")
    found = {}
    for sex in SEXES:
        able = [
            each
            for each in candidates
            if each.config["sex"] in ("all", sex)
            and not np.isnan(each.validation_mae(sex))
        ]
        if not names:
            able = _best(able, sex)
        if able:
            found[sex] = _sex_ensemble(sex, able, view_count)
    if not found:
        raise InputError(
            f"{layout.regression}: no run that can be asked "
            f"({'; '.join(notes) or 'no validation hands'}); run {run_folder.TRAINED_BY}"
        )
    return found, notes


def named_runs(layout: Layout, names: Sequence[str]) -> list[Run]:
    """The runs of these names, or in these folders; all finished ones for none.

    Raises:
        InputError: one is missing or unfinished.
    """
    if not names:
        return run_folder.finished_runs(layout.regression)
    found = []
    for name in names:
        # a folder elsewhere, such as a stage of paced transfer, or a name
        places = (layout.regression / name, Path(name))
        folder = next((p for p in places if (p / "predictions.csv").is_file()), None)
        if folder is None:
            there = [run.name for run in run_folder.finished_runs(layout.regression)]
            raise InputError(
                f"--runs {name}: no finished run; {layout.regression} has "
                f"{list_some(there)}"
            )
        if Run(folder) not in found:
            found.append(Run(folder))
    return found


def _told_apart(found: Sequence[Run]) -> list[str]:
    """Names of runs; with the folder around them, or whole, where they are the same."""
    for name in (
        lambda run: run.name,
        lambda run: f"{run.folder.parent.name}/{run.name}",
    ):
        names = [name(run) for run in found]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in found]


def _candidate(name: str, run: Run) -> CandidateRun:
    config = run.read_config()
    absent = [key for key in WANTED if key not in config]
    if absent:
        raise InputError(f"{run.config}: no {', '.join(absent)}; train the run again")
    try:
        Enhancement.from_facts(config["preprocessing"])
    except InputError as error:
        raise InputError(f"{run.config}: {error}") from None
    predictions = run.read_predictions()
    if not np.isfinite(predictions.predicted_months).all():
        raise InputError(f"{run.predictions}: predictions that are no numbers")
    return CandidateRun(name, run, config, predictions)


def _best(able: list[CandidateRun], sex: Sex) -> list[CandidateRun]:
    """Of runs that may be averaged with the best one, the best."""
    ranked = sorted(able, key=lambda each: each.validation_mae(sex))
    return [
        each
        for each in ranked
        if each.config["split_hash"] == ranked[0].config["split_hash"]
        and each.validation_mae(sex) <= AS_GOOD * ranked[0].validation_mae(sex)
    ][:MOST_RUNS]


def _sex_ensemble(sex: Sex, able: list[CandidateRun], view_count: int) -> SexEnsemble:
    first, *others = able
    for other in others:
        if other.config["split_hash"] != first.config["split_hash"]:
            raise InputError(
                f"{other.run.folder}: trained on another split than {first.run.name}; "
                "no hand is known to be new to both; name runs of one cohort"
            )
    shown = view_count
    if any(
        test_time_augmentation.column(view_count) not in each.predictions
        for each in able
    ):
        shown = 1
    said = _joined(able, sex, "validation", test_time_augmentation.column(shown))
    spread = np.ptp(said.to_numpy()[:, 1:], axis=1)
    return SexEnsemble(
        sex,
        tuple(able),
        _calibration(sex, said),
        _calibration(
            sex, _joined(able, sex, "test", test_time_augmentation.column(shown))
        ),
        float(np.quantile(spread, SPREAD_SHARE)) if len(spread) else np.inf,
        shown,
    )


def _joined(able: list[CandidateRun], sex: Sex, part: str, column: str) -> pd.DataFrame:
    """True age, and each run's answer, of the hands that all were asked about."""
    said = [each.said(sex, part, column).set_index("id") for each in able]
    table = said[0][["bone_age_months"]]
    for number, answers in enumerate(said):
        table = table.join(answers[column].rename(f"said_{number}"), how="inner")
    return table


def _calibration(sex: Sex, said: pd.DataFrame) -> Calibration:
    values = said.to_numpy(float)
    who = "boys" if sex == "male" else "girls"
    return Calibration(values[:, 1:].mean(axis=1), values[:, 0], who)
