"""EfficientNet-Lite0 as a Keras functional graph with ImageNet weights.

Tan & Le, EfficientNet: rethinking model scaling for convolutional neural networks, ICML
2019; the Lite variant has no squeeze-and-excitation and uses ReLU6.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.errors import InputError

if TYPE_CHECKING:
    import keras

BATCH_NORM_EPSILON = 1e-3
STEM_FILTERS = 32
HEAD_FILTERS = 1280


@dataclass(frozen=True)
class Stage:
    """Inverted residual blocks of one shape; the first one has the stride.

    expansion: channels within a block, as a multiple of its input's.
    """

    blocks: int
    kernel_px: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def build(input_shape: tuple[int, int, int], name: str) -> keras.Model:
    """Build the network without its classifier, with random weights.

    Maps (N, row, column, 3) to (N, row / 32, column / 32, 1280). Layers are named as in
    keras.applications' EfficientNet: `block4a_expand_conv` begins the fourth stage.
    """
    import keras

    image = keras.Input(input_shape, name="image")
    features = _convolution(image, "stem", STEM_FILTERS, 3, stride=2)
    for number, stage in enumerate(STAGES, start=1):
        for block in range(stage.blocks):
            features = _inverted_residual(
                features,
                f"block{number}{chr(ord('a') + block)}",
                stage,
                stage.stride if block == 0 else 1,
            )
    features = _convolution(features, "top", HEAD_FILTERS, 1)
    return keras.Model(image, features, name=name)


def _inverted_residual(
    features: keras.KerasTensor, name: str, stage: Stage, stride: int
) -> keras.KerasTensor:
    """Expand, filter by depth, project; add the input where shapes allow."""
    from keras import layers

    channels = features.shape[-1]
    inner = features
    if stage.expansion > 1:
        inner = _convolution(
            inner, f"{name}_expand", channels * stage.expansion, kernel_px=1
        )
    inner = layers.DepthwiseConv2D(
        stage.kernel_px,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_dwconv",
    )(inner)
    inner = _normalised(inner, name)
    inner = layers.ReLU(6.0, name=f"{name}_activation")(inner)
    inner = _convolution(
        inner, f"{name}_project", stage.filters, kernel_px=1, is_activated=False
    )
    if stride == 1 and channels == stage.filters:
        inner = layers.Add(name=f"{name}_add")([inner, features])
    return inner


def _convolution(
    features: keras.KerasTensor,
    name: str,
    filters: int,
    kernel_px: int,
    stride: int = 1,
    is_activated: bool = True,
) -> keras.KerasTensor:
    """Convolution, batch norm and, where `is_activated`, ReLU6."""
    from keras import layers

    features = layers.Conv2D(
        filters,
        kernel_px,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(features)
    features = _normalised(features, name)
    if is_activated:
        features = layers.ReLU(6.0, name=f"{name}_activation")(features)
    return features


def _normalised(features: keras.KerasTensor, name: str) -> keras.KerasTensor:
    from keras import layers

    return layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")(
        features
    )


def load_imagenet(network: keras.Model, path: Path) -> None:
    """Load an `.npz` file with an array `<layer>/<weight>` for every weight.

    Raises:
        InputError: the file is missing, damaged or of another network.
    """
    if not path.is_file():
        raise InputError(f"{path} cannot be found; it comes with this repository")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for layer in network.layers:
                names = [f"{layer.name}/{weight.name}" for weight in layer.weights]
                layer.set_weights([arrays[name].astype(np.float32) for name in names])
    # what NumPy and Keras raise for a cut-off archive, a missing name, another shape
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} must hold weights of EfficientNet-Lite0 ({error}); get it from "
            "the repository again"
        ) from error
