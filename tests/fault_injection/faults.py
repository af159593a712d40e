"""Kill every step at random moments, start it again, compare with an undisturbed run.

    python -m tests.fault_injection.faults --kills 200

A cohort of small phantoms goes through all steps once undisturbed. Then each step is
started from where it began, killed (SIGKILL) at a random moment of its time, once or
twice, and run to its end; every file that it leaves is compared with the undisturbed
one's. Networks are of two blocks; all else is as it is. Exit code 1 when anything
differs, is not whole after a kill, a temporary file stays, or an annotation is lost or
doubled.
"""

import random
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import tyro

from tests.fault_injection import killing
from tests.fault_injection.compare_outputs import annotations, not_whole, unlike
from tests.fault_injection.killing import STEPS, Step


@dataclass(frozen=True)
class Options:
    """How often to kill."""

    kills: int = 200
    """In all, about the same number for each step."""
    seed: int = 0
    """Of the moments."""
    steps: tuple[Step, ...] = tuple(STEPS)
    """Only these are killed."""


@dataclass
class Outcome:
    """What happened to one step, or to all."""

    kills: int = 0
    too_late: int = 0
    """Kills that found the step finished."""
    files: int = 0
    """Compared with those of an undisturbed run."""
    broken: int = 0
    """Not whole after a kill."""
    differing: int = 0
    temporary: int = 0
    lost: int = 0
    doubled: int = 0

    def add(self, other: "Outcome") -> None:
        """Count what happened to another step, too."""
        for field in fields(self):
            name = field.name
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def faults(self) -> int:
        """What must not be."""
        return self.broken + self.differing + self.temporary + self.lost + self.doubled


@dataclass(frozen=True)
class Places:
    """The cohort as a step finds it, as it leaves it undisturbed, and to be spoilt."""

    begun: Path
    whole: Path
    work: Path


def torment(
    step: Step, places: Places, moments: list[float], draw: random.Random
) -> tuple[Outcome, list[str]]:
    """Kill a step at each of the moments, let it end, compare; a line a fault."""
    outcome, lines = Outcome(), []
    killing.copy(places.begun, places.work)
    new = places.work / "data" / "gt" / "new"
    orphans: list[int] = []
    try:
        for moment in moments:
            left = orphans if draw.random() < 0.5 else None
            was_running, saved = killing.kill(step, places.work, moment, left)
            outcome.kills += was_running
            outcome.too_late += not was_running
            lost = [i for i in saved if not (new / f"{i}_bin.png").exists()]
            broken = not_whole(places.work)
            outcome.lost += len(lost)
            outcome.broken += len(broken)
            lines += [f"called saved, and lost: {i}" for i in lost]
            lines += [f"not whole: {name}" for name in broken]
        killing.finish(step, places.work)
    finally:
        killing.end(orphans)
    outcome.files, differing, temporary = unlike(places.whole, places.work)
    lost, doubled = annotations(new.parent, packed=step not in killing.PEOPLE)
    outcome.differing, outcome.temporary = len(differing), len(temporary)
    outcome.lost += len(lost)
    outcome.doubled = len(doubled)
    lines += [f"differs: {name}" for name in differing]
    lines += [f"temporary: {name}" for name in temporary]
    lines += [f"annotation lost: {i}" for i in lost]
    lines += [f"annotation doubled: {i}" for i in doubled]
    return outcome, lines


def torment_often(
    step: Step, places: Places, seconds: float, kills: int, draw: random.Random
) -> Outcome:
    """Kill a step that takes so many seconds so many times; prints the faults."""
    total = Outcome()
    while total.kills < kills:
        moments = killing.moments(draw, seconds)
        outcome, lines = torment(step, places, moments, draw)
        total.add(outcome)
        if not outcome.kills:
            # the machine was busier when the undisturbed run was timed
            seconds *= 0.8
        for line in lines:
            print(f"{step}, killed after {moments} s: {line}", flush=True)
    return total


def main(options: Options) -> int:
    """Print a line a step; 1 where something is lost, doubled, left or different."""
    draw = random.Random(options.seed)
    total = Outcome()
    with tempfile.TemporaryDirectory() as name:
        places = Places(*(Path(name) / x for x in ("begun", "whole", "work")))
        places.whole.mkdir()
        to_come = [step for step in STEPS if step in options.steps]
        for step in STEPS:
            killing.prepare(step, places.whole)
            killing.copy(places.whole, places.begun)
            # where it is killed later: some files hold the paths of others
            killing.copy(places.whole, places.work)
            seconds = killing.finish(step, places.work)
            killing.copy(places.work, places.whole)
            if step in to_come:
                kills = max(1, round((options.kills - total.kills) / len(to_come)))
                outcome = torment_often(step, places, seconds, kills, draw)
                print(f"{step}: {seconds:.1f} s, {outcome}", flush=True)
                total.add(outcome)
                to_come.remove(step)
            if not to_come:
                break
    print(f"{total.kills} kills, {total.files} files compared, {total.faults} faults")
    return 1 if total.faults else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
