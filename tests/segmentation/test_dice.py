"""Dice, and the masks on disk against the known ones."""

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.segmentation import dice

LEFT = np.array([[255, 0], [255, 0]], np.uint8)
TOP = np.array([[255, 255], [0, 0]], np.uint8)
EMPTY = np.zeros((2, 2), np.uint8)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (LEFT, LEFT, 1),
        (LEFT, TOP, 0.5),
        (LEFT, 255 - LEFT, 0),
        (LEFT, EMPTY, 0),
        (EMPTY, EMPTY, 1),
        (LEFT > 0, TOP, 0.5),
    ],
)
def test_dice(first, second, expected):
    assert dice.dice(first, second) == expected
    assert dice.dice(second, first) == expected


@pytest.fixture
def truth(tmp_path):
    folder = tmp_path / "truth"
    radiographs.write(folder / "1_bin.png", LEFT)
    radiographs.write(folder / "2_bin.png", LEFT)
    return folder


def test_masks_on_disk_against_the_known_ones(tmp_path, truth):
    masks = {i: tmp_path / f"{i}_bin.png" for i in (1, 2, 3)}
    radiographs.write(masks[1], LEFT)
    radiographs.write(masks[2], TOP)
    radiographs.write(masks[3], TOP)
    lines = dice.dice_report(masks, dice.known_masks(truth))
    assert lines[0] == (
        "Dice against 2 known masks: mean 0.7500, median 0.7500, lowest 0.5000"
    )
    assert lines[1] == "below 0.9: 1: 2 (0.50)"


def test_nothing_in_common_is_said(tmp_path, truth):
    known = dice.known_masks(truth)
    (line,) = dice.dice_report({9: tmp_path / "9_bin.png"}, known)
    assert "no known mask belongs to these radiographs" in line


def test_folder_without_known_masks_is_refused(tmp_path):
    with pytest.raises(InputError, match="must hold known masks"):
        dice.known_masks(tmp_path)


def test_truth_of_another_size_is_named(tmp_path, truth):
    radiographs.write(tmp_path / "1_bin.png", np.tile(LEFT, (2, 2)))
    with pytest.raises(InputError, match=r"truth/1_bin\.png"):
        dice.dice_report({1: tmp_path / "1_bin.png"}, dice.known_masks(truth))
