"""Conventional transfer learning: one training for each start layer, as a baseline.

Reads   as step1_ptl_gen.py: the same hands, split, weights, order and augmentation
Writes  models/conventional/<run>_<start layer>/: the files of a stage of step1

    python paced_transfer/step2_conventional_transfer.py --model xception --sex female

Each run trains the same layers from the first epoch on, for as many epochs as all
stages of paced transfer together, at the learning rate of the stage that starts there.
"""

from dataclasses import dataclass

from boneage import cli
from boneage.regression.settings import PacedSettings
from boneage.transfer import runs, training


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Cohort, network and start layers."""

    paths: cli.Paths
    training: PacedSettings
    start_layer: str = "all-of-them"
    """stage where training starts, such as exit; or all-of-them, in turn"""


def main(options: Options) -> None:
    """Train the unfinished runs."""
    finished = training.train_conventional(
        options.layout,
        options.training,
        list(options.training.rates)
        if options.start_layer == "all-of-them"
        else [options.start_layer],
    )
    cli.summary(*runs.closing_lines(finished), wrote=options.layout.conventional)


if __name__ == "__main__":
    cli.run(main, Options)
