"""The engine that answers: ONNX Runtime on a `.keras` file, without TensorFlow.

The `.keras` file is the one source: each start translates it (`onnx_graph`), so there
is no second file that could be out of date. Where ONNX Runtime is not installed, or
BONEAGE_ENGINE is `keras`, Keras computes the answers.

    BONEAGE_ENGINE=keras python predict.py hand.png --sex male
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boneage.errors import InputError, refuse_damaged

VARIABLE = "BONEAGE_ENGINE"
ONNX_RUNTIME, KERAS = "onnxruntime", "keras"
PACKAGES = ("onnxruntime", "onnx")


def is_available() -> bool:
    """Whether networks are compiled, rather than loaded into Keras.

    Raises:
        InputError: BONEAGE_ENGINE is no engine, or one that is not installed.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen not in ("", ONNX_RUNTIME, KERAS):
        raise InputError(
            f"{VARIABLE} must be {ONNX_RUNTIME} or {KERAS} (got {chosen}); without it "
            f"{ONNX_RUNTIME} is used if it is installed"
        )
    if chosen == KERAS:
        return False
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent and chosen == ONNX_RUNTIME:
        raise InputError(
            f"{VARIABLE}={chosen} cannot be used without {' and '.join(absent)}; "
            f"install it with pip install {' '.join(absent)}"
        )
    return not absent


def core_count() -> int:
    """Cores that may compute: OMP_NUM_THREADS, and without it all of this process."""
    # as NumPy, TensorFlow and Dask's workers understand it
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdecimal() and int(named):
        return int(named)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class CompiledNetwork:
    """A network that is ready to run.

    config: its description by Keras, see `KerasArchive`. weights: those of the layers
    that it puts out and of those that were to be kept, by name.
    """

    def __init__(
        self,
        path: Path,
        layers: Sequence[str],
        thread_count: int = 0,
        keep_weights: Sequence[str] = (),
    ) -> None:
        """Compile a file; see `compile_network`."""
        import onnxruntime

        from boneage.io import onnx_graph
        from boneage.io.keras_archive import KerasArchive

        archive = KerasArchive(path)
        content, weights = onnx_graph.translate(archive, layers)
        self.config = archive.config
        self.weights = {
            name: archive.weights([name]) for name in (*layers, *keep_weights)
        }
        self.layers = tuple(layers)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count or core_count()
        # threads that wait would keep cores from those that decode
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # read when the session is made, and not needed afterwards
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in weights.values()]
        options.add_external_initializers([*weights], values)
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {i.name: i.shape for i in self._session.get_inputs()}

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self._inputs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input without the batch, channels last."""
        channels, *place = next(iter(self._inputs.values()))[1:]
        return (*place, channels)

    def __call__(self, fed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of the layers, float32, batch first and channels last.

        fed: by name of the input, float32, batch first and channels last.
        """
        inputs = {
            name: np.ascontiguousarray(np.moveaxis(fed[name], -1, 1))
            for name in self._inputs
        }
        outputs = self._session.run(list(self.layers), inputs)
        return [np.moveaxis(output, 1, -1) for output in outputs]


def compile_network(
    path: Path,
    layers: Sequence[str],
    advice: str,
    thread_count: int = 0,
    keep_weights: Sequence[str] = (),
) -> CompiledNetwork | None:
    """Compile a `.keras` file for its outputs at some layers.

    Args:
        path: the file that the user, or the layout, named.
        layers: names of the layers whose outputs are wanted.
        advice: what to do about a file that is of no use.
        thread_count: of one call; 0 for all cores, see `core_count`.
        keep_weights: names of further layers whose weights are wanted.

    Returns:
        The network; None where Keras has to run it, because ONNX Runtime is not to be
        used, or the network has layers that are not translated while Keras is there.

    Raises:
        InputError: the file is missing, damaged, or another network.
    """
    if not is_available():
        return None
    from boneage.io.keras_archive import UnsupportedLayerError

    if not path.is_file():
        raise InputError(f"{path} cannot be found; {advice}")
    with refuse_damaged(path, "cannot be read as a network", advice):
        try:
            return CompiledNetwork(path, layers, thread_count, keep_weights)
        except UnsupportedLayerError:
            if importlib.util.find_spec("keras") is None:
                raise
    return None
