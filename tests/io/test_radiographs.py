"""Radiographs in every form that archives hand out, and images that are none."""

import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from boneage.errors import InputError
from boneage.io import radiographs, transforms

GREY = np.array([[0, 40, 80], [120, 200, 255]], np.uint8)


def write_dicom(path, pixels, **tags):
    """Write one frame with only what a reader needs."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_grey_of_8_and_16_bits_is_read_as_it_is(tmp_path, suffix, dtype):
    image = GREY.astype(dtype) * (257 if dtype == np.uint16 else 1)
    cv2.imwrite(str(tmp_path / f"1{suffix}"), image)
    read = radiographs.read(tmp_path / f"1{suffix}")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_colour_becomes_grey(tmp_path, suffix):
    colour = np.full((32, 32, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / f"1{suffix}"), colour)
    read = radiographs.read(tmp_path / f"1{suffix}")
    assert read.shape == (32, 32)
    assert abs(int(read[16, 16]) - 90) <= 2


def test_jpeg_is_turned_as_its_exif_says(tmp_path):
    image = np.zeros((16, 32), np.uint8)
    image[:, 16:] = 255
    _, encoded = cv2.imencode(".jpg", image)
    jpeg = encoded.tobytes()
    # orientation 6: the stored right side is the bottom
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"Exif\0\0" + tiff
    header = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    (tmp_path / "1.jpg").write_bytes(jpeg[:2] + header + jpeg[2:])
    read = radiographs.read(tmp_path / "1.jpg")
    assert read.shape == (32, 16)
    assert read[:12].max() < 20
    assert read[20:].min() > 235


def refused(path, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        radiographs.read(path)
    assert str(caught.value).startswith(f"{path} ")


@pytest.mark.parametrize("content", [b"", b"\n", b"<html>", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_file_that_is_no_image(tmp_path, suffix, content):
    path = tmp_path / f"1{suffix}"
    path.write_bytes(content)
    refused(path, "got no readable image")


@pytest.mark.parametrize("name", ["1.png", "1.dcm"])
def test_missing_file(tmp_path, name):
    refused(tmp_path / name, "cannot be found")


def test_half_a_png_is_no_radiograph(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = tmp_path / "1.png"
    radiographs.write(path, noise)
    path.write_bytes(path.read_bytes()[:2000])
    refused(path, "its end is missing")


def test_png_of_absurd_size(tmp_path):
    def chunk(name, content):
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 200000, 200000, 8, 0, 0, 0, 0))
    path = tmp_path / "1.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    refused(path, "at most 10000 px a side .got 200000 x 200000 px")


def test_float_tiff(tmp_path):
    cv2.imwrite(str(tmp_path / "1.tif"), GREY.astype(np.float32))
    refused(tmp_path / "1.tif", "must have 8 or 16 bits a pixel .got float32")


def test_dicom_is_stretched_to_16_bits(tmp_path):
    path = write_dicom(tmp_path / "1.dcm", np.array([[100, 200], [300, 500]], "<u2"))
    expected = [[0, 16384], [32768, 65535]]
    np.testing.assert_allclose(radiographs.read(path), expected, atol=1)
    assert radiographs.read(path).dtype == np.uint16


def test_monochrome1_is_inverted(tmp_path):
    pixels = np.array([[0, 255], [255, 255]], np.uint8)
    path = write_dicom(
        tmp_path / "1.dcm", pixels, PhotometricInterpretation="MONOCHROME1"
    )
    assert radiographs.read(path).tolist() == [[65535, 0], [0, 0]]


def test_dicom_is_windowed_as_it_says(tmp_path):
    pixels = np.array([[0, 1000], [1500, 4000]], "<u2")
    path = write_dicom(tmp_path / "1.dcm", pixels, WindowCenter=1500, WindowWidth=1000)
    shown = radiographs.read(path)
    assert shown[0].tolist() == [0, 0]
    assert abs(int(shown[1, 0]) - 32768) < 100
    assert shown[1, 1] == 65535


def test_dicom_of_one_grey_value_is_black(tmp_path):
    path = write_dicom(tmp_path / "1.dcm", np.full((2, 2), 7, np.uint8))
    assert radiographs.read(path).tolist() == [[0, 0], [0, 0]]


def test_colour_dicom_is_refused(tmp_path):
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    path = write_dicom(tmp_path / "1.dcm", red)
    refused(path, "must be grey .got colours, RGB")


@pytest.mark.parametrize("kept", [0, 10, 140, 300, -2])
def test_damaged_dicom(tmp_path, kept):
    path = write_dicom(tmp_path / "1.dcm", np.zeros((8, 8), np.uint8))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"1\.dcm"):
        radiographs.read(path)


def test_mask_is_0_and_255_whatever_it_was_drawn_with(tmp_path):
    radiographs.write(tmp_path / "1.png", np.array([[0, 1], [1, 0]], np.uint8))
    assert radiographs.read_mask(tmp_path / "1.png").tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        ([[0, 0], [0, 0]], "empty"),
        ([[255, 255], [255, 255]], "got the whole picture"),
        ([[0, 255], [254, 0]], "got greys"),
        ([[0, 255]], r"must have its radiograph's size \(got 2 x 1 px, not 2 x 2 px"),
    ],
)
def test_unusable_mask(tmp_path, mask, complaint):
    path = tmp_path / "1_bin.png"
    radiographs.write(path, np.array(mask, np.uint8))
    with pytest.raises(InputError, match=complaint):
        radiographs.read_mask(path, (2, 2))


def test_sixteen_bits_are_brought_to_eight_by_their_own_range():
    image = np.array([[1000, 2000, 3000]], np.uint16)
    np.testing.assert_allclose(transforms.to_uint8(image), [[0, 127.5, 255]], atol=1)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6)])
def test_padding_is_undone(shape):
    image = np.arange(1, np.prod(shape) + 1, dtype=np.uint8).reshape(shape)
    square = transforms.pad_to_square(image)
    assert square.shape == (max(shape), max(shape))
    assert square.sum() == image.sum()
    np.testing.assert_array_equal(transforms.from_square(square, shape), image)


def test_from_square_of_lower_resolution_keeps_the_place():
    hand = np.zeros((40, 24), np.uint8)
    hand[10:20, 6:12] = 255
    small = transforms.resize(transforms.pad_to_square(hand), 20)
    back = transforms.from_square(small, hand.shape)
    np.testing.assert_array_equal(back > 127, hand > 127)


def test_shrinking_averages():
    stripes = np.tile(np.array([0, 200], np.uint8), (8, 4))
    assert (transforms.resize(stripes, 4) == 100).all()


@pytest.mark.parametrize("clip_limit", [0.05, 0.25, 1.0])
def test_equalise_stretches_no_level_by_more_than_its_limit(clip_limit):
    # half of the pixels each: unclipped, the two levels lie half of the range apart
    image = np.tile(np.array([100, 101], np.uint8), (128, 64))
    low, high = np.unique(transforms.equalize_clahe(image, clip_limit)).tolist()
    assert high - low == pytest.approx(min(clip_limit, 0.5) * 255, abs=2)


def test_equalise_with_limit_0_changes_nothing():
    np.testing.assert_array_equal(transforms.equalize_clahe(GREY, 0), GREY)


def test_failed_write_leaves_the_old_image(tmp_path):
    path = tmp_path / "1.png"
    radiographs.write(path, GREY)
    with pytest.raises((ValueError, cv2.error)):
        radiographs.write(path, np.zeros((2, 2, 7), np.uint8))
    np.testing.assert_array_equal(radiographs.read(path), GREY)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (31, 17)])
def test_written_is_what_others_read(tmp_path, shape, dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    radiographs.write(tmp_path / "1.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "1.png"), -1), image)
    with PIL.Image.open(tmp_path / "1.png") as opened:
        opened.load()
        np.testing.assert_array_equal(np.asarray(opened), image)


def test_written_part_of_an_image_is_that_part(tmp_path):
    whole = np.arange(200, dtype=np.uint8).reshape(10, 20)
    radiographs.write(tmp_path / "1.png", whole[2:9:2, 3:-1])
    np.testing.assert_array_equal(
        radiographs.read(tmp_path / "1.png"), whole[2:9:2, 3:-1]
    )


def test_colours_are_written_as_they_are(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    radiographs.write(tmp_path / "1.png", colours)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "1.png")), colours)


@pytest.mark.parametrize(
    "image", [np.zeros((3, 3)), np.zeros((3, 3), int), np.zeros((0, 3), np.uint8)]
)
def test_no_file_is_written_of_what_no_png_holds(tmp_path, image):
    with pytest.raises(ValueError, match="is no grey PNG"):
        radiographs.write(tmp_path / "1.png", image)
    assert list(tmp_path.iterdir()) == []
