"""Batches of hands: full, repeatable, and never the whole file in memory."""

import numpy as np
import pytest

from boneage.cohort import table
from boneage.errors import InputError
from boneage.io import hdf5
from boneage.io.hdf5 import PackedImages
from boneage.regression.batches import TrainingBatches
from boneage.regression.dataset import DataSplits, HandDataset
from boneage.regression.settings import TrainingSettings
from tests.conftest import pack_hands


def feed(images, is_male):
    return {"image": images[..., np.newaxis].astype(np.float32), "is_male": is_male}


@pytest.fixture
def hands(layout):
    """Ten hands of 8 px whose grey is their bone age, rows in another order."""
    pack_hands(layout, 10)
    cohort = table.read_cohort(layout.train_csv)
    grey = cohort.bone_age_months[::-1].astype(np.uint8)
    images = np.tile(grey[:, None, None], (1, 8, 8))
    packed = PackedImages(images, None, cohort.ids[::-1], 8, "none")
    return HandDataset(packed, packed.row_indices(cohort.ids), cohort)


def batches(hands, **more) -> TrainingBatches:
    settings = {"size": 8, "batch_size": 4, "augmentation": 0.0, "seed": 0} | more
    return TrainingBatches(hands, feed, **settings)


def test_each_hand_comes_with_its_own_age_and_sex(hands):
    inputs, months = batches(hands)[0]
    np.testing.assert_array_equal(inputs["image"][:, 0, 0, 0], months[:, 0])
    cohort = hands.cohort
    for age, male in zip(months[:, 0], inputs["is_male"], strict=True):
        assert male in cohort.is_male[cohort.bone_age_months == age]


def test_shapes_and_types_are_what_keras_wants(hands):
    inputs, months = batches(hands)[0]
    assert inputs["image"].shape == (4, 8, 8, 1)
    assert (months.shape, months.dtype) == ((4, 1), np.float32)


def test_only_full_batches(hands):
    data = batches(hands)
    assert len(data) == 2
    assert [len(data[i][1]) for i in range(2)] == [4, 4]


def test_no_hand_twice_in_an_epoch(hands):
    data = batches(hands)
    assert len(set(data.order[:8].tolist())) == 8


def test_what_fills_no_batch_has_its_turn_in_another_epoch(hands):
    data, seen = batches(hands), set()
    for epoch in range(8):
        data.start_epoch(epoch)
        seen |= set(data.order[:8].tolist())
    assert seen == set(range(10))


def test_fewer_hands_than_a_batch_are_one_batch(hands):
    data = batches(hands, batch_size=64)
    assert len(data) == 1
    assert len(data[0][1]) == 10


def all_of(data, order):
    return {i: data[i][0]["image"].tobytes() for i in order}


def test_batches_do_not_depend_on_which_worker_asks_first(hands):
    data = batches(hands, augmentation=1.0)
    assert all_of(data, [0, 1]) == all_of(data, [1, 0])


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {}])
def test_seed_and_epoch_decide_the_batches(hands, change):
    first, second = batches(hands), batches(hands, seed=change.get("seed", 0))
    second.start_epoch(change.get("epoch", 0))
    same = all_of(first, [0, 1]) == all_of(second, [0, 1])
    assert same == (not change)


def test_without_strength_hands_stay_and_are_not_flipped(hands):
    data = batches(hands, augmentation=0.0, mirrored_share=1.0)
    (fed, _), chosen = data[0], data.order[: data.batch_size]
    expected = np.stack([hands.image(row, 8) for row in chosen])
    np.testing.assert_array_equal(fed["image"][..., 0], expected)


def test_hands_are_mapped_and_shrunk_one_by_one(layout):
    pack_hands(layout, size=32)
    parts = DataSplits.read(layout, TrainingSettings())
    assert isinstance(parts.train.packed.images, np.memmap)
    assert parts.train.image(0, 16).shape == (16, 16)
    assert parts.train.packed.images is parts.test.packed.images


def test_parts_share_no_hand_and_hold_all(layout):
    cohort = pack_hands(layout)
    parts = DataSplits.read(layout, TrainingSettings())
    three = (parts.train, parts.validation, parts.test)
    ids = np.concatenate([part.cohort.ids for part in three])
    assert sorted(ids) == cohort.ids.tolist()
    for part in three:
        np.testing.assert_array_equal(part.packed.ids[part.rows], part.cohort.ids)


@pytest.mark.parametrize("sex", ["male", "female"])
def test_one_sex_has_the_same_split(layout, sex):
    pack_hands(layout)
    everyone = DataSplits.read(layout, TrainingSettings())
    chosen = DataSplits.read(layout, TrainingSettings(sex=sex))
    assert (chosen.test.cohort.is_male == (sex == "male")).all()
    assert set(chosen.test.cohort.ids) <= set(everyone.test.cohort.ids)
    assert chosen.split_hash == everyone.split_hash


def test_part_without_hands_is_named(layout):
    pack_hands(layout, 3)
    with pytest.raises(InputError, match=r"must contain hands of the .* part"):
        DataSplits.read(layout, TrainingSettings())


def test_hand_that_was_set_aside_is_in_no_part(layout):
    cohort = pack_hands(layout)
    packed = hdf5.open_packed(layout.hands_h5, "step3")
    images = np.array(packed.images)
    with hdf5.create(layout.hands_h5, 39, 32, packed.preprocessing) as writer:
        for i, image in zip(packed.ids[1:], images[1:], strict=True):
            writer.add(i, image)
    parts = DataSplits.read(layout, TrainingSettings())
    count = sum(len(part) for part in (parts.train, parts.validation, parts.test))
    assert count == len(cohort) - 1
