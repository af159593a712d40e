"""state.json and history.csv: what is needed to go on with a committee's training."""

import csv
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from boneage.active_learning.oracle import Query
from boneage.active_learning.settings import CommitteeSettings
from boneage.ids import RadiographId
from boneage.io.files import atomic_write
from boneage.layout import HISTORY_CSV


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, a row of history.csv.

    asked: how many radiographs were chosen. pool_score: the measure's mean over the
    pool; None where nobody is asked or chance chooses. test_dice: the committee's mean
    Dice on its test part.
    """

    epoch: int
    training_pairs: int
    pool: int
    asked: int
    measure: str
    pool_score: float | None
    loss: float
    test_dice: float
    seconds: float


@dataclass(frozen=True)
class State:
    """The content of state.json.

    began: when training began, as in the query log. committee_hash: of the members'
    weights. queries: what was chosen after the last epoch.
    """

    began: str
    epoch: int
    committee_hash: str
    members: int
    clip_limit: float
    settings: CommitteeSettings
    test_ids: list[RadiographId]
    trained_ids: list[RadiographId]
    queries: list[Query]
    history: list[EpochRecord]

    @classmethod
    def from_facts(cls, facts: dict) -> "State | None":
        """Read state.json; None for the one of a committee that was exported."""
        try:
            typed = {
                "settings": CommitteeSettings(**facts["settings"]),
                "queries": [Query(**query) for query in facts["queries"]],
                "history": [EpochRecord(**record) for record in facts["history"]],
            }
            return cls(**facts | typed)
        # a field is missing, unknown, or of another type
        except (KeyError, TypeError):
            return None

    def facts(self) -> dict:
        """What state.json holds."""
        return asdict(self)


def write_history(folder: Path, history: list[EpochRecord]) -> None:
    """Write history.csv, a row an epoch; None is an empty cell."""
    with (
        atomic_write(folder / HISTORY_CSV) as temporary,
        temporary.open("w", newline="") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(EpochRecord))
        rows.writerows(astuple(record) for record in history)
