"""Calibrate the predictions on radiographs of your own with known bone ages.

Reads   a table (CSV, xlsx) with columns file,sex,boneage or id,male,boneage, and
        patient if it is known; its radiographs; the models that predict.py uses
Writes  models/calibration.json: a line for each sex, and local errors for intervals

    boneage-calibrate --csv own.csv

30 radiographs or more, which the models were not trained on, read by your own readers.
Lines are stored only if they lower the cross-validated error, new intervals alone if
the present ones contain too few of your bone ages; otherwise nothing is changed. Every
prediction of predict.py then names the calibration. For research, not for diagnosis.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from boneage import cli, parallel
from boneage.errors import InputError
from boneage.prediction import calibration_gain, local_calibration
from boneage.prediction.inputs import collect_inputs
from boneage.prediction.model_selection import find_models
from boneage.prediction.predictor import COVERAGE, VIEW_COUNT, Predictor


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """The table, and how the models are asked."""

    resumes: ClassVar[bool] = False
    paths: cli.Paths
    csv: Path | None = None
    """table of radiographs with the bone ages that your readers gave"""
    remove: bool = False
    """remove the stored calibration instead"""
    runs: Annotated[tuple[str, ...], cli.NO_DEFAULT] = ()
    """runs to average, as for predict.py"""
    views: int = VIEW_COUNT
    """number of views of each hand to average, as for predict.py"""
    coverage: float = COVERAGE
    """nominal coverage at which the present intervals are checked"""


def main(options: Options) -> None:
    """Predict the radiographs, calibrate, and store what helps."""
    if options.remove == (options.csv is not None):
        raise InputError("either --csv FILE or --remove must be given")
    stored = options.layout.calibration
    if options.csv is None:
        if not stored.exists():
            raise InputError(f"{stored} cannot be found; there is nothing to remove")
        stored.unlink()
        cli.summary(f"removed {stored}; predictions are no longer calibrated")
        return
    inputs, skipped, notes = collect_inputs([options.csv], None, with_read_months=True)
    cli.summary(*notes)
    models = find_models(options.layout, options.runs)
    predictor = Predictor(models, options.runs, options.views, options.coverage)
    local = calibration_gain.read_locally(predictor, inputs, skipped)
    cli.summary(*parallel.skipped_lines(skipped))
    calibration = calibration_gain.calibrate(
        local,
        {sex: ensemble.calibration for sex, ensemble in predictor.ensembles.items()},
        options.coverage,
        calibration_gain.Origin.of(options.csv, predictor),
    )
    local_calibration.write(stored, calibration)
    cli.summary(
        calibration.in_words(),
        *calibration.lines_in_words(),
        calibration.gain_in_words(),
        wrote=stored,
    )


def run() -> None:
    """The command `boneage-calibrate` of an installed package."""
    cli.run(main, Options)
