"""Predictions and activation maps of paced runs and rivals, over a cohort or some ids.

Reads   models/paced/<run>/, models/conventional/<run>/; data/segment_all.h5,
        data/csv/train.csv (test.csv), data/csv/split.csv (unless --part all or --ids)
Writes  cam/ in the run's folder: predictions.csv, overlays error_<months>_<id>.png that
        sort by error, contact_sheet.png, index.html; of paced runs stages.png, too:
        the same hands after each stage

    python paced_transfer/step5_cam_inference.py --run xception_female

--data may name another cohort than the one that the run was trained on.
"""

from dataclasses import dataclass
from typing import Literal

from boneage import cli, parallel
from boneage.errors import InputError, check_minimum
from boneage.io.locks import exclusive
from boneage.regression import dataset
from boneage.transfer import runs
from boneage.transfer.runs import FinishedTraining


@dataclass(frozen=True)
class Options(cli.ImagePaths):
    """Which networks, which hands."""

    run: str | None = None
    """A paced run or a rival; default: every finished one."""
    stage: str = "best"
    """Of a paced run: best (by validation), or a stage's name, such as exit."""
    part: Literal["test", "validation", "train", "all"] = "test"
    """The part of the cohort to predict; all needs no split."""
    ids: tuple[int, ...] = ()
    """Only these hands, of any part."""
    limit: int = 60
    """Overlays, from the best to the worst predicted hand."""
    batch_size: int = 16
    """Hands a forward pass."""


def main(options: Options) -> None:
    """Write the cam folder of each run."""
    check_minimum(1, batch_size=options.batch_size, limit=options.limit)
    found, notes = runs.find(options.layout)
    wanted = [
        one
        for one in found
        if options.run in (None, one.name)
        # a rival has no stages
        and (options.stage == "best" or one.start == runs.PACED)
    ]
    if not wanted:
        names = cli.list_some([one.name for one in found])
        what = f"--run {options.run}, --stage {options.stage}"
        raise InputError(f"{what}: not finished; there are {names}")
    cli.summary(*notes)

    def explain_alone(one: FinishedTraining) -> None:
        with exclusive(one.cam):
            explain(one, options)

    cli.summary(*parallel.skipped_lines(parallel.for_each(explain_alone, wanted)))


def explain(one: FinishedTraining, options: Options) -> None:
    """Write the cam folder of one run, and say what is in it."""
    run = one.stage(options.stage)
    sex = run.read_config()["sex"]
    hands, of_part = dataset.select_hands(
        options.layout, options.part, options.ids, sex
    )

    # Keras and Matplotlib: seconds, once everything named is there
    from boneage.transfer import stage_maps

    title = one.name if run.folder == one.folder else f"{one.name}, {run.name}"
    title += ", chosen hands" if options.ids else f", {options.part} part"
    limit, batch_size = options.limit, options.batch_size
    predicted = stage_maps.write_run(
        one.cam, run, title, hands, limit, batch_size, options.workers
    )
    stage_maps.write_predictions(one.cam / "predictions.csv", hands, of_part, predicted)
    if len(one.runs) > 1:
        sheet = one.cam / "stages.png"
        stage_maps.write_sheet(sheet, one.name, one.runs, hands, predicted, batch_size)
    split = dataset.split_hash_on_disk(options.layout)
    notes = stage_maps.notes(run, title, hands, of_part, predicted, split)
    cli.summary(*notes, wrote=one.cam)


if __name__ == "__main__":
    cli.run(main, Options)
