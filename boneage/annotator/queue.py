"""The radiographs that wait for a mask, and what a person does about each of them.

Nothing here knows of a page. Every action is on disk when its method returns. Two
pages, or two processes, that work on one radiograph are told apart by its version, read
off the disk: the last to save wins, after a confirmation. Claims only spread the pages
of one process over different radiographs. Where people log in, each has a view of the
queue (`for_person`), and a mask of his own of every shared radiograph.
"""

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

import numpy as np

from boneage.active_learning import agreement, stopping
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import ANSWERS, QueryLog
from boneage.annotator.claims import Claims
from boneage.annotator.open_image import OpenImage, read_open_image
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.ids import RadiographId, order
from boneage.io import png_encoder, radiographs
from boneage.io.files import atomic_write
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


class AnnotationQueue:
    """The queries of one round, or all that waits in gt/new, most uncertain first."""

    def __init__(
        self,
        layout: Layout,
        queries: list[Query],
        clock: Callable[[], float] = time.monotonic,
        people: Collection[str] = (),
        shared_fraction: float = 0.0,
    ) -> None:
        """Queue `queries` in the order in which they are given.

        people: who can log in. shared_fraction: of the queries that all of them draw,
        each for himself; the others are for whoever comes first.
        """
        self.layout = layout
        self.queries = {query.radiograph_id: query for query in queries}
        self.people = tuple(people)
        self.shared = {
            i
            for i in self.queries
            if len(self.people) > 1 and agreement.is_shared(i, shared_fraction)
        }
        self.claims = Claims(clock)
        self.outlook = stopping.outlook(layout)
        self.whole = self
        """The queue without a person: what the training waits for."""
        self._of_person: dict[str, AnnotationQueue] = {}
        self._begin("")

    def _begin(self, person: str) -> None:
        """Set what each person has for himself."""
        self.person = person
        self.log = QueryLog(self.layout.queries, annotator=person)
        self.skipped: set[RadiographId] = set()
        self.unreadable: dict[RadiographId, str] = {}
        self.accepted: set[RadiographId] = set()
        """Saved here as proposed."""
        self.seconds: dict[RadiographId, float] = {}
        """How long those saved here took."""
        self._opened: dict[RadiographId, OpenImage] = {}
        self._lock = threading.Lock()

    def for_person(self, person: str) -> "AnnotationQueue":
        """The same queue as one of `people` sees it; empty: nobody logs in."""
        if not person:
            return self.whole
        with self._lock:
            if person not in self._of_person:
                view = copy.copy(self.whole)
                view._begin(person)
                self._of_person[person] = view
            return self._of_person[person]

    @property
    def ids(self) -> list[RadiographId]:
        """All ids, most uncertain first."""
        return list(self.queries)

    def statuses(self) -> dict[RadiographId, Status]:
        """The present status of each radiograph."""
        flagged = excluded.flagged(self.layout)
        return {i: self._status(i, flagged) for i in self.queries}

    def annotation(self, radiograph_id: RadiographId) -> Path:
        """Where this person's mask is saved; others do not see that of a shared one."""
        if self.person and radiograph_id in self.shared:
            return self.layout.shared_mask(self.person, radiograph_id)
        return self.layout.answer(radiograph_id)

    def waiting_for_others(self) -> list[RadiographId]:
        """Shared ones that others than this person have not drawn yet."""
        flagged = excluded.flagged(self.layout)
        others = [name for name in self.people if name != self.person]
        ids = [i for i in self.queries if i in self.shared and i not in flagged]
        return agreement.unfinished_ids(self.layout, ids, others, 1.0)

    def _status(
        self, radiograph_id: RadiographId, flagged: dict[RadiographId, str]
    ) -> Status:
        if radiograph_id in flagged:
            return "flagged"
        if self.annotation(radiograph_id).exists():
            return "saved"
        if radiograph_id in self.unreadable:
            return "unreadable"
        return "skipped" if radiograph_id in self.skipped else "waiting"

    def upcoming(self, page: str) -> list[RadiographId]:
        """Ids that wait, in the order for a page: those of other pages last."""
        waiting = [i for i, status in self.statuses().items() if status == "waiting"]
        # sorting keeps the order among equals
        return sorted(waiting, key=lambda i: self.claimed_elsewhere(i, page))

    def next_for(self, page: str) -> RadiographId | None:
        """The most uncertain that waits, preferably one that no other page has open."""
        return next(iter(self.upcoming(page)), None)

    def _claimed(self, radiograph_id: RadiographId) -> tuple[RadiographId, str]:
        """What is claimed: of a shared one, everybody has a mask to draw."""
        return radiograph_id, self.person if radiograph_id in self.shared else ""

    def claimed_elsewhere(self, radiograph_id: RadiographId, page: str) -> bool:
        """Whether another page has this radiograph open."""
        return self.claims.is_elsewhere(self._claimed(radiograph_id), page)

    def claim(self, radiograph_id: RadiographId, page: str) -> None:
        """Reserve a radiograph for a page, in place of the one that it had."""
        self.claims.claim(self._claimed(radiograph_id), page)

    def open(self, radiograph_id: RadiographId) -> OpenImage:
        """Read a radiograph, its masks and its maps; the last few are kept.

        Raises:
            InputError: the radiograph cannot be read; it is then no longer offered.
        """
        # before the mask is read: what is saved in between shows as a change
        version = self.version(radiograph_id)
        kept = self._opened.get(radiograph_id)
        if kept is not None and kept.version == version:
            return kept
        query = self.queries[radiograph_id]
        try:
            opened = read_open_image(
                self.layout, query, version, self.annotation(radiograph_id)
            )
        except InputError as error:
            self.unreadable[radiograph_id] = str(error)
            raise
        with self._lock:
            self._opened.pop(radiograph_id, None)
            self._opened[radiograph_id] = opened
            while len(self._opened) > KEPT_OPEN:
                del self._opened[next(iter(self._opened))]
        return opened

    def version(self, radiograph_id: RadiographId) -> str:
        """Identifies what is on disk of its mask and flag: it changes with them."""
        is_flagged = radiograph_id in excluded.flagged(self.layout)
        return self._version(radiograph_id, is_flagged)

    def _version(self, radiograph_id: RadiographId, is_flagged: bool) -> str:
        flag = "flagged" if is_flagged else "usable"
        try:
            facts = self.annotation(radiograph_id).stat()
        except FileNotFoundError:
            return f"{flag}-none"
        return f"{flag}-{facts.st_mtime_ns}-{facts.st_size}-{facts.st_ino}"

    def overview(self) -> list[tuple[RadiographId, Status, str]]:
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
            # after a full disk the mask may be there, and its line in the log not
            if not overwrite and not self._is_saved(radiograph_id, mask):
                self._check_unchanged(opened)
            is_trained_on = self._write(radiograph_id, mask)
            if reasons and is_trained_on:
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

    def _is_saved(self, radiograph_id: RadiographId, mask: Mask) -> bool:
        """Whether this very mask is on disk, and the radiograph not flagged since."""
        path = self.annotation(radiograph_id)
        if radiograph_id in excluded.flagged(self.layout) or not path.exists():
            return False
        return path.read_bytes() == png_encoder.encode(mask)

    def _write(self, radiograph_id: RadiographId, mask: Mask) -> bool:
        """Write this person's mask; returns whether the committee trains on it."""
        own, answer = self.annotation(radiograph_id), self.layout.answer(radiograph_id)
        if own == answer:
            radiographs.write(answer, mask)
            return True
        # of a shared one, it trains on the mask of the first who saved it
        is_first = not answer.exists() or (
            own.exists() and own.read_bytes() == answer.read_bytes()
        )
        content = png_encoder.encode(mask)
        with contextlib.ExitStack() as written:
            # both are written before either counts: a full disk leaves neither
            for path in (own, answer) if is_first else (own,):
                written.enter_context(atomic_write(path)).write_bytes(content)
        return is_first

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
        entries = self.log.entries()
        for person in self.people:
            view = self.for_person(person)
            logged = {
                entry["id"]
                for entry in entries
                if entry["action"] in ANSWERS and entry.get("annotator") == person
            }
            for i in sorted(self.shared - logged, key=order):
                if view.annotation(i).exists():
                    is_shown = self.layout.proposal(i).exists()
                    view.log.log_action(self.queries[i], "annotated", None, is_shown)
        statuses = self.statuses()
        saved = [i for i, status in statuses.items() if status == "saved"]
        self.log.log_answers(saved)

    def count(self, status: Status) -> int:
        """How many have this status."""
        return sum(now == status for now in self.statuses().values())
