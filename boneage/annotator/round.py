"""What the program that asks and the pages that answer share."""

import threading
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from boneage.annotator import mask_edits
from boneage.annotator.queue import AnnotationQueue, Status
from boneage.errors import InputError
from boneage.io import radiographs, transforms
from boneage.layout import Layout

THUMBNAIL_PX = 144
THUMBNAILS = 60
"""How many are shown, the latest: a round has ten."""


class Decision(NamedTuple):
    """What a person may say about the queue as a whole; `key` may be empty."""

    key: str
    name: str
    label: str


GO_ON = Decision("g", "go_on", "Go on training")
FINISH = Decision("", "finish", "Train on, ask no more")
LEAVE = Decision("", "leave", "Stop for today")
CLOSE = Decision("g", "close", "Finish and close")


class AnnotationRound:
    """Holds the queue that is being worked on, and the person's decision about it."""

    def __init__(self, layout: Layout, decisions: tuple[Decision, ...]) -> None:
        """Offer `decisions`; nothing lies on the desk yet."""
        self.layout = layout
        self.decisions = decisions
        self.queue: AnnotationQueue | None = None
        self.meanwhile = "The first radiographs are being looked out."
        self._decision = ""
        self._decided = threading.Event()
        self._lock = threading.Lock()
        self._pages: dict[str, str] = {}
        self._thumbnails: dict[tuple, np.ndarray] = {}

    def lay(self, queue: AnnotationQueue) -> None:
        """Put a queue on the desk."""
        with self._lock:
            self._decided.clear()
            self.queue = queue

    def wait(self) -> str:
        """Wait until a page decides; the decision's name. The desk is empty then."""
        self._decided.wait()
        return self._decision

    def decide(self, name: str, queue: AnnotationQueue | None) -> None:
        """Take the first decision about the queue on the desk.

        queue: what the page shows that decides; a queue laid since is left as it is.
        """
        with self._lock:
            if self.queue is None or queue is not self.queue:
                return
            self.queue, self._decision = None, name
        self.meanwhile = {
            "go_on": "The committee is training. What it asks next appears here.",
            "finish": "The committee trains on and asks no more.",
        }.get(name, "Everything is saved.")
        if name != "go_on":
            self.meanwhile += " This page can be closed."
        self._decided.set()

    def has_news(self, queue: AnnotationQueue | None, page: str) -> bool:
        """Whether a page that has nothing in hand would get something now."""
        if self.queue is not queue:
            return True
        return queue is not None and queue.next_for(page) is not None

    def explain(self, queue: AnnotationQueue | None) -> str:
        """What a page says that has nothing in hand."""
        if queue is None:
            return f"## {self.meanwhile}"
        labels = " or ".join(f"**{decision.label}**" for decision in self.decisions)
        unreadable = "".join(f"\n\n{why}" for why in queue.unreadable.values())
        return (
            f"## Nothing is waiting any more\n\n{queue.describe()}\n\nGo back to any "
            f"of them by its thumbnail, or choose {labels}.{unreadable}"
        )

    def arrived(self, page: str, session: str) -> None:
        """Note that a page was loaded, maybe again."""
        with self._lock:
            self._pages[page] = session

    def left(self, session: str) -> None:
        """Let go of what the page of a session has in hand, unless it was reloaded."""
        with self._lock:
            gone = [page for page, last in self._pages.items() if last == session]
            for page in gone:
                del self._pages[page]
        for page in gone:
            if self.queue is not None:
                self.queue.release(page)

    def finished(self, queue: AnnotationQueue | None) -> list[tuple[int, Status, int]]:
        """Id, status and time of what was dealt with, the latest first."""
        if queue is None:
            return []
        done = [
            (i, status, queue.changed(i))
            for i, status in queue.statuses().items()
            if status not in ("waiting", "unreadable")
        ]
        return sorted(done, key=lambda one: one[2], reverse=True)[:THUMBNAILS]

    def thumbnail(
        self, radiograph_id: int, status: Status, changed_ns: int
    ) -> np.ndarray:
        """A small picture of a radiograph under its mask: (row, column, 3) uint8."""
        key = (radiograph_id, status, changed_ns)
        if key not in self._thumbnails:
            self._thumbnails[key] = _thumbnail(self.layout, radiograph_id, status)
        return self._thumbnails[key]


def caption(radiograph_id: int, status: Status) -> str:
    """What stands under a thumbnail."""
    also = {"flagged": ", not usable", "skipped": ", skipped"}
    return f"{radiograph_id}{also.get(status, '')}"


def _thumbnail(layout: Layout, radiograph_id: int, status: Status) -> np.ndarray:
    grey = mask_edits.stretched(_read_small(layout.query(radiograph_id)))
    shown = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if status == "saved":
        mask = _read_small(layout.answer(radiograph_id), grey.shape) > 127
        opacity = mask_edits.MASK_OPACITY
        colour = np.array(mask_edits.MASK_COLOUR) * opacity
        shown[mask] = (shown[mask] * (1 - opacity) + colour).astype(np.uint8)
        return shown
    return shown // 3


def _read_small(path: Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Shrink an image to a thumbnail's size, or to `shape`; black where unreadable."""
    try:
        image = transforms.to_uint8(radiographs.read(path))
    except InputError:  # the page names it where it is opened
        return np.zeros(shape or (THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    if shape is not None:
        return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
    factor = THUMBNAIL_PX / max(image.shape)
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
