"""Give drawn masks to other programs, or take theirs: PNG, COCO or DICOM SEG.

Reads   --export: masks in data/gt/annotated and data/gt/new, their radiographs
        --take: <id>_bin.png or <id>_seg.dcm in a folder, or a COCO file; radiographs
Writes  --export: <id>_ori.png and <id>_bin.png, masks.json, or <id>_seg.dcm (and
        <id>.dcm without --dicom) in that folder
        --take: data/gt/annotated/<id>_ori.png, <id>_bin.png

    python al_segmentation/exchange_masks.py --export masks --format dicom-seg

Masks that are taken are packed by step2_image_2_h5.py --pool annotated.
"""

from dataclasses import dataclass

from boneage import cli
from boneage.active_learning import mask_exchange


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What is exchanged."""

    paths: cli.Paths
    exchange: mask_exchange.ExchangeSettings


def main(options: Options) -> None:
    """Write or read masks."""
    exchange = options.exchange
    exchange.check()
    if exchange.export is not None:
        lines = mask_exchange.export_masks(options.layout, exchange)
        cli.summary(*lines, wrote=exchange.export)
    else:
        lines = mask_exchange.take_masks(options.layout, exchange)
        cli.summary(*lines, wrote=options.layout.annotated)


if __name__ == "__main__":
    cli.run(main, Options)
