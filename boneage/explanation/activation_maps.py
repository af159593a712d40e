"""Activation maps that add up: which regions make the predicted bone age differ.

All networks of `regressor.build` average `cam_features` over the image and weigh the
channels linearly. The order can be swapped: weighed first, the channels give a map in
months whose mean, plus an offset that no region owns, is the prediction. Nothing is
approximated (unlike Grad-CAM). Zhou et al., CVPR 2016, for regression.

Where the head says a distribution, every logit has such a map; they are added up by how
many months each logit pulls the expectation (`distribution.pull`), so that mean and
offset are the prediction there, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from boneage.errors import InputError
from boneage.explanation.head_attribution import HeadAttribution

if TYPE_CHECKING:
    import keras

    from boneage.regression.dataset import HandDataset

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
    """Maps less their own mean: where a hand looks older (+) or younger (-).

    Every cell of map + offset is the age that this region alone would give a linear
    unit, and its part in the prediction, whatever the head; the prediction is the mean
    of all. The deviation is how far the region pulls.

    maps: (..., row, column), months.
    """
    return maps - maps.mean(axis=(-2, -1), keepdims=True)


@dataclass(frozen=True)
class Grid:
    """Where the cells of a map lie on the network's image.

    Convolutions without padding lose the border, so the cells are not an even
    division of the image: stretching an Inception map of 299 px over the image would
    show its outer cells 18 px, half a cell, from where they look.

    first_px: centre of the first cell, both axes. step_px: from cell to cell.
    image_px: side of the network's image.
    """

    first_px: float
    step_px: float
    image_px: int

    def upsample(self, values: np.ndarray, size: int = DISPLAY_PX) -> np.ndarray:
        """Interpolate a map (row, column) to (size, size) float32, cells in place.

        Between centres linear, beyond the outer ones constant: no value that the
        network did not give.
        """
        scale = self.image_px / size
        # of pixel centres: display -> network's image -> cell
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

    def __init__(self, model: keras.Model):
        """Prepare `model`, a network of `regressor.build`, loaded or new.

        The weights are read at every call: an explainer made before training shows
        the network as it is now.
        """
        import keras

        from boneage.regression import network

        self._head = HeadAttribution(model)
        self._features = keras.Model(
            model.inputs,
            [model.get_layer(network.FEATURES).output, self._head.units],
        )
        self._inputs = network.feed_dict
        self.image_size: int = model.inputs[0].shape[1]
        backbone = next(x for x in model.layers if isinstance(x, keras.Model))
        self.grid = find_grid(backbone, self.image_size)

    def __call__(
        self, images: np.ndarray, is_male: np.ndarray, batch_size: int = 16
    ) -> Explanation:
        """Explain hands at the network's size.

        images: (N, size, size) uint8. is_male: (N,) bool. The last batch is padded:
        one compiled shape.
        """
        found = []
        for start in range(0, len(images), batch_size):
            rows = np.arange(start, start + batch_size).clip(max=len(images) - 1)
            fed = self._inputs(self._features, images[rows], is_male[rows])
            features, units = self._features.predict_on_batch(fed)
            weights, *said = self._head(units, is_male[rows])
            found.append((np.einsum("nhwc,nc->nhw", features, weights), *said))
        whole = (np.concatenate(each) for each in zip(*found, strict=True))
        return Explanation(*(w[: len(images)].astype(np.float32) for w in whole))


def explain_hands(
    explainer: Explainer,
    hands: HandDataset,
    batch_size: int = 16,
    description: str = "",
) -> Explanation:
    """Explain at least one hand of segment_all.h5, a batch in memory at a time.

    Args:
        explainer: of the network.
        hands: which.
        batch_size: hands a forward pass.
        description: stands before the progress bar, and names the network.

    Raises:
        InputError: the network predicts no numbers.
    """
    batches = []
    for start in tqdm(range(0, len(hands), batch_size), description, disable=None):
        rows = range(start, min(start + batch_size, len(hands)))
        images = np.stack([hands.image(i, explainer.image_size) for i in rows])
        is_male = hands.cohort.is_male[rows.start : rows.stop]
        batches.append(explainer(images, is_male, batch_size))
    found = Explanation(*(np.concatenate(each) for each in zip(*batches, strict=True)))
    if not np.isfinite(found.maps).all():
        raise InputError(
            f"{description}: predicts no numbers (NaN); train the run again"
        )
    return found


def find_grid(backbone: keras.Model, image_size: int) -> Grid:
    """Follow the receptive field's centre from the image to the last maps.

    Args:
        backbone: a convolutional network whose branches agree on the geometry.
        image_size: side of its images, px.
    """
    first, step = 0.0, 1.0
    for layer in _trunk(backbone):
        kernel = _side(layer, "kernel_size") or _side(layer, "pool_size")
        if kernel is None:
            continue
        stride = _side(layer, "strides")
        before = 0
        if layer.padding == "same":
            size = layer.input.shape[1]
            before = max((-(-size // stride) - 1) * stride + kernel - size, 0) // 2
        first += step * ((kernel - 1) / 2 - before)
        step *= stride
    return Grid(first, step, image_size)


def _trunk(backbone: keras.Model) -> list:
    """Layers on one path from the image to the maps, in this order."""
    path = []
    layer = backbone.outputs[0]._keras_history.operation
    while layer.name != backbone.layers[0].name:
        path.append(layer)
        entering = layer.input
        tensor = entering[0] if isinstance(entering, (list, tuple)) else entering
        layer = tensor._keras_history.operation
    return path[::-1]


def _side(layer: object, attribute: str) -> int | None:
    value = getattr(layer, attribute, None)
    return value[0] if isinstance(value, (list, tuple)) else value
