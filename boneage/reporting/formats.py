"""Predictions as text, CSV and JSON, and what is known of the models behind them."""

import math

from boneage.errors import printable
from boneage.evaluation.ages import years_and_months
from boneage.parallel import Skipped
from boneage.prediction.inputs import Sex
from boneage.prediction.model_selection import CandidateRun, SexEnsemble
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT, Prediction

COLUMNS = (
    *("file", "bone_age_months", "lower_months", "upper_months", "qualifier"),
    *("sex", "chronological_age_months", "difference_months"),
    *("difference_lower_months", "difference_upper_months"),
    *("standard_deviation_score", "score_lower", "score_upper", "reference"),
    *("local_calibration", "warnings"),
)
LIMITS = {"": "", "or younger": " or less", "or older": " or more"}
"""How the difference to the child's age is qualified, by the bone age's qualifier."""
MINUS = "\N{MINUS SIGN}"


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


def format_signed(value: float, decimals: int = 0) -> str:
    """Write `+5`, `\N{MINUS SIGN}5` or `0`, with so many decimals."""
    rounded = round(value, decimals) + 0.0
    return f"{rounded:{'+' if rounded else ''}.{decimals}f}".replace("-", MINUS)


def format_difference(prediction: Prediction) -> str:
    """Write `difference +6 months, 90 % interval \N{MINUS SIGN}8 to +20 months`.

    Empty where bone age or chronological age is not known.
    """
    if math.isnan(prediction.difference_months):
        return ""
    text = f"difference {format_signed(prediction.difference_months)} months"
    text += LIMITS[prediction.qualifier]
    if not math.isnan(prediction.difference_lower_months):
        lower = format_signed(prediction.difference_lower_months)
        upper = format_signed(prediction.difference_upper_months)
        text += f", {100 * prediction.coverage:g} % interval {lower} to {upper} months"
    return text


def format_score(prediction: Prediction) -> str:
    """Write `standard deviation score +0.6 (\N{MINUS SIGN}0.7 to +1.8)`, or nothing."""
    score = prediction.deviation_score
    if score is None:
        return ""
    text = f"standard deviation score {format_signed(score.value, 1)}"
    text += LIMITS[prediction.qualifier]
    if not math.isnan(score.lower):
        lower, upper = (format_signed(v, 1) for v in (score.lower, score.upper))
        text += f" ({lower} to {upper})"
    return text


def child_lines(prediction: Prediction) -> list[str]:
    """What is said of the child's age: the difference to it, and the score."""
    if math.isnan(prediction.chronological_age_months):
        return []
    age = f"chronological age {format_age(prediction.chronological_age_months)}"
    lines = [", ".join(filter(None, [age, format_difference(prediction)]))]
    if prediction.deviation_score is not None:
        source = prediction.deviation_score.source
        lines.append(f"{format_score(prediction)}; reference: {source}")
    return lines


def to_text(prediction: Prediction) -> list[str]:
    """Lines for the screen: ages with intervals, then a line per warning."""
    age, interval = format_prediction(prediction), format_interval(prediction)
    calibration = prediction.local_calibration
    return [
        f"{prediction.file}: {age}, {interval}",
        *[f"    {line}" for line in child_lines(prediction)],
        *[f"    {line}" for line in [calibration] if line],
        *[f"    warning: {warning}" for warning in prediction.warnings],
    ]


def csv_row(outcome: Prediction | Skipped) -> list[str | float]:
    """The cells of a radiograph; months that do not exist are empty.

    A CSV file has no place for a statement but its cells: it ends the warnings of every
    row.
    """
    if isinstance(outcome, Skipped):
        reason = f"not read: {outcome.reason}; {STATEMENT}"
        return [printable(outcome.item), *[""] * (len(COLUMNS) - 2), reason]
    record = to_record(outcome)
    cells = ["" if record[c] is None else record[c] for c in COLUMNS[1:-1]]
    refusal = [f"refused: {outcome.refusal}"] if outcome.refusal else []
    warnings = "; ".join([*refusal, *outcome.warnings, STATEMENT])
    return [outcome.file, *cells, warnings]


def to_record(prediction: Prediction) -> dict:
    """A prediction for JSON: null where there is no age or no interval."""
    score = prediction.deviation_score
    value, score_lower, score_upper = (math.nan,) * 3 if score is None else score[:3]
    return {
        "file": prediction.file,
        "bone_age_months": _rounded(prediction.bone_age_months, 1),
        "lower_months": _rounded(prediction.lower_months, 1),
        "upper_months": _rounded(prediction.upper_months, 1),
        "qualifier": prediction.qualifier or None,
        "refusal": prediction.refusal or None,
        "sex": prediction.sex,
        "chronological_age_months": _rounded(prediction.chronological_age_months, 1),
        "difference_months": _rounded(prediction.difference_months, 1),
        "difference_lower_months": _rounded(prediction.difference_lower_months, 1),
        "difference_upper_months": _rounded(prediction.difference_upper_months, 1),
        "standard_deviation_score": _rounded(value, 2),
        "score_lower": _rounded(score_lower, 2),
        "score_upper": _rounded(score_upper, 2),
        "reference": None if score is None else score.source,
        "local_calibration": prediction.local_calibration or None,
        "warnings": list(prediction.warnings),
        "months_by_run": {n: round(m, 1) for n, m in prediction.months_by_run.items()},
        "calibration_group": prediction.calibration_group,
    }


def _rounded(value: float, decimals: int) -> float | None:
    return None if math.isnan(value) else round(value, decimals)


def model_facts(predictor: Predictor) -> dict:
    """What is known of the models, for JSON."""
    return {
        "coverage": predictor.coverage,
        "views": predictor.view_count,
        "models": str(predictor.layout.models),
        "local_calibration": calibration_facts(predictor),
        "runs": [run_facts(candidate) for candidate in predictor.candidates],
        "test_accuracy": {
            sex: test_accuracy(ensemble, predictor.coverage)
            for sex, ensemble in predictor.ensembles.items()
        },
    }


def calibration_facts(predictor: Predictor) -> dict | None:
    """Of the calibration on local radiographs that is applied; None without one."""
    if predictor.calibrator is None:
        return None
    stored = predictor.calibrator.calibration
    return {
        "made": stored.made,
        "table_hash": stored.table_hash,
        "radiographs": stored.radiographs,
        "children": stored.children,
        "lines": {sex: line._asdict() for sex, line in stored.lines.items()},
        "mae_before_months": stored.mae_before_months,
        "mae_after_months": stored.mae_after_months,
        "gain_months": list(stored.gain_months),
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
        "age_bias_correction": config.get("age_bias_correction"),
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
