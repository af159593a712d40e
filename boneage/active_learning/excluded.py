"""unusable.csv: radiographs that a person flagged as not usable, and when.

Its one writer is the annotator. A flagged radiograph is not asked about again and not
trained on; taking its line out of the file brings it back.
"""

import csv
import datetime

from boneage.errors import InputError
from boneage.io.files import atomic_write
from boneage.io.locks import file_lock
from boneage.layout import Layout

COLUMNS = ("id", "time")


def flagged(layout: Layout) -> dict[int, str]:
    """Flagged ids and the time of their flag, oldest first; none without the file.

    Raises:
        InputError: the file is not what `flag` writes.
    """
    path = layout.unusable
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # a line taken out by hand may leave an empty one
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path}: expected a CSV file in UTF-8") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InputError(f"{path}: expected the columns {','.join(COLUMNS)}")
    wrong = [row for row in rows[1:] if len(row) != 2 or not row[0].isdecimal()]
    if wrong:
        raise InputError(f"{path}: expected id,time, found {','.join(wrong[0])}")
    return {int(radiograph_id): time for radiograph_id, time in rows[1:]}


def report(layout: Layout) -> list[str]:
    """The summary's line that lists them; none where none is flagged."""
    ids = ", ".join(str(i) for i in sorted(flagged(layout)))
    return [f"flagged as not usable: {ids}"] if ids else []


def flag(layout: Layout, radiograph_id: int) -> None:
    """Flag one radiograph; flagged already, it keeps its time."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with file_lock(layout.unusable):
        _write(layout, {radiograph_id: now} | flagged(layout))


def unflag(layout: Layout, radiograph_id: int) -> None:
    """Make one radiograph usable again."""
    with file_lock(layout.unusable):
        there = flagged(layout)
        if there.pop(radiograph_id, None) is not None:
            _write(layout, there)


def _write(layout: Layout, entries: dict[int, str]) -> None:
    with (
        atomic_write(layout.unusable) as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(sorted(entries.items(), key=lambda entry: entry[1]))
