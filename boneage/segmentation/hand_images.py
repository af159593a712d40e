"""From the committee's probabilities to a mask, and from the mask to the final hand."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from PIL import Image

from boneage import parallel
from boneage.errors import InputError, check_minimum
from boneage.ids import RadiographId, parse_id
from boneage.io import hdf5, radiographs
from boneage.io.files import read_json, up_to_date, write_json
from boneage.io.hdf5 import HAND_PX
from boneage.io.radiographs import Mask
from boneage.io.transforms import (
    equalize_clahe,
    from_square,
    grey_range,
    resize,
    to_uint8,
)
from boneage.layout import HAND_ENDING, Layout, ids_in
from boneage.parallel import ALL_CORES, Skipped, Workers
from boneage.segmentation import image_quality
from boneage.segmentation.coarse import largest_hand
from boneage.segmentation.mask_quality import QualityTable

ENHANCED_BY = "al_segmentation/step3_gen_segmentation_with_enhance.py"
SEGMENTED_BY = "al_segmentation/step3_gen_segmentation_result.py"


@dataclass(frozen=True)
class Enhancement:
    """How a hand is cut out and enhanced.

    Its `facts` are what segment_all.h5 and a run's config.json keep.
    """

    margin: float = 0.03
    """black margin around the hand, as a fraction of its longer side"""
    clip_limit: float = 0.03
    """contrast limit of the equalisation (CLAHE); 0 for none"""
    stretch_contrast: Annotated[bool, tyro.conf.arg(name="stretch")] = True
    """stretching of the hand's grey levels to the full range before equalisation"""
    fill_square: Annotated[bool, tyro.conf.arg(name="fill")] = False
    """hand drawn out to fill the square, for radiographs that were squeezed"""
    crop: Annotated[bool, tyro.conf.arg(name="cut")] = True
    """hand cut out of the radiograph; --no-cut keeps whole radiographs"""
    finest_px: tyro.conf.Suppress[tuple[int, int] | None] = None
    """rows and columns to which larger hands of new radiographs are shrunk first"""

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        check_minimum(0, margin=self.margin, clip_limit=self.clip_limit)

    def facts(self) -> dict[str, float | bool]:
        """What it was made with, by name; not the size, see `TYPICAL_SIZE`."""
        return {name: getattr(self, name) for name in FACTS}

    @classmethod
    def from_facts(cls, facts: object) -> "Enhancement":
        """Read the facts that a packed file or a run's config.json keeps.

        Raises:
            InputError: they are not those of an Enhancement.
        """
        if not isinstance(facts, dict) or not all(
            isinstance(facts.get(name), kind) for name, kind in FACTS.items()
        ):
            raise InputError(
                f"preprocessing must have {', '.join(FACTS)} (got {facts!r}); make the "
                f"hands again with {ENHANCED_BY}"
            )
        return cls(**{name: facts[name] for name in FACTS})

    @classmethod
    def for_new(cls, facts: object) -> "Enhancement":
        """The same for radiographs that may be larger than those of the facts.

        Raises:
            InputError: as in `from_facts`, or the typical size is no size.
        """
        how = cls.from_facts(facts)
        size = facts.get(TYPICAL_SIZE) if isinstance(facts, dict) else None
        if size is None:  # not measured
            return how
        is_size = isinstance(size, list) and len(size) == 2
        if not is_size or not all(isinstance(px, int) and px > 0 for px in size):
            raise InputError(
                f"preprocessing must have two whole numbers as {TYPICAL_SIZE} (got "
                f"{size!r}); make the hands again with {ENHANCED_BY}"
            )
        return replace(how, finest_px=(size[0], size[1]))


FACTS = {
    field.name: bool if isinstance(field.default, bool) else (int, float)
    for field in fields(Enhancement)
    if field.default is not None
}
"""Names and kinds of an Enhancement's facts."""

TYPICAL_SIZE = "typical_size_px"
"""The fact beside them: median rows and columns of the packed hands' masks, in pixels
of their radiographs. What was acquired more finely shows detail that a network trained
on these hands has never seen."""

DEFAULT = Enhancement()


def committee_mask(probabilities: np.ndarray, shape: tuple[int, int]) -> Mask:
    """The committee's mask: where the members' mean probability is above one half.

    Of it the largest component, holes filled, at the radiograph's own size.

    probabilities: (member, size, size) float32 in [0, 1] of the padded square.
    shape: rows and columns of the radiograph.
    """
    inside = from_square(probabilities.mean(axis=0), shape) > 0.5
    return largest_hand(inside.astype(np.uint8) * 255)


def disagreement(probabilities: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How far apart the members are: (row, column) uint8 at the radiograph's own size.

    probabilities: (member, size, size) float32 in [0, 1] of the padded square.
    shape: rows and columns of the radiograph.
    255 where one member is sure of the hand and another of the background.
    """
    image = from_square(np.ptp(probabilities, axis=0).astype(np.float32), shape)
    return np.rint(255 * image).clip(0, 255).astype(np.uint8)


def enhanced_hand(
    radiograph: np.ndarray, mask: Mask, how: Enhancement = DEFAULT
) -> np.ndarray:
    """The hand alone on black, centred, equalised: (512, 512) uint8.

    Crop to the hand, shrink to `finest_px`, grey levels of the hand stretched to the
    full range (a faint exposure stays faint under CLAHE alone), background to zero,
    margin, pad or fill to a square, shrink, CLAHE at the final size.

    Raises:
        ValueError: the mask is empty or of another shape than the radiograph.
    """
    if mask.shape != radiograph.shape:
        raise ValueError(
            f"mask must have the shape {radiograph.shape} (got {mask.shape})"
        )
    mask = _shown(mask, how)
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        raise ValueError("mask cannot be empty")
    crop = radiograph[top : top + height, left : left + width]
    if radiograph.dtype == np.uint16:
        # a label far beyond the anatomy would press the hand into a few grey levels
        crop = np.clip(crop, *grey_range(radiograph)).astype(np.uint16)
    inside = _shrunk_mask(mask[top : top + height, left : left + width], how)
    crop = _shrunk(crop, how)
    crop = stretch_contrast(crop, inside) if how.stretch_contrast else to_uint8(crop)
    square = _squared(cv2.bitwise_and(crop, crop, mask=inside), how)
    hand = equalize_clahe(resize(square, HAND_PX), how.clip_limit)
    # equalising lifts black, in tiles that hold little else
    return np.where(mask_to_hand_coordinates(mask, how), hand, 0).astype(np.uint8)


def _shown(mask: Mask, how: Enhancement) -> Mask:
    return mask if how.crop else np.full_like(mask, 255)


def _shrunk_size(height: int, width: int, how: Enhancement) -> tuple[int, int]:
    """Rows and columns of a hand of this size once it is no finer than `finest_px`."""
    if how.finest_px is None:
        return height, width
    rows, columns = how.finest_px
    if how.fill_square:  # proportions are lost in any case
        return min(height, rows), min(width, columns)
    scale = min(1.0, max(rows, columns) / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _shrunk(crop: np.ndarray, how: Enhancement) -> np.ndarray:
    height, width = crop.shape
    size = _shrunk_size(height, width, how)
    if size == (height, width):
        return crop
    # a triangle as wide as two of the coarser pixels: the average of one alone
    # (cv2.INTER_AREA) leaves more fine detail than radiographs shrunk by others show
    coarse = Image.fromarray(crop.astype(np.float32)).resize(
        size[::-1], Image.Resampling.BILINEAR
    )
    return np.rint(np.asarray(coarse)).astype(crop.dtype)


def _shrunk_mask(inside: Mask, how: Enhancement) -> Mask:
    return np.where(_shrunk(inside, how) > 127, 255, 0).astype(np.uint8)


def _squared(crop: np.ndarray, how: Enhancement) -> np.ndarray:
    """The crop and its margin in a square: padded, or drawn out to fill it."""
    height, width = crop.shape
    longer = max(height, width)
    side = round(longer * (1 + 2 * how.margin))
    if how.fill_square:
        crop = cv2.resize(crop, (longer, longer), interpolation=cv2.INTER_LINEAR)
        height = width = longer
    row, column = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side), np.uint8)
    square[row : row + height, column : column + width] = crop
    return square


def mask_to_hand_coordinates(mask: Mask, how: Enhancement = DEFAULT) -> np.ndarray:
    """Where the hand lies on what `enhanced_hand` makes: (512, 512) bool.

    mask, how: what `enhanced_hand` was given; not cut, too, the hand alone is True.
    """
    left, top, width, height = cv2.boundingRect(_shown(mask, how))
    crop = _shrunk_mask(mask[top : top + height, left : left + width], how)
    return resize(_squared(crop, how), HAND_PX) > 127


def to_hand_coordinates(
    points: np.ndarray, mask: Mask, how: Enhancement = DEFAULT
) -> np.ndarray:
    """Where places of a radiograph lie on its hand: (n, 2) row and column, px.

    points: (n, 2) row and column, px of the radiograph. mask, how: what
    `enhanced_hand` was given.
    """
    left, top, width, height = cv2.boundingRect(_shown(mask, how))
    rows, columns = _shrunk_size(height, width, how)
    longer = max(rows, columns)
    side = round(longer * (1 + 2 * how.margin))
    inner = np.array([longer, longer] if how.fill_square else [rows, columns])
    scale = inner / np.array([height, width])
    start = (side - inner) // 2
    # of pixel centres, as in cv2.resize
    in_square = start + (np.reshape(points, (-1, 2)) - (top, left) + 0.5) * scale
    return in_square * (HAND_PX / side) - 0.5


def stretch_contrast(crop: np.ndarray, inside: Mask) -> np.ndarray:
    """Bring the hand's grey levels, but for the extreme ones, to 0 to 255."""
    low, high = _percentiles(crop, inside, np.array([0.5, 99.8]))
    levels = np.arange(np.iinfo(crop.dtype).max + 1, dtype=crop.dtype)
    scaled = (levels - np.float32(low)) * np.float32(255 / max(high - low, 1))
    table = scaled.clip(0, 255).astype(np.uint8)
    return cv2.LUT(crop, table) if crop.dtype == np.uint8 else table[crop]


def _percentiles(image: np.ndarray, inside: Mask, percent: np.ndarray) -> np.ndarray:
    """As np.percentile of the pixels inside, from their histogram: ten times faster."""
    levels = np.iinfo(image.dtype).max + 1
    counts = cv2.calcHist([image], [0], inside, [levels], [0, levels]).ravel()
    last = np.cumsum(counts, dtype=np.int64)
    place = percent / 100 * (last[-1] - 1)
    below = np.searchsorted(last, np.floor(place), "right")
    above = np.searchsorted(last, np.ceil(place), "right")
    return below + (place % 1) * (above - below)


def enhance_file(
    layout: Layout, how: Enhancement, radiograph_id: RadiographId
) -> RadiographId | None:
    """Write the final hand of one radiograph; of a negative, as `predict.py` reads it.

    Returns:
        The id of a negative, whose hand was made of its positive.

    Raises:
        InputError: its mask is missing, unreadable, empty, or of another size.
    """
    radiograph = radiographs.read(layout.radiograph(radiograph_id))
    path = layout.mask(radiograph_id)
    if not path.exists() and how.crop:
        raise InputError(f"{path} cannot be found; run {SEGMENTED_BY} first")
    mask = np.zeros(radiograph.shape, np.uint8)
    if how.crop:
        mask = radiographs.read_mask(path, radiograph.shape)
    is_negative = image_quality.is_negative(radiograph, mask)
    if is_negative:
        radiograph = image_quality.inverted(radiograph)
    hand = enhanced_hand(radiograph, mask, how)
    radiographs.write(layout.hand(radiograph_id), hand)
    return radiograph_id if is_negative else None


def claim_preprocessing(layout: Layout, how: Enhancement, overwrite: bool) -> None:
    """Record how hands are made from now on; with `overwrite`, all are made again.

    Raises:
        InputError: hands were made in another way, and are not to be overwritten.
    """
    path, made_by = layout.hands_facts, f"{ENHANCED_BY} --overwrite"
    if overwrite or not ids_in(layout.hands, HAND_ENDING):
        write_json(path, how.facts())
        return
    if path.exists():
        facts = read_json(path, made_by)
    elif layout.hands_h5.exists():
        path = layout.hands_h5
        facts = hdf5.open_packed(path, made_by).preprocessing
    else:
        return
    if Enhancement.from_facts(facts) != how:
        raise InputError(
            f"{path} must have been made the same way (got "
            f"{hdf5.preprocessing_in_words(facts)}, now "
            f"{hdf5.preprocessing_in_words(how.facts())}); --overwrite makes all "
            "hands again"
        )


def is_packed(layout: Layout, ids: Sequence[RadiographId]) -> bool:
    """Whether segment_all.h5 holds just the hands that exist, as they are now."""
    if not up_to_date(layout.hands_h5, *(layout.hand(i) for i in ids)):
        return False
    try:
        packed = hdf5.open_packed(layout.hands_h5, "this step")
    except InputError:  # damaged: packed again
        return False
    return set(packed.ids.tolist()) == {i for i in ids if layout.hand(i).exists()}


def pack_hands(
    layout: Layout,
    ids: Sequence[RadiographId],
    how: Enhancement,
    workers: Workers = ALL_CORES,
) -> list[Skipped]:
    """Pack the final hands that exist into segment_all.h5.

    Its attribute `preprocessing` has the facts of `how`; `committees`, the hashes of
    those that cut the hands, none where persons drew all masks; and `TYPICAL_SIZE`.

    Raises:
        InputError: there is none.
    """
    paths = [layout.hand(i) for i in ids if layout.hand(i).exists()]
    if not paths:
        raise InputError(
            f"{layout.hands} must have a hand to pack (got none); each needs a mask in "
            f"{layout.segmentation}: run {SEGMENTED_BY} first"
        )
    committees = QualityTable(layout.mask_quality, overwrite=False).committees(ids)
    facts = how.facts() | {"committees": committees if how.crop else []}
    measure = functools.partial(_hand_size, layout, how)
    present = [i for i in ids if layout.hand(i).exists()]
    sizes = parallel.map_all(measure, present, workers, "measuring")[0]
    if sizes:
        facts[TYPICAL_SIZE] = np.median(sizes, axis=0).astype(int).tolist()
    skipped = []
    with hdf5.create(layout.hands_h5, len(paths), HAND_PX, facts) as writer:
        for path, outcome in parallel.imap(_read_hand, paths, workers, "packing"):
            if isinstance(outcome, Skipped):
                skipped.append(outcome)
            else:
                writer.add(parse_id(path.name.removesuffix(HAND_ENDING)), outcome)
    return skipped


def _hand_size(
    layout: Layout, how: Enhancement, radiograph_id: RadiographId
) -> list[int]:
    """Rows and columns of what a hand was cut out of, px of the radiograph."""
    if not how.crop:
        return list(radiographs.read(layout.radiograph(radiograph_id)).shape)
    mask = radiographs.read(layout.mask(radiograph_id))
    return list(cv2.boundingRect(mask)[:1:-1])


def _read_hand(path: Path) -> np.ndarray:
    hand = radiographs.read(path)
    if hand.shape != (HAND_PX, HAND_PX) or hand.dtype != np.uint8:
        raise InputError(
            f"{path} must be {HAND_PX} x {HAND_PX} with 8 bits (got {hand.shape}, "
            f"{hand.dtype}); remove it and run the step again"
        )
    return hand
