"""Which radiographs to read, and of whom: files, folders, tables, DICOM headers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from boneage.cli import list_some
from boneage.cohort.columns import (
    CHRONOLOGICAL_AGE,
    COLUMNS,
    SEX_VALUES,
    find_columns,
    parse_age,
)
from boneage.errors import InputError
from boneage.evaluation.ages import years_and_months
from boneage.io import dicom, radiographs, tables
from boneage.io.tables import Table, read_table
from boneage.parallel import Skipped
from boneage.prediction import chronological_age

Sex = Literal["male", "female", "unknown"]

SEX_COLUMNS = ("sex", "male", "gender", "patientsex")
SUBJECT_COLUMNS = {
    "chronological_age": tuple(CHRONOLOGICAL_AGE),
    "patient": COLUMNS["patient"],
}
"""What else a table may say of a child, and headings without blanks and punctuation."""
UNKNOWN = ("unknown", "u", "other", "o", "")
"""What files write where the sex is not known; DICOM's O is other."""

DICOM_SEXES: dict[str, Sex] = {"M": "male", "F": "female", "O": "unknown"}
HAND_PARTS = ("HAND", "WRIST", "FINGER", "CARP", "BONE", "EXTREMITY", "EXM", "ARM")
"""Words in BodyPartExamined that a radiograph of a hand may have."""

SAY_SEX = "give --sex male, female or unknown"


@dataclass(frozen=True)
class InputRadiograph:
    """A radiograph to read; `notes` are warnings that its file gives rise to.

    chronological_age_months: NaN where it is not known. patient: equal for radiographs
    of one child; "" where the child is not known. read_months: the bone age that a
    person read; NaN where no table states it.
    """

    path: Path
    sex: Sex
    notes: tuple[str, ...] = ()
    chronological_age_months: float = math.nan
    patient: str = ""
    read_months: float = math.nan


class Inputs(NamedTuple):
    """Radiographs that paths name, those that cannot be read, lines for the screen."""

    radiographs: list[InputRadiograph]
    skipped: list[Skipped]
    notes: list[str]


class _Listed(NamedTuple):
    """A radiograph that a table or folder names, with what its row says of it.

    cells: text by meaning: sex, chronological_age, patient, months or years of bone
    age; a meaning without a column is missing. age_unit: of the chronological age, as
    in `CHRONOLOGICAL_AGE`.
    """

    path: Path
    cells: dict[str, str]
    age_unit: int | None = None


def parse_sex(text: str) -> Sex:
    """The sex as files write it, in any case; ValueError for other words.

    male, m, true, 1, yes; female, f, false, 0, no; unknown, u, other, o, or nothing.
    """
    word = text.strip().casefold()
    if word in UNKNOWN:
        return "unknown"
    if word not in SEX_VALUES:
        raise ValueError(
            "the sex must be male, female or unknown, M or F, True or False (got "
            f"{text.strip()!r})"
        )
    return "male" if SEX_VALUES[word] else "female"


def collect_inputs(
    paths: Sequence[Path],
    sex: Sex | None,
    chronological_age_months: float = math.nan,
    with_read_months: bool = False,
) -> Inputs:
    """The radiographs that `paths` name, in order, and what cannot be read.

    Args:
        paths: radiographs; folders, with all folders in them; tables (CSV, xlsx) with
            columns file,sex, or id,boneage,male beside a folder of radiographs.
        sex: of all radiographs whose table does not say another; None to take it from
            each DICOM file, as where a table says nothing.
        chronological_age_months: the same for the age; NaN for DICOM files' own.
        with_read_months: whether tables must state the bone age that a person read;
            radiographs without one are skipped.

    Raises:
        InputError: a folder has no radiograph, or a table cannot be read.
    """
    inputs = Inputs([], [], [])
    for path in paths:
        if path.suffix.lower() in tables.SUFFIXES:
            listed = _in_table(path, inputs, with_read_months)
        elif path.is_dir():
            listed = [_Listed(file, {}) for file in _in_folder(path, inputs.notes)]
        else:
            listed = [_Listed(path, {})]
        for item in listed:
            # an empty cell says nothing; without a flag it says unknown
            written = item.cells.get("sex")
            known = written or sex
            try:
                age = _age_in(item, chronological_age_months)
                read_months = _read_months_in(item) if with_read_months else math.nan
                radiograph = resolve_input(
                    item.path, written if known is None else known, age
                )
            except InputError as error:
                inputs.skipped.append(Skipped(item.path, str(error)))
                continue
            patient = item.cells.get("patient")
            if patient:
                # two tables may number their patients alike
                radiograph = replace(radiograph, patient=f"{path.resolve()}:{patient}")
            inputs.radiographs.append(replace(radiograph, read_months=read_months))
    return inputs


def _age_in(item: _Listed, otherwise_months: float) -> float:
    """The chronological age in a row; InputError where its cell is no age."""
    text = item.cells.get("chronological_age")
    if not text:
        return otherwise_months
    try:
        if item.age_unit is None:
            return chronological_age.parse(text)
        return chronological_age.parse_number(text, item.age_unit)
    except ValueError as error:
        raise InputError(f"{item.path}: {error}") from None


def _read_months_in(item: _Listed) -> float:
    """The bone age in a row; InputError where its cell is none."""
    try:
        months = parse_age(item.cells)
    except ValueError as error:
        raise InputError(f"{item.path}: {error}") from None
    if math.isnan(months):
        raise InputError(f"{item.path} must have a bone age in its row (got none)")
    return months


def _in_folder(folder: Path, notes: list[str]) -> list[Path]:
    """Radiographs of a folder; adds a line about the other files to `notes`."""
    chosen, others = radiographs.find_below(folder)
    if not chosen:
        raise InputError(
            f"{folder} must hold radiographs (got {len(others)} other files); name "
            f"files or a folder with {radiographs.FORMATS}"
        )
    if others:
        names = [str(path.relative_to(folder)) for path in others]
        notes.append(
            f"{folder}: {len(others)} of {len(chosen) + len(others)} files not read, "
            f"no radiographs: {list_some(names)}"
        )
    return chosen


def _in_table(path: Path, inputs: Inputs, with_read_months: bool) -> list[_Listed]:
    """Files that a table names, relative to its folder.

    Adds ids without a radiograph to what is skipped, and columns not read to the notes.
    with_read_months: whether it must have a column of bone ages.

    Raises:
        InputError: not such a table.
    """
    table = read_table(path, "check the name")
    names = [re.sub(r"[\W_]", "", name.casefold()) for name in table.header]
    keys = ["file"] if "file" in names else [n for n in names if n in COLUMNS["id"]]
    places = {
        name: [i for i, heading in enumerate(names) if heading in headings]
        for name, headings in SUBJECT_COLUMNS.items()
    }
    sexes = [name for name in SEX_COLUMNS if name in names]
    is_doubled = names.count("sex") + names.count("male") > 1
    if len(keys) != 1 or names.count(keys[0]) != 1 or is_doubled:
        got = ",".join(table.header) or "nothing"
        raise InputError(
            f"{path} must have the columns file,sex or id,male (got {got})"
        )
    key_place = names.index(keys[0])
    columns = {"sex": names.index(sexes[0])} if sexes else {}
    for name, found in places.items():
        if len(found) > 1:
            both = " and ".join(table.header[i] for i in found)
            raise InputError(
                f"{path} must have one column for the {name.replace('_', ' ')} (got "
                f"{both}); rename one of them"
            )
        if found:
            columns[name] = found[0]
    if with_read_months:
        columns |= _bone_age_column(path, table.header)
    read = {key_place, *columns.values()}
    unread = [name for i, name in enumerate(table.header) if i not in read]
    if any(unread):
        inputs.notes.append(f"{path}: columns not read: {', '.join(unread)}")
    if not table.rows:
        raise InputError(f"{path} must name radiographs (got no rows)")
    _check_rows(path, table, key_place)
    age_place = columns.get("chronological_age")
    unit = None if age_place is None else CHRONOLOGICAL_AGE[names[age_place]]
    rows = [
        _Listed(
            path.parent / row[key_place],
            {name: row[place] for name, place in columns.items()},
            unit,
        )
        for _, row in table.rows
    ]
    if keys == ["file"]:
        return rows
    return _by_id(path, [row[key_place] for _, row in table.rows], rows, inputs)


def _bone_age_column(path: Path, header: list[str]) -> dict[str, int]:
    """Place of the bone ages, by `months` or, without these, `years`."""
    found = find_columns(path, header)
    chosen = {name: i for name, i in found.items() if name in ("months", "years")}
    if not chosen:
        raise InputError(
            f"{path} must have a column boneage, in months (got {','.join(header)}); "
            "add or rename it"
        )
    return chosen


def _check_rows(path: Path, table: Table, key_place: int) -> None:
    for line, row in table.rows:
        if len(row) != len(table.header):
            raise InputError(
                f"{path}: line {line} must have {len(table.header)} values (got "
                f"{len(row)})"
            )
        if not row[key_place]:
            raise InputError(f"{path}: line {line} must name a radiograph (got none)")


def _by_id(
    path: Path, ids: Sequence[str], rows: Sequence[_Listed], inputs: Inputs
) -> list[_Listed]:
    """The radiographs `<id>.*` beside a table, in its folder or in folders there."""
    files: dict[str, list[Path]] = {}
    for file in radiographs.find_below(path.parent)[0]:
        for name in {file.stem, file.name}:
            files.setdefault(name, []).append(file)
    listed = []
    for written, row in zip(ids, rows, strict=True):
        name = re.sub(r"(?<=\d)\.0+$", "", written)
        matches = files.get(name, [])
        if len(matches) == 1:
            listed.append(row._replace(path=matches[0]))
            continue
        got = f"{len(matches)}: {list_some(matches, 3)}" if matches else "none"
        inputs.skipped.append(
            Skipped(
                path.parent / name,
                f"{path}: id {written} must have one radiograph in {path.parent} or "
                f"the folders there (got {got})",
            )
        )
    if not listed:
        raise InputError(inputs.skipped[-1].reason)
    return listed


def resolve_input(
    path: Path, written: str | None, chronological_age_months: float = math.nan
) -> InputRadiograph:
    """One radiograph with its sex and age, and what its header states.

    written: the sex as the user or a table gives it; "" or None leaves it to a DICOM
        file, and where that is silent, too, "" says that it is not known.
    chronological_age_months: as the user or a table gives it; NaN leaves it to a DICOM
        file.

    Raises:
        InputError: the file is missing, or its sex is not given or not understood.
    """
    facts = dicom.read_facts(path) if radiographs.is_dicom(path) else None
    own = DICOM_SEXES.get(facts.sex.upper()) if facts else None
    notes = [] if facts is None else _notes(facts)
    age, patient = chronological_age_months, ""
    if facts is not None:
        age = _age_beside(facts, age, notes)
        # one archive may have two patients of one number
        whom = (facts.patient_id, facts.birth_date, facts.sex)
        patient = ":".join(whom) if facts.patient_id else ""
    if not written:
        if own is None and written is None:
            got = f"got PatientSex {facts.sex!r}" if facts and facts.sex else "got none"
            raise InputError(f"{path}: the sex must be known ({got}); {SAY_SEX}")
        return InputRadiograph(path, own or "unknown", tuple(notes), age, patient)
    try:
        sex = parse_sex(written)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if own not in (None, "unknown", sex):
        notes.insert(0, f"read as {sex}, but the DICOM file says {own}")
    return InputRadiograph(path, sex, tuple(notes), age, patient)


def _age_beside(facts: dicom.Facts, given_months: float, notes: list[str]) -> float:
    """The age that is given, or else the header's; adds to `notes` what is doubtful."""
    header = chronological_age.of_header(facts)
    if math.isnan(given_months):
        notes += header.notes
        return header.months
    # of whole years, too, the header's age is the lowest that the child may have
    is_exact = not header.notes
    if abs(given_months - header.months) > (1 if is_exact else 12):
        notes.insert(
            0,
            f"read with a chronological age of {years_and_months(given_months)}, but "
            f"the DICOM file says {years_and_months(header.months)}",
        )
    return given_months


def _notes(facts: dicom.Facts) -> list[str]:
    """What makes a DICOM header's picture doubtful."""
    notes = []
    if facts.sex and facts.sex.upper() not in DICOM_SEXES:
        notes.append(f"the DICOM file gives the sex as {facts.sex!r}, not as M, F or O")
    if facts.laterality.upper() == "R":
        notes.append(
            "the DICOM file says that this is a right hand; the models learned from "
            "left ones"
        )
    part = facts.body_part.upper()
    if part and not any(word in part for word in HAND_PARTS):
        notes.append(f"the DICOM file gives the body part as {part}, not as a hand")
    return notes
