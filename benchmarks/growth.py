"""Steps 1 to 3 on ever larger cohorts: time and peak memory against their size.

    python -m benchmarks.growth
    python -m benchmarks.growth --cohort DIR --counts 1000 4000 12611 --committee

DIR has boneage-training-dataset/ and csv/train.csv; without it phantoms are simulated.
Without --committee the coarse masks stand in for those of the shipped committee.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import tyro

from boneage.layout import REPOSITORY, Layout
from boneage.phantoms import cohort as phantoms_cohort

SHIPPED = Layout(models=REPOSITORY / "models" / "pretrained")
STEPS = (
    ("step1_corase_segment",),
    ("step2_image_2_h5", "--pool", "unannotated"),
    ("step3_gen_segmentation_result",),
    ("step3_gen_segmentation_with_enhance",),
    ("step3_check_data",),
)


@dataclass(frozen=True)
class Options:
    """Which radiographs, and how many."""

    cohort: Path | None = None
    """A cohort's folder; default: simulated radiographs."""
    counts: tuple[int, ...] = (100, 400, 1200)
    """Radiographs of each run, ascending."""
    size_px: int = 299
    """Longer side of the simulated ones."""
    committee: bool = False
    """Segment with the shipped committee, too."""


@dataclass(frozen=True)
class Taken:
    """What one step took; peak MB of the main process and of all together."""

    seconds: float
    main_mb: float
    all_mb: float


def watched(command: list[str]) -> Taken:
    """Run a program to its end, looking at its memory ten times a second."""
    start, highest = time.monotonic(), [0.0, 0.0]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            whole = psutil.Process(process.pid)
            parts = [whole, *whole.children(recursive=True)]
            private = [part.memory_full_info().uss / 2**20 for part in parts]
            highest = [max(highest[0], private[0]), max(highest[1], sum(private))]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass  # one has just ended
        time.sleep(0.1)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return Taken(time.monotonic() - start, *highest)


def make(options: Options, folder: Path, count: int) -> Layout:
    """A cohort of `count` radiographs: links to somebody's, or phantoms."""
    layout = Layout(folder / "data", folder / "models")
    if options.committee:
        shutil.copytree(SHIPPED.committee, layout.committee)
    if options.cohort is None:
        phantoms_cohort.simulate_cohort(layout, count, size_px=options.size_px)
        return layout
    whole = Layout(options.cohort.absolute(), folder / "models")
    layout.radiographs.mkdir(parents=True)
    for radiograph_id in whole.ids_on_disk()[:count]:
        path = layout.radiograph(radiograph_id)
        path.symlink_to(whole.radiograph(radiograph_id))
    layout.train_csv.parent.mkdir(parents=True)
    rows = whole.train_csv.read_text().splitlines(keepends=True)
    chosen = {str(radiograph_id) for radiograph_id in layout.ids_on_disk()}
    kept = [row for row in rows[1:] if row.split(",")[0] in chosen]
    layout.train_csv.write_text("".join([rows[0], *kept]))
    return layout


def main(options: Options) -> None:
    """Print a line a step and count."""
    print(f"{'step':<38}{'count':>7}{'s':>8}{'ms each':>9}{'main MB':>9}{'all MB':>8}")
    for count in options.counts:
        with tempfile.TemporaryDirectory() as name:
            layout = make(options, Path(name), count)
            for step, *more in STEPS:
                if step == "step3_gen_segmentation_result" and not options.committee:
                    shutil.copytree(layout.coarse, layout.segmentation)
                    continue
                script = REPOSITORY / "al_segmentation" / f"{step}.py"
                folders = ["--data", str(layout.data), "--models", str(layout.models)]
                taken = watched([sys.executable, str(script), *folders, *more])
                print(
                    f"{step:<38}{count:>7}{taken.seconds:>8.1f}"
                    f"{taken.seconds / count * 1e3:>9.1f}{taken.main_mb:>9.0f}"
                    f"{taken.all_mb:>8.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
