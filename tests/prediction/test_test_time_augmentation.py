"""Views of a hand."""

import numpy as np
import pytest

from boneage.prediction import test_time_augmentation


def test_views_keep_what_they_show():
    image = np.zeros((64, 64), np.uint8)
    image[20:40, 10:30] = 200
    seen = test_time_augmentation.make_views(image, len(test_time_augmentation.VIEWS))
    np.testing.assert_array_equal(seen[0], image)
    np.testing.assert_array_equal(seen[1], image[:, ::-1])
    sums = seen.sum(axis=(1, 2), dtype=float) / image.sum()
    scales = np.array([view.scale for view in test_time_augmentation.VIEWS])
    np.testing.assert_allclose(sums, scales**2, rtol=0.02)


def test_views_of_a_network_that_knows_no_mirrored_hands():
    image = np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)
    seen = test_time_augmentation.make_views(image, 6, mirrored=False)
    upright = [
        view for view in range(6) if not test_time_augmentation.VIEWS[view].mirrored
    ]
    np.testing.assert_array_equal(
        seen, test_time_augmentation.make_views(image, 6)[upright]
    )


@pytest.mark.parametrize(
    ("settings", "learned"),
    [
        ({"augmentation": 1.0, "mirrored_share": 0.5}, True),
        ({"augmentation": 1.0, "mirrored_share": 0.0}, False),
        ({"augmentation": 0.0, "mirrored_share": 0.5}, False),
    ],
)
def test_training_says_whether_it_mirrored(settings, learned):
    assert test_time_augmentation.trained_with_flips({"settings": settings}) is learned
