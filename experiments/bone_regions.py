"""Where the bones that tell the age lie: known of phantoms, or boxed by people."""

from pathlib import Path

import numpy as np
import pandas as pd

from boneage.errors import InputError
from boneage.explanation import faithfulness
from boneage.explanation.activation_maps import DISPLAY_PX
from boneage.ids import parse_id
from boneage.io import radiographs, transforms
from boneage.io.files import read_json
from boneage.layout import Layout
from boneage.regression.dataset import HandDataset
from boneage.segmentation.hand_images import (
    Enhancement,
    mask_to_hand_coordinates,
    to_hand_coordinates,
)

BONE_RADIUS = 1 / 40
"""Of a disc around a growth plate or carpal, as a share of the image's side."""
BOX_COLUMNS = ("left", "top", "right", "bottom")


def hand_masks(layout: Layout, hands: HandDataset) -> np.ndarray:
    """Where the hand is, on whole radiographs too: (N, DISPLAY_PX, DISPLAY_PX) bool."""
    how = Enhancement.from_facts(hands.packed.preprocessing)
    masks = (radiographs.read_mask(layout.mask(i)) for i in hands.cohort.ids)
    inside = (mask_to_hand_coordinates(mask, how).astype(np.uint8) for mask in masks)
    return np.stack([transforms.resize(mask, DISPLAY_PX) > 0 for mask in inside])


def phantom_bones(layout: Layout, hands: HandDataset) -> np.ndarray | None:
    """Discs on growth plates and carpals, (N, DISPLAY_PX, DISPLAY_PX) bool.

    None where a hand is no phantom, so that nobody knows where they are.
    """
    regions = []
    how = Enhancement.from_facts(hands.packed.preprocessing)
    for radiograph_id in hands.cohort.ids:
        path = layout.truth / f"{radiograph_id}.json"
        if not path.exists():
            return None
        truth = read_json(path, "step0_prepare_cohort.py")
        points = [*truth["growth_plates"].values(), *truth["carpals"].values()]
        mask = radiographs.read_mask(layout.mask(radiograph_id))
        places = to_hand_coordinates(np.array(points), mask, how)
        regions.append(faithfulness.discs(places, DISPLAY_PX * BONE_RADIUS, DISPLAY_PX))
    return np.stack(regions)


def read_boxes(path: Path) -> pd.DataFrame:
    """Read `id,left,top,right,bottom`: shares of the radiograph's width and height.

    Raises:
        InputError: missing, no CSV, a column is missing, or a box lies outside.
    """
    if not path.is_file():
        raise InputError(f"--boxes {path} must be a CSV file (got no such file)")
    try:
        boxes = pd.read_csv(path, converters={"id": parse_id})
    except ValueError as error:
        raise InputError(f"--boxes {path} must be a CSV file ({error})") from None
    absent = [name for name in ("id", *BOX_COLUMNS) if name not in boxes]
    if absent:
        raise InputError(
            f"--boxes {path} must have the columns id, {', '.join(BOX_COLUMNS)} "
            f"(got no {', '.join(absent)})"
        )
    numbers = boxes[list(BOX_COLUMNS)].apply(pd.to_numeric, errors="coerce")
    is_valid = numbers.ge(0).all(axis=1) & numbers.le(1).all(axis=1)
    is_valid &= (numbers.left < numbers.right) & (numbers.top < numbers.bottom)
    if not is_valid.all():
        line = int(np.flatnonzero(~is_valid)[0]) + 2
        raise InputError(
            f"--boxes {path}, line {line}: a box must lie between 0 and 1, left of "
            f"right and top above bottom (got {boxes.iloc[line - 2].to_dict()})"
        )
    return boxes


def boxed_bones(layout: Layout, hands: HandDataset, boxes: pd.DataFrame) -> np.ndarray:
    """The union of each hand's boxes, (N, DISPLAY_PX, DISPLAY_PX) bool.

    boxes: of `read_boxes`.
    """
    how = Enhancement.from_facts(hands.packed.preprocessing)
    rows, columns = np.mgrid[:DISPLAY_PX, :DISPLAY_PX]
    regions = np.zeros((len(hands), DISPLAY_PX, DISPLAY_PX), bool)
    for region, radiograph_id in zip(regions, hands.cohort.ids, strict=True):
        mask = radiographs.read_mask(layout.mask(radiograph_id))
        height, width = mask.shape
        own = boxes[boxes.id == radiograph_id]
        # shares are of edges, pixels have their coordinates at the centre
        upper_left = own[["top", "left"]].to_numpy() * (height, width) - 0.5
        lower_right = own[["bottom", "right"]].to_numpy() * (height, width) - 0.5
        corners = zip(
            to_hand_coordinates(upper_left, mask, how),
            to_hand_coordinates(lower_right, mask, how),
            strict=True,
        )
        for (top, left), (bottom, right) in corners:
            is_inside = (rows >= top) & (rows <= bottom)
            region |= is_inside & (columns >= left) & (columns <= right)
    return regions
