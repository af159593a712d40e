"""train.csv: ids, bone ages and sexes; read, checked, and split once."""

import contextlib
import csv
import hashlib
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.errors import InputError
from boneage.io.files import atomic_write
from boneage.io.locks import file_lock
from boneage.layout import LARGEST_ID, Layout

OLDEST_MONTHS = 300
"""No skeleton grows after 25 years; above this the column is not in months."""

ID_COLUMNS = ("id", "caseid", "imageid")
AGE_COLUMNS = ("boneage", "boneagemonths", "groundtruthboneagemonths")
MALE_VALUES = {"true": True, "1": True, "m": True, "male": True}
SEX_VALUES = MALE_VALUES | {"false": False, "0": False, "f": False, "female": False}

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Cohort:
    """Radiographs of known sex and bone age, ascending by id.

    ids: (radiograph,) int64. bone_age_months: (radiograph,) float64, NaN where the
    file gave none. is_male: (radiograph,) bool.
    """

    ids: np.ndarray
    bone_age_months: np.ndarray
    is_male: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, chosen: np.ndarray) -> "Cohort":
        """Keep the rows where `chosen`, (n,) bool, holds; or those at places, int."""
        return Cohort(
            self.ids[chosen], self.bone_age_months[chosen], self.is_male[chosen]
        )


def read_cohort(path: Path, made_by: str = "step0_prepare_cohort.py") -> Cohort:
    """Read a cohort's CSV, in any of the forms that the RSNA and Kaggle files have.

    `id,boneage,male`; `Case ID,Sex`; `Case ID,Sex,Ground truth bone age (months)`;
    `Image ID,male,Bone Age (months)`; with or without BOM, any line ends.

    Raises:
        InputError: the file, a column or a value is missing or wrong; every wrong
            row is counted and the first ones are named.
    """
    rows = read_rows(path, f"not found; run {made_by} first")
    if len(rows) < 2:
        raise InputError(f"{path}: expected a header and rows, found {len(rows)} lines")
    header = rows[0][1]
    columns = _find_columns(path, header)
    values, problems = {}, []
    for line, row in rows[1:]:
        try:
            radiograph_id, age, male = _parse_row(row, columns, len(header))
            if radiograph_id in values:
                raise ValueError(f"id {radiograph_id} for the second time")
            values[radiograph_id] = (age, male)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise InputError(f"{path}: {'; '.join(problems[:3])}{more}")
    return _checked(path, values)


def read_rows(path: Path, absent: str) -> list[tuple[int, list[str]]]:
    """Number and cells of each line that is not empty, the header's too.

    With commas or semicolons, with or without BOM, any line ends.

    Raises:
        InputError: no such file (it says `absent`), or no CSV file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: {absent}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a CSV file in UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    # strict: a quote that is never closed would swallow all rows after it
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None


def _find_columns(path: Path, header: list[str]) -> dict[str, int]:
    names = [re.sub(r"[^a-z]", "", name.casefold()) for name in header]
    columns = {}
    for field, accepted in (
        ("id", ID_COLUMNS),
        ("age", AGE_COLUMNS),
        ("sex", ("male", "sex")),
    ):
        found = [index for index, name in enumerate(names) if name in accepted]
        if len(found) > 1:
            raise InputError(f"{path}: two columns for {field}: {header}")
        if not found and field != "age":
            raise InputError(
                f"{path}: expected columns id,boneage,male; no {field} in {header}"
            )
        columns[field] = found[0] if found else -1
    return columns


def _parse_row(
    row: list[str], columns: dict[str, int], width: int
) -> tuple[int, float, bool]:
    if len(row) != width:
        raise ValueError(f"expected {width} values, found {len(row)}")
    id_text, sex_text = row[columns["id"]].strip(), row[columns["sex"]].strip()
    # isdecimal alone admits digits of other scripts, which int() turns into doubles
    if not (id_text.isascii() and id_text.isdecimal()):
        raise ValueError(f"expected an integer id, found {id_text!r}")
    if int(id_text) > LARGEST_ID:
        raise ValueError(f"expected an id of at most 18 digits, found {id_text!r}")
    if sex_text.casefold() not in SEX_VALUES:
        raise ValueError(f"expected True/False or M/F as sex, found {sex_text!r}")
    age_text = row[columns["age"]].strip() if columns["age"] >= 0 else ""
    # float alone admits 1_2, and digits of other scripts
    is_number = re.fullmatch(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?", age_text)
    age = float(age_text) if is_number else math.nan
    if age_text and not 0 < age <= OLDEST_MONTHS:
        raise ValueError(f"expected a bone age in months, found {age_text!r}")
    return int(id_text), age, SEX_VALUES[sex_text.casefold()]


def _checked(path: Path, values: dict[int, tuple[float, bool]]) -> Cohort:
    ids = np.array(sorted(values), dtype=np.int64)
    ages = np.array([values[i][0] for i in ids])
    known = ages[~np.isnan(ages)]
    if len(known) >= 20 and known.max() <= 20:
        raise InputError(
            f"{path}: no bone age above {known.max():g}; expected months, "
            "these look like years"
        )
    return Cohort(ids, ages, np.array([values[i][1] for i in ids]))


def write_cohort(path: Path, cohort: Cohort) -> None:
    """Write `id,boneage,male` in the RSNA file's form."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "boneage", "male"])
        for radiograph_id, age, male in zip(
            cohort.ids, cohort.bone_age_months, cohort.is_male, strict=True
        ):
            # every digit, and 132 as the RSNA file has it, not 132.0
            months = "" if np.isnan(age) else np.format_float_positional(age, trim="-")
            writer.writerow([radiograph_id, months, bool(male)])


def draw_split(
    cohort: Cohort,
    validation_fraction: float,
    test_fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Part of each radiograph, (radiograph,) of PARTS, stratified by age and sex.

    Systematic sampling along the radiographs sorted by sex and age (ties in random
    order, random start): every stretch of ages gives its share, to within one.
    """
    count = len(cohort)
    ties = rng.random(count)
    order = np.lexsort((ties, cohort.bone_age_months, cohort.is_male))
    split = np.full(count, "train", dtype=object)
    in_test = _every(count, test_fraction, rng)
    split[order[in_test]] = "test"
    rest = order[~in_test]
    share = validation_fraction / (1 - test_fraction)
    split[rest[_every(len(rest), share, rng)]] = "validation"
    return split


def _every(count: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Choose every 1/fraction-th of `count` positions, from a random start on."""
    return np.diff(np.floor(np.arange(count + 1) * fraction + rng.random())) > 0


def split_cohort(
    layout: Layout,
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> tuple[Cohort, np.ndarray]:
    """The cohort with a known bone age, and each radiograph's part.

    Drawn once and written to split.csv; afterwards that file is the only truth,
    whatever the seed. With a test.csv, its radiographs are the test part.

    Returns:
        The cohort (train.csv and test.csv together) and (radiograph,) of PARTS.

    Raises:
        InputError: a CSV is wrong, split.csv and the cohort name different ids, or
            the fractions leave nothing to train on.
    """
    if min(validation_fraction, test_fraction) < 0 or (
        validation_fraction + test_fraction >= 1
    ):
        raise InputError(
            f"validation fraction {validation_fraction:g}, test fraction "
            f"{test_fraction:g}: nothing would be left to train on"
        )
    cohort, official_test = read_with_test(layout)
    known = ~np.isnan(cohort.bone_age_months)
    if not known.any():
        raise InputError(f"{layout.train_csv}: no bone ages; training needs them")
    cohort, official_test = cohort.select(known), official_test[known]
    # where it is drawn already, the folder may be read-only
    lock = contextlib.nullcontext if layout.split_csv.exists() else file_lock
    with lock(layout.split_csv):
        if not layout.split_csv.exists():
            rng = np.random.default_rng(seed)
            parts = np.full(len(cohort), "test", dtype=object)
            parts[~official_test] = draw_split(
                cohort.select(~official_test),
                validation_fraction,
                0 if official_test.any() else test_fraction,
                rng,
            )
            write_split(layout.split_csv, cohort.ids, parts)
        drawn = read_split(layout.split_csv)
    leaked = [i for i in cohort.ids[official_test] if drawn.get(i, "test") != "test"]
    if leaked:
        raise InputError(
            f"{layout.split_csv}: id {leaked[0]} of {layout.test_csv.name} is in the "
            f"{drawn[leaked[0]]} part; remove the split and every model trained on it"
        )
    missing = [i for i in cohort.ids if i not in drawn]
    if missing or len(drawn) != len(cohort):
        raise InputError(
            f"{layout.split_csv}: drawn for {len(drawn)} radiographs, the cohort has "
            f"{len(cohort)} ({len(missing)} not in the split); the cohort changed: "
            "remove the split and every model trained on it"
        )
    return cohort, np.array([drawn[i] for i in cohort.ids], dtype=object)


def read_with_test(layout: Layout) -> tuple[Cohort, np.ndarray]:
    """The radiographs of train.csv, then those of test.csv, and which are the latter.

    Ages may be unknown. Raises InputError as `read_cohort`, or where both name an id.
    """
    cohort = read_cohort(layout.train_csv)
    official_test = np.zeros(len(cohort), dtype=bool)
    if layout.test_csv.exists():
        test = read_cohort(layout.test_csv)
        both = np.intersect1d(cohort.ids, test.ids)
        if len(both):
            raise InputError(f"{layout.test_csv}: id {both[0]} is in train.csv as well")
        official_test = np.arange(len(cohort) + len(test)) >= len(cohort)
        cohort = Cohort(
            np.concatenate([cohort.ids, test.ids]),
            np.concatenate([cohort.bone_age_months, test.bone_age_months]),
            np.concatenate([cohort.is_male, test.is_male]),
        )
    return cohort, official_test


def write_split(path: Path, ids: np.ndarray, parts: np.ndarray) -> None:
    """Write split.csv atomically: `id,split`."""
    with atomic_write(path) as temporary:
        lines = [f"{i},{part}\n" for i, part in zip(ids, parts, strict=True)]
        temporary.write_text("id,split\n" + "".join(lines))


def read_split(path: Path) -> dict[int, str]:
    """Part of each id; InputError where a line is wrong, or an id there twice."""
    drawn = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a CSV file in UTF-8") from None
    for line, text in enumerate(lines[1:], start=2):
        radiograph_id, _, part = text.partition(",")
        if not radiograph_id.isdecimal() or part not in PARTS:
            raise InputError(f"{path}: line {line}: expected id,part, found {text!r}")
        # in two parts, it would be trained on and tested with
        if int(radiograph_id) in drawn:
            raise InputError(
                f"{path}: line {line}: id {radiograph_id} for the second time"
            )
        drawn[int(radiograph_id)] = part
    return drawn


def split_hash(ids: np.ndarray, parts: np.ndarray) -> str:
    """Twelve hexadecimal digits that name this split in a run's config.json."""
    lines = sorted(f"{i},{part}" for i, part in zip(ids, parts, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
