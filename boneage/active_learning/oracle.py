"""Who answers the committee's queries."""

import enum
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boneage.errors import InputError
from boneage.ids import RadiographId
from boneage.io import radiographs
from boneage.io.files import read_json
from boneage.layout import STATE_JSON, Layout
from boneage.segmentation.dice import known_masks


@dataclass(frozen=True)
class Query:
    """One radiograph that the committee asks about.

    score, round, measure: None where a person put the radiograph into gt/new unasked.
    """

    radiograph_id: RadiographId
    score: float | None
    round: int | None
    measure: str | None = None


class Decision(enum.Enum):
    """What the oracle wants once it has answered."""

    CONTINUE = "train and ask again"
    STOP_ASKING = "train the remaining epochs without asking again"
    STOP_TRAINING = "stop here and go on another day"


class Oracle(Protocol):
    """Answers queries by writing masks `<id>_bin.png` into gt/new.

    answerable_ids: the radiographs that it can annotate; None for all.
    """

    answerable_ids: set[RadiographId] | None

    def annotate(self, queries: list[Query]) -> Decision:
        """Annotate what it can of `queries`, and decide how to go on."""
        ...


PROMPT = "Enter: continue, s: save a copy, f: train without asking again, q: quit: "
DECISIONS = {
    "": Decision.CONTINUE,
    "f": Decision.STOP_ASKING,
    "q": Decision.STOP_TRAINING,
}
"""What a person types at the prompt."""


class FolderOracle:
    """A person who draws masks with any program into gt/new, asked at a prompt."""

    def __init__(self, layout: Layout, ask: Callable[[str], str] = input) -> None:
        """`ask` reads one line."""
        self.layout = layout
        self.ask = ask
        self.answerable_ids = None

    def annotate(self, queries: list[Query]) -> Decision:
        """Name the queries and wait for the person's decision."""
        ids = ", ".join(str(query.radiograph_id) for query in queries)
        print(f"please draw <id>_bin.png in {self.layout.new} for: {ids}")
        if any(self.layout.proposal(query.radiograph_id).exists() for query in queries):
            print("(<id>_proposal.png there is the committee's own mask)")
        while True:
            try:
                answer = self.ask(PROMPT).strip().lower()
            except EOFError:
                print("nobody at the prompt: stopping here", file=sys.stderr)
                return Decision.STOP_TRAINING
            if answer in DECISIONS:
                return DECISIONS[answer]
            if answer == "s":
                print(_save_copy(self.layout.committee))
            else:
                print(f"please press Enter, s, f or q (got {answer!r})")


class SimulatedOracle:
    """Answers from a folder of known masks, as a person would by drawing them."""

    def __init__(self, layout: Layout, truth: Path) -> None:
        """Raises InputError where `truth` holds no `<id>_bin.png`."""
        self.layout = layout
        self.known = known_masks(truth)
        self.answerable_ids = set(self.known)

    def annotate(self, queries: list[Query]) -> Decision:
        """Copy the masks of `queries` into gt/new."""
        for query in queries:
            known = self.known.get(query.radiograph_id)
            answer = self.layout.answer(query.radiograph_id)
            if known is not None and not answer.exists():
                radiographs.write(answer, radiographs.read_mask(known))
        return Decision.CONTINUE


def _save_copy(committee: Path) -> str:
    """Copy the committee as it is after this epoch into a folder of its own."""
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
