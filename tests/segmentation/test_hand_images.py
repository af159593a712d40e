"""From a probability map to a mask, and from a mask to the final hand."""

import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import hdf5, radiographs
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.segmentation import hand_images
from boneage.segmentation.hand_images import Enhancement
from tests.conftest import call

STEP = "al_segmentation/step3_gen_segmentation_with_enhance"
PLAIN = Enhancement(clip_limit=0, stretch_contrast=False)


def two_blobs() -> np.ndarray:
    """(16, 16) float32: a large blob with a hole, and a small one."""
    probability = np.zeros((16, 16), np.float32)
    probability[4:12, 4:12] = 0.9
    probability[7:9, 7:9] = 0.1
    probability[0:2, 0:2] = 0.9
    return probability


def test_mask_is_the_largest_component_without_holes():
    mask = hand_images.committee_mask(two_blobs()[None], (16, 16))
    assert mask.dtype == np.uint8
    assert np.unique(mask).tolist() == [0, 255]
    assert (mask[4:12, 4:12] == 255).all()
    assert np.count_nonzero(mask) == 64


@pytest.mark.parametrize("shape", [(64, 40), (40, 64), (9, 9)])
def test_mask_has_the_radiographs_own_size(shape):
    assert hand_images.committee_mask(two_blobs()[None], shape).shape == shape


def test_mask_lies_where_the_padded_square_puts_it():
    # rows 4 to 12 of 16 are rows 16 to 48 of 64; columns lose 12 px of padding
    mask = hand_images.committee_mask(two_blobs()[None], (64, 40))
    rows, columns = np.nonzero(mask)
    assert abs(rows.min() - 16) <= 2
    assert abs(rows.max() - 47) <= 2
    assert abs(columns.min() - 4) <= 2
    assert abs(columns.max() - 35) <= 2


def test_no_hand_gives_an_empty_mask():
    nothing = np.zeros((16, 16), np.float32)
    assert not hand_images.committee_mask(nothing[None], (20, 10)).any()


@pytest.fixture
def radiograph():
    """(100, 60) uint8 noise, and a mask of 40 x 20 px in it."""
    noise = np.random.default_rng(0).integers(50, 200, (100, 60), dtype=np.uint8)
    mask = np.zeros((100, 60), np.uint8)
    mask[30:70, 20:40] = 255
    return noise, mask


def test_hand_is_512_px_and_black_outside_the_mask(radiograph):
    hand = hand_images.enhanced_hand(*radiograph)
    assert hand.shape == (512, 512)
    assert hand.dtype == np.uint8
    inside = hand > 0
    # the longer side fills the square but for 3 per cent at each end
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert len(rows) == pytest.approx(512 / 1.06, abs=14)
    assert len(columns) == pytest.approx(512 / 1.06 / 2, abs=14)
    assert abs(rows.mean() - 255.5) < 8
    assert abs(columns.mean() - 255.5) < 8


def test_larger_margin_makes_the_hand_smaller(radiograph):
    wide = hand_images.enhanced_hand(*radiograph, Enhancement(margin=0.5))
    assert np.count_nonzero(wide) < np.count_nonzero(
        hand_images.enhanced_hand(*radiograph)
    )


def test_without_clip_limit_the_grey_levels_stay():
    radiograph = np.full((40, 40), 77, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[8:32, 8:32] = 255
    hand = hand_images.enhanced_hand(radiograph, mask, PLAIN)
    assert hand[256, 256] == 77
    assert hand.max() == 77


def test_equalising_raises_the_contrast(radiograph):
    noise, mask = radiograph
    faint = (100 + noise // 16).astype(np.uint8)
    plain = hand_images.enhanced_hand(faint, mask, PLAIN)
    equalised = hand_images.enhanced_hand(
        faint, mask, Enhancement(stretch_contrast=False)
    )
    assert equalised[equalised > 0].std() > 1.5 * plain[plain > 0].std()


@pytest.mark.parametrize("faint", [lambda x: x // 4 + 9, lambda x: x * 200 + 5000])
def test_exposure_and_bits_do_not_change_a_stretched_hand(radiograph, faint):
    noise, mask = radiograph
    one = hand_images.enhanced_hand(noise, mask, Enhancement(clip_limit=0)).astype(int)
    other = hand_images.enhanced_hand(
        faint(noise.astype(np.uint16)), mask, Enhancement(clip_limit=0)
    )
    assert np.abs(one - other).mean() < 3
    assert one.max() > 200


def test_stretching_cuts_the_extreme_grey_levels_alone():
    ramp = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    inside = np.full(ramp.shape, 255, np.uint8)
    stretched = hand_images.stretch_contrast(ramp, inside)
    # 0.5 % black and 0.2 % white, and a 255th beside either
    assert 5 <= np.count_nonzero(stretched == 0) <= 9
    assert 2 <= np.count_nonzero(stretched == 255) <= 3
    inside[10:] = 0  # what is outside has no part in it
    assert hand_images.stretch_contrast(ramp, inside)[9, 45] > 250


def test_sixteen_bits_are_taken(radiograph):
    noise, mask = radiograph
    hand = hand_images.enhanced_hand(noise.astype(np.uint16) * 100, mask)
    assert hand.dtype == np.uint8


def test_a_filled_hand_does_not_depend_on_the_radiographs_proportions():
    acquired = phantoms_radiograph.simulate(np.random.default_rng(0), 120, True, 512)
    radiograph = cv2.GaussianBlur(acquired.radiograph, (0, 0), 2)
    squeezed = cv2.resize(radiograph, (512, 512))
    squeezed_mask = cv2.resize(acquired.mask, (512, 512))
    squeezed_mask = np.where(squeezed_mask > 127, 255, 0).astype(np.uint8)

    def difference(how):
        one = hand_images.enhanced_hand(radiograph, acquired.mask, how).astype(int)
        other = hand_images.enhanced_hand(squeezed, squeezed_mask, how).astype(int)
        return np.abs(one - other).mean()

    assert difference(Enhancement(fill_square=True)) < 3
    assert difference(Enhancement()) > 10


def test_whole_radiographs_need_no_mask(radiograph):
    noise, mask = radiograph
    how = Enhancement(crop=False, fill_square=True, margin=0)
    whole = hand_images.enhanced_hand(noise, mask, how)
    np.testing.assert_array_equal(
        whole, hand_images.enhanced_hand(noise, mask * 0, how)
    )
    assert (whole > 0).mean() > 0.98


@pytest.mark.parametrize("finest_px", [None, (80, 40)])
@pytest.mark.parametrize("fill", [False, True])
def test_places_are_found_again_on_the_hand(fill, finest_px):
    radiograph = np.full((200, 120), 60, np.uint8)
    mask = np.zeros_like(radiograph)
    mask[30:190, 20:90] = 255
    marks = np.array([[50, 40], [150, 70], [100, 30]])
    for row, column in marks:
        radiograph[row - 2 : row + 3, column - 2 : column + 3] = 255
    how = replace(PLAIN, fill_square=fill, finest_px=finest_px)
    hand = hand_images.enhanced_hand(radiograph, mask, how)
    for row, column in hand_images.to_hand_coordinates(marks, mask, how):
        rows, columns = np.nonzero(hand > 200)
        near = (np.abs(rows - row) < 20) & (np.abs(columns - column) < 20)
        assert abs(rows[near].mean() - row) < 1
        assert abs(columns[near].mean() - column) < 1


@pytest.mark.parametrize(
    ("members", "is_inside"),
    [
        pytest.param([0.45, 0.45], False, id="nobody is sure"),
        pytest.param([0.55, 0.55], True, id="both are just sure"),
        pytest.param([0.9, 0.05], False, id="the first alone"),
        pytest.param([0.05, 0.9], False, id="the second alone"),
        pytest.param([0.4, 0.7], True, id="the mean decides"),
        pytest.param([0.7, 0.4], True, id="whichever is first"),
    ],
)
def test_mask_is_where_the_members_mean_is_above_one_half(members, is_inside):
    blob = two_blobs() > 0.5
    probabilities = np.stack([np.where(blob, p, 0) for p in members])
    mask = hand_images.committee_mask(probabilities.astype(np.float32), blob.shape)
    assert mask.any() == is_inside


@pytest.mark.parametrize(
    "how", [Enhancement(), Enhancement(0.1, 0, False, True), Enhancement(crop=False)]
)
def test_how_hands_were_made_can_be_read_back(how):
    facts = json.loads(json.dumps(how.facts()))
    assert Enhancement.from_facts(facts) == how


def stripes(period_px):
    """(600, 300) uint8: vertical stripes all over, and the mask of a 400 x 200 hand."""
    wave = 128 + 100 * np.sign(np.sin(2 * np.pi * np.arange(300) / period_px + 0.1))
    mask = np.zeros((600, 300), np.uint8)
    mask[100:500, 50:250] = 255
    return np.tile(wave.astype(np.uint8), (600, 1)), mask


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize(("period_px", "is_shown"), [(4, False), (80, True)])
def test_new_radiographs_show_no_finer_detail_than_those_trained_on(
    period_px, is_shown, fill
):
    radiograph, mask = stripes(period_px)
    how = replace(PLAIN, fill_square=fill)
    facts = how.facts() | {"typical_size_px": [100, 50]}
    coarse = hand_images.enhanced_hand(radiograph, mask, Enhancement.for_new(facts))
    fine = hand_images.enhanced_hand(radiograph, mask, Enhancement.from_facts(facts))
    middle = np.s_[200:300, 200:300]
    assert fine[middle].std() > 50
    assert (coarse[middle].std() > 50) == is_shown
    # the hand lies where it lay
    assert np.mean((coarse > 0) != (fine > 0)) < 0.02


def test_smaller_hands_are_not_shrunk():
    radiograph, mask = stripes(4)
    facts = PLAIN.facts() | {"typical_size_px": [400, 200]}
    np.testing.assert_array_equal(
        hand_images.enhanced_hand(radiograph, mask, Enhancement.for_new(facts)),
        hand_images.enhanced_hand(radiograph, mask, PLAIN),
    )


@pytest.mark.parametrize("size", [[100], "large", [0, 9], [1.5, 2]])
def test_typical_size_that_is_no_size(size):
    with pytest.raises(InputError, match="two whole numbers as typical_size_px"):
        Enhancement.for_new(PLAIN.facts() | {"typical_size_px": size})


@pytest.mark.parametrize(
    "facts", ["by hand", {"clip_limit": 0.03}, Enhancement().facts() | {"crop": "no"}]
)
def test_hands_of_unknown_making(facts):
    with pytest.raises(InputError, match="preprocessing must have margin, clip_limit"):
        Enhancement.from_facts(facts)


@pytest.mark.parametrize("shape", [(100, 60), (10, 10)])
def test_unusable_mask(radiograph, shape):
    with pytest.raises(ValueError, match="mask"):
        hand_images.enhanced_hand(radiograph[0], np.zeros(shape, np.uint8))


@pytest.fixture
def segmented(cohort_copy):
    """The tiny cohort with its exact masks as the final ones."""
    for i in cohort_copy.ids_on_disk():
        mask = radiographs.read(cohort_copy.truth / f"{i}_bin.png")
        radiographs.write(cohort_copy.mask(i), mask)
    return cohort_copy


def test_step_writes_and_packs_every_hand(segmented):
    call(segmented, STEP)
    packed = hdf5.open_packed(segmented.hands_h5, STEP)
    assert packed.ids.tolist() == segmented.ids_on_disk()
    assert packed.size == 512
    masks = [radiographs.read(segmented.mask(i)) for i in packed.ids]
    sizes = [[np.ptp(axis) + 1 for axis in np.nonzero(mask)] for mask in masks]
    assert packed.preprocessing["typical_size_px"] == np.median(sizes, 0).tolist()
    for i, image in zip(packed.ids, packed.images, strict=True):
        np.testing.assert_array_equal(image, radiographs.read(segmented.hand(i)))


def test_step_goes_on_with_the_hands_that_do_not_exist(segmented):
    call(segmented, STEP)
    kept = segmented.hand(1).stat().st_mtime_ns
    segmented.hand(2).unlink()
    call(segmented, STEP)
    assert segmented.hand(1).stat().st_mtime_ns == kept
    assert 2 in hdf5.open_packed(segmented.hands_h5, STEP).ids


def test_step_sets_aside_what_it_cannot_use(segmented, capsys):
    segmented.mask(1).unlink()
    radiographs.write(segmented.mask(2), np.full((5, 5), 255, np.uint8))
    segmented.mask(3).write_bytes(b"no image")
    call(segmented, STEP)
    printed = capsys.readouterr().out
    assert "11 of 14 hands packed, 3 set aside" in printed
    for i in (1, 2, 3):
        assert f"set aside: {segmented.mask(i)}" in printed
        assert not segmented.hand(i).exists()
    assert not {1, 2, 3} & set(hdf5.open_packed(segmented.hands_h5, STEP).ids.tolist())


def test_damaged_hand_is_named(segmented, capsys):
    call(segmented, STEP)
    segmented.hand(4).write_bytes(b"no image")
    segmented.hands_h5.unlink()
    call(segmented, STEP)
    assert f"set aside: {segmented.hand(4)} " in capsys.readouterr().out
    assert 4 not in hdf5.open_packed(segmented.hands_h5, STEP).ids


def test_without_masks_the_step_names_the_one_before(cohort_copy):
    with pytest.raises(InputError, match=r"step3_gen_segmentation_result\.py first"):
        call(cohort_copy, STEP)
    assert not cohort_copy.hands_h5.exists()


def test_nothing_to_pack_is_an_error(segmented):
    for i in segmented.ids_on_disk():
        segmented.mask(i).unlink()
    with pytest.raises(InputError, match=r"step3_gen_segmentation_result\.py first"):
        call(segmented, STEP)
    assert not segmented.hands_h5.exists()


def test_hand_of_a_newer_mask_is_made_and_packed_again(segmented):
    call(segmented, STEP)
    before = hdf5.open_packed(segmented.hands_h5, STEP).images[0].copy()
    mask = radiographs.read(segmented.mask(1))
    mask[: mask.shape[0] // 2] = 0
    radiographs.write(segmented.mask(1), mask)
    later = segmented.hands_h5.stat().st_mtime + 1
    os.utime(segmented.mask(1), (later, later))
    call(segmented, STEP)
    after = hdf5.open_packed(segmented.hands_h5, STEP)
    assert after.ids[0] == 1
    assert np.any(after.images[0] != before)


def test_hands_of_two_kinds_do_not_mix(segmented):
    call(segmented, STEP)
    with pytest.raises(InputError, match="--overwrite makes all hands again"):
        call(segmented, STEP, margin=0.1)
    call(segmented, STEP, margin=0.1, overwrite=True)
    assert hdf5.open_packed(segmented.hands_h5, STEP).preprocessing["margin"] == 0.1


def test_negatives_are_inverted_and_named(segmented, capsys):
    call(segmented, STEP)
    before = radiographs.read(segmented.hand(2))
    positive = radiographs.read(segmented.radiograph(2))
    radiographs.write(segmented.radiograph(2), 255 - positive)
    call(segmented, STEP, overwrite=True)
    np.testing.assert_array_equal(radiographs.read(segmented.hand(2)), before)
    assert "negatives, inverted first: 2" in capsys.readouterr().out


def test_interrupted_hands_of_another_kind_do_not_mix(segmented):
    call(segmented, STEP)
    # killed before packing
    segmented.hand(1).unlink()
    segmented.hands_h5.unlink()
    with pytest.raises(InputError, match=r"preprocessing\.json must .*overwrite"):
        call(segmented, STEP, fill_square=True)


def test_interrupted_overwriting_goes_on_with_what_is_left(segmented):
    call(segmented, STEP)
    others = {i: radiographs.read(segmented.hand(i)) for i in segmented.ids_on_disk()}
    for path in segmented.hands.iterdir():
        os.utime(path, (1e9, 1e9))
    # killed after the first hand
    hand_images.claim_preprocessing(
        segmented, Enhancement(fill_square=True), overwrite=True
    )
    hand_images.enhance_file(segmented, Enhancement(fill_square=True), 1)
    with pytest.raises(InputError, match=r"fill square yes.*, now .*fill square no"):
        call(segmented, STEP)
    kept = segmented.hand(1).stat().st_mtime_ns
    call(segmented, STEP, fill_square=True)
    assert segmented.hand(1).stat().st_mtime_ns == kept
    for i, before in others.items():
        assert np.any(radiographs.read(segmented.hand(i)) != before)


def test_hand_of_a_mask_that_became_useless_goes(segmented, capsys):
    call(segmented, STEP)
    radiographs.write(
        segmented.mask(2), np.zeros_like(radiographs.read(segmented.mask(2)))
    )
    later = segmented.hands_h5.stat().st_mtime + 1
    os.utime(segmented.mask(2), (later, later))
    call(segmented, STEP)
    assert "13 of 14 hands packed, 1 set aside" in capsys.readouterr().out
    assert not segmented.hand(2).exists()
    assert 2 not in hdf5.open_packed(segmented.hands_h5, STEP).ids


def test_disagreement_is_the_spread_of_the_members():
    probabilities = np.array([[[0, 0.2]] * 2, [[1, 0.2]] * 2], np.float32)
    found = hand_images.disagreement(probabilities, (2, 2))
    assert found.dtype == np.uint8
    assert found.tolist() == [[255, 0], [255, 0]]


def test_disagreement_lies_where_the_radiograph_does():
    """A portrait's padding is not part of it."""
    probabilities = np.zeros((2, 8, 8), np.float32)
    probabilities[0, :, 2:6] = 1
    assert hand_images.disagreement(probabilities, (8, 4)).tolist() == [[255] * 4] * 8


def test_label_on_the_hand_does_not_darken_it():
    simulated = phantoms_radiograph.simulate(np.random.default_rng(1), 90, True, 600)
    # 12 bits of anatomy, as digital detectors write them
    anatomy = simulated.radiograph.astype(np.uint16) * 16
    row, column = np.argwhere(simulated.mask)[5000]
    labelled = anatomy.copy()
    labelled[row : row + 50, column : column + 50] = 65535
    plain, marked = (
        hand_images.enhanced_hand(image, simulated.mask).astype(int)
        for image in (anatomy, labelled)
    )
    # without the clipping it is 71 grey levels
    assert np.median(np.abs(plain - marked)[plain > 0]) < 10
