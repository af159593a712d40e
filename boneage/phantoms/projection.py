"""Projection of a simulated hand to maps of soft-tissue and bone thickness in mm."""

import cv2
import numpy as np

from boneage.phantoms.anatomy import HandModel, Ossicle, Tube

SPONGY_FRACTION = 0.18  # of bone inside carpals and epiphyses


def project(
    hand: HandModel, to_px: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Project a hand to thickness maps.

    Args:
        hand: the hand in mm.
        to_px: (2, 3) similarity from (x, y) mm to (column, row) px.
        shape: (rows, columns) of the frame.

    Returns:
        Thickness in mm of the hand, bone included, and of compact bone alone: two
        (row, column) float32 maps.
    """
    bone = np.zeros(shape, np.float32)
    for tube in hand.tubes:
        _project_tube(bone, tube, to_px)
    for ossicle in hand.ossicles:
        _project_ossicle(bone, ossicle, to_px)
    soft = _project_outlines(hand, to_px, shape)
    # A splayed bone may stick out of the outline by a pixel.
    bone[soft == 0] = 0
    return soft, bone


def scale_of(to_px: np.ndarray) -> float:
    """Pixels per mm."""
    return float(np.hypot(to_px[0, 0], to_px[1, 0]))


def _box(bone: np.ndarray, corners: np.ndarray):
    """View of `bone` around corners (point, 2) px, and its column and row grids."""
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    view = bone[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
    columns = np.arange(low[0], low[0] + view.shape[1], dtype=np.float32)
    rows = np.arange(low[1], low[1] + view.shape[0], dtype=np.float32)
    return view, columns[None, :], rows[:, None]


def _project_tube(bone: np.ndarray, tube: Tube, to_px: np.ndarray) -> None:
    """Add the thickness of a tubular shaft: outer less inner elliptic cylinder."""
    scale = scale_of(to_px)
    start = to_px[:, :2] @ tube.start + to_px[:, 2]
    along = to_px[:, :2] @ tube.direction / scale
    length, widest = tube.profile[-1, 0], tube.profile[:, 1].max()
    ends = np.array([start, start + length * scale * along])
    reach = widest * scale * np.abs(along[::-1])
    view, x, y = _box(bone, np.vstack([ends - reach, ends + reach]))
    if not view.size:
        return
    x, y = (x - start[0]) / scale, (y - start[1]) / scale
    along = along.astype(np.float32)
    t = y * along[0] - x * along[1]
    s = x * along[0] + y * along[1] + tube.shear * t
    station = (s * ((len(tube.profile) - 1) / length) + 0.5).astype(np.int32)
    inside = (s >= 0) & (s <= length)
    table = tube.profile[np.where(inside, station, 0)]
    half, wall, canal = table[..., 1], table[..., 2], table[..., 3]
    outer = np.sqrt(np.maximum(half**2 - t**2, 0))
    inner = np.sqrt(np.maximum(np.maximum(half - wall, 0) ** 2 - t**2, 0))
    view += np.where(inside, 2 * tube.depth * (outer - (1 - canal) * inner), 0)


def _project_ossicle(bone: np.ndarray, ossicle: Ossicle, to_px: np.ndarray) -> None:
    """Add the thickness of a thin shell around spongy bone."""
    scale = scale_of(to_px)
    centre = to_px[:, :2] @ ossicle.centre + to_px[:, 2]
    first = to_px[:, :2] @ ossicle.axis / scale
    second = to_px[:, :2] @ np.array([-ossicle.axis[1], ossicle.axis[0]]) / scale
    reach = 1.3 * max(ossicle.semi_axes) * scale
    view, x, y = _box(bone, np.array([centre - reach, centre + reach]))
    if not view.size:
        return
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    a, b = ossicle.semi_axes
    p = (x * first[0] + y * first[1]) / (a * scale)
    q = (x * second[0] + y * second[1]) / (b * scale) + ossicle.bow * (p**2 - 0.5)
    radius = np.ones_like(p)
    angle = np.arctan2(q, p)
    for order, amplitude, phase in ossicle.lobes:
        radius += amplitude * np.cos(order * (angle - phase))
    rho2 = (p**2 + q**2) / radius**2
    shell = min(0.6, 0.14 * min(a, b))
    hollow = (1 - shell / min(a, b)) ** 2
    outer = np.sqrt(np.maximum(1 - rho2, 0)) * ossicle.depth
    inner = np.sqrt(np.maximum(1 - rho2 / hollow, 0)) * max(ossicle.depth - shell, 0)
    view += (2 * (outer - (1 - SPONGY_FRACTION) * inner)).astype(np.float32)


def _fill(image: np.ndarray, polygon: np.ndarray, value: float) -> None:
    points = np.round(polygon * 16).astype(np.int32)
    cv2.fillPoly(image, [points], value, lineType=cv2.LINE_8, shift=4)


def _project_outlines(hand: HandModel, to_px: np.ndarray, shape) -> np.ndarray:
    """Thickness in mm of the soft-tissue body; more than 0 on its silhouette only."""
    scale = scale_of(to_px)
    # A border keeps the frame's own edge from rounding off the forearm.
    border = int(6 * hand.girth * scale) + 2
    silhouette = np.zeros((shape[0] + 2 * border, shape[1] + 2 * border), np.uint8)
    # The half depth changes slowly: a quarter of the resolution will do.
    quarter = np.zeros((2, -(-shape[0] // 4), -(-shape[1] // 4)), np.float32)
    for polygon, half_depth in hand.outlines.values():
        points = polygon @ to_px[:, :2].T + to_px[:, 2]
        _fill(silhouette, points + border, 1)
        _fill(quarter[0], points / 4, half_depth)
        _fill(quarter[1], points / 4, 1)
    # Closing by distance rounds the webs without touching the fingertips.
    web = 1.6 * hand.girth * scale
    precise = cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    closed = cv2.distanceTransform(1 - silhouette, *precise) < web
    depth = cv2.distanceTransform(closed.astype(np.uint8), *precise) - web
    depth = np.maximum(depth[border:-border, border:-border], 0)
    # Smooth the steps of the pixel grid, within the silhouette.
    depth = np.where(depth > 0, cv2.GaussianBlur(depth, (0, 0), 0.8), 0)
    sigma = max(1.25 * hand.girth * scale, 0.5)
    weighted, weight = (cv2.GaussianBlur(plane, (0, 0), sigma) for plane in quarter)
    half = cv2.resize(weighted / (weight + 1e-3), None, fx=4, fy=4)
    half = np.maximum(half[: shape[0], : shape[1]], 2.0 * hand.girth)
    # Elliptic edges, steeper than a circle's, and a flat palm.
    reach = np.minimum(1.7 * depth / scale, half)
    return 2 * np.sqrt(reach * (2 * half - reach))
