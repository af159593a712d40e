"""Radiographs of many clients: read in turn, the large ones with lower priority."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.io import engine, radiographs
from boneage.prediction.inputs import InputRadiograph

if TYPE_CHECKING:
    from boneage.prediction.predictor import Predictor
    from boneage.prediction.record import Prediction

LARGE_PX = 16_000_000
"""A detector of 43 cm with pixels of 0.14 mm has 9.4 million."""
MOST_WAITING, MOST_LARGE_WAITING = 64, 3
"""Radiographs that may wait for their turn; further ones are turned away."""
NICENESS = 10
"""Of the thread that reads large ones: where all cores are wanted, a tenth of one."""


class Busy(Exception):
    """Too many radiographs wait; the client may try again later."""


class ReadingLanes:
    """Lanes for ordinary radiographs, one a core, and one for large ones.

    Each lane reads one at a time, in the order of arrival. Nobody waits for a large one
    but those behind it, and it takes what the others leave of the cores.
    """

    def __init__(self, predictor: Predictor) -> None:
        """The predictor's networks are loaded."""
        import anyio
        import cv2

        # the lanes use all cores, and a large one must keep to its thread
        cv2.setNumThreads(1)
        self.predictor = predictor
        lanes = engine.core_count() if predictor.is_shareable else 1
        self._ordinary = anyio.CapacityLimiter(lanes)
        self._large = anyio.CapacityLimiter(1)
        self._low = ThreadPoolExecutor(1, "large", _lower_priority)

    @property
    def waiting(self) -> int:
        """Radiographs that wait or are being read."""
        lanes = [lane.statistics() for lane in (self._ordinary, self._large)]
        return sum(lane.tasks_waiting + lane.borrowed_tokens for lane in lanes)

    async def predict(
        self, radiograph: InputRadiograph, with_maps: bool = True
    ) -> Prediction:
        """Read a radiograph when it is its turn.

        with_maps: somebody will see the maps that the predictor is to show.

        Raises:
            InputError: as `Predictor.predict`.
            Busy: too many wait.
        """
        import anyio

        is_large = await anyio.to_thread.run_sync(_is_large, radiograph.path)
        lane = self._large if is_large else self._ordinary
        most = MOST_LARGE_WAITING if is_large else MOST_WAITING
        if lane.statistics().tasks_waiting >= most:
            raise Busy("too many radiographs wait; try again later")
        read = functools.partial(self._predict, radiograph, with_maps)
        if is_large:
            read = functools.partial(self._at_low_priority, read)
        return await anyio.to_thread.run_sync(read, limiter=lane)

    def _predict(self, radiograph: InputRadiograph, with_maps: bool) -> Prediction:
        prediction = self.predictor.predict(radiograph)
        return self.predictor.with_shown_maps(prediction) if with_maps else prediction

    def _at_low_priority(self, read: Callable[[], Prediction]) -> Prediction:
        return self._low.submit(read).result()


def _lower_priority() -> None:
    """Of this thread alone, where the system can: on Linux."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _is_large(path: Path) -> bool:
    return radiographs.pixel_count(path) > LARGE_PX
