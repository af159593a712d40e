"""The benchmarks run, and say truly what they reach."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

from benchmarks import packed
from benchmarks.timing import LEAST, MOST, Goal, Row, medians


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
    row = Row("work", ours, "a rival", 4.0, "a floor", 1.0, goal)
    table, compared = row.lines()
    assert table.endswith("yes" if reached else "NO")
    assert f"{ours * 1e3:.1f}ms" in table
    assert compared.strip() == "rival: a rival; floor: a floor"


def test_functions_are_called_in_turn_after_a_warm_up():
    called = []
    seconds = medians([lambda: called.append("a"), lambda: called.append("b")], 2)
    assert called == ["a", "b"] * 3
    assert len(seconds) == 2


def test_packed_noise_is_what_the_pipeline_reads():
    with packed.hands(5, distinct=2) as hands:
        assert len(hands) == 5
        assert hands.image(1, 64).max() > 0
        assert hands.image(4, 64).max() == 0


def test_quick_benchmark_prints_its_rows():
    printed = run("benchmarks", "--quick", "--only", "images")
    assert "step2_image_2_h5, one radiograph" in printed
    assert printed.count("<= 2.00x") == 2


def test_growth_has_a_line_a_step_and_count():
    printed = run("benchmarks.growth", "--counts", "2", "4", "--size-px", "96")
    lines = [line.split() for line in printed.splitlines()]
    assert [line[1] for line in lines[1:]] == ["2"] * 4 + ["4"] * 4
    assert all(float(line[4]) > 10 for line in lines[1:])


@pytest.mark.slow
def test_all_benchmarks_quickly():
    printed = run("benchmarks", "--quick")
    for work in ("committee training", "scoring the pool", "activation map", "memory"):
        assert work in printed
