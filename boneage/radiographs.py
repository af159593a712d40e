"""Read and write images; pad to square and back."""

from pathlib import Path

import cv2
import numpy as np

from boneage.files import InputError, replacing

Mask = np.ndarray
"""(row, column) uint8, 0 outside and 255 inside."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".dcm", ".dicom")


def read(path: Path) -> np.ndarray:
    """Read a radiograph as (row, column), uint8 or uint16, bone bright.

    PNG, JPEG, WebP and TIFF through OpenCV (colour becomes grey, EXIF rotation is
    applied); DICOM through pydicom, windowed, MONOCHROME1 inverted.

    Raises:
        InputError: the file is missing, is no image, or is not 8- or 16-bit.
    """
    if path.suffix.lower() in (".dcm", ".dicom"):
        return _read_dicom(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    encoded = np.fromfile(path, np.uint8)
    image = None
    if encoded.size:
        image = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise InputError(f"{path}: expected a radiograph, found no readable image")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: expected 8 or 16 bits, found {image.dtype}")
    return image


def _read_dicom(path: Path) -> np.ndarray:
    """Read one frame, windowed as the file says, stretched to the full 16 bits."""
    # half a second to import, and most cohorts are PNG
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    try:
        dataset = pydicom.dcmread(path)
        stored = dataset.pixel_array
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InvalidDicomError:
        raise InputError(f"{path}: expected DICOM, found another format") from None
    except (AttributeError, RuntimeError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: no readable pixel data ({error})") from error
    if stored.ndim != 2:
        raise InputError(f"{path}: expected one grey frame, found {stored.shape}")
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(float)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = -values
    low, high = values.min(), values.max()
    scale = 65535 / (high - low) if high > low else 0
    return np.round((values - low) * scale).astype(np.uint16)


def read_mask(path: Path, shape: tuple[int, int] | None = None) -> Mask:
    """Read a mask; grey values other than 0 and 255 are refused, not thresholded.

    Raises:
        InputError: unreadable, not two-valued, empty, full, or not of `shape`.
    """
    mask = read(path)
    inside = mask > 0
    if shape is not None and mask.shape != shape:
        raise InputError(
            f"{path}: expected the radiograph's {shape}, found {mask.shape}"
        )
    if len(np.unique(mask[inside])) > 1:
        raise InputError(f"{path}: expected a two-valued mask, found grey values")
    if not inside.any():
        raise InputError(f"{path}: the mask is empty")
    if inside.all():
        raise InputError(f"{path}: the mask covers everything")
    return inside.astype(np.uint8) * 255


def to_uint8(radiograph: np.ndarray) -> np.ndarray:
    """Bring 16 bits to 8 by the image's own range; 8 bits stay as they are."""
    if radiograph.dtype == np.uint8:
        return radiograph
    return cv2.normalize(radiograph, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)


def write(path: Path, image: np.ndarray) -> None:
    """Write a PNG atomically; uint8 or uint16, (row, column) or BGR."""
    # level 1: a tenth of the time of the default for a few per cent of the size
    encoded_well, encoded = cv2.imencode(
        ".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1]
    )
    if not encoded_well:
        raise ValueError(f"{path}: cannot encode {image.dtype} {image.shape} as PNG")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def pad_to_square(image: np.ndarray) -> np.ndarray:
    """Centre (row, column) in a black square of its longer side."""
    height, width = image.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side), image.dtype)
    square[top : top + height, left : left + width] = image
    return square


def from_square(square: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Undo `pad_to_square` and its resizing: back to an image of `shape`.

    square: (side, side) of any resolution, float32 or uint8.
    """
    height, width = shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    full = cv2.resize(square, (side, side), interpolation=cv2.INTER_LINEAR)
    return full[top : top + height, left : left + width]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize a square image to size x size, averaging where it shrinks."""
    shrinks = image.shape[0] > size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=interpolation)


def equalise(image: np.ndarray, clip_limit: float = 0.03) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of a uint8 image.

    clip_limit: share of a tile's pixels that one grey level may hold, as in
        scikit-image; OpenCV counts in multiples of the flat histogram, 1/256.
        0 leaves the image as it is.
    Source: Zuiderveld, Graphics Gems IV (1994), 474-485.
    """
    if clip_limit == 0:
        return image
    return cv2.createCLAHE(clipLimit=clip_limit * 256, tileGridSize=(8, 8)).apply(image)
