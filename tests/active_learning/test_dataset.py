"""Annotated pairs: taken in exactly once, bad ones named and left where they are."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from boneage.active_learning import dataset
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import hdf5, radiographs
from boneage.segmentation import preprocessing
from boneage.segmentation.hand_images import Enhancement
from tests.conftest import ANNOTATED, PHANTOMS, call

STEP = "al_segmentation/step2_image_2_h5"


def packed_ids(layout) -> list[int]:
    return hdf5.open_packed(layout.annotated_h5, STEP).ids.tolist()


def lay_out(layout, radiograph_id: int) -> None:
    """Put a radiograph of the cohort and its true mask into gt/new."""
    radiograph = radiographs.read(layout.radiograph(radiograph_id))
    mask = radiographs.read(layout.truth / f"{radiograph_id}_bin.png")
    radiographs.write(layout.new / f"{radiograph_id}.png", radiograph)
    radiographs.write(layout.new / f"{radiograph_id}_bin.png", mask)


def test_prepared_pair_is_square_and_small():
    radiograph = np.full((40, 20), 100, np.uint8)
    mask = np.full((40, 20), 255, np.uint8)
    image = preprocessing.prepare(radiograph, 16, 0)
    small = preprocessing.prepare_mask(mask, 16)
    assert image.shape == small.shape == (16, 16)
    assert image[8].tolist() == [0] * 4 + [100] * 8 + [0] * 4
    assert small[8].tolist() == [0] * 4 + [255] * 8 + [0] * 4


def test_prepared_mask_has_two_values():
    mask = np.zeros((37, 23), np.uint8)
    mask[5:30, 3:17] = 255
    assert np.unique(preprocessing.prepare_mask(mask, 16)).tolist() == [0, 255]


@pytest.mark.parametrize("clip_limit", [0.0, 0.03, 0.005])
def test_clip_limit_is_read_off_the_file_again(clip_limit):
    facts = preprocessing.facts(clip_limit)
    packed = hdf5.PackedImages(None, None, None, 32, facts)
    assert preprocessing.clip_limit_of(packed) == clip_limit


def test_hands_are_not_for_the_committee():
    facts = Enhancement().facts()
    packed = hdf5.PackedImages(None, None, None, 512, facts)
    with pytest.raises(InputError, match=r"clip limit alone.*step2_image_2_h5\.py"):
        preprocessing.clip_limit_of(packed)


def test_both_pools_are_packed(made_cohort):
    annotated = hdf5.open_packed(made_cohort.annotated_h5, STEP)
    assert annotated.ids.tolist() == list(range(1, ANNOTATED + 1))
    assert annotated.masks.any(axis=(1, 2)).all()
    pool = hdf5.open_packed(made_cohort.unannotated_h5, STEP)
    assert pool.ids.tolist() == list(range(ANNOTATED + 1, PHANTOMS + 1))
    assert pool.masks is None
    assert annotated.size == pool.size == 32


def test_new_pair_is_taken_in_exactly_once(cohort_copy):
    lay_out(cohort_copy, 9)
    first = dataset.append_new_pairs(cohort_copy)
    second = dataset.append_new_pairs(cohort_copy)
    assert (first.added, second.added) == ([9], [])
    assert packed_ids(cohort_copy) == [*range(1, ANNOTATED + 1), 9]


def test_two_programs_at_once_take_it_in_once(cohort_copy):
    lay_out(cohort_copy, 9)
    lay_out(cohort_copy, 10)
    with ThreadPoolExecutor(4) as programs:
        taken = list(programs.map(dataset.append_new_pairs, [cohort_copy] * 4))
    assert sorted(i for one in taken for i in one.added) == [9, 10]
    assert packed_ids(cohort_copy) == [*range(1, ANNOTATED + 1), 9, 10]


def test_image_of_a_new_pair_is_prepared_as_the_others_were(cohort_copy):
    lay_out(cohort_copy, 9)
    dataset.append_new_pairs(cohort_copy)
    new = hdf5.open_packed(cohort_copy.annotated_h5, STEP)
    pool = hdf5.open_packed(cohort_copy.unannotated_h5, STEP)
    in_pool = pool.images[pool.row_indices(np.array([9]))[0]]
    np.testing.assert_array_equal(new.images[-1], in_pool)


def test_radiograph_without_mask_waits(cohort_copy, capsys):
    lay_out(cohort_copy, 9)
    (cohort_copy.new / "9_bin.png").unlink()
    call(cohort_copy, STEP, pool="new")
    assert "waiting for a mask: 9" in capsys.readouterr().out
    assert 9 not in packed_ids(cohort_copy)


def test_proposals_are_no_pairs(cohort_copy):
    lay_out(cohort_copy, 9)
    (cohort_copy.new / "9_bin.png").rename(cohort_copy.new / "9_proposal.png")
    taken = dataset.append_new_pairs(cohort_copy)
    assert (taken.added, taken.waiting) == ([], [9])


BAD_MASKS = {
    "of another size": lambda mask: mask[:-1],
    "grey": lambda mask: np.where(mask > 0, mask - np.arange(mask.shape[1]) % 2, 0),
    "empty": lambda mask: mask * 0,
    "full": lambda mask: mask * 0 + 255,
}


@pytest.mark.parametrize("fault", BAD_MASKS)
def test_bad_mask_is_named_and_left_where_it_is(cohort_copy, capsys, fault):
    lay_out(cohort_copy, 9)
    lay_out(cohort_copy, 10)
    path = cohort_copy.new / "9_bin.png"
    radiographs.write(path, BAD_MASKS[fault](radiographs.read(path)).astype(np.uint8))
    before = path.read_bytes()
    call(cohort_copy, STEP, pool="new")
    assert f"set aside: {path}: " in capsys.readouterr().out
    assert path.read_bytes() == before
    assert packed_ids(cohort_copy) == [*range(1, ANNOTATED + 1), 10]


def test_flagged_pair_is_named_and_not_taken_in(cohort_copy, capsys):
    lay_out(cohort_copy, 9)
    excluded.flag(cohort_copy, 9)
    call(cohort_copy, STEP, pool="new")
    printed = capsys.readouterr().out
    assert "9_bin.png cannot be used: its radiograph is flagged" in printed
    assert "flagged as not usable: 9" in printed
    assert 9 not in packed_ids(cohort_copy)


def test_pair_flagged_after_it_was_taken_in_goes_and_comes_back(cohort_copy):
    lay_out(cohort_copy, 9)
    dataset.append_new_pairs(cohort_copy)
    others = set(packed_ids(cohort_copy)) - {9}
    excluded.flag(cohort_copy, 9)
    dataset.append_new_pairs(cohort_copy)
    assert set(packed_ids(cohort_copy)) == others
    excluded.unflag(cohort_copy, 9)
    assert dataset.append_new_pairs(cohort_copy).added == [9]


def test_mask_drawn_again_during_packing_is_taken_in_next(cohort_copy, monkeypatch):
    lay_out(cohort_copy, 9)
    prepare_pair = dataset._prepare_pair

    def and_drawn_again(size, clip_limit, confirmed, pair):
        prepared = prepare_pair(size, clip_limit, confirmed, pair)
        mask = radiographs.read(pair[1])
        mask[: len(mask) // 2] = 0
        time.sleep(0.02)
        radiographs.write(pair[1], mask)
        return prepared

    monkeypatch.setattr(dataset, "_prepare_pair", and_drawn_again)
    dataset.append_new_pairs(cohort_copy)
    monkeypatch.undo()
    assert dataset.append_new_pairs(cohort_copy).added == [9]
    packed = hdf5.open_packed(cohort_copy.annotated_h5, "")
    assert not packed.masks[packed.row_indices([9])[0]][: packed.size // 4].any()
    assert dataset.append_new_pairs(cohort_copy).added == []


def test_flagged_radiograph_without_a_mask_is_not_waited_for(cohort_copy):
    lay_out(cohort_copy, 9)
    cohort_copy.answer(9).unlink()
    assert dataset.append_new_pairs(cohort_copy).waiting == [9]
    excluded.flag(cohort_copy, 9)
    assert dataset.append_new_pairs(cohort_copy).waiting == []


def test_mended_mask_is_taken_in(cohort_copy):
    lay_out(cohort_copy, 9)
    (cohort_copy.new / "9_bin.png").write_bytes(b"half")
    dataset.append_new_pairs(cohort_copy)
    lay_out(cohort_copy, 9)
    assert dataset.append_new_pairs(cohort_copy).added == [9]


def test_packing_anew_keeps_what_was_taken_in(cohort_copy):
    lay_out(cohort_copy, 9)
    dataset.append_new_pairs(cohort_copy)
    call(cohort_copy, STEP, pool="annotated", size=48)
    packed = hdf5.open_packed(cohort_copy.annotated_h5, STEP)
    assert packed.ids.tolist() == [*range(1, ANNOTATED + 1), 9]
    assert packed.size == 48


def test_bad_first_pair_is_set_aside(cohort_copy, capsys):
    (cohort_copy.annotated / "3_bin.png").unlink()
    call(cohort_copy, STEP, pool="annotated", size=32)
    assert (
        f"{cohort_copy.annotated / '3_bin.png'} cannot be found"
        in capsys.readouterr().out
    )
    assert packed_ids(cohort_copy) == [1, 2, 4, 5, 6]


def test_without_any_usable_pair_the_old_file_stays(cohort_copy):
    before = cohort_copy.annotated_h5.read_bytes()
    for path in cohort_copy.annotated.glob("*_bin.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="must have a usable pair"):
        call(cohort_copy, STEP, pool="annotated", size=32)
    assert cohort_copy.annotated_h5.read_bytes() == before


def test_mask_that_was_trained_on_counts(cohort_copy):
    assert cohort_copy.annotation_path(9) is None
    drawn_first = cohort_copy.annotated / "1_bin.png"
    assert cohort_copy.annotation_path(1) == drawn_first
    # drawn again
    lay_out(cohort_copy, 1)
    assert cohort_copy.annotation_path(1) == cohort_copy.new / "1_bin.png"
    lay_out(cohort_copy, 9)
    assert cohort_copy.annotation_path(9) == cohort_copy.new / "9_bin.png"


def test_unreadable_radiograph_leaves_the_pool(cohort_copy, capsys):
    cohort_copy.radiograph(9).write_bytes(b"no image")
    call(cohort_copy, STEP, pool="unannotated", size=32)
    assert str(cohort_copy.radiograph(9)) in capsys.readouterr().out
    assert 9 not in hdf5.open_packed(cohort_copy.unannotated_h5, STEP).ids


@pytest.mark.parametrize("pool", ["annotated", "unannotated"])
@pytest.mark.parametrize("size", [0, -16, 50])
def test_size_that_no_u_net_takes(cohort_copy, pool, size):
    before = packed_ids(cohort_copy)
    with pytest.raises(InputError, match="multiple of 16"):
        call(cohort_copy, STEP, pool=pool, size=size)
    assert packed_ids(cohort_copy) == before


def test_nothing_packed_yet_names_the_command(layout):
    layout.new.mkdir(parents=True)
    with pytest.raises(InputError, match=r"step2_image_2_h5\.py --pool annotated"):
        call(layout, STEP, pool="new")


def test_nothing_annotated_yet_says_what_to_do(layout):
    with pytest.raises(InputError, match="asks for the first ones"):
        call(layout, STEP, pool="annotated")


def test_mask_drawn_again_takes_the_place_of_the_old_one(cohort_copy):
    lay_out(cohort_copy, 9)
    assert dataset.append_new_pairs(cohort_copy).added == [9]
    path = cohort_copy.new / "9_bin.png"
    corrected = radiographs.read(path)
    corrected[: corrected.shape[0] // 2] = 0
    radiographs.write(path, corrected)
    later = cohort_copy.annotated_h5.stat().st_mtime + 1
    os.utime(path, (later, later))
    assert dataset.append_new_pairs(cohort_copy).added == [9]
    packed = hdf5.open_packed(cohort_copy.annotated_h5, "")
    assert packed.ids.tolist().count(9) == 1
    mask = packed.masks[packed.ids.tolist().index(9)]
    assert not mask[: mask.shape[0] // 4].any()


@pytest.mark.parametrize("mtime", [1e9, 4e9], ids=["long ago", "in the future"])
def test_no_clock_decides_what_was_drawn_again(cohort_copy, mtime):
    for i in (9, 10):
        lay_out(cohort_copy, i)
        path = cohort_copy.answer(i)
        os.utime(path, (mtime, mtime))
    assert dataset.append_new_pairs(cohort_copy).added == [9, 10]
    assert dataset.append_new_pairs(cohort_copy).added == []
    # unpacked from an archive, say: another mask with an old time
    corrected = radiographs.read(cohort_copy.answer(9))
    corrected[: corrected.shape[0] // 2] = 0
    radiographs.write(cohort_copy.answer(9), corrected)
    os.utime(cohort_copy.answer(9), (1e9, 1e9))
    assert dataset.append_new_pairs(cohort_copy).added == [9]


def test_mask_drawn_again_badly_is_named_until_it_is_mended(cohort_copy):
    lay_out(cohort_copy, 9)
    dataset.append_new_pairs(cohort_copy)
    cohort_copy.answer(9).write_bytes(b"half")
    lay_out(cohort_copy, 10)
    first = dataset.append_new_pairs(cohort_copy)
    assert first.added == [10]
    for taken in (first, dataset.append_new_pairs(cohort_copy)):
        assert "9_bin.png" in taken.skipped[0].reason
    lay_out(cohort_copy, 9)
    # as it was packed
    assert dataset.append_new_pairs(cohort_copy).skipped == []


@pytest.mark.parametrize("name", ["007_bin.png", "007_ori.png"])
def test_ids_with_leading_zeros_are_refused_by_name(cohort_copy, name):
    source = cohort_copy.annotated / f"1{name[3:]}"
    shutil.copy(source, cohort_copy.annotated / name)
    with pytest.raises(InputError, match=rf"{name} must .*; rename it to 7_"):
        call(cohort_copy, STEP, pool="annotated", size=32)


def test_mask_without_a_radiograph_beside_it_takes_the_cohorts(cohort_copy):
    mask = radiographs.read(cohort_copy.truth / "9_bin.png")
    radiographs.write(cohort_copy.new / "9_bin.png", mask)
    assert dataset.append_new_pairs(cohort_copy).added == [9]


def inverted(mask):
    return 255 - mask


def square_in_a_corner(mask):
    square = np.zeros_like(mask)
    square[: len(mask) // 3, : len(mask) // 3] = 255
    return square


@pytest.mark.parametrize("wrong", [inverted, square_in_a_corner])
def test_what_is_no_hand_is_packed_only_when_confirmed(cohort_copy, wrong, capsys):
    lay_out(cohort_copy, 9)
    path = cohort_copy.answer(9)
    radiographs.write(path, wrong(radiographs.read(path)))
    call(cohort_copy, STEP, pool="new")
    assert f"set aside: {path} looks like no hand" in capsys.readouterr().out
    assert 9 not in packed_ids(cohort_copy)
    call(cohort_copy, STEP, pool="new", confirm=(9,))
    assert 9 in packed_ids(cohort_copy)
    # packed from the beginning, it is remembered
    call(cohort_copy, STEP, pool="annotated", size=32)
    assert 9 in packed_ids(cohort_copy)
    # another mask of that radiograph is not
    radiographs.write(path, np.full_like(radiographs.read(path), 255))
    call(cohort_copy, STEP, pool="annotated", size=32)
    assert 9 not in packed_ids(cohort_copy)


def test_only_masks_that_were_drawn_can_be_confirmed(cohort_copy):
    with pytest.raises(InputError, match=r"--confirm 9 must name a radiograph with"):
        call(cohort_copy, STEP, confirm=(9,))


def test_damaged_confirmations_are_named(cohort_copy):
    cohort_copy.confirmed_masks.write_text("id,mask_hash\nnine\n")
    with pytest.raises(InputError, match=r"confirmed_masks\.csv must have the columns"):
        call(cohort_copy, STEP)
