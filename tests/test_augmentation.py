"""Augmentation moves what it should, as far as it should, and loses no fingertip."""

import cv2
import numpy as np
import pytest

from boneage.augmentation import (
    HANDS,
    augment_pair,
    hand_ranges,
    keep_inside,
    sample_augmentation,
)

SIZE = 64


def apply(image, strength, rng):
    return sample_augmentation(len(image), hand_ranges(strength), rng).apply(image)


def square(centre=32, half=2):
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[centre - half : centre + half, centre - half : centre + half] = 255
    return image


def test_same_seed_same_change():
    image = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    rngs = [np.random.default_rng([0, epoch, 0]) for epoch in (0, 0, 1)]
    changed = [apply(image, 1.0, rng) for rng in rngs]
    np.testing.assert_array_equal(changed[0], changed[1])
    assert not np.array_equal(changed[0], changed[2])


def test_strength_1_is_the_whole_range():
    assert hand_ranges(1.0) == HANDS


def test_strength_0_changes_nothing_but_flips():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    draw = sample_augmentation(8, hand_ranges(0.0, 0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(draw.apply(image), image)


@pytest.mark.parametrize(("share", "mirrored"), [(0.0, 0), (0.5, 46), (1.0, 100)])
def test_share_of_hands_that_is_mirrored(share, mirrored):
    draws = [
        sample_augmentation(SIZE, hand_ranges(1.0, share), np.random.default_rng(seed))
        for seed in range(100)
    ]
    assert sum(draw.is_mirrored for draw in draws) == mirrored


def test_strength_is_how_far_a_hand_moves():
    def farthest(strength):
        shifts = []
        for seed in range(20):
            moved = apply(square(), strength, np.random.default_rng(seed))
            rows, columns = np.nonzero(moved > 60)
            shifts += [abs(rows.mean() - 31.5), abs(columns.mean() - 31.5)]
        return max(shifts)

    assert farthest(0.2) < 2
    assert 4 < farthest(1.0) < 9


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_hands_turn_to_either_side_by_their_range(strength):
    turns = []
    for seed in range(300):
        ranges = hand_ranges(strength)
        matrix = sample_augmentation(SIZE, ranges, np.random.default_rng(seed)).matrix
        turns.append(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0])))
    assert max(turns) == pytest.approx(15 * strength, rel=0.03)
    assert min(turns) == pytest.approx(-15 * strength, rel=0.03)


def test_no_fingertip_leaves_the_image():
    # a hand as it is cut out: 3 % of black around it, the forearm at the lower border
    hand = np.zeros((100, 100), np.uint8)
    cv2.rectangle(hand, (35, 40), (65, 99), 200, cv2.FILLED)
    for tip in ((3, 40), (30, 4), (50, 3), (70, 5), (96, 45)):
        cv2.line(hand, (50, 60), tip, 200, 3)
    lost_before = 0
    for seed in range(200):
        draw = sample_augmentation(100, hand_ranges(1.0), np.random.default_rng(seed))
        padded = np.pad(draw.apply(hand), 0)
        lost_before += bool(padded[0].any() or padded[:, [0, -1]].any())
        kept = keep_inside(draw, hand)
        tips = np.array([[3, 40], [30, 4], [50, 3], [70, 5], [96, 45]], float)
        moved = tips @ kept.matrix[:, :2].T + kept.matrix[:, 2]
        assert moved.min() >= -1e-9
        assert moved[:, 0].max() <= 99 + 1e-9
    assert lost_before > 40


def test_nothing_to_keep_inside_of_a_black_image():
    draw = sample_augmentation(8, hand_ranges(1.0), np.random.default_rng(0))
    assert keep_inside(draw, np.zeros((8, 8), np.uint8)) is draw


def test_mask_moves_with_its_radiograph():
    whole = np.zeros((256, 256), np.uint8)
    cv2.rectangle(whole, (90, 100), (170, 150), 255, cv2.FILLED)
    for seed in range(20):
        image, mask = augment_pair(whole, whole, np.random.default_rng(seed))
        assert set(np.unique(mask)) == {0, 255}
        hand = image > image.max() / 2
        # the same place and size: a mask scaled by 0.97 would lack 6 % of its area
        assert (hand != (mask > 0)).sum() < 0.02 * hand.sum()
