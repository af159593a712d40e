"""Each alteration on an array of one line, or on a small phantom."""

import cv2
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.phantoms import radiograph as phantoms
from boneage.segmentation import hand_shape
from boneage.segmentation.coarse import coarse_mask
from experiments import alterations
from experiments.alterations import ALTERATIONS


def line(*levels: int) -> np.ndarray:
    return np.array([levels], np.uint8)


@pytest.fixture(scope="module")
def hand() -> phantoms.Phantom:
    """An upright hand of five fingers."""
    for seed in range(40):
        made = phantoms.simulate(np.random.default_rng(seed), 120, True, 300)
        shape = hand_shape.measure(coarse_mask(made.radiograph))
        if len(shape.angles) == 5 and abs(shape.tilt) < 9 and shape.forearm > 2.4:
            return made
    raise AssertionError("no such phantom")


def test_there_are_fourteen_at_four_strengths():
    assert len(ALTERATIONS) == 14
    assert {len(set(each.strengths)) for each in ALTERATIONS.values()} == {4}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("name", "strength", "before", "after"),
    [
        ("brightness", 40, (0, 100, 250), (40, 140, 255)),
        ("brightness", -40, (0, 100, 250), (0, 60, 210)),
        ("contrast", 0.5, (0, 100, 200), (50, 100, 150)),
        ("contrast", 2.5, (50, 100, 150), (0, 100, 225)),
        ("gamma", 2.5, (0, 128, 255), (0, 46, 255)),
        ("gamma", 0.4, (0, 128, 255), (0, 194, 255)),
        ("inversion", 1.0, (0, 100, 255), (255, 155, 0)),
        ("inversion", 2.0, (0, 127, 255), (255, 64, 0)),
        ("flip", 0, (1, 2, 3), (3, 2, 1)),
        ("flip", 180, (1, 2, 3), (1, 2, 3)),
        ("turn", 180, (1, 2, 3), (3, 2, 1)),
        ("JPEG", 50, (90, 90, 90), (90, 90, 90)),
        ("blur", 0.0025, (90, 90, 90), (90, 90, 90)),
        ("resolution", 512, (1, 2, 3), (1, 2, 3)),
    ],
)
def test_grey_levels_and_places(dtype, name, strength, before, after):
    scale = np.iinfo(dtype).max // 255
    altered = ALTERATIONS[name].apply(line(*before).astype(dtype) * scale, strength)
    assert altered.dtype == (np.uint8 if name == "JPEG" else dtype)
    in_255 = altered / (np.iinfo(altered.dtype).max / 255)
    np.testing.assert_allclose(in_255, line(*after), atol=0.51)


def test_turns_are_clockwise():
    np.testing.assert_array_equal(
        ALTERATIONS["turn"].apply(line(1, 2, 3), 90), line(1, 2, 3).T
    )
    np.testing.assert_array_equal(
        ALTERATIONS["flip"].apply(line(1, 2, 3), 90), line(3, 2, 1).T
    )
    assert ALTERATIONS["tilt"].apply(np.ones((40, 40), np.uint8), 45).shape == (57, 57)


def test_resolution_and_blur():
    wide = np.tile(line(0, 200), (1, 300))
    shrunk = ALTERATIONS["resolution"].apply(np.repeat(wide, 20, axis=0), 60)
    assert shrunk.shape == (2, 60)
    assert np.ptp(shrunk) == 0
    edge = np.repeat(line(0, 200), 50, axis=1)
    steps = [
        np.abs(np.diff(ALTERATIONS["blur"].apply(edge, share).astype(int))).max()
        for share in ALTERATIONS["blur"].strengths
    ]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 2 * steps[-1]


def test_jpeg_loses_more_at_lower_quality(hand):
    lost = [
        np.abs(alterations.compress(hand.radiograph, q) - hand.radiograph.astype(int))
        for q in ALTERATIONS["JPEG"].strengths
    ]
    means = [each.mean() for each in lost]
    assert means == sorted(means)
    assert means[0] > 0


def test_black_borders_lie_around():
    np.testing.assert_array_equal(
        alterations.add_border(line(7, 8, 9, 10), 0.25),
        [[0] * 6, [0, 7, 8, 9, 10, 0], [0] * 6],
    )


def test_markers_are_beyond_the_twelve_bits_of_the_rest():
    marked = alterations.add_marker(np.full((100, 100), 255, np.uint8), 0.04)
    assert marked.dtype == np.uint16
    assert set(np.unique(marked)) == {4095, 65535}
    assert (marked == 65535).sum() == 400
    assert marked[3, 97] == 65535  # upper right


def test_fingers_are_cut_by_a_share_of_their_length(hand):
    image = hand.radiograph
    heights = [
        alterations.cut_fingers(image, share).shape[0]
        for share in ALTERATIONS["cut fingers"].strengths
    ]
    assert heights == sorted(heights, reverse=True)
    distance = cv2.distanceTransform(hand.mask, cv2.DIST_L2, 5)
    row, radius = int(np.argmax(distance.max(axis=1))), distance.max()
    top = int(np.argmax(hand.mask.any(axis=1)))
    for height, share in zip(
        heights, ALTERATIONS["cut fingers"].strengths, strict=True
    ):
        cut = (len(image) - height - top) / (row - radius - top)
        assert cut == pytest.approx(share, abs=0.08)
    without = alterations.cut_fingers(image, 1.0)
    np.testing.assert_array_equal(without, image[-len(without) :])
    mask = hand.mask[-len(without) :]
    assert len(hand_shape.measure(mask).angles) <= 1  # the thumb
    some = hand.mask[-heights[0] :]
    assert "fingers are cut off" in hand_shape.missing_parts(hand_shape.measure(some))


def test_the_wrist_is_cut_below_the_palm(hand):
    image = hand.radiograph
    distance = cv2.distanceTransform(hand.mask, cv2.DIST_L2, 5)
    row, radius = int(np.argmax(distance.max(axis=1))), distance.max()
    for radii in ALTERATIONS["cut wrist"].strengths:
        cut = alterations.cut_wrist(image, radii)
        np.testing.assert_array_equal(cut, image[: len(cut)])
        assert (len(cut) - row) / radius == pytest.approx(radii, abs=0.15)
    assert hand_shape.missing_parts(hand_shape.measure(hand.mask[: len(cut)])) == [
        "the wrist is cut off"
    ]


@pytest.mark.parametrize("name", ["cut fingers", "cut wrist"])
def test_without_a_hand_nothing_can_be_cut(name):
    with pytest.raises(InputError, match="must show a hand"):
        ALTERATIONS[name].apply(np.zeros((90, 80), np.uint8), 1.0)
