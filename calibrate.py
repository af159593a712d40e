"""Calibrate the predictions on radiographs of your own with known bone ages.

Reads   a table (CSV, xlsx) with columns file,sex,boneage or id,male,boneage, and
        patient if it is known; its radiographs; the models that predict.py uses
Writes  models/calibration.json: a line for each sex, and local errors for intervals

    python calibrate.py --csv own.csv

30 radiographs or more, which the models were not trained on, read by your own readers.
Lines are stored only if they lower the cross-validated error, new intervals alone if
the present ones contain too few of your bone ages; otherwise nothing is changed. Every
prediction of predict.py then names the calibration. For research, not for diagnosis.
"""

from boneage import cli
from boneage.serving import calibration_command
from boneage.serving.calibration_command import Options


def main(options: Options) -> None:
    """Predict the radiographs, calibrate, and store what helps."""
    calibration_command.main(options)


if __name__ == "__main__":
    cli.run(main, Options)
