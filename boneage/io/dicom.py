"""One frame of a DICOM file, as its reader would see it."""

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.errors import InputError

if TYPE_CHECKING:
    import pydicom

DEFLATED = "1.2.840.10008.1.2.1.99"
"""Compressed as a whole: a small file can swell to any size before its header shows."""

_DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,  # sequences in sequences without end: RecursionError
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def damaged() -> tuple[type[Exception], ...]:
    """What pydicom, its decoders and its lazily read elements raise for damaged files.

    A function, because pydicom takes half a second to import.
    """
    from pydicom.errors import BytesLengthException

    return (*_DAMAGED, BytesLengthException)


def read_frame(path: Path, longest_side_px: int) -> np.ndarray:
    """Read one frame as (row, column) uint16, bone bright.

    Windowed as the file says, MONOCHROME1 inverted, stretched to the full 16 bits.
    The size is looked at before the pixels are decoded.

    Raises:
        InputError: not DICOM, not one grey frame, too large, or damaged.
    """
    # half a second to import, and most cohorts are PNG
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    # odd values in elements that nobody here looks at would be warned about
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == DEFLATED:
            raise InputError(f"{path}: deflated as a whole; save it uncompressed")
        dataset = pydicom.dcmread(path)
        _check(path, dataset, longest_side_px)
        stored = dataset.pixel_array
        if stored.ndim != 2:
            raise InputError(f"{path}: expected one grey frame, found {stored.shape}")
        shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
        values = np.asarray(shown, float)
    except InvalidDicomError:
        raise InputError(f"{path}: expected DICOM, found another format") from None
    except damaged() as error:
        raise InputError(f"{path}: no readable pixel data ({error})") from error
    if not np.isfinite(values).all():
        raise InputError(f"{path}: its rescaling or window gives no numbers")
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = -values
    low, high = values.min(), values.max()
    scale = 65535 / (high - low) if high > low else 0
    return np.round((values - low) * scale).astype(np.uint16)


def _check(path: Path, dataset: "pydicom.Dataset", longest_side_px: int) -> None:
    """Raise InputError where the header promises anything but one grey frame."""
    if "PixelData" not in dataset:
        raise InputError(f"{path}: no readable pixel data (no image in the file)")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = int(dataset.get("NumberOfFrames") or 1)
    samples, kind = int(dataset.SamplesPerPixel), dataset.PhotometricInterpretation
    if frames != 1:
        raise InputError(f"{path}: expected one grey frame, found {frames}")
    if samples != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{path}: expected one grey frame, found {kind}")
    if not 0 < max(rows, columns) <= longest_side_px:
        raise InputError(
            f"{path}: {columns} x {rows} px; at most {longest_side_px} a side"
        )
