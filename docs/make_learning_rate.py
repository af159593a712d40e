"""Draw the learning rate over a training, for the GPU guide.

Reads   nothing
Writes  docs/pictures/learning_rate.png

    python -m docs.make_learning_rate
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from boneage import cli
from boneage.layout import REPOSITORY

HANDS = 10_089
"""In an epoch: the training part of the RSNA 2017 set."""
TRAININGS = (
    ("one GPU: batch of 16, the defaults", 16, {}),
    (
        "16 GPUs: batch of 256, --learning-rate 4e-3 --warmup-epochs 5",
        256,
        {"learning_rate": 4e-3, "warmup_epochs": 5.0},
    ),
)
"""What it is called, hands a step of all GPUs, settings of step 4."""


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "learning_rate.png"
    """File to write."""


def main(options: Options) -> None:
    """Draw a curve for each training."""
    # Keras: seconds, once the options are read
    from boneage.regression.learning_rate import learning_rate
    from boneage.regression.settings import TrainingSettings

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.add_subplot()
    for label, batch, changes in TRAININGS:
        settings, steps = TrainingSettings(**changes), HANDS // batch
        shown = np.linspace(0, settings.epochs * steps - 1, 1000).astype(int)
        rates = [learning_rate(settings, steps, int(step)) for step in shown]
        axes.plot(shown / steps, rates, label=label)
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(options.out, dpi=110)
    cli.summary(wrote=options.out)


if __name__ == "__main__":
    cli.run(main, Options)
