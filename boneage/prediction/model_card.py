"""The model card: what shipped models are, how good, and for what not."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.io.files import atomic_write
from boneage.io.hdf5 import preprocessing_in_words
from boneage.prediction import formats
from boneage.prediction.conformal import Calibration
from boneage.prediction.predictor import STATEMENT, Predictor

AGE_EDGES_MONTHS = (0, 60, 120, 180, math.inf)


@dataclass(frozen=True)
class Shipped:
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
    ensemble: Predictor,
    shipped: Sequence[Shipped],
    terms: str,
    failures: str = "",
) -> None:
    """Write the model card: what the models are, how good, and for what not.

    terms: under which the weights may be used. failures: on what they are known to
    fail; both in words.
    """
    facts = formats.model_facts(ensemble)
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
        f"within the {100 * ensemble.coverage:g} % interval |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for sex, measured in facts["tested"].items():
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
    text += ["", *_by_age(ensemble)]
    text += [
        "",
        "Weights in 16 bits, against the networks as they were trained:",
        "",
    ]
    text += [
        f"- {one.run}: predictions of {one.hands} hands change by at most "
        f"{one.change_months:.3f} months, by {one.mean_change_months:.3f} on average"
        for one in shipped
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


def _by_age(ensemble: Predictor) -> list[str]:
    """Errors on the test hands by sex and true bone age; empty groups are left out."""
    lines = [
        "| test hands | bone age, years | hands | MAE, months | bias | "
        f"off by more than 24 months | within the {100 * ensemble.coverage:g} % "
        "interval |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for sex, readers in ensemble.readers.items():
        test, true = readers.tested, readers.tested.true_months
        for low, high in itertools.pairwise(AGE_EDGES_MONTHS):
            chosen = (true >= low) & (true < high)
            if not chosen.any():
                continue
            here = Calibration(test.predicted_months[chosen], true[chosen], test.who)
            errors = here.predicted_months - here.true_months
            inside, count = readers.held_back.covered(here, ensemble.coverage)
            years = "or more" if math.isinf(high) else f"to {high // 12}"
            lines.append(
                f"| {sex} | {low // 12} {years} | {len(here)} | "
                f"{np.abs(errors).mean():.1f} | {errors.mean():+.1f} | "
                f"{np.count_nonzero(np.abs(errors) > 24)} | {inside} of {count} |"
            )
    return lines
