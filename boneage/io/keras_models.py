"""Loading a network from disk: safely, and saying in one line what is wrong with it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.errors import InputError

if TYPE_CHECKING:
    import keras

# what Keras, zipfile and h5py raise for a file that is cut off, altered or not theirs
DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


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
        raise InputError(f"{path}: not found; {advice}")
    try:
        # HDF5 of old Keras versions would be opened by its suffix, and safe mode with
        # it not kept
        if not zipfile.is_zipfile(path):
            raise ValueError("no .keras file")
        network = keras.saving.load_model(path, compile=with_optimizer, safe_mode=True)
        for name in layers:
            network.get_layer(name)
    except DAMAGED as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: not a readable network ({why}); {advice}") from error
    return network
