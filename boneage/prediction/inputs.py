"""Which radiographs to read, and of whom: files, folders, tables, DICOM headers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from boneage.cli import list_some
from boneage.cohort.columns import COLUMNS, SEX_VALUES
from boneage.errors import InputError
from boneage.io import dicom, radiographs, tables
from boneage.io.tables import Table, read_table
from boneage.parallel import Skipped

Sex = Literal["male", "female", "unknown"]

SEX_COLUMNS = ("sex", "male", "gender", "patientsex")
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
    of one child; "" where the child is not known.
    """

    path: Path
    sex: Sex
    notes: tuple[str, ...] = ()
    chronological_age_months: float = math.nan
    patient: str = ""


class Inputs(NamedTuple):
    """Radiographs that paths name, those that cannot be read, lines for the screen."""

    radiographs: list[InputRadiograph]
    skipped: list[Skipped]
    notes: list[str]


class _Listed(NamedTuple):
    """A radiograph that a table or folder names; sex as written, None if it is not."""

    path: Path
    sex: str | None = None


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


def collect_inputs(paths: Sequence[Path], sex: Sex | None) -> Inputs:
    """The radiographs that `paths` name, in order, and what cannot be read.

    Args:
        paths: radiographs; folders, with all folders in them; tables (CSV, xlsx) with
            columns file,sex, or id,boneage,male beside a folder of radiographs.
        sex: of all radiographs whose table does not say another; None to take it from
            each DICOM file, as where a table says nothing.

    Raises:
        InputError: a folder has no radiograph, or a table cannot be read.
    """
    inputs = Inputs([], [], [])
    for path in paths:
        if path.suffix.lower() in tables.SUFFIXES:
            listed = _in_table(path, inputs)
        elif path.is_dir():
            listed = [_Listed(file) for file in _in_folder(path, inputs.notes)]
        else:
            listed = [_Listed(path)]
        for file, written in listed:
            # an empty cell says nothing; without a flag it says unknown
            known = written or sex
            try:
                inputs.radiographs.append(
                    resolve_input(file, written if known is None else known)
                )
            except InputError as error:
                inputs.skipped.append(Skipped(file, str(error)))
    return inputs


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


def _in_table(path: Path, inputs: Inputs) -> list[_Listed]:
    """Files that a table names, relative to its folder.

    Adds ids without a radiograph to what is skipped, and columns not read to the notes.

    Raises:
        InputError: not such a table.
    """
    table = read_table(path, "check the name")
    names = [re.sub(r"[\W_]", "", name.casefold()) for name in table.header]
    keys = ["file"] if "file" in names else [n for n in names if n in COLUMNS["id"]]
    sexes = [name for name in SEX_COLUMNS if name in names]
    is_doubled = names.count("sex") + names.count("male") > 1
    if len(keys) != 1 or names.count(keys[0]) != 1 or is_doubled:
        got = ",".join(table.header) or "nothing"
        raise InputError(
            f"{path} must have the columns file,sex or id,male (got {got})"
        )
    key_place = names.index(keys[0])
    sex_place = names.index(sexes[0]) if sexes else None
    unread = [n for i, n in enumerate(table.header) if i not in (key_place, sex_place)]
    if any(unread):
        inputs.notes.append(f"{path}: columns not read: {', '.join(unread)}")
    if not table.rows:
        raise InputError(f"{path} must name radiographs (got no rows)")
    _check_rows(path, table, key_place)
    rows = [
        (row[key_place], None if sex_place is None else row[sex_place])
        for _, row in table.rows
    ]
    if keys == ["file"]:
        return [_Listed(path.parent / name, sex) for name, sex in rows]
    return _by_id(path, rows, inputs)


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
    path: Path, rows: Sequence[tuple[str, str | None]], inputs: Inputs
) -> list[_Listed]:
    """The radiographs `<id>.*` beside a table, in its folder or in folders there."""
    files: dict[str, list[Path]] = {}
    for file in radiographs.find_below(path.parent)[0]:
        for name in {file.stem, file.name}:
            files.setdefault(name, []).append(file)
    listed = []
    for written, sex in rows:
        name = re.sub(r"(?<=\d)\.0+$", "", written)
        matches = files.get(name, [])
        if len(matches) == 1:
            listed.append(_Listed(matches[0], sex))
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


def resolve_input(path: Path, written: str | None) -> InputRadiograph:
    """One radiograph with its sex, and what its header states.

    written: the sex as the user or a table gives it; "" or None leaves it to a DICOM
        file, and where that is silent, too, "" says that it is not known.

    Raises:
        InputError: the file is missing, or its sex is not given or not understood.
    """
    facts = dicom.read_facts(path) if radiographs.is_dicom(path) else None
    own = DICOM_SEXES.get(facts.sex.upper()) if facts else None
    notes = [] if facts is None else _notes(facts)
    if not written:
        if own is None and written is None:
            got = f"got PatientSex {facts.sex!r}" if facts and facts.sex else "got none"
            raise InputError(f"{path}: the sex must be known ({got}); {SAY_SEX}")
        return InputRadiograph(path, own or "unknown", tuple(notes))
    try:
        sex = parse_sex(written)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if own not in (None, "unknown", sex):
        notes.insert(0, f"read as {sex}, but the DICOM file says {own}")
    return InputRadiograph(path, sex, tuple(notes))


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
