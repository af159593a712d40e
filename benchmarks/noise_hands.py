"""Files of noise in the pipeline's form, for networks that do not care."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from boneage.cohort.table import Cohort
from boneage.io import hdf5
from boneage.regression.dataset import HandDataset


@contextlib.contextmanager
def hands(count: int, distinct: int = 64) -> Iterator[HandDataset]:
    """Packed hands of 512 px, with ages; `distinct` of noise, the others all black.

    Black ones are holes in the file: thousands of them need no space.
    """
    rng = np.random.default_rng(0)
    ids = np.arange(1, count + 1)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "segment_all.h5"
        side = hdf5.HAND_PX
        with h5py.File(path, "w") as file:
            images = file.create_dataset("image", (count, side, side), np.uint8)
            for number in range(min(count, distinct)):
                images[number] = rng.integers(0, 255, (side, side), np.uint8)
            file["id"] = ids
            file["image_hash"] = ids
            facts = {"size": side, "preprocessing": "{}", "version": hdf5.VERSION}
            file.attrs.update(facts)
        packed = hdf5.open_packed(path, "this benchmark")
        ages = rng.uniform(1, 228, count)
        cohort = Cohort(packed.ids, ages, rng.random(count) < 0.5)
        yield HandDataset(packed, np.arange(count), cohort)
