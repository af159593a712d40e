"""One grey frame of a DICOM file, displayed as its header specifies."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from boneage.errors import InputError, refuse_damaged

if TYPE_CHECKING:
    import pydicom

DEFLATED = b"1.2.840.10008.1.2.1.99"
"""Compressed as a whole: a small file can swell to any size before its header shows."""

FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""Group of the first element where there is no preamble, little-endian."""

DECIMALS = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")
TABLES = {"ModalityLUTSequence": "Modality LUT", "VOILUTSequence": "VOI LUT"}
GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")

GREY_TOLERANCE = 3
"""Levels of 255 by which the channels of a grey picture differ after JPEG."""

EXPORT_AGAIN = "export it again, or save it as PNG"


class Facts(NamedTuple):
    """What the header states about the image, verbatim; "" if it does not.

    patient_id: with its issuer in front.
    """

    sex: str
    laterality: str
    body_part: str
    birth_date: str = ""
    study_date: str = ""
    age: str = ""
    patient_id: str = ""


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with these 132 bytes or more is DICOM."""
    if head[128:132] == b"DICM":
        return True
    # an element's tag, then two letters that name its type, or its length (explicit
    # and implicit VR, PS3.5 7.1)
    length = int.from_bytes(head[4:8], "little")
    is_typed = head[4:6].isalpha() and head[4:6].isupper()
    return head[:2] in FIRST_GROUPS and (is_typed or 0 < length <= 1 << 16)


def read_facts(path: Path) -> Facts:
    """Read sex, side, body part, age and patient from the header alone.

    Raises:
        InputError: not DICOM, or a header that cannot be read.
    """
    with refuse_damaged(path, "must have a readable DICOM header", EXPORT_AGAIN):
        wanted = ["PatientSex", "ImageLaterality", "Laterality", "BodyPartExamined"]
        wanted += ["PatientBirthDate", "StudyDate", "PatientAge"]
        wanted += ["IssuerOfPatientID", "PatientID"]
        dataset = _open(path, stop_before_pixels=True, specific_tags=wanted)
        texts = (str(dataset.get(keyword) or "").strip() for keyword in wanted)
        sex, image_side, side, part, birth, study, age, issuer, patient = texts
        patient = f"{issuer}:{patient}" if patient else ""
        return Facts(sex, image_side or side, part, birth, study, age, patient)


def read_frame(path: Path, longest_side_px: int) -> np.ndarray:
    """Read one frame as (row, column) uint16, bone bright.

    Windowed as the header specifies, MONOCHROME1 inverted, padding black, everything
    else stretched to the full 16 bits. The header is checked before pixels are decoded.

    Raises:
        InputError: not DICOM, not one grey frame, too large, or damaged.
    """
    # half a second to import, and most cohorts are PNG
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array

    with refuse_damaged(path, "cannot be decoded", EXPORT_AGAIN):
        dataset = _open(path)
        _check(path, dataset, longest_side_px)
        stored = pixel_array(dataset)
        is_padding = _padding(dataset, stored)
        if dataset.SamplesPerPixel == 3:
            shown = _grey_channel(path, dataset, stored)
        else:
            shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
        if shown.ndim != 2:
            raise InputError(f"{path} must be one grey frame (got {shown.shape})")
        values = np.asarray(shown, float)
    if not np.isfinite(values).all():
        raise InputError(
            f"{path}: its rescaling or window must give finite numbers; {EXPORT_AGAIN}"
        )
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = -values
    if is_padding is None:
        return _stretched(values, values)
    if is_padding.all():
        raise InputError(f"{path} must show a hand (got padding alone); {EXPORT_AGAIN}")
    stretched = _stretched(values, values[~is_padding])
    stretched[is_padding] = 0
    return stretched


def _stretched(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Bring `values` to 0 to 65535 by the range of those `measured`."""
    low, high = measured.min(), measured.max()
    scale = 65535 / (high - low) if high > low else 0
    return np.round((values - low) * scale).clip(0, 65535).astype(np.uint16)


def _open(path: Path, **options: Any) -> "pydicom.Dataset":
    """Parse a file, with or without a preamble."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    # odd values in elements that nobody here looks at would be warned about
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    content = path.read_bytes()
    if not is_dicom(content):
        raise InputError(f"{path} must be DICOM (got another format); rename it")
    # looked for in the bytes, because pydicom inflates before it shows the header
    if DEFLATED in content:
        raise InputError(
            f"{path} cannot be read (got a file deflated as a whole); {EXPORT_AGAIN}"
        )
    # older archives leave out the preamble of PS3.10 7.1, and pydicom asks for it
    dataset = pydicom.dcmread(io.BytesIO(content), force=True, **options)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
        )
    return dataset


def _check(path: Path, dataset: "pydicom.Dataset", longest_side_px: int) -> None:
    """Raise InputError where the header promises anything but one grey frame."""
    if "PixelData" not in dataset:
        raise InputError(
            f"{path} must hold a whole image (got none, or one whose end is missing); "
            "copy it again"
        )
    rows, columns = (_whole_number(path, dataset, k) for k in ("Rows", "Columns"))
    frames = _whole_number(path, dataset, "NumberOfFrames", default=1)
    samples = _whole_number(path, dataset, "SamplesPerPixel", default=1)
    dataset.SamplesPerPixel = samples
    if frames != 1:
        raise InputError(
            f"{path} must hold one frame (got {frames}); save one as a file of its own"
        )
    if not 0 < min(rows, columns) <= max(rows, columns) <= longest_side_px:
        raise InputError(
            f"{path} must have 1 to {longest_side_px} px a side "
            f"(got {columns} x {rows} px); {EXPORT_AGAIN}"
        )
    kind = str(dataset.get("PhotometricInterpretation") or "")
    if not kind:
        raise InputError(
            f"{path} must state whether 0 is black or white (got no "
            f"PhotometricInterpretation); {EXPORT_AGAIN}"
        )
    if (samples, kind in GREYS, kind in COLOURS) not in (
        (1, True, False),
        (3, False, True),
    ):
        raise InputError(
            f"{path} must be grey (got {kind} with {samples} samples a pixel); "
            f"{EXPORT_AGAIN}"
        )
    for keyword in DECIMALS:
        _check_decimal(path, dataset, keyword)
    for keyword, name in TABLES.items():
        for item in dataset.get(keyword) or []:
            _check_table(path, item, name)


def _whole_number(
    path: Path, dataset: "pydicom.Dataset", keyword: str, default: int | None = None
) -> int:
    value = dataset.get(keyword)
    if value in (None, "") and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        got = "nothing" if value in (None, "") else repr(value)
        raise InputError(
            f"{path}: {keyword} must be a whole number (got {got}); {EXPORT_AGAIN}"
        ) from None


def _check_decimal(path: Path, dataset: "pydicom.Dataset", keyword: str) -> None:
    """Mend decimal commas; InputError where that leaves no number."""
    raw = dataset.get_item(keyword)
    # bytes that are not parsed yet; between several values stands a backslash
    written = raw.value if raw is not None and raw.is_raw else None
    if isinstance(written, bytes) and b"," in written:
        # it is a RawDataElement, a named tuple
        dataset[keyword] = raw._replace(  # type: ignore[attr-defined]
            value=written.replace(b",", b".")
        )
    try:
        value = dataset.get(keyword)
        numbers = () if value in (None, "") else value
        values = np.atleast_1d(numbers).astype(float)
    except (TypeError, ValueError):
        got = written.decode("latin-1").strip() if isinstance(written, bytes) else raw
        raise InputError(
            f"{path}: {keyword} must be a number (got {got!r}); {EXPORT_AGAIN}"
        ) from None
    if keyword == "WindowWidth" and any(number <= 0 for number in values):
        raise InputError(
            f"{path}: WindowWidth must be above 0 (got {min(values):g}); {EXPORT_AGAIN}"
        )


def _check_table(path: Path, item: "pydicom.Dataset", name: str) -> None:
    """InputError for a lookup table with fewer entries than it promises."""
    promised = int(item.LUTDescriptor[0]) or 1 << 16
    entries = item.LUTData
    count = len(entries) // 2 if isinstance(entries, bytes) else np.size(entries)
    if count < promised:
        raise InputError(
            f"{path}: {name} must have {promised} entries (got {count}); {EXPORT_AGAIN}"
        )


def _padding(dataset: "pydicom.Dataset", stored: np.ndarray) -> np.ndarray | None:
    """Where pixels are padding (PS3.3 C.7.5.1.1.2), (row, column) bool; None without.

    Numbers wrap: an unsigned value in the header of a signed image means the same bits.
    """
    first = dataset.get("PixelPaddingValue")
    if first is None or stored.ndim != 2:
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    bounds = [int(v) for v in (first, first if last is None else last)]
    low, high = np.sort(np.array(bounds, np.int64).astype(stored.dtype))
    return (stored >= low) & (stored <= high)


def _grey_channel(
    path: Path, dataset: "pydicom.Dataset", stored: np.ndarray
) -> np.ndarray:
    """The one grey picture that three equal channels show: (row, column)."""
    channels = stored.astype(np.int64)
    difference = (channels.max(axis=2) - channels.min(axis=2)).max()
    if difference * 255 > GREY_TOLERANCE * np.iinfo(stored.dtype).max:
        raise InputError(
            f"{path} must be grey (got colours, {dataset.PhotometricInterpretation}); "
            f"{EXPORT_AGAIN}"
        )
    return np.median(channels, axis=2)


def check_frame(path: Path, longest_side_px: int) -> None:
    """Raise InputError unless the header promises one grey frame, as `read_frame`."""
    with refuse_damaged(path, "must have a readable DICOM header", EXPORT_AGAIN):
        _check(path, _open(path), longest_side_px)


def read_header(path: Path) -> "pydicom.Dataset":
    """All elements before the pixels.

    Raises:
        InputError: not DICOM, or a header that cannot be read.
    """
    with refuse_damaged(path, "must have a readable DICOM header", EXPORT_AGAIN):
        return _open(path, stop_before_pixels=True)
