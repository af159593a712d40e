"""Kinds of map that show how a prediction depends on each place of a hand.

All are in months with the same sign: above 0 the place makes the hand look older, below
0 younger. They answer different questions:

exact: how much more a cell of the last features adds to the prediction than the mean
    cell does. One forward pass a batch, and nothing is approximated; but the features
    of a cell see most of the image, so the map need not point at what the network
    looks at.
views: the exact map averaged over turned, mirrored and zoomed copies of the hand.
occlusion: how the prediction changes when a place is blurred. It points at what the
    network looks at, for up to 196 forward passes per hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from boneage.errors import InputError
from boneage.explanation.activation_maps import Explainer, Grid, centred_maps

if TYPE_CHECKING:
    from boneage.regression.dataset import HandDataset

PLACES = 14
"""Places of an occlusion map along each side."""
WINDOW_PLACES = 0.7
"""Standard deviation of the window that hides a place, in places."""
BLUR_SHARE = 0.04
"""Standard deviation of the blur that hides it, as a share of the image's side.

Blurred, a place keeps its brightness and loses its bones; black would be a shape of its
own.
"""


class SaliencyMaps(NamedTuple):
    """Maps of N hands, of one kind.

    values: (N, row, column) float32, months; above 0 the place makes the hand look
    older. predicted_months: (N,) float32, of the hands as they are. grid: where the
    cells lie on the network's image.
    """

    values: np.ndarray
    predicted_months: np.ndarray
    grid: Grid

    def select(self, chosen: np.ndarray) -> SaliencyMaps:
        """Keep the hands `chosen`, (n,) int or (N,) bool."""
        return SaliencyMaps(
            self.values[chosen], self.predicted_months[chosen], self.grid
        )


MapFunction = Callable[[Explainer, np.ndarray, np.ndarray, int], SaliencyMaps]
"""(explainer, images (N, size, size) uint8, is_male (N,) bool, batch size) -> maps."""


def exact(
    explainer: Explainer, images: np.ndarray, is_male: np.ndarray, batch_size: int = 16
) -> SaliencyMaps:
    """The activation map less its mean: adds up to the prediction, see `Explainer`."""
    explanation = explainer(images, is_male, batch_size)
    return SaliencyMaps(
        centred_maps(explanation.maps), explanation.predicted_months, explainer.grid
    )


def averaged_over_views(
    explainer: Explainer,
    images: np.ndarray,
    is_male: np.ndarray,
    batch_size: int,
    matrices: np.ndarray,
) -> SaliencyMaps:
    """The exact map averaged over views of each hand, each moved back onto the hand.

    Args:
        explainer: of the network.
        images: (N, size, size) uint8.
        is_male: (N,) bool.
        batch_size: views a forward pass.
        matrices: (view, 2, 3), px: from the hand to its view, as `cv2.warpAffine` takes
            them.

    Returns:
        Maps with a cell a pixel; the predictions are the views' mean.
    """
    size, count = explainer.image_size, len(matrices)
    views = np.stack(
        [cv2.warpAffine(im, m, (size, size)) for im in images for m in matrices]
    )
    maps = exact(explainer, views, np.repeat(is_male, count), batch_size)
    values = np.zeros((len(images), size, size), np.float32)
    for number, cells in enumerate(maps.values):
        hand, view = divmod(number, count)
        values[hand] += cv2.warpAffine(
            maps.grid.upsample(cells, size),
            matrices[view],
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    predicted = maps.predicted_months.reshape(-1, count).mean(axis=1)
    return SaliencyMaps(values / count, predicted, Grid(0.0, 1.0, size))


def occlusion(
    explainer: Explainer,
    images: np.ndarray,
    is_male: np.ndarray,
    batch_size: int = 16,
    places: int = PLACES,
) -> SaliencyMaps:
    """How the prediction changes when one place after the other is blurred.

    The value of a place is the prediction of the hand as it is less that with the place
    hidden. A hand has `places` x `places` of them, which overlap; a place whose blur
    changes no pixel (the background) is 0 without a forward pass.
    Source: Zeiler & Fergus, Visualizing and understanding convolutional networks, ECCV
    2014, with a soft window in place of a grey square.
    """
    size = explainer.image_size
    step = size / places
    grid = Grid(step / 2 - 0.5, step, size)
    centres = grid.first_px + step * np.arange(places)
    distances = (np.arange(size) - centres[:, np.newaxis]) / (WINDOW_PLACES * step)
    bumps = np.exp(-(distances**2) / 2).astype(np.float32)
    values = np.zeros((len(images), places, places), np.float32)
    predicted = np.zeros(len(images), np.float32)
    for number, image in enumerate(images):
        blurred = cv2.GaussianBlur(image, (0, 0), BLUR_SHARE * size)
        difference = blurred.astype(np.float32) - image
        hidden = np.empty((places, places, size, size), np.uint8)
        for row, column in np.ndindex(places, places):
            window = np.outer(bumps[row], bumps[column])
            hidden[row, column] = np.rint(image + window * difference)
        rows, columns = np.nonzero((hidden != image).any(axis=(2, 3)))
        whole_and_hidden = np.concatenate([image[np.newaxis], hidden[rows, columns]])
        sexes = np.full(len(whole_and_hidden), is_male[number])
        whole, *after = explainer(whole_and_hidden, sexes, batch_size).predicted_months
        predicted[number] = whole
        values[number, rows, columns] = whole - np.array(after, np.float32)
    return SaliencyMaps(values, predicted, grid)


class MapKind(NamedTuple):
    """A kind of map: how it is made, and the forward passes that a hand takes."""

    make: MapFunction
    passes: int = 1


MAPS = {"exact": MapKind(exact), "occlusion": MapKind(occlusion, PLACES**2)}
"""Kinds of map that a gallery can show, by name."""


def map_hands(
    kind: MapKind,
    explainer: Explainer,
    hands: HandDataset,
    batch_size: int = 16,
    description: str = "",
) -> SaliencyMaps:
    """Make maps of at least one hand of segment_all.h5, a batch in memory at a time.

    Args:
        kind: of map, such as a value of MAPS.
        explainer: of the network.
        hands: the hands.
        batch_size: images per forward pass.
        description: label of the progress bar; names the network in errors.

    Raises:
        InputError: the network predicts NaN.
    """
    batches = []
    at_once = max(1, batch_size // kind.passes)
    for start in tqdm(range(0, len(hands), at_once), description, disable=None):
        rows = range(start, min(start + at_once, len(hands)))
        images = np.stack([hands.image(i, explainer.image_size) for i in rows])
        is_male = hands.cohort.is_male[rows.start : rows.stop]
        batches.append(kind.make(explainer, images, is_male, batch_size))
    values = np.concatenate([batch.values for batch in batches])
    predicted = np.concatenate([batch.predicted_months for batch in batches])
    if not (np.isfinite(values).all() and np.isfinite(predicted).all()):
        raise InputError(
            f"{description} predicts values that are not numbers (NaN); train it again"
        )
    return SaliencyMaps(values, predicted, batches[0].grid)
