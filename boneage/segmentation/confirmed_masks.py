"""confirmed_masks.csv: drawn masks that look like no hand, and that a person confirmed.

An inverted mask or a stray square would be learned as truth. Such a mask is set aside
unless it is listed here with the hash of its file: drawn again, it is checked again.
"""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from boneage.errors import InputError
from boneage.ids import RadiographId, parse_id
from boneage.io.files import append_line, name_oserror
from boneage.io.hdf5 import content_hash
from boneage.io.locks import file_lock
from boneage.io.radiographs import Mask
from boneage.layout import Layout
from boneage.segmentation.coarse import no_hand_reasons

COLUMNS = ("id", "mask_hash")
Confirmed = frozenset[tuple[RadiographId, int]]


def read_confirmed(path: Path) -> Confirmed:
    """Id and mask hash of each confirmed mask; none without the file.

    Raises:
        InputError: the file is not what `confirm` writes.
    """
    if not path.exists():
        return frozenset()
    rows = list(csv.reader(path.read_text(errors="replace").splitlines()))
    try:
        return frozenset((parse_id(name), int(value)) for name, value in rows[1:])
    except ValueError:
        raise InputError(
            f"{path} must have the columns {','.join(COLUMNS)}, an id and a number; "
            "mend or remove it"
        ) from None


def check_drawn_mask(
    radiograph_id: RadiographId, path: Path, mask: Mask, confirmed: Confirmed
) -> None:
    """Raise InputError for a mask that looks like no hand and is not confirmed.

    path: the file of `mask`, (row, column) uint8.
    """
    reasons = no_hand_reasons(mask)
    if reasons and (radiograph_id, content_hash(path.read_bytes())) not in confirmed:
        raise InputError(
            f"{path} looks like no hand ({', '.join(reasons)}); draw it again, or keep "
            f"it with step2_image_2_h5.py --confirm {radiograph_id}"
        )


def confirm(layout: Layout, ids: Sequence[RadiographId]) -> None:
    """Keep the drawn masks of these radiographs, whatever they look like.

    Raises:
        InputError: nobody drew a mask of one of them.
    """
    paths: dict[RadiographId, Path] = {}
    for radiograph_id in ids:
        mask_path = layout.annotation_path(radiograph_id)
        if mask_path is None:
            raise InputError(
                f"--confirm {radiograph_id} must name a radiograph with a mask in "
                f"{layout.new} or {layout.annotated} (got none); draw it first"
            )
        paths[radiograph_id] = mask_path
    path = layout.confirmed_masks
    with file_lock(path), name_oserror(path):
        known: Collection = read_confirmed(path)
        lines = [] if path.exists() else [",".join(COLUMNS)]
        for radiograph_id, mask_path in paths.items():
            entry = radiograph_id, content_hash(mask_path.read_bytes())
            if entry not in known:
                lines.append("{},{}".format(*entry))
        if lines:
            append_line(path, "".join(f"{line}\n" for line in lines))
