"""The benchmarks run, and say truly what they reach."""

import json
import math
import subprocess
import sys

import h5py
import numpy as np
import pytest

from benchmarks import mixed_precision, noise_hands
from benchmarks.timing import LEAST, MOST, Goal, Row, medians
from boneage.io import radiographs
from boneage.regression.backbones import BACKBONES
from boneage.regression.trainer import LOSS_SCALE
from tests.conftest import REPOSITORY
from tests.fault_injection import compare_outputs


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    ("goal", "ours", "reached"),
    [
        (Goal(MOST, 2.0), 2.0, True),
        (Goal(MOST, 2.0), 2.1, False),
        # 0.95 of the images a second: 1.053 times the seconds
        (Goal(LEAST, 0.95), 1.05, True),
        (Goal(LEAST, 0.95), 1.06, False),
    ],
)
def test_goal(goal, ours, reached):
    assert goal.reached(ours, 1.0) is reached
    row = Row("work", ours, "a baseline", 4.0, "a floor", 1.0, goal)
    table, compared = row.lines()
    assert table.endswith("yes" if reached else "NO")
    assert f"{ours * 1e3:.1f}ms" in table
    assert compared.strip() == "baseline: a baseline; floor: a floor"


def test_no_baseline_is_a_dash():
    row = Row("work", 1.0, "not installed", math.nan, "a floor", 1.0)
    assert "nan" not in row.lines()[0]
    assert row.lines()[0].split() == ["work", "1000.0ms", "-", "-", "1000.0ms", "1.00x"]


def test_functions_are_called_in_turn_after_a_warm_up():
    called = []
    seconds = medians([lambda: called.append("a"), lambda: called.append("b")], 2)
    assert called == ["a", "b"] * 3
    assert len(seconds) == 2


def test_packed_noise_is_what_the_pipeline_reads():
    with noise_hands.hands(5, distinct=2) as hands:
        assert len(hands) == 5
        assert hands.image(1, 64).max() > 0
        assert hands.image(4, 64).max() == 0


def test_quick_benchmark_prints_its_rows():
    printed = run("benchmarks", "--quick", "--only", "images")
    assert "step2_image_2_h5, one radiograph" in printed
    assert printed.count("<= 2.00x") == 2


@pytest.fixture
def cohorts(tmp_path):
    """Two folders with the same files of several kinds."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 20), np.uint8)
    for folder in (tmp_path / "one", tmp_path / "two"):
        radiographs.write(folder / "a.png", image)
        radiographs.write(folder / "b_bin.png", np.uint8(255) * (image > 90))
        with h5py.File(folder / "c.h5", "w") as file:
            file["image"] = image
        (folder / "d.csv").write_text("loss,seconds\n1.0,3\n")
        (folder / "e.json").write_text('{"loss": 2.0, "time": "now"}')
    return tmp_path / "one", tmp_path / "two"


def test_same_files_are_whole_and_alike(cohorts):
    (cohorts[1] / "d.csv").write_text("loss,seconds\n1.0005,4\n")
    (cohorts[1] / "e.json").write_text('{"loss": 2.0001, "time": "later"}')
    assert compare_outputs.unlike(*cohorts) == (5, [], [])
    assert compare_outputs.not_whole(cohorts[1]) == []


@pytest.mark.parametrize("name", ["a.png", "c.h5", "d.csv", "e.json"])
def test_half_a_file_is_not_whole(cohorts, name):
    path = cohorts[1] / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert compare_outputs.not_whole(cohorts[1]) == [name]


def test_what_differs_is_named(cohorts):
    first, second = cohorts
    noise = np.random.default_rng(1).integers(0, 255, (20, 20), np.uint8)
    radiographs.write(second / "a.png", noise)
    radiographs.write(second / "b_bin.png", np.uint8(255) * (noise > 90))
    with h5py.File(second / "c.h5", "w") as file:
        file["image"] = noise
    (second / "d.csv").write_text("loss,seconds\n1.1,3\n")
    (second / "e.json").unlink()
    (second / ".a.partial.png").write_bytes(b"")
    names = ["a.png", "b_bin.png", "c.h5", "d.csv", "e.json"]
    assert compare_outputs.unlike(first, second) == (5, names, [".a.partial.png"])


def test_lost_and_doubled_annotations_are_counted(tmp_path):
    mask = np.zeros((4, 4), np.uint8)
    for i in (1, 2, 3):
        radiographs.write(tmp_path / "new" / f"{i}_bin.png", mask)
    with h5py.File(tmp_path / "annotated.h5", "w") as file:
        file["id"] = [1, 2, 2]
    lines = [{"id": i, "action": "accepted"} for i in (1, 2, 3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "queries.jsonl").write_text(text)
    assert compare_outputs.annotations(tmp_path, packed=True) == ([3], [2])
    assert compare_outputs.annotations(tmp_path, packed=False) == ([], [2])


@pytest.mark.slow
def test_growth_has_a_line_a_step_and_count():
    sizes = ["--counts", "2", "4", "--size-px", "96"]
    printed = run("benchmarks.growth", *sizes, "--committee")
    lines = [line.split() for line in printed.splitlines()]
    assert [line[1] for line in lines[1:]] == ["2"] * 5 + ["4"] * 5
    assert all(float(line[4]) > 10 for line in lines[1:])


@pytest.mark.slow
def test_float16_begins_where_no_backbone_overflows():
    printed = run("benchmarks.mixed_precision")
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines()[2:]]
    assert len(rows) == 3 * (1 + len(mixed_precision.SCALES))
    at_start = [row for row in rows if row[1:3] == ["float16", f"{LOSS_SCALE:.0f}"]]
    assert [row[0] for row in at_start] == list(BACKBONES)
    assert all(float(row[3]) > 0.3 for row in at_start)


@pytest.mark.slow
def test_all_benchmarks_quickly():
    printed = run("benchmarks", "--quick")
    for work in ("committee training", "scoring the pool", "activation map", "memory"):
        assert work in printed
