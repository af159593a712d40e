"""Coarse masks on drawn hands: an ellipse with five fingers and a forearm."""

import cv2
import numpy as np
import pytest

from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.segmentation.coarse import (
    coarse_mask,
    implausibilities,
    largest_hand,
    published_coarse_mask,
)

HEIGHT_PX, WIDTH_PX = 400, 300
FINGERTIPS_PX = [(70, 190), (110, 90), (150, 70), (190, 90), (250, 200)]


def drawn_hand() -> np.ndarray:
    """(row, column) uint8, 0 or 255: palm, five fingers and a forearm to the bottom."""
    hand = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    cv2.ellipse(hand, (150, 240), (60, 70), 0, 0, 360, 255, cv2.FILLED)
    for tip in FINGERTIPS_PX:
        cv2.line(hand, (150, 250), tip, 255, 24)
    cv2.rectangle(hand, (115, 280), (185, HEIGHT_PX), 255, cv2.FILLED)
    return hand


def drawn_radiograph(background: np.ndarray | float = 5.0) -> np.ndarray:
    """The hand 70 grey levels above its background, bones 80 above that, and noise."""
    hand = drawn_hand()
    bones = cv2.erode(hand, np.ones((15, 15), np.uint8))
    grey = background + 70.0 * (hand > 0) + 80.0 * (bones > 0)
    grey = cv2.GaussianBlur(grey, (0, 0), 2)
    grey += np.random.default_rng(1).normal(0, 2, grey.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two 0/255 masks, in [0, 1]."""
    both = np.count_nonzero((one > 0) & (other > 0))
    return 2 * both / (np.count_nonzero(one) + np.count_nonzero(other))


def slope() -> np.ndarray:
    """A grey background, brighter towards one corner."""
    row, column = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    return 30 + 0.1 * row + 0.08 * column


def test_hand_on_black() -> None:
    mask = coarse_mask(drawn_radiograph())
    assert dice(mask, drawn_hand()) > 0.97


def test_mask_has_the_radiographs_shape_and_two_values() -> None:
    mask = coarse_mask(drawn_radiograph())
    assert mask.shape == (HEIGHT_PX, WIDTH_PX)
    assert mask.dtype == np.uint8
    assert np.unique(mask).tolist() == [0, 255]


def test_hand_on_grey_uneven_background() -> None:
    mask = coarse_mask(drawn_radiograph(slope()))
    assert dice(mask, drawn_hand()) > 0.96


def test_background_brighter_than_a_fingertip_elsewhere() -> None:
    steep = np.linspace(0, 100, WIDTH_PX)[None] * np.ones((HEIGHT_PX, 1))
    mask = coarse_mask(drawn_radiograph(steep))
    assert dice(mask, drawn_hand()) > 0.95


def test_white_corners_of_a_rotated_frame_stay_out() -> None:
    radiograph = drawn_radiograph(20.0)
    corners = np.zeros_like(radiograph)
    cv2.fillPoly(corners, [np.array([(0, 0), (130, 0), (0, 45)])], 255)
    cv2.fillPoly(corners, [np.array([(0, 399), (0, 250), (38, 399)])], 255)
    radiograph[corners > 0] = 255
    mask = coarse_mask(radiograph)
    assert not (mask[corners > 0] > 0).any()
    assert dice(mask, drawn_hand()) > 0.95


def test_bright_frame_around_a_dark_field_stays_out() -> None:
    radiograph = cv2.copyMakeBorder(
        drawn_radiograph(), 60, 60, 80, 80, cv2.BORDER_CONSTANT, value=120
    )
    hand = cv2.copyMakeBorder(drawn_hand(), 60, 60, 80, 80, cv2.BORDER_CONSTANT)
    assert dice(coarse_mask(radiograph), hand) > 0.95


def test_dark_frame_around_a_bright_field_is_no_hand() -> None:
    radiograph = cv2.copyMakeBorder(
        drawn_radiograph(90.0), 60, 60, 80, 80, cv2.BORDER_CONSTANT, value=0
    )
    hand = cv2.copyMakeBorder(drawn_hand(), 60, 60, 80, 80, cv2.BORDER_CONSTANT)
    assert dice(coarse_mask(radiograph), hand) > 0.95


def test_marker_plate_beside_the_hand_stays_out() -> None:
    radiograph = drawn_radiograph()
    radiograph[300:370, 20:70] = 200
    assert not coarse_mask(radiograph)[295:375, 15:75].any()


def test_hole_in_the_hand_is_filled() -> None:
    radiograph = drawn_radiograph()
    cv2.circle(radiograph, (150, 240), 12, 5, cv2.FILLED)
    assert coarse_mask(radiograph)[240, 150] == 255


def test_sixteen_bits_give_the_mask_of_eight() -> None:
    radiograph = drawn_radiograph(slope())
    of_16_bits = coarse_mask(radiograph.astype(np.uint16) * 200 + 37)
    assert dice(of_16_bits, coarse_mask(radiograph)) > 0.99


def test_dark_hand_on_a_bright_background() -> None:
    mask = coarse_mask(255 - drawn_radiograph())
    assert dice(mask, drawn_hand()) > 0.95


def test_size_of_the_radiograph_hardly_matters() -> None:
    large = cv2.resize(drawn_radiograph(), (4 * WIDTH_PX, 4 * HEIGHT_PX))
    mask = cv2.resize(coarse_mask(large), (WIDTH_PX, HEIGHT_PX))
    assert dice(mask > 127, coarse_mask(drawn_radiograph())) > 0.98


@pytest.mark.parametrize("level", [0, 90, 255])
def test_constant_image_has_an_empty_mask(level: int) -> None:
    mask = coarse_mask(np.full((50, 40), level, np.uint8))
    assert not mask.any()
    assert implausibilities(mask) == ["empty"]


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (1, 300), (300, 2)])
@pytest.mark.parametrize("method", [coarse_mask, published_coarse_mask])
def test_tiny_images_do_not_crash(method, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    mask = method(noise)
    assert mask.shape == shape
    assert set(np.unique(mask)) <= {0, 255}


def test_published_method_finds_the_hand_on_black() -> None:
    mask = published_coarse_mask(drawn_radiograph())
    assert dice(mask, drawn_hand()) > 0.85
    assert np.unique(mask).tolist() == [0, 255]


def test_published_method_takes_sixteen_bits() -> None:
    radiograph = drawn_radiograph()
    of_16_bits = published_coarse_mask(radiograph.astype(np.uint16) * 257)
    assert dice(of_16_bits, published_coarse_mask(radiograph)) > 0.98


def test_largest_hand_keeps_one_component() -> None:
    mask = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 1]], np.uint8)
    expected = [[255, 255, 0, 0], [255, 255, 0, 0], [0, 0, 0, 0]]
    assert largest_hand(mask).tolist() == expected


def test_largest_hand_fills_holes() -> None:
    ring = np.full((3, 3), 255, np.uint8)
    ring[1, 1] = 0
    assert largest_hand(ring).tolist() == [[255] * 3] * 3


def test_largest_hand_of_nothing_is_nothing() -> None:
    assert not largest_hand(np.zeros((4, 4), np.uint8)).any()


def test_largest_hand_leaves_its_argument_alone() -> None:
    mask = np.array([[255, 0, 255, 255]], np.uint8)
    largest_hand(mask)
    assert mask.tolist() == [[255, 0, 255, 255]]


def test_drawn_hand_is_plausible() -> None:
    assert implausibilities(drawn_hand()) == []


def test_speck_is_too_small() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[40:45, 40:60] = 255
    assert "too small" in implausibilities(mask)


def test_full_image_touches_all_borders() -> None:
    flags = implausibilities(np.full((100, 100), 255, np.uint8))
    assert {"too large", "no fingers", "touches all borders"} <= set(flags)


def test_band_across_touches_several_borders() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[40:70] = 255
    assert "touches several borders" in implausibilities(mask)


def test_thin_frame_is_scattered() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[10:90, 10:18] = mask[82:90, 10:90] = 255
    assert "scattered" in implausibilities(mask)


def test_mean_dice_on_phantoms() -> None:
    scores = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        hand = phantoms_radiograph.simulate(rng, 12 + 25 * seed, seed % 2 == 0, 256)
        scores.append(dice(coarse_mask(hand.radiograph), hand.mask))
    assert np.mean(scores) > 0.93
