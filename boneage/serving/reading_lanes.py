"""Radiographs of many clients, read one at a time, the large ones beside the others."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.io import radiographs
from boneage.prediction.inputs import InputRadiograph

if TYPE_CHECKING:
    from boneage.prediction.predictor import Predictor
    from boneage.prediction.record import Prediction

LARGE_PX = 16_000_000
"""A detector of 43 cm with pixels of 0.14 mm has 9.4 million."""
MOST_WAITING, MOST_LARGE_WAITING = 64, 3
"""Radiographs that may wait for their turn; further ones are turned away."""


class Busy(Exception):
    """Too many radiographs wait; the client may try again later."""


class ReadingLanes:
    """One lane for ordinary radiographs and one for large ones.

    In each lane one is read at a time, in the order of their arrival: the networks use
    all cores anyway. Nobody waits for a large one but those behind it.
    """

    def __init__(self, predictor: Predictor) -> None:
        """The predictor's networks are loaded."""
        import anyio

        self.predictor = predictor
        self._ordinary, self._large = anyio.CapacityLimiter(1), anyio.CapacityLimiter(1)

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
        return await anyio.to_thread.run_sync(read, limiter=lane)

    def _predict(self, radiograph: InputRadiograph, with_maps: bool) -> Prediction:
        prediction = self.predictor.predict(radiograph)
        return self.predictor.with_shown_maps(prediction) if with_maps else prediction


def _is_large(path: Path) -> bool:
    return radiographs.pixel_count(path) > LARGE_PX
