"""Tables of the growing left hand and wrist, and the records that make up one hand.

Coordinates are (x, y) in mm with the radiocarpal joint at the origin, x towards the
thumb and y towards the fingertips, as a left hand lies in the dorsopalmar view.

Sources: adult lengths, Buryanov & Kotiuk 2010 (Int J Morphol 28:755); growth of the
hand, rounded from Feingold & Bossert 1974 (Birth Defects 10 Suppl 13); appearance of
ossific centres, rounded from Garn, Rohmann & Silverman 1967 (Med Radiogr Photogr
43:45); width and fusion of epiphyses, after the standards of Greulich & Pyle 1959 and
of Gilsanz & Ratib 2012. Widths, positions and shapes are drawn after average
radiographs.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class LongBone:
    """One row of tubular bones; pairs are (boys, girls), ages in months."""

    lengths_mm: tuple[float, ...]  # adult, digits 1 to 5; 0 where the digit has none
    widths_mm: tuple[float, float, float]  # adult: growth-plate end, shaft, other end
    appears: tuple[tuple[int, ...], tuple[int, ...]]  # ossific centre of each digit
    wide: tuple[int, int]  # epiphysis as wide as the metaphysis
    fused: tuple[int, int]
    height: float  # of the epiphysis, relative to its width
    domed: bool = False  # the epiphysis is a round head
    flare: float = 0.17  # reach of the flared ends, relative to the length
    depth: float = 0.74  # dorsopalmar thickness relative to the width
    cortex: float = 1.0  # relative to the tubular bones of the hand
    spongy: float = 0.15  # fraction of bone in the spongy ends
    shear: float = 0.0  # slope of the distal end; the radius has its styloid


LONG_BONES = {
    "metacarpal": LongBone(
        (46.2, 68.1, 64.6, 58.0, 53.7),
        (13.8, 7.2, 13.4),
        ((31, 20, 21, 24, 26), (19, 13, 13, 15, 17)),
        wide=(126, 102),
        fused=(198, 176),
        height=0.52,
        domed=True,
    ),
    "proximal_phalanx": LongBone(
        (31.6, 39.8, 44.6, 41.4, 32.7),
        (14.8, 8.8, 11.2),
        ((32, 16, 16, 18, 21), (20, 10, 10, 11, 14)),
        wide=(120, 98),
        fused=(192, 168),
        height=0.22,
    ),
    "middle_phalanx": LongBone(
        (0, 22.4, 26.3, 25.7, 18.1),
        (13.0, 7.4, 10.0),
        ((0, 26, 24, 24, 41), (0, 16, 15, 15, 22)),
        wide=(132, 106),
        fused=(194, 170),
        height=0.22,
    ),
    "distal_phalanx": LongBone(
        (21.7, 15.8, 17.4, 17.3, 16.0),
        (10.4, 4.6, 7.4),
        ((18, 38, 28, 29, 37), (12, 28, 18, 18, 23)),
        wide=(130, 102),
        fused=(186, 160),
        height=0.22,
    ),
    # Longer than life, so that the forearm always leaves the frame.
    "radius": LongBone(
        (450,),
        (27.0, 13.0, 13.0),
        ((13,), (10,)),
        wide=(124, 100),
        fused=(218, 204),
        height=0.27,
        flare=0.053,
        depth=0.62,
        cortex=0.85,
        spongy=0.14,
        shear=-0.2,
    ),
    "ulna": LongBone(
        (450,),
        (14.5, 10.0, 12.0),
        ((85,), (65,)),
        wide=(166, 138),
        fused=(212, 196),
        height=0.36,
        flare=0.053,
        depth=0.62,
        cortex=0.85,
        spongy=0.14,
    ),
}
FUSION_MONTHS = 26  # from the first bridge to the closed plate
DIGIT_WIDTH = (1.12, 1.02, 1.0, 0.93, 0.82)

# name -> appears (boys, girls), centre mm, semi-axes mm, angle degrees, lobes.
# A lobe is (order, amplitude, phase) of the grown outline.
CARPALS = {
    "capitate": ((3, 2), (1.2, 23.4), (7.4, 11.9), 4, ((4, -0.07, 0), (3, 0.06, 1.6))),
    "hamate": ((4, 3), (-12, 22.6), (7.6, 9.8), -18, ((3, 0.12, 1.4),)),
    "triquetrum": ((29, 20), (-17.5, 9.6), (7.8, 5.8), 30, ((3, 0.1, 0.5),)),
    "lunate": ((49, 31), (-4.8, 6.2), (7.8, 6.6), -8, ((4, -0.07, 0),)),
    "scaphoid": ((68, 49), (10.4, 9.4), (11.4, 6.2), 42, ((2, 0.06, 0.6),)),
    "trapezium": ((70, 49), (20.8, 20.2), (8.4, 6.6), -38, ((4, -0.08, 0),)),
    "trapezoid": ((75, 50), (12.0, 25.6), (5.8, 6.6), 12, ((4, -0.07, 0.4),)),
    "pisiform": ((126, 102), (-18.5, 12.5), (4.8, 5.4), 0, ()),
    "sesamoid": ((153, 129), (0, 0), (2.6, 2.2), 0, ()),
}
CARPALS_GROWN = (165, 138)  # months, boys and girls

# Half widths in mm of the soft tissue from the middle of the metacarpal, at each joint
# and midway between joints, to the tuft.
FINGER_MM = (8.5, 10.2, 9.3, 9.2, 8.2, 8.0, 7.6, 6.6)
THUMB_MM = (9.0, 11.0, 10.4, 10.4, 9.6, 7.8)
TIP_MM = 3.4  # soft tissue beyond the tuft
# Half widths of the forearm, and how far proximal of the wrist; half depths of the
# parts relative to their half widths (digits) or in mm.
FOREARM_MM = (14.0, 23.0, 25.5, 26.0, 29.0, 34.0, 50.0)
FOREARM_AT_MM = (-26, -12, 0, 14, 45, 90, 450)
DIGIT_DEPTH, PALM_DEPTH_MM, FOREARM_DEPTH_MM = 0.9, 12.0, 16.5

# Hand length as a fraction of the adult's, at bone ages in months.
GROWTH_MONTHS = (0, 12, 24, 48, 72, 96, 120, 144, 168, 192, 228)
GROWTH = {
    True: (0.33, 0.45, 0.53, 0.62, 0.69, 0.75, 0.81, 0.88, 0.95, 0.99, 1.0),
    False: (0.35, 0.48, 0.56, 0.66, 0.74, 0.81, 0.89, 0.96, 0.99, 1.0, 1.0),
}
ADULT_SIZE = {True: 1.05, False: 0.96}  # relative to the tables above

# Where the metacarpals begin, and the angles of the rays from the y axis towards the
# thumb with the fingers closed and spread, in degrees.
BASES_MM = ((26.0, 25.8), (12.8, 33.5), (3.0, 35.0), (-6.0, 33.6), (-14.0, 30.8))
METACARPAL_DEG = ((30, 6, 0, -6, -13), (42, 11, 1, -10, -23))
FINGER_DEG = ((16, 3, 0, -4, -9), (48, 20, 3, -15, -34))
RADIUS_MM, ULNA_MM = (8.5, 1.8), (-15.5, -2.5)


@dataclass(frozen=True)
class Tube:
    """The shaft of a long bone: a hollow cylinder of elliptic section.

    `profile`: (station, 4), float32: mm along the bone, half width in mm, thickness of
    the cortex in mm, fraction of bone in the canal.
    """

    start: np.ndarray
    direction: np.ndarray
    profile: np.ndarray
    depth: float  # dorsopalmar thickness relative to the width
    shear: float  # mm that the ends shift per mm across the bone


@dataclass(frozen=True)
class Ossicle:
    """An epiphysis or a carpal: a shelled ellipsoid with a lobed or bowed outline."""

    centre: np.ndarray
    axis: np.ndarray  # unit vector of the first semi-axis
    semi_axes: tuple[float, float]
    depth: float  # half the dorsopalmar thickness in mm
    lobes: tuple[tuple[int, float, float], ...] = ()
    bow: float = 0.0  # bend of the outline, relative to the second semi-axis


@dataclass
class HandModel:
    """Bones, soft tissue and landmarks of one hand in mm.

    The first four are scales relative to the adult tables: along the hand, across the
    palm, across the bones, and of the soft tissue.
    """

    length: float
    breadth: float
    width: float
    girth: float
    forearm: np.ndarray  # unit vector from the wrist to the elbow
    digits: list[np.ndarray] = field(default_factory=list)  # joints, (point, 2)
    # name -> (polygon (point, 2), half depth) of the soft tissue
    outlines: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)
    tubes: list[Tube] = field(default_factory=list)
    ossicles: list[Ossicle] = field(default_factory=list)
    growth_plates: dict[str, np.ndarray] = field(default_factory=dict)
    carpals: dict[str, np.ndarray] = field(default_factory=dict)
