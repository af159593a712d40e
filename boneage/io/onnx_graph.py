"""Translate a `.keras` file to ONNX, without Keras: for fast answers, see `engine`.

ONNX has the channels first and Keras last; everything within the graph is channels
first, and a file's weights are transposed once. Paddings are written out from the
sizes that the file states. Translated are the layers that networks of this pipeline
have; another layer raises UnsupportedLayerError, and Keras must run the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from boneage.io.keras_archive import (
    KerasArchive,
    UnsupportedLayerError,
    input_layers,
    layer_names,
)

OPSET = 17
IR_VERSION = 8
"""Versions of the format that ONNX Runtime reads since 1.14 (2023)."""


class _Tensor(NamedTuple):
    """A value in the graph. shape: without the batch, channels last, as in Keras."""

    name: str
    shape: tuple[int, ...]


class _Layer(NamedTuple):
    """A layer to add: its options, the names that lead to it, and its inputs."""

    options: dict
    path: tuple[str, ...]
    sources: list[_Tensor]

    @property
    def source(self) -> _Tensor:
        """The first input, for most the only one."""
        return self.sources[0]


INLINE = 64
"""Numbers of a constant that a file carries itself, at most."""


class Translation(NamedTuple):
    """content: an ONNX file without its weights. weights: float32, by name.

    Nothing is written, copied and read again that a session can take as it is.
    """

    content: bytes
    weights: dict[str, np.ndarray]


def translate(archive: KerasArchive, layers: Sequence[str]) -> Translation:
    """The part of a network that gives the outputs of `layers`.

    Its inputs carry the names that they have in Keras, and its outputs the names of
    the layers; both are channels first.

    Raises:
        UnsupportedLayerError: it has a layer that is not translated.
        ValueError: it has none of that name.
    """
    graph = _Graph(archive)
    tensors = graph.add_network(archive.config, (), {})
    outputs = []
    for name in layers:
        if name not in tensors:
            raise ValueError(f"no such layer: {name}")
        shape = tensors[name].shape
        graph.add_node("Identity", [tensors[name].name], name)
        outputs.append(_value_info(_Tensor(name, shape)))
    nodes, used = _needed(graph.nodes, layers)
    constants = {name: a for name, a in graph.constants.items() if name in used}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            archive.config["name"],
            [_value_info(tensor) for tensor in graph.inputs if tensor.name in used],
            outputs,
            [_initializer(name, array) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    weights = {name: a for name, a in constants.items() if a.size > INLINE}
    return Translation(model.SerializeToString(), weights)


def _initializer(name: str, values: np.ndarray) -> onnx.TensorProto:
    """A constant: its values, or a note that they come from elsewhere."""
    if values.size <= INLINE:
        return numpy_helper.from_array(values, name)
    tensor = onnx.TensorProto(name=name, dims=values.shape)
    tensor.data_type = onnx.TensorProto.FLOAT
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)
    return tensor


def _value_info(tensor: _Tensor) -> onnx.ValueInfoProto:
    shape: list[str | int | None] = ["batch", *_channels_first(tensor.shape)]
    return helper.make_tensor_value_info(tensor.name, onnx.TensorProto.FLOAT, shape)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[-1:], *shape[:-1])


def _needed(
    nodes: list[onnx.NodeProto], outputs: Sequence[str]
) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes on the way to the outputs, and the names of what they read."""
    used, kept = set(outputs), []
    for node in reversed(nodes):
        if node.output[0] in used:
            used.update(node.input)
            kept.append(node)
    return kept[::-1], used


class _Graph:
    """Nodes, constants and inputs, in the order in which they were added."""

    def __init__(self, archive: KerasArchive) -> None:
        self.archive = archive
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: list[_Tensor] = []

    def add_node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node; returns the name of its output."""
        output = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def add_constant(self, values: np.typing.ArrayLike) -> str:
        """Add float32 values; returns their name."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(values, np.float32)
        return name

    def add_network(
        self, config: dict, path: tuple[str, ...], given: dict[str, _Tensor]
    ) -> dict[str, _Tensor]:
        """Add the layers of a network; returns their outputs, by name.

        path: names of the networks that it is nested in. given: what its inputs are
        fed with; none of the outermost.
        """
        outputs = dict(given)
        for layer in config["layers"]:
            name, options = layer["name"], layer["config"]
            if name in outputs:
                continue
            if layer["class_name"] == "InputLayer":
                outputs[name] = _Tensor(name, tuple(options["batch_shape"][1:]))
                self.inputs.append(outputs[name])
                continue
            if len(layer["inbound_nodes"]) != 1:
                raise UnsupportedLayerError(f"{name} is used more than once")
            sources = [outputs[source] for source in input_layers(layer)]
            if layer["class_name"] == "Functional":
                (inside,) = layer_names(options["input_layers"])
                (last,) = layer_names(options["output_layers"])
                found = self.add_network(options, (*path, name), {inside: sources[0]})
                outputs[name] = found[last]
                continue
            add = LAYERS.get(layer["class_name"])
            if add is None:
                raise UnsupportedLayerError(f"{layer['class_name']} ({name})")
            outputs[name] = add(self, _Layer(options, (*path, name), sources))
        return outputs


def _expect(options: dict, **expected: object) -> None:
    for key, value in expected.items():
        if options.get(key, value) != value:
            raise UnsupportedLayerError(f"{options['name']}: {key}={options[key]}")


def _window(
    options: dict, key: str, shape: tuple[int, ...]
) -> tuple[dict[str, Any], tuple[int, int]]:
    """Attributes of a sliding window, and the size of what it gives.

    shape: (row, column, channel) of what it slides over.
    """
    kernel, strides = list(options[key]), list(options["strides"])
    rates = list(options.get("dilation_rate", (1, 1)))
    before, after, sizes = [], [], []
    for size, side, stride, rate in zip(shape[:2], kernel, strides, rates, strict=True):
        reach = (side - 1) * rate + 1
        if options["padding"] == "same":
            count = -(-size // stride)
            padding = max((count - 1) * stride + reach - size, 0)
        else:
            _expect(options, padding="valid")
            padding, count = 0, (size - reach) // stride + 1
        # as TensorFlow does: the odd pixel comes after
        before.append(padding // 2)
        after.append(padding - padding // 2)
        sizes.append(count)
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": [*before, *after],
    }
    if rates != [1, 1]:
        attributes["dilations"] = rates
    return attributes, (sizes[0], sizes[1])


Add = Callable[["_Graph", "_Layer"], _Tensor]


def _activate(graph: _Graph, options: dict, tensor: _Tensor) -> _Tensor:
    kind = options["activation"]
    if kind == "linear":
        return tensor
    if kind != "relu":
        raise UnsupportedLayerError(f"{options['name']}: activation={kind}")
    return tensor._replace(name=graph.add_node("Relu", [tensor.name]))


def _activation(graph: _Graph, layer: _Layer) -> _Tensor:
    return _activate(graph, layer.options, layer.source)


def _relu(graph: _Graph, layer: _Layer) -> _Tensor:
    _expect(layer.options, negative_slope=0.0, threshold=0.0)
    inputs = [layer.source.name]
    if layer.options["max_value"] is None:
        return layer.source._replace(name=graph.add_node("Relu", inputs))
    limits = [
        graph.add_constant(np.float32(x)) for x in (0.0, layer.options["max_value"])
    ]
    return layer.source._replace(name=graph.add_node("Clip", [*inputs, *limits]))


def _rescaling(graph: _Graph, layer: _Layer) -> _Tensor:
    scale, offset = (
        graph.add_constant(np.float32(layer.options[key]))
        for key in ("scale", "offset")
    )
    scaled = graph.add_node("Mul", [layer.source.name, scale])
    return layer.source._replace(name=graph.add_node("Add", [scaled, offset]))


def _concatenate(graph: _Graph, layer: _Layer) -> _Tensor:
    *place, _ = layer.source.shape
    if layer.options["axis"] not in (-1, len(place) + 1):
        raise UnsupportedLayerError(
            f"{layer.options['name']}: axis={layer.options['axis']}"
        )
    name = graph.add_node("Concat", [source.name for source in layer.sources], axis=1)
    return _Tensor(name, (*place, sum(source.shape[-1] for source in layer.sources)))


def _elementwise(operator: str) -> Add:
    def add(graph: _Graph, layer: _Layer) -> _Tensor:
        first, *others = layer.sources
        for other in others:
            name = graph.add_node(operator, [first.name, other.name])
            # (N, channel) by (N, 1): the larger shape is that of the result
            first = _Tensor(name, max(first.shape, other.shape))
        return first

    return add


def _scaled_residual(graph: _Graph, layer: _Layer) -> _Tensor:
    """Inception-ResNet's own layer: `inputs[0] + scale * inputs[1]`."""
    scale = graph.add_constant(np.float32(layer.options["scale"]))
    scaled = graph.add_node("Mul", [layer.sources[1].name, scale])
    return layer.source._replace(
        name=graph.add_node("Add", [layer.source.name, scaled])
    )


def _convolve(
    graph: _Graph,
    options: dict,
    source: _Tensor,
    kernel: np.ndarray,
    bias: list[np.ndarray],
    groups: int = 1,
) -> _Tensor:
    """kernel: (output, input of a group, row, column)."""
    attributes, size = _window(options, "kernel_size", source.shape)
    weights = [graph.add_constant(array) for array in (kernel, *bias)]
    name = graph.add_node("Conv", [source.name, *weights], group=groups, **attributes)
    return _Tensor(name, (*size, len(kernel)))


def _convolution(graph: _Graph, layer: _Layer) -> _Tensor:
    _expect(layer.options, data_format="channels_last")
    kernel, *bias = graph.archive.stored(layer.path)
    kernel = kernel.transpose(3, 2, 0, 1)
    result = _convolve(
        graph, layer.options, layer.source, kernel, bias, layer.options["groups"]
    )
    return _activate(graph, layer.options, result)


def _depthwise_kernel(kernel: np.ndarray) -> np.ndarray:
    """(row, column, channel, multiplier) -> (channel * multiplier, 1, row, column)."""
    rows, columns, *_ = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, rows, columns)


def _depthwise_convolution(graph: _Graph, layer: _Layer) -> _Tensor:
    _expect(layer.options, data_format="channels_last")
    kernel, *bias = graph.archive.stored(layer.path)
    kernel = _depthwise_kernel(kernel)
    groups = layer.source.shape[-1]
    result = _convolve(graph, layer.options, layer.source, kernel, bias, groups)
    return _activate(graph, layer.options, result)


def _separable_convolution(graph: _Graph, layer: _Layer) -> _Tensor:
    _expect(layer.options, data_format="channels_last")
    depthwise, pointwise, *bias = graph.archive.stored(layer.path)
    groups = layer.source.shape[-1]
    kernel = _depthwise_kernel(depthwise)
    apart = _convolve(graph, layer.options, layer.source, kernel, [], groups)
    once = {"padding": "valid", "kernel_size": (1, 1), "strides": (1, 1)}
    kernel = pointwise.transpose(3, 2, 0, 1)
    result = _convolve(graph, once, apart, kernel, bias)
    return _activate(graph, layer.options, result)


def _batch_normalization(graph: _Graph, layer: _Layer) -> _Tensor:
    *place, channels = layer.source.shape
    axis = layer.options["axis"]
    if (axis[0] if isinstance(axis, list) else axis) not in (-1, len(place) + 1):
        raise UnsupportedLayerError(f"{layer.options['name']}: axis={axis}")
    arrays = graph.archive.stored(layer.path)
    gain = arrays.pop(0) if layer.options["scale"] else np.ones(channels)
    shift = arrays.pop(0) if layer.options["center"] else np.zeros(channels)
    constants = [graph.add_constant(a) for a in (gain, shift, *arrays)]
    name = graph.add_node(
        "BatchNormalization",
        [layer.source.name, *constants],
        epsilon=layer.options["epsilon"],
    )
    return layer.source._replace(name=name)


def _pooling(operator: str) -> Add:
    # neither counts what lies beyond the border, as in TensorFlow
    def add(graph: _Graph, layer: _Layer) -> _Tensor:
        _expect(layer.options, data_format="channels_last")
        attributes, size = _window(layer.options, "pool_size", layer.source.shape)
        name = graph.add_node(operator, [layer.source.name], **attributes)
        return _Tensor(name, (*size, layer.source.shape[-1]))

    return add


def _global_average(graph: _Graph, layer: _Layer) -> _Tensor:
    _expect(layer.options, data_format="channels_last", keepdims=False)
    mean = graph.add_node("GlobalAveragePool", [layer.source.name])
    return _Tensor(graph.add_node("Flatten", [mean], axis=1), layer.source.shape[-1:])


def _dense(graph: _Graph, layer: _Layer) -> _Tensor:
    weights = graph.archive.stored(layer.path)
    if len(layer.source.shape) != 1:
        raise UnsupportedLayerError(f"{layer.options['name']}: of {layer.source.shape}")
    names = [graph.add_constant(array) for array in weights]
    name = graph.add_node("Gemm", [layer.source.name, *names])
    return _activate(graph, layer.options, _Tensor(name, weights[0].shape[1:]))


def _softmax(graph: _Graph, layer: _Layer) -> _Tensor:
    _expect(layer.options, axis=-1)
    return layer.source._replace(
        name=graph.add_node("Softmax", [layer.source.name], axis=1)
    )


def _up_sampling(graph: _Graph, layer: _Layer) -> _Tensor:
    _expect(layer.options, data_format="channels_last", interpolation="bilinear")
    rows, columns, channels = layer.source.shape
    down, right = layer.options["size"]
    scales = graph.add_constant([1, 1, down, right])
    name = graph.add_node(
        "Resize",
        [layer.source.name, "", scales],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    return _Tensor(name, (rows * down, columns * right, channels))


LAYERS: dict[str, Add] = {
    "Activation": _activation,
    "Add": _elementwise("Add"),
    "AveragePooling2D": _pooling("AveragePool"),
    "BatchNormalization": _batch_normalization,
    "Concatenate": _concatenate,
    "Conv2D": _convolution,
    "CustomScaleLayer": _scaled_residual,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise_convolution,
    "GlobalAveragePooling2D": _global_average,
    "MaxPooling2D": _pooling("MaxPool"),
    "Multiply": _elementwise("Mul"),
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "SeparableConv2D": _separable_convolution,
    "Softmax": _softmax,
    "UpSampling2D": _up_sampling,
}
"""Layer of Keras -> what adds it to a graph."""
