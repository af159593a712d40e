"""CSV and JSON files of predictions, written while these are made.

What has been predicted is in both files at once, and both can be read at any moment:
the CSV file gets one row after the other, the JSON file each record and all that closes
the document after it. A program that is killed leaves them so.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boneage.errors import printable
from boneage.io.files import append_line, atomic_write, name_oserror
from boneage.parallel import Skipped
from boneage.prediction.record import STATEMENT, Prediction
from boneage.reporting import formats

if TYPE_CHECKING:
    from boneage.prediction.predictor import Predictor
    from boneage.reporting.follow_up import FollowUp


class CsvFile:
    """A row for each radiograph, in the order in which they are added."""

    def __init__(self, path: Path) -> None:
        """Begin the file, in place of one that may be there.

        Raises:
            OSError: it cannot be written; so does every other call.
        """
        self._path = path
        with atomic_write(path) as temporary:
            append_line(temporary, _csv_line(formats.COLUMNS))

    def add(self, outcome: Prediction | Skipped) -> None:
        """Write a row."""
        append_line(self._path, _csv_line(formats.csv_row(outcome)))


def _csv_line(cells: Sequence[str | float]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    # a name that is no UTF-8 must not cost the table
    return text.getvalue().encode(errors="backslashreplace").decode()


class JsonFile:
    """One JSON object: `radiographs`, `skipped`, the models' facts.

    Its `complete` is false until all radiographs have been read.
    """

    def __init__(self, path: Path, predictor: Predictor) -> None:
        """Begin the file, in place of one that may be there.

        Raises:
            OSError: it cannot be written; so does every other call.
        """
        self._path, self._count = path, 0
        facts = {"statement": STATEMENT, **formats.model_facts(predictor)}
        head = json.dumps(facts, indent=2).removesuffix("\n}")
        head += ',\n  "radiographs": ['
        # where the next record goes, and what has to come after it
        self._place, self._tail = len(head.encode()), _json_tail([])
        with atomic_write(path) as temporary:
            temporary.write_bytes(head.encode() + self._tail)

    def add(self, prediction: Prediction, skipped: Sequence[Skipped]) -> None:
        """Write a record, and what has been set aside so far."""
        text = json.dumps(formats.to_record(prediction), indent=2)
        record = "," * (self._count > 0) + "\n" + textwrap.indent(text, "    ")
        self._write(record.encode(), _json_tail(skipped))
        self._count += 1

    def close(
        self,
        skipped: Sequence[Skipped],
        children: Sequence[FollowUp] | None,
        is_complete: bool,
    ) -> None:
        """Write what was set aside, and the children with several radiographs.

        children: None where these are not wanted.
        """
        self._write(b"", _json_tail(skipped, children, is_complete))

    def _write(self, record: bytes, tail: bytes) -> None:
        """Add a record in one call, so that a kill comes before or after it."""
        with name_oserror(self._path), self._path.open("r+b", buffering=0) as file:
            file.seek(self._place)
            if file.write(record + tail) < len(record + tail):
                # the disk is full: as it was before
                file.seek(self._place)
                file.write(self._tail)
                file.truncate()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file.truncate()
        self._place, self._tail = self._place + len(record), tail


def _json_tail(
    skipped: Sequence[Skipped],
    children: Sequence[FollowUp] | None = None,
    is_complete: bool = False,
) -> bytes:
    content: dict = {
        "skipped": [
            {"file": printable(item.item), "reason": item.reason} for item in skipped
        ]
    }
    if children is not None:
        content["follow_up"] = [child.to_record() for child in children]
    content["complete"] = is_complete
    return f"\n  ],{json.dumps(content, indent=2).removeprefix('{')}\n".encode()
