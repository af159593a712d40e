"""Segment every radiograph with the trained committee.

Reads   data/boneage-training-dataset/<id>.png, models/committee; where a person drew a
        mask (data/gt) that mask is the result; not what data/gt/unusable.csv lists
Writes  data/segmentation/<id>_bin.png, at the radiograph's own size, and quality.csv

    python al_segmentation/step3_gen_segmentation_result.py

A rerun goes on with the radiographs that have no mask yet.
"""

from dataclasses import dataclass
from pathlib import Path

from boneage import cli, parallel
from boneage.cohort import excluded
from boneage.errors import check_minimum
from boneage.ids import RadiographId
from boneage.io.locks import exclusive
from boneage.segmentation import dice, mask_quality


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """What to segment."""

    paths: cli.Paths
    processing: cli.Processing
    truth: Path | None = None
    """folder of known masks, to report the Dice of those that nobody annotated"""
    batch_size: int = 16
    """radiographs per forward pass, where Keras runs the committee"""
    overwrite: bool = False
    """replace existing masks"""


def main(options: Options) -> None:
    """Segment every radiograph that has no mask yet."""
    # where there is none, nothing is left behind, no lock either
    ids = excluded.usable_ids(options.layout)
    with exclusive(options.layout.segmentation):
        segment_all(options, ids)


def segment_all(options: Options, ids: list[RadiographId]) -> None:
    """Write masks and the table of their quality."""
    layout = options.layout
    check_minimum(1, batch_size=options.batch_size)
    known = dice.known_masks(options.truth) if options.truth else None

    from boneage.segmentation import inference

    table = mask_quality.QualityTable(layout.mask_quality, options.overwrite)
    todo = [
        i for i in ids if options.overwrite or not inference.is_done(layout, table, i)
    ]
    skipped = inference.segment_all(
        layout, todo, table, options.batch_size, options.workers
    )
    table.close()
    lines = parallel.skipped_lines(skipped)
    if known is not None:
        unseen = {i: layout.mask(i) for i in ids if layout.annotation_path(i) is None}
        lines += dice.dice_report(unseen, known)
    cli.summary(
        *lines,
        f"{len(table.rows)} of {len(ids)} segmented, {len(skipped)} set aside",
        *inference.outdated_lines(layout, table),
        *excluded.flagged_lines(excluded.flagged(layout)),
        table.implausible_line(),
        wrote=layout.segmentation,
    )


if __name__ == "__main__":
    cli.run(main, Options)
