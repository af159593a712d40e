"""Radiographs and masks on disk: find, read, write."""

import os
from pathlib import Path

import cv2
import numpy as np

from boneage.errors import InputError
from boneage.io import dicom, image_headers, png_encoder
from boneage.io.files import atomic_write

Mask = np.ndarray
"""(row, column) uint8, 0 outside and 255 inside."""

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", *DICOM_SUFFIXES)
FORMATS = "PNG, JPEG, WebP, TIFF or DICOM"

LONGEST_SIDE_PX = 10_000
"""A detector of 43 cm has 4,300 pixels of 0.1 mm; the square of this is 100 MB."""

HEAD_BYTES = 132
"""What tells one format from another; the mark of DICOM lies at its end."""

LARGEST_FILE_BYTES = 1 << 28
"""The largest radiograph, 16 bits and incompressible, and a fourth more."""


def read(path: Path) -> np.ndarray:
    """Read a radiograph as (row, column), uint8 or uint16, bone bright.

    The first bytes tell the format, not the name. PNG, JPEG, WebP and TIFF go through
    OpenCV (colour becomes grey, EXIF rotation is applied); DICOM see
    `dicom.read_frame`.

    Raises:
        InputError: the file is missing, cannot be opened, is no image or a damaged
            one, is not 8- or 16-bit, is too large, or could be seen in several ways:
            several pictures, transparent parts, printing inks, a stored negative.
    """
    head = _head(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise InputError(
                f"{path} must be at most {LARGEST_FILE_BYTES >> 20} MB (got "
                f"{size >> 20} MB); save it as PNG"
            )
        if dicom.is_dicom(head):
            return dicom.read_frame(path, LONGEST_SIDE_PX)
        return _decode(path, path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error


def pixel_count(path: Path) -> int:
    """How many pixels a file promises; 0 if it is no radiograph.

    Raises:
        InputError: as `read`, if the file cannot be opened or its header is damaged.
    """
    if is_dicom(path):
        header = dicom.read_header(path)
        sides = [header.get(keyword) or 0 for keyword in ("Rows", "Columns")]
        return sides[0] * sides[1] if all(isinstance(x, int) for x in sides) else 0
    image = image_headers.parse(path.read_bytes())
    return image.width * image.height if image else 0


def is_dicom(path: Path) -> bool:
    """Whether a file's first bytes are those of DICOM; InputError as `read`."""
    return dicom.is_dicom(_head(path))


def is_image(path: Path) -> bool:
    """Whether a file's first bytes are those of a format that `read` knows."""
    head = _head(path)
    return dicom.is_dicom(head) or image_headers.has_signature(head)


def find_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Radiographs in a folder and all folders in it, and the other files; in order.

    A radiograph has the first bytes or the suffix of one: damaged files count, so that
    they are named later on. Hidden files and folders are left out.
    """
    chosen: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            (chosen if _is_candidate(path) else others).append(path)
    return sorted(chosen), sorted(others)


def _is_candidate(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    # DICOMDIR lists the files of a disc, and has no picture
    if path.name == "DICOMDIR":
        return False
    try:
        return is_image(path)
    except InputError:
        return path.is_file()


def _head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        InputError: it is missing, no file, or cannot be opened.
    """
    try:
        if not path.is_file():
            if not (path.exists() or path.is_symlink()):
                raise InputError(f"{path} cannot be found; check the path")
            got = "a folder" if path.is_dir() else "a device or pipe"
            got = got if path.exists() else "a link to nothing"
            raise InputError(f"{path} must be a file (got {got})")
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error


def _decode(path: Path, encoded: bytes) -> np.ndarray:
    header = image_headers.parse(encoded)
    if header is None:
        raise InputError(
            f"{path} must be a radiograph (got no readable image); save it as {FORMATS}"
        )
    if max(header.width, header.height) > LONGEST_SIDE_PX:
        raise InputError(
            f"{path} must have at most {LONGEST_SIDE_PX} px a side (got "
            f"{header.width} x {header.height} px); reduce it"
        )
    if not header.is_whole:
        raise InputError(
            f"{path} cannot be decoded (its end is missing); copy it again"
        )
    for is_so, problem in (
        (header.frames > 1, "hold one picture (got several); save one of them alone"),
        (header.is_cmyk, "be grey (got printing inks, CMYK); save it in grey"),
        (header.white_is_zero, "store black as 0 (got a negative); save it as PNG"),
    ):
        if is_so:
            raise InputError(f"{path} must {problem}")
    # the decoder's own messages would be further lines
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    content = np.frombuffer(encoded, np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if header.may_be_transparent and not _is_opaque(content):
            raise InputError(
                f"{path} must be opaque (got transparent parts); save it without "
                "transparency"
            )
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{path} cannot be decoded (it is damaged); copy it again")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path} must have 8 or 16 bits a pixel (got {image.dtype}); save it as "
            "16-bit PNG"
        )
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
            f"{path}: a mask must have its radiograph's size (got {_size(mask.shape)} "
            f"px, not {_size(shape)} px)"
        )
    brightest = mask.max()
    inside = mask == brightest
    pixels = np.count_nonzero(mask)
    if pixels == 0:
        raise InputError(f"{path}: a mask must mark the hand (got an empty one)")
    if np.count_nonzero(inside) < pixels:
        raise InputError(
            f"{path}: a mask must have two values (got greys); save it without "
            "smoothing, as PNG"
        )
    if pixels == mask.size:
        raise InputError(
            f"{path}: a mask must mark the hand alone (got the whole picture)"
        )
    return inside.view(np.uint8) * np.uint8(255)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


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
