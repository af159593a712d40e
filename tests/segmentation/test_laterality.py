"""Left or right, on masks of simulated hands."""

import cv2
import numpy as np
import pytest

from boneage.phantoms import radiograph
from boneage.segmentation import hand_shape, laterality


@pytest.fixture(scope="module")
def masks():
    """Hands of all ages, left ones."""
    return [
        radiograph.simulate(np.random.default_rng(i), 10 + 7 * i, bool(i % 2), 240).mask
        for i in range(30)
    ]


def side_of(mask):
    return laterality.laterality(hand_shape.measure(mask))


def sides(masks):
    found = [side_of(np.ascontiguousarray(mask)) for mask in masks]
    return {side: found.count(side) for side in ("left", "right", None)}


def test_left_hands_are_never_taken_for_right_ones(masks):
    found = sides(masks)
    assert found["right"] == 0
    assert found["left"] >= 12


def test_mirrored_they_are_right_hands(masks):
    found = sides(mask[:, ::-1] for mask in masks)
    assert found["left"] == 0
    assert found["right"] >= 12


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_hands_may_lie_at_any_angle(masks, turns):
    found = sides(np.rot90(mask, turns) for mask in masks)
    assert found["right"] == 0
    assert found["left"] >= 12


def test_squeezed_hands(masks):
    found = sides(cv2.resize(mask, (200, 200)) for mask in masks)
    assert found["right"] == 0
    assert found["left"] >= 12


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((40, 30), np.uint8),
        np.full((40, 30), 255, np.uint8),
        np.eye(50, dtype=np.uint8) * 255,
        cv2.circle(np.zeros((300, 300), np.uint8), (150, 150), 90, 255, -1),
        np.full((1, 1), 255, np.uint8),
    ],
)
def test_what_has_no_fingers_has_no_side(mask):
    assert side_of(mask) is None


@pytest.mark.parametrize(
    ("last_degrees", "side"), [(50, "right"), (64, None), (66, None), (74, "left")]
)
def test_the_thumbs_gap_must_be_clearly_wider(last_degrees, side):
    angles = np.array([-65.0, -25, 0, 25, last_degrees])
    small = np.zeros((9, 9), np.uint8)
    shape = hand_shape.HandShape(small, 2.0, angles, 2.0, True, 1.0)
    # the little finger's gap is 40 degrees
    assert laterality.laterality(shape) == side
