"""Simulated hand radiographs with known hand mask, bone age and growth plates.

A hand grown by `boneage.phantoms.skeleton` is projected to maps of soft-tissue and
bone thickness in mm. A narrow beam is attenuated by them (Beer-Lambert), blurred and
counted in quanta, then displayed as archives of hand radiographs display it: with
markers, collimator edges, and black, grey, uneven or bright backgrounds.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from boneage.phantoms.anatomy import HandModel
from boneage.phantoms.projection import project, scale_of
from boneage.phantoms.skeleton import grow_hand

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
class Backdrop:
    """How an archive shows a radiograph; levels are fractions of white."""

    probability: float
    air: tuple[float, float]  # range of the level of plain air
    contrast: tuple[float, float]  # range of the brightest bone's level above the air's
    unevenness: float  # amplitude of slow changes of the level
    edges: float  # probability of collimator edges inside the frame
    is_tilted: bool = False  # the field is a rectangle turned by 8 to 25 degrees


BACKDROPS = {
    "black": Backdrop(0.53, (0.0, 0.05), (0.5, 0.95), 0.01, 0.15),
    "grey": Backdrop(0.14, (0.12, 0.33), (0.5, 0.7), 0.03, 0.7),
    "uneven": Backdrop(0.08, (0.04, 0.2), (0.5, 0.75), 0.1, 0.3),
    "bright": Backdrop(0.04, (0.4, 0.6), (0.32, 0.45), 0.02, 0.5),
    "low contrast": Backdrop(0.14, (0.02, 0.17), (0.1, 0.3), 0.01, 0.4),
    "tilted": Backdrop(0.07, (0.02, 0.2), (0.5, 0.75), 0.02, 1.0, is_tilted=True),
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
        raise ValueError(f"bone_age_months must be 1 to 228 (got {bone_age_months})")
    if size_px < 64:
        raise ValueError(f"size_px must be at least 64 (got {size_px})")
    hand = grow_hand(rng, bone_age_months, bool(is_male))
    shape = _frame(rng, size_px)
    to_px = _place(rng, hand, shape)
    soft, bone = project(hand, to_px, shape)
    probabilities = [backdrop.probability for backdrop in BACKDROPS.values()]
    backdrop = BACKDROPS[rng.choice(list(BACKDROPS), p=probabilities)]
    inside = _collimate(rng, backdrop, hand, to_px, shape)
    mask = np.where((soft > 0) & (inside > 0), np.uint8(255), np.uint8(0))
    signal = _acquire(rng, soft, bone, inside, scale_of(to_px))
    return Phantom(
        radiograph=_display(rng, backdrop, signal, inside),
        mask=mask,
        bone_age_months=int(bone_age_months),
        is_male=bool(is_male),
        growth_plates=_locate(hand.growth_plates, to_px, mask),
        carpals=_locate(hand.carpals, to_px, mask),
    )


def _locate(points, to_px, mask) -> dict[str, tuple[float, float]]:
    """Positions (row, column) px of the points (x, y) mm that lie inside the mask."""
    positions = {}
    for name, point in points.items():
        column, row = (to_px[:, :2] @ point + to_px[:, 2]).tolist()
        i, j = round(row), round(column)
        in_frame = 0 <= i < mask.shape[0] and 0 <= j < mask.shape[1]
        if in_frame and mask[i, j]:
            positions[name] = (row, column)
    return positions


def _body(hand: HandModel) -> np.ndarray:
    """Outline points (point, 2) in mm of all but the forearm."""
    parts = [name for name in hand.outlines if name != "forearm"]
    return np.vstack([hand.outlines[name][0] for name in parts])


def _frame(rng: np.random.Generator, size_px: int) -> tuple[int, int]:
    """Rows and columns: portrait as a rule, now and then square or landscape."""
    portrait = float(np.clip(rng.normal(0.78, 0.08), 0.6, 0.97))
    kind = rng.choice(["portrait", "square", "landscape"], p=[0.92, 0.04, 0.04])
    if kind == "square":
        return size_px, size_px
    short = round(size_px * portrait)
    return (size_px, short) if kind == "portrait" else (short, size_px)


def _place(rng: np.random.Generator, hand: HandModel, shape) -> np.ndarray:
    """Choose rotation, scale and position so that the hand lies within the frame."""
    is_small, is_turned = rng.random(2) < (0.07, 0.15)
    turn = np.radians(np.clip(rng.normal(0, 24 if is_turned else 7), -50, 50))
    # Rows grow downwards: the y axis is mirrored.
    rotation = np.array([[np.cos(turn), np.sin(turn)], [np.sin(turn), -np.cos(turn)]])
    body = _body(hand) @ rotation.T
    low, high = body.min(axis=0), body.max(axis=0)
    frame = np.array(shape[::-1])
    reach = rng.uniform(0.4, 0.55) if is_small else rng.normal(0.71, 0.05)
    available = frame * (0.95, np.clip(reach, 0.4, 0.84))
    scale = (available / (high - low)).min()
    share = rng.beta(4, 4), rng.beta(4, 2) if is_small else rng.beta(2, 4)
    offset = share * (frame - scale * (high - low)) - scale * low
    return np.column_stack([scale * rotation, offset])


def _collimate(rng, backdrop: Backdrop, hand: HandModel, to_px, shape) -> np.ndarray:
    """Distance in px to the edge of the exposed field, positive inside, (row, column).

    The field holds the whole hand; only the forearm may leave it.
    """
    if rng.random() >= backdrop.edges:
        return np.full(shape, max(shape), np.float32)
    angle = np.radians(rng.normal(0, 1.2))
    if backdrop.is_tilted:
        angle += np.radians(rng.uniform(8, 25) * rng.choice([-1, 1]))
    points = _body(hand) @ to_px[:, :2].T + to_px[:, 2]
    margin = rng.uniform(-0.02, 0.07, (2, 2)) * max(shape)
    y, x = np.ogrid[0 : shape[0], 0 : shape[1]]
    cosine, sine = np.cos(angle), np.sin(angle)
    inside = np.full(shape, np.inf, np.float32)
    for normal, extent, (first, last) in zip(
        ([cosine, sine], [-sine, cosine]), shape[::-1], margin, strict=True
    ):
        middle = np.array(shape[::-1]) / 2 @ normal
        positions = points @ normal
        low = min(positions.min(), middle - extent / 2) + first
        high = max(positions.max(), middle + extent / 2) - last
        low = min(low, positions.min() - 0.01 * extent)
        high = max(high, positions.max() + 0.01 * extent)
        line = (x * normal[0] + y * normal[1]).astype(np.float32)
        inside = np.minimum(inside, np.minimum(line - low, high - line))
    return inside


def _acquire(rng, soft, bone, inside, px_per_mm) -> np.ndarray:
    """Logarithm of the detected quanta, 0 in air and about 1 in the densest bone."""
    trabeculae = rng.standard_normal(soft.shape, dtype=np.float32)
    trabeculae = cv2.GaussianBlur(trabeculae, (0, 0), max(0.35 * px_per_mm, 0.5))
    bone = bone * (1 + 0.06 / trabeculae.std() * trabeculae)
    attenuation = SOFT_TISSUE_PER_MM * soft
    attenuation += (BONE_PER_MM - SOFT_TISSUE_PER_MM) * bone
    densest = float(np.percentile(attenuation[soft > 0], 99.7))
    if rng.random() < 0.85:
        _add_marker(rng, attenuation, soft, inside, 1.8 * densest)
    # Focal spot and detector together blur by about 0.15 mm.
    attenuation = cv2.GaussianBlur(attenuation, (0, 0), max(0.15 * px_per_mm, 0.6))
    y, x = _unit_grid(soft.shape)
    heel = rng.uniform(-0.08, 0.08, 2)
    quanta = 10 ** rng.uniform(3.8, 5.0) * (1 + heel[0] * y + heel[1] * x)
    counts = rng.poisson(quanta * np.exp(-attenuation)).astype(np.float32)
    counts = cv2.GaussianBlur(counts, (0, 0), rng.uniform(0.4, 0.7))
    signal = np.log(float(quanta.mean()) / np.maximum(counts, 1)) / densest
    return np.maximum(signal, 0)


def _add_marker(rng, attenuation, soft, inside, lead) -> None:
    """Draw a lead L and initials on a plastic plate beside the hand or on its rim."""
    size = max(int(rng.uniform(0.07, 0.12) * max(soft.shape)), 8)
    plate = np.zeros((2 * size, size), np.uint8)
    plate[1:-1, 1:-1] = rng.integers(4, 20)
    stroke = max(round(size * rng.uniform(0.11, 0.18)), 1)
    top, left, foot = size // 3, round(0.3 * size), size // 3 + round(0.75 * size)
    plate[top:foot, left : left + stroke] = 255
    plate[foot - stroke : foot, left : left + round(0.45 * size)] = 255
    letters = "".join(rng.choice(list("ABCDEFGHJKLMNPRSTVW"), rng.integers(2, 4)))
    at = round(0.12 * size), round(1.6 * size)
    font, height = cv2.FONT_HERSHEY_SIMPLEX, size / (27 * len(letters))
    cv2.putText(plate, letters, at, font, height, 255, max(stroke // 2, 1), cv2.LINE_AA)
    side = int(2.3 * size)
    turn = cv2.getRotationMatrix2D((size / 2, size), rng.normal(0, 15), 1.0)
    turn[:, 2] += ((side - size) / 2, side / 2 - size)
    plate = cv2.warpAffine(plate, turn, (side, side))
    touches = rng.random() < 0.15
    for _ in range(40):
        row = rng.integers(soft.shape[0] - side)
        # Markers lie on the side of the little finger as a rule.
        column = int(rng.beta(0.6, 2.0) * max(soft.shape[1] - side, 0))
        window = np.s_[row : row + side, column : column + side]
        part = attenuation[window]
        marker = plate[:, : part.shape[1]]
        on_hand = (soft[window][marker > 0] > 0).mean()
        fits = 0.02 < on_hand < 0.15 if touches else on_hand == 0
        if fits and inside[window].min() > -size:
            part += marker * np.float32(lead / 255)
            return


def _display(rng, backdrop: Backdrop, signal, inside) -> np.ndarray:
    """Display the signal: (row, column) uint8, air dark, bone bright."""
    air, contrast = rng.uniform(*backdrop.air), rng.uniform(*backdrop.contrast)
    level = air + contrast * signal ** rng.uniform(1.05, 1.6)
    level += backdrop.unevenness * _slow_field(rng, signal.shape)
    # A frame turned after the exposure leaves corners that are often white.
    bright = 0.5 if backdrop.is_tilted else 0.15
    if rng.random() < bright:
        outside = rng.uniform(0.5, 0.97)
    else:
        outside = air * rng.choice([0.0, 0.5, 1.0], p=[0.6, 0.2, 0.2])
    level = np.where(inside > 0, level, outside)
    if rng.random() < 0.5:
        y, x = _unit_grid(level.shape)
        strength = rng.uniform(0.1, 0.5) * (1 + np.sign(rng.normal()) * (x + y) / 2)
        level += strength * np.exp(-((inside / rng.uniform(1.5, 5)) ** 2))
    level = cv2.GaussianBlur(level.astype(np.float32), (0, 0), 0.5)
    return np.clip(np.round(255 * level), 0, 255).astype(np.uint8)


def _slow_field(rng, shape) -> np.ndarray:
    """Uneven exposure of about unit size: a slope, a bowl, often a second field."""
    y, x = _unit_grid(shape)
    slope, bowl = rng.normal(0, 0.5, (2, 2))
    field = slope[0] * y + slope[1] * x + bowl[0] * y**2 + bowl[1] * x**2
    if rng.random() < 0.5:
        start, width = rng.uniform(-1.2, 0.6), rng.uniform(0.4, 1.6)
        across = y + rng.normal(0, 0.05) * x - start
        field += rng.uniform(0.3, 0.8) * ((across > 0) & (across < width))
    return field.astype(np.float32)


def _unit_grid(shape) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns from -1 to 1, float32, to be broadcast."""
    y, x = (np.linspace(-1, 1, count, dtype=np.float32) for count in shape)
    return y[:, None], x[None, :]
