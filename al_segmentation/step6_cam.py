"""Show what predictions are based on: maps over the hands, as pictures and a page.

Reads   models/regression/<run>/ with model.keras and predictions.csv, and
        cam_history.h5 where step4_regression_with_cam.py left one; data/segment_all.h5
Writes  models/regression/<run>/cam/: <id>.png, contact_sheet.png, index.html (opens in
        a browser from disk) and evolution.webm; earlier overlays are removed

    python al_segmentation/step6_cam.py --limit 60

Exact maps add up to the prediction. Occlusion maps show how the prediction changes when
a place is blurred, at the cost of up to 196 forward passes per hand.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from boneage import cli, parallel
from boneage.errors import InputError, check_minimum
from boneage.ids import RadiographId, id_array, sort_ids
from boneage.io import hdf5
from boneage.regression import run_folder
from boneage.regression.dataset import HANDS_BY


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """Which networks, which hands."""

    paths: cli.Paths
    processing: cli.Processing
    run: str | None = None
    """name of a run; default: every finished run"""
    map: Literal["exact", "occlusion"] = "exact"
    """kind of map (see above)"""
    ids: Annotated[tuple[RadiographId, ...], cli.IDS] = ()
    """ids of hands to show in place of --part and --limit"""
    part: Literal["test", "validation"] = "test"
    """part of the cohort that hands are chosen from"""
    limit: int = 60
    """number of hands to show, spread from the best to the worst predicted"""
    batch_size: int = 16
    """images per forward pass"""


def main(options: Options) -> None:
    """Write the gallery of each run."""
    check_minimum(1, batch_size=options.batch_size, limit=options.limit)
    finished = run_folder.finished_runs(options.layout.regression)
    chosen = [run for run in finished if options.run in (None, run.name)]
    if not chosen:
        raise InputError(
            f"--run must name a finished run (got {options.run}); choose from "
            f"{cli.list_some([run.name for run in finished])}"
        )
    hands = hdf5.open_packed(options.layout.hands_h5, HANDS_BY)

    # Keras and Matplotlib take seconds to load: only when the input is complete
    from boneage.explanation import gallery

    def explain(run: run_folder.Run) -> None:
        ids = id_array(sort_ids(set(options.ids)))
        if not len(ids):
            ids = gallery.choose_hands(run, options.part, options.limit)
        notes = gallery.write_run(
            run, hands, ids, options.batch_size, options.workers, options.map
        )
        cli.summary(f"{run.name}: {len(ids)} hands", *notes, wrote=run.cam)

    cli.summary(*parallel.skipped_lines(parallel.for_each(explain, chosen)))


if __name__ == "__main__":
    cli.run(main, Options)
