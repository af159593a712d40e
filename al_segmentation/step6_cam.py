"""Show where the networks look: activation maps over the hands, as pictures and a page.

Reads   models/regression/<run>/ with model.keras and predictions.csv, and
        cam_history.h5 where step4_regression_with_cam.py left one; data/segment_all.h5
Writes  models/regression/<run>/cam/: <id>.png, contact_sheet.png, index.html (opens in
        a browser from disk) and evolution.webm; overlays of an earlier call go

    python al_segmentation/step6_cam.py --limit 60
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from boneage import cli, parallel
from boneage.errors import InputError, check_minimum
from boneage.io import hdf5
from boneage.regression import run_folder
from boneage.regression.dataset import HANDS_BY


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """Which networks, which hands."""

    paths: cli.Paths
    processing: cli.Processing
    run: str | None = None
    """Name of a run; default: every finished run."""
    ids: tuple[int, ...] = ()
    """Ids of hands to show in place of --part and --limit."""
    part: Literal["test", "validation"] = "test"
    """Part of the cohort that hands are chosen from."""
    limit: int = 60
    """Number of hands to show, spread from the best to the worst predicted."""
    batch_size: int = 16
    """Hands per forward pass."""


def main(options: Options) -> None:
    """Write the gallery of each run."""
    check_minimum(1, batch_size=options.batch_size, limit=options.limit)
    found = run_folder.finished_runs(options.layout.regression)
    wanted = [run for run in found if options.run in (None, run.name)]
    if not wanted:
        raise InputError(
            f"{options.layout.regression / str(options.run)}: no finished run; there "
            f"are {cli.list_some([run.name for run in found])}"
        )
    hands = hdf5.open_packed(options.layout.hands_h5, HANDS_BY)

    # Keras and Matplotlib: seconds, once everything named is there
    from boneage.explanation import gallery

    def explain(run: run_folder.Run) -> None:
        ids = choose(run, options)
        notes = gallery.write_run(run, hands, ids, options.batch_size, options.workers)
        cli.summary(f"{run.name}: {len(ids)} hands", *notes, wrote=run.cam)

    cli.summary(*parallel.skipped_lines(parallel.for_each(explain, wanted)))


def choose(run: run_folder.Run, options: Options) -> np.ndarray:
    """Ids to show, (hand,) int64.

    Raises:
        InputError: the run has predicted nothing of the part.
    """
    from boneage.evaluation import metrics

    if options.ids:
        return np.unique(options.ids)
    rows = run.read_predictions(options.part)
    if rows.empty or options.limit < 1:
        raise InputError(
            f"{run.predictions}: {len(rows)} {options.part} hands, --limit "
            f"{options.limit}: nothing to show"
        )
    errors = (rows.predicted_months - rows.bone_age_months).to_numpy()
    return rows.id.to_numpy()[metrics.spanning(errors, options.limit)]


if __name__ == "__main__":
    cli.run(main, Options)
