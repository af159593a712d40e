"""Every step on a small cohort, as a process that can be killed at any moment."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TextIO

from boneage.layout import REPOSITORY
from tests.fault_injection import simulated_annotator

SMALL = """
import runpy, sys
from tests import tiny_networks
tiny_networks.install()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Run a script with networks of two blocks."""

AL, PTL = "al_segmentation", "paced_transfer"
SHORT = (
    "--model xception --weights none --batch-size 8 --workers 1 --checkpoint-minutes 0 "
    "--deterministic --validation-fraction 0.2 --test-fraction 0.2"
)
STAGES = "--schedule head 1e-3 block2 1e-3 all 1e-3 --epochs-per-stage 2"
STEPS = {
    "step0": f"{AL}/step0_prepare_cohort --count 30 --annotated 8 --size-px 96",
    "step1": f"{AL}/step1_corase_segment",
    "pack_annotated": f"{AL}/step2_image_2_h5 --pool annotated --size 32",
    "pack_unannotated": f"{AL}/step2_image_2_h5 --pool unannotated --size 32",
    "committee": f"{AL}/step2_interactive_segmentation --oracle simulated "
    "--truth DATA/truth --epochs 4 --filters 2 --images-per-epoch 8 --batch-size 4 "
    "--queries 2",
    "annotator": f"{AL}/step2_interactive_segmentation --annotate-only --no-open-page",
    "two_people": f"{AL}/step2_interactive_segmentation --annotate-only --no-open-page "
    "--auth ann:a bob:b --shared 0.5",
    "append": f"{AL}/step2_image_2_h5 --pool annotated --size 32",
    "masks": f"{AL}/step3_gen_segmentation_result",
    "hands": f"{AL}/step3_gen_segmentation_with_enhance",
    "regressor": f"{AL}/step4_regression_with_cam {SHORT} --epochs 6 --panel 2",
    "statistics": f"{AL}/step5_statiscal_data --resamples 50",
    "maps": f"{AL}/step6_cam --limit 4",
    "paced": f"{PTL}/step1_ptl_gen {SHORT} {STAGES}",
    "baselines": f"{PTL}/step2_conventional_transfer {SHORT} {STAGES}",
    "paced_maps": f"{PTL}/step5_cam_inference --limit 4",
    "comparison": f"{PTL}/step6_visualize --resamples 50",
    "predict": "predict DATA/boneage-training-dataset --sex unknown --views 1 "
    "--include-refused "
    "--csv DATA/answers.csv --json DATA/answers.json --report DATA/reports",
}
"""In order; each begins where the one before ended."""
Step = Literal[tuple(STEPS)]
PEOPLE = {"annotator": ("",), "two_people": ("ann:a", "bob:b")}
"""Steps that people work at, and how these log in."""
NETWORKS = ("committee", "masks", "regressor", "maps", "paced", "baselines")
NETWORKS += ("paced_maps", "comparison", "predict")
"""Steps that know of networks, which are small here."""


def start(step: str, folder: Path, said: TextIO) -> subprocess.Popen:
    """Start a step on the cohort in `folder`, in a process group of its own."""
    script, *arguments = STEPS[step].replace("DATA", str(folder / "data")).split()
    where = ["--data", str(folder / "data"), "--models", str(folder / "models")]
    before = ["-c", SMALL] if step in NETWORKS else []
    return subprocess.Popen(
        [sys.executable, *before, f"{REPOSITORY / script}.py", *arguments, *where],
        cwd=REPOSITORY,
        env=os.environ
        | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
        | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(folder / "tmp")},
        stdout=said,
        stderr=said,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def prepare(step: str, folder: Path) -> None:
    """Lay out what a step needs and no step before it leaves."""
    (folder / "tmp").mkdir(exist_ok=True)
    if step in PEOPLE:
        simulated_annotator.lay_out(folder)


@contextlib.contextmanager
def running(step: str, folder: Path) -> Iterator[tuple[subprocess.Popen, list[int]]]:
    """Start a step, with a person where it needs one; wait when the block ends.

    Yields the process, and a list which holds in the end the ids that the page of the
    annotator has called saved.

    Raises:
        SystemExit: it failed by itself; with what it said.
    """
    with tempfile.NamedTemporaryFile("w+") as said:
        process, acknowledged = start(step, folder, said.file), []
        yield process, acknowledged
        if step in PEOPLE:
            acknowledged += simulated_annotator.annotate(
                process, Path(said.name), PEOPLE[step]
            )
        if process.wait() not in (0, -signal.SIGKILL):
            said.seek(0)
            raise SystemExit(f"{step}: exit code {process.returncode}\n{said.read()}")


def finish(step: str, folder: Path) -> float:
    """Run a step to its end; seconds."""
    began = time.monotonic()
    with running(step, folder):
        pass
    return time.monotonic() - began


def kill(
    step: str, folder: Path, moment_s: float, orphans: list[int] | None
) -> tuple[bool, list[int]]:
    """Start a step and kill it after `moment_s`.

    orphans: its process group joins these and its workers are left to themselves, as
    the kernel does when memory runs out; None kills them, too.

    Returns whether it was still running, and the ids that it had called saved.
    """
    with running(step, folder) as (process, acknowledged):

        def strike() -> None:
            with contextlib.suppress(ProcessLookupError):
                if orphans is None:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                    orphans.append(process.pid)

        timer = threading.Timer(moment_s, strike)
        timer.start()
    timer.cancel()
    return process.returncode == -signal.SIGKILL, acknowledged


def end(orphans: list[int]) -> None:
    """Kill what is left of process groups."""
    for group in orphans:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def copy(source: Path, target: Path) -> None:
    """Copy a cohort, times of its files included, in place of what `target` holds."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def moments(draw: random.Random, seconds: float) -> list[float]:
    """When to kill a step that takes so many seconds: once or twice."""
    return [draw.uniform(0.1, 1) * seconds for _ in range(draw.choice((1, 1, 2)))]
