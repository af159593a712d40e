"""Measures of whether a map shows what a network looks at.

They take attention: a map's values, (N, row, column), at least 0, such as the absolute
values of a map of `saliency`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import stats

if TYPE_CHECKING:
    import keras


def share_inside(attention: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Share of each hand's attention that lies in its region, (N,); NaN if it has none.

    attention: (N, row, column), at least 0. region: the same shape, bool.
    """
    total = attention.sum(axis=(1, 2))
    inside = (attention * region).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0)


def pointing_game_hits(attention: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Whether the most attended place lies in the region, (N,) bool.

    The pointing game: Zhang et al., Top-down neural attention by excitation backprop,
    IJCV 2018. Chance hits as often as the region's share of the area.
    """
    flat = attention.reshape(len(attention), -1)
    return region.reshape(len(region), -1)[np.arange(len(flat)), flat.argmax(axis=1)]


def discs(points: np.ndarray, radius_px: float, size: int) -> np.ndarray:
    """(size, size) bool: within `radius_px` of any of the points (n, 2), (row, column).

    Empty where there are no points.
    """
    rows, columns = np.mgrid[:size, :size]
    inside = np.zeros((size, size), bool)
    for row, column in points:
        inside |= (rows - row) ** 2 + (columns - column) ** 2 <= radius_px**2
    return inside


def cascading_randomisation(
    model: keras.Model, backbone: str, rng: np.random.Generator
) -> Iterator[str]:
    """Shuffle the weights of one layer after the other, the head first, in place.

    Yields the name of each layer after it was shuffled. A map that explains the network
    must change; a map that only reproduces the image does not.
    Source: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (cascading).
    """
    from boneage.regression import network as regression_network

    network = model.get_layer(backbone)
    layers = [layer for layer in network.layers if layer.get_weights()]
    for layer in [model.get_layer(regression_network.LINEAR_UNIT), *layers[::-1]]:
        shuffled = [
            rng.permutation(weight.ravel()).reshape(weight.shape)
            for weight in layer.get_weights()
        ]
        layer.set_weights(shuffled)
        yield layer.name


def rank_correlation(
    maps: np.ndarray, others: np.ndarray, is_compared: np.ndarray
) -> np.ndarray:
    """Spearman's rho of each hand's two maps, (N,); NaN where one is constant.

    maps, others: (N, row, column). is_compared: the same shape, bool: the cells on the
    hand, because all maps are alike on an empty background.
    """
    rho = []
    for first, second, chosen in zip(maps, others, is_compared, strict=True):
        first, second = first[chosen], second[chosen]
        is_constant = len(first) == 0 or np.ptp(first) == 0 or np.ptp(second) == 0
        rho.append(np.nan if is_constant else stats.spearmanr(first, second).statistic)
    return np.array(rho)


def blurred(images: np.ndarray, sigma_px: float) -> np.ndarray:
    """Hands without detail, to replace what is deleted or not yet inserted.

    images: (N, size, size) uint8. Black would be a shape of its own.
    """
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma_px) for image in images])


def deletion_curve(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    replacements: np.ndarray,
    attention: np.ndarray,
    shares: np.ndarray,
    before: np.ndarray | None = None,
) -> np.ndarray:
    """How far predictions move as places are replaced, (N, share), months.

    With the two sets of images exchanged this is insertion.
    Source: Petsiuk, Das & Saenko, RISE, BMVC 2018; here for regression.

    Args:
        predict: (N, size, size) uint8 -> (N,) months.
        images: (N, size, size) uint8, unchanged.
        replacements: of the same shape.
        attention: (N, size, size); the most attended places are replaced first.
        shares: replaced shares of the area, ascending, from 0 to 1.
        before: (N,) months, the predictions of `images` if they are known.
    """
    if before is None:
        before = predict(images)
    flat = -attention.reshape(len(attention), -1).astype(np.float32)
    ranks = np.argsort(np.argsort(flat, axis=1, kind="stable"), axis=1)
    ranks = ranks.reshape(attention.shape) / attention[0].size
    moved = [
        np.abs(predict(np.where(ranks < share, replacements, images)) - before)
        for share in shares
    ]
    return np.stack(moved, axis=1)
