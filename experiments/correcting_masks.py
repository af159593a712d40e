"""How much work is it to correct a mask? A scripted person at the annotator's page.

    python -m experiments.correcting_masks --radiographs DIR --masks DIR --out FILE.csv

The person knows the true mask, and corrects a coarse mask in a real browser until its
Dice with the truth reaches 0.98: once with brush and eraser alone, once with all tools.
Every stroke is drawn point by point. A gesture is a stroke, a click, or a key that
changes the mask; one that is undone counts twice.

Seconds are those of the page, as measured, and those of the person, by a model: 1.35 s
to decide on each gesture and 0.28 s a key (Card, Moran and Newell, Communications of
the ACM 23, 1980), pointing as measured with a mouse (MacKenzie, Sellen and Buxton, CHI
1991), and a speed along an edge that is not known, so that the table has three. A busy
machine does not change the person. The hand trembles by a pixel and a half of the
screen.
"""

import contextlib
import csv
import io
import math
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import tyro

from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.annotator import server
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, AnnotationRound
from boneage.io import radiographs
from boneage.io.radiographs import Mask
from boneage.layout import Layout
from boneage.segmentation import coarse
from boneage.segmentation.dice import dice, known_masks
from boneage.web import WebSettings

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
DECIDE_S, KEY_S = 1.35, 0.28
POINT_A_S, POINT_B_S = -0.107, 0.223
SPEEDS_PX_PER_S = (75, 150, 300)
"""Along an edge, pixels of the screen."""
TREMOR_PX, TREMOR_POINTS = 1.5, 4
"""Standard deviation, and over how many points it is smoothed."""
CLICK_PX = 8
"""Radius on the screen of what is worth a click."""
SIZE_STEP = 1.3
"""What a key changes the brush by."""
BRUSHES_PX = (40, 20, 10, 5, 2)
"""Radii on the screen, the largest that fits is taken."""
GAP_PX = 12
"""A stroke goes on over so many pixels of the radiograph that are right already."""
WORTH = 0.4
"""Of what is wrong, what a click must correct, or else it is undone."""
MOST_GESTURES = 80

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
    refused: set[tuple[int, int]] = field(default_factory=set)
    """Where a click did no good."""

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


def area_path(piece: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Around a piece: along the true edge outside, generously where it is right."""
    around = cv2.dilate(piece.astype(np.uint8), np.ones((13, 13), np.uint8))
    area = (around & target.astype(np.uint8)).astype(np.uint8)
    outlines, _ = cv2.findContours(area, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)
    return cv2.approxPolyDP(outline, 0.7, closed=True)[:, 0, ::-1]


def by_brush(person: Person, mask: Mask) -> None:
    """Correct the largest error with brush or eraser."""
    piece, is_missing = largest_error(mask, person.truth)
    target = (person.truth > 0) == is_missing
    path = brush_path(person, piece, target)
    person.choose("b" if is_missing else "e")
    person.draw(path, person.brush_px)


def by_all_tools(person: Person, mask: Mask) -> None:
    """Correct the largest error: a click, or else an area, or else the brush."""
    piece, is_missing = largest_error(mask, person.truth)
    target = (person.truth > 0) == is_missing
    depth = cv2.distanceTransform(piece.astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    is_thick = depth.max() * person.scale > CLICK_PX
    spot = (int(row) // 20, int(column) // 20)
    if is_thick and spot not in person.refused:
        person.choose("i")
        person.draw(np.array([[row, column]]), depth.max() * person.scale)
        after = person.look()
        gain = np.count_nonzero(mask != person.truth) - np.count_nonzero(
            after != person.truth
        )
        if gain < WORTH * np.count_nonzero(piece):
            person.take_back(mask, after)
            person.refused.add(spot)
    elif is_thick:
        person.choose("a" if is_missing else "w")
        path = area_path(piece, target)
        # drawn in one go, and released: that closes it
        person.draw(np.concatenate([path, path[:1]]), 10)
    else:
        by_brush(person, mask)


def refine(person: Person, mask: Mask) -> None:
    """Let the page move the whole edge, and keep that if it is better."""
    person.change("r")
    after = person.look()
    if dice(after, person.truth) < dice(mask, person.truth):
        person.take_back(mask, after)


def correct(person: Person, enough: float) -> None:
    """Work until the mask is good enough."""
    step, may_refine = by_brush, False
    if person.work.tools == "all":
        step, may_refine = by_all_tools, True
    while True:
        mask = person.look()
        person.work.dice_after = float(dice(mask, person.truth))
        if person.work.dice_after >= enough or person.work.gestures >= MOST_GESTURES:
            return
        piece, _ = largest_error(mask, person.truth)
        wrong = np.count_nonzero(mask != person.truth)
        # what is wrong lies all along the edge
        if may_refine and np.count_nonzero(piece) < wrong / 3:
            refine(person, mask)
            may_refine = False
        else:
            step(person, mask)


@dataclass(frozen=True)
class Options:
    """What is corrected."""

    radiographs: Path
    """folder of radiographs <id>.png"""
    masks: Path
    """folder of their true masks <id>_bin.png"""
    out: Path
    """table of every correction, CSV"""
    count: int = 40
    """number of radiographs: those with the worst coarse masks"""
    enough: float = 0.98
    """Dice at which a correction is done"""


def chosen(options: Options) -> list[tuple[str, Mask, Mask, np.ndarray]]:
    """Id, coarse mask, true mask and radiograph of the worst coarse masks."""
    rows = []
    for i, path in known_masks(options.masks).items():
        file = options.radiographs / f"{i}.png"
        if not file.exists():
            continue
        radiograph = radiographs.read(file)
        truth = radiographs.read_mask(path, radiograph.shape)
        proposal = coarse.coarse_mask(radiograph)
        if (score := dice(proposal, truth)) < options.enough:
            rows.append((float(score), str(i), proposal, truth, radiograph))
    rows.sort(key=lambda row: row[0])
    return [row[1:] for row in rows[: options.count]]


def work_through(
    rows: list[tuple[str, Mask, Mask, np.ndarray]], enough: float, out: Path
) -> list[Work]:
    """Correct each with both sets of tools, in turn; every line is on disk at once."""
    from playwright.sync_api import sync_playwright

    done: list[Work] = []
    with (
        sync_playwright() as starter,
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as served,
        out.open("w", newline="") as file,
    ):
        layout = Layout(Path(folder), Path(folder))
        for place, (_, proposal, _, radiograph) in enumerate(rows, 1):
            radiographs.write(layout.proposal(place), proposal)
            radiographs.write(layout.query(place), radiograph)
        queries = [
            Query(place, 1 - place / 1e4, 1) for place in range(1, len(rows) + 1)
        ]
        QueryLog(layout.queries).log_asked(queries)
        table = csv.DictWriter(file, list(asdict(Work("", "", 0))), lineterminator="\n")
        table.writeheader()
        annotation_round = AnnotationRound(layout, (CLOSE,))
        waiting = query_folder.waiting_queries(layout)
        annotation_round.publish(AnnotationQueue(layout, waiting))
        with contextlib.redirect_stdout(io.StringIO()):
            serving = server.serving(annotation_round, WebSettings(open_page=False))
            address = served.enter_context(serving)
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.add_init_script("localStorage.guide = 'closed'")
        page.goto(address)
        for place, (name, proposal, truth, _) in enumerate(rows, 1):
            page.wait_for_selector(f"#view[aria-busy=false][data-shown='{place}']")
            for tools in ("brush", "all"):
                page.keyboard.press("o")
                page.keyboard.press("b")
                page.wait_for_selector("#view[aria-busy=false]")
                work = Work(name, tools, float(dice(proposal, truth)))
                person = Person(page, truth, work)
                person.size(10)
                work.person_s = 0.0  # so far, both are the same
                correct(person, enough)
                done.append(work)
                table.writerow(asdict(work))
                file.flush()
                print(work, flush=True)
            page.keyboard.press("n")
        browser.close()
    return done


def summary(done: list[Work]) -> list[str]:
    """Medians of both, and paired ratios with 95 % intervals (bootstrap)."""
    by_tools = {
        tools: {w.radiograph_id: w for w in done if w.tools == tools}
        for tools in ("brush", "all")
    }
    ids = [i for i in by_tools["brush"] if i in by_tools["all"]]
    rng = np.random.default_rng(0)
    lines = []
    values = {"gestures": lambda w: w.gestures, "page, s": lambda w: w.page_s}
    for speed in SPEEDS_PX_PER_S:
        values[f"person and page at {speed} px/s, s"] = lambda w, speed=speed: (
            w.person_s + w.page_s + w.drawn_px / speed
        )
    for heading, value in values.items():
        old, new = (
            np.array([value(by_tools[tools][i]) for i in ids], float)
            for tools in ("brush", "all")
        )
        draws = rng.integers(0, len(ids), (2000, len(ids)))
        ratios = new[draws].sum(axis=1) / old[draws].sum(axis=1)
        low, high = np.quantile(ratios, [0.025, 0.975])
        lines.append(
            f"{heading}: brush and eraser {old.mean():.1f}, all tools "
            f"{new.mean():.1f}; ratio {new.sum() / old.sum():.2f} "
            f"({low:.2f} to {high:.2f}), {len(ids)} radiographs"
        )
    for tools, works in by_tools.items():
        reached = sum(w.dice_after >= 0.98 for w in works.values())
        lines.append(f"{tools}: {reached} of {len(works)} reached the aim")
    return lines


def main(options: Options) -> None:
    """Correct, and print the comparison."""
    done = work_through(chosen(options), options.enough, options.out)
    print("\n".join(summary(done)))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
