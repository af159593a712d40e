"""Which radiographs to read, and of whom: files, folders, CSV files, DICOM."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boneage.cohort.table import SEX_VALUES, read_rows
from boneage.errors import InputError
from boneage.io import dicom
from boneage.io.radiographs import SUFFIXES
from boneage.parallel import Skipped

Sex = Literal["male", "female", "unknown"]

DICOM = (".dcm", ".dicom")
SEX_COLUMNS = ("sex", "male", "gender", "patientsex")
UNKNOWN = ("unknown", "u", "other", "o", "")
"""What files write where the sex is not known; DICOM's O is other."""


@dataclass(frozen=True)
class InputRadiograph:
    """A radiograph to read; `notes` are warnings that its file gives rise to."""

    path: Path
    sex: Sex
    notes: tuple[str, ...] = ()


def sex_of(text: str) -> Sex:
    """The sex as files write it, in any case; ValueError for other words.

    male, m, true, 1; female, f, false, 0; unknown, u, other, o, or nothing.
    """
    word = text.strip().casefold()
    if word in UNKNOWN:
        return "unknown"
    if word not in SEX_VALUES:
        raise ValueError(
            f"expected male, female or unknown (or M, F; True, False) as sex, found "
            f"{text.strip()!r}"
        )
    return "male" if SEX_VALUES[word] else "female"


def collect_inputs(
    paths: Sequence[Path], sex: Sex | None
) -> tuple[list[InputRadiograph], list[Skipped]]:
    """The radiographs that `paths` name, in order, and what cannot be asked about.

    Args:
        paths: radiographs, folders of radiographs, CSV files with columns file,sex.
        sex: of all radiographs whose CSV does not say another; None to take it from
            each DICOM file, as where a CSV says nothing.

    Raises:
        InputError: a folder has no radiograph, or a CSV file is not one.
    """
    asked, set_aside = [], []
    for path in paths:
        if path.suffix.lower() == ".csv":
            listed = _listed(path)
        elif path.is_dir():
            listed = [(found, None) for found in _in_folder(path)]
        else:
            listed = [(path, None)]
        for file, written in listed:
            # an empty cell says nothing; without a flag it says unknown
            said = written if written and written.strip() else sex
            try:
                asked.append(resolve_input(file, written if said is None else said))
            except InputError as error:
                set_aside.append(Skipped(file, str(error)))
    return asked, set_aside


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise InputError(
            f"{folder}: no radiograph there ({', '.join(SUFFIXES)}); folders in it are "
            "not searched"
        )
    return found


def _listed(path: Path) -> list[tuple[Path, str | None]]:
    """Files of a CSV, relative to its folder, with the sex as written, if it is.

    Prints the columns that are not read.
    """
    rows = read_rows(path, "no such file")
    header = [name.strip().casefold() for name in rows[0][1]] if rows else []
    twice = header.count("sex") + header.count("male") > 1
    if header.count("file") != 1 or twice:
        found = ",".join(header) or "nothing"
        raise InputError(f"{path}: expected columns file,sex, found {found}")
    place = header.index("file")
    sex_place = next((header.index(s) for s in SEX_COLUMNS if s in header), None)
    others = [name for n, name in enumerate(header) if n not in (place, sex_place)]
    if others:
        print(f"{path}: columns not read: {', '.join(others)}")
    listed = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {line}: expected {len(header)} columns, found {len(row)}"
            )
        if not row[place].strip():
            raise InputError(f"{path}: line {line}: names no file")
        written = None if sex_place is None else row[sex_place]
        listed.append((path.parent / row[place].strip(), written))
    if not listed:
        raise InputError(f"{path}: names no file")
    return listed


def resolve_input(path: Path, written: str | None) -> InputRadiograph:
    """One radiograph with its sex, and what its own file says about that.

    Raises:
        InputError: nobody says the sex, or in words that are not known.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    own = _dicom_sex(path) if path.suffix.lower() in DICOM else None
    if own is not None and not (written or "").strip():
        return InputRadiograph(path, own)
    if written is None:
        raise InputError(
            f"{path}: the sex is not known; give --sex male, female or unknown"
        )
    try:
        sex = sex_of(written)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if own in (None, "unknown", sex):
        return InputRadiograph(path, sex)
    return InputRadiograph(
        path, sex, (f"read as {sex}, but the DICOM file says {own}",)
    )


def _dicom_sex(path: Path) -> Sex | None:
    """PatientSex of a DICOM file; None where it does not say.

    Raises:
        InputError: not DICOM, or a word that DICOM does not know.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["PatientSex"]
        )
        text = str(dataset.get("PatientSex") or "")
        return sex_of(text) if text.strip() else None
    except InvalidDicomError:
        raise InputError(f"{path}: expected DICOM, found another format") from None
    except dicom.damaged() as error:
        raise InputError(f"{path}: no readable DICOM header ({error})") from error
