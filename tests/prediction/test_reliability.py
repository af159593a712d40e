"""Doubts about masks and ages, and when a radiograph is refused."""

import numpy as np
import pytest

from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.prediction import reliability
from boneage.segmentation.hand_shape import HandShape


def test_doubts_about_ages():
    seen = (10.0, 220.0)
    assert reliability.age_warnings(100, seen, np.array([95.0, 105]), 12) == []
    (beyond,) = reliability.age_warnings(5, seen, np.array([5.0, 5]), 12)
    assert beyond == "beyond the 10 to 220 months of the training hands"
    assert reliability.age_warnings(100, seen, np.array([94.1, 105.9]), 12) == []
    (apart,) = reliability.age_warnings(100, seen, np.array([80.0, 120]), 12)
    assert apart == (
        "the runs disagree by 40 months; on 99 % of the validation hands they disagree "
        "by 12 or less"
    )


def test_doubts_about_masks():
    left = phantoms_radiograph.simulate(np.random.default_rng(3), 100, False, 240).mask
    assert reliability.check_mask(left, 0.02, "left") == ([], "")
    mirrored = reliability.check_mask(left, 0.02, "right")
    assert "a right hand" in mirrored.warnings[0]
    assert mirrored.refusal == ""
    disk = np.zeros((200, 200), np.uint8)
    disk[60:140, 60:140] = 255
    verdict = reliability.check_mask(disk, 0.02, None)
    assert verdict.refusal.startswith("likely not a hand, or not upright (no fingers,")
    small = np.pad(left, 200)
    assert reliability.check_mask(small, 0.02, "left") == (
        ["the mask is implausible (too small)"],
        "",
    )


@pytest.mark.parametrize(
    ("disagreement", "is_doubtful", "is_refused"),
    [
        (0.09, False, False),
        (0.11, True, False),
        (0.19, True, False),
        (0.21, False, True),
        (0.44, False, True),
    ],
)
def test_members_that_disagree_make_a_mask_doubtful_then_refused(
    disagreement, is_doubtful, is_refused
):
    left = phantoms_radiograph.simulate(np.random.default_rng(3), 100, False, 240).mask
    verdict = reliability.check_mask(left, disagreement, "left")
    assert any("unsure of the mask" in w for w in verdict.warnings) == is_doubtful
    assert ("likely not a hand" in verdict.refusal) == is_refused


@pytest.mark.parametrize(("disagreement", "is_refused"), [(0.09, False), (0.11, True)])
def test_implausible_masks_are_refused_where_members_are_unsure(
    disagreement, is_refused
):
    left = phantoms_radiograph.simulate(np.random.default_rng(3), 100, False, 240).mask
    small = np.pad(left, 200)
    assert bool(reliability.check_mask(small, disagreement, None).refusal) == is_refused


@pytest.mark.parametrize(
    ("degrees", "disagreement", "is_doubtful"),
    [
        (20.0, 0.07, False),
        (28.0, 0.03, False),
        (28.0, 0.07, True),
        (-28.0, 0.07, True),
        (28.0, 0.11, False),  # `check_mask` warns of it
    ],
)
def test_tilted_hands_whose_members_disagree_are_doubtful(
    degrees, disagreement, is_doubtful
):
    angles = np.array([degrees - 30, degrees, degrees + 30])
    shape = HandShape(np.zeros((9, 9), np.uint8), 2.0, angles, 2.0, True, 1.0)
    found = reliability.is_doubtfully_tilted(shape, disagreement)
    assert found == is_doubtful
    assert not reliability.is_doubtfully_tilted(None, disagreement)
