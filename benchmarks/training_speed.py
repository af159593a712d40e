"""An epoch's training with augmentation, beside the network on one batch."""

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from benchmarks import noise_hands
from benchmarks.timing import LEAST, Goal, Row, Size, medians
from boneage.explanation import activation_maps, saliency
from boneage.io import hdf5, radiographs
from boneage.regression import network
from boneage.regression.batches import TrainingBatches
from boneage.regression.dataset import HandDataset

BATCH = 16


@contextlib.contextmanager
def plain_script(hands: HandDataset, side: int, takes_sex: bool) -> Iterator[object]:
    """Hands as PNG in a folder, through image_dataset_from_directory, map, prefetch."""
    import tensorflow as tf

    turn = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(15 / 360),
            keras.layers.RandomZoom(0.1),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.RandomBrightness(0.1, value_range=(0, 255)),
        ]
    )

    def prepare(images, months):
        fed = {"image": turn(images, training=True)}
        if takes_sex:
            fed["is_male"] = tf.ones((tf.shape(images)[0], 1))
        return fed, months[:, None]

    with tempfile.TemporaryDirectory() as name:
        for number in range(len(hands)):
            image = hands.image(number, hdf5.HAND_PX)
            radiographs.write(Path(name) / f"{number:05d}.png", image)
        dataset = keras.utils.image_dataset_from_directory(
            name,
            labels=[int(age) for age in hands.cohort.bone_age_months],
            label_mode="int",
            color_mode="grayscale",
            batch_size=BATCH,
            image_size=(side, side),
            verbose=False,
        )
        yield dataset.map(prepare, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def make_grad_cam(model: keras.Model) -> Callable[[tuple], np.ndarray]:
    """What tutorials do for a map: weigh the features by the output's gradient."""
    import tensorflow as tf

    outputs = [model.get_layer(network.FEATURES).output, model.output]
    both = keras.Model(model.inputs, outputs)

    @tf.function
    def maps(fed):
        with tf.GradientTape() as tape:
            features, months = both(fed, training=False)
        weights = tf.reduce_mean(tape.gradient(months, features), (1, 2), True)
        return tf.nn.relu(tf.reduce_sum(features * weights, -1))

    return lambda batch: maps(batch[0]).numpy()


def compare(size: Size) -> list[Row]:
    """Seconds a hand of training, and of activation maps."""
    side, count = size.of(128, 75), size.of(192, 32)
    with noise_hands.hands(count, count) as hands:
        model = network.build_network("inception_v3", side, "none", sex_input=True)
        model.compile(optimizer="adam", loss="mae")
        feed = functools.partial(network.feed_dict, model)
        batches = TrainingBatches(hands, feed, side, BATCH, 1.0, 0, workers=2)
        batch = batches[0]
        explainer = activation_maps.Explainer(model)
        grad_cam = make_grad_cam(model)
        whole, _ = TrainingBatches(hands, feed, side, count, 0.0, 0)[0]
        with plain_script(hands, side, takes_sex=True) as dataset:
            times = medians(
                [
                    lambda: model.fit(batches, shuffle=False, verbose=0),
                    lambda: model.fit(dataset, verbose=0),
                    lambda: [model.train_on_batch(*batch) for _ in range(len(batches))],
                    lambda: saliency.map_hands(
                        saliency.MAPS["exact"], explainer, hands, BATCH
                    ),
                    lambda: [grad_cam(batch) for _ in range(len(batches))],
                    lambda: model.predict(whole, BATCH, verbose=0),
                ],
                size.rounds,
            )
    per_hand = np.array(times) / count
    return [
        Row(
            f"training with augmentation, hand of {side} px",
            *(per_hand[0], "image_dataset_from_directory, map, prefetch"),
            *(per_hand[1], "train_on_batch on one batch"),
            *(per_hand[2], Goal(LEAST, 0.95)),
        ),
        Row(
            f"activation map and prediction, {side} px",
            *(per_hand[3], "Grad-CAM on one batch", per_hand[4]),
            *("Keras's predict, all in memory, no map", per_hand[5]),
            Goal(LEAST, 0.80),
        ),
    ]
