"""The convolutional backbones, and where their fine-tuning may start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from boneage.errors import InputError, refuse_damaged
from boneage.io import keras_models
from boneage.layout import IMAGENET
from boneage.regression import efficientnet_lite

if TYPE_CHECKING:
    import keras

BackboneName = Literal[
    "inception_v3", "inception_resnet_v2", "xception", "efficientnet_lite0"
]
MapStride = Literal[16, 32]


@dataclass(frozen=True)
class Backbone:
    """What distinguishes one backbone from the others.

    Attributes:
        application: its name in keras.applications; "" if this package builds it.
        size: side of the images it was published for, px.
        blocks: a name a user types -> the layer that begins the block (or, where
            branches begin it, that joins them), from the image on. The last one takes
            the maps from a stride of 16 px to 32.
        last_at_stride_16: the layer before the last block: where a network with a map
            stride of 16 ends.
        flows: a block -> its name among the stages of paced transfer, if it differs.
        pixel_scale, pixel_offset: grey value * scale + offset is what its ImageNet
            weights expect (for Keras's own the same as their `preprocess_input`).
    """

    application: str
    size: int
    blocks: dict[str, str]
    last_at_stride_16: str = ""
    flows: dict[str, str] = field(default_factory=dict)
    pixel_scale: float = 1 / 127.5
    pixel_offset: float = -1.0


BACKBONES: dict[str, Backbone] = {
    "inception_v3": Backbone(
        "InceptionV3",
        299,
        {"mixed0": "mixed0", "mixed3": "mixed3", "mixed8": "mixed8"},
        "mixed7",
    ),
    "inception_resnet_v2": Backbone(
        "InceptionResNetV2",
        299,
        {"mixed_5b": "mixed_5b", "mixed_6a": "mixed_6a", "mixed_7a": "mixed_7a"},
        "block17_20_ac",
    ),
    "xception": Backbone(
        "Xception",
        299,
        {
            "block2": "block2_sepconv1",
            "block5": "block5_sepconv1_act",
            "block13": "block13_sepconv1",
        },
        "block13_sepconv1_act",
        {"block2": "entry", "block5": "middle", "block13": "exit"},
    ),
    "efficientnet_lite0": Backbone(
        "",
        224,
        {
            "block2": "block2a_expand_conv",
            "block4": "block4a_expand_conv",
            "block6": "block6a_dwconv",
        },
        "block6a_expand_activation",
        pixel_scale=1 / 128,
        pixel_offset=-127 / 128,
    ),
}

SMALLEST_PX = 75
"""Below this the backbones' last blocks have nothing left to look at."""


def fine_tune_points(name: str, map_stride: int = 32) -> tuple[str, ...]:
    """Where the fine-tuning of a backbone may start: all, head, and its blocks."""
    return ("all", "head", *_blocks(name, map_stride))


def transfer_stages(name: str, map_stride: int = 32) -> dict[str, str]:
    """Stages of paced transfer, from the head down: name -> where fine-tuning starts.

    Xception: head, exit, middle, entry and all, as published; the other backbones
    have no names but their blocks'.
    """
    flows = BACKBONES[name].flows
    blocks = {flows.get(b, b): b for b in reversed(_blocks(name, map_stride))}
    return {"head": "head", **blocks, "all": "all"}


def _blocks(name: str, map_stride: int) -> list[str]:
    """Blocks from the image on; at a map stride of 16 without the last one."""
    blocks = list(BACKBONES[name].blocks)
    return blocks if map_stride == 32 else blocks[:-1]


def build_backbone(
    name: str, image_size: int, weights: str, map_stride: int = 32
) -> keras.Model:
    """Build a backbone without its classifier: (N, size, size, 3) -> feature maps.

    Args:
        name: a key of BACKBONES.
        image_size: side of its images, px.
        weights: "imagenet" (downloaded once by Keras; those of EfficientNet-Lite0
            come with this package), "none" for random ones, or a file: a `.keras`
            model of this pipeline with the same backbone, or a Keras weights file of
            the application without top.
        map_stride: 32, or 16 for maps of twice as many cells a side, from a network
            that ends before its last block (Zhou et al., CVPR 2016, section 3.1).

    Raises:
        InputError: the image is too small, or the weights cannot be had or do not fit.
    """
    if image_size < SMALLEST_PX:
        raise InputError(
            f"--image-size must be at least {SMALLEST_PX} for {name} (got {image_size})"
        )
    shape = (image_size, image_size, 3)
    if weights == "imagenet":
        backbone = _with_imagenet_weights(name, shape)
    else:
        backbone = _with_random_weights(name, shape)
    if weights not in ("imagenet", "none"):
        _load_weights(backbone, name, Path(weights))
    return _cut(backbone, name) if map_stride == 16 else backbone


def _cut(backbone: keras.Model, name: str) -> keras.Model:
    """The same layers, ending where maps still have a stride of 16."""
    import keras

    end = backbone.get_layer(BACKBONES[name].last_at_stride_16)
    return keras.Model(backbone.inputs, end.output, name=name)


def _with_random_weights(name: str, shape: tuple[int, int, int]) -> keras.Model:
    import keras

    if not BACKBONES[name].application:
        return efficientnet_lite.build(shape, name)
    application = getattr(keras.applications, BACKBONES[name].application)
    return application(include_top=False, weights=None, input_shape=shape, name=name)


def _with_imagenet_weights(name: str, shape: tuple[int, int, int]) -> keras.Model:
    import keras

    if not BACKBONES[name].application:
        backbone = efficientnet_lite.build(shape, name)
        efficientnet_lite.load_imagenet(backbone, IMAGENET / f"{name}.npz")
        return backbone
    application = getattr(keras.applications, BACKBONES[name].application)
    try:
        return application(
            include_top=False, weights="imagenet", input_shape=shape, name=name
        )
    except Exception as error:
        # Keras raises a bare Exception for a failed download
        if "URL fetch failure" not in str(error):
            raise
        raise InputError(
            f"ImageNet weights of {name} cannot be downloaded; download them "
            "elsewhere and give --weights FILE, or start with --weights none"
        ) from error


def _load_weights(backbone: keras.Model, name: str, path: Path) -> None:
    """Load a whole backbone's weights, or those before its last block."""
    if not path.is_file():
        raise InputError(f"{path} cannot be found; check --weights")
    advice = "check --weights and --model"
    with refuse_damaged(path, f"cannot be read as weights of {name}", advice):
        if path.suffix == ".keras":
            advice = f"give a network with the backbone {name}"
            trained = keras_models.load(path, [name], advice).get_layer(name)
            is_cut = len(trained.layers) < len(backbone.layers)
            target = _cut(backbone, name) if is_cut else backbone
            target.set_weights(trained.get_weights())
        else:
            backbone.load_weights(path)


def frozen_layers(backbone: keras.Model, block: str, name: str) -> set[str]:
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
