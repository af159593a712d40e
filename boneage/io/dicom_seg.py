"""Masks of hands as DICOM segmentations (SEG), and the images that they refer to.

A segmentation names the image that it was drawn on. A radiograph that came as PNG has
no DICOM image, so one is written (Secondary Capture); its identifiers follow from its
pixels, so that a segmentation that comes back is known to be of this radiograph.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.errors import InputError, refuse_damaged
from boneage.ids import RadiographId
from boneage.io.files import atomic_write
from boneage.io.radiographs import Mask

if TYPE_CHECKING:
    from pydicom import Dataset

LABEL = "hand"
MAKER = "boneage"


def check_installed() -> None:
    """Raise InputError where the package that writes the format is missing."""
    if importlib.util.find_spec("highdicom") is None:
        raise InputError(
            "DICOM segmentations must have highdicom installed (got none); run: pip "
            'install "boneage[dicom]"'
        )


def image_uid(radiograph: np.ndarray, level: str = "instance") -> str:
    """The identifier that `image_of` gives this radiograph's image.

    radiograph: (row, column) uint8 or uint16. level: instance, series or study.
    """
    from pydicom.uid import generate_uid

    shape = f"{radiograph.dtype.str}{radiograph.shape}".encode()
    pixels = hashlib.sha256(shape + radiograph.tobytes()).hexdigest()
    return generate_uid(entropy_srcs=[pixels, level])


def image_of(radiograph: np.ndarray, radiograph_id: RadiographId) -> "Dataset":
    """A radiograph, (row, column) uint8 or uint16, as a Secondary Capture image."""
    from highdicom.sc import SCImage

    image = SCImage(
        pixel_array=radiograph,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=8 * radiograph.itemsize,
        coordinate_system="PATIENT",
        study_instance_uid=image_uid(radiograph, "study"),
        series_instance_uid=image_uid(radiograph, "series"),
        series_number=1,
        sop_instance_uid=image_uid(radiograph),
        instance_number=1,
        manufacturer=MAKER,
        patient_id=str(radiograph_id),
        patient_orientation=("L", "F"),
    )
    # unknown, and empty says so; highdicom wants one
    image.PatientOrientation = []
    return image


def write_segmentation(path: Path, mask: Mask, image: "Dataset") -> None:
    """Write a mask as a segmentation of a DICOM image.

    mask: (row, column) uint8, of the image's size.

    Raises:
        InputError: the sizes differ, or highdicom cannot refer to this image.
    """
    from highdicom.seg import (
        SegmentAlgorithmTypeValues,
        Segmentation,
        SegmentDescription,
    )
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    if mask.shape != (image.Rows, image.Columns):
        raise InputError(
            f"{path.name}: the DICOM image must have the mask's size {mask.shape} (got "
            f"{(image.Rows, image.Columns)})"
        )
    hand = SegmentDescription(
        segment_number=1,
        segment_label=LABEL,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=CodedConcept("85562004", "SCT", "Hand"),
        # whoever corrects a proposal decides on every pixel
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
    )
    with refuse_damaged(
        f"{path.name}: its DICOM image", "cannot be referred to", "check its header"
    ):
        segmentation = Segmentation(
            source_images=[image],
            pixel_array=(mask > 0).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[hand],
            series_instance_uid=generate_uid(),
            series_number=100,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions="0.1",
            device_serial_number="0",
        )
    with atomic_write(path) as temporary:
        segmentation.save_as(temporary)


def write_image(path: Path, image: "Dataset") -> None:
    """Write a DICOM image."""
    with atomic_write(path) as temporary:
        image.save_as(temporary)


def read_image(path: Path) -> "Dataset":
    """The facts of a DICOM image, without its pixels.

    Raises:
        InputError: it is none.
    """
    import pydicom

    with refuse_damaged(path, "must be a DICOM image", "export it again"):
        image = pydicom.dcmread(path, stop_before_pixels=True)
        _ = image.SOPInstanceUID, image.Rows, image.Columns
    return image


def read_segmentation(path: Path) -> tuple[Mask, str]:
    """The mask in a segmentation, and the identifier of the image it refers to.

    Of several segments, the one that is labelled hand.

    Raises:
        InputError: the file is no segmentation of one image, or has no such segment.
    """
    from highdicom.seg import segread

    with refuse_damaged(path, "must be a DICOM segmentation", "export it again"):
        segmentation = segread(path)
        numbers = _hand_segments(segmentation)
        instances = [uids[-1] for uids in segmentation.get_source_image_uids()]
    if len(numbers) != 1:
        raise InputError(f"{path} must have one segment hand (got {len(numbers)})")
    if len(instances) != 1:
        raise InputError(f"{path} must refer to one image (got {len(instances)})")
    with refuse_damaged(path, "cannot be decoded", "export it again"):
        pixels = segmentation.get_pixels_by_source_instance(
            instances, segment_numbers=numbers, ignore_spatial_locations=True
        )
    mask = np.where(pixels[0, ..., 0] > 0.5, np.uint8(255), np.uint8(0))
    return mask, str(instances[0])


def _hand_segments(segmentation) -> list[int]:
    numbers = list(segmentation.segment_numbers)
    if len(numbers) == 1:
        return numbers
    return [
        number
        for number in numbers
        if LABEL in segmentation.get_segment_description(number).segment_label.lower()
    ]
