"""One map for all images: the same on any number of processes."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from boneage import parallel
from boneage.errors import InputError
from boneage.parallel import Skipped, Workers


def square_of_even(number: int) -> int:
    if number == 5:
        raise InputError("5: odd")
    return number**2


def divide_into_12(number: int) -> float:
    return 12 / number


def test_one_by_one_ends_only_where_all_are_refused():
    four, five = (SimpleNamespace(name=f"run {n}", number=n) for n in (4, 5))

    def work(run: SimpleNamespace) -> None:
        square_of_even(run.number)

    assert parallel.for_each(work, [four, five]) == [Skipped(five, "run 5: 5: odd")]
    with pytest.raises(InputError, match="run 5: 5: odd"):
        parallel.for_each(work, [five, five])
    assert parallel.for_each(work, []) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_outcomes_come_in_order_with_their_items(jobs):
    outcomes = list(parallel.imap(square_of_even, [9, 5, 2], Workers(jobs)))
    assert outcomes == [(9, 81), (5, Skipped(5, "5: odd")), (2, 4)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_and_what_is_set_aside(jobs):
    results, set_aside = parallel.map_all(square_of_even, [1, 5, 3], Workers(jobs))
    assert results == [1, 9]
    assert set_aside == [Skipped(5, "5: odd")]


@pytest.mark.parametrize("jobs", [1, 2])
def test_any_other_error_ends_the_work(jobs):
    with pytest.raises(ZeroDivisionError):
        parallel.map_all(divide_into_12, [1, 0, 2], Workers(jobs))


@pytest.mark.parametrize("jobs", [-1, 1, 2])
def test_nothing_to_do(jobs):
    assert parallel.map_all(square_of_even, [], Workers(jobs)) == ([], [])


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_give_outcomes_in_order(threads):
    outcomes = list(parallel.imap_threads(square_of_even, [9, 5, 2] * 4, threads))
    assert outcomes == [(9, 81), (5, Skipped(5, "5: odd")), (2, 4)] * 4
    with pytest.raises(ZeroDivisionError):
        list(parallel.imap_threads(divide_into_12, [1, 0, 2], threads))


def test_threads_are_a_few_items_ahead():
    begun = []
    outcomes = parallel.imap_threads(begun.append, range(100), 2)
    next(outcomes)
    assert len(begun) <= 5
    # whoever stops taking them stops the work
    outcomes.close()
    assert len(begun) <= 5


def test_report_names_the_first_and_counts_the_rest():
    lines = parallel.skipped_lines(
        [Skipped(i, f"{i}.png: broken") for i in range(5)], 3
    )
    assert lines == [
        *(f"set aside: {i}.png: broken" for i in range(3)),
        "set aside: 2 more",
    ]


@pytest.mark.parametrize(
    "module",
    [
        "active_learning.dataset",
        "cohort.checks",
        "cohort.importing",
        "explanation.contact_sheet",
        "segmentation.coarse",
        "segmentation.hand_images",
        "segmentation.inference",
    ],
)
def test_workers_import_no_keras(module):
    """Each of them would take seconds and half a gigabyte for it."""
    code = f"import sys, boneage.{module}; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
