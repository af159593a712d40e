"""What a `.keras` file contains, read without Keras: layers and their weights.

The file is a zip archive: `config.json` describes the layers, `model.weights.h5` holds
their weights in groups that carry the layers' names. No code in it can run.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

WEIGHTS = "model.weights.h5"
"""Name of the weights in the archive."""


class UnsupportedLayerError(Exception):
    """A layer, or one of its options, that only Keras itself can run."""


class KerasArchive:
    """A network's description and weights.

    config: what `keras.Model.get_config` returns: `layers`, `output_layers` and so on.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            Exception: it is damaged, or no network of layers (zipfile, json and h5py
                document no exceptions for that, see `errors.refuse_damaged`).
        """
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read("config.json"))
            content = io.BytesIO(archive.read(WEIGHTS))
        if description["class_name"] != "Functional":
            raise ValueError(f"a {description['class_name']} is no graph of layers")
        self.config: dict = description["config"]
        self._file = h5py.File(content)
        self._groups: dict[tuple[str | None, ...], h5py.Group] = {}
        self._note_layers(self._file, ())

    def _note_layers(self, network: h5py.Group, path: tuple[str | None, ...]) -> None:
        """Keep the weights' groups of a network, by the names that lead to a layer."""
        for group in network["layers"].values():
            # layers are numbered by kind, and their names are attributes
            if "vars" in group:
                names = (*path, group["vars"].attrs.get("name"))
                self._groups[names] = group["vars"]
                if "layers" in group:
                    self._note_layers(group, names)

    def weights(self, names: Sequence[str]) -> list[np.ndarray]:
        """A layer's weights in float32, in Keras's order; see `stored`."""
        return [array.astype(np.float32) for array in self.stored(names)]

    def stored(self, names: Sequence[str]) -> list[np.ndarray]:
        """The same in the precision of the file, 16 or 32 bits.

        names: those of the networks that it is nested in, then its own.

        Raises:
            UnsupportedLayerError: there is no such layer.
        """
        group = self._groups.get(tuple(names))
        if group is None:
            raise UnsupportedLayerError(f"no weights are named {names[-1]}")
        # "10" comes after "9"
        return [group[key][()] for key in sorted(group, key=int)]


def input_layers(layer: dict) -> list[str]:
    """Names of the layers whose outputs a layer of a description takes, in order."""

    def found(value: object) -> Iterator[str]:
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
        elif isinstance(value, list | tuple):
            for part in value:
                yield from found(part)

    return list(found(layer["inbound_nodes"][0]["args"]))


def layer_names(nodes: list) -> list[str]:
    """Names in `input_layers` or `output_layers`: [name, 0, 0], or a list of such."""
    return [nodes[0]] if isinstance(nodes[0], str) else [node[0] for node in nodes]
