"""From settings to a finished run folder; mistakes are found before Keras starts."""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path

from boneage.errors import InputError
from boneage.io.files import read_json
from boneage.io.locks import exclusive
from boneage.layout import Layout
from boneage.regression import run_folder
from boneage.regression.dataset import DataSplits, HandDataset
from boneage.regression.multi_host import process_group
from boneage.regression.provenance import file_hash
from boneage.regression.run_folder import NO_PARENT, TRAINED_BY, ParentRun, Run
from boneage.regression.settings import TrainingSettings

MAY_CHANGE = (
    *("patience", "devices", "workers", "checkpoint_minutes"),
    *("cluster", "processes", "index"),
)
"""Settings with which an interrupted run may go on differently."""

Recorder = Callable[[Run, HandDataset], Callable]


def train_run(
    layout: Layout, settings: TrainingSettings, recorder: Recorder | None = None
) -> Run:
    """Train a run to its end, or find it finished.

    recorder: makes, of the run and its validation hands, what is called after each
        epoch with the network and the epoch's number.

    Raises:
        InputError: what the settings name is missing or does not fit, or the run
            folder holds a training with other settings.
    """
    settings.check()
    if settings.weights == "none" and settings.fine_tune_from != "all":
        raise InputError(
            f"--weights none --fine-tune-from {settings.fine_tune_from}: the layers "
            "before would stay random; begin with imagenet or a FILE"
        )
    splits = DataSplits.read(layout, settings)
    run = Run(layout.regression / settings.run_name)
    with process_group(settings):
        train(run, settings, splits, recorder=recorder)
    if settings.index == 0 and recorder and not run.cam_history.exists():
        raise InputError(
            f"{run.cam_history}: not there, the run was trained without a panel; "
            "train another with --run"
        )
    return run


def settings_of_run(
    layout: Layout, settings: TrainingSettings, name: str, flags: Collection[str] = ()
) -> TrainingSettings:
    """The settings of a run that exists, to train it again under another name.

    On how many machines, and as which of them, is not taken over.

    Args:
        layout: of the runs.
        settings: as asked for; only `run` and what may change may be given.
        name: of the run, or its config.json.
        flags: settings that are asked for although they are the default.

    Raises:
        InputError: no such run, its settings are none, or others are given as well.
    """
    folder = layout.regression / name
    path = Path(name) if name.endswith(".json") else Run(folder).config
    then = read_json(path, TRAINED_BY, ["settings"])["settings"]
    usual = asdict(TrainingSettings())
    unknown = [
        key
        for key, value in then.items()
        # a whole number may stand for a fraction
        if type(value) is not type(usual.get(key))
        and not (type(value) is int and type(usual.get(key)) is float)
    ]
    if unknown:
        raise InputError(f"{path}: {unknown[0]} is no setting of this version")
    free = ("run", *(key for key in MAY_CHANGE if key != "patience"))
    now = asdict(settings)
    given = [key for key in usual if now[key] != usual[key] or key in flags]
    taken = [key for key in given if key not in free]
    if taken:
        flag = taken[0].replace("_", "-")
        raise InputError(f"--like {name}: --{flag} comes from there; leave one out")
    kept = {key: now[key] for key in (*given, "cluster", "processes", "index")}
    again = TrainingSettings(**then)
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
            print(f"{run.name} is trained already")
            return
        from boneage.regression.trainer import Training

        writes = settings.index == 0
        after_epoch = recorder(run, splits.validation) if recorder and writes else None
        Training(run, settings, splits, parent).train(after_epoch)


def check_unchanged(
    run: Run, settings: TrainingSettings, splits: DataSplits, parent: ParentRun
) -> None:
    """Raise InputError where the run folder holds another training."""
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
    # a finished run is left as it is
    if splits.has_other_content(config) and not run.predictions.exists():
        raise InputError(
            f"{run.folder}: trained on other pictures of these hands; name another run "
            "with --run, or remove this one"
        )
    before = config["settings"] | {name: config.get(name) for name in facts}
    now = asdict(settings) | facts
    for name, value in now.items():
        if name not in MAY_CHANGE and before.get(name) != value:
            raise InputError(
                f"{run.folder}: trained with {name} {before.get(name)}, now {value}; "
                "name another run with --run, or remove this one"
            )
