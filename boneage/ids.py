"""Ids of radiographs: whole numbers, as in the RSNA set, or any other names.

An id names the files of a radiograph in every folder and its rows in every table, so a
name is kept as it is. Whole numbers are int and have an order of their own.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable

import numpy as np

RadiographId = int | str

LARGEST_NUMBER = (1 << 63) - 1
"""The largest int64; longer numbers are names."""

LONGEST_NAME = 100
"""Characters; with an ending, a file system takes them in any script."""

ENDINGS = (
    *("_bin", "_seg", "_ori", "_proposal", "_disagreement"),
    "contact_sheet",
)
"""What the steps put after an id, or write beside it: such a name is another file's."""

ALLOWED = "letters, digits, blanks and any of _ - . + ( )"

_NUMBER = re.compile(r"[0-9]{1,19}")  # int() refuses thousands of digits
_NAME = re.compile(r"\w(?:[\w .+()-]*[\w+()-])?")


def parse_id(text: str) -> RadiographId:
    """The id that a text or the stem of a file is; zeros before a number do not count.

    Raises:
        ValueError: no file can be named so, or it would be taken for another one's.
    """
    if _NUMBER.fullmatch(text) and int(text) <= LARGEST_NUMBER:
        return int(text)
    # an accent may be one character with its letter, or a second one
    name = unicodedata.normalize("NFC", text)
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"an id must consist of at most {LONGEST_NAME} {ALLOWED} (got "
            f"{text[:120]!r})"
        )
    if name.casefold().endswith(ENDINGS):
        raise ValueError(
            f"an id must not end as files of the steps do, in _bin or _seg (got "
            f"{text!r})"
        )
    return name


def is_id(text: str) -> bool:
    """Whether `parse_id` takes a text."""
    try:
        parse_id(text)
    except ValueError:
        return False
    return True


def order(radiograph_id: RadiographId) -> tuple:
    """Sort key: numbers first, then names, 9 before 10 in both."""
    parts = re.split(r"([0-9]+)", str(radiograph_id))
    # texts and numbers alternate, so that like is compared with like
    natural = [int(part) if place % 2 else part for place, part in enumerate(parts)]
    return isinstance(radiograph_id, str), natural, str(radiograph_id)


def sort_ids(ids: Iterable[RadiographId]) -> list[RadiographId]:
    """Ids in ascending order."""
    return sorted(ids, key=order)


def ascending(ids: np.ndarray) -> np.ndarray:
    """Places that bring an array of ids into ascending order, (id,) int64."""
    values = ids.tolist()
    return np.array(sorted(range(len(ids)), key=lambda k: order(values[k])), np.int64)


def id_array(ids: Collection[RadiographId]) -> np.ndarray:
    """(id,) int64, or of objects where not all are whole numbers."""
    if all(isinstance(i, int | np.integer) for i in ids):
        return np.array(list(ids), np.int64)
    array = np.empty(len(ids), object)
    array[:] = list(ids)
    return array


def to_stored(ids: Collection[RadiographId]) -> np.ndarray:
    """What HDF5 stores: (id,) int64, or UTF-8 where not all are whole numbers."""
    array = id_array(ids)
    if array.dtype != object:
        return array
    return np.array([str(i).encode() for i in ids])


def from_stored(stored: np.ndarray) -> np.ndarray:
    """Undo `to_stored`.

    Raises:
        ValueError: not one row of whole numbers or names.
    """
    if stored.ndim != 1 or stored.dtype.kind not in "iuS":
        raise ValueError(
            f"ids must be whole numbers or names in one row (got {stored.dtype} "
            f"{stored.shape})"
        )
    texts = [i.decode() if isinstance(i, bytes) else str(i) for i in stored]
    return id_array([parse_id(text) for text in texts])


def is_among(ids: np.ndarray, wanted: Iterable[RadiographId]) -> np.ndarray:
    """Which of `ids`, as of `id_array`, are among the wanted: (id,) bool."""
    known = set(wanted)
    return np.array([i in known for i in ids.tolist()], bool)


def row_indices(known: np.ndarray, ids: Iterable[RadiographId]) -> np.ndarray:
    """Place of each of `ids` among the `known`, (id,) int64.

    Raises:
        KeyError: one is not known.
    """
    places = {i: place for place, i in enumerate(known.tolist())}
    return np.array([places[i] for i in ids], np.int64)
