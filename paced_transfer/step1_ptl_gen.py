"""Paced transfer learning: unfreeze a network from the top, stage by stage.

Reads   data/segment_all.h5, data/csv/train.csv (test.csv), data/csv/split.csv (drawn
        here if it does not exist)
Writes  models/paced/<run>/plan.json, and stage_<k>_<name>/ of every stage: model.keras
        (the best validation epoch), config.json, history.csv, predictions.csv,
        tensorboard/, evaluation.json (which layers learned, and the metrics)

    python paced_transfer/step1_ptl_gen.py --model xception --sex female

The head learns first, then the last blocks with it, and so on; every stage begins with
the best network of the one before. Interrupted, the same command goes on from there.
"""

from dataclasses import dataclass

from boneage import cli
from boneage.regression.settings import PacedSettings
from boneage.transfer import runs, training


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What is trained, on whom, and in which stages."""

    paths: cli.Paths
    training: PacedSettings


def main(options: Options) -> None:
    """Train all stages of one run, unless they are finished."""
    run = training.train_paced(options.layout, options.training)
    cli.summary(
        *runs.summary(run.runs),
        f"lowest validation MAE: {run.best.name}",
        wrote=run.folder,
    )


if __name__ == "__main__":
    cli.run(main, Options)
