"""The regressors' options, as flags of the step4 scripts and of paced transfer."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from boneage.cli import NO_DEFAULT
from boneage.errors import InputError, check_minimum
from boneage.regression import backbones
from boneage.regression.backbones import BackboneName, MapStride

AVERAGE = "average"
"""Name of the mean of several networks' predictions."""


@dataclass(frozen=True)
class RegressionSettings:
    """The network, the hands it learns from, and how it learns."""

    model: BackboneName = "inception_v3"
    """backbone"""
    run: Annotated[str, NO_DEFAULT] = ""
    """name of the run's folder (default: backbone and sex)"""
    weights: str = "imagenet"
    """initial weights: imagenet, none (random) or a FILE, e.g. model.keras of a run"""
    sex: Literal["all", "male", "female"] = "all"
    """hands to train on"""
    sex_input: bool = True
    """sex as an input of the network (only with --sex all)"""
    image_size: Annotated[int, NO_DEFAULT] = 0
    """side of the hands in px (default: the backbone's published size)"""
    map_stride: MapStride = 32
    """px between cells of the activation map; 16 ends the network one block earlier"""
    loss: Literal["distribution", "mae", "mse", "huber"] = "distribution"
    """distribution over months, or an error of the age itself (huber bends at 12)"""
    batch_size: int = 16
    """hands per step and device"""
    batch_norm: Literal["trained", "frozen"] = "trained"
    """frozen: batch norm keeps its initial weights and statistics in all blocks"""
    batch_norm_momentum: float = 0.9
    """momentum of batch norm's moving statistics"""
    augmentation: float = 1.0
    """strength; 1 turns by 15 degrees, scales and shifts by 10 per cent; 0 for none"""
    mirrored_share: float = 0.5
    """probability of a horizontal flip; use 0 if all radiographs show left hands"""
    devices: str = "1"
    """number of GPUs on each machine, or all"""
    mixed_precision: Literal["none", "float16", "bfloat16"] = "none"
    """16-bit arithmetic, for hardware that is faster at it; weights keep 32 bits"""
    workers: int = 2
    """threads that prepare batches"""
    checkpoint_minutes: float = 10.0
    """minutes of training that a kill can cost at most"""
    validation_fraction: float = 0.1
    """share of the cohort for validation, if split.csv does not exist yet"""
    test_fraction: float = 0.1
    """share of the cohort for testing, if split.csv and test.csv do not exist yet"""
    seed: int = 0
    """random seed of the split (if not drawn yet), weights, order and augmentation"""
    deterministic: bool = False
    """losses that repeat to the last digit on one machine; slower, mostly on GPUs"""

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
            raise InputError(
                f"--mirrored-share must be at most 1 (got {self.mirrored_share})"
            )
        if not 0 < self.batch_norm_momentum < 1:
            raise InputError(
                "--batch-norm-momentum must be between 0 and 1 "
                f"(got {self.batch_norm_momentum})"
            )
        if self.run == AVERAGE:
            raise InputError(
                f"--run cannot be {AVERAGE}, which step 5 calls the mean of all runs; "
                "choose another name"
            )
        if self.run and not re.fullmatch(r"\w[\w.-]*", self.run):
            raise InputError(
                "--run must be a folder's name of letters, digits, _, - and . "
                f"(got {self.run})"
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

    epochs: int = 50
    """greatest number of epochs"""
    patience: int = 15
    """epochs without a better validation MAE before the training stops"""
    learning_rate: float = 1e-3
    """highest learning rate, reached after the warm-up"""
    warmup_epochs: float = 1.0
    """epochs over which the learning rate rises from zero"""
    decay: Literal["cosine", "none"] = "cosine"
    """learning rate after the warm-up: down a cosine, or constant"""
    fine_tune_from: str = "all"
    """first block that learns, such as mixed8 or block13; all, or head alone"""
    cluster: Annotated[str, NO_DEFAULT] = ""
    """HOST:PORT of process 0, to train on several machines (docs/SCALING.md)"""
    processes: int = 1
    """number of processes of --cluster, one per machine"""
    index: int = 0
    """number of this process, from 0; only process 0 writes files"""

    def check(self) -> None:
        """Raise InputError where a number or a block makes no sense."""
        super().check()
        if bool(self.cluster) != (self.processes > 1):
            raise InputError(
                "--cluster HOST:PORT and --processes of 2 or more must be given "
                f"together (got --cluster {self.cluster or 'none'}, --processes "
                f"{self.processes})"
            )
        if self.cluster and not re.fullmatch(r".+:\d+", self.cluster):
            raise InputError(f"--cluster must be HOST:PORT (got {self.cluster})")
        if not 0 <= self.index < self.processes:
            raise InputError(
                f"--index must be 0 to {self.processes - 1} (got {self.index})"
            )
        check_minimum(1, epochs=self.epochs, patience=self.patience)
        check_minimum(0, warmup_epochs=self.warmup_epochs)
        if not 0 < self.learning_rate < np.inf:
            raise InputError(
                f"--learning-rate must be greater than 0 (got {self.learning_rate})"
            )
        points = backbones.fine_tune_points(self.model, self.map_stride)
        if self.fine_tune_from not in points:
            raise InputError(
                f"--fine-tune-from must be one of {', '.join(points)} for {self.model} "
                f"with --map-stride {self.map_stride} (got {self.fine_tune_from})"
            )


PUBLISHED_RATES = (1e-3, 1e-4, 5e-5, 1e-5, 5e-6)
"""Learning rates of the stages, from the head to all layers."""


@dataclass(frozen=True)
class PacedSettings(RegressionSettings):
    """Training in stages, from the head down, or conventionally for as many epochs.

    The published values: --model xception --image-size 299 --weights imagenet
    --epochs-per-stage 50 and the default rates.
    """

    model: BackboneName = "xception"
    """backbone"""
    schedule: Annotated[dict[str, float], NO_DEFAULT] = field(default_factory=dict)
    """stages and learning rates: head 1e-3 exit 1e-4 ... (default: as published)"""
    epochs_per_stage: tuple[int, ...] = (50,)
    """epochs of each stage: one number for all, or one per stage"""
    loss: Literal["distribution", "mae", "mse", "huber"] = "mae"
    """error of the age itself (huber bends at 12), or a distribution over months"""
    decay: Literal["none", "cosine"] = "none"
    """learning rate within a stage or conventional run: constant, or down a cosine"""
    batch_norm: Literal["trained", "frozen"] = "frozen"
    """frozen: batch norm keeps its initial weights and statistics in all blocks"""

    def check(self) -> None:
        """Raise InputError where the schedule does not go down the backbone."""
        super().check()
        known = list(backbones.transfer_stages(self.model, self.map_stride))
        places = [known.index(name) for name in self.schedule if name in known]
        if len(places) < len(self.schedule) or places != sorted(places):
            raise InputError(
                f"--schedule must name stages of {self.model} in the order "
                f"{' '.join(known)} (got {' '.join(self.schedule)})"
            )
        for stage, rate in self.rates.items():
            if not 0 < rate < np.inf:
                raise InputError(
                    f"--schedule must have rates greater than 0 (got {stage} {rate})"
                )
        check_minimum(1, epochs_per_stage=min(self.epochs_per_stage, default=0))
        if len(self.epochs_per_stage) not in (1, len(self.rates)):
            raise InputError(
                f"--epochs-per-stage must be one number or one for each of the "
                f"{len(self.rates)} stages (got {len(self.epochs_per_stage)} numbers)"
            )

    @property
    def rates(self) -> dict[str, float]:
        """Learning rate of each stage, in order."""
        if self.schedule:
            return self.schedule
        stages = backbones.transfer_stages(self.model, self.map_stride)
        if len(stages) != len(PUBLISHED_RATES):
            raise InputError(
                f"--schedule must be given for {self.model} with --map-stride "
                f"{self.map_stride}: rates are published for five stages, it has "
                f"{len(stages)} ({' '.join(stages)})"
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
    """bootstrap resamples behind each 95 % interval"""
    seed: int = 0
    """seed of the bootstrap"""

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        check_minimum(1, resamples=self.resamples)
        check_minimum(0, seed=self.seed)
