"""One round of queries, shared by the training loop and the annotator's pages."""

import threading
from pathlib import Path

import cv2
import numpy as np

from boneage.annotator import mask_edits
from boneage.annotator.actions import LABELS
from boneage.annotator.queue import AnnotationQueue
from boneage.errors import InputError
from boneage.ids import RadiographId
from boneage.io import radiographs, transforms
from boneage.layout import Layout

THUMBNAIL_PX = 144

GO_ON, FINISH, LEAVE, CLOSE = "go_on", "finish", "leave", "close"
"""A person's decisions about a round; `actions` has their labels on the page."""


class AnnotationRound:
    """Holds the queue that is being worked on, and the person's decision about it."""

    def __init__(self, layout: Layout, decisions: tuple[str, ...]) -> None:
        """Offer `decisions`; there is no queue yet."""
        self.layout = layout
        self.decisions = decisions
        self.queue: AnnotationQueue | None = None
        self.number = 0
        """Of queues published so far: a page's requests name the one they are about."""
        self.idle_message = "The first radiographs are being selected."
        self._decision = ""
        self._decided = threading.Event()
        self._lock = threading.Lock()

    def publish(self, queue: AnnotationQueue) -> None:
        """Offer a queue to the pages."""
        with self._lock:
            self._decided.clear()
            self.queue = queue
            self.number += 1

    def current(self, person: str = "") -> tuple[int, AnnotationQueue | None]:
        """Number and queue that belong together, as a person sees the queue.

        None while there are no queries.
        """
        with self._lock:
            return self.number, self.queue and self.queue.for_person(person)

    def wait(self) -> str:
        """Wait until a person decides; returns the decision. The queue is gone then."""
        self._decided.wait()
        return self._decision

    def decide(self, decision: str, queue: AnnotationQueue | None) -> None:
        """Take the first decision about the published queue.

        queue: the one that the deciding page shows; if another was published since,
        nothing happens.
        """
        with self._lock:
            if self.queue is None or queue is None or queue.whole is not self.queue:
                return
            self.queue, self._decision = None, decision
        self.idle_message = {
            GO_ON: "The committee is training. Its next questions will appear here.",
            FINISH: "The committee trains on without further questions.",
        }.get(decision, "Everything is saved.")
        if decision != GO_ON:
            self.idle_message += " You can close this page."
        self._decided.set()

    def explain(self, queue: AnnotationQueue | None) -> str:
        """What a page shows when no radiograph is open."""
        if queue is None:
            return self.idle_message
        labels = " or ".join(f"“{LABELS[decision]}”" for decision in self.decisions)
        unreadable = "".join(f"\n\n{why}" for why in queue.unreadable.values())
        return (
            f"Nothing is waiting any more\n\n{queue.describe()}\n\nClick a thumbnail "
            f"to return to its radiograph, or choose {labels}.{unreadable}"
        )

    def disconnect(self, page: str) -> None:
        """Release the radiograph of a page that was closed."""
        if (queue := self.queue) is not None:
            queue.claims.release(page)


def thumbnail(queue: AnnotationQueue, radiograph_id: RadiographId) -> bytes:
    """A small picture of a radiograph under its saved mask, as JPEG."""
    status = queue.statuses()[radiograph_id]
    grey = mask_edits.stretched(_read_small(queue.layout.query(radiograph_id)))
    shown = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    if status == "saved":
        mask = _read_small(queue.annotation(radiograph_id), grey.shape) > 127
        opacity = mask_edits.MASK_OPACITY
        colour = np.array(mask_edits.MASK_COLOUR[::-1]) * opacity
        shown[mask] = (shown[mask] * (1 - opacity) + colour).astype(np.uint8)
    elif status != "waiting":
        shown = shown // 3
    return cv2.imencode(".jpg", shown)[1].tobytes()


def _read_small(path: Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Shrink an image to a thumbnail's size, or to `shape`; black where unreadable."""
    try:
        image = transforms.to_uint8(radiographs.read(path))
    except InputError:  # the page names it when it is opened
        return np.zeros(shape or (THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    if shape is not None:
        return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
    factor = THUMBNAIL_PX / max(image.shape)
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
