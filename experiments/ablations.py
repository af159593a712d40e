"""What moves the error of a bone-age network? One change at a time, on one cohort.

    python -m experiments.ablations run --data RSNA --out OUT --levers plain mse --seeds 0 1
    python -m experiments.ablations report --out OUT

`run` trains with step 4's own code on the training part of the cohort's split.csv and
reports on its validation part; the test part is not looked at. All trainings see as
many hands. Finished ones are not made again and killed ones go on, so that several
processes and days can share the work.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from boneage import cli
from boneage.errors import InputError
from boneage.io.locks import exclusive
from boneage.layout import Layout
from boneage.regression import run_folder, training_runs
from boneage.regression.backbones import BackboneName
from boneage.regression.dataset import DataSplits, HandDataset
from boneage.regression.settings import BootstrapSettings, TrainingSettings
from boneage.transfer import comparison

PLAIN = "plain"

OfSeeds = dict[int, pd.Series]
"""Absolute errors in months, by id, of each seed."""


@dataclass(frozen=True)
class Lever:
    """One change: of settings, of the hands, or of the training's code."""

    settings: dict = field(default_factory=dict)
    """Of step 4, in place of the plain ones."""
    image_scale: float = 1.0
    """Side of the images, as a share of the plain one."""
    is_whole: bool = False
    """Whole radiographs in place of hands."""
    is_balanced: bool = False
    """Draw hands by the square root of how rare their age is."""
    is_apart: bool = False
    """A network for each sex, with half of the steps."""
    kind: Literal["Training", "Averaged", "Beside", "OfUnitGain"] = "Training"
    """Of `experiments.ablation_trainings`, or step 4's."""


LEVERS = {
    PLAIN: Lever(),
    "whole_radiographs": Lever(is_whole=True),
    "no_sex_input": Lever({"sex_input": False}),
    "a_network_a_sex": Lever(is_apart=True),
    "mae": Lever({"loss": "mae"}),
    "mse": Lever({"loss": "mse"}),
    "huber": Lever({"loss": "huber"}),
    "label_distribution": Lever({"loss": "distribution"}),
    "distribution_beside": Lever({"loss": "mae"}, kind="Beside"),
    "unit_gain": Lever({"loss": "mae"}, kind="OfUnitGain"),
    "no_augmentation": Lever({"augmentation": 0.0}),
    "half_augmentation": Lever({"augmentation": 0.5}),
    "no_mirroring": Lever({"mirrored_share": 0.0}),
    "double_augmentation": Lever({"augmentation": 2.0}),
    "smaller_images": Lever(image_scale=0.75),
    "larger_images": Lever(image_scale=1.3),
    "averaged_weights": Lever(kind="Averaged"),
    "batch_norm_momentum_0.99": Lever({"batch_norm_momentum": 0.99}),
    "constant_rate": Lever({"decay": "none"}),
    "no_warm_up": Lever({"warmup_epochs": 0.0}),
    "third_of_the_rate": Lever({"learning_rate": 3e-4}),
    "three_times_the_rate": Lever({"learning_rate": 3e-3}),
    "batch_of_32": Lever({"batch_size": 32}),
    "balanced_ages": Lever(is_balanced=True),
    "32_bits": Lever({"mixed_precision": "none"}),
}


@dataclass(frozen=True)
class Run:
    """Train."""

    data: Path
    """A cohort with hands and split.csv."""
    out: Path
    """Folder of one run a lever and seed."""
    whole: Path | None = None
    """The same cohort, its hands made with --no-cut."""
    levers: tuple[str, ...] = tuple(LEVERS)
    """Names from the table of levers."""
    seeds: tuple[int, ...] = (0,)
    """Of the hands that choose the epoch, weights, order and augmentation."""
    model: BackboneName = "inception_v3"
    """The backbone, from random weights."""
    image_size: int = 107
    """Side of the hands, px."""
    epochs: int = 3
    """Of each training."""
    augmentation: float = 1.0
    """As of step 4, of all levers that do not set it. Short trainings are better with
    0, and nearer then to what long ones reach."""
    loss: Literal["distribution", "mae", "mse", "huber"] = "distribution"
    """As of step 4, of all levers that do not set it."""
    choosing: int = 250
    """Hands of the training part that choose the epoch."""
    mixed_precision: Literal["none", "float16", "bfloat16"] = "bfloat16"
    """As of step 4."""


@dataclass(frozen=True)
class Report(BootstrapSettings):
    """Tabulate what is there, each lever beside the plain training."""

    out: Path = Path()
    """The folder of `run`."""


def main(options: Run | Report) -> None:
    """Run what is missing, or report on what is there."""
    if isinstance(options, Report):
        options.check()
        print("\n".join(report(options)))
        return
    unknown = set(options.levers) - set(LEVERS)
    if unknown:
        raise InputError(f"--levers {min(unknown)}: known are {', '.join(LEVERS)}")
    for seed in options.seeds:
        for name in options.levers:
            # TensorFlow gives back the memory of a network when its process ends
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                process.submit(train, name, seed, options).result()


def train(name: str, seed: int, options: Run) -> None:
    """Make the runs of one lever and seed that are missing."""
    from experiments import ablation_trainings

    lever = LEVERS[name]
    if lever.is_whole and options.whole is None:
        raise InputError(f"{name}: give --whole DATA, made with --no-cut")
    data = options.whole if lever.is_whole else options.data
    plain = TrainingSettings(
        model=options.model,
        weights="none",
        image_size=round(options.image_size * lever.image_scale),
        epochs=options.epochs,
        warmup_epochs=0.5,
        mixed_precision=options.mixed_precision,
        augmentation=options.augmentation,
        loss=options.loss,
        checkpoint_minutes=0.0,
        seed=seed,
    )
    for sex in ("male", "female") if lever.is_apart else ("all",):
        settings = replace(plain, sex=sex, **lever.settings)
        settings.check()
        parts = chosen(Layout(data=data), settings, options.choosing)
        if lever.is_balanced:
            parts, settings = balanced(parts, settings)
        run = run_folder.Run(options.out / f"{name}.{seed}.{sex}")
        with exclusive(run.folder):
            training_runs.check_unchanged(
                run, settings, parts, training_runs.NOTHING_BEFORE
            )
            if not run.predictions.exists():
                kind = getattr(ablation_trainings, lever.kind)
                kind(run, settings, parts).train()


def chosen(layout: Layout, settings: TrainingSettings, choosing: int) -> DataSplits:
    """Parts whose test part is the cohort's validation part.

    The epoch is chosen on hands of the cohort's training part, drawn by the seed.
    """
    parts = DataSplits.read(layout, settings)
    rng = np.random.default_rng([settings.seed, 0])
    order = rng.permutation(len(parts.train))
    if choosing >= len(order):
        raise InputError(f"--choosing {choosing}: {len(order)} hands to train on")
    return replace(
        parts,
        train=parts.train.select(np.sort(order[choosing:])),
        validation=parts.train.select(np.sort(order[:choosing])),
        test=parts.validation,
    )


def balanced(
    parts: DataSplits, settings: TrainingSettings
) -> tuple[DataSplits, TrainingSettings]:
    """As many hands as in all epochs, drawn by how rare their age is, as one epoch."""
    hands: HandDataset = parts.train
    years = (hands.cohort.bone_age_months // 12).astype(int)
    share = 1 / np.sqrt(np.bincount(years)[years])
    rng = np.random.default_rng([settings.seed, 1])
    count = len(hands) * settings.epochs
    drawn = rng.choice(len(hands), count, p=share / share.sum())
    once = replace(
        settings, epochs=1, warmup_epochs=settings.warmup_epochs / settings.epochs
    )
    return replace(parts, train=hands.select(drawn)), once


def report(options: Report) -> list[str]:
    """A table: MAE of each lever on the same hands, and its gain, paired by seed."""
    errors = read(options.out)
    plain = errors.get(PLAIN, {})
    rows = {name: _row(name, of, plain, options) for name, of in errors.items()}
    ordered = sorted(rows, key=lambda name: (name != PLAIN, list(LEVERS).index(name)))
    return [
        "| lever | seeds | MAE, months | less the plain training's | seeds of both |",
        "|---|---:|---:|---|---:|",
        *(rows[name] for name in ordered),
    ]


def read(folder: Path) -> dict[str, OfSeeds]:
    """Absolute errors in months, by id, of every lever and seed that is finished.

    Raises:
        InputError: no run there.
    """
    found: dict[str, OfSeeds] = {}
    for path in sorted(folder.glob("*.*.*/predictions.csv")):
        name, seed, _sex = path.parent.name.rsplit(".", 2)
        table = run_folder.Run(path.parent).read_predictions("test").set_index("id")
        error = (table.predicted_months - table.bone_age_months).abs()
        of_seed = found.setdefault(name, {})
        so_far = [of_seed[int(seed)]] if int(seed) in of_seed else []
        of_seed[int(seed)] = pd.concat([*so_far, error]).sort_index()
    if not found:
        raise InputError(f"{folder}: no runs; make some with `run --out {folder}`")
    return found


def _row(name: str, errors: OfSeeds, plain: OfSeeds, options: Report) -> str:
    """One line of the table."""
    mae = [f"{of.mean():.2f}" for of in errors.values()]
    cells = [name.replace("_", " "), str(len(errors)), ", ".join(mae)]
    # of a network for each sex, both must be there
    both = [
        seed
        for seed in sorted(errors.keys() & plain.keys())
        if name != PLAIN and errors[seed].index.equals(plain[seed].index)
    ]
    if not both:
        return "| " + " | ".join([*cells, "", ""]) + " |"
    paired = np.array([errors[seed] - plain[seed] for seed in both])
    rng = np.random.default_rng(options.seed)
    rows = comparison.bootstrap_rows(paired.shape[1], options.resamples, rng)
    values = np.array([paired[:, row].mean(axis=1) for row in rows])
    observed = paired.mean(axis=1)
    means = comparison.add_seed_variance(values, observed, rng)
    lower, upper = np.quantile(means, [0.025, 0.975])
    cells += [f"{observed.mean():+.2f} ({lower:+.2f} to {upper:+.2f})", str(len(both))]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    cli.run(main, Run | Report)
