"""The radiographs that wait for a mask, and what a person does about each of them.

Nothing here knows of a page. Every action is on disk when its method returns; what
several pages, or several processes, do to one radiograph is told apart by what lies on
disk, and which page has which radiograph in hand by the claims of this process.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from boneage.active_learning import stopping
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import radiographs, transforms
from boneage.io.locks import file_lock
from boneage.io.radiographs import Mask
from boneage.layout import Layout
from boneage.segmentation import coarse
from boneage.segmentation import dice as segmentation_dice

Status = Literal["waiting", "saved", "flagged", "skipped", "unreadable"]
WORDS: dict[Status, str] = {
    "saved": "saved",
    "skipped": "skipped",
    "waiting": "waiting",
    "flagged": "not usable",
    "unreadable": "not readable",
}
CLAIM_S = 600
"""Seconds for which a radiograph is kept for a page that does nothing about it."""


class Refused(Exception):
    """A mask cannot be saved as it is; the message says why."""


class Conflict(Exception):
    """Somebody else saved or flagged this radiograph since it was opened."""


@dataclass(frozen=True)
class OpenImage:
    """One radiograph in hand: all a page shows of it.

    radiograph: (row, column) uint8 or uint16. start: the mask to begin with: saved
    before, or proposed, or the coarse one. stamp: what lay on disk when it was opened.
    opened_s: when, by the queue's clock. notes: files that were there but of no use.
    """

    query: Query
    radiograph: np.ndarray
    start: Mask
    proposal: Mask | None
    disagreement: np.ndarray | None
    stamp: tuple
    opened_s: float
    notes: tuple[str, ...] = ()

    @property
    def radiograph_id(self) -> int:
        """Its id."""
        return self.query.radiograph_id


class AnnotationQueue:
    """The queries of one round, or all that waits in gt/new, most uncertain first."""

    def __init__(
        self,
        layout: Layout,
        queries: list[Query],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Queue `queries` in the order in which they are given."""
        self.layout = layout
        self.queries = {query.radiograph_id: query for query in queries}
        self.clock = clock
        self.log = QueryLog(layout.queries)
        self.advice = stopping.advice(layout)
        self.skipped: set[int] = set()
        self.unreadable: dict[int, str] = {}
        self._claims: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()

    @property
    def ids(self) -> list[int]:
        """All ids, most uncertain first."""
        return list(self.queries)

    def statuses(self) -> dict[int, Status]:
        """What has become of each radiograph by now."""
        flagged = excluded.flagged(self.layout)
        return {i: self._status(i, flagged) for i in self.queries}

    def _status(self, radiograph_id: int, flagged: dict[int, str]) -> Status:
        if radiograph_id in flagged:
            return "flagged"
        if self.layout.answer(radiograph_id).exists():
            return "saved"
        if radiograph_id in self.unreadable:
            return "unreadable"
        return "skipped" if radiograph_id in self.skipped else "waiting"

    def next_for(self, page: str) -> int | None:
        """The most uncertain that waits, rather one that no other page has in hand."""
        waiting = [i for i, status in self.statuses().items() if status == "waiting"]
        with self._lock:
            free = [i for i in waiting if not self._claimed_by_another(i, page)]
        return next(iter(free or waiting), None)

    def _claimed_by_another(self, radiograph_id: int, page: str) -> bool:
        owner, since = self._claims.get(radiograph_id, (page, 0.0))
        return owner != page and self.clock() - since < CLAIM_S

    def in_another_hand(self, radiograph_id: int, page: str) -> bool:
        """Whether another page has opened this radiograph and not left it."""
        with self._lock:
            return self._claimed_by_another(radiograph_id, page)

    def release(self, page: str) -> None:
        """Let go of whatever a page has in hand."""
        with self._lock:
            kept = {i: c for i, c in self._claims.items() if c[0] != page}
            self._claims = kept

    def open(self, radiograph_id: int, page: str) -> OpenImage:
        """Take a radiograph in hand.

        Raises:
            InputError: it cannot be read; it is then no longer offered.
        """
        layout, notes = self.layout, []
        try:
            radiograph = radiographs.read(layout.query(radiograph_id))
        except InputError as error:
            self.unreadable[radiograph_id] = str(error)
            raise

        def beside(path: Path) -> np.ndarray | None:
            try:
                return _read_alike(path, radiograph.shape)
            except InputError as error:
                notes.append(str(error))
                return None

        # before the mask is read: what is saved in between shows as a change
        stamp = self.stamp(radiograph_id)
        saved = beside(layout.answer(radiograph_id))
        proposal = beside(layout.proposal(radiograph_id))
        disagreement = beside(layout.disagreement(radiograph_id))
        start = next((m for m in (saved, proposal) if m is not None), None)
        if start is None:
            start = self.coarse_mask(radiograph_id, radiograph)
        self.release(page)
        with self._lock:
            if not self._claimed_by_another(radiograph_id, page):
                self._claims[radiograph_id] = (page, self.clock())
        return OpenImage(
            self.queries[radiograph_id],
            radiograph,
            _two_valued(start),
            None if proposal is None else _two_valued(proposal),
            disagreement,
            stamp,
            self.clock(),
            tuple(notes),
        )

    def coarse_mask(self, radiograph_id: int, radiograph: np.ndarray) -> Mask:
        """The coarse mask of step 1, or made here where that has not seen it."""
        path = self.layout.coarse_mask(radiograph_id)
        try:
            found = _read_alike(path, radiograph.shape)
        except InputError:  # of another size or damaged: made anew, it takes no time
            found = None
        return coarse.coarse_mask(radiograph) if found is None else _two_valued(found)

    def stamp(self, radiograph_id: int) -> tuple:
        """What lies on disk of its mask and flag; another one where that changes."""
        path = self.layout.answer(radiograph_id)
        is_flagged = radiograph_id in excluded.flagged(self.layout)
        if not path.exists():
            return (is_flagged,)
        facts = path.stat()
        return (is_flagged, facts.st_mtime_ns, facts.st_size, facts.st_ino)

    def _check_unchanged(self, opened: OpenImage) -> None:
        now = self.stamp(opened.radiograph_id)
        if now == opened.stamp:
            return
        what = "flagged as not usable" if now[0] else "saved"
        if not now[0] and len(now) == 1:
            what = "taken back"
        raise Conflict(
            f"Radiograph {opened.radiograph_id} was {what} elsewhere since you opened "
            "it. The same key again puts yours in its place; Back and Skip leave it."
        )

    def save(self, opened: OpenImage, mask: Mask, overwrite: bool = False) -> str:
        """Write the mask, log it, and return the action: `annotated` or `accepted`.

        mask: (row, column) uint8, 0 or 255, of the radiograph's size.

        Raises:
            Refused: empty, full, or of another size.
            Conflict: somebody else was faster; `overwrite` saves nevertheless.
        """
        if mask.shape != opened.radiograph.shape:
            raise Refused("The page is out of date: reload it.")
        if not mask.any():
            raise Refused("The mask is empty: draw the hand, or flag the radiograph.")
        if mask.all():
            raise Refused("The mask covers everything: erase what is not hand.")
        radiograph_id = opened.radiograph_id
        with file_lock(self.layout.new):
            if not overwrite:
                self._check_unchanged(opened)
            radiographs.write(self.layout.answer(radiograph_id), mask)
            excluded.unflag(self.layout, radiograph_id)
        self.skipped.discard(radiograph_id)
        proposal, dice, action = opened.proposal, None, "annotated"
        if proposal is not None:
            dice = float(segmentation_dice.dice(proposal, mask))
            action = "accepted" if np.array_equal(proposal, mask) else "annotated"
        self._act(opened, action, dice)
        return action

    def skip(self, opened: OpenImage) -> None:
        """Leave it for later; it stays as it is on disk."""
        self.skipped.add(opened.radiograph_id)
        self._act(opened, "skipped")

    def flag(self, opened: OpenImage, overwrite: bool = False) -> None:
        """Flag it as not usable: out of the pool, and out of the training.

        A mask saved before stays on disk; saving one later makes it usable again.

        Raises:
            Conflict: somebody saved it meanwhile; `overwrite` flags nevertheless.
        """
        with file_lock(self.layout.new):
            if not overwrite:
                self._check_unchanged(opened)
            excluded.flag(self.layout, opened.radiograph_id)
        self.skipped.discard(opened.radiograph_id)
        self._act(opened, "flagged")

    def offer_skipped_again(self) -> None:
        """Let the skipped ones wait once more."""
        self.skipped.clear()

    def _act(self, opened: OpenImage, action: str, dice: float | None = None) -> None:
        self.log.log_action(
            opened.query,
            action,
            self.clock() - opened.opened_s,
            proposal_shown=opened.proposal is not None,
            dice=dice,
        )

    def changed(self, radiograph_id: int) -> int:
        """When its mask was saved, in nanoseconds; 0 without one."""
        path = self.layout.answer(radiograph_id)
        return path.stat().st_mtime_ns if path.exists() else 0

    def describe(self) -> str:
        """How many have come to what, in one line."""
        statuses = self.statuses()
        parts = []
        for status, words in WORDS.items():
            ids = [str(i) for i, now in statuses.items() if now == status]
            if ids and status in ("flagged", "unreadable"):
                parts.append(f"{len(ids)} {words}: {', '.join(ids)}")
            elif ids or status == "saved":
                parts.append(f"{len(ids)} {words}")
        return "; ".join(parts)

    def log_saved(self) -> None:
        """Log masks without a line; a page killed between the two leaves one."""
        statuses = self.statuses()
        saved = [i for i, status in statuses.items() if status == "saved"]
        self.log.log_answers(saved)

    def count(self, status: Status) -> int:
        """How many have come to this."""
        return sum(now == status for now in self.statuses().values())


def _two_valued(image: np.ndarray) -> Mask:
    return np.where(image > 0, 255, 0).astype(np.uint8)


def _read_alike(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """An image of the radiograph's size; None where there is none."""
    if not path.exists():
        return None
    image = radiographs.read(path)
    if image.shape != shape:
        raise InputError(f"{path}: expected {shape}, found {image.shape}; not used")
    return transforms.to_uint8(image)
