"""Kill every step at random moments, start it again, compare with an undisturbed run.

    python -m benchmarks.faults --kills 200

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
import time
from dataclasses import dataclass, fields
from pathlib import Path

import tyro

from benchmarks import killing
from benchmarks.killing import STEPS, Step
from benchmarks.sameness import annotations, not_whole, unlike


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


def torment(
    step: Step,
    begun: Path,
    reference: Path,
    work: Path,
    moments: list[float],
    draw: random.Random,
    outcome: Outcome,
) -> list[str]:
    """Kill a step at each of the moments, let it end, compare; a line a fault.

    begun: the cohort as the step found it. reference: as it left it, undisturbed.
    """
    killing.copy(begun, work)
    orphans: list[int] = []
    lines = []
    try:
        for moment in moments:
            left = orphans if draw.random() < 0.5 else None
            was_running, acknowledged = killing.kill(step, work, moment, left)
            outcome.kills += was_running
            outcome.too_late += not was_running
            gt_new = work / "data" / "gt" / "new"
            lost = [i for i in acknowledged if not (gt_new / f"{i}_bin.png").exists()]
            broken = not_whole(work)
            outcome.lost += len(lost)
            outcome.broken += len(broken)
            lines += [f"called saved, and lost: {i}" for i in lost]
            lines += [f"not whole: {name}" for name in broken]
        killing.finish(step, work)
    finally:
        killing.end(orphans)
    files, differing, temporary = unlike(reference, work)
    lost, doubled = annotations(work / "data" / "gt", packed=step != "annotator")
    outcome.files += files
    outcome.differing += len(differing)
    outcome.temporary += len(temporary)
    outcome.lost += len(lost)
    outcome.doubled += len(doubled)
    return [
        *lines,
        *(f"differs: {name}" for name in differing),
        *(f"temporary: {name}" for name in temporary),
        *(f"annotation lost: {i}" for i in lost),
        *(f"annotation doubled: {i}" for i in doubled),
    ]


def main(options: Options) -> int:
    """Print a line a step; 1 where something is lost, doubled, left or different."""
    draw = random.Random(options.seed)
    total = Outcome()
    with tempfile.TemporaryDirectory() as name:
        reference, begun, work = (Path(name) / x for x in ("whole", "begun", "work"))
        reference.mkdir()
        last = max(list(STEPS).index(step) for step in options.steps)
        for number, step in enumerate(list(STEPS)[: last + 1]):
            killing.prepare(step, reference)
            killing.copy(reference, begun)
            seconds = killing.finish(step, reference)
            if step not in options.steps:
                continue
            began = time.monotonic()
            outcome = Outcome()
            left = len([s for s in list(STEPS)[number:] if s in options.steps])
            while outcome.kills < max(1, round((options.kills - total.kills) / left)):
                moments = killing.moments(draw, seconds)
                for line in torment(
                    step, begun, reference, work, moments, draw, outcome
                ):
                    print(f"{step}, killed after {moments} s: {line}", flush=True)
            took = time.monotonic() - began
            print(
                f"{step}: {seconds:.1f} s, {took:.0f} s in all, {outcome}", flush=True
            )
            total.add(outcome)
    print(f"{total.kills} kills, {total.files} files compared, {total.faults} faults")
    return 1 if total.faults else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
