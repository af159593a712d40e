"""Which radiograph is open in which page, so that pages are offered others."""

import threading
import time
from collections.abc import Callable, Hashable

CLAIM_S = 600
"""Seconds for which a radiograph is reserved for a page that does nothing about it."""


class Claims:
    """What each page has open; a page has one at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is claimed yet."""
        self.clock = clock
        self._claims: dict[Hashable, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def is_elsewhere(self, what: Hashable, page: str) -> bool:
        """Whether another page has it open."""
        with self._lock:
            return self._is_elsewhere(what, page)

    def _is_elsewhere(self, what: Hashable, page: str) -> bool:
        owner, since = self._claims.get(what, (page, 0.0))
        return owner != page and self.clock() - since < CLAIM_S

    def claim(self, what: Hashable, page: str) -> None:
        """Reserve it for a page, in place of what the page had."""
        self.release(page)
        with self._lock:
            if not self._is_elsewhere(what, page):
                self._claims[what] = (page, self.clock())

    def release(self, page: str) -> None:
        """Drop the claim of a page."""
        with self._lock:
            kept = {what: c for what, c in self._claims.items() if c[0] != page}
            self._claims = kept
