"""The model card: what shipped models are, how good, and for what not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.evaluation.ages import AGE_GROUP_COUNT, age_group, age_group_name
from boneage.io.files import atomic_write
from boneage.io.hdf5 import preprocessing_in_words
from boneage.prediction import formats
from boneage.prediction.conformal import Calibration
from boneage.prediction.predictor import STATEMENT, Predictor


@dataclass(frozen=True)
class ExportedRun:
    """What 16 bits did to a run.

    change_months: the largest change of a prediction. mean_change_months: of all.
    hands: predicted both ways.
    """

    run: str
    change_months: float
    mean_change_months: float
    hands: int


def write_card(
    path: Path,
    predictor: Predictor,
    exported: Sequence[ExportedRun],
    terms: str,
    failures: str = "",
) -> None:
    """Write the model card: what the models are, how good, and for what not.

    terms: under which the weights may be used. failures: on what they are known to
    fail; both in words.
    """
    facts = formats.model_facts(predictor)
    data = {about["training_data"] for about in facts["runs"]}
    text = [
        "# Trained models",
        "",
        f"**{STATEMENT.capitalize()}.** Read by `predict.py` where nothing else is "
        "trained; `--models` with this folder's name asks them in any case.",
        "",
        f"Trained on: {'; '.join(sorted(data))}. Terms: {terms}",
        "",
        "| run | backbone | px | sex | training hands | bone ages, months | "
        "test MAE, one view | commit |",
        "|---|---|---:|---|---:|---|---:|---|",
    ]
    for about in facts["runs"]:
        least, greatest = about["age_range_months"]
        error = about["test_mae_months"]
        text.append(
            f"| {about['run']} | {about['backbone']} | {about['image_size_px']} | "
            f"{about['sex']} | {about['training_hands']} | {least:g} to {greatest:g} | "
            f"{'-' if error is None else f'{error:.1f}'} months | "
            f"{(about['git_commit'] or 'unknown')[:9]} |"
        )
    text += [
        "",
        "The average of the runs, and its intervals (split conformal by sex and "
        "predicted age, from the validation hands, which also chose each run's epoch), "
        "on test hands that nothing was chosen with:",
        "",
        "| hands | views | validation | test | test MAE | "
        f"within the {100 * predictor.coverage:g} % interval |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for sex, measured in facts["test_accuracy"].items():
        error, count = measured["test_mae_months"], measured["test_hands"]
        with_interval = measured["with_interval"]
        share = (
            f"{100 * measured['within_interval'] / with_interval:.1f} %"
            if with_interval
            else "-"
        )
        text.append(
            f"| {sex} | {measured['views']} | {measured['validation_hands']} | "
            f"{count} | "
            f"{'-' if error is None else f'{error:.1f}'} months | {share} |"
        )
    text += ["", *_by_age(predictor)]
    text += [
        "",
        "Weights in 16 bits, against the networks as they were trained:",
        "",
    ]
    text += [
        f"- {run.run}: predictions of {run.hands} hands change by at most "
        f"{run.change_months:.3f} months, by {run.mean_change_months:.3f} on average"
        for run in exported
    ]
    preprocessing = sorted(
        {preprocessing_in_words(about["preprocessing"]) for about in facts["runs"]}
    )
    text += [
        "",
        f"Hands: {'; '.join(preprocessing)}; cut out by the committee in `committee/`.",
        "",
        *([f"Known failures: {failures}", ""] if failures else []),
        "Not for: decisions about a patient; hands of people unlike those trained on; "
        "ages beyond those above; radiographs of injured or malformed hands; telling "
        "anyone's age in years since birth.",
    ]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(text) + "\n")


def _by_age(predictor: Predictor) -> list[str]:
    """Errors on the test hands by sex and true bone age; empty groups are left out."""
    lines = [
        "| test hands | bone age | hands | MAE, months | bias | "
        f"off by more than 24 months | within the {100 * predictor.coverage:g} % "
        "interval |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for sex, ensemble in predictor.ensembles.items():
        test = ensemble.test_hands
        groups = age_group(test.true_months)
        for group in range(AGE_GROUP_COUNT):
            chosen = groups == group
            if not chosen.any():
                continue
            hands = Calibration(
                test.predicted_months[chosen], test.true_months[chosen], test.population
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
