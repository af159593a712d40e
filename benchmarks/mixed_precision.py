"""Gradients in 16 bits beside those in 32, by the scale of the loss.

    python -m benchmarks.mixed_precision

One batch through each backbone from random weights, its loss in months. The scale at
which float16 training begins, `trainer.LOSS_SCALE`, must leave all of them finite.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from benchmarks import noise_hands
from boneage import cli
from boneage.regression import network
from boneage.regression.backbones import BACKBONES
from boneage.regression.batches import TrainingBatches

SCALES = tuple(2.0**power for power in range(0, 17, 4))


@dataclass(frozen=True)
class Options:
    """Which networks, on what."""

    models: tuple[str, ...] = tuple(BACKBONES)
    """Backbones."""
    image_size: int = 107
    """Side of the images, px."""
    batch_size: int = 8
    """Images."""


def main(options: Options) -> None:
    """Print a row a backbone, kind of number, and scale."""
    print("| backbone | numbers | loss scale | cosine to 32 bits | of them zero |")
    print("|---|---|---:|---:|---:|")
    for name in options.models:
        for row in compare(name, options.image_size, options.batch_size):
            print(row, flush=True)


def compare(name: str, size: int, count: int) -> Iterator[str]:
    """Rows of one backbone."""
    keras.utils.set_random_seed(0)
    with noise_hands.hands(count) as hands:
        ages = hands.cohort.bone_age_months
        of_ages = {"age_mean_months": ages.mean(), "age_deviation_months": ages.std()}
        build = functools.partial(
            network.build_network, name, size, "none", sex_input=True, **of_ages
        )
        model = build()
        feed = functools.partial(network.feed_dict, model)
        batch = TrainingBatches(hands, feed, size, count, 1.0, 0, workers=1)[0]
    expected = gradients(model)(*batch, 1.0)
    for numbers, scales in (("bfloat16", SCALES[:1]), ("float16", SCALES)):
        keras.config.set_dtype_policy(f"mixed_{numbers}")
        other = build()
        keras.config.set_dtype_policy("float32")
        other.set_weights(model.get_weights())
        compute = gradients(other)
        for scale in scales:
            gradient = compute(*batch, scale)
            if np.isfinite(gradient).all():
                norms = np.linalg.norm(gradient) * np.linalg.norm(expected)
                cosine = f"{gradient @ expected / norms:.3f}"
            else:
                cosine = "overflows"
            zero = f"{(gradient == 0).mean():.1e}"
            yield f"| {name} | {numbers} | {scale:.0f} | {cosine} | {zero} |"


def gradients(model: keras.Model) -> Callable[[dict, np.ndarray, float], np.ndarray]:
    """A function of inputs, months and the loss scale: all gradients, (weights,)."""

    @tf.function
    def compute(fed: dict, months: tf.Tensor, scale: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            off = tf.abs(model(fed, training=True)[:, 0] - tf.reshape(months, [-1]))
            scaled = scale * tf.reduce_mean(off)
        return tape.gradient(scaled, model.trainable_variables)

    def unscaled(fed: dict, months: np.ndarray, scale: float) -> np.ndarray:
        months = tf.constant(months, tf.float32)
        parts = compute(fed, months, tf.constant(scale, tf.float32))
        return (
            np.concatenate([np.asarray(x, np.float64).ravel() for x in parts]) / scale
        )

    return unscaled


if __name__ == "__main__":
    cli.run(main, Options)
