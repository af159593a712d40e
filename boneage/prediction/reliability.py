"""Reasons to distrust a predicted bone age: an implausible mask, runs that disagree."""

from typing import NamedTuple

import numpy as np

from boneage.io.radiographs import Mask
from boneage.prediction.model_selection import SPREAD_QUANTILE
from boneage.segmentation import image_quality, mask_quality
from boneage.segmentation.coarse import NO_HAND, implausibilities
from boneage.segmentation.hand_search import SURE, UPRIGHT_DEGREES, FoundHand
from boneage.segmentation.hand_shape import HandShape
from boneage.segmentation.laterality import Side

DOUBTFUL_DISAGREEMENT, NO_HAND_DISAGREEMENT = 0.1, 0.2
"""One minus the Dice of the committee's members: above the first the mask is doubtful,
above the second the members do not see the same hand."""


class Verdict(NamedTuple):
    """The result of a check of a radiograph.

    warnings: doubts that an age is reported with. refusal: why no age should be
    reported; empty if an age may be.
    """

    warnings: list[str]
    refusal: str = ""


def check_hand(hand: FoundHand) -> Verdict:
    """Whether what was found is a hand, whole, upright, large and sharp enough.

    hand: its mask is not empty.
    """
    verdict = check_mask(hand.mask, hand.disagreement, hand.side)
    if verdict.refusal:
        return verdict
    warnings = list(verdict.warnings)
    if is_doubtfully_tilted(hand.shape, hand.disagreement):
        warnings.append(
            "a tilted hand, and the committee is unsure of its mask "
            f"({hand.disagreement:.2f})"
        )
    flags = mask_quality.radiograph_flags(hand.contrast, hand.shape)
    if flags:
        warnings.append(f"not a whole hand ({', '.join(flags)})")
    detail = image_quality.check_detail(hand.radiograph, hand.mask)
    if detail.is_hopeless:
        return Verdict(warnings, f"too little detail ({detail.reason})")
    if detail.reason:
        warnings.append(f"little detail ({detail.reason}); likely months off")
    return Verdict(warnings)


def is_doubtfully_tilted(shape: HandShape | None, disagreement: float) -> bool:
    """Whether a hand is tilted further than the committee's members agree on.

    Upright hands are as good at this disagreement, up to DOUBTFUL_DISAGREEMENT.
    """
    return (
        shape is not None
        and abs(shape.tilt) > UPRIGHT_DEGREES
        and SURE < disagreement <= DOUBTFUL_DISAGREEMENT
    )


def check_mask(mask: Mask, disagreement: float, side: Side | None) -> Verdict:
    """Whether the mask is a hand, and a left one.

    mask: not empty. disagreement: one minus the members' mean pairwise Dice. side: by
    its thumb.
    """
    flags = implausibilities(mask)
    if (
        disagreement > NO_HAND_DISAGREEMENT
        or (flags and disagreement > DOUBTFUL_DISAGREEMENT)
        # of 1,000 validation radiographs none: members may agree on what is no hand
        or set(flags) & set(NO_HAND)
    ):
        reasons = [*flags, f"the committee's members disagree by {disagreement:.2f}"]
        return Verdict([], f"likely not a hand, or not upright ({', '.join(reasons)})")
    warnings = []
    if flags:
        warnings.append(f"the mask is implausible ({', '.join(flags)})")
    if disagreement > DOUBTFUL_DISAGREEMENT:
        warnings.append(f"the committee is unsure of the mask ({disagreement:.2f})")
    if side == "right":
        warnings.append(
            "the thumb is where a right hand has it: a right hand, a mirrored image, "
            "or a left hand on its back; bone ages are defined for left hands"
        )
    return Verdict(warnings)


def age_warnings(
    bone_age_months: float,
    age_range_months: tuple[float, float],
    run_months: np.ndarray,
    usual_spread_months: float,
) -> list[str]:
    """Warnings about the age.

    Args:
        bone_age_months: the average of the runs.
        age_range_months: youngest and oldest hand that all runs were trained on.
        run_months: (run,) float, the prediction of each run.
        usual_spread_months: range of the runs' predictions that SPREAD_QUANTILE of the
            validation hands do not exceed.
    """
    warnings = []
    youngest, oldest = age_range_months
    if not youngest <= bone_age_months <= oldest:
        warnings.append(
            f"beyond the {youngest:.0f} to {oldest:.0f} months of the training hands"
        )
    spread = np.ptp(run_months)
    # rounding alone is no disagreement
    if spread > max(usual_spread_months, 1.0):
        warnings.append(
            f"the runs disagree by {spread:.0f} months; on "
            f"{100 * SPREAD_QUANTILE:g} % of the validation hands they disagree by "
            f"{usual_spread_months:.0f} or less"
        )
    return warnings
