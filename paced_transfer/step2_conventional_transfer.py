"""Conventional transfer: the rivals of paced transfer, one training a start layer.

Reads   as step1_ptl_gen.py: the same hands, split, weights, order and augmentation
Writes  models/conventional/<run>_<start layer>/: what step1_ptl_gen.py writes a stage

    python paced_transfer/step2_conventional_transfer.py --model xception --sex female

Each rival trains its layers from the first epoch on, for as many epochs as all stages
of paced transfer have together, at the rate of the stage that starts at this layer.
"""

from dataclasses import dataclass

from boneage import cli
from boneage.regression.settings import PacedSettings
from boneage.transfer import runs, training


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What is trained, on whom, and from where on."""

    paths: cli.Paths
    training: PacedSettings
    start_layer: str = "all-of-them"
    """stage where training starts, such as exit; or all-of-them, in turn"""


def main(options: Options) -> None:
    """Train the rivals that are not finished."""
    rivals = training.train_conventional(
        options.layout,
        options.training,
        list(options.training.rates)
        if options.start_layer == "all-of-them"
        else [options.start_layer],
    )
    cli.summary(*runs.summary(rivals), wrote=options.layout.conventional)


if __name__ == "__main__":
    cli.run(main, Options)
