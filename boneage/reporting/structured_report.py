"""A prediction as the content of a DICOM Structured Report (TID 1500).

Codes, and where they were looked up:

- LOINC 85151-9, the bone age as a quantity, and 37362-1, the examination. The profile
  `hspc-boneage` of HL7 (https://hl7.org/fhir/2016Jan/hspc/hspc-boneage.html) gave the
  latter to the quantity as well; since there is 85151-9, it means the report as a whole
  (https://github.com/smart-on-fhir/growth-chart-app/pull/41).
- UCUM `mo`, the unit, from the profile's own list of units.
- SNOMED CT and DICOM codes come with pydicom and highdicom.
- The interval, its coverage and the texts have codes of this program alone, under
  `99BONEAGE`: no public one could be confirmed. In particular the set RDES14 of
  RadElement is not used, because its elements' codes could not be looked up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import boneage
from boneage.prediction.record import STATEMENT, Prediction

if TYPE_CHECKING:
    import pydicom
    from highdicom.sr import CodedConcept, MeasurementReport

MANUFACTURER = "boneage (research software)"
SCHEME = "99BONEAGE"
SCHEME_NAME = "Terms of the research software boneage"

QUANTITY = ("85151-9", "LN", "XR Bone age")
EXAMINATION = ("37362-1", "LN", "Bones X-ray bone age")
MONTH = ("mo", "UCUM", "month")
PERCENT = ("%", "UCUM", "percent")
UNITLESS = ("1", "UCUM", "no units")
SUBJECT_AGE = ("121033", "DCM", "Subject Age")
HAND = ("85562004", "SCT", "Hand")
SIDES = {"L": ("7771000", "SCT", "Left"), "R": ("24028007", "SCT", "Right")}

OWN_TERMS = {
    "lower-limit": "Lower end of the prediction interval",
    "upper-limit": "Upper end of the prediction interval",
    "coverage": "Nominal coverage of the prediction interval",
    "run-months": "Bone age by one of the averaged networks",
    "difference": "Bone age minus chronological age",
    "deviation-score": "Standard deviation score of the bone age",
    "statement": "Intended use",
    "qualifier": "Limit of the estimate",
    "sex": "Sex that the hand was read as",
    "warning": "Warning",
    "refusal": "Reason for giving no bone age",
    "calibration": "Validation hands that the interval comes from",
    "local": "Calibration on local radiographs",
    "reference": "Source of the reference of the standard deviation score",
}
"""Code value under `SCHEME` -> its meaning, at most 64 characters."""

TEXT_CHARACTERS = 1024
"""Of a text in the report; viewers show more badly."""


def concept(code: tuple[str, str, str] | str) -> CodedConcept:
    """A coded concept: (value, scheme, meaning), or the name of one of `OWN_TERMS`."""
    from highdicom.sr import CodedConcept

    value, scheme, meaning = (
        (code, SCHEME, OWN_TERMS[code]) if isinstance(code, str) else code
    )
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def content(
    prediction: Prediction,
    source: pydicom.Dataset,
    device_uid: str,
    group_uid: str,
) -> MeasurementReport:
    """The report's tree of content.

    Args:
        prediction: an age, or the reason for none.
        source: what is known of the radiograph, see `dicom_output.read_source`.
        device_uid: of this program with its models.
        group_uid: of the measurements of this hand.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    side = source.get("ImageLaterality")
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid, name="boneage", manufacturer_name=MANUFACTURER
    )
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=group_uid, identifier="bone age"),
        algorithm_id=sr.AlgorithmIdentification(
            name="boneage",
            version=boneage.__version__,
            parameters=[_text(f"network: {name}") for name in prediction.months_by_run],
        ),
        finding_sites=[
            sr.FindingSite(
                anatomic_location=concept(HAND),
                laterality=concept(SIDES[side]) if side in SIDES else None,
            )
        ],
        measurements=_measurements(prediction),
        source_images=[
            sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)
        ],
    )
    for name, text in _texts(prediction):
        group[0].ContentSequence.append(
            sr.TextContentItem(
                name=concept(name),
                value=_text(text),
                relationship_type=sr.RelationshipTypeValues.CONTAINS,
            )
        )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=concept(EXAMINATION),
        imaging_measurements=[group],
    )


def coding_schemes() -> list[Any]:
    """What the designator of the program's own codes stands for."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return [CodingSchemeIdentificationItem(designator=SCHEME, name=SCHEME_NAME)]


def _measurements(prediction: Prediction) -> list[Any]:
    """Age, interval, coverage, chronological age, each network's age.

    Where no age is reported, at most the chronological age is left.
    """
    from highdicom.sr import AlgorithmIdentification, Measurement

    numbers: list[tuple[tuple[str, str, str] | str, float, tuple[str, str, str]]] = [
        (QUANTITY, prediction.bone_age_months, MONTH),
        ("lower-limit", prediction.lower_months, MONTH),
        ("upper-limit", prediction.upper_months, MONTH),
        (SUBJECT_AGE, prediction.chronological_age_months, MONTH),
        ("difference", prediction.difference_months, MONTH),
    ]
    if not math.isnan(prediction.lower_months):
        numbers.append(("coverage", 100 * prediction.coverage, PERCENT))
    if prediction.deviation_score is not None:
        score = prediction.deviation_score.value
        numbers.append(("deviation-score", score, UNITLESS))
    measurements = [
        Measurement(name=concept(name), value=round(value, 1), unit=concept(unit))
        for name, value, unit in numbers
        if not math.isnan(value)
    ]
    if len(prediction.months_by_run) > 1:
        measurements += [
            Measurement(
                name=concept("run-months"),
                value=round(months, 1),
                unit=concept(MONTH),
                algorithm_id=AlgorithmIdentification(
                    name=_text(run), version=boneage.__version__
                ),
            )
            for run, months in prediction.months_by_run.items()
        ]
    return measurements


def _texts(prediction: Prediction) -> list[tuple[str, str]]:
    """(name of an own term, text), the intended use first."""
    texts = [("statement", STATEMENT), ("sex", prediction.sex)]
    if prediction.refusal:
        texts.append(("refusal", prediction.refusal))
    else:
        texts.append(("calibration", prediction.calibration_group))
    if prediction.qualifier:
        texts.append(("qualifier", prediction.qualifier))
    if prediction.local_calibration:
        texts.append(("local", prediction.local_calibration))
    if prediction.deviation_score is not None:
        texts.append(("reference", prediction.deviation_score.source))
    return [*texts, *(("warning", warning) for warning in prediction.warnings)]


def _text(words: str) -> str:
    """Words that every character set has; never empty, never too long."""
    plain = words.encode("ascii", "backslashreplace").decode()
    return plain[:TEXT_CHARACTERS] or "none"
