"""unusable.csv: radiographs that a person flagged as not usable, and when.

Only the annotator writes it. A flagged radiograph is not queried again, not
segmented, and not trained on; removing its line from the file brings it back.
"""

import csv
import datetime
from collections.abc import Collection

from boneage.errors import InputError
from boneage.ids import RadiographId, is_id, parse_id, sort_ids
from boneage.io.files import atomic_write
from boneage.io.locks import file_lock
from boneage.layout import Layout

COLUMNS = ("id", "time")


def flagged(layout: Layout) -> dict[RadiographId, str]:
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
        raise InputError(
            f"{path} must be a CSV file in UTF-8; mend or remove it"
        ) from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InputError(
            f"{path} must have the columns {','.join(COLUMNS)}; mend or remove it"
        )
    wrong = [row for row in rows[1:] if len(row) != 2 or not is_id(row[0])]
    if wrong:
        raise InputError(
            f"{path} must have an id and a time in every line (got "
            f"{','.join(wrong[0])}); mend the line"
        )
    return {parse_id(name): time for name, time in rows[1:]}


def usable_ids(layout: Layout) -> list[RadiographId]:
    """Ids of the radiographs that are not flagged, ascending.

    Raises:
        InputError: there are none, or unusable.csv is damaged.
    """
    left_out = flagged(layout)
    ids = [i for i in layout.ids_on_disk() if i not in left_out]
    if not ids:
        raise InputError(
            f"{layout.unusable} cannot flag every radiograph; remove a line there"
        )
    return ids


def flagged_lines(ids: Collection[RadiographId]) -> list[str]:
    """The summary's line that lists flagged ids; none where none is flagged."""
    listed = ", ".join(str(i) for i in sort_ids(ids))
    return [f"flagged as not usable: {listed}"] if listed else []


def flag(layout: Layout, radiograph_id: RadiographId) -> None:
    """Flag one radiograph; flagged already, it keeps its time."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with file_lock(layout.unusable):
        _write(layout, {radiograph_id: now} | flagged(layout))


def unflag(layout: Layout, radiograph_id: RadiographId) -> None:
    """Make one radiograph usable again."""
    with file_lock(layout.unusable):
        entries = flagged(layout)
        if entries.pop(radiograph_id, None) is not None:
            _write(layout, entries)


def _write(layout: Layout, entries: dict[RadiographId, str]) -> None:
    with (
        atomic_write(layout.unusable) as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        by_time = sorted(entries.items(), key=lambda entry: entry[1])
        writer.writerows(by_time)
