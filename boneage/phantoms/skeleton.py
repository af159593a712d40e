"""Growth of a simulated hand: maturity, bones in their pose, soft tissue around them.

Coordinates, tables and their sources are those of `boneage.phantoms.anatomy`.
"""

from itertools import pairwise

import numpy as np

from boneage.phantoms import anatomy
from boneage.phantoms.anatomy import (
    DIGIT_WIDTH,
    LONG_BONES,
    HandModel,
    LongBone,
    Ossicle,
    Tube,
)


class _Maturity:
    """Maturity of each bone at one bone age, with each bone's own small delay."""

    def __init__(self, rng: np.random.Generator, months: int, is_male: bool):
        self.months, self.sex = months, 0 if is_male else 1
        self.delays = iter(np.clip(rng.standard_normal(40), -2, 2).tolist())

    def age(self) -> float:
        """Age of the next bone; for one seed it rises with the bone age."""
        return self.months + (1 + 0.015 * self.months) * next(self.delays)

    def epiphysis(self, bone: LongBone, digit: int) -> tuple[float, float]:
        """Size (0 not ossified, 1 as wide as the metaphysis) and fusion (0 to 1)."""
        age, sex = self.age(), self.sex
        appears = bone.appears[sex][digit - 1]
        if age < appears:
            return 0.0, 0.0
        grown = min(1, (age - appears) / (bone.wide[sex] - appears))
        fusion = np.clip(1 - (bone.fused[sex] - age) / anatomy.FUSION_MONTHS, 0, 1)
        return 0.25 + 0.75 * grown**0.7, float(fusion)

    def carpal(self, appears: tuple[int, int]) -> float:
        """Size relative to the grown carpal; 0 if not ossified."""
        age, sex = self.age(), self.sex
        if age < appears[sex]:
            return 0.0
        # The late small bones grow for two years at least.
        months = max(anatomy.CARPALS_GROWN[sex] - appears[sex], 24)
        return 0.26 + 0.74 * min(1, (age - appears[sex]) / months) ** 0.55


def grow_hand(
    rng: np.random.Generator, bone_age_months: int, is_male: bool
) -> HandModel:
    """Grow and pose a hand of that bone age (months) and sex."""
    maturity = _Maturity(rng, bone_age_months, is_male)
    fraction = np.interp(
        bone_age_months, anatomy.GROWTH_MONTHS, anatomy.GROWTH[is_male]
    )
    adult = anatomy.ADULT_SIZE[is_male]
    chubbiness = np.clip(rng.normal(1, 0.07), 0.86, 1.2)
    chubbiness += np.interp(bone_age_months, (0, 60), (0.06, 0)) * rng.random()
    # A child's palm, bones and fingers are relatively broader than an adult's.
    hand = HandModel(
        length=adult * fraction * rng.normal(1, 0.03),
        breadth=adult * fraction**0.58,
        width=adult * fraction**0.8 * rng.normal(1, 0.03),
        girth=adult * fraction**0.62 * chubbiness,
        forearm=unit_vector(180 + rng.normal(0, 6)),
    )
    spread = rng.beta(1.6, 1.4)
    for digit in range(1, 6):
        _add_digit(hand, maturity, rng, digit, spread)
    across = np.array([-hand.forearm[1], hand.forearm[0]])
    for name, (x, y) in (("radius", anatomy.RADIUS_MM), ("ulna", anatomy.ULNA_MM)):
        start = x * hand.width * across + np.array([0, y * hand.length])
        _add_bone(hand, maturity, name, LONG_BONES[name], 1, start, hand.forearm)
    for name, (appears, centre, *shape) in anatomy.CARPALS.items():
        at = np.array(centre) * ((hand.width + hand.breadth) / 2, hand.length)
        if name == "sesamoid":  # beside the head of the first metacarpal
            at = hand.digits[0][1] - np.array([5.0, 3.0]) * hand.width
        size = maturity.carpal(appears)
        if size:
            _add_carpal(hand, size, at, *shape)
            if name != "sesamoid":
                hand.carpals[name] = at
    _wrap(hand)
    return hand


def unit_vector(angle_deg: float) -> np.ndarray:
    """Unit vector at an angle from the y axis towards the thumb."""
    return np.array([np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))])


def _add_digit(hand, maturity, rng, digit, spread) -> None:
    # A small child's rays lie wider apart.
    fan = np.interp(maturity.months, (0, 60), (1.3, 1.0))
    at = np.array(anatomy.BASES_MM[digit - 1]) * (hand.breadth, hand.length)
    joints, angle = [at], 0.0
    for kind in ("metacarpal", "proximal_phalanx", "middle_phalanx", "distal_phalanx"):
        bone = LONG_BONES[kind]
        if not bone.lengths_mm[digit - 1]:
            continue
        if kind in ("metacarpal", "proximal_phalanx"):
            table = (
                anatomy.METACARPAL_DEG if kind == "metacarpal" else anatomy.FINGER_DEG
            )
            closed, opened = table[0][digit - 1], table[1][digit - 1]
            angle = closed + spread * (opened - closed)
            angle *= fan if kind == "metacarpal" else 1
        angle += rng.normal(0, 1 if kind == "metacarpal" else 2.5)
        direction = unit_vector(angle)
        end = at + bone.lengths_mm[digit - 1] * hand.length * direction
        # The metacarpals of the fingers grow at the head, all others at the base.
        if kind == "metacarpal" and digit > 1:
            plate_end, way = end, -direction
        else:
            plate_end, way = at, direction
        _add_bone(hand, maturity, f"{kind}_{digit}", bone, digit, plate_end, way)
        at = end
        joints.append(at)
    hand.digits.append(np.array(joints))


def _add_bone(hand, maturity, name, bone, digit, start, direction) -> None:
    """Add shaft and epiphysis; `start` is the joint at the end of the growth plate."""
    size, fusion = maturity.epiphysis(bone, digit)
    relative = hand.width * (DIGIT_WIDTH[digit - 1] if len(bone.lengths_mm) > 1 else 1)
    plate_width, shaft, far_width = np.array(bone.widths_mm) * relative
    domed = bone.domed and digit > 1
    height = plate_width * (0.22 if bone.domed and not domed else bone.height)
    joint = 0.55 * hand.width
    gap = (0.55 * hand.width + 0.8 * (1 - size)) * (1 - fusion)
    hand.growth_plates[name] = start + (joint + height + gap / 2) * direction
    fused = fusion >= 1
    near = joint if fused else joint + height + gap
    # The other end is cartilage, too, while the bone is young.
    far = joint + max(0, 1 - maturity.months / 150) * 0.08 * far_width
    end = plate_width * (1 if fused else 0.84 if domed else 0.94)
    cap = plate_width * ((0.45 if domed else 0.18) if fused else 0.36 - 0.26 * size)
    length = bone.lengths_mm[digit - 1] * hand.length
    profile = _profile(
        length - near - far,
        (end, shaft, far_width),
        (cap, 0.45 * far_width),
        bone.flare * length,
        np.interp(maturity.months, (0, 200), (0.30, 0.46)) * bone.cortex * shaft / 2,
        bone.spongy,
    )
    shear = bone.shear * size
    at = start + near * direction
    hand.tubes.append(Tube(at, direction, profile, bone.depth, shear))
    if not size or fused:
        return
    semi_axes = size * 1.02 * plate_width / 2, height / 2 * size**0.4
    # The centre keeps close to the joint and reaches the plate at last.
    centre = start + (joint + height - 1.02 * semi_axes[1]) * direction
    axis = np.array([direction[1], -direction[0]]) - shear * direction
    lobes: tuple[tuple[int, float, float], ...] = (
        (4, -(0.05 if domed else 0.08) * size, 0.0),
    )
    if bone.shear:
        lobes += ((3, 0.06 * size, 0.6),)
    bow = size * (-0.42 if domed else 0.12)
    depth = 0.85 * bone.depth * plate_width * size / 2
    axis /= np.linalg.norm(axis)
    hand.ossicles.append(Ossicle(centre, axis, semi_axes, depth, lobes, bow))


def _profile(length, widths, caps, flare, cortex, spongy) -> np.ndarray:
    """Profile (station, 4) of a waisted tube with rounded ends; lengths in mm."""
    s = np.linspace(0, length, int(length / 0.15) + 2)
    rest = length - s
    near, far = (np.exp(-((distance / flare) ** 1.4)) for distance in (s, rest))
    end, shaft, other = widths
    half = (shaft + (end - shaft) * near + (other - shaft) * far) / 2
    for distance, cap in zip((s, rest), caps, strict=True):
        half *= np.sqrt(1 - np.clip(1 - distance / cap, 0, 1) ** 3)
    ends = np.maximum(near, far)
    wall = np.interp(ends, (0, 1), (cortex, 0.06 * shaft))
    canal = np.interp(ends, (0, 0.6), (0.06, spongy))
    return np.stack([s, half, wall, canal], axis=1).astype(np.float32)


def _add_carpal(hand, size, centre, semi_axes, angle_deg, lobes) -> None:
    semi = 0.52 * size * np.array(semi_axes) * (hand.width + hand.length)
    # A young centre is round; its facets come with growth.
    mean = semi.mean()
    semi = mean + (semi - mean) * size
    lobes = tuple((order, size**2 * amount, phase) for order, amount, phase in lobes)
    axis = unit_vector(90 - angle_deg)
    hand.ossicles.append(Ossicle(centre, axis, tuple(semi), 0.7 * mean, lobes))


def _wrap(hand: HandModel) -> None:
    """Outline the soft tissue around the posed bones."""
    girth = hand.girth
    for digit, joints in enumerate(hand.digits, 1):
        table = anatomy.THUMB_MM if digit == 1 else anatomy.FINGER_MM
        relative = 1.0 if digit == 1 else DIGIT_WIDTH[digit - 1]
        half = np.array(table) * girth * relative
        line = np.vstack([(joints[0] + joints[1]) / 2, joints[1:]])
        outline = _finger(line, half, anatomy.TIP_MM * girth)
        depth = anatomy.DIGIT_DEPTH * float(half[1:].mean())
        hand.outlines[f"digit_{digit}"] = outline, depth
    across = np.array([-hand.forearm[1], hand.forearm[0]])
    centre = np.outer(np.array(anatomy.FOREARM_AT_MM) * hand.length, hand.forearm)
    centre -= 1.5 * hand.width * across
    half = np.array(anatomy.FOREARM_MM)[:, None] * girth * across
    forearm = np.vstack([centre + half, (centre - half)[::-1]])
    hand.outlines["forearm"] = forearm, anatomy.FOREARM_DEPTH_MM * girth
    hand.outlines["palm"] = _palm(hand), anatomy.PALM_DEPTH_MM * girth


def _finger(joints: np.ndarray, half_widths, tip: float) -> np.ndarray:
    """Outline of a digit along its joints (point, 2), rounded `tip` mm past them."""
    last = joints[-1] - joints[-2]
    joints = np.vstack([joints, joints[-1] + tip * last / np.linalg.norm(last)])
    at = np.r_[0, np.cumsum(np.linalg.norm(np.diff(joints, axis=0), axis=1))]
    knots = np.sort(np.r_[at[:-1], (at[1:-2] + at[2:-1]) / 2])
    s = np.linspace(0, at[-1], 48)
    line = np.stack([np.interp(s, at, joints[:, k]) for k in (0, 1)], axis=1)
    half = np.interp(s, knots, half_widths)
    half = np.convolve(np.pad(half, 3, mode="edge"), np.full(7, 1 / 7), mode="valid")
    to_tip = (at[-1] - s) / (1.25 * half_widths[-1])
    half *= np.sqrt(1 - np.clip(1 - to_tip, 0, 1) ** 2.4)
    tangent = np.gradient(line, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    normal *= (half / np.linalg.norm(normal, axis=1))[:, None]
    return np.vstack([line + normal, (line - normal)[::-1]])


def _palm(hand: HandModel) -> np.ndarray:
    """Outline of the palm: ulnar side, webs between the digits, thenar side, wrist."""
    girth, breadth, length = hand.girth, hand.width, hand.length
    thumb, index, little = hand.digits[0], hand.digits[1], hand.digits[4]
    radial = np.array([1.0, 0.0])
    at_web = [line[1] + 0.42 * (line[2] - line[1]) for line in hand.digits[1:]]
    webs = [(first + second) / 2 for first, second in pairwise(at_web)]
    points = [
        -23.5 * girth * radial,
        np.array([-27.0 * girth, 14 * length]),
        (little[0] + little[1]) / 2 - 15.0 * girth * radial,
        little[1] - 10.5 * girth * radial,
        *webs[::-1],
        index[1] + 0.35 * (index[2] - index[1]) + 7 * girth * radial,
        index[1] + 9.5 * girth * radial,
        (thumb[1] + index[1]) / 2,
        thumb[1] + 0.2 * (thumb[2] - thumb[1]),
        thumb[1] + 9 * girth * unit_vector(129),
        (thumb[0] + thumb[1]) / 2 + 10.5 * girth * unit_vector(121),
        np.array([27.0 * breadth, 14 * length]),
        23.0 * girth * radial,
    ]
    return _smooth(np.array(points))


def _smooth(points: np.ndarray) -> np.ndarray:
    """Chaikin's corner cutting of a closed polygon, three times."""
    for _ in range(3):
        following = np.roll(points, -1, axis=0)
        cut = [0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following]
        points = np.stack(cut, axis=1).reshape(-1, 2)
    return points
