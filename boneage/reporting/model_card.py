"""The model card: what exported models are, how accurate, and what they are not for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.evaluation.ages import AGE_GROUP_COUNT, age_group, age_group_name
from boneage.io.files import atomic_write
from boneage.io.hdf5 import preprocessing_in_words
from boneage.prediction.conformal import MIN_GROUP_HANDS, Calibration
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT
from boneage.reporting import formats

NOT_FOR = (
    "decisions about a patient; hands unlike those of the training data; ages beyond "
    "the usable range; injured or malformed hands; estimating the time since birth."
)


@dataclass(frozen=True)
class ExportedRun:
    """What 16-bit weights changed in a run's predictions, in months.

    hands: predicted before and after.
    """

    name: str
    max_change_months: float
    mean_change_months: float
    hands: int


def write_card(
    path: Path,
    predictor: Predictor,
    exported: Sequence[ExportedRun],
    terms: str,
    failures: str = "",
) -> None:
    """Write the model card.

    terms: under which the weights may be used. failures: what the models are known to
    fail on, in words.
    """
    facts = formats.model_facts(predictor)
    training_data = {run["run"]: run["training_data"] for run in facts["runs"]}
    preprocessing = sorted(
        {preprocessing_in_words(run["preprocessing"]) for run in facts["runs"]}
    )
    text = [
        "# Model card",
        "",
        f"**{STATEMENT.capitalize()}.** `predict.py` uses the models in "
        "`models/pretrained` if none have been trained; `--models` with this folder "
        "always uses these.",
        "",
        f"**Licence of the weights: {terms}.** The licence of the code does not cover "
        "them.",
        "",
        *_training_data(training_data),
        "",
        f"Preprocessing: {'; '.join(preprocessing)}; the committee in `committee/` "
        "segments the hand.",
        "",
        f"Not for: {NOT_FOR}",
        "",
        *([f"Known failures: {failures}", ""] if failures else []),
        "## Runs",
        "",
        *_run_table(facts),
        "",
        "Weights are stored in 16 bits. Compared with the networks as trained, the "
        "predictions change by:",
        "",
        *(
            f"- {run.name}: at most {run.max_change_months:.3f} months, on average "
            f"{run.mean_change_months:.3f} ({run.hands} hands)"
            for run in exported
        ),
        "",
        *_corrections(facts),
        "## Accuracy on the test hands",
        "",
        "The test hands were not used to train, to choose the epoch or to calibrate "
        "the intervals; the validation hands were used for the last two. Intervals are "
        "split conformal, by sex and predicted age. One rule was chosen after looking "
        "at the results on test hands of the RSNA set: a group of fewer than "
        f"{MIN_GROUP_HANDS} validation hands takes the wider of its own interval and "
        "that of all hands of its sex. For such groups the coverage below is therefore "
        "no independent check.",
        "",
        *_accuracy_table(facts),
        "",
        'A prediction at or beyond the ends of the usable range is reported as "or '
        'younger" or "or older": most validation hands whose true age is outside the '
        "central 98 % of the predictions are predicted there.",
        "",
        *_age_group_table(predictor),
    ]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(text) + "\n")


def _training_data(of_run: dict[str, str]) -> list[str]:
    """One line where all runs have the same training data, else one for each."""
    if len(set(of_run.values())) == 1:
        return [f"Training data: {next(iter(of_run.values()))}."]
    return ["Training data:", "", *(f"- {run}: {of_run[run]}" for run in of_run)]


def _corrections(facts: dict) -> list[str]:
    """A line on each run whose predictions are corrected for the pull to the middle."""
    lines = []
    for run in facts["runs"]:
        correction = run["age_bias_correction"]
        if correction is not None:
            lines.append(
                f"- {run['run']}: {correction['strength']:g} of the pull is taken "
                f"back, months = {correction['intercept_months']:+.2f} "
                f"{correction['slope']:+.4f} x the trained network's"
            )
    if not lines:
        return []
    return [
        "Networks predict the youngest too old and the oldest too young. A line fitted "
        "on the validation hands takes a part of that back (Cole et al. 2018); it is "
        "part of the exported network:",
        "",
        *lines,
        "",
    ]


def _run_table(facts: dict) -> list[str]:
    lines = [
        "| run | backbone | input, px | sex | training hands | bone ages, months | "
        "test MAE, one view | commit |",
        "|---|---|---:|---|---:|---|---:|---|",
    ]
    for run in facts["runs"]:
        youngest, oldest = run["age_range_months"]
        lines.append(
            f"| {run['run']} | {run['backbone']} | {run['image_size_px']} | "
            f"{run['sex']} | {run['training_hands']} | {youngest:g} to {oldest:g} | "
            f"{_months(run['test_mae_months'])} | "
            f"{(run['git_commit'] or 'unknown')[:9]} |"
        )
    return lines


def _accuracy_table(facts: dict) -> list[str]:
    """Error, coverage and usable range of the averaged runs, a row per sex."""
    lines = [
        "| sex | views | validation hands | test hands | test MAE | "
        f"within the {100 * facts['coverage']:g} % interval | usable range, months |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for sex, accuracy in facts["test_accuracy"].items():
        coverage = "-"
        if accuracy["with_interval"]:
            share = accuracy["within_interval"] / accuracy["with_interval"]
            coverage = f"{100 * share:.1f} %"
        usable = accuracy["usable_range_months"]
        lowest, highest = ("-" if m is None else f"{m:.0f}" for m in usable)
        lines.append(
            f"| {sex} | {accuracy['views']} | {accuracy['validation_hands']} | "
            f"{accuracy['test_hands']} | {_months(accuracy['test_mae_months'])} | "
            f"{coverage} | {lowest} to {highest} |"
        )
    return lines


def _age_group_table(predictor: Predictor) -> list[str]:
    """Errors on the test hands by sex and true bone age; empty groups are left out."""
    lines = [
        "| sex | true bone age | test hands | MAE, months | bias, months | "
        f"off by more than 24 months | within the {100 * predictor.coverage:g} % "
        "interval |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for sex, ensemble in predictor.ensembles.items():
        test = ensemble.test_hands
        groups = age_group(test.true_months)
        for group in range(AGE_GROUP_COUNT):
            is_member = groups == group
            if not is_member.any():
                continue
            hands = Calibration(
                test.predicted_months[is_member],
                test.true_months[is_member],
                test.population,
            )
            errors = hands.predicted_months - hands.true_months
            inside, count = ensemble.calibration.coverage_count(
                hands, predictor.coverage
            )
            lines.append(
                f"| {sex} | {age_group_name(group)} | {len(hands)} | "
                f"{np.abs(errors).mean():.1f} | {errors.mean():+.1f} | "
                f"{np.count_nonzero(np.abs(errors) > 24)} | {inside} of {count} |"
            )
    return lines


def _months(months: float | None) -> str:
    return "-" if months is None else f"{months:.1f} months"
