"""The regressors' options, as flags of the step4 scripts and of paced transfer."""

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from boneage.errors import InputError, check_minimum
from boneage.regression import backbones
from boneage.regression.backbones import BackboneName

NEW = {"deterministic": False, "mirrored_share": 0.5}
"""Settings that runs of before lack, and what they did."""


AVERAGE = "average"
"""Name of the mean of several networks' predictions."""


@dataclass(frozen=True)
class RegressionSettings:
    """What is trained, on whom, and how, whatever the plan of the training."""

    model: BackboneName = "inception_v3"
    """Backbone of the network."""
    run: str = ""
    """Name of the run's folder; default: backbone and sex."""
    weights: str = "imagenet"
    """Initial weights: imagenet, none (random), or a .keras or weights FILE."""
    batch_norm: Literal["trained", "frozen"] = "trained"
    """Batch norm of unfrozen blocks: trained, or as the weights have it."""
    sex: Literal["all", "male", "female"] = "all"
    """Sex of the patients to train on."""
    sex_input: bool = True
    """Sex as a second input of the network (with --sex all)."""
    image_size: int = 0
    """Side of the input images, px; 0 for the backbone's own, 299."""
    batch_size: int = 16
    """Hands per step and device."""
    devices: str = "1"
    """GPUs to use (of each machine): a number, or all."""
    mixed_precision: Literal["none", "float16", "bfloat16"] = "none"
    """Compute in 16 bits where the machine is faster at it; weights keep 32."""
    loss: Literal["distribution", "mae", "mse", "huber"] = "distribution"
    """Loss on a distribution over months (its mean is reported), or on the age."""
    augmentation: float = 1.0
    """Strength of augmentation: 1 is 15 degrees, 10 % scale and shift; 0 for none."""
    mirrored_share: float = 0.5
    """Probability of a horizontal flip; 0 if all radiographs show left hands."""
    batch_norm_momentum: float = 0.0
    """Momentum of batch norm; 0 for Keras's 0.99, or 0.9 from random weights."""
    workers: int = 2
    """Threads that prepare batches."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints, the most that a killed process loses."""
    validation_fraction: float = 0.1
    """Validation part of the cohort, if split.csv does not exist yet."""
    test_fraction: float = 0.1
    """Test part of the cohort, if neither split.csv nor test.csv exists yet."""
    seed: int = 0
    """Random seed of a new split, weights, order and augmentation."""
    deterministic: bool = False
    """Bitwise repeatable training on the same machine; slower on GPUs."""

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        check_minimum(1, batch_size=self.batch_size, workers=self.workers)
        check_minimum(
            0,
            image_size=self.image_size,
            augmentation=self.augmentation,
            mirrored_share=self.mirrored_share,
            seed=self.seed,
        )
        if not self.mirrored_share <= 1:
            raise InputError(f"--mirrored-share {self.mirrored_share}: at most 1")
        if self.run == AVERAGE:
            raise InputError(f"--run {AVERAGE}: the name of the mean of runs in step 5")
        if self.run and not re.fullmatch(r"\w[\w.-]*", self.run):
            raise InputError(
                f"--run {self.run}: a folder's name: letters, digits, _, - and ."
            )

    @property
    def run_name(self) -> str:
        """The run's folder."""
        return self.run or f"{self.model}_{self.sex}"

    @property
    def uses_sex(self) -> bool:
        """Whether the network has the sex as an input: not where all have the same."""
        return self.sex_input and self.sex == "all"


@dataclass(frozen=True)
class TrainingSettings(RegressionSettings):
    """One training from its first epoch to its last.

    The published values: --weights imagenet --sex male (and female) --image-size 299
    --loss mae.
    """

    fine_tune_from: str = "all"
    """Block where fine-tuning starts, such as mixed8 or block13; all; or head."""
    epochs: int = 50
    """Maximum number of epochs."""
    patience: int = 15
    """Epochs without a better validation MAE before training stops."""
    learning_rate: float = 1e-3
    """Highest learning rate, reached after the warm-up."""
    warmup_epochs: float = 1.0
    """Epochs over which the rate rises from zero."""
    decay: Literal["cosine", "none"] = "cosine"
    """Decay of the learning rate after the warm-up."""
    cluster: str = ""
    """HOST:PORT of process 0, to train on several machines (docs/SCALING.md)."""
    processes: int = 1
    """Number of processes of --cluster, one per machine."""
    index: int = 0
    """Number of this process, from 0; only process 0 writes."""

    def check(self) -> None:
        """Raise InputError where a number or a block makes no sense."""
        super().check()
        if bool(self.cluster) != (self.processes > 1):
            raise InputError(
                f"--cluster {self.cluster or '(none)'}, --processes {self.processes}: "
                "several processes need --cluster HOST:PORT, and a cluster several"
            )
        if self.cluster and not re.fullmatch(r".+:\d+", self.cluster):
            raise InputError(f"--cluster {self.cluster}: expected HOST:PORT")
        if not 0 <= self.index < self.processes:
            raise InputError(
                f"--index {self.index}: expected 0 to {self.processes - 1}"
            )
        check_minimum(1, epochs=self.epochs, patience=self.patience)
        check_minimum(0, warmup_epochs=self.warmup_epochs)
        if not 0 < self.learning_rate < np.inf:
            raise InputError(f"--learning-rate {self.learning_rate}: above 0")
        blocks = backbones.fine_tune_points(self.model)
        if self.fine_tune_from not in blocks:
            raise InputError(
                f"--fine-tune-from {self.fine_tune_from}: {self.model} can start at "
                f"{', '.join(blocks)}"
            )


PUBLISHED_RATES = (1e-3, 1e-4, 5e-5, 1e-5, 5e-6)
"""Of the stages from the head to all layers."""


@dataclass(frozen=True)
class PacedSettings(RegressionSettings):
    """A training in stages, from the head down, and the rivals of as many epochs.

    The published values: --model xception --image-size 299 --weights imagenet
    --epochs-per-stage 50 and the default rates.
    """

    model: BackboneName = "xception"
    """Backbone of the network."""
    batch_norm: Literal["trained", "frozen"] = "frozen"
    """Batch norm of unfrozen blocks: trained, or as the weights have it."""
    schedule: dict[str, float] = field(default_factory=dict)
    """Stages with their learning rates: head 1e-3 exit 1e-4 ...; default: published."""
    epochs_per_stage: tuple[int, ...] = (50,)
    """Epochs per stage: one number for all, or one for each."""
    loss: Literal["distribution", "mae", "mse", "huber"] = "mae"
    """Loss on the age, or on a distribution over months (its mean is reported)."""
    decay: Literal["none", "cosine"] = "none"
    """Decay of the learning rate within a stage; published: none."""

    def check(self) -> None:
        """Raise InputError where the schedule does not go down the backbone."""
        super().check()
        known = list(backbones.transfer_stages(self.model))
        there = [known.index(name) for name in self.schedule if name in known]
        if len(there) < len(self.schedule) or there != sorted(there):
            raise InputError(
                f"--schedule {' '.join(self.schedule)}: {self.model} has the stages "
                f"{' '.join(known)}, in this order"
            )
        for stage, rate in self.rates.items():
            if not 0 < rate < np.inf:
                raise InputError(f"--schedule {stage} {rate}: a rate above 0")
        check_minimum(1, epochs_per_stage=min(self.epochs_per_stage, default=0))
        if len(self.epochs_per_stage) not in (1, len(self.rates)):
            raise InputError(
                f"--epochs-per-stage: {len(self.epochs_per_stage)} numbers for "
                f"{len(self.rates)} stages; one number, or one a stage"
            )

    @property
    def rates(self) -> dict[str, float]:
        """Learning rate of each stage, in order."""
        if self.schedule:
            return self.schedule
        stages = backbones.transfer_stages(self.model)
        if len(stages) != len(PUBLISHED_RATES):
            raise InputError(
                f"{self.model} has the stages {' '.join(stages)}: no rates are "
                "published for them; give --schedule"
            )
        return dict(zip(stages, PUBLISHED_RATES, strict=True))

    @property
    def epochs(self) -> dict[str, int]:
        """Epochs of each stage, in order."""
        stages = list(self.rates)
        given = self.epochs_per_stage
        counts = given * len(stages) if len(given) == 1 else given
        return dict(zip(stages, counts, strict=True))


@dataclass(frozen=True)
class BootstrapSettings:
    """How 95 % intervals are drawn."""

    resamples: int = 2000
    """Bootstrap resamples behind each 95 % interval."""
    seed: int = 0
    """Seed of the bootstrap."""

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        check_minimum(1, resamples=self.resamples)
        check_minimum(0, seed=self.seed)
