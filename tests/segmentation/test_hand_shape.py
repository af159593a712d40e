"""Fingers, forearm and missing parts of simulated masks."""

import numpy as np
import pytest

from boneage.phantoms import radiograph as phantoms
from boneage.segmentation import hand_shape
from boneage.segmentation.hand_search import turned


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    """Upright masks of five spread fingers and a forearm."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        mask = phantoms.simulate(rng, 40 + 3 * seed, bool(seed % 2), 300).mask
        shape = hand_shape.measure(mask)
        if len(shape.angles) == 5 and abs(shape.tilt) < 12 and shape.forearm > 1.8:
            found.append(mask)
    assert len(found) >= 10
    return found[:10]


def missing_parts(mask: np.ndarray) -> list[str]:
    return hand_shape.missing_parts(hand_shape.measure(mask))


def palm(mask: np.ndarray) -> tuple[int, float]:
    """Row of the palm's centre, and its radius."""
    import cv2

    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    return int(np.argmax(distance.max(axis=1))), float(distance.max())


@pytest.mark.parametrize("degrees", [-70, 35, 120])
def test_forearm_and_direction_turn_with_the_hand(masks, degrees):
    for mask in masks[:4]:
        upright = hand_shape.measure(np.pad(mask, 60))
        shape = hand_shape.measure(turned(np.pad(mask, 60), degrees))
        difference = (shape.tilt - upright.tilt - degrees + 180) % 360 - 180
        assert abs(difference) < 8
        assert shape.forearm == pytest.approx(upright.forearm, rel=0.12)


def test_whole_hands_lack_nothing(masks):
    assert [missing_parts(mask) for mask in masks] == [[]] * len(masks)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_fingers_that_the_border_cuts_off(masks, share):
    for mask in masks:
        row, radius = palm(mask)
        top = int(np.argmax(mask.any(axis=1)))
        start = top + round(share * (row - radius - top))
        assert "fingers are cut off" in missing_parts(mask[start:])


@pytest.mark.parametrize(
    ("first_row", "is_cut"), [(0, True), (3, True), (5, False), (12, False)]
)
def test_whole_fingers_of_one_length_near_the_border(first_row, is_cut):
    import cv2

    mask = np.zeros((256, 256), np.uint8)
    cv2.circle(mask, (128, 140), 40, 255, -1)
    cv2.rectangle(mask, (108, 150), (148, 255), 255, -1)
    for left in (92, 122, 152):  # together 33 px wide, 0.8 palm radii
        cv2.rectangle(mask, (left, first_row), (left + 10, 130), 255, -1)
    missing = missing_parts(mask)
    assert ("fingers are cut off" in missing) == is_cut


def test_fewer_than_three_fingers(masks):
    for mask in masks:
        row, radius = palm(mask)
        stump = mask.copy()
        stump[: round(row - 1.1 * radius)] = 0
        assert "fewer than 3 fingers" in missing_parts(np.pad(stump, ((60, 0), (0, 0))))


@pytest.mark.parametrize(("length_px", "is_stump"), [(50, True), (110, False)])
def test_fingers_that_touch_are_not_missing(length_px, is_stump):
    import cv2

    mask = np.zeros((256, 256), np.uint8)
    cv2.circle(mask, (128, 150), 40, 255, -1)
    cv2.rectangle(mask, (100, 150), (156, 255), 255, -1)
    # three fingers side by side
    cv2.rectangle(mask, (100, 150 - length_px), (156, 150), 255, -1)
    assert len(hand_shape.measure(mask).angles) < 3
    assert ("fewer than 3 fingers" in missing_parts(mask)) == is_stump


@pytest.mark.parametrize("radii", [0.5, 1.0])
def test_a_wrist_that_the_border_cuts_off(masks, radii):
    for mask in masks:
        row, radius = palm(mask)
        cut = mask[: round(row + radii * radius)]
        assert "the wrist is cut off" in missing_parts(cut)


def test_a_side_that_the_border_cuts_off(masks):
    for mask in masks:
        middle = int(np.median(np.nonzero(mask)[1]))
        assert "a side is cut off" in missing_parts(mask[:, middle:].copy())


@pytest.mark.parametrize(
    "mask", [np.zeros((30, 20), np.uint8), np.eye(60, dtype=np.uint8) * 255]
)
def test_what_is_too_small_has_no_shape(mask):
    assert hand_shape.measure(mask) is None


def test_measures_do_not_change_with_the_size_of_the_image(masks):
    import cv2

    for mask in masks:
        one = hand_shape.measure(mask)
        large = cv2.resize(mask, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
        other = hand_shape.measure(large)
        assert other.radius == pytest.approx(one.radius, rel=0.03)
        assert other.tilt == pytest.approx(one.tilt, abs=2)
        assert other.forearm == pytest.approx(one.forearm, rel=0.05)


@pytest.mark.parametrize(
    ("row", "column", "forearm_px"),
    [(90, 10, 56.6), (10, 90, 0.0), (99, 75, 0.0), (75, 1, 52.3), (99, 1, 69.3)],
)
def test_forearm_of_a_hand_that_points_to_the_upper_right(row, column, forearm_px):
    framed = np.zeros((105, 105), np.uint8)
    framed[row, column] = 255
    length_px, _ = hand_shape._forearm(framed, (50, 50), 45.0)
    assert length_px == pytest.approx(forearm_px, abs=0.1)


def test_a_forearm_that_is_short_but_there(masks):
    for mask in masks:
        row, radius = palm(mask)
        assert missing_parts(mask[: round(row + 1.7 * radius)]) == []
