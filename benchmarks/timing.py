"""Timing of a few functions in turn, so that the machine's moods hit all alike."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.phantoms import radiograph

ORIGINAL_HEIGHT_PX = 2044
"""Median of the RSNA originals."""

MOST, LEAST = "at most", "at least"


@dataclass(frozen=True)
class Size:
    """How large the work is: what `make bench` takes, or a smoke test."""

    quick: bool = False
    """The smallest sizes that run: to see that everything does, not to measure."""
    rounds: int = 5
    """Times that everything is measured, in turn; medians are shown."""
    radiographs: Path | None = None
    """A folder of full-size PNG files; else they are simulated, and decode faster."""

    def of(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full

    def full_size(self) -> np.ndarray:
        """The first radiograph of the folder, or a phantom of an original's size."""
        if self.radiographs is not None:
            paths = sorted(self.radiographs.glob("*.png"))
            if not paths:
                raise InputError(
                    f"{self.radiographs} must contain PNG files (got none)"
                )
            return radiographs.read(paths[0])
        height = self.of(ORIGINAL_HEIGHT_PX, 256)
        rng = np.random.default_rng(0)
        return radiograph.simulate(rng, 120, True, height).radiograph


@dataclass(frozen=True)
class Goal:
    """What is to be reached: ours over the floor, or its rate over the floor's."""

    bound: str
    """MOST: seconds or bytes over the floor's; LEAST: images a second over them."""
    ratio: float

    def reached(self, ours: float, floor: float) -> bool:
        """Whether ours, in seconds or bytes, keeps to it."""
        if self.bound == MOST:
            return ours <= self.ratio * floor
        return floor >= self.ratio * ours


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds an image or a start, or MB; medians.

    baseline: what a user would otherwise run; NaN if nothing comparable is installed.
    floor: what the machine cannot avoid.
    """

    work: str
    ours_s: float
    baseline: str
    baseline_s: float
    floor: str
    floor_s: float
    goal: Goal | None = None
    unit: str = "ms"

    def lines(self) -> list[str]:
        """The row of the table, and what it compares with."""
        factor = 1e3 if self.unit == "ms" else 1.0
        shown = [f"{self.work:<40}"]
        for value in (self.ours_s, self.baseline_s, self.floor_s):
            shown.append(f"{value * factor:>9.1f}{self.unit}")
        shown.insert(3, f"{self.baseline_s / self.ours_s:>8.2f}x")
        if math.isnan(self.baseline_s):
            shown[2:4] = [f"{'-':>11}", f"{'-':>9}"]
        shown.append(f"{self.ours_s / self.floor_s:>8.2f}x")
        if self.goal is not None:
            met = self.goal.reached(self.ours_s, self.floor_s)
            limit = self.goal.ratio if self.goal.bound == MOST else 1 / self.goal.ratio
            shown.append(f"  <= {limit:.2f}x {'yes' if met else 'NO'}")
        return ["".join(shown), f"    baseline: {self.baseline}; floor: {self.floor}"]


HEADER = (
    f"{'work':<40}{'ours':>11}{'baseline':>11}{'faster':>9}{'floor':>11}{'x floor':>9}"
    "  to reach"
)


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
