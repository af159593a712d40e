"""The bone-age network: a backbone, pooling, and a linear head that predicts months."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from boneage.regression import backbones
from boneage.regression.hand_network import FEATURES, LINEAR_UNIT, REPORTED
from boneage.regression.label_distribution import MONTHS

HEAD_GAIN = 1 / 16
"""Standard deviations of age for one unit of the linear unit.

Adam moves all its 2,000 to 4,000 weights by the learning rate at once: with a gain of
1 and a rate of 1e-3 every step would move all predictions by more than a deviation.
"""


def build_network(
    backbone: str,
    image_size: int,
    weights: str = "imagenet",
    sex_input: bool = False,
    age_mean_months: float = 0.0,
    age_deviation_months: float = 1.0,
    batch_norm_momentum: float | None = None,
    with_distribution: bool = False,
    map_stride: int = 32,
) -> keras.Model:
    """Build image (N, size, size, 1) in [0, 255] (and sex) -> (N, 1) months.

    With `sex_input` there is a second input `is_male`, (N, 1), 0 or 1. It joins after
    pooling, alone and multiplied with the pooled features: every sex has a linear unit
    of its own, so that activation maps stay exact.

    Args:
        backbone: a key of `backbones.BACKBONES`.
        image_size: side of the hands, px.
        weights: see `backbones.build_backbone`.
        sex_input: whether the sex is an input.
        age_mean_months: mean of the training part, which an untrained network predicts.
        age_deviation_months: standard deviation of the training part.
        batch_norm_momentum: of the moving statistics; None keeps Keras's 0.99, which
            needs hundreds of steps when trained from random weights.
        with_distribution: whether the head has a logit for each month and the network
            predicts their expectation; else it has one unit.
        map_stride: px between the cells of its maps, see `backbones.build_backbone`.
    """
    record = backbones.BACKBONES[backbone]
    image = keras.Input((image_size, image_size, 1), name="image")
    pixels = layers.Rescaling(
        record.pixel_scale, record.pixel_offset, name="preprocessing"
    )(image)
    rgb = layers.Concatenate(name="grey_to_rgb")([pixels] * 3)
    network = backbones.build_backbone(backbone, image_size, weights, map_stride)
    if batch_norm_momentum is not None:
        for layer in network.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = batch_norm_momentum
    # float32 from here on, so that maps and months are exact in mixed precision too
    features = layers.Activation("linear", dtype="float32", name=FEATURES)(network(rgb))
    pooled = layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(features)
    inputs = [image]
    if sex_input:
        is_male = keras.Input((1,), name="is_male")
        inputs.append(is_male)
        sex = layers.Rescaling(1.0, -0.5, dtype="float32", name="sex")(is_male)
        by_sex = layers.Multiply(dtype="float32", name="pooled_by_sex")([pooled, sex])
        pooled = layers.Concatenate(dtype="float32", name="pooled_and_sex")(
            [pooled, by_sex, sex]
        )
    if with_distribution:
        head = layers.Dense(MONTHS, dtype="float32", name=LINEAR_UNIT)
        logits = keras.Model(inputs, head(pooled), name=f"bone_age_{backbone}")
        return months_model(logits)
    unit = layers.Dense(
        1,
        kernel_initializer=keras.initializers.VarianceScaling(HEAD_GAIN**-2),
        dtype="float32",
        name=LINEAR_UNIT,
    )(pooled)
    months = layers.Rescaling(
        age_deviation_months * HEAD_GAIN,
        age_mean_months,
        dtype="float32",
        name=REPORTED,
    )(unit)
    return keras.Model(inputs, months, name=f"bone_age_{backbone}")


def has_distribution(model: keras.Model) -> bool:
    """Whether the network's head has a logit a month."""
    return model.get_layer(LINEAR_UNIT).units == MONTHS


def logits_model(model: keras.Model) -> keras.Model:
    """The part that is compiled and trained: a distribution's logits, or all of it.

    model: a network of `build`, whose layers it shares.
    """
    if not has_distribution(model):
        return model
    logits = model.get_layer(LINEAR_UNIT).output
    return keras.Model(model.inputs, logits, name=model.name)


def months_model(model: keras.Model) -> keras.Model:
    """The network that predicts months, from the part that is trained."""
    if not has_distribution(model):
        return model
    share = layers.Softmax(dtype="float32", name="share_of_months")(model.outputs[0])
    # a layer of Keras, so that the file is read without this code
    expectation = layers.Dense(
        1, use_bias=False, trainable=False, dtype="float32", name=REPORTED
    )
    months = expectation(share)
    expectation.set_weights([np.arange(MONTHS)[:, np.newaxis]])
    return keras.Model(model.inputs, months, name=model.name)


def takes_sex(model: keras.Model) -> bool:
    """Whether the network has the input `is_male`."""
    return len(model.inputs) == 2


def feed_dict(
    model: keras.Model, images: np.ndarray, is_male: np.ndarray
) -> dict[str, np.ndarray]:
    """What the network wants to be fed, by name.

    images: (N, size, size) uint8 or float32. is_male: (N,) bool.
    """
    fed = {"image": images[..., np.newaxis].astype(np.float32)}
    if takes_sex(model):
        fed["is_male"] = is_male.astype(np.float32)[:, np.newaxis]
    return fed


def freeze_and_compile(
    model: keras.Model,
    backbone: str,
    fine_tune_from: str,
    optimizer: keras.optimizers.Optimizer,
    loss: str | keras.losses.Loss | Callable,
    batch_norm_frozen: bool = False,
) -> list[str]:
    """Set which layers learn, and compile: the one without the other does nothing.

    Args:
        model: a network of `build`, or the part of it that is trained.
        backbone: its key in `backbones.BACKBONES`.
        fine_tune_from: "all", "head", or a block of the backbone.
        optimizer: a new optimizer; the state of another set of weights does not fit.
        loss: on what the model puts out.
        batch_norm_frozen: whether batch norm keeps its statistics, gain and shift in
            the layers that learn, too.

    Returns:
        Names of the layers with weights that learn, see `trainable_layers`.

    Raises:
        ValueError: `fine_tune_from` is none of the backbone's blocks.
    """
    network = model.get_layer(backbone)
    if fine_tune_from in ("all", "head"):
        frozen = set() if fine_tune_from == "all" else {x.name for x in network.layers}
    elif fine_tune_from in backbones.fine_tune_points(backbone):
        frozen = backbones.frozen_layers(network, fine_tune_from, backbone)
    else:
        raise ValueError(
            f"{backbone} cannot be fine-tuned from {fine_tune_from!r}; choose one of "
            f"{', '.join(backbones.fine_tune_points(backbone))}"
        )
    network.trainable = True
    for layer in network.layers:
        is_norm = isinstance(layer, layers.BatchNormalization)
        layer.trainable = layer.name not in frozen and not (
            batch_norm_frozen and is_norm
        )
    model.compile(optimizer=optimizer, loss=loss)
    return trainable_layers(model, backbone)


def trainable_layers(model: keras.Model, backbone: str) -> list[str]:
    """Names of the layers with weights that learn, from the image to the head.

    model: a network of `build`, new or loaded. backbone: its key in
    `backbones.BACKBONES`.
    """
    inside = [x.name for x in model.get_layer(backbone).layers if x.trainable_weights]
    return [*inside, LINEAR_UNIT]
