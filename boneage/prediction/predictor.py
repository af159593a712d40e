"""Predict the bone age of a radiograph: age, interval, warnings, activation maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from boneage import parallel
from boneage.errors import InputError, printable
from boneage.explanation import activation_maps
from boneage.explanation.activation_maps import Explainer
from boneage.io import radiographs, transforms
from boneage.io.radiographs import Mask
from boneage.io.transforms import to_uint8
from boneage.layout import Layout
from boneage.parallel import Skipped
from boneage.prediction import (
    local_calibration,
    reliability,
    shown_maps,
    test_time_augmentation,
)
from boneage.prediction.inputs import InputRadiograph, Sex
from boneage.prediction.local_calibration import (
    UNCHANGED,
    Calibrator,
    Line,
    LocalCalibration,
)
from boneage.prediction.model_selection import (
    SEXES,
    CandidateRun,
    SexEnsemble,
    select_ensembles,
)
from boneage.prediction.record import (
    Prediction,
    Qualifier,
    RunExplanation,
    SexPrediction,
)
from boneage.prediction.reference import ReferenceTable
from boneage.prediction.shown_maps import MapName
from boneage.segmentation.compiled_committee import (
    CompiledCommittee,
    PredictingCommittee,
    open_committee,
)
from boneage.segmentation.hand_images import Enhancement, enhanced_hand
from boneage.segmentation.hand_search import FoundHand, find_hands

VIEW_COUNT, COVERAGE = 6, 0.9
"""Views of each hand, and nominal coverage of the intervals, unless given otherwise."""

Value = TypeVar("Value")


class Predictor:
    """The committee and the regression runs, loaded when first needed, then kept."""

    def __init__(
        self,
        layout: Layout,
        names: Sequence[str] = (),
        view_count: int = VIEW_COUNT,
        coverage: float = COVERAGE,
        include_refused: bool = False,
        all_hands: bool = False,
        reference: ReferenceTable | None = None,
        calibration: LocalCalibration | None = None,
        at_once: int = 1,
        map_kind: MapName = "exact",
    ) -> None:
        """Select the runs; `names` as in `model_selection.select_ensembles`.

        include_refused: predict an age for radiographs that the checks refuse, too, and
        warn of it. all_hands: `predict_hands` goes on after the first hand. reference:
        for standard deviation scores. calibration: on local radiographs; if it was made
        for other models, it is not applied, and a note says so. at_once: radiographs
        that `predict_all` may read at the same time, each on a core of its own; one
        radiograph is read on all. map_kind: of the maps that `with_shown_maps` gives.

        Raises:
            InputError: a number is out of range, or a model is missing or broken.
        """
        self.arguments = (
            *(layout, tuple(names), view_count, coverage),
            *(include_refused, all_hands, reference, calibration),
        )
        test_time_augmentation.check_view_count(view_count)
        if not 0 < coverage < 1:
            raise InputError(
                f"--coverage must be between 0 and 1 (got {coverage}); 0.9 is usual"
            )
        self.layout, self.view_count, self.coverage = layout, view_count, coverage
        self.include_refused, self.all_hands = include_refused, all_hands
        self.reference, self.at_once = reference, at_once
        self.map_kind: MapName = map_kind
        self.ensembles, self.notes = select_ensembles(layout, names, view_count)
        self.calibrator: Calibrator | None = None
        if calibration is not None:
            self._use(calibration)
        self._committee: PredictingCommittee | None = None
        self._explainers: dict[Path, Explainer] = {}

    def _use(self, calibration: LocalCalibration) -> None:
        """Apply a calibration, unless it was made for other models; note either."""
        if calibration.models_hash != self.models_hash:
            self.notes.append(
                f"{calibration.in_words()}, but for other models: not applied"
            )
            return
        shipped = {sex: e.calibration for sex, e in self.ensembles.items()}
        self.calibrator = Calibrator(calibration, shipped, self.coverage)
        self.notes.append(
            f"{calibration.in_words()}: {calibration.gain_in_words()}; "
            "test figures are without it, as are predictions with --no-calibration"
        )

    @property
    def models_hash(self) -> str:
        """Names the committee and the networks, for a calibration made for them."""
        networks = [candidate.run.model for candidate in self.candidates]
        return local_calibration.models_hash(self.layout, networks)

    @property
    def candidates(self) -> list[CandidateRun]:
        """All runs of the ensembles, without repetition."""
        by_folder = {
            candidate.run.folder: candidate
            for ensemble in self.ensembles.values()
            for candidate in ensemble.candidates
        }
        return list(by_folder.values())

    def load(self) -> None:
        """Load all networks now: a broken network is no fault of a radiograph.

        Raises:
            InputError: a network is missing or broken.
        """
        self._load_committee()
        for candidate in self.candidates:
            self.explainer(candidate)

    def predict(self, inputs: InputRadiograph) -> Prediction:
        """Predict the bone age of one radiograph; of its left hand, if it shows two.

        For an unknown sex the predictions for both sexes are averaged, and the interval
        covers both.

        Raises:
            InputError: the file is unreadable, shows no hand, or no run was trained on
                hands of its sex.
        """
        return next(self.predict_hands(inputs))

    def predict_all(
        self, inputs: Sequence[InputRadiograph], with_images: bool = True
    ) -> Iterator[list[Prediction] | Skipped]:
        """Predict for many radiographs: for each its hands, or why it is set aside.

        Compiled networks read `at_once` radiographs at the same time; the answers come
        in order, and memory does not grow with their number. Keras reads one at a time.

        with_images: False leaves out radiograph, mask and maps.
        """
        self.load()

        def predict(radiograph: InputRadiograph) -> list[Prediction]:
            predictions = self.predict_hands(radiograph)
            if with_images:
                return list(predictions)
            return [prediction.without_images() for prediction in predictions]

        threads = self.at_once if self.is_shareable else 1
        for radiograph, outcome in parallel.imap_threads(predict, inputs, threads):
            if isinstance(outcome, Skipped):
                outcome = Skipped(radiograph.path, outcome.reason)
            yield outcome

    @property
    def is_shareable(self) -> bool:
        """Whether threads may share the networks, once these are loaded."""
        return isinstance(self._committee, CompiledCommittee) and all(
            explainer.is_compiled for explainer in self._explainers.values()
        )

    @property
    def _thread_count(self) -> int:
        """Threads of a network's forward pass; 0 for all cores."""
        return 0 if self.at_once == 1 else 1

    def predict_hands(self, inputs: InputRadiograph) -> Iterator[Prediction]:
        """Predict for one hand of a radiograph, or for all, the left one first.

        Raises:
            InputError: as in `predict`.
        """
        sexes = SEXES if inputs.sex == "unknown" else (inputs.sex,)
        for sex in sexes:
            if sex not in self.ensembles:
                raise InputError(
                    f"{inputs.path} cannot be read as sex {inputs.sex}: no run in "
                    f"{self.layout.regression} was trained on {sex} hands; train one, "
                    "or choose other runs"
                )
        radiograph = radiographs.read(inputs.path)
        found = find_hands(self._load_committee(), radiograph)
        for number, hand in enumerate(found if self.all_hands else found[:1], 1):
            notes = [*inputs.notes, *hand.notes]
            if len(found) > 1:
                name = f"the {hand.side} hand" if hand.side else f"hand {number}"
                notes.append(f"{len(found)} hands in one radiograph; this is {name}")
            prediction = self._predict_hand(inputs, sexes, hand, notes)
            age, patient = inputs.chronological_age_months, inputs.patient
            yield prediction.with_child(age, patient, self.reference)

    def _predict_hand(
        self,
        inputs: InputRadiograph,
        sexes: Sequence[Sex],
        hand: FoundHand,
        notes: Sequence[str],
    ) -> Prediction:
        radiograph, mask = hand.radiograph, hand.mask
        if not mask.any():
            raise InputError(
                f"{inputs.path} must show a hand (got none that the committee can "
                "segment); crop the radiograph to one upright hand"
            )
        verdict = reliability.check_hand(hand)
        doubts = list(verdict.warnings)
        if verdict.refusal:
            if not self.include_refused:
                return self._refuse(inputs, hand, notes, verdict)
            doubts.append(verdict.refusal)
        warnings = [*notes, *doubts]
        hands: dict[Enhancement, np.ndarray] = {}
        by_sex = [
            self._predict_sex(self.ensembles[sex], radiograph, mask, hands)
            for sex in sexes
        ]
        for prediction in by_sex:
            warnings += [w for w in prediction.warnings if w not in warnings]
            doubts += [d for d in prediction.doubts if d not in doubts]
        if inputs.sex == "unknown":
            female, male = by_sex
            warnings.append(
                f"sex unknown: {female.months:.0f} months if female, "
                f"{male.months:.0f} if male; the interval covers both"
            )
        return Prediction(
            file=printable(inputs.path),
            sex=inputs.sex,
            bone_age_months=float(np.mean([p.months for p in by_sex])),
            # NaN, no interval, if either sex has none
            lower_months=float(np.min([p.lower_months for p in by_sex])),
            upper_months=float(np.max([p.upper_months for p in by_sex])),
            coverage=self.coverage,
            warnings=tuple(warnings),
            months_by_run={
                name: float(np.mean(months))
                for name, months in _by_name([p.months_by_run for p in by_sex]).items()
            },
            calibration_group="; ".join(p.calibration_group for p in by_sex),
            radiograph=to_uint8(radiograph),
            mask=mask,
            explanations={
                name: _mean_explanation(explanations)
                for name, explanations in _by_name(
                    [p.explanations for p in by_sex]
                ).items()
            },
            qualifier=_common_qualifier([p.qualifier for p in by_sex]),
            doubts=tuple(doubts),
            local_calibration="; ".join(
                dict.fromkeys(filter(None, (p.local_calibration for p in by_sex)))
            ),
        )

    def _refuse(
        self,
        inputs: InputRadiograph,
        hand: FoundHand,
        notes: Sequence[str],
        verdict: reliability.Verdict,
    ) -> Prediction:
        return Prediction(
            file=str(inputs.path),
            sex=inputs.sex,
            bone_age_months=math.nan,
            lower_months=math.nan,
            upper_months=math.nan,
            coverage=self.coverage,
            warnings=(*notes, *verdict.warnings),
            months_by_run={},
            calibration_group="",
            radiograph=to_uint8(hand.radiograph),
            mask=hand.mask,
            explanations={},
            refusal=verdict.refusal,
            doubts=tuple(verdict.warnings),
        )

    def _predict_sex(
        self,
        ensemble: SexEnsemble,
        radiograph: np.ndarray,
        mask: Mask,
        hands: dict[Enhancement, np.ndarray],
    ) -> SexPrediction:
        """Average the runs of one sex.

        hands: the hands cut out so far, by preprocessing; missing ones are added.
        """
        months_by_run, explanations = {}, {}
        for candidate in ensemble.candidates:
            enhancement = Enhancement.for_new(candidate.config["preprocessing"])
            if enhancement not in hands:
                hands[enhancement] = enhanced_hand(radiograph, mask, enhancement)
            months, explanation = self._predict_run(
                candidate, hands[enhancement], ensemble.sex == "male"
            )
            months_by_run[candidate.name] = months
            explanations[candidate.name] = explanation
        run_months = np.array(list(months_by_run.values()))
        age = float(run_months.mean())
        line, calibration = self.line(ensemble.sex), ""
        width = ensemble.calibration.width(age, self.coverage)
        if self.calibrator is not None and self.calibrator.has(ensemble.sex):
            width = self.calibrator.width(ensemble.sex, age)
            calibration = self.calibrator.calibration.in_words()
        half = width.half_months if math.isfinite(width.half_months) else math.nan
        doubts = reliability.age_warnings(
            age, ensemble.age_range_months, run_months, ensemble.usual_spread_months
        )
        warnings = [*ensemble.warnings, *doubts]
        if math.isnan(half):
            warnings.append(
                f"no interval: {width.hands} {'' if calibration else 'validation '}"
                f"hands of {width.group} are too few for {100 * self.coverage:g} %"
            )
        if self.calibrator is not None and not calibration:
            warnings.append(
                f"not calibrated: too few local radiographs of sex {ensemble.sex}"
            )
        months = line.apply(age)
        return SexPrediction(
            months=months,
            # no skeleton is younger than birth
            lower_months=math.nan if math.isnan(half) else max(months - half, 0.0),
            upper_months=months + half,
            months_by_run={name: line.apply(m) for name, m in months_by_run.items()},
            explanations={
                name: shown._replace(map_months=shown.map_months * line.slope)
                for name, shown in explanations.items()
            },
            warnings=warnings,
            doubts=doubts,
            calibration_group=f"{width.hands} {width.group}",
            qualifier=ensemble.qualifier(age),
            local_calibration=calibration,
        )

    def _predict_run(
        self, candidate: CandidateRun, hand: np.ndarray, is_male: bool
    ) -> tuple[float, RunExplanation]:
        """A run's mean prediction over the views of a hand, in months, and its map.

        Raises:
            InputError: the network is broken, or predicts something else than numbers.
        """
        explainer = self.explainer(candidate)
        views = test_time_augmentation.make_views(
            transforms.resize(hand, explainer.image_size),
            self.view_count,
            test_time_augmentation.trained_with_flips(candidate.config),
        )
        output = explainer(views, np.full(len(views), is_male), batch_size=len(views))
        months = float(output.predicted_months.mean())
        if not math.isfinite(months):
            raise InputError(
                f"{candidate.run.model} must predict numbers (got {months}); train the "
                "run again"
            )
        centred_map = activation_maps.centred_maps(output.maps[0])
        enlarged = explainer.grid.upsample(centred_map)
        return months, RunExplanation(hand, enlarged, len(centred_map))

    def _load_committee(self) -> PredictingCommittee:
        if self._committee is None:
            self._committee = open_committee(self.layout.committee, self._thread_count)
        return self._committee

    def with_shown_maps(self, prediction: Prediction) -> Prediction:
        """A prediction of `predict` with the maps that pages are to show."""
        return shown_maps.with_maps(prediction, self, self.map_kind)

    def line(self, sex: Sex) -> Line:
        """The calibration on local radiographs of one sex."""
        if self.calibrator is None or not self.calibrator.has(sex):
            return UNCHANGED
        return self.calibrator.line(sex)

    def explainer(self, candidate: CandidateRun) -> Explainer:
        """The network of a run, loaded when it is first asked for.

        Raises:
            InputError: it is missing or broken.
        """
        folder = candidate.run.folder
        if folder not in self._explainers:
            network = candidate.run.open_network(self._thread_count)
            try:
                self._explainers[folder] = Explainer(network)
            except (LookupError, ValueError, StopIteration) as error:
                raise InputError(
                    f"{candidate.run.model} must be a network of this pipeline "
                    f"({error}); train the run again"
                ) from error
        return self._explainers[folder]


def _by_name(mappings: Sequence[dict[str, Value]]) -> dict[str, list[Value]]:
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return {name: [m[name] for m in mappings if name in m] for name in names}


def _mean_explanation(explanations: Sequence[RunExplanation]) -> RunExplanation:
    """A run's explanations for one or both sexes as one.

    A map is linear in what it adds up: the mean of the maps is the map of the mean.
    """
    mean_map = np.mean([e.map_months for e in explanations], axis=0)
    return explanations[0]._replace(map_months=mean_map)


def _common_qualifier(qualifiers: Sequence[Qualifier]) -> Qualifier:
    """That of either sex; none where they contradict each other."""
    named = {qualifier for qualifier in qualifiers if qualifier}
    return named.pop() if len(named) == 1 else ""
