"""One-click corrections: literal masks in, literal masks out."""

import cv2
import numpy as np
import pytest

from boneage.annotator import mask_edits
from boneage.annotator.mask_edits import (
    disagreement_layer,
    fill_holes,
    keep_largest,
    merge,
    move_to_edge,
    outline_layer,
    refine_edge,
    smooth,
    stretched,
)
from boneage.segmentation.dice import dice


def mask(*rows: str) -> np.ndarray:
    """A mask as drawn: # inside, . outside."""
    return np.array([[255 * (c == "#") for c in row] for row in rows], np.uint8)


EMPTY = np.zeros((40, 30), np.uint8)


@pytest.fixture
def bright_disk():
    """A bright disk of radius 60 on a dark noisy ground, and its mask."""
    truth = cv2.circle(np.zeros((200, 160), np.uint8), (80, 100), 60, 255, -1)
    noise = np.random.default_rng(0).normal(0, 4, truth.shape)
    radiograph = np.where(truth, 150, 40) + noise
    return radiograph.clip(0, 255).astype(np.uint8), truth


def test_holes_are_filled_in_every_piece():
    drawn = mask("####.###", "#..#.#.#", "####.###")
    filled = mask("####.###", "####.###", "####.###")
    np.testing.assert_array_equal(fill_holes(drawn), filled)


def test_a_bay_is_no_hole():
    drawn = mask("###", "#.#", "#.#")
    np.testing.assert_array_equal(fill_holes(drawn), drawn)


def test_largest_piece_stays_with_its_hole():
    drawn = mask("#.###", "..#.#", "#.###")
    largest = mask("..###", "..#.#", "..###")
    np.testing.assert_array_equal(keep_largest(drawn), largest)


def test_smoothing_takes_specks_and_slits_and_leaves_the_rest():
    solid = np.zeros((100, 100), np.uint8)
    solid[30:70, 30:70] = 255
    drawn = solid.copy()
    drawn[50, 30:60] = 0
    drawn[10, 10] = 255
    result = smooth(drawn)
    assert result[50, 45] == 255
    assert result[10, 10] == 0
    assert dice(result, solid) > 0.99


def test_smoothing_does_not_draw_back_from_the_border():
    drawn = np.zeros((60, 60), np.uint8)
    drawn[20:] = 255
    assert smooth(drawn)[20:].all()


@pytest.mark.parametrize("change_px", [-2, 2])
def test_refining_finds_the_edge(bright_disk, change_px):
    radiograph, truth = bright_disk
    drawn = cv2.circle(np.zeros_like(truth), (80, 100), 60 + change_px, 255, -1)
    refined = refine_edge(radiograph, drawn)
    assert refined.shape == truth.shape
    assert set(np.unique(refined)) == {0, 255}
    assert dice(refined, truth) > 0.99 > dice(drawn, truth)


def test_merging_finds_the_edge_where_two_masks_differ(bright_disk):
    radiograph, truth = bright_disk
    one, other = truth.copy(), truth.copy()
    one[60:90, 110:] = 0
    other[130:, :] = 0
    other[20:50, 20:60] = 255
    merged = merge(radiograph, one, other)
    assert dice(merged, truth) > 0.99 > max(dice(one, truth), dice(other, truth))
    apart = np.roll(np.eye(200, 160, dtype=np.uint8) * 255, 3, axis=1) & ~truth
    np.testing.assert_array_equal(merge(radiograph, one, apart & ~one), one)


def test_refining_twice_from_one_mask_gives_one_mask(bright_disk):
    radiograph, truth = bright_disk
    first, second = (refine_edge(radiograph, truth) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_refining_changes_nothing_beyond_its_band(bright_disk):
    radiograph, truth = bright_disk
    drawn = truth.copy()
    drawn[5:15, 5:15] = 255
    far = radiograph.copy()
    far[170:190, 5:25] = 150
    refined = refine_edge(far, drawn)
    assert not refined[170:190, 5:25].any()
    assert refined[100, 80] == 255


def test_refining_at_working_size_keeps_the_radiographs_own(bright_disk, monkeypatch):
    monkeypatch.setattr(mask_edits, "GRABCUT_PX", 80)
    radiograph, truth = bright_disk
    refined = refine_edge(radiograph, truth)
    assert refined.shape == truth.shape
    assert dice(refined, truth) > 0.97


def test_sixteen_bits_are_refined_alike(bright_disk):
    radiograph, truth = bright_disk
    refined = refine_edge(radiograph.astype(np.uint16) * 200, truth)
    assert dice(refined, truth) > 0.99


def test_a_click_adds_what_is_missing_up_to_the_edge(bright_disk):
    radiograph, truth = bright_disk
    drawn = cv2.circle(truth.copy(), (136, 100), 14, 0, -1)
    added = move_to_edge(radiograph, drawn, (100, 131))
    missing = np.count_nonzero(truth) - np.count_nonzero(drawn)
    assert np.count_nonzero(added != truth) < 0.2 * missing
    assert ((added > 0) >= (drawn > 0)).all()


def test_a_click_removes_what_is_too_much_up_to_the_edge(bright_disk):
    radiograph, truth = bright_disk
    drawn = cv2.rectangle(truth.copy(), (60, 20), (100, 70), 255, -1)
    removed = move_to_edge(radiograph, drawn, (28, 68))
    assert dice(removed, truth) > dice(drawn, truth)
    assert ((removed > 0) <= (drawn > 0)).all()
    assert not removed[22:34, 62:74].any()


def test_a_click_takes_a_piece_over_from_a_second_mask(bright_disk):
    radiograph, truth = bright_disk
    drawn = truth.copy()
    drawn[60:90, 110:] = 0
    drawn[100:130, 110:] = 0
    # all along the edge the second one is a pixel wider
    second = cv2.dilate(truth, np.ones((3, 3), np.uint8))
    added = move_to_edge(radiograph, drawn, (75, 120), second=second)
    assert added[62:88, 112:128].all()
    assert not added[103:130, 112:].any()
    assert not (added & ~second).any()
    # and back: where the second one is smaller, the piece is removed
    removed = move_to_edge(radiograph, added, (75, 120), second=drawn)
    np.testing.assert_array_equal(removed[60:90], drawn[60:90])


def test_where_both_masks_agree_a_click_goes_by_the_radiograph(bright_disk):
    radiograph, truth = bright_disk
    drawn = cv2.circle(truth.copy(), (136, 100), 14, 0, -1)
    alone = move_to_edge(radiograph, drawn, (100, 131))
    beside = move_to_edge(radiograph, drawn, (100, 131), second=drawn)
    np.testing.assert_array_equal(alone, beside)


def test_a_click_reaches_no_further_than_its_share(bright_disk):
    radiograph, truth = bright_disk
    changed = move_to_edge(radiograph, np.zeros_like(truth), (100, 80)) > 0
    assert changed[100, 80]
    rows, columns = np.nonzero(changed)
    reach_px = mask_edits.CLICK_REACH * 200 + mask_edits.MARKER_PX + 1
    assert np.hypot(rows - 100, columns - 80).max() <= reach_px


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (40, 30)])
@pytest.mark.parametrize("value", [0, 255])
def test_clicks_on_empty_full_and_tiny_masks(shape, value):
    radiograph = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    drawn = np.full(shape, value, np.uint8)
    corner = (shape[0] - 1, shape[1] - 1)
    changed = move_to_edge(radiograph, drawn, corner)
    assert changed.shape == shape
    assert changed[corner] == 255 - value
    assert (drawn == value).all()


@pytest.mark.parametrize("tool", [fill_holes, keep_largest, smooth])
def test_nothing_comes_of_nothing(tool):
    assert not tool(EMPTY).any()


def test_refining_nothing_and_everything(bright_disk):
    radiograph = bright_disk[0][:40, :30]
    assert not refine_edge(radiograph, EMPTY).any()
    assert refine_edge(radiograph, EMPTY + 255).all()


@pytest.mark.parametrize("tool", [fill_holes, keep_largest, smooth])
def test_tools_do_not_write_into_the_mask_they_are_given(tool):
    drawn = mask("####.", "#..#.", "####.", "....#")
    before = drawn.copy()
    tool(drawn)
    np.testing.assert_array_equal(drawn, before)


def test_contrast_is_stretched_to_the_full_range():
    radiograph = np.linspace(1000, 3000, 10000).reshape(100, 100).astype(np.uint16)
    shown = stretched(radiograph)
    assert shown.dtype == np.uint8
    assert shown.min() == 0
    assert shown.max() == 255


def test_one_grey_level_is_no_division_by_zero():
    assert not stretched(np.full((4, 4), 9, np.uint8)).any()


def test_outline_is_a_line_where_the_mask_ends():
    drawn = cv2.rectangle(np.zeros((40, 40), np.uint8), (10, 10), (29, 29), 255, -1)
    layer = outline_layer(drawn)
    assert layer[10, 20].tolist() == [*mask_edits.SECOND_COLOUR, 255]
    assert not layer[20, 20].any()
    assert np.count_nonzero(layer[..., 3]) == 4 * 19


def test_map_colours_disagreement_and_leaves_agreement_transparent():
    layer = disagreement_layer(np.array([[0, 255]], np.uint8))
    assert layer[0, 0, 3] == 0
    assert layer[0, 1].tolist() == [*mask_edits.MAP_COLOUR, 204]
