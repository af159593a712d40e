"""Fine-tune a network to predict bone age in months, on one GPU, many, or none.

Reads   data/segment_all.h5, data/csv/train.csv (test.csv), data/csv/split.csv (drawn
        here if it does not exist)
Writes  models/regression/<run>/model.keras (the best validation epoch), config.json,
        history.csv, predictions.csv (validation and test), tensorboard/

    python al_segmentation/step4_regression_multi_gpu.py --model xception --devices all

Interrupted, the same command goes on from the last checkpoint.
"""

from dataclasses import dataclass
from typing import Annotated

from boneage import cli
from boneage.regression import training_runs
from boneage.regression.settings import TrainingSettings


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What is trained, on whom, and how."""

    paths: cli.Paths
    training: TrainingSettings
    like: Annotated[str, cli.NO_DEFAULT] = ""
    """run to train again with its settings: a name, or a config.json"""


def main(options: Options) -> None:
    """Train one run, unless it is finished."""
    settings = options.training
    if options.like:
        flags = cli.flags_given()
        settings = training_runs.settings_of_run(
            options.layout, settings, options.like, flags
        )
    run = training_runs.train_run(options.layout, settings)
    wrote = run.folder if settings.index == 0 else None
    cli.summary(*training_runs.closing_lines(run, settings), wrote=wrote)


if __name__ == "__main__":
    cli.run(main, Options)
