"""Kinds of map, of networks that look at one place by construction."""

import cv2
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.explanation import saliency
from boneage.explanation.activation_maps import Explainer, Explanation, Grid
from boneage.io.hdf5 import PackedImages
from boneage.prediction.test_time_augmentation import VIEWS, make_views
from boneage.regression import backbones, network
from boneage.regression.dataset import HandDataset
from experiments.map_faithfulness import view_matrix
from tests.conftest import make_cohort

SIZE = 64
TOP, BOTTOM, LEFT, RIGHT = 16, 32, 40, 56
"""The only pixels that the network looks at."""


class Brightness:
    """Explains the mean brightness of one place, a month a grey level."""

    image_size, grid = SIZE, Grid(0.0, 1.0, SIZE)

    def __init__(self):
        self.images_seen = 0

    def __call__(self, images, is_male, batch_size=16):
        self.images_seen += len(images)
        maps = np.zeros(images.shape, np.float32)
        seen = np.s_[:, TOP:BOTTOM, LEFT:RIGHT]
        maps[seen] = images[seen]
        area = (BOTTOM - TOP) * (RIGHT - LEFT)
        months = maps.sum(axis=(1, 2)) / area
        return Explanation(maps * SIZE**2 / area, 0 * months, months)


def is_inside(place: np.ndarray, margin: float = 0.0) -> bool:
    row, column = place
    return bool(
        TOP - margin <= row < BOTTOM + margin
        and LEFT - margin <= column < RIGHT + margin
    )


def most_attended(maps: saliency.SaliencyMaps, number: int = 0) -> np.ndarray:
    """Row and column, px of the image."""
    shown = maps.grid.upsample(np.abs(maps.values[number]), SIZE)
    return np.array(np.unravel_index(shown.argmax(), shown.shape))


@pytest.fixture
def images():
    """Two hands' worth of noise without a single even pixel."""
    return np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE), np.uint8)


@pytest.fixture
def looks_at_one_place(monkeypatch):
    """A network of this library whose backbone sees one place, and zeros around it."""
    import keras

    def build(name, image_size, weights, map_stride):
        image = keras.Input((image_size, image_size, 3), name="pixels")
        sides = ((TOP, SIZE - BOTTOM), (LEFT, SIZE - RIGHT))
        x = keras.layers.Cropping2D(sides, name="seen")(image)
        x = keras.layers.ZeroPadding2D(sides, name="unseen")(x)
        x = keras.layers.Conv2D(4, 4, strides=4, name="stem")(x)
        return keras.Model(image, x, name=name)

    record = backbones.Backbone("", 32, {"block1": "stem"})
    monkeypatch.setitem(backbones.BACKBONES, "tiny", record)
    monkeypatch.setattr(backbones, "build_backbone", build)
    keras.utils.set_random_seed(0)
    model = network.build_network("tiny", SIZE, "none", True, 100.0, 40.0)
    return Explainer(model)


@pytest.mark.parametrize("kind", saliency.MAPS)
def test_network_that_looks_at_one_place_is_found_there(
    kind, looks_at_one_place, images
):
    is_male = np.array([True, False])
    maps = saliency.MAPS[kind].make(looks_at_one_place, images, is_male, 16)
    expected = looks_at_one_place(images, is_male).predicted_months
    np.testing.assert_allclose(maps.predicted_months, expected, atol=1e-3)
    for number in range(2):
        assert is_inside(most_attended(maps, number))
    shown = np.stack([maps.grid.upsample(cells, SIZE) for cells in maps.values])
    # far from the place no pixel matters, whatever it is
    assert np.abs(shown[:, 48:, :24] - shown[:, -1:, :1]).max() < 1e-4


def test_exact_maps_have_no_mean(images):
    maps = saliency.exact(Brightness(), images, np.array([True, False]))
    np.testing.assert_allclose(maps.values.mean(axis=(1, 2)), 0, atol=1e-3)


def test_occlusion_is_the_change_when_a_place_is_blurred():
    # a bright spot on grey: blurred, the place is darker
    image = np.full((SIZE, SIZE), 90, np.uint8)
    image[22:26, 46:50] = 250
    bright, dark = image, (180 - np.minimum(image, 180)).astype(np.uint8)
    maps = saliency.occlusion(
        Brightness(), np.stack([bright, dark]), np.ones(2, bool), places=8
    )
    assert maps.values.shape == (2, 8, 8)
    # the place around (24, 48), with its centre at (19.5 or 27.5, 43.5 or 51.5)
    assert most_attended(maps).tolist() == pytest.approx([24, 48], abs=5)
    assert maps.values[0].max() > 0.1
    assert maps.values[1].min() < -0.1
    assert np.abs(maps.values[:, 6:, :3]).max() == 0


def test_places_without_anything_to_hide_take_no_forward_pass():
    explainer = Brightness()
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[20:30, 44:54] = 200
    saliency.occlusion(explainer, image[np.newaxis], np.ones(1, bool), places=8)
    # the hand as it is, and the places around the bright one
    assert 5 < explainer.images_seen < 30


@pytest.mark.parametrize("view", VIEWS)
def test_view_matrices_make_the_views_of_prediction(view, images):
    number = VIEWS.index(view)
    expected = make_views(images[0], len(VIEWS))[number]
    made = cv2.warpAffine(images[0], view_matrix(view, SIZE), (SIZE, SIZE))
    difference = np.abs(made.astype(int) - expected)
    # the mirror is exact, the rounding of an interpolation may differ
    assert np.quantile(difference, 0.99) <= 4


def test_views_are_moved_back_before_they_are_averaged(images):
    class Spot(Brightness):
        """Looks at the brightest pixel, wherever it is."""

        def __call__(self, images, is_male, batch_size=16):
            maps = (images > 150).astype(np.float32)
            return Explanation(maps, *(maps.mean(axis=(1, 2)),) * 2)

    image = np.zeros((1, SIZE, SIZE), np.uint8)
    image[0, 10:14, 50:54] = 255
    matrices = np.stack([view_matrix(view, SIZE) for view in VIEWS[:6]])
    maps = saliency.averaged_over_views(Spot(), image, np.ones(1, bool), 16, matrices)
    assert most_attended(maps).tolist() == pytest.approx([11.5, 51.5], abs=1.5)
    assert maps.values[0, 10:14, 50:54].mean() > 0.8
    assert np.abs(maps.values[0, 30:]).max() < 0.05


def test_maps_of_a_cohort_come_in_order(images):
    cohort = make_cohort(5)
    many = np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE), np.uint8)
    hands = HandDataset(
        PackedImages(many, None, cohort.ids, SIZE, "none"), np.arange(5), cohort
    )
    for kind in saliency.MAPS.values():
        maps = saliency.map_hands(kind, Brightness(), hands, batch_size=2)
        expected = kind.make(Brightness(), many, cohort.is_male, 16)
        np.testing.assert_allclose(maps.values, expected.values, rtol=1e-6)
        np.testing.assert_allclose(maps.predicted_months, expected.predicted_months)
    chosen = maps.select(np.array([3, 1]))
    np.testing.assert_array_equal(chosen.values, maps.values[[3, 1]])


def test_network_that_predicts_nan_is_named(images):
    class Diverged(Brightness):
        def __call__(self, images, is_male, batch_size=16):
            return Explanation(*(np.nan * p for p in super().__call__(images, is_male)))

    cohort = make_cohort(2)
    packed = PackedImages(images, None, cohort.ids, SIZE, "none")
    hands = HandDataset(packed, np.arange(2), cohort)
    with pytest.raises(InputError, match="a_run predicts values that are not numbers"):
        saliency.map_hands(
            saliency.MAPS["exact"], Diverged(), hands, description="a_run"
        )
