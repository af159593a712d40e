"""A child's age on the day of the radiograph, in months.

Written by people as years and months: `8y3m`, `8 y 3 m`, `8 years`, `99 months`; taken
from a DICOM header as StudyDate less PatientBirthDate, or else as PatientAge.
"""

import datetime
import math
import re
from typing import NamedTuple

from boneage.cohort.columns import OLDEST_MONTHS
from boneage.io.dicom import Facts

DAYS_A_MONTH = 365.25 / 12
GRAMMAR = re.compile(
    r"(?:(?P<years>\d{1,2})\s*(?:y|years?))?\s*"
    r"(?:(?P<months>\d{1,3}(?:\.\d+)?)\s*(?:m|months?))?",
    re.ASCII | re.IGNORECASE,
)
NUMBER = re.compile(r"\d{1,3}(?:[.,]\d+)?", re.ASCII)
DICOM_UNITS = {"D": 1 / DAYS_A_MONTH, "W": 7 / DAYS_A_MONTH, "M": 1, "Y": 12}
"""Months in the units of PatientAge (PS3.5 6.2, value representation AS)."""


class HeaderAge(NamedTuple):
    """What a DICOM header says of the age; months NaN and no notes where it is silent.

    notes: why the header's age is not used, or how exact it is.
    """

    months: float = math.nan
    notes: tuple[str, ...] = ()


def parse(text: str) -> float:
    """Months in `8y3m`, `8 y 3 m`, `8 years` or `99 months`.

    Raises:
        ValueError: anything else, 12 months or more after years, or an age above
            OLDEST_MONTHS.
    """
    match = GRAMMAR.fullmatch(text.strip())
    years, months = (match["years"], match["months"]) if match else (None, None)
    if years is None and months is None:
        raise ValueError(
            "the chronological age must be years and months such as 8y3m, 8y or 99m "
            f"(got {text.strip()!r})"
        )
    if years is not None and float(months or 0) >= 12:
        raise ValueError(
            "the chronological age must have fewer than 12 months after the years "
            f"(got {text.strip()!r})"
        )
    return _checked(12 * int(years or 0) + float(months or 0), text)


def parse_number(text: str, months_a_unit: int) -> float:
    """Months in a number of months (1 a unit) or of years (12); ValueError else."""
    if not NUMBER.fullmatch(text.strip()):
        unit = "months" if months_a_unit == 1 else "years"
        raise ValueError(
            f"the chronological age must be a number of {unit} (got {text.strip()!r})"
        )
    return _checked(float(text.strip().replace(",", ".")) * months_a_unit, text)


def _checked(months: float, text: str) -> float:
    if months > OLDEST_MONTHS:
        raise ValueError(
            f"the chronological age must be at most {OLDEST_MONTHS // 12} years (got "
            f"{text.strip()!r})"
        )
    return months


def of_header(facts: Facts) -> HeaderAge:
    """The age that a DICOM header states.

    Dates that are no dates, a study before the birth and ages above OLDEST_MONTHS, as
    anonymised files may have them, give none.
    """
    birth, study = _date(facts.birth_date), _date(facts.study_date)
    notes = []
    if birth is not None and study is not None:
        months = (study - birth).days / DAYS_A_MONTH
        if 0 <= months <= OLDEST_MONTHS:
            return HeaderAge(months)
        notes.append(
            "the DICOM file's dates of birth and study give no age of a child; not used"
        )
    match = re.fullmatch(r"(\d{3})([DWMY])", facts.age.upper(), re.ASCII)
    if match is None:
        return HeaderAge(notes=tuple(notes))
    months = int(match[1]) * DICOM_UNITS[match[2]]
    if months > OLDEST_MONTHS:
        notes.append("the DICOM file's PatientAge is no age of a child; not used")
        return HeaderAge(notes=tuple(notes))
    if match[2] == "Y":
        notes.append(
            "the DICOM file gives the chronological age in whole years: the child may "
            "be up to 12 months older, and the difference that much less"
        )
    return HeaderAge(months, tuple(notes))


def _date(text: str) -> datetime.date | None:
    """A date of DICOM, YYYYMMDD, or of its predecessor, YYYY.MM.DD; None for others."""
    digits = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", text, re.ASCII)
    try:
        return datetime.date(*map(int, digits.groups())) if digits else None
    except ValueError:
        return None
