"""Kill every step at random moments, start it again, compare with an undisturbed run.

    python -m benchmarks.faults --kills 200

A cohort of small phantoms goes through steps 0 to 4 once undisturbed. Then each step is
started from where it began, killed (SIGKILL) at a random moment of its time, once or
twice, and run to its end; every file that it leaves is compared with the undisturbed
one's. Networks are of two blocks; all else is as it is. Exit code 1 when anything
differs, a temporary file stays, or an annotation is lost or doubled.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import h5py
import numpy as np
import pandas as pd
import tyro

from boneage import radiographs
from boneage.segmentation.overlap import dice

REPOSITORY = Path(__file__).resolve().parents[1]

SMALL = """
import runpy, sys
from benchmarks import small_networks
small_networks.install()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Run a script with networks of two blocks."""

STEPS = {
    "step0": "step0_prepare_cohort --count 24 --annotated 8 --size-px 96",
    "step1": "step1_corase_segment",
    "pack_annotated": "step2_image_2_h5 --pool annotated --size 32",
    "pack_unannotated": "step2_image_2_h5 --pool unannotated --size 32",
    "committee": "step2_interactive_segmentation --oracle simulated --truth TRUTH "
    "--epochs 4 --filters 2 --images-per-epoch 8 --batch-size 4 --queries 2",
    "masks": "step3_gen_segmentation_result",
    "hands": "step3_gen_segmentation_with_enhance",
    "regressor": "step4_regression_with_cam --model xception --weights none --epochs 6 "
    "--batch-size 8 --workers 1 --panel 2 --checkpoint-minutes 0 --deterministic "
    "--validation-fraction 0.2 --test-fraction 0.2",
}
"""In order; each begins where the one before ended."""
Step = Literal[tuple(STEPS)]
NETWORKS = ("committee", "masks", "regressor")

LOSS_TOLERANCE = 1e-3
"""Relative, of losses, and of metrics; threads add in another order."""
MONTHS_TOLERANCE = 0.05
LEAST_DICE = 0.999
VOLATILE = ("seconds", "time", "git_commit", "versions")


@dataclass(frozen=True)
class Options:
    """How often to kill."""

    kills: int = 200
    """In all, the same number for each step."""
    seed: int = 0
    """Of the moments."""
    steps: tuple[Step, ...] = tuple(STEPS)
    """Only these are killed."""


@dataclass
class Outcome:
    """What happened to one step."""

    kills: int = 0
    too_late: int = 0
    """Kills that found the step finished."""
    files: int = 0
    differing: int = 0
    temporary: int = 0
    lost: int = 0
    doubled: int = 0

    @property
    def faults(self) -> int:
        """What must not be."""
        return self.differing + self.temporary + self.lost + self.doubled


def start(step: str, folder: Path, said: int | TextIO) -> subprocess.Popen:
    """Start a step on the cohort in `folder`, in a process group of its own."""
    name, *arguments = STEPS[step].split()
    truth = str(folder / "data" / "truth")
    arguments = [truth if x == "TRUTH" else x for x in arguments]
    where = ["--data", str(folder / "data"), "--models", str(folder / "models")]
    before = ["-c", SMALL] if step in NETWORKS else []
    script = str(REPOSITORY / "al_segmentation" / f"{name}.py")
    return subprocess.Popen(
        [sys.executable, *before, script, *arguments, *where],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=said,
        stderr=said,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def finish(step: str, folder: Path) -> float:
    """Run a step to its end; seconds."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = start(step, folder, said)
        if process.wait():
            said.seek(0)
            raise SystemExit(f"{step}: exit code {process.returncode}\n{said.read()}")
    return time.monotonic() - began


def kill(step: str, folder: Path, moment_s: float, orphans: list[int] | None) -> bool:
    """Start a step and kill it after `moment_s`; whether it was still running.

    orphans: its process group joins these and its workers are left to themselves, as
    the kernel does when memory runs out; None kills them, too.
    """
    process = start(step, folder, subprocess.DEVNULL)
    try:
        process.wait(timeout=moment_s)
    except subprocess.TimeoutExpired:
        if orphans is None:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
            orphans.append(process.pid)
        process.wait()
        return True
    return False


def end(orphans: list[int]) -> None:
    """Kill what is left of process groups."""
    for group in orphans:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def compare(reference: Path, folder: Path, outcome: Outcome) -> list[str]:
    """Count the files, and name those that differ or should not be there."""
    wanted, found = _files(reference), _files(folder)
    left = [name for name in found if ".partial" in name or ".epoch_" in name]
    outcome.temporary += len(left)
    outcome.files += len(wanted)
    differing = [
        name
        for name in sorted(wanted | (found - set(left)))
        if name not in found
        or name not in wanted
        or not _alike(reference / name, folder / name)
    ]
    outcome.differing += len(differing)
    lost, doubled = _annotations(folder / "data" / "gt")
    outcome.lost += len(lost)
    outcome.doubled += len(doubled)
    return [
        *(f"differs: {name}" for name in differing),
        *(f"temporary: {name}" for name in left),
        *(f"annotation lost: {i}" for i in lost),
        *(f"annotation doubled: {i}" for i in doubled),
    ]


def _files(folder: Path) -> set[str]:
    # TensorBoard names its logs by the time
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".lock"
        and path.parent.name != "tensorboard"
    }


def _annotations(gt: Path) -> tuple[list[int], list[int]]:
    """Ids drawn but not packed or not logged, and ids packed or logged twice."""
    log = gt / "queries.jsonl"
    if not log.exists():
        return [], []
    drawn = {
        int(path.name.removesuffix("_bin.png")) for path in gt.glob("new/*_bin.png")
    }
    with h5py.File(gt / "annotated.h5") as file:
        packed = Counter(file["id"][:].tolist())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    logged = Counter(line["id"] for line in lines if line["action"] == "annotated")
    lost = [i for i in sorted(drawn) if not (packed[i] and logged[i])]
    doubled = [i for i in sorted(packed | logged) if max(packed[i], logged[i]) > 1]
    return lost, doubled


def _alike(first: Path, second: Path) -> bool:
    if first.suffix == ".h5":
        return _same_datasets(first.read_bytes(), second.read_bytes())
    if first.suffix == ".png":
        one, other = radiographs.read(first), radiographs.read(second)
        if first.name.endswith(("_bin.png", "_proposal.png")):
            return one.shape == other.shape and dice(one, other) >= LEAST_DICE
        return np.array_equal(one, other) or first.name.endswith("_disagreement.png")
    if first.suffix == ".csv":
        return _same_table(first, second)
    if first.suffix == ".json":
        one, other = (json.loads(path.read_text()) for path in (first, second))
        return one.keys() == other.keys() and all(
            _same_values(one[key], other[key]) for key in one.keys() - set(VOLATILE)
        )
    if first.suffix == ".jsonl":
        one, other = (path.read_text().splitlines() for path in (first, second))
        said = [
            [(e["action"], e["id"]) for e in map(json.loads, x)] for x in (one, other)
        ]
        return Counter(said[0]) == Counter(said[1])
    # networks: their metrics stand in history.csv and predictions.csv
    return first.suffix == ".keras" or first.read_bytes() == second.read_bytes()


def _same_datasets(first: bytes, second: bytes) -> bool:
    with h5py.File(io.BytesIO(first)) as one, h5py.File(io.BytesIO(second)) as other:
        if one.keys() != other.keys():
            return False
        # maps and predictions of the panel are a network's
        loose = {"rtol": LOSS_TOLERANCE, "atol": MONTHS_TOLERANCE}
        return all(
            one[name].shape == other[name].shape
            and (
                np.allclose(one[name][:], other[name][:], **loose)
                if one[name].dtype.kind == "f"
                else np.array_equal(one[name][:], other[name][:])
            )
            for name in one
        )


def _same_table(first: Path, second: Path) -> bool:
    one, other = (
        pd.read_csv(path).drop(columns=list(VOLATILE), errors="ignore")
        for path in (first, second)
    )
    try:
        pd.testing.assert_frame_equal(
            one, other, check_dtype=False, rtol=LOSS_TOLERANCE, atol=MONTHS_TOLERANCE
        )
    except AssertionError:
        return False
    return True


def _same_values(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=LOSS_TOLERANCE, atol=MONTHS_TOLERANCE))
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - set(VOLATILE)
        return one.keys() == other.keys() and all(
            _same_values(one[key], other[key]) for key in keys
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_values, one, other))
    return one == other


def main(options: Options) -> int:
    """Print a line a step; 1 where something is lost, doubled, left or different."""
    draw = random.Random(options.seed)
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as name:
        reference, begun, work = (Path(name) / x for x in ("whole", "begun", "work"))
        reference.mkdir()
        last = max(list(STEPS).index(step) for step in options.steps)
        for step in list(STEPS)[: last + 1]:
            shutil.rmtree(begun, ignore_errors=True)
            shutil.copytree(reference, begun)
            seconds = finish(step, reference)
            if step not in options.steps:
                continue
            outcome = outcomes.setdefault(step, Outcome())
            while outcome.kills < max(1, options.kills // len(options.steps)):
                shutil.rmtree(work, ignore_errors=True)
                shutil.copytree(begun, work)
                orphans: list[int] = []
                try:
                    for _ in range(draw.choice((1, 1, 2))):
                        moment = draw.uniform(0.1, 1) * seconds
                        left = orphans if draw.random() < 0.5 else None
                        was_running = kill(step, work, moment, left)
                        outcome.kills += was_running
                        outcome.too_late += not was_running
                    finish(step, work)
                finally:
                    end(orphans)
                for line in compare(reference, work, outcome):
                    print(f"{step}: {line}", flush=True)
            print(f"{step}: {seconds:.1f} s undisturbed, {outcome}", flush=True)
    total = sum(outcome.kills for outcome in outcomes.values())
    faults = sum(outcome.faults for outcome in outcomes.values())
    compared = sum(outcome.files for outcome in outcomes.values())
    print(f"{total} kills, {compared} files compared, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
