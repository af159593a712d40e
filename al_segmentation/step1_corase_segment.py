"""Cut coarse hand masks with Otsu's threshold and the giant component.

Reads   data/boneage-training-dataset/<id>.png
Writes  data/segmented_hand_al/<id>_bin.png (mask), <id>_seg.png (the radiograph under
        it) and quality.csv (size of each mask, and what makes it implausible)

    python al_segmentation/step1_corase_segment.py
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import cv2

from boneage import cli, parallel
from boneage.ids import RadiographId
from boneage.io import radiographs
from boneage.io.locks import exclusive
from boneage.layout import Layout
from boneage.segmentation import coarse, dice, mask_quality


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """How to threshold."""

    paths: cli.Paths
    processing: cli.Processing
    published: bool = False
    """published method: brighten, Otsu x 0.9, dilate, largest component"""
    truth: Path | None = None
    """folder of known masks <id>_bin.png, to report the Dice with"""
    overwrite: bool = False
    """replace existing masks"""


METHODS = {"otsu": coarse.coarse_mask, "published": coarse.published_coarse_mask}


def segment(
    layout: Layout, method: str, radiograph_id: RadiographId
) -> mask_quality.MaskQuality:
    """Write the coarse mask and hand of one radiograph, and describe the mask."""
    radiograph = radiographs.read(layout.radiograph(radiograph_id))
    mask = METHODS[method](radiograph)
    hand = cv2.bitwise_and(radiograph, radiograph, mask=mask)
    radiographs.write(layout.coarse_hand(radiograph_id), hand)
    radiographs.write(layout.coarse_mask(radiograph_id), mask)
    return mask_quality.assess(radiograph_id, method, mask, radiograph)


def main(options: Options) -> None:
    """Segment every radiograph that has no coarse mask yet."""
    # where there is none, nothing is left behind, no lock either
    ids = options.layout.ids_on_disk()
    with exclusive(options.layout.coarse):
        segment_all(options, ids)


def segment_all(options: Options, ids: list[RadiographId]) -> None:
    """Write masks and the table of their quality."""
    layout = options.layout
    known = dice.known_masks(options.truth) if options.truth else None
    table = mask_quality.QualityTable(layout.coarse_quality, options.overwrite)
    method = "published" if options.published else "otsu"
    done = {i for i in ids if table.source(i) == method}
    todo = [i for i in ids if i not in done or not layout.coarse_mask(i).exists()]
    skipped = []
    work = functools.partial(segment, layout, method)
    for _, outcome in parallel.imap(work, todo, options.workers, "coarse masks"):
        if isinstance(outcome, parallel.Skipped):
            skipped.append(outcome)
        else:
            table.add(outcome)
    table.close()
    lines = parallel.skipped_lines(skipped)
    if known is not None:
        masks = {i: layout.coarse_mask(i) for i in ids}
        lines += dice.dice_report(masks, known)
    cli.summary(
        *lines,
        f"{len(table.rows)} of {len(ids)} coarse masks, {len(skipped)} set aside",
        table.implausible_line(),
        wrote=layout.coarse,
    )


if __name__ == "__main__":
    cli.run(main, Options)
