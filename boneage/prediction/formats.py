"""Readings as lines on the screen, as CSV and as JSON."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from boneage.io import files
from boneage.io.files import atomic_write
from boneage.parallel import Skipped
from boneage.prediction.inputs import Sex
from boneage.prediction.model_selection import CandidateRun, SexEnsemble
from boneage.prediction.predictor import STATEMENT, Prediction, Predictor

COLUMNS = ("file", "bone_age_months", "lower_months", "upper_months", "sex", "warnings")


def format_age(months: float) -> str:
    """Write `106 months (8 y 10 m)`."""
    whole = round(months)
    sign = "\N{MINUS SIGN}" if whole < 0 else ""
    return f"{whole} months ({sign}{abs(whole) // 12} y {abs(whole) % 12} m)"


def format_interval(reading: Prediction) -> str:
    """Write `90 % interval 92 months (7 y 8 m) to 120 months (10 y 0 m)`."""
    share = f"{100 * reading.coverage:g} %"
    if math.isnan(reading.lower_months):
        return f"no {share} interval"
    lower, upper = format_age(reading.lower_months), format_age(reading.upper_months)
    return f"{share} interval {lower} to {upper}"


def to_text(reading: Prediction) -> list[str]:
    """What the screen says of one radiograph."""
    return [
        f"{reading.file}: {format_age(reading.bone_age_months)}, {format_interval(reading)}",
        *[f"    warning: {warning}" for warning in reading.warnings],
    ]


def write_csv(
    path: Path, readings: Sequence[Prediction], set_aside: Sequence[Skipped] = ()
) -> None:
    """Write a row a radiograph; months without a limit are empty.

    Those that could not be read come last, without months, and say why. A CSV file has
    no place for a statement but its cells: it is the last of the warnings in every row.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for each in readings:
            months = (each.bone_age_months, each.lower_months, each.upper_months)
            cells = ["" if math.isnan(m) else f"{m:.1f}" for m in months]
            warnings = "; ".join([*each.warnings, STATEMENT])
            writer.writerow([each.file, *cells, each.sex, warnings])
        for each in set_aside:
            why = f"not read: {each.reason}; {STATEMENT}"
            writer.writerow([each.item, *[""] * (len(COLUMNS) - 2), why])


def write_json(
    path: Path,
    ensemble: Predictor,
    readings: Sequence[Prediction],
    set_aside: Sequence[Skipped],
) -> None:
    """Write readings, the models' facts, and what could not be read."""
    content = {
        "statement": STATEMENT,
        **model_facts(ensemble),
        "radiographs": [as_record(each) for each in readings],
        "set_aside": [
            {"file": str(each.item), "reason": each.reason} for each in set_aside
        ],
    }
    files.write_json(path, content)


def as_record(reading: Prediction) -> dict:
    """A reading as JSON has it: null where there is no interval."""
    lower, upper = (
        None if math.isnan(months) else round(months, 1)
        for months in (reading.lower_months, reading.upper_months)
    )
    return {
        "file": reading.file,
        "bone_age_months": round(reading.bone_age_months, 1),
        "lower_months": lower,
        "upper_months": upper,
        "sex": reading.sex,
        "warnings": list(reading.warnings),
        "runs_months": {n: round(m, 1) for n, m in reading.runs_months.items()},
        "compared_with": reading.compared_with,
    }


def model_facts(ensemble: Predictor) -> dict:
    """What is known of the models, for JSON."""
    return {
        "coverage": ensemble.coverage,
        "views": ensemble.view_count,
        "models": str(ensemble.models.models),
        "runs": [run_facts(each) for each in ensemble.candidates],
        "tested": {
            sex: test_accuracy(readers, ensemble.coverage)
            for sex, readers in ensemble.readers.items()
        },
    }


def run_facts(candidate: CandidateRun) -> dict:
    """A run's facts: what it is, what it was trained on, and how far off it is."""
    config, test = candidate.config, candidate.predictions
    test = test[test.split == "test"]
    error = (test.predicted_months - test.bone_age_months).abs().mean()
    return {
        "run": candidate.name,
        "backbone": config["backbone"],
        "image_size_px": config.get("image_size"),
        "sex": config["sex"],
        "training_data": config.get("training_data"),
        "training_hands": config.get("training_hands"),
        "age_range_months": config["age_range_months"],
        "preprocessing": config["preprocessing"],
        "test_hands": len(test),
        "test_mae_months": None if math.isnan(error) else round(float(error), 2),
        "git_commit": config.get("git_commit"),
    }


def test_accuracy(readers: SexEnsemble, coverage: float) -> dict:
    """How the runs' average and its intervals fare on the test hands of one sex."""
    held_back, test = readers.held_back, readers.tested
    errors = abs(test.predicted_months - test.true_months)
    inside, with_interval = held_back.covered(test, coverage)
    return {
        "runs": [each.name for each in readers.candidates],
        "views": readers.measured_views,
        "validation_hands": len(held_back),
        "test_hands": len(test),
        "test_mae_months": round(float(errors.mean()), 2) if len(test) else None,
        "with_interval": with_interval,
        "within_interval": inside,
    }


def accuracy_lines(ensemble: Predictor, of_sex: Sex = "unknown") -> list[str]:
    """A line a sex: who is asked, and how their average fares on test hands."""
    found = []
    for sex, readers in ensemble.readers.items():
        if of_sex not in ("unknown", sex):
            continue
        facts = test_accuracy(readers, ensemble.coverage)
        line = f"{sex}: {', '.join(facts['runs'])}, {_views(facts['views'])}"
        if facts["test_hands"]:
            line += f"; test MAE {facts['test_mae_months']:.1f} months"
        share = f"{100 * ensemble.coverage:g} %"
        if facts["with_interval"]:
            line += (
                f", {share} intervals hold {facts['within_interval']} of "
                f"{facts['with_interval']} test hands"
            )
        elif facts["test_hands"]:
            line += f", too few validation hands for {share} intervals"
        found.append(line)
        if readers.measured_views != ensemble.view_count:
            found.append(
                f"{sex}: asked in {_views(ensemble.view_count)}, but intervals and "
                "errors were measured in one; ship.py measures them"
            )
    return found


def _views(count: int) -> str:
    return f"{count} view{'s' if count > 1 else ''} of each hand"
