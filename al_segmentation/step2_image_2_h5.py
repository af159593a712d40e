"""Pack radiographs and annotations for the committee: square, equalised, small.

Reads   --pool annotated: data/gt/annotated/<id>_ori.png, <id>_bin.png
        --pool unannotated: data/boneage-training-dataset/<id>.png
        --pool new: data/gt/new/<id>.png, <id>_bin.png
Writes  data/gt/annotated.h5 (new: the finished pairs are appended, each exactly once;
        a bad pair is named and stays), data/gt/unannotated.h5; --confirm:
        data/gt/confirmed_masks.csv

    python al_segmentation/step2_image_2_h5.py --pool new
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from boneage import cli, parallel
from boneage.active_learning import dataset
from boneage.cohort import excluded
from boneage.ids import RadiographId
from boneage.segmentation import confirmed_masks


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """What to pack, and how."""

    paths: cli.Paths
    processing: cli.Processing
    pool: Literal["annotated", "unannotated", "new"] = "new"
    """radiographs to pack"""
    size: int = 256
    """side of the packed images, px; with --pool new, that of annotated.h5"""
    clip_limit: float = 0.03
    """contrast limit of CLAHE; 0 for none; with --pool new, that of annotated.h5"""
    confirm: Annotated[tuple[RadiographId, ...], cli.IDS] = ()
    """ids of drawn masks to keep although they look like no hand"""


def main(options: Options) -> None:
    """Pack one pool."""
    layout = options.layout
    confirmed_masks.confirm(layout, options.confirm)
    if options.pool == "new":
        packed = dataset.append_new_pairs(layout)
        written = layout.annotated_h5
    elif options.pool == "annotated":
        packed = dataset.pack_annotated(
            layout, options.size, options.clip_limit, options.workers
        )
        written = layout.annotated_h5
    else:
        packed = dataset.pack_unannotated(
            layout, options.size, options.clip_limit, options.workers
        )
        written = layout.unannotated_h5
    waiting = f"waiting for a mask: {cli.list_some(packed.waiting)}"
    cli.summary(
        *parallel.skipped_lines(packed.skipped),
        *([waiting] if packed.waiting else []),
        *excluded.flagged_lines(excluded.flagged(layout)),
        f"{len(packed.added)} packed, {len(packed.skipped)} set aside",
        wrote=written,
    )


if __name__ == "__main__":
    cli.run(main, Options)
