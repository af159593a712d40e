"""From settings to a finished run folder; mistakes are found before Keras starts."""

from collections.abc import Callable
from dataclasses import asdict

from boneage.files import InputError
from boneage.layout import Layout
from boneage.regression import backbones
from boneage.regression.parts import Hands, Parts
from boneage.regression.runs import Run
from boneage.regression.settings import TrainingSettings

MAY_CHANGE = ("patience", "devices", "workers", "checkpoint_minutes")
"""Settings with which an interrupted run may go on differently."""

Recorder = Callable[[Run, Hands], Callable]


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
    parts = Parts.read(layout, settings)
    run = Run(layout.regression / settings.run_name)
    check_settings(run, settings, parts.split_hash)
    if run.predictions.exists():
        print(f"{run.name} is trained already")
        return run

    from boneage.regression.training import Training

    training = Training(run, settings, parts)
    training.train(recorder(run, parts.validation) if recorder else None)
    return run


def check_settings(run: Run, settings: TrainingSettings, split_hash: str) -> None:
    """Raise InputError where the run folder holds another training."""
    blocks = ("all", "head", *backbones.BACKBONES[settings.model].blocks)
    if settings.fine_tune_from not in blocks:
        raise InputError(
            f"--fine-tune-from {settings.fine_tune_from}: {settings.model} can start "
            f"at {', '.join(blocks)}"
        )
    if not run.config.exists():
        return
    config = run.read_config()
    for name, now in asdict(settings).items():
        then = config["settings"].get(name)
        if name not in MAY_CHANGE and then != now:
            raise InputError(
                f"{run.folder}: trained with {name} {then}, now {now}; name another "
                "run with --run, or remove this one"
            )
    if config["split_hash"] != split_hash:
        raise InputError(
            f"{run.folder}: trained on another split; name another run with --run, or "
            "remove this one"
        )
