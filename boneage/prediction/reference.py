"""Reference of bone age for chronological age, and standard deviation scores in it.

A reference is a table that the user brings; none is shipped. Its first line names where
its numbers come from, the second the columns, and each further one an age:

    # source: Author A, Author B. Title. Journal, year, table 2
    age_months,sex,mean_months,standard_deviation_months
    96,male,97.2,10.1

For each sex the mean and standard deviation of the bone age at ascending chronological
ages; between two ages both are interpolated linearly, beyond them there is no score.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boneage.cohort.columns import OLDEST_MONTHS, SEX_VALUES
from boneage.errors import InputError, printable
from boneage.evaluation.ages import years_and_months
from boneage.io.tables import read_titled_table
from boneage.prediction.inputs import Sex

COLUMNS = {
    "age_months": ("agemonths", "chronologicalagemonths"),
    "sex": ("sex",),
    "mean_months": ("meanmonths", "mean", "meanboneagemonths"),
    "standard_deviation_months": (
        *("standarddeviationmonths", "standarddeviation", "sdmonths", "sd"),
    ),
}
"""Columns and the headings that they may have, without case and punctuation."""
HEADER = ",".join(COLUMNS)
SOURCE = re.compile(r"#\s*source:\s*(.*)", re.IGNORECASE)
YEARS_UNTIL = 25
"""Ages that end at or below this are years: no bone is mature at 25 months."""


class DeviationScore(NamedTuple):
    """How many standard deviations a bone age lies above the mean of its age and sex.

    lower, upper: the same of the limits of its interval, NaN without one. source: where
    the reference comes from.
    """

    value: float
    lower: float
    upper: float
    source: str


@dataclass(frozen=True)
class ReferenceTable:
    """Means and standard deviations of bone age by chronological age, for each sex.

    source: the first line of its file. ages: by sex, (age, 3) float: chronological age,
    mean and standard deviation in months, ascending by age.
    """

    source: str
    ages: dict[Sex, np.ndarray]

    def at(self, sex: Sex, age_months: float) -> tuple[float, float] | None:
        """Mean and standard deviation at an age, in months; None where it has none."""
        table = self.ages.get(sex)
        if table is None or not table[0, 0] <= age_months <= table[-1, 0]:
            return None
        mean, deviation = (
            float(np.interp(age_months, table[:, 0], table[:, k])) for k in (1, 2)
        )
        return mean, deviation

    def score(
        self, sex: Sex, age_months: float, bone_ages: tuple[float, float, float]
    ) -> DeviationScore | str:
        """The score of a bone age and of its limits, months; or why there is none."""
        if math.isnan(age_months):
            return "no standard deviation score: the chronological age is not known"
        if sex not in self.ages:
            return f"no standard deviation score: the reference has no sex {sex}"
        found = self.at(sex, age_months)
        if found is None:
            first, last = self.ages[sex][[0, -1], 0]
            return (
                f"no standard deviation score: {years_and_months(age_months)} is "
                f"beyond the {first:g} to {last:g} months of the reference"
            )
        mean, deviation = found
        value, lower, upper = ((months - mean) / deviation for months in bone_ages)
        return DeviationScore(value, lower, upper, self.source)


def read_reference(path: Path) -> ReferenceTable:
    """Read a reference table, CSV or xlsx.

    Raises:
        InputError: it cannot be read, names no source, or a column or value is wrong.
    """
    title, table = read_titled_table(path, "check the name")
    match = SOURCE.fullmatch(title.strip())
    if match is None or not match[1].strip():
        raise InputError(
            f"{path} must begin with the line '# source: ' and where its numbers come "
            f"from (got {title[:60]!r}); add it"
        )
    places = _places(path, table.header)
    rows: dict[Sex, dict[float, tuple[float, float]]] = {}
    for line, row in table.rows:
        try:
            sex, age, mean, deviation = _parse(row, table.header, places)
            of_sex = rows.setdefault(sex, {})
            if age in of_sex:
                raise ValueError(f"{age:g} months of a {sex} must be given once")
        except ValueError as error:
            raise InputError(f"{path}: line {line}: {error}") from None
        of_sex[age] = (mean, deviation)
    ages = {sex: _sorted(path, sex, of_sex) for sex, of_sex in rows.items()}
    if not ages:
        raise InputError(f"{path} must have rows below {HEADER} (got none); add some")
    if max(table[-1, 0] for table in ages.values()) <= YEARS_UNTIL:
        raise InputError(
            f"{path}: age_months must be months (got none above {YEARS_UNTIL}, which "
            "look like years); multiply ages, means and deviations by 12"
        )
    return ReferenceTable(printable(match[1].strip()), ages)


def _places(path: Path, header: list[str]) -> list[int]:
    """Place of each of COLUMNS; InputError where one is missing or there twice."""
    names = [re.sub(r"[^a-z]", "", name.casefold()) for name in header]
    places = []
    for column, accepted in COLUMNS.items():
        matches = [place for place, name in enumerate(names) if name in accepted]
        if len(matches) != 1:
            got = ",".join(header) or "nothing"
            raise InputError(
                f"{path} must have one column {column} (got {got}); its second line "
                f"must read {HEADER}"
            )
        places += matches
    return places


def _parse(
    row: list[str], header: list[str], places: list[int]
) -> tuple[Sex, float, float, float]:
    """Sex, age, mean and deviation of a row; ValueError where one is wrong."""
    if len(row) != len(header):
        raise ValueError(f"the row must have {len(header)} values (got {len(row)})")
    age_text, word, *others = (row[place] for place in places)
    is_male = SEX_VALUES.get(word.casefold())
    if is_male is None or word.casefold() in ("yes", "no", "y", "n"):
        raise ValueError(f"the sex must be male or female (got {word!r})")
    age, mean, deviation = (
        _number(name, text)
        for name, text in zip(
            ("age_months", "mean_months", "standard_deviation_months"),
            (age_text, *others),
            strict=True,
        )
    )
    if deviation == 0:
        raise ValueError("standard_deviation_months must be above 0 (got 0)")
    return "male" if is_male else "female", age, mean, deviation


def _number(name: str, text: str) -> float:
    if (
        not re.fullmatch(r"[0-9]+([.,][0-9]+)?", text)
        or (number := float(text.replace(",", "."))) > OLDEST_MONTHS
    ):
        raise ValueError(
            f"{name} must be a number from 0 to {OLDEST_MONTHS} (got {text!r})"
        )
    return number


def _sorted(
    path: Path, sex: Sex, by_age: dict[float, tuple[float, float]]
) -> np.ndarray:
    table = np.array([(age, *by_age[age]) for age in sorted(by_age)])
    if len(table) < 2:
        raise InputError(
            f"{path} must have two ages or more of a sex (got 1 of sex {sex}); add one"
        )
    falls = np.flatnonzero(np.diff(table[:, 1]) < 0)
    if len(falls):
        before, after = table[falls[0], 0], table[falls[0] + 1, 0]
        raise InputError(
            f"{path}: mean_months of sex {sex} must not fall with age (got less at "
            f"{after:g} than at {before:g} months); look for a wrong number or column"
        )
    return table
