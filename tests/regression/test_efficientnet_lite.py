"""EfficientNet-Lite0 computes what its ImageNet weights were trained for."""

import keras
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.layout import IMAGENET
from boneage.regression import backbones, efficientnet_lite

WEIGHTS = IMAGENET / "efficientnet_lite0.npz"

# mean and standard deviation of all features, and the mean over the image of channels
# 0, 256, ..., 1024, as PyTorch computes them from the same weights
REFERENCE = {
    96: (0.70500714, 1.5092072, (3.3385, 3.8806, 0.0000, 0.0000, 0.0000)),
    299: (0.16478427, 0.65744215, (1.5952, 0.1004, 0.0000, 0.0303, 0.0000)),
}


def pattern(size):
    """Structure at all scales, as the network takes it: (1, size, size, 3)."""
    row, column = np.mgrid[:size, :size]
    grey = (row * 7 + column * 13 + (row * column) // 5) % 256
    record = backbones.BACKBONES["efficientnet_lite0"]
    pixels = grey.astype(np.float32) * record.pixel_scale + record.pixel_offset
    return pixels[None, ..., None].repeat(3, axis=-1)


@pytest.mark.parametrize("size", REFERENCE)
def test_features_equal_the_reference_implementation(size):
    network = backbones.build_backbone("efficientnet_lite0", size, "imagenet")
    features = network.predict_on_batch(pattern(size))[0]
    mean, deviation, channels = REFERENCE[size]
    assert features.mean() == pytest.approx(mean, abs=1e-4)
    assert features.std() == pytest.approx(deviation, abs=1e-4)
    of_channels = features.mean(axis=(0, 1))[::256]
    np.testing.assert_allclose(of_channels, channels, atol=1e-3)


def test_classifier_free_network_has_the_published_number_of_weights():
    network = efficientnet_lite.build((224, 224, 3), "efficientnet_lite0")
    # 4,652,008 weights of the whole network without 1,281,000 of its classifier
    assert sum(int(np.prod(w.shape)) for w in network.trainable_weights) == 3_371_008
    assert network.output_shape == (None, 7, 7, 1280)


def test_shipped_weights_are_small_and_of_this_network():
    assert WEIGHTS.stat().st_size < 10 << 20
    network = efficientnet_lite.build((96, 96, 3), "efficientnet_lite0")
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        names = {f"{x.name}/{w.name}" for x in network.layers for w in x.weights}
        assert set(arrays.files) == names


def test_weights_that_are_missing_or_of_another_network(tmp_path):
    network = efficientnet_lite.build((96, 96, 3), "efficientnet_lite0")
    with pytest.raises(InputError, match=r"none\.npz cannot be found"):
        efficientnet_lite.load_imagenet(network, tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(InputError, match=r"other\.npz must hold weights"):
        efficientnet_lite.load_imagenet(network, tmp_path / "other.npz")
    (tmp_path / "half.npz").write_bytes(WEIGHTS.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"half\.npz must hold weights"):
        efficientnet_lite.load_imagenet(network, tmp_path / "half.npz")


@pytest.mark.parametrize("map_stride", [16, 32])
def test_weights_of_a_run_go_to_either_map_stride(tmp_path, map_stride):
    name = "efficientnet_lite0"
    trained = backbones.build_backbone(name, 75, "imagenet", map_stride)
    image = keras.Input((75, 75, 3))
    keras.Model(image, trained(image)).save(tmp_path / "model.keras")
    path = str(tmp_path / "model.keras")
    for stride, side in ((16, 5), (32, 3)):
        network = backbones.build_backbone(name, 75, path, stride)
        assert network.output_shape[1] == side
        first = network.get_layer("stem_conv").get_weights()[0]
        np.testing.assert_array_equal(
            first, trained.get_layer("stem_conv").get_weights()[0]
        )
