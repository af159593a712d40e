"""What a member of the committee sees of a radiograph."""

import numpy as np

from boneage.errors import InputError
from boneage.io import hdf5, radiographs, transforms

PACKED_BY = "al_segmentation/step2_image_2_h5.py"


def prepare(radiograph: np.ndarray, size: int, clip_limit: float) -> np.ndarray:
    """What a member of the committee sees: (size, size) uint8.

    Padded to a square, shrunk, then equalised: CLAHE on the small image costs a
    hundredth of CLAHE on the radiograph and looks the same at this size.
    """
    square = transforms.pad_to_square(transforms.to_uint8(radiograph))
    return transforms.equalize_clahe(transforms.resize(square, size), clip_limit)


def prepare_mask(mask: radiographs.Mask, size: int) -> radiographs.Mask:
    """The mask of `prepare`'s image: (size, size) uint8, 0 or 255."""
    square = transforms.resize(transforms.pad_to_square(mask), size)
    return np.where(square > 127, 255, 0).astype(np.uint8)


def describe(clip_limit: float) -> str:
    """The attribute `preprocessing`: what was done to the images of a packed file."""
    return f"square, CLAHE {clip_limit:g}"


def clip_limit_of(packed: hdf5.PackedImages) -> float:
    """The clip limit that `describe` wrote into a file."""
    try:
        return float(packed.preprocessing.rpartition(" ")[2])
    except ValueError:
        raise InputError(
            f"packed images prepared by {packed.preprocessing!r} are not for the "
            f"committee; pack them again with {PACKED_BY}"
        ) from None
