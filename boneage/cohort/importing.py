"""Bring a cohort into the form that all steps read: simulated, or imported."""

import functools
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.cli import list_some
from boneage.cohort import table
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.ids import RadiographId, is_among, is_id, parse_id, sort_ids
from boneage.io import radiographs, tables
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
    """Copy the radiographs named in a table as PNG, and the table in the RSNA form.

    Files of the folder, and of folders in it, are found by their stem, the id.
    Radiographs that are missing or cannot be read are set aside and left out of the
    table. Files and columns that are not imported are named on the screen.

    Raises:
        InputError: the folder or its table is missing, no radiograph is named after
            the table's ids or readable, or the target lists another cohort.
    """
    if not folder.is_dir():
        raise InputError(f"--from {folder} cannot be found; check the path")
    table_path = csv_path or _only_table(folder)
    wanted = table.read_cohort(table_path, "give another --csv FILE")
    paths, unnamed, others = _paths_by_id(folder)
    present = is_among(wanted.ids, paths)
    if not present.any():
        raise InputError(
            f"{folder} must hold radiographs named after the table's ids, such as "
            f"{wanted.ids[0]}.png (got none for {len(wanted)} ids)"
        )
    set_aside = [
        Skipped(i, f"{folder}: no radiograph of id {i}") for i in wanted.ids[~present]
    ]
    extra = [paths[i].name for i in sort_ids(paths.keys() - wanted.ids.tolist())]
    unread = [path.name for path in others if path.resolve() != table_path.resolve()]
    for names, why in (
        (extra, "no row in the table"),
        (unnamed, "no id as name"),
        (unread, "no radiographs"),
    ):
        if names:
            print(f"not imported, {why} ({len(names)}): {list_some(names)}")
    _print_doubtful_ages(table_path, wanted)
    target = layout.test_csv if official_test else layout.train_csv
    refuse_other_cohort(target, wanted, overwrite)
    other = layout.train_csv if official_test else layout.test_csv
    if other.exists():
        others_ids = table.read_cohort(other).ids.tolist()
        both = sort_ids({*wanted.ids[present].tolist()}.intersection(others_ids))
        if both:
            raise InputError(
                f"{other}: id {both[0]} must be in one table (got it in the new one as "
                "well); remove it from one of them"
            )
    todo = [
        paths[i]
        for i in wanted.ids[present]
        if overwrite or not layout.radiograph(i).exists()
    ]
    convert = functools.partial(_convert_one, layout)
    _, unreadable = parallel.map_all(convert, todo, workers, "importing")
    bad = [parse_id(entry.item.stem) for entry in unreadable]
    cohort = wanted.select(present & ~is_among(wanted.ids, bad))
    if not len(cohort):
        raise InputError(unreadable[0].reason)
    table.write_cohort(target, cohort)
    return cohort, set_aside + unreadable


def _paths_by_id(
    folder: Path,
) -> tuple[dict[RadiographId, Path], list[str], list[Path]]:
    """Radiographs below a folder by id, names of those without one, other files.

    Raises:
        InputError: two radiographs of one id.
    """
    paths: dict[RadiographId, Path] = {}
    unnamed = []
    radiograph_paths, others = radiographs.find_below(folder)
    for path in radiograph_paths:
        if not is_id(path.stem):
            unnamed.append(path.name)
            continue
        radiograph_id = parse_id(path.stem)
        if paths.setdefault(radiograph_id, path) != path:
            raise InputError(
                f"{path}: id {radiograph_id} must name one radiograph (got "
                f"{paths[radiograph_id]}, too); remove or rename one of them"
            )
    return paths, unnamed, others


def _print_doubtful_ages(path: Path, cohort: Cohort) -> None:
    """Warn of bone ages that are missing or seem to be years."""
    known = cohort.bone_age_months[~np.isnan(cohort.bone_age_months)]
    if not len(known):
        print(
            f"{path}: no bone ages, imported without; training needs a column boneage "
            "(months) or bone_age_years"
        )
    elif len(known) < len(cohort):
        print(f"{path}: no bone age for {len(cohort) - len(known)} of {len(cohort)}")
    if 0 < known.max(initial=0) < OLDEST_IN_YEARS:
        print(
            f"{path}: the oldest bone age is {known.max():g}; are these years? Months "
            "are expected"
        )


def _only_table(folder: Path) -> Path:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in tables.SUFFIXES)
    if len(paths) != 1:
        raise InputError(
            f"{folder} must hold one table, CSV or xlsx (got {len(paths)}); name one "
            "with --csv FILE"
        )
    return paths[0]


def _convert_one(layout: Layout, path: Path) -> None:
    radiographs.write(layout.radiograph(parse_id(path.stem)), radiographs.read(path))


def refuse_other_cohort(path: Path, cohort: Cohort, overwrite: bool) -> None:
    """Raise InputError instead of replacing the user's own table of another cohort."""
    if overwrite or not path.exists():
        return
    existing = table.read_cohort(path)
    rows = {i: row for row, i in enumerate(cohort.ids.tolist())}
    for place, radiograph_id in enumerate(existing.ids.tolist()):
        row = rows.get(radiograph_id)
        if row is None or not _same_child(cohort, row, existing, place):
            raise InputError(
                f"{path} must list the same cohort (got another one, see id "
                f"{radiograph_id}); choose another --data DIR, or --overwrite"
            )


def _same_child(cohort: Cohort, row: int, other: Cohort, place: int) -> bool:
    months = cohort.bone_age_months[row], other.bone_age_months[place]
    return bool(
        cohort.is_male[row] == other.is_male[place]
        and np.isclose(*months, equal_nan=True)
    )
