"""Exact activation maps: months per region that add up to the predicted bone age.

All networks of `network.build_network` average the layer `cam_features` over the image
and weight the channels linearly. The order can be swapped: weighted first, the channels
give a map in months whose mean, plus an offset that belongs to no region, is the
prediction. Nothing is approximated (unlike Grad-CAM). Source: Zhou et al., CVPR 2016,
here for regression.

Where the head predicts a distribution, every logit has such a map. They are summed,
each weighted by how many months its logit moves the expectation
(`label_distribution.logit_attribution`), so that mean and offset add up there, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from boneage.explanation.head_attribution import HeadAttribution
from boneage.io.keras_archive import input_layers
from boneage.regression.hand_network import (
    CompiledHandNetwork,
    HandNetwork,
    KerasHandNetwork,
)

if TYPE_CHECKING:
    import keras

DISPLAY_PX = 512
"""Side of the enhanced hands, over which maps are shown."""


class Explanation(NamedTuple):
    """Maps of N hands; `maps.mean(axis=(1, 2)) + offsets == predicted_months`.

    maps: (N, row, column) float32, months. offsets: (N,) float32, months.
    predicted_months: (N,) float32.
    """

    maps: np.ndarray
    offsets: np.ndarray
    predicted_months: np.ndarray


def centred_maps(maps: np.ndarray) -> np.ndarray:
    """Maps less their own mean: which regions raise (+) or lower (-) the prediction.

    Map and offset of a cell are its contribution; the mean of all contributions is the
    prediction. The difference from the mean is how much more a cell contributes than
    the average cell. No cell gives an age of its own: where the head predicts a
    distribution, a single contribution can lie far outside the range of ages.

    maps: (..., row, column), months.
    """
    return maps - maps.mean(axis=(-2, -1), keepdims=True)


@dataclass(frozen=True)
class Grid:
    """Where the cells of a map lie on the network's image.

    Convolutions without padding lose the border, so the cells do not divide the image
    evenly: an Inception map of 299 px stretched over the image would show its outer
    cells 18 px, half a cell, from the centre of their receptive fields.

    first_px: centre of the first cell on both axes. step_px: distance between cells.
    image_px: side of the network's image.
    """

    first_px: float
    step_px: float
    image_px: int

    def upsample(self, values: np.ndarray, size: int = DISPLAY_PX) -> np.ndarray:
        """Interpolate a map (row, column) to (size, size) float32, cells in place.

        Linear between centres and constant beyond the outer ones, so that no value
        exceeds those of the map.
        """
        scale = self.image_px / size
        # pixel centres: display -> network's image -> cell
        shift = (0.5 * scale - 0.5 - self.first_px) / self.step_px
        rate = scale / self.step_px
        to_cell = np.array([[rate, 0, shift], [0, rate, shift]])
        return cv2.warpAffine(
            values.astype(np.float32),
            to_cell,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )


class Explainer:
    """Activation maps and predictions of one network, by one forward pass."""

    def __init__(self, network: HandNetwork | keras.Model):
        """Prepare a network of `network.build_network`, loaded or new.

        A model of Keras is read at every call: an explainer made before training
        explains the network as it is now.

        Raises:
            ValueError, StopIteration: it lacks a layer of these networks.
        """
        if not isinstance(network, HandNetwork):
            network = KerasHandNetwork(network)
        self._network = network
        self._head = HeadAttribution(network)
        self.image_size: int = network.image_size
        self.grid = find_grid(network.backbone, self.image_size)

    @property
    def is_compiled(self) -> bool:
        """Whether several threads may call it at the same time."""
        return isinstance(self._network, CompiledHandNetwork)

    def __call__(
        self, images: np.ndarray, is_male: np.ndarray, batch_size: int = 16
    ) -> Explanation:
        """Explain hands at the network's size.

        images: (N, size, size) uint8. is_male: (N,) bool. The last batch is padded, so
        that one shape is compiled.
        """
        batches = []
        for start in range(0, len(images), batch_size):
            rows = np.arange(start, start + batch_size).clip(max=len(images) - 1)
            features, units = self._network(images[rows], is_male[rows])
            weights, offsets, predicted = self._head(units, is_male[rows])
            maps = np.einsum("nhwc,nc->nhw", features, weights)
            batches.append((maps, offsets, predicted))
        arrays = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return Explanation(*(a[: len(images)].astype(np.float32) for a in arrays))


def find_grid(backbone: dict, image_size: int) -> Grid:
    """The grid of a backbone's last maps: the centres of their receptive fields.

    Args:
        backbone: description of a convolutional network whose branches agree on the
            geometry, as `keras.Model.get_config` returns it.
        image_size: side of its images, px.

    Returns:
        The grid of its output's cells.
    """
    first, step, size = 0.0, 1.0, image_size
    for options in _trunk(backbone):
        kernel = _side(options, "kernel_size") or _side(options, "pool_size")
        if kernel is None:
            continue
        stride = _side(options, "strides") or 1
        padding, count = 0, (size - kernel) // stride + 1
        if options["padding"] == "same":
            count = -(-size // stride)
            padding = max((count - 1) * stride + kernel - size, 0) // 2
        first += step * ((kernel - 1) / 2 - padding)
        step *= stride
        size = count
    return Grid(first, step, image_size)


def _trunk(backbone: dict) -> list[dict]:
    """Options of the layers on one path from the image to the maps, in order."""
    layers = {layer["name"]: layer for layer in backbone["layers"]}
    path = []
    name = backbone["output_layers"][0]
    # [name, 0, 0], or a list of such
    layer = layers[name if isinstance(name, str) else name[0]]
    while layer["inbound_nodes"]:
        path.append(layer["config"])
        layer = layers[input_layers(layer)[0]]
    return path[::-1]


def _side(options: dict, key: str) -> int | None:
    value = options.get(key)
    return value[0] if isinstance(value, (list, tuple)) else value
