"""Annotated pairs and the pool: from PNG to packed files to train on."""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boneage import hdf5, parallel, radiographs
from boneage.files import InputError, alone, only_one, up_to_date
from boneage.layout import Layout
from boneage.parallel import ALL_CORES, THIS_PROCESS, SetAside, Workers
from boneage.segmentation import unusable

PACKED_BY = "al_segmentation/step2_image_2_h5.py"
SIZE_STEP = 16
"""The members halve an image four times."""


@dataclass(frozen=True)
class TakenIn:
    """What packing did: ids now in the file, and pairs left where they are."""

    added: list[int]
    set_aside: list[SetAside]
    waiting: list[int] = field(default_factory=list)
    """Ids whose radiograph lies in gt/new without a mask yet."""


def prepare(radiograph: np.ndarray, size: int, clip_limit: float) -> np.ndarray:
    """What a member of the committee sees: (size, size) uint8.

    Padded to a square, shrunk, then equalised: CLAHE on the small image costs a
    hundredth of CLAHE on the radiograph and looks the same at this size.
    """
    square = radiographs.pad_to_square(radiographs.to_uint8(radiograph))
    return radiographs.equalise(radiographs.resize(square, size), clip_limit)


def prepare_mask(mask: radiographs.Mask, size: int) -> radiographs.Mask:
    """The mask of `prepare`'s image: (size, size) uint8, 0 or 255."""
    square = radiographs.resize(radiographs.pad_to_square(mask), size)
    return np.where(square > 127, 255, 0).astype(np.uint8)


def describe(clip_limit: float) -> str:
    """The attribute `preprocessing`: what was done to the images of a packed file."""
    return f"square, CLAHE {clip_limit:g}"


def clip_limit_of(packed: hdf5.Packed) -> float:
    """The clip limit that `describe` wrote into a file."""
    try:
        return float(packed.preprocessing.rpartition(" ")[2])
    except ValueError:
        raise InputError(
            f"packed images prepared by {packed.preprocessing!r} are not for the "
            f"committee; pack them again with {PACKED_BY}"
        ) from None


def _check_size(size: int) -> None:
    if size < SIZE_STEP or size % SIZE_STEP:
        raise InputError(f"--size {size}: expected a multiple of {SIZE_STEP}")


def _prepare_pair(
    size: int, clip_limit: float, pair: tuple[Path, Path]
) -> tuple[np.ndarray, np.ndarray]:
    radiograph = radiographs.read(pair[0])
    mask = radiographs.read_mask(pair[1], radiograph.shape)
    return prepare(radiograph, size, clip_limit), prepare_mask(mask, size)


def _prepare_path(size: int, clip_limit: float, path: Path) -> np.ndarray:
    return prepare(radiographs.read(path), size, clip_limit)


def _pairs(layout: Layout, folder: Path, suffix: str) -> dict[int, tuple[Path, Path]]:
    """Radiograph and mask of each id of a folder, whether the mask exists or not.

    For a mask without a radiograph beside it the cohort's own is taken.
    """
    pairs = {}
    for path in sorted(folder.glob("*.png")):
        for ending in ("_bin.png", suffix):  # the radiograph beside it last: it wins
            name = path.name.removesuffix(ending)
            if path.name.endswith(ending) and name.isdecimal():
                beside = folder / f"{name}{suffix}"
                radiograph = beside if beside.exists() else layout.radiograph(int(name))
                pairs[int(name)] = (radiograph, folder / f"{name}_bin.png")
    return pairs


def mask_of_person(layout: Layout, radiograph_id: int) -> Path | None:
    """The mask that a person drew, or None; the one that the committee trains on."""
    for folder in (layout.annotated, layout.new):
        path = folder / f"{radiograph_id}_bin.png"
        if path.exists():
            return path
    return None


def pack_annotated(
    layout: Layout,
    size: int = 256,
    clip_limit: float = 0.03,
    workers: Workers = ALL_CORES,
) -> TakenIn:
    """Pack gt/annotated anew, and what gt/new holds by now, into annotated.h5.

    Raises:
        InputError: no usable pair in either, or a size that no member takes.
    """
    _check_size(size)
    pairs = _pairs(layout, layout.annotated, "_ori.png")
    new = _pairs(layout, layout.new, ".png").values()
    drawn = any(mask.exists() for _, mask in new)
    if not pairs and not drawn:
        raise InputError(
            f"{layout.annotated}: no annotated pairs <id>_ori.png, <id>_bin.png; "
            "step2_interactive_segmentation.py asks for a first few where there are "
            "none, and step0_prepare_cohort.py --annotated N takes those of phantoms"
        )
    work = functools.partial(_prepare_pair, size, clip_limit)
    ids, set_aside = sorted(pairs), []
    stream = parallel.stream(work, [pairs[i] for i in ids], workers, "annotated")
    with (
        only_one(layout.annotated_h5),
        hdf5.create(
            layout.annotated_h5, len(ids), size, describe(clip_limit), with_masks=True
        ) as writer,
    ):
        for radiograph_id, (_, outcome) in zip(ids, stream, strict=True):
            if isinstance(outcome, SetAside):
                set_aside.append(outcome)
            else:
                writer.add(radiograph_id, *outcome)
        if writer.rows == 0 and not drawn:
            reason = set_aside[0].reason
            raise InputError(f"{layout.annotated}: no usable pair ({reason})")
        added = writer.file["id"][: writer.rows].tolist()
    taken = take_in_new(layout)
    return TakenIn(added + taken.added, set_aside + taken.set_aside, taken.waiting)


def take_in_new(layout: Layout) -> TakenIn:
    """Append the finished pairs of gt/new to annotated.h5, each exactly once.

    Called by step2_image_2_h5.py and by the interactive program before each epoch;
    either may run beside the other. A bad pair stays where it is, and so does one whose
    radiograph is flagged as not usable; packed before it was flagged, it goes.
    """
    with only_one(layout.annotated_h5):
        packed = hdf5.read(layout.annotated_h5, f"{PACKED_BY} --pool annotated")
        known = set(packed.ids.tolist())
        pairs = _pairs(layout, layout.new, ".png")
        flagged = unusable.flagged(layout).keys() & pairs.keys()
        ignored = [_flagged(layout, pairs.pop(i)) for i in sorted(flagged)]
        # a mask newer than the file was drawn again: it takes the old one's place
        packed_as_drawn = {
            i
            for i in known & set(pairs)
            if up_to_date(layout.annotated_h5, pairs[i][1])
        }
        finished = [
            i
            for i in sorted(pairs)
            if i not in packed_as_drawn and pairs[i][1].exists()
        ]
        waiting = [
            i for i in sorted(pairs) if i not in known and not pairs[i][1].exists()
        ]
        # not later than what is read now: a mask drawn again meanwhile comes in next
        seen = [layout.annotated_h5, *(pairs[i][1] for i in finished)]
        as_of_ns = max(path.stat().st_mtime_ns for path in seen)
        work = functools.partial(_prepare_pair, packed.size, clip_limit_of(packed))
        prepared, set_aside = parallel.map_images(
            work, [pairs[i] for i in finished], THIS_PROCESS, description="new pairs"
        )
        bad = {entry.item for entry in set_aside}
        added = [i for i in finished if pairs[i] not in bad]
        if added or flagged & known:
            images, masks = zip(*prepared, strict=True) if prepared else ((), ())
            hdf5.append(layout.annotated_h5, images, masks, added, flagged, as_of_ns)
    waiting += [i for i in finished if pairs[i] in bad]
    set_aside += [entry for entry in ignored if entry is not None]
    return TakenIn(added, set_aside, sorted(waiting))


def _flagged(layout: Layout, pair: tuple[Path, Path]) -> SetAside | None:
    """Why a mask that was drawn is not used: its radiograph is flagged."""
    if not pair[1].exists():
        return None
    return SetAside(
        pair,
        f"{pair[1]}: flagged as not usable in {layout.unusable}; save it once more in "
        "the browser, or take its line out there",
    )


def pack_unannotated(
    layout: Layout,
    size: int = 256,
    clip_limit: float = 0.03,
    workers: Workers = ALL_CORES,
) -> TakenIn:
    """Pack every radiograph outside gt/annotated into unannotated.h5, the pool.

    Annotated later, a radiograph stays in this file and leaves the pool by being in
    annotated.h5.

    Raises:
        InputError: no radiographs, or a size that no member takes.
    """
    _check_size(size)
    annotated = set(_pairs(layout, layout.annotated, "_ori.png"))
    ids = [i for i in layout.ids_on_disk() if i not in annotated]
    work = functools.partial(_prepare_path, size, clip_limit)
    added, set_aside = [], []
    stream = parallel.stream(
        work, [layout.radiograph(i) for i in ids], workers, "unannotated"
    )
    with (
        alone(layout.unannotated_h5),
        hdf5.create(
            layout.unannotated_h5, len(ids), size, describe(clip_limit)
        ) as writer,
    ):
        for radiograph_id, (_, outcome) in zip(ids, stream, strict=True):
            if isinstance(outcome, SetAside):
                set_aside.append(outcome)
            else:
                writer.add(radiograph_id, outcome)
                added.append(radiograph_id)
    return TakenIn(added, set_aside)


def read_pool(layout: Layout) -> hdf5.Packed:
    """Map unannotated.h5 into memory; InputError where it is missing or damaged."""
    return hdf5.read(layout.unannotated_h5, f"{PACKED_BY} --pool unannotated")


def read_pools(layout: Layout) -> tuple[hdf5.Packed, hdf5.Packed]:
    """Map annotated.h5 and unannotated.h5 into memory.

    Raises:
        InputError: one is missing or damaged, or their images differ in size.
    """
    annotated = hdf5.read(layout.annotated_h5, f"{PACKED_BY} --pool annotated")
    unannotated = read_pool(layout)
    if annotated.size != unannotated.size:
        raise InputError(
            f"{layout.unannotated_h5}: {unannotated.size} px, annotated.h5 has "
            f"{annotated.size}; pack both with one --size"
        )
    if annotated.preprocessing != unannotated.preprocessing:
        raise InputError(
            f"{layout.unannotated_h5}: {unannotated.preprocessing}, annotated.h5: "
            f"{annotated.preprocessing}; pack both with one --clip-limit"
        )
    return annotated, unannotated
