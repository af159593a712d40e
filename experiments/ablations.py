"""How much each design choice changes the error: one change at a time, on one cohort.

    python -m experiments.ablations run --data RSNA --out OUT --ablations plain mse
    python -m experiments.ablations report --out OUT

`run` trains with the code of step 4 on the training part of the cohort's split.csv and
predicts its validation part; the test part is not used. All trainings see equally many
hands. Finished trainings are skipped and interrupted ones resumed, so that the work can
be shared among processes and days.
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

ErrorsBySeed = dict[int, pd.Series]
"""Absolute errors in months, by id, of each seed."""


@dataclass(frozen=True)
class Ablation:
    """One change of settings, hands or training code."""

    settings: dict = field(default_factory=dict)
    """Settings of step 4 that replace the plain ones."""
    image_scale: float = 1.0
    """Image size relative to the plain one."""
    on_whole_radiographs: bool = False
    """Whole radiographs in place of hands."""
    balances_ages: bool = False
    """Draw hands in proportion to the square root of how rare their age is."""
    separates_sexes: bool = False
    """A network for each sex, with half the steps each."""
    training: Literal[
        "Training",
        "AveragedWeights",
        "AuxiliaryDistribution",
        "UnitGain",
    ] = "Training"
    """Class of `experiments.ablation_trainings`; Training is that of step 4."""


ABLATIONS = {
    PLAIN: Ablation(),
    "whole_radiographs": Ablation(on_whole_radiographs=True),
    "no_sex_input": Ablation({"sex_input": False}),
    "network_per_sex": Ablation(separates_sexes=True),
    "mae": Ablation({"loss": "mae"}),
    "mse": Ablation({"loss": "mse"}),
    "huber": Ablation({"loss": "huber"}),
    "label_distribution": Ablation({"loss": "distribution"}),
    "auxiliary_distribution": Ablation(
        {"loss": "mae"}, training="AuxiliaryDistribution"
    ),
    "unit_gain": Ablation({"loss": "mae"}, training="UnitGain"),
    "no_augmentation": Ablation({"augmentation": 0.0}),
    "half_augmentation": Ablation({"augmentation": 0.5}),
    "no_flips": Ablation({"mirrored_share": 0.0}),
    "double_augmentation": Ablation({"augmentation": 2.0}),
    "smaller_images": Ablation(image_scale=0.75),
    "larger_images": Ablation(image_scale=1.3),
    "averaged_weights": Ablation(training="AveragedWeights"),
    "batch_norm_momentum_0.99": Ablation({"batch_norm_momentum": 0.99}),
    "constant_rate": Ablation({"decay": "none"}),
    "no_warm_up": Ablation({"warmup_epochs": 0.0}),
    "third_of_the_rate": Ablation({"learning_rate": 3e-4}),
    "three_times_the_rate": Ablation({"learning_rate": 3e-3}),
    "batch_of_32": Ablation({"batch_size": 32}),
    "balanced_ages": Ablation(balances_ages=True),
    "32_bits": Ablation({"mixed_precision": "none"}),
}


@dataclass(frozen=True)
class Run:
    """Train ablations."""

    data: Path
    """Folder of a cohort with hands and split.csv."""
    out: Path
    """Folder of the runs, one per ablation and seed."""
    whole: Path | None = None
    """Folder of the same cohort with hands made with --no-cut."""
    ablations: tuple[str, ...] = tuple(ABLATIONS)
    """Names from the table of ablations; default: all."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the hands that choose the epoch, weights, order and augmentation."""
    model: BackboneName = "inception_v3"
    """Backbone, with random initial weights."""
    image_size: int = 107
    """Side of the images, px."""
    epochs: int = 3
    """Epochs of each training."""
    augmentation: float = 1.0
    """Strength as in step 4, unless the ablation sets it; 0 suits short trainings."""
    loss: Literal["distribution", "mae", "mse", "huber"] = "distribution"
    """Loss as in step 4, unless the ablation sets it."""
    choosing: int = 250
    """Number of hands of the training part that choose the epoch."""
    mixed_precision: Literal["none", "float16", "bfloat16"] = "bfloat16"
    """Precision as in step 4."""


@dataclass(frozen=True)
class Report(BootstrapSettings):
    """Compare finished ablations with the plain training."""

    out: Path = Path()
    """Folder that `run` wrote."""


def main(options: Run | Report) -> None:
    """Train what is missing, or report on what is finished."""
    if isinstance(options, Report):
        options.check()
        print("\n".join(report(options)))
        return
    unknown = set(options.ablations) - set(ABLATIONS)
    if unknown:
        raise InputError(
            f"--ablations must name some of {', '.join(ABLATIONS)} (got {min(unknown)})"
        )
    for seed in options.seeds:
        for name in options.ablations:
            # TensorFlow frees the memory of a network only when its process ends
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                process.submit(train, name, seed, options).result()


def train(name: str, seed: int, options: Run) -> None:
    """Train the missing runs of one ablation and seed."""
    from experiments import ablation_trainings

    ablation = ABLATIONS[name]
    if ablation.on_whole_radiographs and options.whole is None:
        raise InputError(
            f"--whole must name a cohort with hands made with --no-cut for {name} "
            "(got none)"
        )
    data = options.whole if ablation.on_whole_radiographs else options.data
    plain = TrainingSettings(
        model=options.model,
        weights="none",
        image_size=round(options.image_size * ablation.image_scale),
        epochs=options.epochs,
        warmup_epochs=0.5,
        mixed_precision=options.mixed_precision,
        augmentation=options.augmentation,
        loss=options.loss,
        checkpoint_minutes=0.0,
        seed=seed,
    )
    for sex in ("male", "female") if ablation.separates_sexes else ("all",):
        settings = replace(plain, sex=sex, **ablation.settings)
        settings.check()
        splits = choose_splits(Layout(data=data), settings, options.choosing)
        if ablation.balances_ages:
            splits, settings = balance_ages(splits, settings)
        run = run_folder.Run(options.out / f"{name}.{seed}.{sex}")
        with exclusive(run.folder):
            training_runs.check_unchanged(run, settings, splits, run_folder.NO_PARENT)
            if not run.predictions.exists():
                training = getattr(ablation_trainings, ablation.training)
                training(run, settings, splits).train()


def choose_splits(
    layout: Layout, settings: TrainingSettings, choosing: int
) -> DataSplits:
    """Splits whose test part is the cohort's validation part.

    `choosing` hands of the cohort's training part, drawn by the seed, choose the epoch.
    """
    splits = DataSplits.read(layout, settings)
    rng = np.random.default_rng([settings.seed, 0])
    order = rng.permutation(len(splits.train))
    if choosing >= len(order):
        raise InputError(
            f"--choosing must be less than the {len(order)} hands to train on (got "
            f"{choosing})"
        )
    return replace(
        splits,
        train=splits.train.select(np.sort(order[choosing:])),
        validation=splits.train.select(np.sort(order[:choosing])),
        test=splits.validation,
    )


def balance_ages(
    splits: DataSplits, settings: TrainingSettings
) -> tuple[DataSplits, TrainingSettings]:
    """The hands of all epochs as one epoch, drawn by how rare their age is."""
    hands: HandDataset = splits.train
    years = (hands.cohort.bone_age_months // 12).astype(int)
    share = 1 / np.sqrt(np.bincount(years)[years])
    rng = np.random.default_rng([settings.seed, 1])
    count = len(hands) * settings.epochs
    drawn = rng.choice(len(hands), count, p=share / share.sum())
    once = replace(
        settings, epochs=1, warmup_epochs=settings.warmup_epochs / settings.epochs
    )
    return replace(splits, train=hands.select(drawn)), once


def report(options: Report) -> list[str]:
    """The MAE of each ablation, and its change from plain, paired by seed."""
    errors = read_errors(options.out)
    plain = errors.get(PLAIN, {})
    rows = {name: _row(name, of, plain, options) for name, of in errors.items()}
    ordered = sorted(
        rows, key=lambda name: (name != PLAIN, list(ABLATIONS).index(name))
    )
    return [
        "| ablation | seeds | MAE, months | change from plain | common seeds |",
        "|---|---:|---:|---|---:|",
        *(rows[name] for name in ordered),
    ]


def read_errors(folder: Path) -> dict[str, ErrorsBySeed]:
    """Absolute errors in months, by id, of every finished ablation and seed.

    Raises:
        InputError: no run is finished.
    """
    errors: dict[str, ErrorsBySeed] = {}
    for path in sorted(folder.glob("*.*.*/predictions.csv")):
        name, seed, _sex = path.parent.name.rsplit(".", 2)
        table = run_folder.Run(path.parent).read_predictions("test").set_index("id")
        of_run = (table.predicted_months - table.bone_age_months).abs()
        by_seed = errors.setdefault(name, {})
        other_sex = [by_seed[int(seed)]] if int(seed) in by_seed else []
        by_seed[int(seed)] = pd.concat([*other_sex, of_run]).sort_index()
    if not errors:
        raise InputError(
            f"{folder} has no finished run; train some with `run --out {folder}`"
        )
    return errors


def _row(name: str, errors: ErrorsBySeed, plain: ErrorsBySeed, options: Report) -> str:
    """One row of the table."""
    mae = [f"{of.mean():.2f}" for of in errors.values()]
    cells = [name.replace("_", " "), str(len(errors)), ", ".join(mae)]
    # of a network per sex, both must be finished
    common = [
        seed
        for seed in sorted(errors.keys() & plain.keys())
        if name != PLAIN and errors[seed].index.equals(plain[seed].index)
    ]
    if not common:
        return "| " + " | ".join([*cells, "", ""]) + " |"
    paired = np.array([errors[seed] - plain[seed] for seed in common])
    rng = np.random.default_rng(options.seed)
    rows = comparison.bootstrap_rows(paired.shape[1], options.resamples, rng)
    values = np.array([paired[:, row].mean(axis=1) for row in rows])
    observed = paired.mean(axis=1)
    means = comparison.add_seed_variance(values, observed, rng)
    lower, upper = np.quantile(means, [0.025, 0.975])
    cells += [
        f"{observed.mean():+.2f} ({lower:+.2f} to {upper:+.2f})",
        str(len(common)),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    cli.run(main, Run | Report)
