"""Bring a cohort into the form that all steps read: simulated, or imported."""

import functools
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.cli import list_some
from boneage.cohort import table
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.io import radiographs
from boneage.layout import Layout
from boneage.parallel import ALL_CORES, Skipped, Workers

OLDEST_IN_YEARS = 25
"""No cohort in months ends below."""


def import_folder(
    layout: Layout,
    folder: Path,
    csv_path: Path | None = None,
    official_test: bool = False,
    workers: Workers = ALL_CORES,
    overwrite: bool = False,
) -> tuple[Cohort, list[Skipped]]:
    """Copy the radiographs named in a CSV as PNG, and the CSV in the RSNA form.

    Files of the folder are found by their stem, the id. Radiographs that are missing
    or cannot be read are set aside and left out of the CSV.

    Raises:
        InputError: no such folder, no CSV, nothing in common or readable, or the
            target holds another cohort.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder to import")
    wanted = table.read_cohort(csv_path or _only_csv(folder), "with --csv FILE")
    found: dict[int, Path] = {}
    unnamed = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in radiographs.SUFFIXES:
            continue
        # a name of thousands of digits is no id, and int() refuses it
        if not (path.stem.isdecimal() and len(path.stem) < 20):
            unnamed.append(path.name)
        else:
            radiograph_id = int(path.stem)
            if radiograph_id in found:
                raise InputError(
                    f"{path}: {found[radiograph_id]} has the same id {radiograph_id}"
                )
            found[radiograph_id] = path
    present = np.isin(wanted.ids, list(found))
    if not present.any():
        raise InputError(
            f"{folder}: none of the {len(wanted)} ids of the CSV names a radiograph "
            f"there; expected files such as {wanted.ids[0]}.png"
        )
    set_aside = [
        Skipped(i, f"{folder}: no radiograph of id {i}") for i in wanted.ids[~present]
    ]
    extra = [found[i].name for i in sorted(set(found) - set(wanted.ids.tolist()))]
    for names, why in ((extra, "no row in the CSV"), (unnamed, "no integer id")):
        if names:
            print(f"not imported, {why}: {list_some(names)}")
    oldest = np.nanmax(wanted.bone_age_months, initial=0)
    if 0 < oldest < OLDEST_IN_YEARS:
        print(
            f"the oldest bone age is {oldest:g}: are these years? Months are expected"
        )
    target = layout.test_csv if official_test else layout.train_csv
    refuse_other_cohort(target, wanted, overwrite)
    other = layout.train_csv if official_test else layout.test_csv
    if other.exists():
        both = np.intersect1d(wanted.ids[present], table.read_cohort(other).ids)
        if len(both):
            raise InputError(
                f"{other}: has id {both[0]} of this CSV as well; a radiograph is in "
                "one of the two"
            )
    todo = [
        found[i]
        for i in wanted.ids[present]
        if overwrite or not layout.radiograph(i).exists()
    ]
    convert = functools.partial(_convert_one, layout)
    _, unreadable = parallel.map_all(convert, todo, workers, "importing")
    bad = [int(entry.item.stem) for entry in unreadable]
    cohort = wanted.select(present & ~np.isin(wanted.ids, bad))
    if not len(cohort):
        raise InputError(unreadable[0].reason)
    table.write_cohort(target, cohort)
    return cohort, set_aside + unreadable


def _only_csv(folder: Path) -> Path:
    found = sorted(folder.glob("*.csv"))
    if len(found) != 1:
        raise InputError(f"{folder}: {len(found)} CSV files there; name one with --csv")
    return found[0]


def _convert_one(layout: Layout, path: Path) -> None:
    radiographs.write(layout.radiograph(int(path.stem)), radiographs.read(path))


def refuse_other_cohort(path: Path, cohort: Cohort, overwrite: bool) -> None:
    """Refuse to replace a CSV that says something else, the user's own data."""
    if overwrite or not path.exists():
        return
    there = table.read_cohort(path)
    row = np.searchsorted(cohort.ids, there.ids).clip(max=len(cohort) - 1)
    same = (cohort.ids[row] == there.ids) & (cohort.is_male[row] == there.is_male)
    same &= np.isclose(
        cohort.bone_age_months[row], there.bone_age_months, equal_nan=True
    )
    if not same.all():
        raise InputError(
            f"{path}: holds another cohort (see id {there.ids[~same][0]}); choose "
            "another --data DIR, or --overwrite"
        )
