"""The U-Net and its loss."""

import numpy as np
import pytest

from boneage.segmentation import unet


def loss_in_numpy(truth: np.ndarray, logits: np.ndarray) -> float:
    """Soft Dice and cross-entropy of one image, the sigmoid applied once."""
    p = 1 / (1 + np.exp(-logits.astype(float)))
    soft_dice = 1 - (2 * (truth * p).sum() + 1) / (truth.sum() + p.sum() + 1)
    cross_entropy = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    return soft_dice + cross_entropy


def loss(truth, logits) -> np.ndarray:
    return np.asarray(
        unet.dice_and_cross_entropy(truth.astype("float32"), logits.astype("float32"))
    )


@pytest.fixture
def truth():
    return np.array([[1, 0, 0], [1, 1, 0]], float).reshape(1, 2, 3, 1)


def test_loss_is_that_of_the_formula(truth):
    logits = np.array([[2, -1, 0.5], [-3, 4, 0]], float).reshape(1, 2, 3, 1)
    expected = loss_in_numpy(truth, logits)
    assert loss(truth, logits)[0] == pytest.approx(expected, rel=1e-5)


def test_each_image_has_its_own_loss(truth):
    logits = np.concatenate([truth * 40 - 20, 20 - truth * 40])
    values = loss(np.concatenate([truth, truth]), logits)
    assert values.shape == (2,)
    assert values[0] == pytest.approx(0, abs=1e-5)
    # every pixel wrong by 20 nats; of Dice only the one pixel of smoothing is left
    assert values[1] == pytest.approx(20 + 1 - 1 / 7, rel=1e-3)


def test_empty_mask_found_empty_costs_nothing(truth):
    nothing = np.zeros_like(truth)
    assert loss(nothing, nothing - 20)[0] == pytest.approx(0, abs=1e-5)


@pytest.fixture(scope="module")
def network():
    return unet.build(16, filters=2)


def test_output_is_linear_float32_and_of_the_images_size(network):
    assert network.output_shape == (None, 16, 16, 1)
    assert network.output.dtype == "float32"
    head = network.get_layer("mask_logits")
    assert head.activation.__name__ == "linear"
    assert network.layers[-1] is head


def test_last_feature_maps_are_found_by_name(network):
    assert network.get_layer(unet.FEATURES).output.shape == (None, 16, 16, 2)


def test_filters_double_at_each_level(network):
    filters = [network.get_layer(f"down{k}_conv1").filters for k in range(4)]
    assert filters == [2, 4, 8, 16]
    assert network.get_layer("bottom_conv1").filters == 32


def test_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="size must be a multiple of 16"):
        unet.build(20)
