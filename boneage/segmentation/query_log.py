"""queries.jsonl: what was asked, what was answered, and when."""

import contextlib
import datetime
import json
from pathlib import Path

import numpy as np

from boneage.files import only_one
from boneage.segmentation.oracle import Query


class QueryLog:
    """An append-only file; one JSON object a line, action `asked` or `annotated`."""

    def __init__(self, path: Path, measure: str) -> None:
        """Log to `path`; `measure` chose the queries."""
        self.path = path
        self.measure = measure

    def asked(self, queries: list[Query]) -> None:
        """Log queries, each once a round however often the program is started."""
        known = {(e["id"], e["round"]) for e in self._read() if e["action"] == "asked"}
        self._append(
            [q for q in queries if (q.radiograph_id, q.round) not in known], "asked"
        )

    def answered(self, annotated: np.ndarray, seconds: float | None) -> None:
        """Log the answers among the `annotated` ids that are not logged yet.

        seconds: what each took; None where nobody waited for them.
        """
        waiting: dict[int, Query] = {}
        for entry in self._read():
            if entry["action"] == "asked":
                query = Query(entry["id"], entry["score"], entry["round"])
                waiting[query.radiograph_id] = query
            else:
                waiting.pop(entry["id"], None)
        answered = [query for i, query in waiting.items() if i in annotated]
        self._append(answered, "annotated", seconds)

    def _read(self) -> list[dict]:
        if not self.path.exists():
            return []
        entries = []
        for line in self.path.read_text().splitlines():
            # a process killed while it wrote leaves half a line
            with contextlib.suppress(json.JSONDecodeError):
                entries.append(json.loads(line))
        return entries

    def _append(
        self, queries: list[Query], action: str, seconds: float | None = None
    ) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        lines = [
            json.dumps(
                {
                    "time": now,
                    "round": query.round,
                    "id": query.radiograph_id,
                    "measure": self.measure,
                    "score": query.score,
                    "proposal": f"{query.radiograph_id}_proposal.png",
                    "action": action,
                    "seconds": None if seconds is None else round(seconds, 2),
                }
            )
            for query in queries
        ]
        if lines:
            with only_one(self.path), self.path.open("a") as log:
                log.write("\n".join(lines) + "\n")
