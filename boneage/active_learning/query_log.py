"""queries.jsonl: what was asked, what was answered, and when.

An append-only file, one JSON object a line. Actions: `asked`; `annotated`, a mask was
drawn or corrected; in the browser also `accepted`, the proposal was saved as it was,
`skipped`, and `flagged` as not usable. Lines from the browser also have the Dice of
proposal and saved mask, and who drew it (`annotator`) where people log in.
"""

import contextlib
import datetime
import json
from collections.abc import Collection
from pathlib import Path

from boneage.active_learning.oracle import Query
from boneage.ids import RadiographId
from boneage.io.files import append_line
from boneage.io.locks import file_lock

ANSWERS = ("annotated", "accepted", "flagged")
"""Actions that answer a query."""

KEYS = {"action", "id", "round", "score", "measure"}
"""What every line has; one without was not written here."""


def timestamp() -> str:
    """The time as the log has it; two of them compare in the order of time."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class QueryLog:
    """Appends to the file, and reads it."""

    def __init__(
        self, path: Path, measure: str | None = None, annotator: str = ""
    ) -> None:
        """Log to `path`; `measure` chose the queries, where that is known.

        annotator: who acts; empty where nobody has logged in.
        """
        self.path = path
        self.measure = measure
        self.annotator = annotator

    def log_asked(self, queries: list[Query]) -> None:
        """Log queries, each once a round however often the program is started."""
        known = {
            (line["id"], line["round"])
            for line in self.entries()
            if line["action"] == "asked"
        }
        new = [q for q in queries if (q.radiograph_id, q.round) not in known]
        self._append([self._line(query, "asked") for query in new])

    def log_answers(
        self, annotated_ids: Collection[RadiographId], seconds: float | None = None
    ) -> None:
        """Log the answers among `annotated_ids` that are not logged yet.

        seconds: what all of them took together; None where nobody waited for them.
        """
        open_queries: dict[RadiographId, Query] = {}
        for line in self.entries():
            if line["action"] == "asked":
                query = Query(line["id"], line["score"], line["round"])
                open_queries[query.radiograph_id] = query
            elif line["action"] in ANSWERS:
                open_queries.pop(line["id"], None)
        ids = set(annotated_ids)
        answered = [query for i, query in open_queries.items() if i in ids]
        if answered and seconds is not None:
            seconds /= len(answered)
        self._append([self._line(query, "annotated", seconds) for query in answered])

    def log_action(
        self,
        query: Query,
        action: str,
        seconds: float | None,
        proposal_shown: bool,
        dice: float | None = None,
    ) -> None:
        """Log what a person did about one query in the browser.

        seconds: between showing it and the action. dice: of the proposal and the saved
        mask; None where one is missing.
        """
        line = self._line(query, action, seconds)
        line |= {"dice": None if dice is None else round(dice, 5)}
        if not proposal_shown:
            line["proposal"] = None
        self._append([line])

    def entries(self) -> list[dict]:
        """All lines, oldest first; none without the file."""
        if not self.path.exists():
            return []
        entries = []
        for line in self.path.read_text(errors="replace").splitlines():
            # a process killed while it wrote leaves half a line
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.keys() >= KEYS:
                    entries.append(entry)
        return entries

    def asked(self) -> dict[RadiographId, Query]:
        """The latest query about each radiograph, by id."""
        return {
            line["id"]: Query(line["id"], line["score"], line["round"], line["measure"])
            for line in self.entries()
            if line["action"] == "asked"
        }

    def _line(self, query: Query, action: str, seconds: float | None = None) -> dict:
        line = {
            "time": timestamp(),
            "round": query.round,
            "id": query.radiograph_id,
            "measure": query.measure or self.measure,
            "score": query.score,
            "proposal": f"{query.radiograph_id}_proposal.png",
            "action": action,
            "seconds": None if seconds is None else round(seconds, 2),
        }
        return line | ({"annotator": self.annotator} if self.annotator else {})

    def _append(self, lines: list[dict]) -> None:
        if lines:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            with file_lock(self.path):
                append_line(self.path, text)
