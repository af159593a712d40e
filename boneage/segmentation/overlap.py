"""How well two masks agree."""

from pathlib import Path

import numpy as np

from boneage import radiographs
from boneage.files import InputError


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice coefficient of two masks of one shape, any dtype, non-zero is inside.

    Two empty masks agree: 1.
    Source: Dice, Ecology 26 (1945), 297-302.
    """
    inside_first, inside_second = first > 0, second > 0
    total = np.count_nonzero(inside_first) + np.count_nonzero(inside_second)
    if total == 0:
        return 1.0
    return 2 * np.count_nonzero(inside_first & inside_second) / total


def against_truth(masks: dict[int, Path], truth: Path) -> list[str]:
    """Summary lines: the Dice of the masks on disk against the known ones.

    masks: path of each id's mask; those missing here or in `truth` do not count.

    Raises:
        InputError: the two have no id in common, or a known mask is of another size.
    """
    scores = {}
    for radiograph_id, path in masks.items():
        known = truth / f"{radiograph_id}_bin.png"
        if path.exists() and known.exists():
            mask = radiographs.read(path)
            scores[radiograph_id] = dice(mask, radiographs.read_mask(known, mask.shape))
    if not scores:
        raise InputError(f"{truth}: no mask <id>_bin.png of these radiographs")
    values = np.array(list(scores.values()))
    worst = sorted(scores, key=scores.__getitem__)
    low = [f"{i} ({scores[i]:.2f})" for i in worst if scores[i] < 0.9]
    return [
        f"Dice against {len(scores)} known masks: mean {values.mean():.4f}, "
        f"median {np.median(values):.4f}, lowest {values.min():.4f}",
        f"below 0.9: {len(low)}" + (f": {', '.join(low)}" if low else ""),
    ]
