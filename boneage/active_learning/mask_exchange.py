"""Masks out to other programs and in from them: DICOM SEG, COCO, or pairs of PNG.

Out go the masks that persons drew. What comes in is checked against the radiograph of
its id, and becomes a pair in gt/annotated.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from boneage.cli import NO_DEFAULT, list_some
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.ids import RadiographId, parse_id, sort_ids
from boneage.io import coco, dicom_seg, radiographs
from boneage.io.radiographs import Mask
from boneage.layout import (
    MASK_ENDING,
    ORIGINAL_ENDING,
    Layout,
    ids_in,
    mask_in,
)

MaskFormat = Literal["png", "coco", "dicom-seg"]
SEG_ENDING = "_seg.dcm"
COCO_NAME = "masks.json"


@dataclass(frozen=True)
class ExchangeSettings:
    """Masks out and in."""

    export: Annotated[Path | None, NO_DEFAULT] = None
    """folder for the masks that persons drew"""
    take: Annotated[Path | None, NO_DEFAULT] = None
    """folder of <id>_bin.png or <id>_seg.dcm, or a COCO file, to annotate with"""
    format: MaskFormat = "png"
    """format of --export: pairs of PNG, COCO polygons, or DICOM segmentations"""
    dicom: Annotated[Path | None, NO_DEFAULT] = None
    """folder of the DICOM radiographs <id>.dcm that segmentations refer to"""
    overwrite: bool = False
    """replace masks in data/gt/annotated by those of --take"""

    def check(self) -> None:
        """Raise InputError where the options do not fit together."""
        if (self.export is None) == (self.take is None):
            got = "none" if self.export is None else "both"
            raise InputError(f"give one of --export DIR and --take PATH (got {got})")


def export_masks(layout: Layout, settings: ExchangeSettings) -> list[str]:
    """Write the masks that persons drew, but for flagged radiographs; summary lines.

    Raises:
        InputError: nobody drew one, or one cannot be written.
    """
    folder = settings.export or Path()
    drawn = ids_in(layout.annotated, MASK_ENDING) | ids_in(layout.new, MASK_ENDING)
    ids = sort_ids(drawn.keys() - excluded.flagged(layout).keys())
    if not ids:
        raise InputError(
            f"{layout.annotated} or {layout.new} must have a mask <id>{MASK_ENDING} "
            "(got none); annotate first"
        )
    if settings.format == "coco":
        coco.check_installed()
    elif settings.format == "dicom-seg":
        dicom_seg.check_installed()
    folder.mkdir(parents=True, exist_ok=True)
    writer = coco.CocoWriter() if settings.format == "coco" else None
    for i in ids:
        radiograph = radiographs.read(radiograph_path(layout, i))
        mask = radiographs.read_mask(drawn[i], radiograph.shape)
        if writer is not None:
            writer.add(f"{i}.png", mask)
        elif settings.format == "png":
            radiographs.write(folder / f"{i}{ORIGINAL_ENDING}", radiograph)
            radiographs.write(mask_in(folder, i), mask)
        else:
            _write_segmentation(folder, i, radiograph, mask, settings.dicom)
    if writer is not None:
        writer.write(folder / COCO_NAME)
    return [f"{len(ids)} masks: {list_some(ids)}"]


def _write_segmentation(
    folder: Path,
    i: RadiographId,
    radiograph: np.ndarray,
    mask: Mask,
    originals: Path | None,
) -> None:
    if originals is None:
        image = dicom_seg.image_of(radiograph, i)
        dicom_seg.write_image(folder / f"{i}.dcm", image)
    else:
        image = dicom_seg.read_image(originals / f"{i}.dcm")
    dicom_seg.write_segmentation(folder / f"{i}{SEG_ENDING}", mask, image)


def radiograph_path(layout: Layout, radiograph_id: RadiographId) -> Path:
    """The radiograph that an annotation belongs to: beside it, or the cohort's."""
    for path in (
        layout.query(radiograph_id),
        layout.annotated / f"{radiograph_id}{ORIGINAL_ENDING}",
    ):
        if path.exists():
            return path
    return layout.radiograph(radiograph_id)


@dataclass(frozen=True)
class IncomingMask:
    """A mask of another program. source: in words. uid: of the image it names."""

    source: str
    radiograph_id: RadiographId
    mask: Mask
    uid: str = ""


def take_masks(layout: Layout, settings: ExchangeSettings) -> list[str]:
    """Check masks of other programs, and write the good ones as pairs.

    Returns:
        A line for each that was set aside, then how many were taken.

    Raises:
        InputError: there is no mask, or not one that can be taken.
    """
    path = settings.take or Path()
    taken: list[RadiographId] = []
    lines: list[str] = []
    for item in _incoming(path):
        problem = (
            item if isinstance(item, str) else _take(layout, settings, item, taken)
        )
        if problem:
            lines.append(f"set aside: {problem}")
    if not taken:
        first = f"the first: {lines[0].removeprefix('set aside: ')}" if lines else ""
        raise InputError(
            f"{path} must have a mask to take (got none{'; ' + first if first else ''})"
        )
    return [*lines, f"{len(taken)} taken, {len(lines)} set aside"]


def _take(
    layout: Layout,
    settings: ExchangeSettings,
    item: IncomingMask,
    taken: list[RadiographId],
) -> str:
    """Write one pair; or else the reason why not."""
    i, source = item.radiograph_id, item.source
    original = layout.radiograph(i)
    if not original.exists():
        return f"{source} must be of a radiograph in {layout.radiographs} (got id {i})"
    if i in taken:
        return f"{source} must be the only mask of radiograph {i} (got another before)"
    existing = layout.annotation_path(i)
    if existing is not None and not (
        settings.overwrite and existing.parent == layout.annotated
    ):
        more = "" if existing.parent != layout.annotated else "; --overwrite does"
        return f"{source} cannot replace {existing}{more}"
    try:
        radiograph = radiographs.read(original)
        known_uids = _known_uids(radiograph, i, settings) if item.uid else set()
    except InputError as error:
        return str(error)
    mask = item.mask
    if mask.shape != radiograph.shape:
        return (
            f"{source} must be {radiograph.shape} as its radiograph (got {mask.shape})"
        )
    if not mask.any() or mask.all():
        return f"{source} cannot be {'full' if mask.any() else 'empty'}"
    if item.uid and item.uid not in known_uids:
        return (
            f"{source} must refer to radiograph {i} (got the image {item.uid}); give "
            f"the folder of the DICOM file {i}.dcm that it was drawn on as --dicom"
        )
    layout.annotated.mkdir(parents=True, exist_ok=True)
    # the mask last: a pair is one once it has a mask
    radiographs.write(layout.annotated / f"{i}{ORIGINAL_ENDING}", radiograph)
    radiographs.write(mask_in(layout.annotated, i), mask)
    taken.append(i)
    return ""


def _known_uids(
    radiograph: np.ndarray, radiograph_id: RadiographId, settings: ExchangeSettings
) -> set[str]:
    uids = {dicom_seg.image_uid(radiograph)}
    if settings.dicom is not None:
        path = settings.dicom / f"{radiograph_id}.dcm"
        if path.exists():
            uids.add(str(dicom_seg.read_image(path).SOPInstanceUID))
    return uids


def _incoming(path: Path) -> Iterator[IncomingMask | str]:
    """Every mask of a folder or file; a sentence in place of one that is none.

    Raises:
        InputError: there is nothing of a known format.
    """
    if path.suffix.lower() == ".json":
        return _from_coco(path)
    if not path.is_dir():
        raise InputError(
            f"--take must be a folder or a COCO file (got {path}); masks are "
            f"<id>{MASK_ENDING} or <id>{SEG_ENDING}"
        )
    if pngs := ids_in(path, MASK_ENDING):
        return _from_files(pngs, lambda file: (radiographs.read_mask(file), ""))
    if segmentations := ids_in(path, SEG_ENDING):
        dicom_seg.check_installed()
        return _from_files(segmentations, dicom_seg.read_segmentation)
    raise InputError(
        f"{path} must have masks <id>{MASK_ENDING} or <id>{SEG_ENDING} (got none)"
    )


def _from_files(
    files: dict[RadiographId, Path], read: Callable[[Path], tuple[Mask, str]]
) -> Iterator[IncomingMask | str]:
    for i in sort_ids(files):
        try:
            yield IncomingMask(str(files[i]), i, *read(files[i]))
        except InputError as error:
            yield str(error)


def _from_coco(path: Path) -> Iterator[IncomingMask | str]:
    for item in coco.read_masks(path):
        if isinstance(item, str):
            yield item
            continue
        name = Path(item.file_name).stem.removesuffix("_ori")
        try:
            radiograph_id = parse_id(name)
        except ValueError as error:
            yield f"{path}: {error}"
            continue
        yield IncomingMask(f"{path}: {item.file_name}", radiograph_id, item.mask)
