"""Predictions as DICOM objects in the radiograph's own study.

Each hand gives two objects, each in a series of its own with new UIDs: its report page
as a Secondary Capture image, and its figures as a Structured Report
(`structured_report`). They carry the patient and the study that the radiograph states,
and nothing else of its header. Their files are named by their own UIDs.
"""

from __future__ import annotations

import copy
import importlib.util
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boneage
from boneage.errors import InputError, refuse_damaged
from boneage.io import dicom, radiographs
from boneage.io.files import atomic_write
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT, Prediction
from boneage.reporting import structured_report

if TYPE_CHECKING:
    import numpy as np
    import pydicom

IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
RADIOGRAPH_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray, for presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray, for processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
}
"""SOP classes of the images that a hand's radiograph comes in."""
PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate"),
    *("PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    *("ReferringPhysicianName", "StudyDescription"),
)
"""What the new objects take over; an archive files them by it."""
EMPTY_IF_UNKNOWN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"),
    *("StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
"""Elements that must be there even where the radiograph lacks them (type 2)."""
CAPTURE_SERIES, REPORT_SERIES = 9701, 9702
"""Series numbers; devices count from 1."""


class DicomResult(NamedTuple):
    """The two objects of one hand, not yet written."""

    capture: pydicom.Dataset
    report: pydicom.Dataset

    def write(self, folder: Path) -> list[Path]:
        """Write `SC.<UID>.dcm` and `SR.<UID>.dcm`, each atomically."""
        paths = []
        for kind, dataset in (("SC", self.capture), ("SR", self.report)):
            path = folder / f"{kind}.{dataset.SOPInstanceUID}.dcm"
            with atomic_write(path) as temporary:
                dataset.save_as(temporary, enforce_file_format=True)
            paths.append(path)
        return paths


def check_installed(flag: str, *packages: str) -> None:
    """Raise InputError where `flag` needs packages that are not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{flag} must have {' and '.join(missing)} installed (got none); run: pip "
            'install "boneage[dicom]"'
        )


def check_is_dicom(paths: Sequence[Path]) -> None:
    """Raise InputError for the first radiograph that is no DICOM file.

    Its results would name no patient and no study, and an archive could not file them.
    Files that cannot be opened are left to the reading, which names each of them.
    """
    for path in paths:
        try:
            is_dicom = radiographs.is_dicom(path)
        except InputError:
            continue
        if not is_dicom:
            raise InputError(
                f"{path} must be DICOM for --dicom-out (got another format, which "
                "names no patient and no study); use --report"
            )


def read_source(path: Path) -> pydicom.Dataset:
    """What the new objects take over from a radiograph: patient, study and UIDs.

    Values that are no valid date, time or sex are left empty.

    Raises:
        InputError: not DICOM, or its UIDs are missing; results have no place then.
    """
    check_is_dicom([path])
    header = dicom.read_header(path)
    with refuse_damaged(path, "must have a readable DICOM header", dicom.EXPORT_AGAIN):
        return _clean(path, header)


def build(
    source: pydicom.Dataset, prediction: Prediction, predictor: Predictor
) -> DicomResult:
    """The two objects of a hand; source: see `read_source`."""
    # Matplotlib takes a second, and few ask for pages
    from boneage.reporting import report_page

    # a file's name may be the patient's
    named = predictor.with_shown_maps(prediction)
    named = named.with_file(str(source.SOPInstanceUID))
    page = report_page.picture(named, predictor)
    nameless = _without_names(source)
    made = _capture(nameless, page), _report(nameless, named, predictor)
    return DicomResult(*(_with_study(dataset, source) for dataset in made))


def _capture(source: pydicom.Dataset, page: np.ndarray) -> pydicom.Dataset:
    """The page, (row, column, 3) uint8, as a Secondary Capture image."""
    import pydicom
    from highdicom.sc import SCImage
    from pydicom.uid import ExplicitVRLittleEndian

    capture = SCImage.from_ref_dataset(
        source,
        page,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # asked for here, and emptied below: a page has none
        patient_orientation=("L", "F"),
        # what every archive accepts; compression must be agreed on
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **_series(CAPTURE_SERIES, "Bone age: report page"),
    )
    capture.PatientOrientation = []
    # must be there, if only empty, where no body part says that it has but one side
    capture.Laterality = source.get("ImageLaterality", "")
    capture.BurnedInAnnotation = "YES"
    capture.DerivationDescription = f"Report page of a bone age; {STATEMENT}"
    capture.ImageComments = STATEMENT
    reference, purpose = pydicom.Dataset(), pydicom.Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [purpose]
    capture.SourceImageSequence = [reference]
    return capture


def _report(
    source: pydicom.Dataset, prediction: Prediction, predictor: Predictor
) -> pydicom.Dataset:
    """The figures as a Structured Report, neither verified nor final."""
    from highdicom.sr import EnhancedSR

    report = EnhancedSR(
        evidence=[source],
        content=structured_report.content(
            prediction,
            source,
            _device_uid(predictor),
            _new_uid(),
        )[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=structured_report.coding_schemes(),
        **_series(REPORT_SERIES, "Bone age: figures"),
    )
    return report


def _series(number: int, description: str) -> dict[str, Any]:
    """What both objects say of their series and of this program."""
    return {
        "series_instance_uid": _new_uid(),
        "series_number": number,
        "series_description": f"{description}; {STATEMENT}",
        "sop_instance_uid": _new_uid(),
        "instance_number": 1,
        "manufacturer": structured_report.MANUFACTURER,
        "manufacturer_model_name": "boneage",
        "software_versions": boneage.__version__,
        "content_qualification": "RESEARCH",
    }


def _without_names(source: pydicom.Dataset) -> pydicom.Dataset:
    """A copy for highdicom, whose warnings would print names that it finds unusual."""
    nameless = copy.deepcopy(source)
    for keyword in PATIENT_AND_STUDY:
        if keyword.endswith("Name"):
            setattr(nameless, keyword, "")
    return nameless


def _with_study(made: pydicom.Dataset, source: pydicom.Dataset) -> pydicom.Dataset:
    """Add what an archive files the object by."""
    for keyword in (*PATIENT_AND_STUDY, "SpecificCharacterSet"):
        if keyword in source:
            made[keyword] = source[keyword]
    return made


def _new_uid() -> str:
    """A UID from a random UUID, which needs no registered root (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def _device_uid(predictor: Predictor) -> str:
    """One UID for this version with these models, on every machine."""
    runs = [f"{c.name} {c.config.get('git_commit')}" for c in predictor.candidates]
    words = " ".join(["boneage", boneage.__version__, *runs])
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, words).int}"


def _clean(path: Path, header: pydicom.Dataset) -> pydicom.Dataset:
    import pydicom
    from pydicom.uid import UID
    from pydicom.valuerep import DA, TM, PersonName

    source = pydicom.Dataset()
    for keyword in IDENTITY:
        uid = UID(str(header.get(keyword) or ""))
        if not uid.is_valid:
            got = f"got {uid}" if uid else "got none"
            raise InputError(
                f"{path} must state its {keyword} ({got}); {dicom.EXPORT_AGAIN}"
            )
        setattr(source, keyword, uid)
    if source.SOPClassUID not in RADIOGRAPH_CLASSES:
        raise InputError(
            f"{path} must be a radiograph (got "
            f"{source.SOPClassUID.name}); choose a CR, DX or Secondary Capture image"
        )
    for keyword in PATIENT_AND_STUDY:
        text = str(header.get(keyword) or "").strip()
        value: Any = PersonName(text) if keyword.endswith("Name") else text
        if keyword.endswith("Date"):
            value = _valid(DA, text)
        elif keyword.endswith("Time"):
            value = _valid(TM, text)
        elif keyword == "PatientSex":
            value = text.upper() if text.upper() in ("M", "F", "O") else ""
        if text or keyword in EMPTY_IF_UNKNOWN:
            setattr(source, keyword, value)
    side = str(header.get("ImageLaterality") or header.get("Laterality") or "").upper()
    if side in structured_report.SIDES:
        source.ImageLaterality = side
    # the names are decoded: whatever their character set was, UTF-8 has them all
    if not all(str(element.value).isascii() for element in source):
        source.SpecificCharacterSet = "ISO_IR 192"
    return source


def _valid(kind: Any, text: str) -> str:
    """The text if it is such a date or time, else empty."""
    try:
        return text if kind(text) is not None else ""
    except ValueError:
        return ""
