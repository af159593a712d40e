"""The packed files: what goes in comes out, mapped; what is damaged is named."""

import h5py
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import hdf5

IMAGES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
MASKS = np.where(IMAGES > 20, 255, 0).astype(np.uint8)
IDS = [7, 1, 2**40]

HOW = {"clip_limit": 0.03}


def write(path, count=3, rows=3, with_masks=True):
    with hdf5.create(path, count, 4, HOW, with_masks) as writer:
        for row in range(rows):
            mask = MASKS[row] if with_masks else None
            writer.add(IDS[row], IMAGES[row], mask)
    return path


def test_what_is_written_is_read(tmp_path):
    packed = hdf5.open_packed(write(tmp_path / "a.h5"), "step2")
    np.testing.assert_array_equal(packed.images, IMAGES)
    np.testing.assert_array_equal(packed.masks, MASKS)
    assert packed.ids.tolist() == IDS
    assert packed.size == 4
    assert packed.preprocessing == HOW


def test_images_are_mapped_and_not_loaded(tmp_path):
    path = write(tmp_path / "a.h5")
    packed = hdf5.open_packed(path, "step2")
    assert isinstance(packed.images, np.memmap)
    assert isinstance(packed.masks, np.memmap)
    assert not packed.images.flags.writeable
    with h5py.File(path) as file:
        assert file["image"].chunks is None
        assert file["image"].compression is None


def test_file_without_masks(tmp_path):
    packed = hdf5.open_packed(write(tmp_path / "a.h5", with_masks=False), "step2")
    assert packed.masks is None


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_rows_never_written_are_cut_off(tmp_path, rows):
    packed = hdf5.open_packed(write(tmp_path / "a.h5", count=3, rows=rows), "step2")
    assert packed.ids.tolist() == IDS[:rows]
    np.testing.assert_array_equal(packed.images, IMAGES[:rows])
    np.testing.assert_array_equal(packed.masks, MASKS[:rows])


def test_append_adds_at_the_end_and_changes_nothing_before(tmp_path):
    path = write(tmp_path / "a.h5", count=2, rows=2)
    before = hdf5.open_packed(path, "step2")
    hdf5.append(path, [IMAGES[2]], [MASKS[2]], [IDS[2]], [5])
    after = hdf5.open_packed(path, "step2")
    assert after.ids.tolist() == IDS
    np.testing.assert_array_equal(after.images, IMAGES)
    np.testing.assert_array_equal(after.masks, MASKS)
    assert after.preprocessing == before.preprocessing
    assert isinstance(after.images, np.memmap)
    # who had the file open goes on with the rows of then
    np.testing.assert_array_equal(before.images, IMAGES[:2])


def test_append_to_a_file_without_masks_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", with_masks=False)
    with pytest.raises(InputError, match="must hold masks"):
        hdf5.append(path, [IMAGES[2]], [MASKS[2]], [9], [5])
    assert len(hdf5.open_packed(path, "step2").ids) == 3


def fail_half_way(path):
    with hdf5.create(path, 1, 4, "none") as writer:
        writer.add(1, IMAGES[0])
        raise RuntimeError


def test_error_while_writing_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "a.h5")
    with pytest.raises(RuntimeError):
        fail_half_way(path)
    assert hdf5.open_packed(path, "step2").ids.tolist() == IDS
    assert list(tmp_path.iterdir()) == [path]


def test_rows_of_ids_in_the_order_asked(tmp_path):
    packed = hdf5.open_packed(write(tmp_path / "a.h5"), "step2")
    assert packed.row_indices(np.array([2**40, 7])).tolist() == [2, 0]
    with pytest.raises(KeyError):
        packed.row_indices(np.array([8]))


def refused(path, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        hdf5.open_packed(path, "step2_image_2_h5.py")
    assert str(path) in str(caught.value)


def test_missing_file_names_the_step(tmp_path):
    refused(tmp_path / "a.h5", r"cannot be found; run step2_image_2_h5\.py first")


@pytest.mark.parametrize("content", [b"", b"id,boneage,male\n"])
def test_file_that_is_not_hdf5(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    refused(tmp_path / "a.h5", r"run step2_image_2_h5\.py again")


@pytest.mark.parametrize("kept", [100, 1500, -1])
def test_truncated_file(tmp_path, kept):
    path = write(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, r"run step2_image_2_h5\.py again")


def test_other_version(tmp_path):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 99
    refused(path, "must be of version 1 .got 99")


@pytest.mark.parametrize("name", ["image", "id"])
def test_missing_dataset(tmp_path, name):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file[name]
    refused(path, name)


def test_datasets_of_different_lengths(tmp_path):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["image"]
        file["image"] = IMAGES[:2]
    refused(path, r"must be \(3, 4, 4\) uint8 \(got \(2, 4, 4\)")


def test_file_in_chunks_by_somebody_else_is_read_as_well(tmp_path):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["image"]
        file.create_dataset("image", data=IMAGES, chunks=True, compression="gzip")
    np.testing.assert_array_equal(hdf5.open_packed(path, "step2").images, IMAGES)
