"""Left or right hand, by the position of the thumb in the mask.

With its back to the viewer, a left hand has its thumb at the clockwise end of the
fingers. A mask does not show back or palm: a right hand looks like a left one that lies
on its back, or whose image was mirrored.
"""

from typing import Literal

import numpy as np

from boneage.segmentation.hand_shape import HandShape

Side = Literal["left", "right"]

CLEAR_DEGREES = 8.0
"""By how much the thumb's gap must exceed the little finger's."""


def laterality(shape: HandShape | None) -> Side | None:
    """Which hand a mask looks like; None where five fingers cannot be separated.

    The hand may lie at any angle. On the 329 checked masks of RSNA radiographs, as
    acquired: 273 left, 4 right (all 4 have the thumb on that side, two of them a marker
    R), 52 undecided.
    """
    if shape is None or len(shape.angles) != 5:
        return None
    angles = shape.angles
    # the widest gap is the forearm's: start after it, clockwise
    gaps = np.diff(angles, append=angles[0] + 360)
    fan = np.roll(angles, -(int(np.argmax(gaps)) + 1) % 5)
    first, *_, last = np.diff(np.where(fan < fan[0], fan + 360, fan))
    if abs(last - first) < CLEAR_DEGREES:
        return None
    return "left" if last > first else "right"
