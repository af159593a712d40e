"""Predictions and activation maps of paced and conventional runs, over a cohort.

Reads   models/paced/<run>/, models/conventional/<run>/; data/segment_all.h5,
        data/csv/train.csv (test.csv), data/csv/split.csv (unless --part all or --ids)
Writes  cam/ in the run's folder: predictions.csv, overlays error_<months>_<id>.png,
        contact_sheet.png, index.html; for paced runs also stages.png, hands by stage

    python paced_transfer/step5_cam_inference.py --run xception_female

--data may name another cohort than the run's own.
"""

import functools
from dataclasses import dataclass
from typing import Annotated, Literal

from boneage import cli, parallel
from boneage.errors import InputError, check_minimum
from boneage.ids import RadiographId
from boneage.regression import dataset
from boneage.transfer import runs


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """Which networks, which hands."""

    paths: cli.Paths
    processing: cli.Processing
    run: str | None = None
    """name of a paced or conventional run; default: every finished run"""
    stage: str = "best"
    """stage of a paced run: best (by validation), or a name, such as exit"""
    part: Literal["test", "validation", "train", "all"] = "test"
    """part of the cohort to predict; all needs no split"""
    ids: Annotated[tuple[RadiographId, ...], cli.IDS] = ()
    """ids of hands to predict in place of --part"""
    limit: int = 60
    """number of overlays, spread from the best to the worst predicted hand"""
    batch_size: int = 16
    """hands per forward pass"""


def main(options: Options) -> None:
    """Write the cam folder of each run."""
    check_minimum(1, batch_size=options.batch_size, limit=options.limit)
    finished, notes = runs.find_finished(options.layout)
    chosen = [
        training
        for training in finished
        # a conventional run has no stages
        if options.stage == "best" or training.start == runs.PACED
        if options.run in (None, training.name)
    ]
    if not chosen:
        raise InputError(
            f"--run must name a finished run (got {options.run}, stage "
            f"{options.stage}); choose from "
            f"{cli.list_some([training.name for training in finished])}"
        )
    cli.summary(*notes)
    work = functools.partial(explain, options)
    cli.summary(*parallel.skipped_lines(parallel.for_each(work, chosen)))


def explain(options: Options, training: runs.FinishedTraining) -> None:
    """Write the cam folder of one run."""
    run, layout, size = (
        training.stage(options.stage),
        options.layout,
        options.batch_size,
    )
    sex = run.read_config()["sex"]
    hands, parts = dataset.select_hands(layout, options.part, options.ids, sex)

    # Keras and Matplotlib take seconds to load: only when the input is complete
    from boneage.transfer import stage_maps

    title = training.name
    title += "" if run.folder == training.folder else f", {run.name}"
    title += ", chosen hands" if options.ids else f", {options.part} part"
    predicted = stage_maps.write_folder(
        training, run, title, hands, parts, options.limit, size, options.workers
    )
    facts = (title, hands, parts, predicted, dataset.split_hash_on_disk(layout))
    cli.summary(*stage_maps.notes(run, *facts), wrote=training.cam)


if __name__ == "__main__":
    cli.run(main, Options)
