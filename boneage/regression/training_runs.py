"""From settings to a finished run folder; bad input is found before Keras starts."""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path

from boneage.errors import InputError
from boneage.io.files import read_json
from boneage.io.locks import exclusive
from boneage.io.provenance import file_hash
from boneage.layout import Layout
from boneage.regression import run_folder
from boneage.regression.dataset import DataSplits, HandDataset
from boneage.regression.multi_host import process_group
from boneage.regression.run_folder import NO_PARENT, TRAINED_BY, ParentRun, Run
from boneage.regression.settings import TrainingSettings

MAY_CHANGE = (
    *("patience", "devices", "workers", "checkpoint_minutes"),
    *("cluster", "processes", "index"),
)
"""Settings that may change when an interrupted run is resumed."""

Recorder = Callable[[Run, HandDataset], Callable]


def train_run(
    layout: Layout, settings: TrainingSettings, recorder: Recorder | None = None
) -> Run:
    """Train a run to its end, unless it is finished.

    Args:
        layout: of the cohort and its runs.
        settings: of the run.
        recorder: makes a callback from the run and its validation hands; it is called
            with the network and the epoch's number after each epoch.

    Raises:
        InputError: a file that the settings name is missing or does not fit, or the
            run folder holds a training with other settings.
    """
    settings.check()
    if settings.weights == "none" and settings.fine_tune_from != "all":
        raise InputError(
            "--fine-tune-from must be all with --weights none, since frozen layers "
            f"would stay random (got {settings.fine_tune_from}); start with imagenet "
            "or a FILE"
        )
    splits = DataSplits.read(layout, settings)
    run = Run(layout.regression / settings.run_name)
    with process_group(settings):
        train(run, settings, splits, recorder=recorder)
    if settings.index == 0 and recorder and not run.cam_history.exists():
        raise InputError(
            f"{run.cam_history} cannot be found: the run was trained without a panel; "
            "train another one with --run NAME"
        )
    return run


def settings_of_run(
    layout: Layout, settings: TrainingSettings, name: str, flags: Collection[str] = ()
) -> TrainingSettings:
    """Settings of an existing run, to train it again under another name.

    Args:
        layout: of the runs.
        settings: as given by the user; only `run` and settings that may change when a
            run is resumed can be given.
        name: of the run, or its config.json.
        flags: settings that the user gave, even with their default values.

    Raises:
        InputError: there is no such run, its settings are not those of this version,
            or a setting was given that comes from the run.
    """
    path = (
        Path(name) if name.endswith(".json") else Run(layout.regression / name).config
    )
    stored = read_json(path, TRAINED_BY, ["settings"])["settings"]
    defaults = asdict(TrainingSettings())
    unknown = [
        key
        for key, value in stored.items()
        # a whole number may stand for a fraction
        if type(value) is not type(defaults.get(key))
        and not (type(value) is int and type(defaults.get(key)) is float)
    ]
    if unknown:
        raise InputError(
            f"{path} must hold settings of this version (got {unknown[0]}); train with "
            "flags instead of --like"
        )
    free = ("run", *(key for key in MAY_CHANGE if key != "patience"))
    now = asdict(settings)
    given = [key for key in defaults if now[key] != defaults[key] or key in flags]
    fixed = [key for key in given if key not in free]
    if fixed:
        flag = fixed[0].replace("_", "-")
        raise InputError(
            f"--{flag} cannot be given with --like {name}, which takes it from that "
            "run; leave one of them out"
        )
    # on how many machines, and as which of them, belongs to this call
    kept = {key: now[key] for key in (*given, "cluster", "processes", "index")}
    again = TrainingSettings(**stored)
    return replace(again, **{"run": f"{again.run_name}_again"} | kept)


def closing_lines(run: Run, settings: TrainingSettings) -> list[str]:
    """A script's closing lines."""
    if settings.index:
        return [f"process {settings.index} is done; process 0 predicts and writes"]
    return run_folder.run_summary(run)


def train(
    run: Run,
    settings: TrainingSettings,
    splits: DataSplits,
    parent: ParentRun = NO_PARENT,
    recorder: Recorder | None = None,
) -> None:
    """Leave the folder of `run` complete; `recorder` as in `train_run`.

    parent: the training whose network is gone on with.

    Raises:
        InputError: the folder holds another training.
    """
    # of several processes the first alone writes
    with exclusive(run.folder) if settings.index == 0 else contextlib.nullcontext():
        check_unchanged(run, settings, splits, parent)
        if run.predictions.exists():
            print(f"{run.name} is already trained")
            return
        from boneage.regression.trainer import Training

        writes = settings.index == 0
        after_epoch = recorder(run, splits.validation) if recorder and writes else None
        Training(run, settings, splits, parent).train(after_epoch)


def check_unchanged(
    run: Run, settings: TrainingSettings, splits: DataSplits, parent: ParentRun
) -> None:
    """Raise InputError if the run folder holds another training."""
    if not run.config.exists():
        return
    config = run.read_config()
    facts = {
        "split_hash": splits.split_hash,
        "hands_hash": splits.hands_hash,
        "preprocessing": splits.train.packed.preprocessing,
        "weights_hash": file_hash(settings.weights),
        "parent": parent.facts(),
    }
    # a finished run stays as it is
    if splits.has_other_content(config) and not run.predictions.exists():
        raise InputError(
            f"{run.folder} cannot be resumed: its hands have changed since; choose "
            "another --run, or remove the folder"
        )
    before = config["settings"] | {name: config.get(name) for name in facts}
    now = asdict(settings) | facts
    for name, value in now.items():
        if name not in MAY_CHANGE and before.get(name) != value:
            raise InputError(
                f"{run.folder} holds a run with {name} {before.get(name)} (got "
                f"{value}); choose another --run, or remove the folder"
            )
