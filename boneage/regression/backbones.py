"""The convolutional backbones, and where their fine-tuning may start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from boneage.errors import InputError
from boneage.io import keras_models

if TYPE_CHECKING:
    import keras

BackboneName = Literal["inception_v3", "inception_resnet_v2", "xception"]


@dataclass(frozen=True)
class Backbone:
    """What distinguishes one backbone from the others.

    application: its name in keras.applications. size: side of the images it was
    published for, px. blocks: a name a user types -> the layer that begins the block
    (or, where branches begin it, that joins them), from the input on.
    flows: a block -> its name among the stages of paced transfer, where it has another.
    pixel_scale, pixel_offset: grey value * scale + offset is what its ImageNet weights
    expect (the same as its `preprocess_input`).
    """

    application: str
    size: int
    blocks: dict[str, str]
    flows: dict[str, str] = field(default_factory=dict)
    pixel_scale: float = 1 / 127.5
    pixel_offset: float = -1.0


BACKBONES: dict[str, Backbone] = {
    "inception_v3": Backbone(
        "InceptionV3",
        299,
        {"mixed0": "mixed0", "mixed3": "mixed3", "mixed8": "mixed8"},
    ),
    "inception_resnet_v2": Backbone(
        "InceptionResNetV2",
        299,
        {"mixed_5b": "mixed_5b", "mixed_6a": "mixed_6a", "mixed_7a": "mixed_7a"},
    ),
    "xception": Backbone(
        "Xception",
        299,
        {
            "block2": "block2_sepconv1",
            "block5": "block5_sepconv1_act",
            "block13": "block13_sepconv1_act",
        },
        {"block2": "entry", "block5": "middle", "block13": "exit"},
    ),
}

SMALLEST_PX = 75
"""Below this the backbones' last blocks have nothing left to look at."""


def fine_tune_points(name: str) -> tuple[str, ...]:
    """Where the fine-tuning of a backbone may start: all, head, and its blocks."""
    return ("all", "head", *BACKBONES[name].blocks)


def transfer_stages(name: str) -> dict[str, str]:
    """Stages of paced transfer, from the head down: name -> where fine-tuning starts.

    Xception: head, exit, middle, entry and all, as published; the other backbones
    have no names but their blocks'.
    """
    record = BACKBONES[name]
    blocks = {record.flows.get(b, b): b for b in reversed(record.blocks)}
    return {"head": "head", **blocks, "all": "all"}


def build(name: str, image_size: int, weights: str) -> keras.Model:
    """Build a backbone without its classifier: (N, size, size, 3) -> feature maps.

    Args:
        name: a key of BACKBONES.
        image_size: side of its images, px.
        weights: "imagenet" (downloaded once by Keras), "none" for random ones, or a
            file: a `.keras` model of this pipeline with the same backbone, or a Keras
            weights file of the application without top.

    Raises:
        InputError: the image is too small, or the weights cannot be had or do not fit.
    """
    import keras

    if image_size < SMALLEST_PX:
        raise InputError(
            f"--image-size {image_size}: {name} needs at least {SMALLEST_PX} px"
        )
    application = getattr(keras.applications, BACKBONES[name].application)
    shape = (image_size, image_size, 3)
    if weights == "imagenet":
        return _with_imagenet_weights(application, name, shape)
    backbone = application(
        include_top=False, weights=None, input_shape=shape, name=name
    )
    if weights != "none":
        _load_weights(backbone, name, Path(weights))
    return backbone


def _with_imagenet_weights(
    application: type, name: str, shape: tuple[int, int, int]
) -> keras.Model:
    try:
        return application(
            include_top=False, weights="imagenet", input_shape=shape, name=name
        )
    except Exception as error:
        # Keras raises a bare Exception for a failed download
        if "URL fetch failure" not in str(error):
            raise
        raise InputError(
            f"the ImageNet weights of {name} could not be downloaded; download them "
            "elsewhere and give --weights FILE, or start from --weights none"
        ) from error


def _load_weights(backbone: keras.Model, name: str, path: Path) -> None:

    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    try:
        if path.suffix == ".keras":
            advice = f"give a network with the backbone {name}"
            trained = keras_models.load(path, [name], advice)
            backbone.set_weights(trained.get_layer(name).get_weights())
        else:
            backbone.load_weights(path)
    except keras_models.DAMAGED as error:
        raise InputError(f"{path}: not weights of {name} ({error})") from error


def layers_before(backbone: keras.Model, block: str, name: str) -> set[str]:
    """Names of the layers that stay frozen when fine-tuning starts at `block`.

    All paths from the image to the block pass through one layer, the end of the
    block before it: that layer and everything that it depends on stay frozen. Found
    in the graph, because positions in `layers` and automatic names such as `add_2`
    change with whatever else was built in the process.
    """
    entry = BACKBONES[name].blocks[block]
    parents = {
        layer.name: [
            tensor._keras_history.operation.name for tensor in _as_list(layer.input)
        ]
        for layer in backbone.layers
    }
    ancestors: dict[str, set[str]] = {}
    dominators: dict[str, set[str]] = {}
    for layer in backbone.layers:  # from the input on
        above = [p for p in parents[layer.name] if p != layer.name]
        ancestors[layer.name] = {layer.name}.union(*(ancestors[p] for p in above))
        common = set.intersection(*(dominators[p] for p in above)) if above else set()
        dominators[layer.name] = common | {layer.name}
    gate = max(
        dominators[entry] - {entry}, key=lambda candidate: len(ancestors[candidate])
    )
    return ancestors[gate]


def _as_list(tensors: object) -> list:
    return list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
