"""queries.jsonl: what was asked, what was answered, and when."""

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

    def append(self, query: Query, action: str, seconds: float | None = None) -> None:
        """Add a line; `seconds` is what an answer took, None where nobody measured."""
        entry = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "round": query.round,
            "id": query.radiograph_id,
            "measure": self.measure,
            "score": query.score,
            "proposal": f"{query.radiograph_id}_proposal.png",
            "action": action,
            "seconds": None if seconds is None else round(seconds, 2),
        }
        with only_one(self.path), self.path.open("a") as log:
            log.write(json.dumps(entry) + "\n")

    def answered_meanwhile(self, annotated: np.ndarray) -> None:
        """Log the answers among the `annotated` ids that came while nobody waited."""
        if not self.path.exists():
            return
        asked: dict[int, Query] = {}
        for line in self.path.read_text().splitlines():
            entry = json.loads(line)
            if entry["action"] == "asked":
                query = Query(entry["id"], entry["score"], entry["round"])
                asked[query.radiograph_id] = query
            else:
                asked.pop(entry["id"], None)
        for radiograph_id, query in asked.items():
            if radiograph_id in annotated:
                self.append(query, "annotated")
