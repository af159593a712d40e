"""Masks of hands as COCO annotations: polygons where they can say it, else run lengths.

A polygon has no holes, so a mask with holes is written as run lengths (`iscrowd` 1), as
the format provides. What is read may be either, as other programs write them.
Format: Lin et al., Microsoft COCO, ECCV 2014; https://cocodataset.org/#format-data
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boneage.errors import InputError, refuse_damaged
from boneage.io.files import read_json, write_json
from boneage.io.radiographs import Mask

CATEGORY = {"id": 1, "name": "hand", "supercategory": "anatomy"}
TOLERANCE_PX = 0.2
"""Corners of a polygon may move by so much; a pixel's middle is 0.35 from it."""


def check_installed() -> None:
    """Raise InputError where the package that reads the format is missing."""
    if importlib.util.find_spec("pycocotools") is None:
        raise InputError(
            "COCO files must have pycocotools installed (got none); run: pip install "
            '"boneage[coco]"'
        )


@dataclass(frozen=True)
class CocoMask:
    """A mask in a COCO file. file_name: of its image."""

    file_name: str
    mask: Mask


class CocoWriter:
    """Collects masks, and writes them as one file."""

    def __init__(self) -> None:
        """No masks yet."""
        check_installed()
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, file_name: str, mask: Mask) -> None:
        """Add the mask of an image, (row, column) uint8."""
        # a number of the file's own, since an image may be named otherwise
        image_id = len(self._images) + 1
        height, width = mask.shape
        self._images.append(
            {"id": image_id, "file_name": file_name, "width": width, "height": height}
        )
        outlines, has_holes = _polygons(mask)
        left, top, box_width, box_height = cv2.boundingRect(mask)
        self._annotations.append(
            {
                "id": image_id,
                "image_id": image_id,
                "category_id": CATEGORY["id"],
                "iscrowd": int(has_holes),
                "area": int(np.count_nonzero(mask)),
                "bbox": [left, top, box_width, box_height],
                "segmentation": _run_lengths(mask) if has_holes else outlines,
            }
        )

    def write(self, path: Path) -> None:
        """Write all of them."""
        write_json(
            path,
            {
                "info": {"description": "Hand masks"},
                "categories": [CATEGORY],
                "images": self._images,
                "annotations": self._annotations,
            },
        )


def _polygons(mask: Mask) -> tuple[list[list[float]], bool]:
    """Outlines as [x, y, x, y, ...] between the pixels' middles; whether it has holes.

    A pixel's middle is at 0.5, as in COCO.
    """
    from skimage import measure

    padded = np.pad(mask > 0, 1)
    _, tree = cv2.findContours(
        padded.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    if tree is not None and (tree[0, :, 3] >= 0).any():
        return [], True
    outlines = []
    for outline in measure.find_contours(padded.astype(np.float32), 0.5):
        corners = measure.approximate_polygon(outline, TOLERANCE_PX) - 0.5
        outlines.append(np.round(corners[:-1, ::-1], 2).ravel().tolist())
    return outlines, False


def _run_lengths(mask: Mask) -> dict[str, Any]:
    """Uncompressed: column by column, outside first."""
    inside = mask.ravel(order="F") > 0
    changes = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    start = [0, 0] if inside[0] else [0]
    counts = np.diff(np.concatenate([start, changes, [len(inside)]]))
    return {"counts": counts.tolist(), "size": list(mask.shape)}


def read_masks(path: Path) -> Iterator[CocoMask | str]:
    """Read the mask of every image; a sentence where one cannot be read.

    Several annotations of one image are one mask; images without any are passed over.
    Of several categories, only the one that is named hand counts.

    Raises:
        InputError: the file is no COCO file, or does not say which category is a hand.
    """
    check_installed()
    facts = read_json(
        path, "another program, as COCO", ["images", "annotations", "categories"]
    )
    if not all(isinstance(facts[key], list) for key in ("images", "annotations")):
        raise InputError(f"{path} must be a COCO file (got other lists)")
    category = _category(path, facts["categories"])
    by_image: dict[Any, list[dict]] = {}
    for annotation in facts["annotations"]:
        if annotation.get("category_id") == category:
            by_image.setdefault(annotation.get("image_id"), []).append(annotation)
    for image in facts["images"]:
        if annotations := by_image.pop(image.get("id"), []):
            try:
                yield _read_mask(path, image, annotations)
            except InputError as error:
                yield str(error)
    for image_id in by_image:
        yield f"{path}: an annotation must refer to an image of it (got {image_id})"


def _category(path: Path, categories: list[dict]) -> Any:
    hands = [c for c in categories if "hand" in str(c.get("name", "")).lower()]
    chosen = hands or categories
    if len(chosen) != 1:
        names = ", ".join(str(c.get("name")) for c in categories)
        raise InputError(f"{path} must have one category hand (got {names or 'none'})")
    return chosen[0].get("id")


def _read_mask(path: Path, image: dict, annotations: list[dict]) -> CocoMask:
    from pycocotools import mask as coco_masks

    name = str(image.get("file_name", f"image {image.get('id')}"))
    with refuse_damaged(f"{path}: {name}", "cannot be read", "export it again"):
        size = int(image["height"]), int(image["width"])
        parts = []
        for annotation in annotations:
            shapes = annotation["segmentation"]
            if isinstance(shapes, dict) and isinstance(shapes["counts"], str):
                parts.append(shapes)
            else:
                made = coco_masks.frPyObjects(shapes, *size)
                parts += made if isinstance(made, list) else [made]
        mask = coco_masks.decode(coco_masks.merge(parts))
    if mask.shape != size:
        raise InputError(
            f"{path}: {name} must have a mask of its size {size} (got {mask.shape})"
        )
    return CocoMask(name, np.where(mask > 0, np.uint8(255), np.uint8(0)))
