"""The regressors' options, as flags of the step4 scripts."""

from dataclasses import dataclass, fields
from typing import Literal

from boneage.files import InputError, at_least
from boneage.regression.backbones import BackboneName


@dataclass(frozen=True)
class TrainingSettings:
    """What is trained, on whom, and how.

    The published values: --weights imagenet --sex male (and female) --image-size 299
    --loss mae.
    """

    model: BackboneName = "inception_v3"
    """The backbone."""
    run: str = ""
    """Name of the run's folder; default: backbone and sex."""
    weights: str = "imagenet"
    """imagenet, none (random), or a FILE: a .keras run of the backbone, or weights."""
    fine_tune_from: str = "all"
    """all, head, or the block where fine-tuning starts, such as mixed8 or block13."""
    sex: Literal["all", "male", "female"] = "all"
    """Whose hands."""
    sex_input: bool = True
    """Give the network the sex (with --sex all; of no use with one sex)."""
    image_size: int = 0
    """Side of the hands, px; 0 for the backbone's own, 299."""
    epochs: int = 50
    """Epochs at most."""
    patience: int = 15
    """Stop after that many epochs without a better validation MAE."""
    batch_size: int = 16
    """Hands a step and device."""
    devices: str = "1"
    """GPUs to use: a number, or all."""
    mixed_precision: bool = False
    """Compute in float16 (on GPUs that are faster at it)."""
    learning_rate: float = 1e-3
    """Highest rate; reached after the warm-up, then down a cosine."""
    warmup_epochs: float = 1.0
    """Epochs over which the rate rises from zero."""
    loss: Literal["mae", "mse", "huber"] = "mae"
    """On months; huber bends at 12."""
    augmentation: float = 1.0
    """Strength: 1 turns by 15 degrees, scales and shifts by 10 per cent; 0 for none."""
    batch_norm_momentum: float = 0.0
    """Of the moving statistics; 0 for Keras's 0.99, or 0.9 from random weights."""
    workers: int = 2
    """Threads that prepare batches."""
    checkpoint_minutes: float = 10.0
    """At most that much training is lost when the process is killed."""
    validation_fraction: float = 0.1
    """Share of the cohort, where split.csv is not drawn yet."""
    test_fraction: float = 0.1
    """Share of the cohort, where neither split.csv nor test.csv exists yet."""
    seed: int = 0
    """Of the split (if it is not drawn yet), weights, order and augmentation."""

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        at_least(
            1,
            epochs=self.epochs,
            batch_size=self.batch_size,
            patience=self.patience,
            workers=self.workers,
        )
        at_least(
            0,
            image_size=self.image_size,
            warmup_epochs=self.warmup_epochs,
            augmentation=self.augmentation,
        )
        if self.learning_rate <= 0:
            raise InputError(f"--learning-rate {self.learning_rate}: above 0")

    def training_settings(self) -> "TrainingSettings":
        """These options alone, without those of the script that inherits them."""
        names = [field.name for field in fields(TrainingSettings)]
        return TrainingSettings(**{name: getattr(self, name) for name in names})

    @property
    def run_name(self) -> str:
        """The run's folder."""
        return self.run or f"{self.model}_{self.sex}"

    @property
    def uses_sex(self) -> bool:
        """Whether the network has the sex as an input: not where all have the same."""
        return self.sex_input and self.sex == "all"
