"""Paced transfer learning: unfreeze a network from the top, stage by stage.

Reads   data/segment_all.h5, data/csv/train.csv (test.csv), data/csv/split.csv (drawn
        here if it does not exist)
Writes  models/paced/<run>/plan.json, and stage_<k>_<name>/ of every stage: model.keras
        (the best validation epoch), config.json, history.csv, predictions.csv,
        tensorboard/, evaluation.json (trained layers and metrics)

    python paced_transfer/step1_ptl_gen.py --model xception --sex female

The head is trained first, then the last blocks too, and so on; every stage starts from
the best network of the previous one. If interrupted, run the same command again.
"""

from dataclasses import dataclass

from boneage import cli
from boneage.regression.settings import PacedSettings
from boneage.transfer import runs, training


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Cohort, network and stages."""

    paths: cli.Paths
    training: PacedSettings


def main(options: Options) -> None:
    """Train the unfinished stages of one run."""
    run = training.train_paced(options.layout, options.training)
    cli.summary(
        *runs.closing_lines(run.runs),
        f"stage with the lowest validation MAE: {run.best.name}",
        wrote=run.folder,
    )


if __name__ == "__main__":
    cli.run(main, Options)
