"""Timing of a few functions in turn, so that the machine's moods hit all alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds an image, medians."""

    work: str
    ours_s: float
    rival: str
    rival_s: float
    floor: str
    floor_s: float


def medians(functions: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each, called in turn `rounds` times after one warm-up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds + 1):
        for taken, function in zip(seconds, functions, strict=True):
            start = time.perf_counter()
            function()
            if turn:
                taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) for taken in seconds]
