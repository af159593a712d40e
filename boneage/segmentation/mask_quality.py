"""quality.csv: a row for every mask of a folder, written as the masks are."""

import csv
import functools
import io
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.cli import list_some
from boneage.ids import RadiographId, is_id, parse_id, sort_ids
from boneage.io import radiographs
from boneage.io.files import append_line, atomic_write
from boneage.io.radiographs import Mask
from boneage.layout import Layout
from boneage.parallel import ALL_CORES, Skipped, Workers
from boneage.segmentation import hand_shape, image_quality
from boneage.segmentation.coarse import implausibilities
from boneage.segmentation.hand_shape import HandShape


@dataclass(frozen=True)
class MaskQuality:
    """What is known of one mask without anybody looking at it.

    source: otsu or published, the committee and its epoch, or person. committee: the
    committee's hash, empty for other sources. area_fraction: of the radiograph.
    disagreement: one minus the members' mean pairwise Dice, empty for other sources.
    flags: `coarse.implausibilities` and `radiograph_flags`, separated by
    semicolons.
    """

    id: RadiographId
    source: str
    committee: str
    area_fraction: str
    disagreement: str
    flags: str


COLUMNS = tuple(field.name for field in fields(MaskQuality))


def assess(
    radiograph_id: RadiographId, source: str, mask: Mask, radiograph: np.ndarray
) -> MaskQuality:
    """Describe a mask that no committee made.

    radiograph: of the mask's proportions, of any size.
    """
    flags = implausibilities(mask)
    if mask.any():
        contrast = image_quality.hand_contrast(radiograph, mask)
        flags += radiograph_flags(contrast, hand_shape.measure(mask))
    return MaskQuality(
        radiograph_id,
        source,
        committee="",
        area_fraction=f"{np.count_nonzero(mask) / mask.size:.4f}",
        disagreement="",
        flags="; ".join(flags),
    )


def assess_committee_mask(
    radiograph_id: RadiographId,
    epoch: int,
    committee_hash: str,
    mask: Mask,
    disagreement: float,
    radiograph: np.ndarray,
) -> MaskQuality:
    """Describe a mask of the committee; `radiograph` as in `assess`."""
    return replace(
        assess(radiograph_id, f"committee, epoch {epoch}", mask, radiograph),
        committee=committee_hash,
        disagreement=f"{disagreement:.4f}",
    )


class QualityTable:
    """Rows by id; each is on disk as soon as it is added, sorted when closed."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Go on from the rows in `path`; with `overwrite`, start with none."""
        self.path = path
        self.rows: dict[RadiographId, MaskQuality] = {}
        if path.exists() and not overwrite:
            # the masks of a line that a killed process tore, and of damaged lines,
            # are made again
            whole = path.read_text(errors="replace").rpartition("\n")[0]
            for row in list(csv.reader(whole.splitlines()))[1:]:
                if len(row) == len(COLUMNS) and is_id(row[0]):
                    radiograph_id = parse_id(row[0])
                    self.rows[radiograph_id] = MaskQuality(radiograph_id, *row[1:])
        self._has_grown = False

    def source(self, radiograph_id: RadiographId) -> str | None:
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

    def implausible_line(self) -> str:
        """The summary's line on implausible masks: how many, and which."""
        ids = [i for i in sort_ids(self.rows) if self.rows[i].flags]
        which = f": {list_some(ids)} (see {self.path.name})" if ids else ""
        return f"{len(ids)} implausible masks{which}"

    def committees(self, ids: Collection[RadiographId]) -> list[str]:
        """Hashes of the committees that made the masks of `ids`, sorted."""
        wanted = set(ids)
        made_by = {row.committee for i, row in self.rows.items() if i in wanted}
        return sorted(made_by - {""})

    def outdated_lines(self, epoch: int, committee_hash: str) -> list[str]:
        """A summary line where masks are of another committee than the present one.

        epoch, committee_hash: of the present one.
        """
        old = [
            row
            for row in self.rows.values()
            if row.committee not in ("", committee_hash)
        ]
        if not old:
            return []
        sources = " and ".join(sorted({row.source for row in old}))
        return [
            f"{len(old)} masks are of another committee ({sources}) than the present "
            f"one (epoch {epoch}); --overwrite replaces them"
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
            writer.writerows(astuple(self.rows[i]) for i in sort_ids(self.rows))


def radiograph_flags(contrast: float, shape: HandShape | None) -> list[str]:
    """Flags of the radiograph by its mask: inverted, rotated, cut off.

    contrast: `image_quality.hand_contrast`. shape: of the mask; None where it is too
    small, of which `implausibilities` warns.
    """
    missing = [] if shape is None else hand_shape.missing_parts(shape)
    return _negative(contrast) + (_turned(shape) or missing)


def display_lines(
    layout: Layout, ids: Sequence[RadiographId], workers: Workers = ALL_CORES
) -> list[str]:
    """A summary line on negatives and turned hands: how many, and which.

    Judged by the final mask, else by the coarse one; radiographs without a readable
    mask are left out.
    """
    masked = [i for i in ids if _newest_mask(layout, i) is not None]
    check = functools.partial(_display_flags, layout)
    which = [
        f"{radiograph_id} ({' and '.join(flags)})"
        for radiograph_id, flags in parallel.imap(check, masked, workers, "orientation")
        if flags and not isinstance(flags, Skipped)
    ]
    if not which:
        return []
    return [f"turned or negative radiographs, {len(which)}: {list_some(which)}"]


def _newest_mask(layout: Layout, radiograph_id: RadiographId) -> Path | None:
    paths = layout.mask(radiograph_id), layout.coarse_mask(radiograph_id)
    return next((path for path in paths if path.exists()), None)


def _display_flags(layout: Layout, radiograph_id: RadiographId) -> list[str]:
    radiograph = radiographs.read(layout.radiograph(radiograph_id))
    path = _newest_mask(layout, radiograph_id)
    mask = None if path is None else radiographs.read_mask(path, radiograph.shape)
    if mask is None or not mask.any():
        return []
    contrast = image_quality.hand_contrast(radiograph, mask)
    return _negative(contrast) + _turned(hand_shape.measure(mask))


def _negative(contrast: float) -> list[str]:
    return ["a negative"] if contrast < 0 else []


def _turned(shape: HandShape | None) -> list[str]:
    # a hand of two fingers has no direction to speak of
    if shape is None or len(shape.angles) < 4 or abs(shape.tilt) <= 45:
        return []
    return [f"turned by {shape.tilt:.0f} degrees"]
