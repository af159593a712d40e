"""Simulated radiographs: exact masks, growth that follows age and sex, seeds."""

import numpy as np
import pytest

from boneage.phantoms.projection import project
from boneage.phantoms.radiograph import simulate
from boneage.phantoms.skeleton import grow_hand

PX_PER_MM = 4


def phantom(seed, bone_age_months=96, is_male=True, size_px=256):
    return simulate(np.random.default_rng(seed), bone_age_months, is_male, size_px)


def bone_along_middle_finger_plate(bone_age_months):
    """Bone thickness (mm) from 4 mm proximal to 4 mm distal of a growth plate."""
    hand = grow_hand(np.random.default_rng(0), bone_age_months, True)
    to_px = np.array([[PX_PER_MM, 0, 400], [0, -PX_PER_MM, 900.0]])
    _, bone = project(hand, to_px, (1200, 800))
    plate = hand.growth_plates["proximal_phalanx_3"]
    tip, base = hand.growth_plates["distal_phalanx_3"], plate
    direction = (tip - base) / np.linalg.norm(tip - base)
    points = plate + np.linspace(-4, 4, 65)[:, None] * direction
    columns, rows = np.round(points @ to_px[:, :2].T + to_px[:, 2]).astype(int).T
    return bone[rows, columns]


def test_same_seed_gives_same_bytes():
    first, second = phantom(3), phantom(3)
    assert first.radiograph.tobytes() == second.radiograph.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()
    assert first.growth_plates == second.growth_plates


def test_another_seed_differs():
    first, second = phantom(3), phantom(4)
    assert first.radiograph.tobytes() != second.radiograph.tobytes()


@pytest.mark.parametrize("bone_age_months", [1, 24, 96, 228])
def test_mask_has_two_values_and_the_shape_of_the_radiograph(bone_age_months):
    found = phantom(5, bone_age_months)
    assert found.radiograph.dtype == found.mask.dtype == np.uint8
    assert found.mask.shape == found.radiograph.shape
    assert max(found.mask.shape) == 256
    assert set(np.unique(found.mask)) == {0, 255}
    assert 0.05 < (found.mask > 0).mean() < 0.9


def test_carpals_do_not_vanish_with_age():
    counts = [
        len(grow_hand(np.random.default_rng(1), age, True).carpals)
        for age in range(1, 229, 3)
    ]
    assert counts == sorted(counts)
    assert counts[0] <= 2
    assert counts[-1] == 8


@pytest.mark.parametrize("bone_age_months", [2, 6, 24, 40, 60, 72, 110, 228])
def test_girls_have_at_least_as_many_carpals_as_boys(bone_age_months):
    girl, boy = (
        grow_hand(np.random.default_rng(2), bone_age_months, is_male)
        for is_male in (False, True)
    )
    assert len(girl.carpals) >= len(boy.carpals)


def test_growth_plate_is_open_at_8_years_and_closed_at_19():
    open_, closed = (bone_along_middle_finger_plate(age) for age in (96, 228))
    middle = slice(28, 37)
    assert open_[middle].min() == 0
    assert open_[:28].max() > 1
    assert open_[37:].max() > 1
    assert closed[middle].min() > 1


def test_every_bone_has_a_growth_plate():
    assert len(grow_hand(np.random.default_rng(0), 30, False).growth_plates) == 21


@pytest.mark.parametrize("seed", range(12))
def test_positions_lie_inside_the_mask(seed):
    found = phantom(seed, 140, seed % 2 == 0)
    for row, column in (*found.growth_plates.values(), *found.carpals.values()):
        assert found.mask[round(row), round(column)] == 255


@pytest.mark.parametrize("seed", range(12))
def test_carpals_are_brighter_than_the_soft_tissue_around(seed):
    found = phantom(seed, 150, True, 512)
    bone = [found.radiograph[round(r), round(c)] for r, c in found.carpals.values()]
    assert np.median(bone) > np.median(found.radiograph[found.mask > 0])


def test_bone_lies_within_the_soft_tissue():
    hand = grow_hand(np.random.default_rng(0), 120, False)
    to_px = np.array([[2.0, 0, 200], [0, -2.0, 420.0]])
    soft, bone = project(hand, to_px, (512, 400))
    assert bone.max() > 3
    assert not bone[soft == 0].any()


@pytest.mark.parametrize("bone_age_months", [0, 229, -5])
def test_bone_age_outside_growth_raises(bone_age_months):
    with pytest.raises(ValueError, match="bone_age_months"):
        phantom(0, bone_age_months)


def test_too_small_a_frame_raises():
    with pytest.raises(ValueError, match="size_px"):
        phantom(0, size_px=63)
