"""Measures of whether a map is true, on maps whose truth is known."""

import numpy as np
import pytest

from boneage.explanation import faithfulness
from tests.conftest import tiny_build

QUARTER = np.zeros((1, 8, 8), bool)
QUARTER[0, :4, :4] = True


def test_share_of_even_attention_is_the_share_of_area():
    assert faithfulness.share_inside(np.ones((1, 8, 8)), QUARTER) == pytest.approx(0.25)


def test_share_of_attention_inside_alone():
    attention = QUARTER * 3.0
    assert faithfulness.share_inside(attention, QUARTER) == 1
    assert faithfulness.share_inside(attention, ~QUARTER) == 0


def test_no_attention_has_no_share():
    assert np.isnan(faithfulness.share_inside(np.zeros((1, 8, 8)), QUARTER))


def test_pointing_game():
    attention = np.zeros((2, 8, 8))
    attention[0, 2, 2] = attention[1, 6, 6] = 1
    regions = np.repeat(QUARTER, 2, axis=0)
    assert faithfulness.pointing_game_hits(attention, regions).tolist() == [True, False]


def test_discs():
    inside = faithfulness.discs(np.array([[2.0, 5.0]]), 1, 8)
    assert sorted(zip(*np.nonzero(inside), strict=True)) == [
        (1, 5),
        (2, 4),
        (2, 5),
        (2, 6),
        (3, 5),
    ]
    assert not faithfulness.discs(np.zeros((0, 2)), 1, 8).any()


def test_rank_correlation():
    rng = np.random.default_rng(0)
    maps = rng.random((1, 9, 9))
    others, everywhere = rng.random((1, 9, 9)), np.ones((1, 9, 9), bool)
    correlate = faithfulness.rank_correlation
    assert correlate(maps, maps**3, everywhere) == pytest.approx(1)
    assert correlate(maps, -maps, everywhere) == pytest.approx(-1)
    assert abs(correlate(maps, others, everywhere)) < 0.3
    assert np.isnan(correlate(maps, np.ones((1, 9, 9)), everywhere))
    # what they share off the hand is no likeness
    on_hand = np.arange(9)[:, np.newaxis] > np.zeros((1, 9, 9)) + 4
    maps[~on_hand] = others[~on_hand] = 0
    assert (
        abs(correlate(maps, others, on_hand))
        < 0.4
        < correlate(maps, others, everywhere)
    )


def brightness_of_the_corner(images: np.ndarray) -> np.ndarray:
    return images[:, :4, :4].mean(axis=(1, 2))


def test_deleting_what_the_network_looks_at_moves_the_prediction_at_once():
    images = np.random.default_rng(0).integers(100, 200, (2, 8, 8), np.uint8)
    nothing = np.zeros_like(images)
    shares = np.array([0, 0.25, 0.5, 1])
    true = faithfulness.deletion_curve(
        brightness_of_the_corner, images, nothing, np.repeat(QUARTER, 2, 0), shares
    )
    false = faithfulness.deletion_curve(
        brightness_of_the_corner, images, nothing, np.repeat(~QUARTER, 2, 0), shares
    )
    before = brightness_of_the_corner(images)
    np.testing.assert_allclose(true[:, 0], 0)
    np.testing.assert_allclose(true[:, 1], before)
    np.testing.assert_allclose(false[:, 2], 0)
    np.testing.assert_allclose(false[:, 3], before)


def test_inserting_is_deleting_from_the_other_end():
    images = np.random.default_rng(0).integers(100, 200, (1, 8, 8), np.uint8)
    nothing = np.zeros_like(images)
    back = faithfulness.deletion_curve(
        brightness_of_the_corner, nothing, images, QUARTER, np.array([0.25])
    )
    np.testing.assert_allclose(back[:, 0], brightness_of_the_corner(images))


def test_layers_are_shuffled_from_the_head_to_the_image(monkeypatch):
    from boneage.regression import backbones, network

    record = backbones.Backbone("", 32, {"block1": "block1", "block2": "block2"})
    monkeypatch.setitem(backbones.BACKBONES, "tiny", record)
    monkeypatch.setattr(backbones, "build_backbone", tiny_build)
    model = network.build_network("tiny", 32, "none")
    before = {x.name: x.get_weights() for x in model.get_layer("tiny").layers}
    rng = np.random.default_rng(0)
    shuffling = faithfulness.cascading_randomisation(model, "tiny", rng)
    assert next(shuffling) == "linear_unit"
    assert next(shuffling) == "block2"
    now = model.get_layer("tiny").get_layer("block2").get_weights()[0]
    assert not np.array_equal(now, before["block2"][0])
    assert sorted(now.ravel()) == sorted(before["block2"][0].ravel())
    stem = model.get_layer("tiny").get_layer("stem").get_weights()[0]
    np.testing.assert_array_equal(stem, before["stem"][0])
    assert list(shuffling)[-1] == "stem"
