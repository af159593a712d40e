"""16 bits to 8: the range of what a radiograph shows."""

import cv2
import numpy as np
import pytest

from boneage.io import transforms
from boneage.phantoms import radiograph as phantoms


@pytest.fixture(scope="module")
def anatomy() -> np.ndarray:
    """Twelve bits of a simulated hand."""
    made = phantoms.simulate(np.random.default_rng(3), 100, True, 400).radiograph
    return (made.astype(np.uint16) * 16) + 3


def test_eight_bits_stay_as_they_are(anatomy):
    image = (anatomy // 16).astype(np.uint8)
    assert transforms.to_uint8(image) is image


def test_ordinary_sixteen_bits_are_scaled_by_their_extremes(anatomy):
    expected = cv2.normalize(anatomy, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    np.testing.assert_array_equal(transforms.to_uint8(anatomy), expected)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.04, 0.08])
@pytest.mark.parametrize("blur", [0, 3])
def test_a_label_at_the_top_of_the_range_takes_no_grey_levels(anatomy, share, blur):
    # in a large radiograph, blurred edges are few pixels
    anatomy = cv2.resize(anatomy, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    labelled = anatomy.copy()
    side = round((share * labelled.size) ** 0.5)
    labelled[5 : 5 + side, 5 : 5 + side] = 65535
    if blur:
        part = np.s_[: side + 20, : side + 20]
        labelled[part] = cv2.GaussianBlur(labelled[part], (0, 0), 0.7)
    elsewhere = np.s_[side + 30 :]
    difference = cv2.absdiff(
        transforms.to_uint8(labelled)[elsewhere],
        transforms.to_uint8(anatomy)[elsewhere],
    )
    assert difference.max() <= 16


def test_padding_far_below_the_anatomy_takes_no_grey_levels(anatomy):
    high = anatomy + np.uint16(40000)
    padded = high.copy()
    padded[:, :12] = 0
    low, top = transforms.grey_range(padded)
    assert low > 20000
    assert top == high.max()
    assert np.ptp(transforms.to_uint8(padded)[:, 12:].astype(int)) > 120


def test_a_large_black_ground_stays_in_the_range():
    image = np.zeros((100, 100), np.uint16)
    image[30:70, 30:70] = np.linspace(50000, 65535, 40).astype(np.uint16)
    assert transforms.grey_range(image) == (0, 65535)


def test_flat_images_stay_flat():
    flat = np.full((20, 20), 700, np.uint16)
    assert transforms.grey_range(flat) == (700, 700)
    assert np.ptp(transforms.to_uint8(flat)) == 0
