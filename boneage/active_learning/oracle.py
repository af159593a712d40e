"""Who answers the committee's queries."""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.io.files import read_json
from boneage.layout import STATE_JSON, Layout
from boneage.segmentation import dice


@dataclass(frozen=True)
class Query:
    """One radiograph that the committee asks about.

    score, round, measure: None where somebody laid the radiograph there unasked.
    """

    radiograph_id: int
    score: float | None
    round: int | None
    measure: str | None = None


class StopAsking(Exception):
    """The oracle wants the remaining epochs trained without being asked again."""


class StopTraining(Exception):
    """The oracle wants to stop here and go on another day."""


class Oracle(Protocol):
    """Answers queries by laying masks `<id>_bin.png` into gt/new."""

    def annotate(self, queries: list[Query]) -> int:
        """Return how many of `queries` have a mask now.

        Raises:
            FinishAsking: train on without asking again.
            Leave: stop; everything is saved.
        """
        ...


class FolderOracle:
    """A person who draws masks with any program into gt/new, asked at a prompt."""

    PROMPT = "Enter goes on, s saves, f finishes without asking again, q leaves: "

    def __init__(self, layout: Layout, ask: Callable[[str], str] = input) -> None:
        """`ask` reads one line."""
        self.layout = layout
        self.ask = ask

    def annotate(self, queries: list[Query]) -> int:
        """Name the queries, wait for the person, count the masks."""
        ids = ", ".join(str(query.radiograph_id) for query in queries)
        print(f"please draw <id>_bin.png in {self.layout.new} for: {ids}")
        if any(self.layout.proposal(query.radiograph_id).exists() for query in queries):
            print("(<id>_proposal.png there is the committee's own mask)")
        while True:
            try:
                answer = self.ask(self.PROMPT).strip().lower()
            except EOFError:
                print("nobody at the prompt; leaving", file=sys.stderr)
                raise StopTraining from None
            if answer == "q":
                raise StopTraining
            if answer == "f":
                raise StopAsking
            if answer == "s":
                print(_save_copy(self.layout.committee))
            elif answer == "":
                return sum(_has_mask(self.layout, query) for query in queries)
            else:
                print(f"{answer!r} is none of Enter, s, f, q")


class SimulatedOracle:
    """Answers from a folder of known masks, as a person would by drawing them."""

    def __init__(self, layout: Layout, truth: Path) -> None:
        """Raises InputError where `truth` holds no `<id>_bin.png`."""
        self.layout = layout
        self.known = dice.known_masks(truth)

    def annotate(self, queries: list[Query]) -> int:
        """Copy the masks of `queries` into gt/new."""
        answerable = [q for q in queries if q.radiograph_id in self.known]
        for query in answerable:
            known = self.known[query.radiograph_id]
            target = self.layout.answer(query.radiograph_id)
            if not target.exists():
                radiographs.write(target, radiographs.read_mask(known))
        return len(answerable)


def _save_copy(committee: Path) -> str:
    """Keep the committee as it is after this epoch in a folder of its own."""
    try:
        epoch = read_json(committee / STATE_JSON, "this step")["epoch"]
    except InputError:
        return "nothing is trained yet"
    folder = committee / f"saved_epoch_{epoch}"
    folder.mkdir(exist_ok=True)
    for path in committee.glob("*.*"):
        if path.is_file():
            shutil.copy(path, folder)
    return f"saved {folder}"


def _has_mask(layout: Layout, query: Query) -> bool:
    return layout.answer(query.radiograph_id).exists()


def timed(oracle: Oracle, queries: list[Query]) -> tuple[int, float]:
    """Ask, and say how many masks came and after how many seconds."""
    start = time.monotonic()
    return oracle.annotate(queries), time.monotonic() - start
