"""One radiograph in; bone age, interval and activation maps out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boneage.errors import InputError
from boneage.io import radiographs, transforms
from boneage.io.radiographs import Mask
from boneage.io.transforms import to_uint8
from boneage.layout import Layout
from boneage.prediction import reliability, test_time_augmentation
from boneage.prediction.inputs import InputRadiograph, Sex, collect_inputs
from boneage.prediction.model_selection import (
    SEXES,
    CandidateRun,
    SexEnsemble,
    find_models,
    select_ensembles,
)
from boneage.segmentation import dice, preprocessing
from boneage.segmentation.hand_images import Enhancement, enhanced_hand

if TYPE_CHECKING:
    from boneage.explanation.activation_maps import Explainer
    from boneage.segmentation.committee import Committee

STATEMENT = "for research, not for diagnosis"

VIEWS, COVERAGE = 6, 0.9


class RunExplanation(NamedTuple):
    """What a run saw, and where it looked.

    hand: (512, 512) uint8. deviation: (512, 512) float32, months, see
    `activation_maps.deviations`: of the hand as it is, the first of its views. cells:
    of the map, a side.
    """

    hand: np.ndarray
    deviation: np.ndarray
    cells: int


@dataclass(frozen=True)
class Prediction:
    """A bone age with its interval, in months; the limits NaN where there is none.

    runs_months: each run's answer. compared_with: the hands behind the interval.
    radiograph, mask: (row, column) uint8. evidence: of each run.
    """

    file: str
    sex: Sex
    bone_age_months: float
    lower_months: float
    upper_months: float
    coverage: float
    warnings: tuple[str, ...]
    runs_months: dict[str, float]
    compared_with: str
    radiograph: np.ndarray
    mask: Mask
    evidence: dict[str, RunExplanation]

    def named(self, file: str) -> Prediction:
        """The same under another name: what was uploaded has one of its own."""
        return replace(self, file=file)

    def without_pictures(self) -> Prediction:
        """The same in a thousandth of the memory."""
        nothing = np.zeros((0, 0), np.uint8)
        return replace(self, radiograph=nothing, mask=nothing, evidence={})

    def __repr__(self) -> str:
        """Without its pictures."""
        return (
            f"Reading({self.file!r}, {self.sex}, {self.bone_age_months:.1f} months, "
            f"{self.lower_months:.1f} to {self.upper_months:.1f}; {STATEMENT})"
        )


class SexPrediction(NamedTuple):
    """What the readers of one sex say."""

    months: float
    lower: float
    upper: float
    runs_months: dict[str, float]
    evidence: dict[str, RunExplanation]
    warnings: list[str]
    compared_with: str


class Predictor:
    """The committee and the runs, loaded when first needed and then kept."""

    def __init__(
        self,
        models: Layout,
        names: Sequence[str] = (),
        view_count: int = VIEWS,
        coverage: float = COVERAGE,
    ) -> None:
        """Find the runs; `names` as in `readers.find_readers`.

        Raises:
            InputError: a number makes no sense, or a model is missing or broken.
        """
        test_time_augmentation.check(view_count)
        if not 0 < coverage < 1:
            raise InputError(f"--coverage {coverage}: between 0 and 1")
        self.models, self.view_count, self.coverage = models, view_count, coverage
        self.readers, self.notes = select_ensembles(models, names, view_count)
        self._committee: Committee | None = None
        self._explainers: dict[Path, Explainer] = {}

    @property
    def candidates(self) -> list[CandidateRun]:
        """All runs that are asked, each once."""
        found = {}
        for readers in self.readers.values():
            found |= {each.run.folder: each for each in readers.candidates}
        return list(found.values())

    def load(self) -> None:
        """Load all networks now: a broken one is no fault of a radiograph.

        Raises:
            InputError: one is missing or broken.
        """
        from boneage.segmentation.committee import Committee

        if self._committee is None:
            self._committee = Committee.load(self.models.committee)
        for each in self.candidates:
            self._explainer(each)

    def read(self, asked: InputRadiograph) -> Prediction:
        """Read one radiograph.

        Raises:
            InputError: unreadable, no hand found, or no run knows hands of its sex.
        """
        sexes = SEXES if asked.sex == "unknown" else (asked.sex,)
        for sex in sexes:
            if sex not in self.readers:
                raise InputError(
                    f"{asked.path}: sex {asked.sex}, but none of the runs in "
                    f"{self.models.regression} was trained on {sex} hands"
                )
        radiograph = radiographs.read(asked.path)
        mask, disagreement = self._mask(radiograph)
        if not mask.any():
            raise InputError(f"{asked.path}: no hand found in it")
        warnings = [*asked.notes, *reliability.mask_warnings(mask, disagreement)]
        hands: dict[str, np.ndarray] = {}
        said = [self._ask(self.readers[s], radiograph, mask, hands) for s in sexes]
        for one in said:
            warnings += [w for w in one.warnings if w not in warnings]
        if asked.sex == "unknown":
            warnings.append(
                f"sex unknown: {said[0].months:.0f} months if female, "
                f"{said[1].months:.0f} if male; the interval covers both"
            )
        return Prediction(
            file=str(asked.path),
            sex=asked.sex,
            bone_age_months=float(np.mean([one.months for one in said])),
            # NaN, no interval, if one of them has none
            lower_months=float(np.min([one.lower for one in said])),
            upper_months=float(np.max([one.upper for one in said])),
            coverage=self.coverage,
            warnings=tuple(warnings),
            runs_months=_of_both([one.runs_months for one in said]),
            compared_with="; ".join(one.compared_with for one in said),
            radiograph=to_uint8(radiograph),
            mask=mask,
            evidence={
                # a map is linear in what it adds up: both sexes' mean is the mean's map
                name: found[0]._replace(
                    deviation=np.mean([one.deviation for one in found], axis=0)
                )
                for name, found in _by_name([one.evidence for one in said]).items()
            },
        )

    def _mask(self, radiograph: np.ndarray) -> tuple[Mask, float]:
        """The committee's mask, and one minus the Dice of its members."""
        from boneage.segmentation import hand_images

        self.load()
        committee = self._committee
        image = preprocessing.prepare(radiograph, committee.size, committee.clip_limit)
        probabilities = committee.probabilities(image[np.newaxis], batch_size=1)
        mask = hand_images.mask_from_probability(
            probabilities.mean(axis=0)[0], radiograph.shape
        )
        return mask, float(dice.pairwise_disagreement(probabilities)[0])

    def _ask(
        self,
        readers: SexEnsemble,
        radiograph: np.ndarray,
        mask: Mask,
        hands: dict[Enhancement, np.ndarray],
    ) -> SexPrediction:
        """Ask the runs of one sex; `hands` are those cut out so far, by how."""
        from boneage.explanation import activation_maps

        months, evidence = {}, {}
        for each in readers.candidates:
            how = Enhancement.from_facts(each.config["preprocessing"])
            if how not in hands:
                hands[how] = enhanced_hand(radiograph, mask, how)
            explainer = self._explainer(each)
            image = transforms.resize(hands[how], explainer.image_size)
            mirrored = test_time_augmentation.trained_with_flips(each.config)
            seen = test_time_augmentation.make_views(image, self.view_count, mirrored)
            is_male = np.full(len(seen), readers.sex == "male")
            shown = explainer(seen, is_male, batch_size=len(seen))
            name = each.name
            months[name] = float(shown.predicted_months.mean())
            deviation = activation_maps.centred_maps(shown.maps[0])
            upsampled = explainer.grid.upsample(deviation)
            evidence[name] = RunExplanation(hands[how], upsampled, len(deviation))
        answers = np.array(list(months.values()))
        if not np.isfinite(answers).all():
            raise InputError(f"{each.run.model}: predicts no numbers; train it again")
        age = float(answers.mean())
        width = readers.held_back.width(age, self.coverage)
        half = width.half_months if math.isfinite(width.half_months) else math.nan
        warnings = reliability.age_warnings(
            age, readers.age_range_months, answers, readers.greatest_spread_months
        )
        if math.isnan(half):
            warnings.append(
                f"no interval: {width.hands} validation hands of {width.group} are too "
                f"few for {100 * self.coverage:g} %"
            )
        return SexPrediction(
            months=age,
            # no skeleton is younger than birth
            lower=max(age - half, 0.0) if half == half else math.nan,
            upper=age + half,
            runs_months=months,
            evidence=evidence,
            warnings=warnings,
            compared_with=f"{width.hands} {width.group}",
        )

    def _explainer(self, candidate: CandidateRun) -> Explainer:
        from boneage.explanation.activation_maps import Explainer

        folder = candidate.run.folder
        if folder not in self._explainers:
            model = candidate.run.load_model()
            try:
                self._explainers[folder] = Explainer(model)
            except (ValueError, StopIteration) as error:
                raise InputError(
                    f"{candidate.run.model}: not a network of this pipeline ({error})"
                ) from error
        return self._explainers[folder]


def _by_name(found: list[dict]) -> dict[str, list]:
    names = dict.fromkeys(name for each in found for name in each)
    return {name: [each[name] for each in found if name in each] for name in names}


def _of_both(months: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean(each)) for name, each in _by_name(months).items()}


def predict_bone_age(
    files: str | Path | Sequence[str | Path],
    sex: Sex | None = None,
    *,
    models: str | Path = Layout.models,
    runs: Sequence[str] = (),
    views: int = VIEWS,
    coverage: float = COVERAGE,
) -> Prediction | list[Prediction]:
    """Read bone ages off radiographs; for research, not for diagnosis.

    The networks are loaded once a call: give many radiographs at once.

    Args:
        files: a radiograph, or several: PNG, JPEG, WebP, TIFF, DICOM; folders and CSV
            files as predict.py takes them.
        sex: male, female or unknown; None takes it from DICOM and CSV files.
        models: folder with committee/ and regression/; where it has none, those
            shipped are asked.
        runs: names or folders of the runs to ask; empty for the best.
        views: of each hand, for test-time augmentation; 1 for none.
        coverage: of the interval.

    Returns:
        A Reading for one file, a list in order for several, a folder or a CSV file.

    Raises:
        InputError: a radiograph, its sex or a model cannot be used.
    """
    is_one = isinstance(files, str | Path)
    paths = [Path(path) for path in ([files] if is_one else files)]
    asked, set_aside = collect_inputs(paths, sex)
    if set_aside:
        raise InputError(set_aside[0].reason)
    layout = find_models(Layout(models=Path(models)), runs)
    ensemble = Predictor(layout, runs, views, coverage)
    ensemble.load()
    read = [ensemble.read(each) for each in asked]
    return read[0] if is_one and asked[0].path == paths[0] else read
