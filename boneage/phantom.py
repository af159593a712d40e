"""Simulated hand radiographs with known hand mask, bone age and growth plates.

The anatomy of `boneage.anatomy` is projected to maps of soft-tissue and bone thickness
in mm; a narrow beam is attenuated by them (Beer-Lambert), blurred, counted in quanta and
shown as archives of hand radiographs show it: markers, collimator edges and uneven,
grey or bright backgrounds included.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from boneage.anatomy import Hand
from boneage.growth import grow
from boneage.projection import project, scale_of

# Linear attenuation at 40 keV in 1/mm: soft tissue 0.2688 cm2/g x 1.06 g/cm3, cortical
# bone 0.6655 cm2/g x 1.92 g/cm3 (ICRU-44 tissues; Hubbell & Seltzer, NISTIR 5632).
SOFT_TISSUE_PER_MM = 0.0285
BONE_PER_MM = 0.1278


@dataclass(frozen=True)
class Phantom:
    """A simulated radiograph and what is true of it; positions are (row, column) px."""

    radiograph: np.ndarray  # (row, column) uint8
    mask: np.ndarray  # (row, column) uint8, 0 or 255: hand, wrist and visible forearm
    bone_age_months: int
    is_male: bool
    growth_plates: dict[str, tuple[float, float]]  # of all bones inside the mask
    carpals: dict[str, tuple[float, float]]  # of the ossified ones inside the mask


@dataclass(frozen=True)
class Scene:
    """How an archive shows a radiograph; levels are fractions of white."""

    probability: float
    air: tuple[float, float]  # range of the level of plain air
    white: tuple[float, float]  # range of the level of the brightest bone
    unevenness: float = 0.0
    frame: float = 0.25  # probability of a collimator edge inside the frame
    tilt: float = 0.0  # probability that the exposed field is a rotated rectangle


SCENES = {
    "black": Scene(0.54, (0.0, 0.05), (0.5, 0.98), 0.01, 0.15),
    "grey": Scene(0.14, (0.12, 0.33), (0.75, 1.0), 0.03, 0.7),
    "uneven": Scene(0.08, (0.04, 0.2), (0.6, 0.95), 0.1, 0.3),
    "bright": Scene(0.04, (0.4, 0.6), (0.85, 1.0), 0.02, 0.5),
    "low contrast": Scene(0.14, (0.02, 0.17), (0.14, 0.38), 0.01, 0.4),
    "tilted": Scene(0.06, (0.02, 0.2), (0.6, 0.95), 0.02, 1.0, 1.0),
}


def simulate(
    rng: np.random.Generator, bone_age_months: int, is_male: bool, size_px: int = 512
) -> Phantom:
    """Simulate the radiograph of a left hand; the same `rng` state gives equal bytes.

    Args:
        rng: source of all variation: build, pose, maturation, exposure, background.
        bone_age_months: 1 to 228.
        is_male: sex, which sets the timing of maturation.
        size_px: longer side of the frame, at least 64.

    Raises:
        ValueError: if `bone_age_months` or `size_px` is out of range.
    """
    if not 1 <= bone_age_months <= 228:
        raise ValueError(f"bone_age_months: expected 1 to 228, found {bone_age_months}")
    if size_px < 64:
        raise ValueError(f"size_px: expected at least 64, found {size_px}")
    hand = grow(rng, bone_age_months, is_male)
    shape = _frame(rng, size_px)
    to_px = _place(rng, hand, shape)
    soft, bone = project(hand, to_px, shape)
    scene = list(SCENES.values())[
        rng.choice(len(SCENES), p=[scene.probability for scene in SCENES.values()])
    ]
    inside = _collimate(rng, scene, hand, to_px, shape)
    mask = np.where((soft > 0) & (inside > 0), np.uint8(255), np.uint8(0))
    radiograph = _expose(rng, scene, soft, bone, inside, to_px)

    def inside_mask(points: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
        found = {}
        for name, point in points.items():
            column, row = to_px[:, :2] @ point + to_px[:, 2]
            if 0 <= row <= shape[0] - 1 and 0 <= column <= shape[1] - 1:
                if mask[round(row), round(column)]:
                    found[name] = (float(row), float(column))
        return found

    return Phantom(
        radiograph,
        mask,
        int(bone_age_months),
        bool(is_male),
        inside_mask(hand.growth_plates),
        inside_mask(hand.carpals),
    )


def _body(hand: Hand) -> np.ndarray:
    """Outline points (point, 2) in mm of all but the forearm."""
    parts = [name for name in hand.outlines if name != "forearm"]
    return np.vstack([hand.outlines[name][0] for name in parts])


def _frame(rng: np.random.Generator, size_px: int) -> tuple[int, int]:
    """Rows and columns: portrait as a rule, now and then square or landscape."""
    kind = rng.choice(3, p=[0.92, 0.04, 0.04])
    short = round(
        size_px * (np.clip(rng.normal(0.78, 0.08), 0.6, 0.97), 1.0, 0.8)[kind]
    )
    return (short, size_px) if kind == 2 else (size_px, short)


def _place(rng: np.random.Generator, hand: Hand, shape) -> np.ndarray:
    """Choose rotation, scale and position so that the hand lies within the frame."""
    wide = rng.random() < 0.15
    turn = np.radians(np.clip(rng.normal(0, 24 if wide else 7), -50, 50))
    # Rows grow downwards: the y axis is mirrored.
    rotation = np.array([[np.cos(turn), np.sin(turn)], [np.sin(turn), -np.cos(turn)]])
    body = _body(hand) @ rotation.T
    low, high = body.min(axis=0), body.max(axis=0)
    rows, columns = shape
    small = rng.random() < 0.07
    reach = (
        rng.uniform(0.4, 0.55) if small else np.clip(rng.normal(0.71, 0.05), 0.58, 0.84)
    )
    scale = min(
        reach * rows / (high[1] - low[1]),
        0.95 * columns / (high[0] - low[0]),
        0.92 * rows / (high[1] - low[1]),
    )
    slack = np.array([columns, rows]) - scale * (high - low)
    share = np.array([rng.beta(4, 4), rng.beta(4, 2) if small else rng.beta(2, 4)])
    offset = share * slack - scale * low
    return np.column_stack([scale * rotation, offset])


def _collimate(rng, scene: Scene, hand: Hand, to_px, shape) -> np.ndarray:
    """Signed distance in px to the edge of the exposed field, positive inside.

    The field always holds the hand; only the forearm may leave it.
    """
    rows, columns = shape
    y, x = np.ogrid[0:rows, 0:columns]
    if rng.random() >= scene.frame:
        return np.full(shape, float(max(shape)), np.float32)
    angle = (
        np.radians(rng.uniform(8, 25) * rng.choice([-1, 1]))
        if scene.tilt
        else (np.radians(rng.normal(0, 1.2)))
    )
    points = _body(hand) @ to_px[:, :2].T + to_px[:, 2]
    cosine, sine = np.cos(angle), np.sin(angle)
    across = np.array([cosine, sine]), np.array([-sine, cosine])
    inside = np.full(shape, np.inf, np.float32)
    margin = rng.uniform(0.01, 0.08, 4) * max(shape)
    for k, axis in enumerate(across):
        positions = points @ axis
        line = x * np.float32(axis[0]) + y * np.float32(axis[1])
        extent = (columns, rows)[k]
        middle = columns / 2 * axis[0] + rows / 2 * axis[1]
        low = min(positions.min() - margin[k], middle - extent / 2 + margin[k])
        high = max(positions.max() + margin[k], middle + extent / 2 - margin[k + 2])
        inside = np.minimum(inside, np.minimum(line - low, high - line))
    return inside.astype(np.float32)


def _expose(rng, scene: Scene, soft, bone, inside, to_px) -> np.ndarray:
    """Attenuate, blur, count quanta and show: (row, column) uint8."""
    shape = soft.shape
    scale = scale_of(to_px)
    texture = rng.standard_normal(shape, dtype=np.float32)
    texture = cv2.GaussianBlur(texture, (0, 0), max(0.35 * scale, 0.5))
    bone = bone * (1 + 0.06 / texture.std() * texture)
    attenuation = SOFT_TISSUE_PER_MM * soft
    attenuation += (BONE_PER_MM - SOFT_TISSUE_PER_MM) * bone
    full = float(np.percentile(attenuation[soft > 0], 99.7))
    if rng.random() < 0.85:
        _add_marker(rng, attenuation, soft, inside, full)
    attenuation = cv2.GaussianBlur(attenuation, (0, 0), max(0.15 * scale, 0.6))
    rows, columns = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    tilt = rng.uniform(-0.08, 0.08, 2)
    quanta = 10 ** rng.uniform(3.8, 5.0) * (1 + tilt[0] * rows + tilt[1] * columns)
    counts = rng.poisson(quanta * np.exp(-attenuation)).astype(np.float32)
    counts = cv2.GaussianBlur(counts, (0, 0), rng.uniform(0.4, 0.7))
    signal = np.log(float(quanta.mean()) / np.maximum(counts, 1)) / full
    air, white = rng.uniform(*scene.air), rng.uniform(*scene.white)
    level = air + (white - air) * np.maximum(signal, 0) ** rng.uniform(1.05, 1.6)
    if scene.unevenness:
        level += scene.unevenness * _slow_field(rng, shape)
    level = _show_edges(rng, scene, level, inside, air)
    return np.clip(np.round(255 * level), 0, 255).astype(np.uint8)


def _slow_field(rng, shape) -> np.ndarray:
    """Uneven exposure of about unit size: a slope, a vignette, often a second field."""
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    slope, bowl = rng.normal(0, 0.5, 2), rng.normal(0, 0.5, 2)
    field = slope[0] * y + slope[1] * x + bowl[0] * y**2 + bowl[1] * x**2
    if rng.random() < 0.5:
        low = rng.uniform(-1.2, 0.6)
        tilted = y + rng.normal(0, 0.05) * x
        band = (tilted > low) & (tilted < low + rng.uniform(0.4, 1.6))
        field = field + band * rng.uniform(0.3, 0.8)
    return field.astype(np.float32)


def _show_edges(rng, scene: Scene, level, inside, air) -> np.ndarray:
    """Darken or brighten what lies outside the field and draw its bright rim."""
    outside = rng.choice(
        [0.0, air * 0.5, 0.95 if scene.tilt else air], p=[0.5, 0.2, 0.3]
    )
    shown = np.where(inside > 0, level, outside)
    if rng.random() < 0.6:
        rim = rng.uniform(0.1, 0.5)
        shown = shown + rim * np.exp(-((inside / rng.uniform(2, 4)) ** 2))
    return cv2.GaussianBlur(shown.astype(np.float32), (0, 0), 0.5)


def _add_marker(rng, attenuation, soft, inside, full) -> None:
    """Lay a lead L and initials on a plastic plate beside, or on the rim of, the hand."""
    size = max(int(rng.uniform(0.06, 0.1) * max(soft.shape)), 8)
    plate = np.zeros((2 * size, size), np.uint8)
    plate[1:-1, 1:-1] = rng.integers(4, 20)
    stroke = max(round(size * rng.uniform(0.11, 0.18)), 1)
    top, left = size // 3, round(0.3 * size)
    plate[top : top + round(0.75 * size), left : left + stroke] = 255
    foot = top + round(0.75 * size)
    plate[foot - stroke : foot, left : left + round(0.45 * size)] = 255
    letters = "".join(rng.choice(list("ABCDEFGHJKLMNPRSTVW"), rng.integers(2, 4)))
    cv2.putText(
        plate,
        letters,
        (round(0.12 * size), round(1.6 * size)),
        cv2.FONT_HERSHEY_SIMPLEX,
        size / (27 * len(letters)),
        255,
        max(stroke // 2, 1),
        cv2.LINE_AA,
    )
    turn = cv2.getRotationMatrix2D((size / 2, size), rng.normal(0, 15), 1.0)
    side = int(2.3 * size)
    turn[:, 2] += (side / 2 - size / 2, side / 2 - size)
    plate = cv2.warpAffine(plate, turn, (side, side))
    body = (soft > 0).astype(np.uint8)
    rows, columns = soft.shape
    overlap = 0.1 if rng.random() < 0.12 else 0.0
    for _ in range(40):
        row = rng.integers(-size // 3, max(rows - side, 1))
        column = int(rng.beta(0.6, 2.0) * max(columns - side, 1))
        row = max(row, 0)
        window = np.s_[row : row + side, column : column + side]
        share = body[window].mean()
        if overlap / 4 <= share <= overlap and inside[window].min() > -size:
            part = attenuation[window]
            part += plate[: part.shape[0], : part.shape[1]] * np.float32(
                1.8 * full / 255
            )
            return
