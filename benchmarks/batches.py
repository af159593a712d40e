"""Preparing training batches, beside the network's step that they feed."""

import functools

import numpy as np

from benchmarks import noise_hands
from benchmarks.timing import MOST, Goal, Row, Size, medians
from boneage.regression import network
from boneage.regression.batches import TrainingBatches

BATCH = 16


def whole_file_as_floats(images: np.ndarray) -> np.ndarray:
    """What a plain script does before the first step: all hands, float32, in memory."""
    return np.repeat(images[:].astype(np.float32)[..., None], 3, axis=3)


def compare(size: Size) -> list[Row]:
    """Seconds of our input, of loading everything, and of the step, for one batch."""
    side = size.of(144, 75)
    with noise_hands.hands(64) as hands:
        model = network.build_network("inception_v3", side, "none", sex_input=True)
        model.compile(optimizer="adam", loss="mae")
        feed = functools.partial(network.feed_dict, model)
        batches = TrainingBatches(hands, feed, side, BATCH, augmentation=1.0, seed=0)
        batch = batches[0]
        ours_s, baseline_s, step_s = medians(
            [
                lambda: batches[0],
                lambda: whole_file_as_floats(hands.packed.images),
                lambda: model.train_on_batch(*batch),
            ],
            size.rounds,
        )
    row = Row(
        f"one batch of {BATCH} hands, {side} px",
        ours_s,
        f"loading {len(hands)} hands as float32",
        baseline_s,
        "Inception v3's training step, in parallel",
        step_s,
        # one thread that prepares batches is then always ahead
        Goal(MOST, 1.0),
    )
    return [row]
