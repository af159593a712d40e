"""Annotated pairs and the pool: from PNG to packed files to train on."""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.ids import RadiographId, is_id, parse_id, sort_ids
from boneage.io import hdf5, radiographs
from boneage.io.locks import exclusive, file_lock
from boneage.layout import MASK_ENDING, ORIGINAL_ENDING, Layout, mask_in
from boneage.parallel import ALL_CORES, THIS_PROCESS, Skipped, Workers
from boneage.segmentation.confirmed_masks import (
    Confirmed,
    check_drawn_mask,
    read_confirmed,
)
from boneage.segmentation.preprocessing import (
    PACKED_BY,
    clip_limit_of,
    facts,
    prepare,
    prepare_mask,
)

SIZE_STEP = 16
"""The members of a committee halve an image four times."""


@dataclass(frozen=True)
class PackResult:
    """What packing did.

    added: ids now in the file. skipped: pairs that stay where they are, and why.
    waiting: ids whose radiograph lies in gt/new without a mask.
    """

    added: list[RadiographId]
    skipped: list[Skipped]
    waiting: list[RadiographId] = field(default_factory=list)


def _check_size(size: int) -> None:
    if size < SIZE_STEP or size % SIZE_STEP:
        raise InputError(
            f"--size must be a multiple of {SIZE_STEP} (got {size}); 256 is usual"
        )


def _file_hash(path: Path) -> int:
    """Hash of a mask's file: clocks differ, so its time proves little.

    0 for what is no file: it is named where it is decoded.
    """
    if not path.is_file():
        return 0
    return hdf5.content_hash(path.read_bytes())


def _prepare_pair(
    size: int, clip_limit: float, confirmed: Confirmed, pair: tuple[Path, Path]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Image, mask, and the hash of the mask's file."""
    # first: a mask that is drawn again while it is read is packed next time
    mask_hash = _file_hash(pair[1])
    radiograph = radiographs.read(pair[0])
    mask = radiographs.read_mask(pair[1], radiograph.shape)
    radiograph_id = parse_id(pair[1].name.removesuffix(MASK_ENDING))
    check_drawn_mask(radiograph_id, pair[1], mask, confirmed)
    return prepare(radiograph, size, clip_limit), prepare_mask(mask, size), mask_hash


def _prepare_path(size: int, clip_limit: float, path: Path) -> np.ndarray:
    return prepare(radiographs.read(path), size, clip_limit)


def _pairs(
    layout: Layout, folder: Path, suffix: str
) -> dict[RadiographId, tuple[Path, Path]]:
    """Radiograph and mask of each id in a folder, whether the mask exists or not.

    A mask without a radiograph beside it belongs to the cohort's own radiograph.

    Raises:
        InputError: an id with leading zeros, as in `007_bin.png`.
    """
    pairs = {}
    for path in sorted(folder.glob("*.png")):
        for ending in (MASK_ENDING, suffix):  # the radiograph beside it last: it wins
            name = path.name.removesuffix(ending)
            if path.name.endswith(ending) and is_id(name):
                radiograph_id = parse_id(name)
                if isinstance(radiograph_id, int) and name != str(radiograph_id):
                    raise InputError(
                        f"{path} must be named without leading zeros; rename it to "
                        f"{radiograph_id}{ending}"
                    )
                beside = folder / f"{name}{suffix}"
                own = layout.radiograph(radiograph_id)
                radiograph = beside if beside.exists() else own
                pairs[radiograph_id] = (radiograph, mask_in(folder, radiograph_id))
    return pairs


def pack_annotated(
    layout: Layout,
    size: int = 256,
    clip_limit: float = 0.03,
    workers: Workers = ALL_CORES,
) -> PackResult:
    """Pack the pairs of gt/annotated and gt/new into a new annotated.h5.

    Raises:
        InputError: no usable pair in either, or a size that no member takes.
    """
    _check_size(size)
    pairs = _pairs(layout, layout.annotated, ORIGINAL_ENDING)
    new = _pairs(layout, layout.new, ".png").values()
    has_new = any(mask.exists() for _, mask in new)
    if not pairs and not has_new:
        raise InputError(
            f"{layout.annotated} must have annotated pairs <id>_ori.png, <id>_bin.png "
            "(got none); step2_interactive_segmentation.py asks for the first ones, "
            "and step0_prepare_cohort.py --annotated N takes those of phantoms"
        )
    confirmed = read_confirmed(layout.confirmed_masks)
    work = functools.partial(_prepare_pair, size, clip_limit, confirmed)
    ids, skipped = sort_ids(pairs), []
    stream = parallel.imap(work, [pairs[i] for i in ids], workers, "annotated")
    with (
        file_lock(layout.annotated_h5),
        hdf5.create(
            layout.annotated_h5, len(ids), size, facts(clip_limit), with_masks=True
        ) as writer,
    ):
        for radiograph_id, (_, outcome) in zip(ids, stream, strict=True):
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
            else:
                writer.add(radiograph_id, *outcome)
        if writer.rows == 0 and not has_new:
            raise InputError(
                f"{layout.annotated} must have a usable pair (got none; the first: "
                f"{skipped[0].reason})"
            )
        added = writer.ids
    new_pairs = append_new_pairs(layout)
    ids = sort_ids({*added, *new_pairs.added})
    return PackResult(ids, skipped + new_pairs.skipped, new_pairs.waiting)


def append_new_pairs(layout: Layout) -> PackResult:
    """Append the finished pairs of gt/new to annotated.h5, each exactly once.

    Called by step2_image_2_h5.py and by the interactive program before each epoch;
    either may run while the other does. A bad pair stays where it is, and so does one
    whose radiograph is flagged as not usable; if it is packed already, it is removed.
    """
    with file_lock(layout.annotated_h5):
        packed = hdf5.open_packed(layout.annotated_h5, f"{PACKED_BY} --pool annotated")
        if packed.mask_hashes is None:
            raise InputError(
                f"{layout.annotated_h5} must hold masks and their hashes (got none); "
                f"pack it again with {PACKED_BY} --pool annotated"
            )
        known = set(packed.ids.tolist())
        pairs = _pairs(layout, layout.new, ".png")
        flagged = excluded.flagged(layout).keys() & pairs.keys()
        flagged_pairs = [pairs.pop(i) for i in sort_ids(flagged)]
        hashes = dict(zip(packed.ids.tolist(), packed.mask_hashes, strict=True))
        # a mask that differs from the packed one was drawn again: it replaces that
        finished = [
            i
            for i in sort_ids(pairs)
            if pairs[i][1].exists() and hashes.get(i) != _file_hash(pairs[i][1])
        ]
        waiting = [
            i for i in sort_ids(pairs) if i not in known and not pairs[i][1].exists()
        ]
        work = functools.partial(
            _prepare_pair,
            packed.size,
            clip_limit_of(packed),
            read_confirmed(layout.confirmed_masks),
        )
        prepared, skipped = parallel.map_all(
            work, [pairs[i] for i in finished], THIS_PROCESS, description="new pairs"
        )
        bad = {entry.item for entry in skipped}
        added = [i for i in finished if pairs[i] not in bad]
        if added or flagged & known:
            images, masks, new_hashes = (
                zip(*prepared, strict=True) if prepared else ((), (), ())
            )
            hdf5.append(layout.annotated_h5, images, masks, added, new_hashes, flagged)
    waiting += [i for i in finished if pairs[i] in bad]
    skipped += [
        Skipped(
            pair,
            f"{pair[1]} cannot be used: its radiograph is flagged in "
            f"{layout.unusable}; save the mask again in the browser, or remove the "
            "line there",
        )
        for pair in flagged_pairs
        if pair[1].exists()
    ]
    return PackResult(added, skipped, sort_ids(waiting))


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
    added, skipped = [], []
    stream = parallel.imap(
        work, [layout.radiograph(i) for i in ids], workers, "unannotated"
    )
    with (
        exclusive(layout.unannotated_h5),
        hdf5.create(layout.unannotated_h5, len(ids), size, facts(clip_limit)) as writer,
    ):
        for radiograph_id, (_, outcome) in zip(ids, stream, strict=True):
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
            else:
                writer.add(radiograph_id, outcome)
                added.append(radiograph_id)
    return PackResult(added, skipped)


def test_rows(
    layout: Layout,
    annotated: hdf5.PackedImages,
    test_ids: Sequence[RadiographId],
    flagged: Collection[RadiographId],
) -> np.ndarray:
    """Rows of the committee's test part, (pair,), without those flagged since.

    Raises:
        InputError: a pair is gone, or all are flagged.
    """
    ids = sort_ids(set(test_ids) - set(flagged))
    gone = [i for i in ids if i not in set(annotated.ids.tolist())]
    if gone:
        raise InputError(
            f"{layout.annotated_h5} must keep the test pair {gone[0]} (got none); put "
            "it back into gt/annotated and pack again"
        )
    if not ids:
        raise InputError(
            f"{layout.unusable} cannot flag every pair of the committee's test part; "
            "remove a line there, or start a new committee with --models DIR"
        )
    return annotated.row_indices(ids)


def open_pool(layout: Layout) -> hdf5.PackedImages:
    """Map unannotated.h5 into memory; InputError where it is missing or damaged."""
    return hdf5.open_packed(layout.unannotated_h5, f"{PACKED_BY} --pool unannotated")


def open_pools(layout: Layout) -> tuple[hdf5.PackedImages, hdf5.PackedImages]:
    """Map annotated.h5 and unannotated.h5 into memory.

    Raises:
        InputError: one is missing or damaged, or they were prepared differently.
    """
    annotated = hdf5.open_packed(layout.annotated_h5, f"{PACKED_BY} --pool annotated")
    pool = open_pool(layout)
    if annotated.size != pool.size:
        raise InputError(
            f"{layout.unannotated_h5} must have the size of annotated.h5, "
            f"{annotated.size} px (got {pool.size}); pack both with one --size"
        )
    if annotated.preprocessing != pool.preprocessing:
        raise InputError(
            f"{layout.unannotated_h5} must be prepared as annotated.h5 is, "
            f"{hdf5.preprocessing_in_words(annotated.preprocessing)} (got "
            f"{hdf5.preprocessing_in_words(pool.preprocessing)}); pack both with one "
            "--clip-limit"
        )
    return annotated, pool
