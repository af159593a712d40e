"""Predictions as text, CSV and JSON, and what is known of the models behind them."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from boneage.errors import printable
from boneage.evaluation.ages import years_and_months
from boneage.io import files
from boneage.io.files import atomic_write
from boneage.parallel import Skipped
from boneage.prediction.inputs import Sex
from boneage.prediction.model_selection import CandidateRun, SexEnsemble
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT, Prediction

COLUMNS = (
    *("file", "bone_age_months", "lower_months", "upper_months", "qualifier"),
    *("sex", "warnings"),
)


def format_age(months: float) -> str:
    """Write `106 months (8 y 10 m)`."""
    return f"{round(months)} months ({years_and_months(months)})"


def format_prediction(prediction: Prediction) -> str:
    """Write `182 months (15 y 2 m) or older`, or `no bone age`."""
    if prediction.refusal:
        return "no bone age"
    return f"{format_age(prediction.bone_age_months)} {prediction.qualifier}".rstrip()


def format_interval(prediction: Prediction) -> str:
    """Write `90 % interval 92 months (7 y 8 m) to 120 months (10 y 0 m)`.

    In its place the reason where no age is reported.
    """
    if prediction.refusal:
        return prediction.refusal
    percent = f"{100 * prediction.coverage:g} %"
    if math.isnan(prediction.lower_months):
        return f"no {percent} interval"
    lower = format_age(prediction.lower_months)
    return f"{percent} interval {lower} to {format_age(prediction.upper_months)}"


def to_text(prediction: Prediction) -> list[str]:
    """Lines for the screen: the age with its interval, then a line per warning."""
    age, interval = format_prediction(prediction), format_interval(prediction)
    return [
        f"{prediction.file}: {age}, {interval}",
        *[f"    warning: {warning}" for warning in prediction.warnings],
    ]


def write_csv(
    path: Path, predictions: Sequence[Prediction], skipped: Sequence[Skipped] = ()
) -> None:
    """Write a row per radiograph; months that do not exist are empty cells.

    Files that could not be read come last, without months, with the reason. A CSV file
    has no place for a statement but its cells: it ends the warnings of every row.
    """
    with (
        atomic_write(path) as temporary,
        # a name that is no UTF-8 must not cost the table
        temporary.open(
            "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for prediction in predictions:
            months = (
                prediction.bone_age_months,
                prediction.lower_months,
                prediction.upper_months,
            )
            cells = ["" if math.isnan(m) else f"{m:.1f}" for m in months]
            refusal = [f"refused: {prediction.refusal}"] if prediction.refusal else []
            warnings = "; ".join([*refusal, *prediction.warnings, STATEMENT])
            facts = (prediction.qualifier, prediction.sex, warnings)
            writer.writerow([prediction.file, *cells, *facts])
        for item in skipped:
            reason = f"not read: {item.reason}; {STATEMENT}"
            row = [printable(item.item), *[""] * (len(COLUMNS) - 2), reason]
            writer.writerow(row)


def write_json(
    path: Path,
    predictor: Predictor,
    predictions: Sequence[Prediction],
    skipped: Sequence[Skipped],
) -> None:
    """Write predictions, the models' facts, and the files that could not be read."""
    content = {
        "statement": STATEMENT,
        **model_facts(predictor),
        "radiographs": [to_record(prediction) for prediction in predictions],
        "skipped": [
            {"file": printable(item.item), "reason": item.reason} for item in skipped
        ],
    }
    files.write_json(path, content)


def to_record(prediction: Prediction) -> dict:
    """A prediction for JSON: null where there is no age or no interval."""
    age, lower, upper = (
        None if math.isnan(months) else round(months, 1)
        for months in (
            prediction.bone_age_months,
            prediction.lower_months,
            prediction.upper_months,
        )
    )
    return {
        "file": prediction.file,
        "bone_age_months": age,
        "lower_months": lower,
        "upper_months": upper,
        "qualifier": prediction.qualifier or None,
        "refusal": prediction.refusal or None,
        "sex": prediction.sex,
        "warnings": list(prediction.warnings),
        "months_by_run": {n: round(m, 1) for n, m in prediction.months_by_run.items()},
        "calibration_group": prediction.calibration_group,
    }


def model_facts(predictor: Predictor) -> dict:
    """What is known of the models, for JSON."""
    return {
        "coverage": predictor.coverage,
        "views": predictor.view_count,
        "models": str(predictor.layout.models),
        "runs": [run_facts(candidate) for candidate in predictor.candidates],
        "test_accuracy": {
            sex: test_accuracy(ensemble, predictor.coverage)
            for sex, ensemble in predictor.ensembles.items()
        },
    }


def run_facts(candidate: CandidateRun) -> dict:
    """A run's architecture, training data and test error."""
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


def test_accuracy(ensemble: SexEnsemble, coverage: float) -> dict:
    """Error of an ensemble and coverage of its intervals on the test hands."""
    test = ensemble.test_hands
    errors = abs(test.predicted_months - test.true_months)
    inside, with_interval = ensemble.calibration.coverage_count(test, coverage)
    return {
        "runs": [candidate.name for candidate in ensemble.candidates],
        "views": ensemble.measured_view_count,
        "validation_hands": len(ensemble.calibration),
        "test_hands": len(test),
        "test_mae_months": round(float(errors.mean()), 2) if len(test) else None,
        "with_interval": with_interval,
        "within_interval": inside,
        "usable_range_months": [
            None if math.isinf(months) else round(months, 1)
            for months in ensemble.calibration.usable_range_months()
        ],
    }


def accuracy_lines(predictor: Predictor, sex: Sex = "unknown") -> list[str]:
    """A line for each sex: the runs that are averaged and their test accuracy."""
    lines = []
    percent = f"{100 * predictor.coverage:g} %"
    for ensemble_sex, ensemble in predictor.ensembles.items():
        if sex not in ("unknown", ensemble_sex):
            continue
        facts = test_accuracy(ensemble, predictor.coverage)
        line = f"{ensemble_sex}: {', '.join(facts['runs'])}, {_views(facts['views'])}"
        if facts["test_hands"]:
            line += f"; test MAE {facts['test_mae_months']:.1f} months"
        if facts["with_interval"]:
            line += (
                f", {percent} intervals contain {facts['within_interval']} of "
                f"{facts['with_interval']} test hands"
            )
        elif facts["test_hands"]:
            line += f", too few validation hands for {percent} intervals"
        lines.append(line)
        if ensemble.measured_view_count != predictor.view_count:
            lines.append(
                f"{ensemble_sex}: predictions average {_views(predictor.view_count)}, "
                "but intervals and errors were measured with 1; ship.py "
                "measures them"
            )
    return lines


def _views(count: int) -> str:
    return f"{count} view{'s' if count > 1 else ''} of each hand"
