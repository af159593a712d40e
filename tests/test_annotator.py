"""The annotator in a real browser: what a person draws is what lies on disk."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from boneage import phantom, radiographs
from boneage.segmentation import annotator, waiting
from boneage.segmentation.annotation_queue import AnnotationQueue
from boneage.segmentation.desk import CLOSE, Desk
from boneage.segmentation.oracle import Query
from boneage.segmentation.query_log import QueryLog
from boneage.segmentation.settings import PageSettings

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]
QUIET = PageSettings(open_page=False)
PORTRAIT, LANDSCAPE, SQUARE = 7, 8, 9
PATIENCE_MS = 60_000


@pytest.fixture(autouse=True)
def _no_farewell(monkeypatch):
    monkeypatch.setattr(annotator, "FAREWELL_S", 0)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def lay_out(layout, *ids, with_map=True) -> dict[int, np.ndarray]:
    """Phantoms of three formats in gt/new, asked about in round 3; their proposals."""
    proposals = {}
    for i in ids:
        made = phantom.simulate(np.random.default_rng(i), 15 * i, True, 240)
        radiograph, mask = made.radiograph, made.mask
        if i == LANDSCAPE:
            radiograph, mask = np.rot90(radiograph).copy(), np.rot90(mask).copy()
        if i == SQUARE:
            radiograph, mask = map(radiographs.pad_to_square, (radiograph, mask))
        # a piece that is no hand, in a corner: shifted, it would show
        mask[:20, :20] = 255
        proposals[i] = mask
        radiographs.write(layout.query(i), radiograph)
        radiographs.write(layout.proposal(i), mask)
        if with_map:
            radiographs.write(layout.disagreement(i), 255 - mask)
    scores = [Query(i, 1 - i / 20, 3) for i in ids]
    QueryLog(layout.queries, "vote_entropy").asked(scores)
    return proposals


class Tab:
    """One browser tab on the annotator."""

    def __init__(self, page, address):
        self.page = page
        self.requested, self.faults = [], []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(address)
        self.shows("1 of")

    def shows(self, text, where="#headline"):
        """Wait until `text` can be read."""
        self.page.wait_for_function(
            "([where, text]) => document.querySelector(where)"
            "?.textContent.includes(text)",
            arg=[where, text],
            timeout=PATIENCE_MS,
        )
        return self

    def ready(self, radiograph_id):
        """Wait until a canvas built since the last key shows a radiograph."""
        self.page.wait_for_function(
            READY, arg=f"of-{radiograph_id}", timeout=PATIENCE_MS
        )
        return self

    def correct(self, key, radiograph_id):
        """Press a key that hands the canvas another mask."""
        return self.press(key).ready(radiograph_id)

    def press(self, key, then="", where="#headline"):
        """Press a key and wait for what it brings about."""
        self.page.evaluate(
            "window.canvasBefore = document.querySelector('#canvas canvas')"
        )
        self.page.keyboard.press(key)
        return self.shows(then, where) if then else self

    def stroke(self, layout, radiograph_id, *points):
        """Draw through points (row, column) of the radiograph."""
        height, width = radiographs.read(layout.query(radiograph_id)).shape
        box = self.page.locator("#canvas canvas").first.bounding_box()
        zoom = float(self.page.locator("#canvas .zoom-number").inner_text()[:-1]) / 100
        left = box["x"] + (box["width"] - zoom * width) / 2
        top = box["y"] + (box["height"] - zoom * height) / 2
        mouse = self.page.mouse
        for number, (row, column) in enumerate(points):
            x, y = left + zoom * (column + 0.5), top + zoom * (row + 0.5)
            mouse.move(x, y, steps=1 if number == 0 else 8)
            if number == 0:
                mouse.down()
        mouse.up()
        self.page.wait_for_timeout(700)
        return self


# true once one and the same canvas has been there for a while: it is built anew for
# each mask, and the brush gets its textures after the picture
READY = """(name) => {
    const place = document.querySelector("#canvas");
    const canvas = place?.querySelector("canvas");
    const built = canvas !== window.canvasBefore && canvas?.clientWidth > 0 && place.classList.contains(name)
        && place.querySelector(".zoom-number");
    if (!built || window.canvasSeen?.canvas !== canvas) {
        window.canvasSeen = { canvas: built && canvas, since: performance.now() };
        return false;
    }
    return performance.now() - window.canvasSeen.since > 1500;
}"""


@pytest.fixture
def annotate(browser, layout):
    """Serve what waits and open tabs on it: annotate() -> a tab."""
    with contextlib.ExitStack() as stack:
        served = []

        def open_tab(size=(1280, 900)):
            if not served:
                desk = Desk(layout, (CLOSE,))
                desk.lay(AnnotationQueue(layout, waiting.waiting_queries(layout)))
                address = stack.enter_context(annotator.serving(desk, QUIET))
                served.extend([address, desk])
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            stack.callback(page.close)
            return Tab(page, served[0])

        open_tab.served = served
        yield open_tab


def saved(layout, radiograph_id) -> np.ndarray:
    return radiographs.read(layout.answer(radiograph_id))


def log_of(layout, action) -> list[dict]:
    entries = QueryLog(layout.queries).read()
    return [entry for entry in entries if entry["action"] == action]


def test_proposals_saved_untouched_are_the_proposals_to_the_pixel(annotate, layout):
    """Portrait, landscape and square, one after the other on one canvas."""
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate()
    for number, i in enumerate(proposals):
        tab.shows(f"{number + 1} of 3, round 3").ready(i)
        # an edit and its undoing make the canvas send its own pixels
        tab.stroke(layout, i, (60, 60), (90, 60)).press("z")
        tab.page.wait_for_timeout(700)
        tab.press("s", f"Radiograph {i} saved", "#message")
        np.testing.assert_array_equal(saved(layout, i), proposals[i])
    tab.shows("Nothing is waiting any more", "#empty")
    accepted = log_of(layout, "accepted")
    assert [entry["id"] for entry in accepted] == [7, 8, 9]
    assert {entry["dice"] for entry in accepted} == {1.0}
    assert tab.faults == []
    hosts = {url.split("/")[2] for url in tab.requested if url.startswith("http")}
    assert hosts == {annotate.served[0].split("/")[2]}


def disk(shape, row, column, radius) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.mark.parametrize("i", [PORTRAIT, LANDSCAPE, SQUARE])
def test_a_stroke_lies_where_it_was_drawn(annotate, layout, i):
    proposal = lay_out(layout, i)[i]
    tab = annotate().ready(i).correct("k", i)
    tab.stroke(layout, i, (40, 30), (40, 100))
    tab.press("s", f"Radiograph {i} saved", "#message")
    mask = saved(layout, i)
    assert mask.shape == proposal.shape
    assert set(np.unique(mask)) == {0, 255}
    rows, columns = np.nonzero(mask)
    radius = (rows.max() - rows.min()) / 2
    assert abs((rows.max() + rows.min()) / 2 - 40) <= 1
    assert abs(columns.min() + radius - 30) <= 1.5
    assert abs(columns.max() - radius - 100) <= 1.5
    print(radius, rows.min(), rows.max(), columns.min(), columns.max())
    assert mask[40, 30:101].all()
