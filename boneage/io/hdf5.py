"""The HDF5 schema: images packed for training, mapped into memory.

Datasets `image` (N, S, S) uint8, `image_hash` (N,) int64, `id` (N,) int64, or UTF-8
where an id is no whole number, and in annotated.h5 `mask` (N, S, S) uint8 and
`mask_hash` (N,) int64, of the file that was drawn; contiguous and uncompressed, so that
training maps them instead of loading them.
Attributes `size`, `version`, and `preprocessing`: how the images were made, as JSON.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from boneage.errors import InputError, refuse_damaged
from boneage.ids import RadiographId, from_stored, is_among, row_indices, to_stored
from boneage.io.files import atomic_write, preallocate

VERSION = 1

OVERHEAD_BYTES = 1 << 16
"""What HDF5 writes beside the datasets, and to spare."""

HAND_PX = 512
"""Side of the enhanced hands, as published."""


@dataclass(frozen=True)
class PackedImages:
    """An open file: arrays mapped into memory, read-only.

    images: (N, size, size) uint8. masks: the same shape, or None. ids: (N,), see
        `ids.id_array`.
    preprocessing: how the images were made, the facts given to `create`.
    image_hashes, mask_hashes: (N,) int64; empty where the images come from no file,
        and no mask_hashes without masks.
    """

    images: np.ndarray
    masks: np.ndarray | None
    ids: np.ndarray
    size: int
    preprocessing: dict
    image_hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    mask_hashes: np.ndarray | None = None

    def row_indices(self, ids: Iterable[RadiographId]) -> np.ndarray:
        """Row of each id, (id,) int64; KeyError for one that is not in the file."""
        return row_indices(self.ids, ids)


class PackedWriter:
    """Fills a file row by row; rows never written are cut off in the end."""

    def __init__(self, file: h5py.File) -> None:
        """Start at row 0 of an open file."""
        self.file = file
        self.rows = 0
        self.ids: list[RadiographId] = []

    def add(
        self,
        radiograph_id: RadiographId,
        image: np.ndarray,
        mask: np.ndarray | None = None,
        mask_hash: int = 0,
    ) -> None:
        """Write the next row; image and mask: (size, size) uint8."""
        self.ids.append(radiograph_id)
        self.file["image"][self.rows] = image
        self.file["image_hash"][self.rows] = content_hash(np.ascontiguousarray(image))
        if mask is not None:
            self.file["mask"][self.rows] = mask
            self.file["mask_hash"][self.rows] = mask_hash
        self.rows += 1

    def finish(self) -> None:
        """Write the ids, and shorten the other datasets to the rows written.

        Contiguous datasets cannot shrink.
        """
        ids = to_stored(self.ids)
        _add(self.file, "id", (self.rows,), ids.dtype)[:] = ids
        for name, dataset in list(self.file.items()):
            if len(dataset) > self.rows:
                shape = (self.rows, *dataset.shape[1:])
                shorter = _add(self.file, "shorter", shape, dataset.dtype)
                for start in range(0, self.rows, 1000):
                    stop = min(start + 1000, self.rows)
                    shorter[start:stop] = dataset[start:stop]
                del self.file[name]
                self.file.move("shorter", name)


@contextlib.contextmanager
def create(
    path: Path,
    count: int,
    size: int,
    preprocessing: dict,
    with_masks: bool = False,
) -> Iterator[PackedWriter]:
    """Yield a writer of at most `count` rows; the file appears when it is complete."""
    layers = 2 if with_masks else 1
    with atomic_write(path) as temporary:
        # once without HDF5, which does not live through a disk that is full
        preallocate(temporary, count * layers * (size**2 + 16) + OVERHEAD_BYTES)
        with h5py.File(temporary, "w") as file:
            file.attrs.update(
                size=size, preprocessing=json.dumps(preprocessing), version=VERSION
            )
            _add(file, "image", (count, size, size), np.uint8)
            _add(file, "image_hash", (count,), np.int64)
            if with_masks:
                _add(file, "mask", (count, size, size), np.uint8)
                _add(file, "mask_hash", (count,), np.int64)
            writer = PackedWriter(file)
            yield writer
            writer.finish()


def _add(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype | type
) -> h5py.Dataset:
    """Add a dataset whose place on the disk is its own from now on."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    # the same images give the same file, whenever it is written
    creation.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(np.dtype(dtype))
    made = h5py.h5d.create(file.id, name.encode(), kind, space, creation)
    dataset = h5py.Dataset(made)
    file.flush()
    if dataset.nbytes:
        preallocate(Path(file.filename), made.get_offset() + dataset.nbytes)
    return dataset


def open_packed(path: Path, made_by: str) -> PackedImages:
    """Map a packed file into memory.

    Raises:
        InputError: missing (names `made_by`, the step that writes it), not HDF5, of
            another version, or with datasets of other shapes.
    """
    if not path.is_file():
        raise InputError(f"{path} cannot be found; run {made_by} first")
    again = f"remove it and run {made_by} again"
    damaged = "cannot be read: damaged, or not of this pipeline"
    with refuse_damaged(path, damaged, again), h5py.File(path) as file:
        version = file.attrs.get("version")
        if version != VERSION:
            raise InputError(
                f"{path} must be of version {VERSION} (got {version}); {again}"
            )
        for name in file:
            # a link elsewhere would bring in what nobody pointed at
            if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                raise InputError(
                    f"{path} must hold its own data (got a link, {name}); {again}"
                )
        ids = _ids(path, file["id"], again)
        size = int(file.attrs["size"])
        shape = (len(ids), size, size)
        images = _map(path, file["image"], shape)
        masks = _map(path, file["mask"], shape) if "mask" in file else None
        preprocessing = json.loads(file.attrs["preprocessing"])
        if not isinstance(preprocessing, dict):
            raise TypeError("the attribute preprocessing must be a JSON object")
        image_hashes = _hashes(file["image_hash"], len(ids))
        mask_hashes = None if masks is None else _hashes(file["mask_hash"], len(ids))
        facts = (size, preprocessing, image_hashes, mask_hashes)
        return PackedImages(images, masks, ids, *facts)


def _ids(path: Path, dataset: h5py.Dataset, again: str) -> np.ndarray:
    try:
        ids = from_stored(dataset[:])
    except ValueError as error:  # not UTF-8 as well
        raise InputError(f"{path}: {error}; {again}") from None
    repeated = [i for i, count in Counter(ids.tolist()).items() if count > 1]
    if repeated:
        raise InputError(
            f"{path}: id {repeated[0]} must be unique (got it twice); {again}"
        )
    return ids


def preprocessing_in_words(facts: dict) -> str:
    """The attribute `preprocessing` for people: `margin 0.03, crop yes`."""

    def in_words(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list):
            return " and ".join(map(str, value)) or "none"
        return f"{value:g}" if isinstance(value, float) else str(value)

    return ", ".join(
        f"{name.replace('_', ' ')} {in_words(value)}" for name, value in facts.items()
    )


def content_hash(content: bytes | np.ndarray) -> int:
    """Of the content, in the 64 bits of an integer."""
    # NumPy's types know arrays as buffers from Python 3.12 on
    digest = hashlib.blake2b(content, digest_size=8).digest()  # type: ignore[arg-type]
    return int.from_bytes(digest, "big", signed=True)


def _hashes(dataset: h5py.Dataset, count: int) -> np.ndarray:
    hashes = dataset[:]
    if hashes.shape != (count,) or hashes.dtype != np.int64:
        raise ValueError(f"{dataset.name} must have {count} int64, not {hashes.shape}")
    return hashes


def _map(path: Path, dataset: h5py.Dataset, shape: tuple[int, int, int]) -> np.ndarray:
    if dataset.external is not None:
        raise InputError(
            f"{path} must hold its own images (got those of another file); remove it"
        )
    offset = dataset.id.get_offset()
    if dataset.shape != shape or dataset.dtype != np.uint8:
        raise InputError(
            f"{path}: {dataset.name} must be {shape} uint8 (got {dataset.shape} "
            f"{dataset.dtype}); remove it and pack again"
        )
    # an empty dataset, or one written by others in chunks, has no place to map
    if offset is None:
        return dataset[:]
    return np.memmap(path, np.uint8, mode="r", offset=offset, shape=shape)


def append(
    path: Path,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    ids: Sequence[RadiographId],
    hashes: Sequence[int],
    without: Collection[RadiographId] = (),
) -> None:
    """Add pairs to an annotated file: a new file with all rows takes its place.

    A pair whose id is there already takes the place of the old one; those of the ids
    in `without` go. hashes: (pair,), of the masks' files.
    """
    before = open_packed(path, "step2_image_2_h5.py --pool annotated")
    if before.masks is None or before.mask_hashes is None:
        raise InputError(
            f"{path} must hold masks (got images alone); remove it and run "
            "step2_image_2_h5.py --pool annotated"
        )
    count = len(before.ids) + len(ids)
    new = zip(ids, images, masks, hashes, strict=True)
    with create(path, count, before.size, before.preprocessing, True) as writer:
        for row in np.flatnonzero(~is_among(before.ids, [*ids, *without])):
            image, mask = before.images[row], before.masks[row]
            writer.add(before.ids[row], image, mask, before.mask_hashes[row])
        for pair in new:
            writer.add(*pair)
