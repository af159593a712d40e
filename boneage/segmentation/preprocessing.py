"""Preparing radiographs and masks for the committee."""

import numpy as np

from boneage.errors import InputError
from boneage.io import hdf5, radiographs, transforms

PACKED_BY = "al_segmentation/step2_image_2_h5.py"


def prepare(radiograph: np.ndarray, size: int, clip_limit: float) -> np.ndarray:
    """The committee's input of a radiograph, (row, column): (size, size) uint8.

    Padded to a square, shrunk, then equalised: CLAHE on the small image takes a
    hundredth of the time and looks the same at this size.
    """
    square = transforms.pad_to_square(transforms.to_uint8(radiograph))
    return transforms.equalize_clahe(transforms.resize(square, size), clip_limit)


def prepare_mask(mask: radiographs.Mask, size: int) -> radiographs.Mask:
    """The mask of a prepared image: (size, size) uint8, 0 or 255."""
    square = transforms.resize(transforms.pad_to_square(mask), size)
    return np.where(square > 127, 255, 0).astype(np.uint8)


def facts(clip_limit: float) -> dict:
    """The attribute `preprocessing` of a packed file."""
    return {"clip_limit": clip_limit}


def clip_limit_of(packed: hdf5.PackedImages) -> float:
    """The clip limit with which the images of a packed file were prepared.

    Raises:
        InputError: the file is not the committee's.
    """
    clip_limit = packed.preprocessing.get("clip_limit")
    if packed.preprocessing.keys() != {"clip_limit"} or not isinstance(
        clip_limit, int | float
    ):
        raise InputError(
            "images for the committee must have the clip limit alone as preprocessing "
            f"(got {hdf5.preprocessing_in_words(packed.preprocessing)}); pack them "
            f"again with {PACKED_BY}"
        )
    return clip_limit
