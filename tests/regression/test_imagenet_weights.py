"""`--weights imagenet` through Keras's own loader, from a file in Keras's cache."""

import h5py
import keras
import numpy as np
import pytest
from keras.src.backend import config
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

from boneage.regression import backbones

FILE_NAMES = {
    "inception_v3": "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "inception_resnet_v2": (
        "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
    ),
    "xception": "xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keras's folder of downloaded weights, and no network.

    Keras checks the hash of each file; those written here cannot have it.
    """
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setattr(file_utils, "validate_file", lambda *_, **__: True)
    monkeypatch.setattr(file_utils, "urlretrieve", None)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.mark.slow
@pytest.mark.parametrize("name", FILE_NAMES)
def test_keras_s_own_file_is_loaded(cache, name):
    application = getattr(keras.applications, backbones.BACKBONES[name].application)
    published = application(
        include_top=False, weights=None, input_shape=(299, 299, 3), name=name
    )
    rng = np.random.default_rng(0)
    values = [
        rng.standard_normal(w.shape).astype(np.float32) for w in published.weights
    ]
    published.set_weights(values)
    with h5py.File(cache / FILE_NAMES[name], "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, published)
    del published
    loaded = backbones.build_backbone(name, 75, "imagenet")
    for weight, value in zip(loaded.get_weights(), values, strict=True):
        np.testing.assert_array_equal(weight, value)
    cut = backbones.build_backbone(name, 75, "imagenet", map_stride=16)
    assert cut.output_shape[1] > loaded.output_shape[1]
    first = next(layer for layer in cut.layers if layer.weights)
    np.testing.assert_array_equal(first.get_weights()[0], values[0])
