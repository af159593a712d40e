"""Negatives, small and blurred hands, on simulated radiographs."""

import cv2
import numpy as np
import pytest

from boneage.phantoms import radiograph as phantoms
from boneage.segmentation import image_quality


@pytest.fixture(scope="module")
def simulated() -> list[phantoms.Phantom]:
    """Phantoms of all ages on all kinds of ground."""
    return [
        phantoms.simulate(np.random.default_rng(seed), 30 + 9 * seed, True, 600)
        for seed in range(20)
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_negatives_are_told_from_positives(simulated, dtype):
    for each in simulated:
        radiograph = each.radiograph.astype(dtype) * (1 if dtype == np.uint8 else 200)
        negative = image_quality.inverted(radiograph)
        assert negative.dtype == dtype
        assert not image_quality.is_negative(radiograph, each.mask)
        assert image_quality.is_negative(negative, each.mask)
        contrast = image_quality.hand_contrast(radiograph, each.mask)
        assert image_quality.hand_contrast(negative, each.mask) == pytest.approx(
            -contrast, abs=0.02
        )


def test_contrast_without_a_ground_is_undefined():
    full = np.full((50, 50), 255, np.uint8)
    assert np.isnan(image_quality.hand_contrast(full, full))
    assert not image_quality.is_negative(full, full)


def test_length_is_in_the_radiographs_own_pixels():
    mask = np.zeros((300, 200), np.uint8)
    mask[20:220, 50:120] = 255
    assert image_quality.hand_length_px(mask) == 200


def test_sharpness_falls_with_blur_and_not_with_size(simulated):
    for each in simulated[:6]:
        length_px = image_quality.hand_length_px(each.mask)
        values = [
            image_quality.sharpness(
                cv2.GaussianBlur(each.radiograph, (0, 0), share * length_px), each.mask
            )
            for share in (0.001, 0.004, 0.012, 0.03)
        ]
        assert values == sorted(values, reverse=True)
        assert values[0] > 1.5 * values[1] > 4 * values[3]
        soft = cv2.GaussianBlur(each.radiograph, (0, 0), 0.01 * length_px)
        large = [cv2.resize(image, None, fx=2, fy=2) for image in (soft, each.mask)]
        assert image_quality.sharpness(*large) == pytest.approx(
            image_quality.sharpness(soft, each.mask), abs=0.003
        )


def test_sharpness_does_not_depend_on_exposure(simulated):
    each = simulated[0]
    faint = (each.radiograph // 3 + 20).astype(np.uint8)
    assert image_quality.sharpness(faint, each.mask) == pytest.approx(
        image_quality.sharpness(each.radiograph, each.mask), rel=0.1
    )


def test_an_empty_mask_has_no_sharpness():
    assert np.isnan(image_quality.sharpness(*np.zeros((2, 20, 20), np.uint8)))


@pytest.mark.parametrize(
    ("length_px", "is_doubtful", "is_hopeless"),
    [(300, False, False), (80, True, False), (50, True, True)],
)
def test_small_hands(simulated, length_px, is_doubtful, is_hopeless):
    for each in simulated[:4]:
        scale = length_px / image_quality.hand_length_px(each.mask)
        small = [
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            for image in (each.radiograph, each.mask)
        ]
        detail = image_quality.check_detail(small[0], np.uint8(255) * (small[1] > 127))
        assert bool(detail.reason) == is_doubtful
        assert detail.is_hopeless == is_hopeless


def test_hopelessly_blurred_hands(simulated):
    for each in simulated[:4]:
        sigma = 0.02 * image_quality.hand_length_px(each.mask)
        blurred = cv2.GaussianBlur(each.radiograph, (0, 0), sigma)
        detail = image_quality.check_detail(blurred, each.mask)
        assert detail.is_hopeless
        assert "blurred" in detail.reason


def test_faint_images_are_doubted_and_not_refused(simulated):
    # a fraction of the exposure, stored in the few grey levels that are left
    for each in simulated[:4]:
        radiograph = (each.radiograph // 24).astype(np.uint8)
        detail = image_quality.check_detail(radiograph, each.mask)
        assert not detail.is_hopeless
        assert np.isnan(image_quality.sharpness(radiograph, each.mask)) == (
            "faint" in detail.reason
        )
    assert "faint" in detail.reason


def compressed(radiograph: np.ndarray, quality: int) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", radiograph, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


def test_blocks_of_coarse_compression_are_seen_wherever_they_begin(simulated):
    for each in simulated[:6]:
        assert image_quality.blockiness(each.radiograph, each.mask) < 1.2
        fine = compressed(each.radiograph, 90)
        assert image_quality.check_detail(fine, each.mask).reason == ""
        coarse = compressed(each.radiograph, 5)
        # cut out after it was compressed, and turned by a quarter
        shown = np.rot90(coarse[3:, 5:]), np.rot90(each.mask[3:, 5:])
        detail = image_quality.check_detail(*map(np.ascontiguousarray, shown))
        assert "coarsely compressed" in detail.reason
        assert not detail.is_hopeless
        assert image_quality.blockiness(coarse, each.mask) == pytest.approx(
            image_quality.blockiness(coarse[3:, 5:], each.mask[3:, 5:]), rel=0.1
        )


def test_a_mask_without_whole_blocks_has_no_blockiness():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:16, 10:16] = 255
    assert np.isnan(image_quality.blockiness(mask, mask))
