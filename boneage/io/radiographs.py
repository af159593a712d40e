"""Read and write images; pad to square and back."""

from pathlib import Path

import cv2
import numpy as np

from boneage.errors import InputError
from boneage.io import dicom, image_headers, png_encoder
from boneage.io.files import atomic_write

Mask = np.ndarray
"""(row, column) uint8, 0 outside and 255 inside."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".dcm", ".dicom")

LONGEST_SIDE_PX = 10_000
"""A detector of 43 cm has 4,300 pixels of 0.1 mm; the square of this is 100 MB."""

LARGEST_FILE_BYTES = 1 << 28
"""The largest radiograph, 16 bits and incompressible, and a fourth more."""


def read(path: Path) -> np.ndarray:
    """Read a radiograph as (row, column), uint8 or uint16, bone bright.

    PNG, JPEG, WebP and TIFF through OpenCV, whatever of these the name says (colour
    becomes grey, EXIF rotation is applied); DICOM see `dicom.read_frame`.

    Raises:
        InputError: the file is missing, cannot be opened, is no image or a damaged
            one, is not 8- or 16-bit, is too large, or could be seen in several ways:
            several pictures, transparent parts, printing inks, a stored negative.
    """
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "neither file nor folder"
            if not path.exists():
                found = "a link to nothing" if path.is_symlink() else "no such file"
            raise InputError(f"{path}: {found}")
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise InputError(
                f"{path}: larger than {LARGEST_FILE_BYTES >> 20} MB; no radiograph is"
            )
        if path.suffix.lower() in (".dcm", ".dicom"):
            # opened here, so that a file that may not be read is named as such
            with path.open("rb"):
                return dicom.read_frame(path, LONGEST_SIDE_PX)
        return _decode(path, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _decode(path: Path, encoded: bytes) -> np.ndarray:
    header = image_headers.parse(encoded)
    if header is None:
        raise InputError(
            f"{path}: expected a radiograph, found no readable image; "
            "PNG, JPEG, WebP, TIFF and DICOM (.dcm) are read"
        )
    if max(header.width, header.height) > LONGEST_SIDE_PX:
        raise InputError(
            f"{path}: {header.width} x {header.height} px; at most "
            f"{LONGEST_SIDE_PX} a side"
        )
    if not header.is_whole:
        raise InputError(
            f"{path}: expected a radiograph, found no readable image; its end is "
            "missing"
        )
    for is_so, what in (
        (header.pictures > 1, "several pictures in one file; save one of them"),
        (header.is_cmyk, "printing inks (CMYK); save it in grey"),
        (header.white_is_zero, "a stored negative (white is zero); save it as PNG"),
    ):
        if is_so:
            raise InputError(f"{path}: expected one grey picture, found {what}")
    # what a decoder has to say goes into the one line below
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    content = np.frombuffer(encoded, np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if header.may_be_transparent and not _is_opaque(content):
            raise InputError(
                f"{path}: expected one grey picture, found transparent parts; save it "
                "without transparency"
            )
    except cv2.error:
        image = None
    if image is None:
        raise InputError(
            f"{path}: expected a radiograph, found no readable image; it is damaged"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: expected 8 or 16 bits, found {image.dtype}")
    return image


def _is_opaque(content: np.ndarray) -> bool:
    """Whether the alpha channel hides nothing: what it hides may look like anything."""
    whole = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if whole is None or whole.ndim < 3 or whole.shape[2] not in (2, 4):
        return False
    return bool((whole[..., -1] == np.iinfo(whole.dtype).max).all())


def read_mask(path: Path, shape: tuple[int, int] | None = None) -> Mask:
    """Read a mask; grey values other than 0 and 255 are refused, not thresholded.

    Raises:
        InputError: unreadable, not two-valued, empty, full, or not of `shape`.
    """
    mask = read(path)
    if shape is not None and mask.shape != shape:
        raise InputError(
            f"{path}: expected the radiograph's {shape}, found {mask.shape}"
        )
    brightest = mask.max()
    inside = mask == brightest
    pixels = np.count_nonzero(mask)
    if pixels == 0:
        raise InputError(f"{path}: the mask is empty")
    if np.count_nonzero(inside) < pixels:
        raise InputError(f"{path}: expected a two-valued mask, found grey values")
    if pixels == mask.size:
        raise InputError(f"{path}: the mask covers everything")
    return inside.view(np.uint8) * np.uint8(255)


def write(path: Path, image: np.ndarray) -> None:
    """Write a PNG atomically; uint8 or uint16, (row, column) or BGR."""
    if image.ndim == 2:
        content = png_encoder.encode(image)
    else:
        # half of the time that libpng takes to look for each row's best filter
        how = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        how += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
        encoded_well, encoded = cv2.imencode(".png", image, how)
        if not encoded_well:
            raise ValueError(f"{path}: {image.dtype} {image.shape} is no PNG")
        content = encoded.tobytes()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
