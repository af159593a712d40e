"""The record of a prediction: what is known of a radiograph's bone age, and of whom."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from boneage.io.radiographs import Mask
from boneage.prediction.inputs import Sex
from boneage.prediction.reference import DeviationScore, ReferenceTable

STATEMENT = "for research, not for diagnosis"

Qualifier = Literal["", "or younger", "or older"]


class RunExplanation(NamedTuple):
    """What one run was shown, and which places made its prediction older or younger.

    hand: (512, 512) uint8. map_months: (512, 512) float32, of the hand as it is, the
    first of its views. cells: side of the map before it was enlarged. kind: of map, a
    key of `saliency.MAPS`, which says what its months mean.
    """

    hand: np.ndarray
    map_months: np.ndarray
    cells: int
    kind: str = "exact"


class SexPrediction(NamedTuple):
    """What the ensemble of one sex predicts."""

    months: float
    lower_months: float
    upper_months: float
    months_by_run: dict[str, float]
    explanations: dict[str, RunExplanation]
    warnings: list[str]
    doubts: list[str]
    calibration_group: str
    qualifier: Qualifier
    local_calibration: str


@dataclass(frozen=True)
class Prediction:
    """A bone age with its interval, in months; NaN limits where there is no interval.

    qualifier: states that the age is a limit of what the runs can predict. refusal: why
    no age is reported; then all months are NaN, and no run was used. doubts: those of
    the warnings that make this age less sure than others of its sex. months_by_run: the
    mean over the views, by name of the run. calibration_group: the radiographs that the
    interval was derived from, in words. radiograph, mask: (row, column) uint8.
    explanations: by name of the run.

    chronological_age_months: NaN where it is not known. deviation_score: of the bone
    age for the chronological age, where a reference was given that covers them.
    patient: names the child among the radiographs of one call; "" where it is not
    known; not for files, logs or screens. local_calibration: in words, the calibration
    on local radiographs that is part of months and interval; "" without one.
    """

    file: str
    sex: Sex
    bone_age_months: float
    lower_months: float
    upper_months: float
    coverage: float
    warnings: tuple[str, ...]
    months_by_run: dict[str, float]
    calibration_group: str
    radiograph: np.ndarray
    mask: Mask
    explanations: dict[str, RunExplanation]
    qualifier: Qualifier = ""
    refusal: str = ""
    doubts: tuple[str, ...] = ()
    chronological_age_months: float = math.nan
    deviation_score: DeviationScore | None = None
    patient: str = ""
    local_calibration: str = ""

    @property
    def difference_months(self) -> float:
        """Bone age minus chronological age; NaN where either is not known."""
        return self.bone_age_months - self.chronological_age_months

    @property
    def difference_lower_months(self) -> float:
        """Lower limit of the difference: the bone age alone is unsure."""
        return self.lower_months - self.chronological_age_months

    @property
    def difference_upper_months(self) -> float:
        """Upper limit of the difference."""
        return self.upper_months - self.chronological_age_months

    def with_child(
        self,
        chronological_age_months: float,
        patient: str = "",
        reference: ReferenceTable | None = None,
    ) -> Prediction:
        """The same prediction with its child's age, and the score in a reference.

        Where a reference gives no score, a warning says why.
        """
        known = replace(
            self, chronological_age_months=chronological_age_months, patient=patient
        )
        if reference is None or self.refusal:
            return known
        months = (self.bone_age_months, self.lower_months, self.upper_months)
        score = reference.score(self.sex, chronological_age_months, months)
        if isinstance(score, str):
            return replace(known, warnings=(*self.warnings, score))
        return replace(known, deviation_score=score)

    def with_file(self, file: str) -> Prediction:
        """The same prediction under another file name, as an upload needs."""
        return replace(self, file=file)

    def without_images(self) -> Prediction:
        """The same prediction in a thousandth of the memory."""
        empty = np.zeros((0, 0), np.uint8)
        return replace(self, radiograph=empty, mask=empty, explanations={})

    def __repr__(self) -> str:
        """Show the numbers, without the images."""
        age = f"{self.bone_age_months:.1f} months"
        if self.qualifier:
            age += f" {self.qualifier}"
        age += f", {self.lower_months:.1f} to {self.upper_months:.1f}"
        if not math.isnan(self.difference_months):
            age += f", chronological age {self.chronological_age_months:.1f}"
        if self.refusal:
            age = f"refused: {self.refusal}"
        return f"Prediction({self.file!r}, {self.sex}, {age}; {STATEMENT})"
