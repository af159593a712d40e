"""A person at the annotator's page who knows the true mask: what is seen and drawn."""

import math
import time
from dataclasses import dataclass, field

import cv2
import numpy as np

from boneage.io.radiographs import Mask

DECIDE_S, KEY_S = 1.35, 0.28
POINT_A_S, POINT_B_S = -0.107, 0.223
TREMOR_PX, TREMOR_POINTS = 1.5, 4
"""Standard deviation, and over how many points it is smoothed."""
SIZE_STEP = 1.3
"""What a key changes the brush by."""
BRUSHES_PX = (40, 20, 10, 5, 2)
"""Radii on the screen, the largest that fits is taken."""
GAP_PX = 12
"""A stroke goes on over so many pixels of the radiograph that are right already."""

Point = tuple[float, float]


@dataclass
class Work:
    """What one correction took."""

    radiograph_id: str
    tools: str
    dice_before: float
    dice_after: float = 0.0
    gestures: int = 0
    undone: int = 0
    person_s: float = 0.0
    page_s: float = 0.0
    drawn_px: float = 0.0
    enough: float = 0.98
    """Dice at which the work is done."""


@dataclass
class Person:
    """A person at one radiograph of the page, with the true mask in mind."""

    page: object
    truth: Mask
    work: Work
    tool: str = "b"
    brush_px: float = 10
    at: Point = (0.0, 0.0)
    scale: float = 1.0
    corner: Point = (0.0, 0.0)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def look(self) -> Mask:
        """The mask on the page."""
        box = self.page.locator("#mask").bounding_box()
        runs, width, height = self.page.evaluate(LOOK)
        self.scale, self.corner = box["width"] / width, (box["x"], box["y"])
        values = np.zeros(len(runs), np.uint8)
        values[1::2] = 255
        return np.repeat(values, runs).reshape(height, width)

    def key(self, key: str) -> None:
        """Press a key, and wait until the page is ready."""
        self.work.person_s += KEY_S
        start = time.perf_counter()
        self.page.keyboard.press(key)
        self._wait()
        self.work.page_s += time.perf_counter() - start

    def _wait(self) -> None:
        self.page.wait_for_selector("#view[aria-busy=false]")

    def change(self, key: str) -> None:
        """A gesture by key: a correction of the whole mask, or undo."""
        self.work.gestures += 1
        self.work.person_s += DECIDE_S
        self.key(key)

    def take_back(self, before: Mask, after: Mask) -> None:
        """Undo the last gesture, if it changed anything."""
        if np.array_equal(before, after):
            return
        self.change("z")
        self.work.undone += 1

    def choose(self, tool: str) -> None:
        """Choose a tool, unless it is in hand."""
        if tool != self.tool:
            self.key(tool)
            self.tool = tool

    def size(self, radius_px: float) -> None:
        """Set the brush, step by step."""
        steps = round(abs(math.log(radius_px / self.brush_px) / math.log(SIZE_STEP)))
        self.work.person_s += KEY_S * steps
        self.page.locator("#brush_px").fill(str(round(radius_px)))
        self.page.locator("#view").focus()
        self.brush_px = radius_px

    def draw(self, points: np.ndarray, width_px: float) -> None:
        """One gesture through points, (n, 2) row and column of the radiograph.

        width_px: how exactly the first one must be met, on the screen.
        """
        noise = self.rng.normal(0, TREMOR_PX, (len(points) + TREMOR_POINTS - 1, 2))
        kernel = np.full(TREMOR_POINTS, TREMOR_POINTS**-0.5)
        tremor = [np.convolve(axis, kernel, "valid") for axis in noise.T]
        exact = np.add(self.corner, self.scale * (points[:, ::-1] + 0.5))
        screen = [tuple(point) for point in exact + np.stack(tremor, axis=1)]
        far = math.dist(self.at, screen[0])
        bits = math.log2(far / max(width_px, 4) + 1)
        length = sum(map(math.dist, screen, screen[1:]))
        self.work.gestures += 1
        self.work.person_s += DECIDE_S + max(0, POINT_A_S + POINT_B_S * bits)
        self.work.drawn_px += length
        mouse = self.page.mouse
        mouse.move(*screen[0])
        mouse.down()
        for x, y in screen[1:]:
            mouse.move(x, y)
        start = time.perf_counter()
        mouse.up()
        self._wait()
        self.work.page_s += time.perf_counter() - start
        self.at = screen[-1]


# the mask's run lengths, its width and height
LOOK = """() => {
    const canvas = document.querySelector("#mask");
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const runs = [];
    let run = 0, inside = false;
    for (let at = 3; at < data.length; at += 4) {
        if (data[at] > 0 !== inside) { runs.push(run); run = 0; inside = !inside; }
        run++;
    }
    return [[...runs, run], width, height];
}"""


def largest_error(mask: Mask, truth: Mask) -> tuple[np.ndarray, bool]:
    """The largest piece that is wrong, (row, column) bool; whether it is missing."""
    pieces = []
    for is_missing, wrong in (
        (True, (mask == 0) & (truth > 0)),
        (False, (mask > 0) & (truth == 0)),
    ):
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(
            wrong.astype(np.uint8), connectivity=8
        )
        if len(statistics) > 1:
            largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
            area = int(statistics[largest, cv2.CC_STAT_AREA])
            pieces.append((area, labels == largest, is_missing))
    _, piece, is_missing = max(pieces, key=lambda each: each[0])
    return piece, is_missing


def longest_stroke(area: np.ndarray, is_near: np.ndarray) -> np.ndarray:
    """Of the area's outlines, the longest stretch that is near: (n, 2) row, column."""
    outlines, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    best = np.zeros((0, 2), int)
    for outline in outlines:
        points = outline[:, 0, ::-1]
        near = is_near[points[:, 0], points[:, 1]]
        if not near.all():
            # begin where it is far, so that no stroke is cut in two
            start = int(np.argmin(near))
            points, near = np.roll(points, -start, axis=0), np.roll(near, -start)
            places = np.flatnonzero(near)
            runs = np.split(places, np.flatnonzero(np.diff(places) > GAP_PX) + 1)
            longest = max(runs, key=len)
            points = (
                points[longest[0] : longest[-1] + 1] if len(longest) else points[:0]
            )
        if len(points) > len(best):
            best = points
    return best


def brush_path(person: Person, piece: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Along the edge of what is to become `target`, on its own side, past the piece.

    Sets the brush to the largest that covers nine tenths of the piece without leaving
    the target.
    """
    depth = cv2.distanceTransform(np.pad(target.astype(np.uint8), 1, mode="edge"), 2, 5)
    depth = depth[1:-1, 1:-1]
    for screen_px in BRUSHES_PX:
        radius = screen_px / person.scale
        centres = (depth >= radius).astype(np.uint8)
        reach = cv2.distanceTransform(1 - centres, cv2.DIST_L2, 5)
        if (reach[piece] <= radius).mean() >= 0.9 or screen_px == BRUSHES_PX[-1]:
            break
    person.size(screen_px)
    near = cv2.distanceTransform((~piece).astype(np.uint8), cv2.DIST_L2, 5)
    # along the edge of the target; deep inside, along the edge of the piece
    for where, reach_px in (
        (centres, radius - 1),
        (centres & (near <= radius / 3), 1e9),
    ):
        best = longest_stroke(where.astype(np.uint8), near <= reach_px)
        if len(best):
            break
    if not len(best):  # thinner than the smallest brush
        best = np.argwhere(piece)[:1]
    return best[:: max(1, int(4 / person.scale))]
