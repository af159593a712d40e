"""Paced transfer learning and its conventional baselines: the sequence of trainings.

Paced: the head is trained first, then the last blocks too, and so on down to the input;
every stage starts from the best network of the previous one. Conventional: a run from
the same weights with one start layer and one learning rate, for as many epochs.
"""

from dataclasses import fields
from pathlib import Path

import numpy as np

from boneage.errors import InputError
from boneage.evaluation.bootstrap import bootstrap_interval
from boneage.evaluation.metrics import METRICS
from boneage.io.files import read_json, up_to_date, write_json
from boneage.io.locks import exclusive
from boneage.layout import Layout
from boneage.regression import backbones, training_runs
from boneage.regression.dataset import DataSplits
from boneage.regression.run_folder import NO_PARENT, ParentRun, Run
from boneage.regression.settings import (
    PacedSettings,
    RegressionSettings,
    TrainingSettings,
)
from boneage.transfer.runs import PACED, PACED_BY, PLAN, FinishedTraining, stages_of


def train_paced(layout: Layout, settings: PacedSettings) -> FinishedTraining:
    """Train all stages in order, starting with the first unfinished one.

    Raises:
        InputError: the settings do not fit each other or the cohort, or the run folder
            holds a training with other settings.
    """
    settings.check()
    parts = DataSplits.read(layout, settings)
    folder = layout.paced / settings.run_name
    stages = stages_of(folder, list(settings.rates))
    parent = NO_PARENT
    with exclusive(folder):
        _keep_plan(folder / PLAN, settings, parts)
        for run, (name, rate) in zip(stages, settings.rates.items(), strict=True):
            epochs = settings.epochs[name]
            plan = _plan(
                settings, f"{settings.run_name}/{run.name}", name, rate, epochs
            )
            _train(run, name, plan, parts, parent)
            parent = ParentRun(run, parent.epochs + epochs)
    return FinishedTraining(folder, PACED, tuple(stages))


def _keep_plan(path: Path, settings: PacedSettings, parts: DataSplits) -> None:
    """Write the plan of a new run; refuse a different plan once a stage has begun."""
    plan: dict[str, dict] = {
        "rates": settings.rates,
        "epochs": settings.epochs,
        # all stages share one split and the same hands
        "hands": {"split": parts.split_hash, "used": parts.hands_hash},
    }
    if not any(path.parent.glob("stage_*/config.json")):
        write_json(path, plan)
        return
    stored = read_json(path, PACED_BY)
    for name, value in plan.items():
        if list(stored.get(name, {}).items()) != list(value.items()):
            raise InputError(
                f"{path.parent} was planned with {name} {stored.get(name)} and cannot "
                f"continue with {value}; name another run with --run, or remove this "
                "one"
            )
    begun = [Run(folder) for folder in path.parent.glob("stage_*")]
    configs = [run.read_config() for run in begun if run.config.exists()]
    if any(parts.has_other_content(config) for config in configs):
        raise InputError(
            f"{path.parent} was begun on other images of these hands and cannot "
            "continue; name another run with --run, or remove this one"
        )


def train_conventional(
    layout: Layout, settings: PacedSettings, start_layers: list[str]
) -> list[Run]:
    """Train a baseline for each start layer, named as the stage that starts there.

    Each has the learning rate of that stage and the epochs of all stages together.

    Raises:
        InputError: as `train_paced`, or the schedule has no rate for a start layer.
    """
    settings.check()
    absent = [name for name in start_layers if name not in settings.rates]
    if absent:
        raise InputError(
            f"--start-layer must be one of {', '.join(settings.rates)} or all-of-them "
            f"(got {absent[0]})"
        )
    parts = DataSplits.read(layout, settings)
    epochs = sum(settings.epochs.values())
    baselines = []
    for name in start_layers:
        run = Run(layout.conventional / f"{settings.run_name}_{name}")
        plan = _plan(settings, run.name, name, settings.rates[name], epochs)
        _train(run, name, plan, parts)
        baselines.append(run)
    return baselines


def _plan(
    settings: PacedSettings, run_name: str, stage: str, rate: float, epochs: int
) -> TrainingSettings:
    """The settings of one training, which never stops early."""
    common = {
        field.name: getattr(settings, field.name)
        for field in fields(RegressionSettings)
    }
    return TrainingSettings(
        **common | {"run": run_name},
        fine_tune_from=backbones.transfer_stages(settings.model)[stage],
        epochs=epochs,
        patience=epochs,
        learning_rate=rate,
        warmup_epochs=0,
        decay=settings.decay,
    )


def _train(
    run: Run,
    stage: str,
    plan: TrainingSettings,
    parts: DataSplits,
    parent: ParentRun = NO_PARENT,
) -> None:
    """Train a stage or a baseline, and write evaluation.json: layers and metrics.

    Raises:
        InputError: every epoch predicted NaN.
    """
    training_runs.train(run, plan, parts, parent)
    if up_to_date(run.evaluation, run.predictions):
        return
    config = run.read_config()
    if not np.isfinite(config["best_validation_mae"]):
        raise InputError(
            f"{run.folder} diverged (every epoch predicts NaN); remove it and choose a "
            "lower learning rate"
        )
    facts = {
        "stage": stage,
        "unfrozen_from": config["settings"]["fine_tune_from"],
        "trainable_layer_count": len(config["trainable_layers"]),
        "trainable_parameters": config["trainable_parameters"],
        "trainable_layers": config["trainable_layers"],
    }
    metrics = {part: _metrics(run, part) for part in ("validation", "test")}
    write_json(run.evaluation, facts | metrics)


def _metrics(run: Run, part: str) -> dict:
    """Value and 95 % interval of every metric; null where undefined."""
    table = run.read_predictions(part)
    true = table.bone_age_months.to_numpy(float)
    predicted = table.predicted_months.to_numpy(float)
    results: dict = {"radiographs": len(table)}
    for name, metric in METRICS.items():
        rng = np.random.default_rng(0)
        values = bootstrap_interval(metric.function, true, predicted, rng)
        results[name] = [None if np.isnan(value) else value for value in values]
    return results
