"""The radiographs that wait for a mask, and what a person does about each of them.

Nothing here knows of a page. Every action is on disk when its method returns. Two
pages, or two processes, that work on one radiograph are told apart by its version, read
off the disk: the last to save wins, after a confirmation. Claims only spread the pages
of one process over different radiographs.
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
from boneage.segmentation import coarse, confirmed_masks
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
"""Seconds for which a radiograph is reserved for a page that does nothing about it."""
KEPT_OPEN = 4
"""Radiographs kept decoded: the current one, the next, and those of other pages."""


class RefusedMask(Exception):
    """A mask cannot be saved as it is; the message gives the reason."""


class NeedsConfirmation(Exception):
    """The person is asked once before this is done."""

    confirmation = ""
    """What the page sends once the person has confirmed."""


class Conflict(NeedsConfirmation):
    """Somebody else saved or flagged this radiograph since it was opened."""

    confirmation = "overwrite"


class ImplausibleMask(NeedsConfirmation):
    """The mask looks like no hand."""

    confirmation = "no_hand"


@dataclass(frozen=True)
class OpenImage:
    """One radiograph being annotated.

    radiograph: (row, column) uint8 or uint16. start: the mask to begin with: the saved
    one, else the proposal, else the coarse mask. proposal, disagreement, probability:
    the committee's, uint8; None where there is none. version: the state of its mask
    and flag on disk when it was opened. notes: files that exist but cannot be used.
    """

    query: Query
    radiograph: np.ndarray
    start: Mask
    proposal: Mask | None
    disagreement: np.ndarray | None
    probability: np.ndarray | None
    version: str
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
        self.outlook = stopping.outlook(layout)
        self.skipped: set[int] = set()
        self.unreadable: dict[int, str] = {}
        self.accepted: set[int] = set()
        """Saved here as proposed."""
        self.seconds: dict[int, float] = {}
        """How long those saved here took."""
        self._claims: dict[int, tuple[str, float]] = {}
        self._opened: dict[int, OpenImage] = {}
        self._lock = threading.Lock()

    @property
    def ids(self) -> list[int]:
        """All ids, most uncertain first."""
        return list(self.queries)

    def statuses(self) -> dict[int, Status]:
        """The present status of each radiograph."""
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

    def upcoming(self, page: str) -> list[int]:
        """Ids that wait, in the order for a page: those of other pages last."""
        waiting = [i for i, status in self.statuses().items() if status == "waiting"]
        with self._lock:
            # sorting keeps the order among equals
            return sorted(waiting, key=lambda i: self._is_claimed(i, page))

    def next_for(self, page: str) -> int | None:
        """The most uncertain that waits, preferably one that no other page has open."""
        return next(iter(self.upcoming(page)), None)

    def _is_claimed(self, radiograph_id: int, page: str) -> bool:
        owner, since = self._claims.get(radiograph_id, (page, 0.0))
        return owner != page and self.clock() - since < CLAIM_S

    def claimed_elsewhere(self, radiograph_id: int, page: str) -> bool:
        """Whether another page has this radiograph open."""
        with self._lock:
            return self._is_claimed(radiograph_id, page)

    def claim(self, radiograph_id: int, page: str) -> None:
        """Reserve a radiograph for a page, in place of the one that it had."""
        self.release(page)
        with self._lock:
            if not self._is_claimed(radiograph_id, page):
                self._claims[radiograph_id] = (page, self.clock())

    def release(self, page: str) -> None:
        """Drop the claim of a page."""
        with self._lock:
            kept = {i: c for i, c in self._claims.items() if c[0] != page}
            self._claims = kept

    def open(self, radiograph_id: int) -> OpenImage:
        """Read a radiograph, its masks and its map; the last few are kept.

        Raises:
            InputError: the radiograph cannot be read; it is then no longer offered.
        """
        # before the mask is read: what is saved in between shows as a change
        version = self.version(radiograph_id)
        kept = self._opened.get(radiograph_id)
        if kept is not None and kept.version == version:
            return kept
        try:
            radiograph = radiographs.read(self.layout.query(radiograph_id))
        except InputError as error:
            self.unreadable[radiograph_id] = str(error)
            raise
        opened = self._read(self.queries[radiograph_id], radiograph, version)
        with self._lock:
            self._opened.pop(radiograph_id, None)
            self._opened[radiograph_id] = opened
            while len(self._opened) > KEPT_OPEN:
                del self._opened[next(iter(self._opened))]
        return opened

    def _read(self, query: Query, radiograph: np.ndarray, version: str) -> OpenImage:
        i, layout, notes = query.radiograph_id, self.layout, []

        def usable(path: Path) -> np.ndarray | None:
            try:
                return _read_of_shape(path, radiograph.shape)
            except InputError as error:
                notes.append(str(error))
                return None

        saved, proposal = usable(layout.answer(i)), usable(layout.proposal(i))
        start = next((mask for mask in (saved, proposal) if mask is not None), None)
        if start is None:
            start = self.coarse_mask(i, radiograph)
        return OpenImage(
            query,
            radiograph,
            _binary(start),
            None if proposal is None else _binary(proposal),
            usable(layout.disagreement(i)),
            usable(layout.probability(i)),
            version,
            tuple(notes),
        )

    def coarse_mask(self, radiograph_id: int, radiograph: np.ndarray) -> Mask:
        """Step 1's coarse mask; computed here if there is no usable one."""
        path = self.layout.coarse_mask(radiograph_id)
        try:
            mask = _read_of_shape(path, radiograph.shape)
        except InputError:  # of another size or damaged: quickly made anew
            mask = None
        return coarse.coarse_mask(radiograph) if mask is None else _binary(mask)

    def version(self, radiograph_id: int) -> str:
        """Identifies what is on disk of its mask and flag: it changes with them."""
        is_flagged = radiograph_id in excluded.flagged(self.layout)
        return self._version(radiograph_id, is_flagged)

    def _version(self, radiograph_id: int, is_flagged: bool) -> str:
        flag = "flagged" if is_flagged else "usable"
        try:
            facts = self.layout.answer(radiograph_id).stat()
        except FileNotFoundError:
            return f"{flag}-none"
        return f"{flag}-{facts.st_mtime_ns}-{facts.st_size}-{facts.st_ino}"

    def overview(self) -> list[tuple[int, Status, str]]:
        """Id, status and version of all, in the queue's order."""
        flagged = excluded.flagged(self.layout)
        return [
            (i, self._status(i, flagged), self._version(i, i in flagged))
            for i in self.queries
        ]

    def _check_unchanged(self, opened: OpenImage) -> None:
        now = self.version(opened.radiograph_id)
        if now == opened.version:
            return
        change = "saved"
        if now.startswith("flagged"):
            change = "flagged as not usable"
        elif now.endswith("none"):
            change = "reset"
        raise Conflict(
            f"Radiograph {opened.radiograph_id} was {change} elsewhere since you "
            "opened it. Press the same key again to replace that with yours; Back and "
            "Skip keep it."
        )

    def save(
        self,
        opened: OpenImage,
        mask: Mask,
        seconds: float | None = None,
        overwrite: bool = False,
        no_hand: bool = False,
    ) -> str:
        """Write the mask, log it, and return the action: `annotated` or `accepted`.

        mask: (row, column) uint8, 0 or 255, of the radiograph's size. seconds: how long
        the person took.

        Raises:
            RefusedMask: empty, full, or of another size.
            ImplausibleMask: no hand by its shape; `no_hand` saves it nevertheless, and
                keeps it from being set aside when it is packed.
            Conflict: changed since it was opened; `overwrite` saves nevertheless.
        """
        if mask.shape != opened.radiograph.shape:
            raise RefusedMask("The page is out of date; reload it.")
        if not mask.any():
            raise RefusedMask(
                "The mask is empty; draw the hand, or flag the radiograph."
            )
        if mask.all():
            raise RefusedMask("The mask covers everything; erase the background.")
        radiograph_id = opened.radiograph_id
        reasons = coarse.no_hand_reasons(mask)
        if reasons and not no_hand:
            raise ImplausibleMask(
                f"This looks like no hand ({', '.join(reasons)}). Press the same key "
                "again to save it nevertheless."
            )
        with file_lock(self.layout.new):
            if not overwrite:
                self._check_unchanged(opened)
            radiographs.write(self.layout.answer(radiograph_id), mask)
            if reasons:
                confirmed_masks.confirm(self.layout, [radiograph_id])
            excluded.unflag(self.layout, radiograph_id)
        self.skipped.discard(radiograph_id)
        self.accepted.discard(radiograph_id)
        proposal, dice, action = opened.proposal, None, "annotated"
        if proposal is not None:
            dice = float(segmentation_dice.dice(proposal, mask))
            if np.array_equal(proposal, mask):
                action = "accepted"
                self.accepted.add(radiograph_id)
        if seconds is not None:
            self.seconds[radiograph_id] = seconds
        self._log_action(opened, action, seconds, dice)
        return action

    def skip(self, opened: OpenImage, seconds: float | None = None) -> None:
        """Leave it for later; nothing changes on disk but the log."""
        self.skipped.add(opened.radiograph_id)
        self._log_action(opened, "skipped", seconds)

    def flag(
        self, opened: OpenImage, seconds: float | None = None, overwrite: bool = False
    ) -> None:
        """Flag it as not usable: out of the pool, and out of the training.

        A mask saved before stays on disk; saving one later makes it usable again.

        Raises:
            Conflict: changed since it was opened; `overwrite` flags nevertheless.
        """
        with file_lock(self.layout.new):
            if not overwrite:
                self._check_unchanged(opened)
            excluded.flag(self.layout, opened.radiograph_id)
        self.skipped.discard(opened.radiograph_id)
        self._log_action(opened, "flagged", seconds)

    def offer_skipped_again(self) -> None:
        """Let the skipped ones wait once more."""
        self.skipped.clear()

    def _log_action(
        self,
        opened: OpenImage,
        action: str,
        seconds: float | None,
        dice: float | None = None,
    ) -> None:
        self.log.log_action(
            opened.query,
            action,
            seconds,
            proposal_shown=opened.proposal is not None,
            dice=dice,
        )

    def describe(self) -> str:
        """How many have which status, in one line."""
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
        """Log masks without a line; a program killed between the two leaves one."""
        statuses = self.statuses()
        saved = [i for i, status in statuses.items() if status == "saved"]
        self.log.log_answers(saved)

    def count(self, status: Status) -> int:
        """How many have this status."""
        return sum(now == status for now in self.statuses().values())


def _binary(image: np.ndarray) -> Mask:
    return np.where(image > 0, np.uint8(255), np.uint8(0))


def _read_of_shape(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """An image of the radiograph's size; None if there is none.

    Raises:
        InputError: it cannot be read, or has another size.
    """
    if not path.exists():
        return None
    image = radiographs.read(path)
    if image.shape != shape:
        raise InputError(
            f"{path} must have the shape {shape} (got {image.shape}); it is not used"
        )
    return transforms.to_uint8(image)
