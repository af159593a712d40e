"""Agreement of two masks."""

from pathlib import Path

import numpy as np

from boneage.errors import InputError
from boneage.ids import RadiographId, sort_ids
from boneage.io import radiographs
from boneage.layout import MASK_ENDING, ids_in

LOW_DICE = 0.9
"""Radiographs below this Dice are listed by id."""


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice coefficient of two masks of one shape, of any dtype; non-zero is inside.

    1 for two empty masks.
    Source: Dice, Ecology 26 (1945), 297-302.
    """
    inside_first, inside_second = first > 0, second > 0
    total = np.count_nonzero(inside_first) + np.count_nonzero(inside_second)
    if total == 0:
        return 1.0
    return 2 * np.count_nonzero(inside_first & inside_second) / total


def known_masks(truth: Path) -> dict[RadiographId, Path]:
    """Known masks `<id>_bin.png` of a folder, by id.

    Raises:
        InputError: there is none.
    """
    known = ids_in(truth, MASK_ENDING)
    if not known:
        raise InputError(
            f"{truth} must hold known masks <id>_bin.png (got none); name another"
        )
    return known


def dice_report(
    masks: dict[RadiographId, Path], known: dict[RadiographId, Path]
) -> list[str]:
    """Summary lines: Dice of masks on disk and known ones.

    masks, known: path of each id's mask; ids that are not in both are left out.

    Raises:
        InputError: a known mask is of another size.
    """
    scores = {}
    for radiograph_id in sort_ids(masks.keys() & known.keys()):
        if masks[radiograph_id].exists():
            mask = radiographs.read(masks[radiograph_id])
            truth = radiographs.read_mask(known[radiograph_id], mask.shape)
            scores[radiograph_id] = dice(mask, truth)
    if not scores:
        return ["no known mask belongs to these radiographs: no Dice"]
    values = np.array(list(scores.values()))
    worst = sorted(scores, key=scores.__getitem__)
    low = [f"{i} ({scores[i]:.2f})" for i in worst if scores[i] < LOW_DICE]
    return [
        f"Dice against {len(scores)} known masks: mean {values.mean():.4f}, "
        f"median {np.median(values):.4f}, lowest {values.min():.4f}",
        f"below {LOW_DICE}: {len(low)}" + (f": {', '.join(low)}" if low else ""),
    ]


def pairwise_disagreement(probabilities: np.ndarray) -> np.ndarray:
    """One minus the mean Dice of all pairs of members' masks, (image,).

    probabilities: (member, image, row, column), float32 in [0, 1].
    """
    masks = probabilities > 0.5
    sizes = masks.sum(axis=(2, 3))
    distances = []
    for first in range(len(masks)):
        for second in range(first + 1, len(masks)):
            overlap = (masks[first] & masks[second]).sum(axis=(1, 2))
            total = sizes[first] + sizes[second]
            distances.append(1 - np.where(total, 2 * overlap / np.maximum(total, 1), 1))
    return np.mean(distances, axis=0)
