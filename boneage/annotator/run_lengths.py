"""Masks as run lengths, as they travel between page and program.

Row by row: how many pixels are outside, then how many inside, outside, and so on; the
first run may be 0. Little-endian uint32. A hand of a full-size radiograph takes 50 kB.
"""

import numpy as np

from boneage.io.radiographs import Mask

LARGEST_BYTES = 64 << 20
"""No drawing comes near: 16 million changes between inside and outside."""


def encode(mask: Mask) -> bytes:
    """The run lengths of a mask, (row, column) uint8."""
    inside = mask.ravel() > 0
    changes = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    start = [0, 0] if len(inside) and inside[0] else [0]
    edges = np.concatenate([start, changes, [len(inside)]])
    return np.diff(edges).astype("<u4").tobytes()


def decode(encoded: bytes, shape: tuple[int, int]) -> Mask | None:
    """The mask of these run lengths; None if they do not fill an image of `shape`."""
    if len(encoded) % 4:
        return None
    runs = np.frombuffer(encoded, "<u4")
    if runs.sum(dtype=np.uint64) != shape[0] * shape[1]:
        return None
    values = np.zeros(len(runs), np.uint8)
    values[1::2] = 255
    return np.repeat(values, runs).reshape(shape)
