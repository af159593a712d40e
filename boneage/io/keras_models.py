"""Load a network from disk: no code in it runs, and damage is reported in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.errors import InputError, refuse_damaged

if TYPE_CHECKING:
    import keras

BACKENDS = ("tensorflow", "jax", "torch")


def load(
    path: Path, layers: Sequence[str], advice: str, with_optimizer: bool = False
) -> keras.Model:
    """Load a `.keras` file in Keras's safe mode: no code in it runs.

    Args:
        path: the file that the user, or the layout, named.
        layers: names that the network must have, so that it is one of ours.
        advice: what to do about a file that is of no use.
        with_optimizer: whether it is compiled, to be trained on.

    Raises:
        InputError: missing, damaged, unsafe (Lambda layers, pickles), or another
            network.
    """
    import keras

    if not path.is_file():
        raise InputError(f"{path} cannot be found; {advice}")
    with refuse_damaged(path, "cannot be read as a network", advice):
        # HDF5 of old Keras versions would be opened by its suffix, and safe mode with
        # it not kept
        if not zipfile.is_zipfile(path):
            raise ValueError("no .keras file")
        network = keras.saving.load_model(path, compile=with_optimizer, safe_mode=True)
        for name in layers:
            network.get_layer(name)
    return network


def check_backend() -> None:
    """Raise InputError if there is no Keras, or no backend that it could use.

    Keras itself fails with a traceback while it is imported; whoever meets that asks
    here for the reason.
    """
    if importlib.util.find_spec("keras") is None:
        raise InputError(
            "networks cannot be trained without Keras and TensorFlow; install them "
            'with pip install "boneage[train]"'
        )
    source, name = "KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "")
    if not name:
        home = Path(os.environ.get("KERAS_HOME", Path("~/.keras").expanduser()))
        source, path = str(home / "keras.json"), home / "keras.json"
        name = BACKENDS[0]
        if path.exists():
            try:
                name = json.loads(path.read_text()).get("backend", name)
            except ValueError:  # Keras leaves a damaged one aside, too
                return
    if name not in BACKENDS:
        raise InputError(
            f"{source}: the backend must be one of {', '.join(BACKENDS)} (got {name})"
        )
    if importlib.util.find_spec(name) is None:
        raise InputError(
            f"{source}: the backend {name} must be installed (got none); install it, "
            f"or use KERAS_BACKEND={BACKENDS[0]}"
            if name != BACKENDS[0]
            else "networks cannot be trained without TensorFlow; install it with pip "
            'install "boneage[train]"'
        )
