"""The U-Net, the network of every member of the committee."""

import keras
from keras import layers, ops

FEATURES = "features"
"""The layer of the last feature maps, before the mask's logits."""


def build(size: int, filters: int = 32, depth: int = 4) -> keras.Model:
    """Build (N, size, size, 1) in [0, 255] -> mask logits (N, size, size, 1), float32.

    Two 3 x 3 convolutions with batch norm per level; `filters` at full resolution,
    doubled at each of `depth` poolings.
    Source: Ronneberger et al., U-Net, MICCAI 2015.

    Raises:
        ValueError: `size` cannot be halved `depth` times.
    """
    if size % 2**depth:
        raise ValueError(f"size must be a multiple of {2**depth} (got {size})")
    image = keras.Input((size, size, 1), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="preprocessing")(image)
    skips = []
    for level in range(depth):
        x = _two_convolutions(x, filters * 2**level, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
    x = _two_convolutions(x, filters * 2**depth, "bottom")
    for level in reversed(range(depth)):
        x = layers.UpSampling2D(interpolation="bilinear", name=f"up{level}_upsample")(x)
        x = layers.Concatenate(name=f"up{level}_join")([x, skips[level]])
        x = _two_convolutions(x, filters * 2**level, f"up{level}")
    features = layers.Activation("linear", name=FEATURES)(x)
    logits = layers.Conv2D(1, 1, dtype="float32", name="mask_logits")(features)
    return keras.Model(image, logits, name="unet")


def _two_convolutions(
    x: keras.KerasTensor, filters: int, name: str
) -> keras.KerasTensor:
    for index in (1, 2):
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, name=f"{name}_conv{index}"
        )(x)
        # the published momentum of 0.99 lags hundreds of steps behind a short training
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn{index}")(x)
        x = layers.Activation("relu", name=f"{name}_relu{index}")(x)
    return x


@keras.saving.register_keras_serializable("boneage")
def dice_and_cross_entropy(
    truth: keras.KerasTensor, logits: keras.KerasTensor
) -> keras.KerasTensor:
    """Soft Dice loss plus pixel cross-entropy, one value per image, (N,).

    truth: (N, row, column, 1), 0 or 1. logits: the same shape, before the sigmoid,
    which is applied here alone.
    Source: Milletari et al., V-Net, 3DV 2016, for the soft Dice.
    """
    truth = ops.cast(truth, "float32")
    probability = ops.sigmoid(logits)
    axes = (1, 2, 3)
    overlap = ops.sum(truth * probability, axes)
    total = ops.sum(truth, axes) + ops.sum(probability, axes)
    # one pixel in both terms: the loss of an empty mask predicted empty is 0
    soft_dice = 1 - (2 * overlap + 1) / (total + 1)
    cross_entropy = ops.mean(
        ops.binary_crossentropy(truth, logits, from_logits=True), axes
    )
    return soft_dice + cross_entropy
