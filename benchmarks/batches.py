"""Preparing training batches, beside the network's step that they feed."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, medians
from boneage import hdf5
from boneage.cohort import Cohort
from boneage.regression import regressor
from boneage.regression.batches import TrainingBatches
from boneage.regression.parts import Hands

SIZE_PX, BATCH = 144, 16


def whole_file_as_floats(path: Path) -> np.ndarray:
    """What a plain script does before the first step: all hands, float32, in memory."""
    packed = hdf5.read(path, "this benchmark")
    return np.repeat(packed.images[:].astype(np.float32)[..., None], 3, axis=3)


def compare() -> Row:
    """Seconds of our input, of loading everything, and of the step, for one batch."""
    rng = np.random.default_rng(0)
    count = 64
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "hands.h5"
        with hdf5.create(path, count, hdf5.HAND_PX, "noise") as writer:
            for number in range(count):
                shape = (hdf5.HAND_PX, hdf5.HAND_PX)
                writer.add(number, rng.integers(0, 255, shape, np.uint8))
        packed = hdf5.read(path, "this benchmark")
        cohort = Cohort(packed.ids, np.full(count, 100.0), np.zeros(count, bool))
        model = regressor.build("inception_v3", SIZE_PX, "none", sex_input=True)
        model.compile(optimizer="adam", loss="mae")
        batches = TrainingBatches(
            Hands(packed, np.arange(count), cohort),
            lambda images, is_male: regressor.inputs(model, images, is_male),
            SIZE_PX,
            BATCH,
            augmentation=1.0,
            seed=0,
        )
        batch = batches[0]
        ours_s, rival_s, step_s = medians(
            [
                lambda: batches[0],
                lambda: whole_file_as_floats(path),
                lambda: model.train_on_batch(*batch),
            ],
            rounds=5,
        )
    return Row(
        f"one batch of {BATCH} hands, {SIZE_PX} px",
        ours_s,
        f"loading {count} hands as float32",
        rival_s,
        "Inception v3's training step, in parallel",
        step_s,
    )
