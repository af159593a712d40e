"""Cut out and enhance the final hands: black background, CLAHE, 512 x 512.

Reads   data/boneage-training-dataset/<id>.png, data/segmentation/<id>_bin.png; not
        what data/gt/unusable.csv lists
Writes  data/segment_all/<id>_seg.png, preprocessing.json (how they are made), and all
        of them packed: data/segment_all.h5

    python al_segmentation/step3_gen_segmentation_with_enhance.py

A rerun goes on with the hands that do not exist yet, whose mask is newer, or that an
interrupted --overwrite has left; the packed file is written anew when any hand is. A
negative (bones dark under its mask) is inverted first, as predict.py does.
"""

import functools
from dataclasses import dataclass

from boneage import cli, parallel
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.ids import RadiographId
from boneage.io import hdf5
from boneage.io.files import up_to_date
from boneage.io.locks import exclusive
from boneage.segmentation import hand_images


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """How to enhance."""

    paths: cli.Paths
    enhancement: hand_images.Enhancement
    processing: cli.Processing
    overwrite: bool = False
    """replace existing hands"""


def main(options: Options) -> None:
    """Enhance every radiograph that has no final hand yet, and pack them all."""
    with exclusive(options.layout.hands):
        enhance_all(options)


def enhance_all(options: Options) -> None:
    """Write hands and the packed file."""
    layout, enhancement = options.layout, options.enhancement
    ids = excluded.usable_ids(layout)
    flagged = excluded.flagged(layout)
    if enhancement.crop and not layout.segmentation.is_dir():
        raise InputError(
            f"{layout.segmentation} cannot be found; run "
            "al_segmentation/step3_gen_segmentation_result.py first"
        )
    enhancement.check()
    hand_images.claim_preprocessing(layout, enhancement, options.overwrite)
    todo = [
        i
        for i in ids
        if options.overwrite
        or not up_to_date(layout.hand(i), layout.mask(i), layout.hands_facts)
    ]
    work = functools.partial(hand_images.enhance_file, layout, enhancement)
    made, skipped = parallel.map_all(work, todo, options.workers, "enhancing")
    negatives = [i for i in made if i is not None]
    # these would stand for masks that are no longer there, or not to be used
    for radiograph_id in [*(entry.item for entry in skipped), *flagged]:
        layout.hand(radiograph_id).unlink(missing_ok=True)
    if todo or not hand_images.is_packed(layout, ids):
        skipped += hand_images.pack_hands(layout, ids, enhancement, options.workers)
    packed = len(hdf5.open_packed(layout.hands_h5, "this step").ids)
    cli.summary(
        *parallel.skipped_lines(skipped),
        f"{packed} of {len(ids)} hands packed, {len(skipped)} set aside",
        *negative_lines(negatives),
        *excluded.flagged_lines(flagged),
        wrote=layout.hands_h5,
    )


def negative_lines(ids: list[RadiographId]) -> list[str]:
    """The summary's line on negatives; none where there are none."""
    if not ids:
        return []
    return [f"negatives, inverted first: {cli.list_some(ids)}"]


if __name__ == "__main__":
    cli.run(main, Options)
