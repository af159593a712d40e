"""Two people and the same radiographs: which those are, and how well they agree."""

import csv

import numpy as np
import pytest

from boneage.active_learning import agreement
from boneage.errors import InputError
from boneage.io import radiographs


def half(rows: int) -> np.ndarray:
    """A mask of the upper `rows` of 20 rows."""
    mask = np.zeros((20, 10), np.uint8)
    mask[:rows] = 255
    return mask


def draw(layout, name, masks):
    (layout.agreement / name).mkdir(parents=True)
    for i, mask in masks.items():
        radiographs.write(layout.shared_mask(name, i), mask)


def test_about_a_tenth_is_shared_and_always_the_same():
    shared = [i for i in range(1, 5001) if agreement.is_shared(i, 0.1)]
    assert 0.08 < len(shared) / 5000 < 0.12
    assert not any(agreement.is_shared(i, 0) for i in range(1, 100))
    assert all(agreement.is_shared(i, 1) for i in range(1, 100))
    # of the days before, too
    assert [i for i in range(1, 60) if agreement.is_shared(i, 0.1)] == SHARED


SHARED = [23, 27, 33, 37]


def test_dice_of_every_two_people_on_what_both_drew(layout):
    draw(layout, "ann", {1: half(10), 2: half(10), 3: half(10)})
    draw(layout, "bob", {1: half(10), 2: half(5)})
    draw(layout, "eve", {9: half(10)})
    (line,) = agreement.write_table(layout)
    # 2 * 5 / (10 + 5)
    mean = (1 + 2 / 3) / 2
    assert line.startswith(f"ann and bob: Dice {mean:.4f} (95 % interval 0.6667 to 1")
    assert line.endswith("on 2 shared radiographs, lowest 0.6667 (radiograph 2)")
    (row,) = csv.DictReader(layout.agreement_csv.open())
    assert (row["first"], row["second"], row["radiographs"]) == ("ann", "bob", "2")
    assert float(row["dice"]) == pytest.approx(mean, abs=1e-5)
    assert float(row["lowest"]) == pytest.approx(2 / 3, abs=1e-5)


def test_one_radiograph_has_no_interval(layout):
    draw(layout, "ann", {1: half(10)})
    draw(layout, "bob", {1: half(10)})
    (line,) = agreement.write_table(layout)
    assert line.startswith("ann and bob: Dice 1.0000 on 1 shared")


def test_without_two_people_there_is_no_table(layout):
    draw(layout, "ann", {1: half(10)})
    with pytest.raises(InputError, match="must have masks of one radiograph by two"):
        agreement.write_table(layout)
    assert not layout.agreement_csv.exists()
