"""One radiograph under two ids: pairs of images that show the same hand.

Trained on under one id and tested with under the other, it makes a network look better
than it is. Candidates share nearly all bits of a hash of their lowest frequencies; of
these a pair is reported whose thumbnails correlate as only copies do.

Source of the hash: Zauner, Implementation and benchmarking of perceptual image hash
functions (2010), 3.2.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from boneage.ids import RadiographId, order, sort_ids

SMALL_PX = 64
"""Side of the thumbnails."""

FREQUENCIES = 8
"""Along each side; with the mean left out, 63 bits."""

MOST_BITS = 6
"""Bits in which the hashes of a pair may differ."""

LEAST_CORRELATION = 0.98
"""Of two thumbnails of one radiograph; two hands reach 0.975.

Source: docs/results/robustness.md.
"""

ROWS_AT_ONCE = 250


class DuplicatePair(NamedTuple):
    """Two ids that show one radiograph; mirrored: one is the other seen from behind."""

    first: RadiographId
    second: RadiographId
    correlation: float
    mirrored: bool


def thumbnail(radiograph: np.ndarray) -> np.ndarray:
    """Shrink (row, column) uint8 to (64, 64) uint8, proportions aside."""
    size = (SMALL_PX, SMALL_PX)
    return cv2.resize(radiograph, size, interpolation=cv2.INTER_AREA)


def hashes(thumbnails: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """Perceptual hashes: (thumbnail, 64) float32 of 1 and -1.

    thumbnails: (thumbnail, 64, 64) uint8. mirrored: of the thumbnails seen from behind.
    """
    place = (np.arange(SMALL_PX) + 0.5) * np.pi / SMALL_PX
    cosines = np.cos(np.arange(FREQUENCIES)[:, np.newaxis] * place).astype(np.float32)
    # in parts: as floats, all thumbnails together would take four times their room
    parts = np.array_split(thumbnails, max(1, len(thumbnails) // ROWS_AT_ONCE))
    low = np.concatenate([cosines @ x.astype(np.float32) @ cosines.T for x in parts])
    if mirrored:  # along the columns, odd cosines change their sign
        low[..., 1::2] *= -1
    low = low.reshape(len(thumbnails), FREQUENCIES**2)
    # the mean brightness carries no information: neither a bit nor part of the median
    median = np.median(low[:, 1:], axis=1, keepdims=True)
    bits = np.where(low > median, 1, -1).astype(np.float32)
    bits[:, 0] = 1
    return bits


def find_duplicates(
    ids: Sequence[RadiographId],
    thumbnails: np.ndarray,
    most_bits: int = MOST_BITS,
    least_correlation: float = LEAST_CORRELATION,
) -> list[DuplicatePair]:
    """Pairs that show one radiograph, brighter or darker, scaled, compressed, mirrored.

    Args:
        ids: (picture,).
        thumbnails: (thumbnail, 64, 64) uint8, of `thumbnail`.
        most_bits: difference of two hashes.
        least_correlation: of two thumbnails, 1 for equal ones.
    """
    pairs = []
    plain, means = hashes(thumbnails), _tiny(thumbnails)
    tiny = _standardised(means)
    for mirrored in (False, True):
        shown = thumbnails[..., ::-1] if mirrored else thumbnails
        others = hashes(thumbnails, mirrored)
        tiny_others = _standardised(means[..., ::-1] if mirrored else means)
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = plain[start : start + ROWS_AT_ONCE]
            # equal bits less different ones
            alike = rows @ others[start:].T > plain.shape[1] - 2 * most_bits - 1
            first, second = (np.argwhere(np.triu(alike, 1)) + start).T
            # most are different hands: tiny thumbnails show it at 1/16 of the cost
            correlations = _products(tiny[first], tiny_others[second])
            near = correlations >= least_correlation - 0.02
            for first_row, second_row in zip(first[near], second[near], strict=True):
                both = _standardised(
                    np.stack([thumbnails[first_row], shown[second_row]])
                )
                correlation = float(_products(both[:1], both[1:])[0])
                if correlation >= least_correlation:
                    low, high = sort_ids((ids[first_row], ids[second_row]))
                    pairs.append(DuplicatePair(low, high, correlation, mirrored))
    return sorted(pairs, key=lambda pair: (order(pair.first), order(pair.second)))


def _tiny(thumbnails: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 pixels: (picture, 16, 16) float32."""
    side = SMALL_PX // 4
    blocks = thumbnails.reshape(len(thumbnails), side, 4, side, 4)
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    """Mean 0 and norm 1 of each, in one row; all 0 where it has one grey level."""
    flat = thumbnails.reshape(len(thumbnails), np.prod(thumbnails.shape[1:]))
    flat = flat - flat.mean(axis=1, keepdims=True, dtype=np.float32)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)


def _products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each pair of rows of `_standardised`."""
    return np.einsum("ij,ij->i", first, second)
