"""Annotated pairs and the pool: from PNG to packed files to train on."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.active_learning import excluded
from boneage.errors import InputError
from boneage.io import hdf5, radiographs
from boneage.io.locks import exclusive, file_lock
from boneage.layout import MASK_ENDING, ORIGINAL_ENDING, Layout, mask_in
from boneage.parallel import ALL_CORES, THIS_PROCESS, Skipped, Workers
from boneage.segmentation.preprocessing import (
    PACKED_BY,
    clip_limit_of,
    facts,
    prepare,
    prepare_mask,
)

SIZE_STEP = 16
"""The members halve an image four times."""


@dataclass(frozen=True)
class PackResult:
    """What packing did: ids now in the file, and pairs left where they are."""

    added: list[int]
    set_aside: list[Skipped]
    waiting: list[int] = field(default_factory=list)
    """Ids whose radiograph lies in gt/new without a mask yet."""


def _check_size(size: int) -> None:
    if size < SIZE_STEP or size % SIZE_STEP:
        raise InputError(f"--size {size}: expected a multiple of {SIZE_STEP}")


def _hash(path: Path) -> int:
    """Of a mask's file, in the 64 bits of an integer; not its time: clocks differ.

    0 for what is no file: it is named where it is decoded.
    """
    if not path.is_file():
        return 0
    return hdf5.content_hash(path.read_bytes())


def _prepare_pair(
    size: int, clip_limit: float, pair: tuple[Path, Path]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Image, mask, and the hash of its file."""
    # first: a mask drawn again while it is read comes in next
    mask_hash = _hash(pair[1])
    radiograph = radiographs.read(pair[0])
    mask = radiographs.read_mask(pair[1], radiograph.shape)
    return prepare(radiograph, size, clip_limit), prepare_mask(mask, size), mask_hash


def _prepare_path(size: int, clip_limit: float, path: Path) -> np.ndarray:
    return prepare(radiographs.read(path), size, clip_limit)


def _pairs(layout: Layout, folder: Path, suffix: str) -> dict[int, tuple[Path, Path]]:
    """Radiograph and mask of each id of a folder, whether the mask exists or not.

    For a mask without a radiograph beside it the cohort's own is taken.

    Raises:
        InputError: `007_bin.png`.
    """
    pairs = {}
    for path in sorted(folder.glob("*.png")):
        for ending in (MASK_ENDING, suffix):  # the radiograph beside it last: it wins
            name = path.name.removesuffix(ending)
            if path.name.endswith(ending) and name.isdecimal():
                if name != str(int(name)):
                    expected = f"{int(name)}{ending}"
                    raise InputError(f"{path}: expected {expected}; rename it")
                beside = folder / f"{name}{suffix}"
                radiograph = beside if beside.exists() else layout.radiograph(int(name))
                pairs[int(name)] = (radiograph, mask_in(folder, int(name)))
    return pairs


def pack_annotated(
    layout: Layout,
    size: int = 256,
    clip_limit: float = 0.03,
    workers: Workers = ALL_CORES,
) -> PackResult:
    """Pack gt/annotated anew, and what gt/new holds by now, into annotated.h5.

    Raises:
        InputError: no usable pair in either, or a size that no member takes.
    """
    _check_size(size)
    pairs = _pairs(layout, layout.annotated, ORIGINAL_ENDING)
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
    stream = parallel.imap(work, [pairs[i] for i in ids], workers, "annotated")
    with (
        file_lock(layout.annotated_h5),
        hdf5.create(
            layout.annotated_h5, len(ids), size, facts(clip_limit), with_masks=True
        ) as writer,
    ):
        for radiograph_id, (_, outcome) in zip(ids, stream, strict=True):
            if isinstance(outcome, Skipped):
                set_aside.append(outcome)
            else:
                writer.add(radiograph_id, *outcome)
        if writer.rows == 0 and not drawn:
            reason = set_aside[0].reason
            raise InputError(f"{layout.annotated}: no usable pair ({reason})")
        added = writer.file["id"][: writer.rows].tolist()
    taken = append_new_pairs(layout)
    ids = sorted({*added, *taken.added})
    return PackResult(ids, set_aside + taken.set_aside, taken.waiting)


def append_new_pairs(layout: Layout) -> PackResult:
    """Append the finished pairs of gt/new to annotated.h5, each exactly once.

    Called by step2_image_2_h5.py and by the interactive program before each epoch;
    either may run beside the other. A bad pair stays where it is, and so does one whose
    radiograph is flagged as not usable; packed before it was flagged, it goes.
    """
    with file_lock(layout.annotated_h5):
        packed = hdf5.open_packed(layout.annotated_h5, f"{PACKED_BY} --pool annotated")
        known = set(packed.ids.tolist())
        pairs = _pairs(layout, layout.new, ".png")
        flagged = excluded.flagged(layout).keys() & pairs.keys()
        ignored = [_flagged(layout, pairs.pop(i)) for i in sorted(flagged)]
        # another mask than the packed one was drawn again: it takes its place
        hashes = {}
        # where the file has none, all are taken in once more
        if packed.mask_hashes is not None:
            hashes = dict(zip(packed.ids.tolist(), packed.mask_hashes, strict=True))
        finished = [
            i
            for i in sorted(pairs)
            if pairs[i][1].exists() and hashes.get(i) != _hash(pairs[i][1])
        ]
        waiting = [
            i for i in sorted(pairs) if i not in known and not pairs[i][1].exists()
        ]
        work = functools.partial(_prepare_pair, packed.size, clip_limit_of(packed))
        prepared, set_aside = parallel.map_all(
            work, [pairs[i] for i in finished], THIS_PROCESS, description="new pairs"
        )
        bad = {entry.item for entry in set_aside}
        added = [i for i in finished if pairs[i] not in bad]
        if added or flagged & known:
            new = zip(*prepared, strict=True) if prepared else ((), (), ())
            images, masks, drawn = new
            hdf5.append(layout.annotated_h5, images, masks, added, drawn, flagged)
    waiting += [i for i in finished if pairs[i] in bad]
    set_aside += [entry for entry in ignored if entry is not None]
    # those of a file without hashes were in it before
    new = added if packed.mask_hashes is not None else sorted({*added} - known)
    return PackResult(new, set_aside, sorted(waiting))


def _flagged(layout: Layout, pair: tuple[Path, Path]) -> Skipped | None:
    """Why a mask that was drawn is not used: its radiograph is flagged."""
    if not pair[1].exists():
        return None
    return Skipped(
        pair,
        f"{pair[1]}: flagged as not usable in {layout.unusable}; save it once more in "
        "the browser, or take its line out there",
    )


def pack_unannotated(
    layout: Layout,
    size: int = 256,
    clip_limit: float = 0.03,
    workers: Workers = ALL_CORES,
) -> PackResult:
    """Pack every radiograph outside gt/annotated into unannotated.h5, the pool.

    Annotated later, a radiograph stays in this file and leaves the pool by being in
    annotated.h5.

    Raises:
        InputError: no radiographs, or a size that no member takes.
    """
    _check_size(size)
    annotated = set(_pairs(layout, layout.annotated, ORIGINAL_ENDING))
    ids = [i for i in layout.ids_on_disk() if i not in annotated]
    work = functools.partial(_prepare_path, size, clip_limit)
    added, set_aside = [], []
    stream = parallel.imap(
        work, [layout.radiograph(i) for i in ids], workers, "unannotated"
    )
    with (
        exclusive(layout.unannotated_h5),
        hdf5.create(layout.unannotated_h5, len(ids), size, facts(clip_limit)) as writer,
    ):
        for radiograph_id, (_, outcome) in zip(ids, stream, strict=True):
            if isinstance(outcome, Skipped):
                set_aside.append(outcome)
            else:
                writer.add(radiograph_id, outcome)
                added.append(radiograph_id)
    return PackResult(added, set_aside)


def rows_for_testing(
    layout: Layout, annotated: hdf5.PackedImages, test_ids: Sequence[int]
) -> np.ndarray:
    """Rows of the committee's test part, (pair,): those flagged since are left out.

    Raises:
        InputError: a pair is gone, or all are flagged.
    """
    ids = np.setdiff1d(test_ids, list(excluded.flagged(layout)))
    gone = np.setdiff1d(ids, annotated.ids)
    if len(gone):
        raise InputError(
            f"{layout.annotated_h5}: the test pair {gone[0]} is no longer there; put "
            "it back into gt/annotated and pack again"
        )
    if not len(ids):
        raise InputError(
            f"{layout.unusable}: every pair of the committee's test part is flagged "
            "there; take a line out, or begin anew with --models DIR"
        )
    return annotated.row_indices(ids)


def read_pool(layout: Layout) -> hdf5.PackedImages:
    """Map unannotated.h5 into memory; InputError where it is missing or damaged."""
    return hdf5.open_packed(layout.unannotated_h5, f"{PACKED_BY} --pool unannotated")


def read_pools(layout: Layout) -> tuple[hdf5.PackedImages, hdf5.PackedImages]:
    """Map annotated.h5 and unannotated.h5 into memory.

    Raises:
        InputError: one is missing or damaged, or their images differ in size.
    """
    annotated = hdf5.open_packed(layout.annotated_h5, f"{PACKED_BY} --pool annotated")
    unannotated = read_pool(layout)
    if annotated.size != unannotated.size:
        raise InputError(
            f"{layout.unannotated_h5}: {unannotated.size} px, annotated.h5 has "
            f"{annotated.size}; pack both with one --size"
        )
    if annotated.preprocessing != unannotated.preprocessing:
        raise InputError(
            f"{layout.unannotated_h5} must be prepared as annotated.h5 is (got "
            f"{hdf5.preprocessing_in_words(unannotated.preprocessing)} and "
            f"{hdf5.preprocessing_in_words(annotated.preprocessing)}); pack both with "
            "the same --clip-limit"
        )
    return annotated, unannotated
