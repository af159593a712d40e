"""Taking back the pull of predictions towards the middle ages."""

import numpy as np
import pytest

from boneage.explanation.activation_maps import Explainer
from boneage.regression import age_bias, network
from boneage.regression.age_bias import Correction
from tests.conftest import with_tiny_backbone

TRUE = np.linspace(10, 210, 41)


def test_whole_correction_leaves_no_bias_at_any_age():
    pulled = 40 + 0.75 * TRUE
    correction = age_bias.fit(pulled, TRUE, 1.0)
    np.testing.assert_allclose(correction.apply(pulled), TRUE, rtol=1e-9)


def test_half_of_it_takes_half_of_the_bias_back():
    pulled = 40 + 0.75 * TRUE
    halved = age_bias.fit(pulled, TRUE, 0.5).apply(pulled) - TRUE
    np.testing.assert_allclose(halved, (pulled - TRUE) / 2, atol=1e-9)


def test_strength_0_changes_nothing():
    assert age_bias.fit(40 + 0.75 * TRUE, TRUE, 0.0) == Correction(1.0, 0.0)


def test_predictions_that_follow_no_age_are_not_corrected():
    with pytest.raises(ValueError, match=r"grow by 0\.20 months for each month"):
        age_bias.fit(100 + 0.2 * TRUE, TRUE, 0.5)


@pytest.mark.parametrize("with_distribution", [False, True])
def test_corrected_network_and_its_maps_say_the_corrected_months(with_distribution):
    with with_tiny_backbone() as backbone:
        model = network.build_network(
            backbone, 32, "none", True, 120.0, 40.0, None, with_distribution
        )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32), np.uint8)
    is_male = np.array([True, False, True, False])
    before = Explainer(model)(images, is_male).predicted_months
    age_bias.correct_network(model, Correction(1.25, -20.0))
    after = Explainer(model)(images, is_male)
    np.testing.assert_allclose(after.predicted_months, 1.25 * before - 20, rtol=1e-5)
    fed = network.feed_dict(model, images, is_male)
    said = model.predict_on_batch(fed)[:, 0]
    np.testing.assert_allclose(after.predicted_months, said, rtol=1e-5)
    summed = after.maps.mean(axis=(1, 2)) + after.offsets
    np.testing.assert_allclose(summed, said, rtol=1e-4)


def test_maps_of_a_distribution_in_training_are_those_of_its_months():
    # its logits are what it puts out then, and what maps are drawn from
    with with_tiny_backbone() as backbone:
        model = network.build_network(
            backbone, 32, "none", True, 120.0, 40.0, None, True
        )
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32), np.uint8)
    is_male = np.array([True, False])
    expected = Explainer(model)(images, is_male)
    found = Explainer(network.logits_model(model))(images, is_male)
    for part, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-4, atol=1e-4)
