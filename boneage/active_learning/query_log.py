"""queries.jsonl: what was asked, what was answered, and when.

An append-only file, one JSON object a line. Actions: `asked`; `annotated`, a mask was
drawn or corrected; in the browser also `accepted`, the proposal was saved as it was,
`skipped`, and `flagged` as not usable. Lines from the browser have the Dice between
proposal and saved mask as well.
"""

import contextlib
import datetime
import errno
import json
import os
from pathlib import Path

import numpy as np

from boneage.active_learning.oracle import Query
from boneage.io.files import name_oserror
from boneage.io.locks import file_lock

ANSWERS = ("annotated", "accepted", "flagged")
"""Actions after which nobody is waited for."""


NEEDED = {"action", "id", "round", "score", "measure"}
"""What every line has; one without was not written here."""


def now() -> str:
    """The time as the log has it: two of them compare as they follow each other."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class QueryLog:
    """Appends to the file, and reads it."""

    def __init__(self, path: Path, measure: str | None = None) -> None:
        """Log to `path`; `measure` chose the queries, where one is known."""
        self.path = path
        self.measure = measure

    def asked(self, queries: list[Query]) -> None:
        """Log queries, each once a round however often the program is started."""
        known = {(e["id"], e["round"]) for e in self.read() if e["action"] == "asked"}
        self._append(
            [q for q in queries if (q.radiograph_id, q.round) not in known], "asked"
        )

    def answered(self, annotated: np.ndarray, seconds: float | None) -> None:
        """Log the answers among the `annotated` ids that are not logged yet.

        seconds: what each took; None where nobody waited for them.
        """
        waiting: dict[int, Query] = {}
        for entry in self.read():
            if entry["action"] == "asked":
                query = Query(entry["id"], entry["score"], entry["round"])
                waiting[query.radiograph_id] = query
            elif entry["action"] in ANSWERS:
                waiting.pop(entry["id"], None)
        answered = [query for i, query in waiting.items() if i in annotated]
        self._append(answered, "annotated", seconds)

    def acted(
        self,
        query: Query,
        action: str,
        seconds: float,
        proposal_shown: bool,
        dice: float | None = None,
    ) -> None:
        """Log what a person did about one query at a page.

        seconds: between showing it and the action. dice: between the proposal and the
        saved mask; None where one is missing.
        """
        line = self._line(query, action, seconds)
        line |= {"dice": None if dice is None else round(dice, 5)}
        if not proposal_shown:
            line["proposal"] = None
        self._write([line])

    def read(self) -> list[dict]:
        """All lines, oldest first; none without the file."""
        if not self.path.exists():
            return []
        entries = []
        for line in self.path.read_text(errors="replace").splitlines():
            # a process killed while it wrote leaves half a line
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.keys() >= NEEDED:
                    entries.append(entry)
        return entries

    def _append(
        self, queries: list[Query], action: str, seconds: float | None = None
    ) -> None:
        self._write([self._line(query, action, seconds) for query in queries])

    def _line(self, query: Query, action: str, seconds: float | None) -> dict:
        return {
            "time": now(),
            "round": query.round,
            "id": query.radiograph_id,
            "measure": query.measure or self.measure,
            "score": query.score,
            "proposal": f"{query.radiograph_id}_proposal.png",
            "action": action,
            "seconds": None if seconds is None else round(seconds, 2),
        }

    def _write(self, lines: list[dict]) -> None:
        if lines:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            # unbuffered: a disk that is full says so here, and once
            with (
                file_lock(self.path),
                name_oserror(self.path),
                self.path.open("a+b", buffering=0) as log,
            ):
                # half a line may be left of a process killed while it wrote
                if log.tell():
                    log.seek(-1, os.SEEK_END)
                    text = text if log.read() == b"\n" else f"\n{text}"
                if log.write(text.encode()) < len(text.encode()):
                    raise OSError(errno.ENOSPC, "")
