"""What a reader must know before trusting a bone age."""

import numpy as np

from boneage.io.radiographs import Mask
from boneage.segmentation.coarse import implausibilities
from boneage.segmentation.laterality import laterality

UNSURE, LOST = 0.1, 0.2
"""One minus the Dice of the committee's members: above the first the mask is doubtful,
above the second they do not see the same hand."""


def mask_warnings(mask: Mask, disagreement: float) -> list[str]:
    """Doubts about where the hand is, and whether it is one.

    mask: not empty. disagreement: one minus the members' mean pairwise Dice.
    """
    flags = implausibilities(mask)
    if disagreement > LOST or (flags and disagreement > UNSURE):
        why = [*flags, f"the committee's members disagree by {disagreement:.2f}"]
        return [f"likely not a hand, or not upright ({', '.join(why)})"]
    found = []
    if flags:
        found.append(f"the mask is implausible ({', '.join(flags)})")
    if disagreement > UNSURE:
        found.append(f"the committee is unsure of the mask ({disagreement:.2f})")
    if laterality(mask) == "right":
        found.append(
            "the thumb is where a right hand has it: a right hand, or a mirrored "
            "image; bone ages are told from left hands"
        )
    return found


def age_warnings(
    bone_age_months: float,
    age_range_months: tuple[float, float],
    answers_months: np.ndarray,
    greatest_spread_months: float,
) -> list[str]:
    """Doubts about the age.

    Args:
        bone_age_months: the average.
        age_range_months: of the training hands.
        answers_months: (run,) each run's.
        greatest_spread_months: of the runs on 95 % of the validation hands.
    """
    found = []
    least, greatest = age_range_months
    if not least <= bone_age_months <= greatest:
        found.append(
            f"beyond the {least:.0f} to {greatest:.0f} months of the training hands"
        )
    spread = np.ptp(answers_months)
    # rounding alone is no disagreement
    if spread > max(greatest_spread_months, 1.0):
        found.append(
            f"the runs disagree by {spread:.0f} months; on 19 of 20 validation hands "
            f"they lie within {greatest_spread_months:.0f}"
        )
    return found
