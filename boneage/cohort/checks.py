"""What is on disk of every stage, id by id."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.cli import list_some
from boneage.cohort import duplicates, excluded, table
from boneage.errors import InputError
from boneage.ids import RadiographId
from boneage.io import hdf5, radiographs, transforms
from boneage.layout import Layout
from boneage.parallel import ALL_CORES, Skipped, Workers

SMALLEST_PX = 64
"""A radiograph with a shorter side shows no bones."""

LEAST_CONTRAST = 8
"""Grey levels (of 256) between darkest and brightest pixel of a plausible image."""


@dataclass
class Stage:
    """One row of the table: what should be there and what is.

    problems: id -> what is wrong. begun: whether anything of the stage exists; a stage
    that nobody started is not incomplete.
    """

    name: str
    folder: Path
    expected: int
    begun: bool
    problems: dict[RadiographId, str] = field(default_factory=dict)
    thumbnails: dict[RadiographId, np.ndarray] = field(default_factory=dict)
    """Thumbnails of the radiographs, for `find_duplicates`."""

    @property
    def complete(self) -> int:
        """Ids with nothing wrong."""
        return self.expected - len(self.problems)


def check_all(
    layout: Layout, ids: Sequence[RadiographId], workers: Workers = ALL_CORES
) -> list[Stage]:
    """Check every stage of the pipeline for every id of the cohort.

    Radiographs flagged as not usable need not have come through any stage.
    """
    flagged = excluded.flagged(layout)
    usable = [i for i in ids if i not in flagged]
    radiograph = functools.partial(_check_radiograph, layout)
    coarse = functools.partial(_check_mask, layout, Layout.coarse_mask)
    final = functools.partial(_check_mask, layout, Layout.mask)
    hand = functools.partial(_check_hand, layout)
    return [
        _check("radiographs", layout.radiographs, ids, radiograph, workers),
        _check("coarse masks", layout.coarse, usable, coarse, workers),
        _check("final masks", layout.segmentation, usable, final, workers),
        _check("enhanced hands", layout.hands, usable, hand, workers),
        _check_packed(layout, usable),
    ]


def _check(
    name: str,
    folder: Path,
    ids: Sequence[RadiographId],
    check: Callable[[RadiographId], np.ndarray | None],
    workers: Workers,
) -> Stage:
    # a cohort without radiographs is not one that has not begun
    begun = name == "radiographs" or any(folder.glob("*.png"))
    stage = Stage(name, folder, len(ids), begun)
    if not begun:
        stage.problems = dict.fromkeys(ids, "missing")
        return stage
    for radiograph_id, outcome in parallel.imap(check, ids, workers, name):
        if isinstance(outcome, Skipped):
            stage.problems[radiograph_id] = outcome.reason
        elif outcome is not None:
            stage.thumbnails[radiograph_id] = outcome
    return stage


def _plausible(path: Path) -> np.ndarray:
    image = transforms.to_uint8(radiographs.read(path))
    if min(image.shape) < SMALLEST_PX:
        raise InputError(
            f"{path} must have at least {SMALLEST_PX} px a side (got "
            f"{image.shape[1]} x {image.shape[0]} px)"
        )
    if int(image.max()) - int(image.min()) < LEAST_CONTRAST:
        raise InputError(f"{path} must show something (got nearly one grey level)")
    return image


def _check_radiograph(layout: Layout, radiograph_id: RadiographId) -> np.ndarray:
    return duplicates.thumbnail(_plausible(layout.radiograph(radiograph_id)))


def find_duplicate_radiographs(
    layout: Layout, radiograph_stage: Stage
) -> tuple[list[str], bool]:
    """Lines about radiographs that are there under two ids.

    Returns:
        The lines, and whether two of them lie in different parts of the split: what is
        trained on is then tested with.
    """
    thumbnails = radiograph_stage.thumbnails
    pairs = (
        duplicates.find_duplicates(
            list(thumbnails), np.stack(list(thumbnails.values()))
        )
        if thumbnails
        else []
    )
    part_of: dict[RadiographId, str] = {}
    if layout.split_csv.exists():
        part_of = table.read_split(layout.split_csv)
    across, within = [], []
    for pair in pairs:
        parts = [part_of.get(i, "") for i in (pair.first, pair.second)]
        names = f"{pair.first} and {pair.second}"
        if parts[0] == parts[1]:
            within.append(names)
        else:
            across.append(f"{names} ({parts[0] or 'none'}, {parts[1] or 'none'})")
    lines = []
    if across:
        lines.append(
            f"{layout.split_csv}: the same radiograph in two parts: "
            f"{list_some(across)}; take one of each out of the cohort, and train again"
        )
    if within:
        lines.append(f"the same radiograph under two ids: {list_some(within)}")
    return lines, bool(across)


def _check_mask(
    layout: Layout,
    place: Callable[[Layout, RadiographId], Path],
    radiograph_id: RadiographId,
) -> None:
    shape = radiographs.read(layout.radiograph(radiograph_id)).shape
    radiographs.read_mask(place(layout, radiograph_id), shape)


def _check_hand(layout: Layout, radiograph_id: RadiographId) -> None:
    path = layout.hand(radiograph_id)
    hand = _plausible(path)
    if hand.shape != (hdf5.HAND_PX, hdf5.HAND_PX):
        raise InputError(
            f"{path} must be {hdf5.HAND_PX} px square (got {hand.shape[1]} x "
            f"{hand.shape[0]} px)"
        )


def _check_packed(layout: Layout, ids: Sequence[RadiographId]) -> Stage:
    path = layout.hands_h5
    stage = Stage("packed hands", path, len(ids), path.exists())
    if not stage.begun:
        stage.problems = dict.fromkeys(ids, "missing")
        return stage
    try:
        packed = hdf5.open_packed(path, "step3_gen_segmentation_with_enhance.py")
    except InputError as error:
        stage.problems = dict.fromkeys(ids, str(error))
        return stage
    packed_ids = set(packed.ids.tolist())
    stage.problems = {
        i: f"{path}: id {i} is missing" for i in ids if i not in packed_ids
    }
    return stage
