"""Columns of a cohort's table: headings and cells as data sets have them."""

import functools
import math
import re
from pathlib import Path

from boneage import ids
from boneage.errors import InputError
from boneage.io import radiographs

OLDEST_MONTHS = 300
"""No skeleton grows after 25 years; above this the column is not in months."""

# headings without case, blanks and punctuation
COLUMNS = {
    "id": ("id", "caseid", "imageid"),
    "months": (
        *("boneage", "boneagemonths", "boneageinmonths", "boneagem"),
        *("groundtruthboneage", "groundtruthboneagemonths", "skeletalagemonths"),
    ),
    "years": (
        *("boneageyears", "boneageinyears", "boneageyrs", "boneagey"),
        *("groundtruthboneageyears", "skeletalageyears"),
    ),
    "sex": ("male", "sex", "gender", "patientsex"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
}
CHRONOLOGICAL_AGE = {
    "chronologicalage": None,
    "chronologicalagemonths": 1,
    "chronologicalageinmonths": 1,
    "chronologicalageyears": 12,
    "chronologicalageinyears": 12,
}
"""Headings of the age on the day of the radiograph: months in a number; None: 8y3m."""
MALE = ("true", "1", "1.0", "m", "male", "yes", "y")
FEMALE = ("false", "0", "0.0", "f", "female", "no", "n")
SEX_VALUES = dict.fromkeys(MALE, True) | dict.fromkeys(FEMALE, False)
MALE_ONLY = ("yes", "y", "no", "n")
"""Values of a column named "male"; under another name they mean nothing."""


def find_columns(path: Path, header: list[str], *required: str) -> dict[str, int]:
    """Place of each of `COLUMNS` in a header; of months and years only the months.

    Raises:
        InputError: two columns of one meaning, or none of a `required` one.
    """
    names = [normalized(name) for name in header]
    columns = {}
    for meaning, accepted in COLUMNS.items():
        places = [place for place, name in enumerate(names) if name in accepted]
        if len(places) > 1:
            both = " and ".join(header[place] for place in places)
            raise InputError(
                f"{path} must have one column for the {meaning} (got {both}); rename "
                "one of them"
            )
        if places:
            columns[meaning] = places[0]
        elif meaning in required:
            raise InputError(
                f"{path} must have the columns id,boneage,male (got no {meaning} in "
                f"{','.join(header) or 'an empty file'}); add or rename it"
            )
    if "months" in columns:
        columns.pop("years", None)
    return columns


def normalized(name: str) -> str:
    """A heading without case, blanks and punctuation."""
    return re.sub(r"[^a-z]", "", name.casefold())


@functools.cache  # a step may read the table several times
def name_unread_columns(
    path: Path, header: tuple[str, ...], read: tuple[int, ...]
) -> None:
    """Print the headings of the columns that nothing is read from."""
    unread = [name for place, name in enumerate(header) if place not in read and name]
    if unread:
        print(f"{path}: columns not read: {', '.join(unread)}")


def parse_id(text: str) -> ids.RadiographId:
    """The id in `1377`, `1377.png`, `1377.0` or `P001_left.dcm`.

    Raises:
        ValueError: as in `ids.parse_id`.
    """
    stem = text
    for suffix in radiographs.SUFFIXES:
        if text.casefold().endswith(suffix):
            stem = text[: -len(suffix)]
    return ids.parse_id(re.sub(r"^([0-9]+)\.0+$", r"\1", stem) or text)


def parse_sex(text: str, is_male_column: bool = False) -> bool:
    """Whether a cell means male; ValueError if it means neither male nor female."""
    word = text.strip().casefold()
    if word not in SEX_VALUES or (word in MALE_ONLY and not is_male_column):
        raise ValueError(f"the sex must be True or False, M or F (got {text!r})")
    return SEX_VALUES[word]


def parse_age(cells: dict[str, str]) -> float:
    """Bone age in months, NaN for an empty cell; ValueError for no such age."""
    unit = "months" if "months" in cells else "years"
    text = cells.get(unit, "")
    if not text:
        return math.nan
    number = re.sub(r"^(\d{1,3}),(\d{1,2})$", r"\1.\2", text, flags=re.ASCII)
    # float alone admits 1_2, and digits of other scripts
    is_number = re.fullmatch(
        r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", number
    )
    age = (float(number) if is_number else math.nan) * (12 if unit == "years" else 1)
    if not 0 < age <= OLDEST_MONTHS:
        most = OLDEST_MONTHS if unit == "months" else OLDEST_MONTHS // 12
        raise ValueError(
            f"the bone age must be above 0 and at most {most} {unit} (got {text!r})"
        )
    return age
