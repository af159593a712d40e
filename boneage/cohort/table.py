"""train.csv: ids, bone ages and sexes; read, checked, and split once."""

import contextlib
import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage import ids as radiograph_ids
from boneage.cohort.columns import (
    find_columns,
    name_unread_columns,
    normalized,
    parse_age,
    parse_id,
    parse_sex,
)
from boneage.errors import InputError
from boneage.ids import RadiographId, id_array, is_id, sort_ids
from boneage.io.files import atomic_write
from boneage.io.locks import file_lock
from boneage.io.tables import read_table
from boneage.layout import Layout

PARTS = ("train", "validation", "test")

START_AGAIN = "remove the split and every model trained on it"


@dataclass(frozen=True)
class Cohort:
    """Radiographs of known sex and bone age, ascending by id.

    ids: (radiograph,), see `ids.id_array`. bone_age_months: (radiograph,) float64, NaN
    where the file gave none. is_male: (radiograph,) bool. patients: (radiograph,) of
    text, "" where the file names no patient; None where it has no such column.
    """

    ids: np.ndarray
    bone_age_months: np.ndarray
    is_male: np.ndarray
    patients: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, chosen: np.ndarray) -> "Cohort":
        """Keep the rows where `chosen`, (n,) bool, holds; or those at places, int."""
        return Cohort(
            self.ids[chosen],
            self.bone_age_months[chosen],
            self.is_male[chosen],
            None if self.patients is None else self.patients[chosen],
        )


def read_cohort(
    path: Path, advice: str = "run step0_prepare_cohort.py first"
) -> Cohort:
    """Read a cohort's table, in any of the forms that the RSNA and Kaggle files have.

    `id,boneage,male`; `Case ID,Sex`; `Case ID,Sex,Ground truth bone age (months)`;
    `Image ID,male,Bone Age (months)`; `patient` is optional, `bone_age_years` becomes
    months. Columns that are not read are named on the screen.

    Raises:
        InputError: the file, a column or a value is missing or wrong; every wrong
            row is counted and the first ones are named.
    """
    table = read_table(path, advice)
    columns = find_columns(path, table.header, "id", "sex")
    if not table.rows:
        raise InputError(f"{path} must have a header and rows (got no rows); add some")
    is_male_column = normalized(table.header[columns["sex"]]) == "male"
    values: dict[RadiographId, tuple[float, bool, str]] = {}
    problems = []
    for line, row in table.rows:
        try:
            if len(row) != len(table.header):
                raise ValueError(
                    f"the row must have {len(table.header)} values (got {len(row)})"
                )
            cells = {name: row[place] for name, place in columns.items()}
            radiograph_id = parse_id(cells["id"])
            if radiograph_id in values:
                raise ValueError(f"id {radiograph_id} must be unique (got it twice)")
            is_male = parse_sex(cells["sex"], is_male_column)
            patient = cells.get("patient", "")
            values[radiograph_id] = (parse_age(cells), is_male, patient)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise InputError(f"{path}: {'; '.join(problems[:3])}{more}")
    name_unread_columns(path, tuple(table.header), tuple(columns.values()))
    return _checked(path, values, columns)


def _checked(
    path: Path,
    values: dict[RadiographId, tuple[float, bool, str]],
    columns: dict[str, int],
) -> Cohort:
    ids = sort_ids(values)
    ages, is_male, patients = (
        np.array(column) for column in zip(*(values[i] for i in ids), strict=True)
    )
    known = ages[~np.isnan(ages)]
    if "months" in columns and len(known) >= 20 and known.max() <= 20:
        raise InputError(
            f"{path}: bone ages must be months (got none above {known.max():g}, which "
            "look like years); multiply them by 12, or name the column bone_age_years"
        )
    return Cohort(
        id_array(ids),
        ages,
        is_male,
        patients if "patient" in columns else None,
    )


def write_cohort(path: Path, cohort: Cohort) -> None:
    """Write `id,boneage,male` in the RSNA file's form, and `patient` if it is known."""
    columns = ["id", "boneage", "male"]
    # every digit, and 132 as the RSNA file has it, not 132.0
    months = [
        "" if np.isnan(age) else np.format_float_positional(age, trim="-")
        for age in cohort.bone_age_months
    ]
    cells = [cohort.ids.tolist(), months, cohort.is_male.tolist()]
    if cohort.patients is not None:
        columns.append("patient")
        cells.append(cohort.patients.tolist())
    # utf-8-sig is what Excel needs to see UTF-8, but the RSNA file has no BOM
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def draw_split(
    cohort: Cohort,
    validation_fraction: float,
    test_fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Part of each radiograph, (radiograph,) of PARTS, stratified by age and sex.

    Systematic sampling along the children sorted by sex and age (ties in random
    order, random start): every stretch of ages gives its share, to within one. All
    radiographs of a patient go into one part; the first of them gives age and sex.
    """
    first, child_of = _children(cohort)
    count = len(first)
    ties = rng.random(count)
    order = np.lexsort((ties, cohort.bone_age_months[first], cohort.is_male[first]))
    part_of_child = np.full(count, "train", dtype=object)
    in_test = _every(count, test_fraction, rng)
    part_of_child[order[in_test]] = "test"
    rest = order[~in_test]
    share = validation_fraction / (1 - test_fraction)
    part_of_child[rest[_every(len(rest), share, rng)]] = "validation"
    return part_of_child[child_of]


def _children(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """First radiograph of each child, and the child of each radiograph; as places.

    A radiograph whose patient is not known counts as a child of its own.
    """
    places = np.arange(len(cohort))
    if cohort.patients is None:
        return places, places
    names = [
        (patient, 0) if patient else ("", str(radiograph_id))
        for patient, radiograph_id in zip(cohort.patients, cohort.ids, strict=True)
    ]
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    child_of_name = {name: child for child, name in enumerate(dict.fromkeys(names))}
    return (
        np.array([first[name] for name in child_of_name], int),
        np.array([child_of_name[name] for name in names], int),
    )


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
            "--validation-fraction and --test-fraction must be 0 or more, and below 1 "
            f"together (got {validation_fraction:g} and {test_fraction:g})"
        )
    cohort, official_test = read_with_test(layout)
    known = ~np.isnan(cohort.bone_age_months)
    if not known.any():
        raise InputError(
            f"{layout.train_csv} must have bone ages to train on (got none)"
        )
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
            f"{layout.split_csv}: id {leaked[0]} of {layout.test_csv.name} must be in "
            f"the test part (got {drawn[leaked[0]]}); {START_AGAIN}"
        )
    missing = [i for i in cohort.ids if i not in drawn]
    if missing or len(drawn) != len(cohort):
        raise InputError(
            f"{layout.split_csv} must name the cohort's {len(cohort)} radiographs "
            f"(got {len(drawn)}, without {len(missing)} of them); the cohort changed: "
            f"{START_AGAIN}"
        )
    parts = np.array([drawn[i] for i in cohort.ids], dtype=object)
    _check_patients(layout, cohort, parts)
    return cohort, parts


def _check_patients(layout: Layout, cohort: Cohort, parts: np.ndarray) -> None:
    """InputError where a patient is trained on and tested with."""
    if cohort.patients is None:
        return
    part_of: dict[str, str] = {}
    for patient, part in zip(cohort.patients, parts, strict=True):
        if patient and part_of.setdefault(patient, part) != part:
            raise InputError(
                f"{layout.split_csv}: patient {patient} must be in one part (got "
                f"{part_of[patient]} and {part}); {START_AGAIN}"
            )


def read_with_test(layout: Layout) -> tuple[Cohort, np.ndarray]:
    """The radiographs of train.csv, then those of test.csv, and which are the latter.

    Ages may be unknown. Raises InputError as `read_cohort`, or where both name an id.
    """
    cohort = read_cohort(layout.train_csv)
    official_test = np.zeros(len(cohort), dtype=bool)
    if layout.test_csv.exists():
        test = read_cohort(layout.test_csv)
        both = sort_ids(set(cohort.ids.tolist()) & set(test.ids.tolist()))
        if both:
            raise InputError(
                f"{layout.test_csv}: id {both[0]} must be in one table (got it in "
                "train.csv as well); remove it there"
            )
        if cohort.patients is not None and test.patients is not None:
            shared = np.setdiff1d(np.intersect1d(cohort.patients, test.patients), [""])
            if len(shared):
                raise InputError(
                    f"{layout.test_csv}: patient {shared[0]} must be in one table (got "
                    "one in train.csv as well); remove the patient there"
                )
        official_test = np.arange(len(cohort) + len(test)) >= len(cohort)
        cohort = Cohort(
            id_array([*cohort.ids.tolist(), *test.ids.tolist()]),
            np.concatenate([cohort.bone_age_months, test.bone_age_months]),
            np.concatenate([cohort.is_male, test.is_male]),
            _joined_patients(cohort, test),
        )
    return cohort, official_test


def _joined_patients(first: Cohort, second: Cohort) -> np.ndarray | None:
    if first.patients is None and second.patients is None:
        return None
    return np.concatenate(
        [
            np.full(len(cohort), "") if cohort.patients is None else cohort.patients
            for cohort in (first, second)
        ]
    )


def write_split(path: Path, ids: np.ndarray, parts: np.ndarray) -> None:
    """Write split.csv atomically: `id,split`."""
    with atomic_write(path) as temporary:
        lines = [f"{i},{part}\n" for i, part in zip(ids, parts, strict=True)]
        temporary.write_text("id,split\n" + "".join(lines))


def read_split(path: Path) -> dict[RadiographId, str]:
    """Part of each id; InputError where a line is wrong, or an id there twice."""
    drawn: dict[RadiographId, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"{path} must be a CSV file (got no UTF-8); {START_AGAIN}"
        ) from None
    for line, text in enumerate(lines[1:], start=2):
        name, _, part = text.partition(",")
        if not is_id(name) or part not in PARTS:
            raise InputError(
                f"{path}: line {line} must be an id and one of {', '.join(PARTS)} "
                f"(got {text!r})"
            )
        # in two parts, it would be trained on and tested with
        radiograph_id = radiograph_ids.parse_id(name)
        if radiograph_id in drawn:
            raise InputError(
                f"{path}: line {line}: id {radiograph_id} must be unique (got it twice)"
            )
        drawn[radiograph_id] = part
    return drawn


def split_hash(ids: np.ndarray, parts: np.ndarray) -> str:
    """Twelve hexadecimal digits that name this split in a run's config.json."""
    lines = sorted(f"{i},{part}" for i, part in zip(ids, parts, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
