"""Paced transfer learning and its rivals: which trainings, one after the other.

Paced: the head learns first, then the last blocks with it, and so on down to the
image; every stage goes on with the best network of the one before. Conventional: from
the same weights, one start layer and one learning rate for as many epochs.
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
    """Train all stages in order, from the first one that is not finished.

    Raises:
        InputError: what the settings name is missing or does not fit, or the run
            folder holds a training with other settings.
    """
    settings.check()
    parts = DataSplits.read(layout, settings)
    folder = layout.paced / settings.run_name
    stages = stages_of(folder, list(settings.rates))
    origin = NO_PARENT
    with exclusive(folder):
        _keep_plan(folder / PLAN, settings, parts)
        for run, (name, rate) in zip(stages, settings.rates.items(), strict=True):
            epochs = settings.epochs[name]
            plan = _plan(
                settings, f"{settings.run_name}/{run.name}", name, rate, epochs
            )
            _train(run, name, plan, parts, origin)
            origin = ParentRun(run, origin.epochs + epochs)
    return FinishedTraining(folder, PACED, tuple(stages))


def _keep_plan(path: Path, settings: PacedSettings, parts: DataSplits) -> None:
    """Write the plan, until a stage has begun; then refuse another one."""
    plan = {
        "rates": settings.rates,
        "epochs": settings.epochs,
        # one split for all stages, and the same hands in it
        "hands": {"split": parts.split_hash, "used": parts.hands_hash},
    }
    if not any(path.parent.glob("stage_*/config.json")):
        write_json(path, plan)
        return
    before = read_json(path, PACED_BY)
    for name, now in plan.items():
        if list(before.get(name, {}).items()) != list(now.items()):
            raise InputError(
                f"{path.parent}: planned with {name} {before.get(name)}, now {now}; "
                "name another run with --run, or remove this one"
            )
    begun = [Run(folder) for folder in path.parent.glob("stage_*")]
    configs = [run.read_config() for run in begun if run.config.exists()]
    if any(parts.has_other_content(config) for config in configs):
        raise InputError(
            f"{path.parent}: begun on other pictures of these hands; name another run "
            "with --run, or remove this one"
        )


def train_conventional(
    layout: Layout, settings: PacedSettings, start_layers: list[str]
) -> list[Run]:
    """Train one rival for each start layer, named as the stage that begins there.

    Each has the rate of that stage, and the epochs of all stages together.

    Raises:
        InputError: as `train_paced`; or the schedule has no rate for a start layer.
    """
    settings.check()
    absent = [name for name in start_layers if name not in settings.rates]
    if absent:
        raise InputError(
            f"--start-layer {absent[0]}: expected one of {', '.join(settings.rates)}, "
            "or all-of-them"
        )
    parts = DataSplits.read(layout, settings)
    epochs = sum(settings.epochs.values())
    rivals = []
    for name in start_layers:
        run = Run(layout.conventional / f"{settings.run_name}_{name}")
        plan = _plan(settings, run.name, name, settings.rates[name], epochs)
        _train(run, name, plan, parts)
        rivals.append(run)
    return rivals


def _plan(
    settings: PacedSettings, run_name: str, stage: str, rate: float, epochs: int
) -> TrainingSettings:
    """One training of constant rate, unless it decays, that never stops early."""
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
    origin: ParentRun = NO_PARENT,
) -> None:
    """Train a stage or a rival; write evaluation.json: what learned, and the metrics.

    Raises:
        InputError: no epoch predicted numbers.
    """
    training_runs.train(run, plan, parts, origin)
    if up_to_date(run.evaluation, run.predictions):
        return
    config = run.read_config()
    if not np.isfinite(config["best_validation_mae"]):
        raise InputError(
            f"{run.folder}: the training diverged, no epoch predicts numbers; remove "
            "it and choose a lower rate"
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
    found: dict = {"radiographs": len(table)}
    for name, metric in METRICS.items():
        rng = np.random.default_rng(0)
        values = bootstrap_interval(metric.function, true, predicted, rng)
        found[name] = [None if np.isnan(value) else value for value in values]
    return found
