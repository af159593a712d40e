"""quality.csv: a row for every mask of a folder, written as the masks are."""

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from boneage.cli import list_some
from boneage.io.files import append_line, atomic_write
from boneage.io.radiographs import Mask
from boneage.segmentation.coarse import implausibilities


@dataclass(frozen=True)
class MaskQuality:
    """What is known of one mask without anybody looking at it.

    source: otsu or published, the committee and its epoch, or person. area_fraction:
    of the radiograph. disagreement: one minus the members' mean pairwise Dice, empty
    where no committee was asked. flags: suspicions, separated by semicolons; empty
    where there is none.
    """

    id: int
    source: str
    area_fraction: str
    disagreement: str
    flags: str


COLUMNS = tuple(field.name for field in fields(MaskQuality))


def assess(
    radiograph_id: int, source: str, mask: Mask, disagreement: float | None = None
) -> MaskQuality:
    """Describe a mask."""
    return MaskQuality(
        radiograph_id,
        source,
        f"{np.count_nonzero(mask) / mask.size:.4f}",
        "" if disagreement is None else f"{disagreement:.4f}",
        "; ".join(implausibilities(mask)),
    )


def source_of(epoch: int) -> str:
    """What the table's column says of a mask of the committee after this epoch."""
    return f"committee, epoch {epoch}"


class QualityTable:
    """Rows by id; each is on disk as soon as it is added, sorted when closed."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Go on from the rows in `path`; with `overwrite`, begin anew."""
        self.path = path
        self.rows: dict[int, MaskQuality] = {}
        if path.exists() and not overwrite:
            # a killed process may leave the last line torn: done again then
            # whatever else is damaged is done again as well
            whole = path.read_text(errors="replace").rpartition("\n")[0]
            for row in list(csv.reader(whole.splitlines()))[1:]:
                if len(row) == len(COLUMNS) and row[0].isdecimal():
                    self.rows[int(row[0])] = MaskQuality(int(row[0]), *row[1:])
        self._has_grown = False

    def source(self, radiograph_id: int) -> str | None:
        """Who made this mask; None where no row describes it."""
        row = self.rows.get(radiograph_id)
        return row.source if row else None

    def add(self, row: MaskQuality) -> None:
        """Append a row."""
        if not self._has_grown:  # nothing is left behind where nothing is added
            self._rewrite()
            self._has_grown = True
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(astuple(row))
        append_line(self.path, text.getvalue())
        self.rows[row.id] = row

    def suspicious(self) -> str:
        """A summary's line: how many masks are suspicious, and which."""
        ids = [i for i, row in sorted(self.rows.items()) if row.flags]
        which = f": {list_some(ids)} (see {self.path.name})" if ids else ""
        return f"{len(ids)} suspicious{which}"

    def other_committees(self, epoch: int) -> list[str]:
        """A line of warning where masks come from the committee at another epoch.

        epoch: the committee's own by now.
        """
        sources = {row.source for row in self.rows.values()} - {"person"}
        if sources <= {source_of(epoch)}:
            return []
        return [
            f"masks of {' and '.join(sorted(sources))}, now the committee is at epoch "
            f"{epoch}: --overwrite makes them anew"
        ]

    def close(self) -> None:
        """Rewrite the file in the order of ids."""
        if self._has_grown:
            self._rewrite()

    def _rewrite(self) -> None:
        with (
            atomic_write(self.path) as temporary,
            temporary.open("w", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(astuple(row) for _, row in sorted(self.rows.items()))
