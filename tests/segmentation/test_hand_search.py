"""Turned, tilted, inverted and paired hands, found by a committee of upright ones."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.phantoms import radiograph as phantoms
from boneage.segmentation import hand_search, hand_shape, mask_quality
from boneage.segmentation.coarse import largest_hand


class Committee:
    """Members that see what is bright, and the same only where it is upright."""

    size, clip_limit = 128, 0.0

    def __init__(self) -> None:
        self.looks = 0

    def probabilities(self, images, batch_size=16):
        self.looks += len(images)
        members = np.repeat((images > 40)[np.newaxis], 2, axis=0).astype(np.float32)
        for image, doubtful in zip(images, members[1], strict=True):
            shape = hand_shape.measure(largest_hand(np.uint8(255) * (image > 40)))
            if shape is None or len(shape.angles) < 4 or abs(shape.tilt) > 30:
                doubtful[::2] = 0
        return members


def simulated(seed: int, months: int = 120) -> phantoms.Phantom:
    """A hand of five spread fingers that stands upright, on black."""
    rng = np.random.default_rng(seed)
    return phantoms.simulate(rng, months, bool(seed % 2), 256)


def on_black(phantom: phantoms.Phantom) -> np.ndarray:
    grey = np.maximum(phantom.radiograph, 90)
    return np.where(phantom.mask > 0, grey, 8).astype(np.uint8)


@pytest.fixture(scope="module")
def hands() -> list[np.ndarray]:
    """Upright hands of five fingers, on black."""
    found = []
    for seed in range(60):
        phantom = simulated(seed)
        shape = hand_shape.measure(phantom.mask)
        if len(shape.angles) == 5 and abs(shape.tilt) < 9:
            found.append(on_black(phantom))
    assert len(found) >= 8
    return found[:8]


def test_upright_hands_are_looked_at_once_and_left_as_they_are(hands):
    for hand in hands:
        committee = Committee()
        (found,) = hand_search.find_hands(committee, hand)
        assert committee.looks == 1
        assert found.notes == ()
        assert found.radiograph is hand


@settings(max_examples=24, deadline=None)
@given(
    number=st.integers(0, 7),
    quarters=st.integers(-8, 8),
    is_negative=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_quarter_turns_and_negatives_change_nothing(
    hands, number, quarters, is_negative, dtype
):
    hand = hands[number].astype(dtype) * (257 if dtype == np.uint16 else 1)
    altered = np.rot90(hand, quarters)
    if is_negative:
        altered = np.iinfo(dtype).max - altered
    (found,) = hand_search.find_hands(Committee(), altered)
    np.testing.assert_array_equal(found.radiograph, hand)
    (straight,) = hand_search.find_hands(Committee(), hand)
    np.testing.assert_array_equal(found.mask, straight.mask)
    assert any("negative" in note for note in found.notes) == is_negative
    assert any("turned" in note for note in found.notes) == bool(quarters % 4)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_what_is_tilted_a_little_is_read_the_same_after_a_quarter_turn(hands, quarters):
    tilted = hand_search.turned(hands[0], 17)
    (straight,) = hand_search.find_hands(Committee(), tilted)
    assert straight.notes == ()
    (found,) = hand_search.find_hands(Committee(), np.rot90(tilted, quarters))
    np.testing.assert_array_equal(found.radiograph, tilted)


@pytest.mark.parametrize("degrees", [-135, -60, -45, 45, 60, 120])
def test_tilted_hands_are_turned_upright(hands, degrees):
    for hand in hands[:4]:
        tilted = hand_search.turned(hand, degrees)
        (found,) = hand_search.find_hands(Committee(), tilted)
        assert abs(hand_shape.measure(found.mask).tilt) < 25
        assert any("turned by" in note for note in found.notes)
        # the black corners of a turned frame are cut away again
        assert found.radiograph.size < 2 * hand.size


def test_notes_tell_which_way():
    assert "by 90 degrees clockwise" in hand_search._turn_note(90)
    assert "by 90 degrees anticlockwise" in hand_search._turn_note(270)
    assert "upside down" in hand_search._turn_note(180)


@pytest.mark.parametrize("degrees", [90, 180, 270, 37])
def test_turning_is_clockwise_and_loses_nothing(degrees):
    image = np.zeros((60, 40), np.uint8)
    image[2:12, 15:25] = 200  # at the top
    turned = hand_search.turned(image, degrees)
    assert turned.sum() == pytest.approx(image.sum(), rel=0.02)
    rows, columns = np.nonzero(turned > 100)
    row, column = (
        rows.mean() - turned.shape[0] / 2,
        columns.mean() - turned.shape[1] / 2,
    )
    assert np.degrees(np.arctan2(column, -row)) % 360 == pytest.approx(degrees, abs=3)


@pytest.mark.parametrize("left_first", [True, False])
def test_of_two_hands_the_left_one_comes_first(hands, left_first):
    hand = next(
        hand
        for hand in hands
        if hand_search.find_hands(Committee(), hand)[0].side == "left"
    )
    pair = [hand, hand[:, ::-1]] if left_first else [hand[:, ::-1], hand]
    found = hand_search.find_hands(Committee(), np.hstack(pair))
    assert [each.side for each in found] == ["left", "right"]
    for each in found:
        assert each.mask.shape == each.radiograph.shape
        # of the other hand there is nothing left
        assert np.count_nonzero(each.radiograph > 40) == pytest.approx(
            np.count_nonzero(hand > 40), rel=0.1
        )


def test_a_marker_is_no_second_hand(hands):
    marked = hands[0].copy()
    cv2.rectangle(marked, (5, 5), (60, 50), 250, -1)
    assert len(hand_search.find_hands(Committee(), marked)) == 1


def test_nothing_there_gives_an_empty_mask():
    (found,) = hand_search.find_hands(Committee(), np.zeros((90, 70), np.uint8))
    assert not found.mask.any()
    assert found.notes == ()


def test_odd_hands_stay_what_they_are(hands):
    fist = np.zeros((256, 200), np.uint8)
    cv2.ellipse(fist, (100, 120), (60, 80), 10, 0, 360, 150, -1)
    (found,) = hand_search.find_hands(Committee(), fist)
    np.testing.assert_array_equal(found.radiograph, fist)


def test_flags_tell_turned_negative_and_cut_off_hands(hands):
    hand = hands[0]
    mask = np.uint8(255) * (hand > 40)

    def flags(radiograph, mask):
        return mask_quality.assess(1, "person", mask, radiograph).flags

    assert flags(hand, mask) == ""
    assert flags(hand, mask * 0) == "empty"
    assert flags(255 - hand, mask) == "a negative"
    turned = [np.ascontiguousarray(np.rot90(each)) for each in (hand, mask)]
    assert flags(*turned).startswith("turned by -")
    top = int(np.argmax(mask.any(axis=1)))
    cut = np.s_[top + 25 :]
    assert "fingers are cut off" in flags(hand[cut], mask[cut])
