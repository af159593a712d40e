"""The annotator in a real browser: what a person draws is what lies on disk."""

import contextlib
import json
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Decision, Query
from boneage.active_learning.query_log import QueryLog
from boneage.annotator import mask_edits, server
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, AnnotationRound
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import radiographs, transforms
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.web import WebSettings

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]
QUIET = WebSettings(open_page=False)
PORTRAIT, LANDSCAPE, SQUARE = 7, 8, 9
PATIENCE_MS = 60_000


@pytest.fixture(autouse=True)
def _no_farewell(monkeypatch):
    monkeypatch.setattr(server, "FAREWELL_S", 0)


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
        made = phantoms_radiograph.simulate(np.random.default_rng(i), 15 * i, True, 240)
        radiograph, mask = made.radiograph, made.mask
        if i == LANDSCAPE:
            radiograph, mask = np.rot90(radiograph).copy(), np.rot90(mask).copy()
        if i == SQUARE:
            radiograph, mask = map(transforms.pad_to_square, (radiograph, mask))
        # a piece that is no hand, in a corner: shifted, it would show
        mask[:20, :20] = 255
        proposals[i] = mask
        radiographs.write(layout.query(i), radiograph)
        radiographs.write(layout.proposal(i), mask)
        if with_map:
            radiographs.write(layout.disagreement(i), 255 - mask)
    scores = [Query(i, 1 - i / 20, 3) for i in ids]
    QueryLog(layout.queries, "vote_entropy").log_asked(scores)
    return proposals


class Tab:
    """One browser tab on the annotator."""

    def __init__(self, page, address, heading="1 of"):
        self.page = page
        self.requested, self.faults = [], []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(address)
        self.shows(heading)

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
    const built = canvas !== window.canvasBefore && canvas?.clientWidth > 0
        && place.classList.contains(name) && place.querySelector(".zoom-number");
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

        def open_tab(heading="1 of"):
            if not served:
                desk = AnnotationRound(layout, (CLOSE,))
                desk.lay(AnnotationQueue(layout, query_folder.waiting_queries(layout)))
                address = stack.enter_context(server.serving(desk, QUIET))
                served.extend([address, desk])
            page = browser.new_page(viewport={"width": 1000, "height": 640})
            stack.callback(page.close)
            return Tab(page, served[0], heading)

        open_tab.served = served
        yield open_tab


def saved(layout, radiograph_id) -> np.ndarray:
    return radiographs.read(layout.answer(radiograph_id))


def log_of(layout, action) -> list[dict]:
    entries = QueryLog(layout.queries).entries()
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


def tube(shape, start, end, radius) -> np.ndarray:
    """Pixels nearer than `radius` to a line from start to end (row, column)."""
    points = np.stack(np.indices(shape), axis=-1).astype(float)
    along = np.subtract(end, start)
    share = ((points - start) @ along / (along @ along)).clip(0, 1)
    return np.linalg.norm(points - start - share[..., None] * along, axis=-1) < radius


def brush_radius(mask) -> float:
    """Of a stroke along a row."""
    return np.ptp(np.flatnonzero(mask.any(axis=1))) / 2


def test_strokes_lie_where_they_are_drawn(annotate, layout):
    """Portrait, landscape and square, each on a cleared canvas."""
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    start, end = (40, 30), (40, 100)
    tab = annotate()
    for i, proposal in proposals.items():
        tab.ready(i).correct("k", i).stroke(layout, i, start, end)
        tab.press("s", f"Radiograph {i} saved", "#message")
        mask = saved(layout, i)
        assert mask.shape == proposal.shape
        assert set(np.unique(mask)) == {0, 255}
        radius = brush_radius(mask)
        assert 2 < radius < 6
        assert mask[tube(mask.shape, start, end, radius - 1)].all()
        assert not mask[~tube(mask.shape, start, end, radius + 1.5)].any()


def test_draw_erase_refine_save_next(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT)
    drawn, erased = ((60, 5), (90, 5)), ((150, 40), (150, 110))
    tab.stroke(layout, PORTRAIT, *drawn).press("e").stroke(layout, PORTRAIT, *erased)
    tab.press("s", f"Radiograph {PORTRAIT} saved", "#message").ready(SQUARE)
    mask, proposal = saved(layout, PORTRAIT), proposals[PORTRAIT]
    shape, beyond = mask.shape, np.ones(mask.shape, bool)
    for points, value in ((drawn, 255), (erased, 0)):
        assert (mask[tube(shape, *points, 2)] == value).all()
        beyond &= ~tube(shape, *points, 7)
    np.testing.assert_array_equal(mask[beyond], proposal[beyond])
    (line,) = log_of(layout, "annotated")
    assert 0 < line["dice"] < 1
    assert line["seconds"] > 0

    radiograph = radiographs.read(layout.query(SQUARE))
    tab.correct("r", SQUARE).press("s", f"Radiograph {SQUARE} saved", "#message")
    refined = mask_edits.refine_edge(radiograph, proposals[SQUARE])
    assert (refined != proposals[SQUARE]).any()
    np.testing.assert_array_equal(saved(layout, SQUARE), refined)


def test_tool_and_size_stay_as_chosen(annotate, layout):
    """From canvas to canvas, over one-click corrections and to the next radiograph."""
    lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT)
    for key in ("e", "]", "]"):
        tab.press(key).page.wait_for_timeout(500)
    tab.correct("k", PORTRAIT).correct("o", PORTRAIT)
    start, end = (150, 40), (150, 110)
    tab.stroke(layout, PORTRAIT, start, end)
    tab.press("s", f"Radiograph {PORTRAIT} saved", "#message").ready(SQUARE)
    mask = saved(layout, PORTRAIT)
    # 4 px to begin with, two steps larger
    assert not mask[tube(mask.shape, start, end, 5)].any()
    for key in ("b", "[", "[", "["):
        tab.press(key).page.wait_for_timeout(500)
    tab.correct("k", SQUARE).stroke(layout, SQUARE, (40, 30), (40, 100))
    tab.press("s", f"Radiograph {SQUARE} saved", "#message")
    assert brush_radius(saved(layout, SQUARE)) < 2.5


def test_skip_flag_reload_and_the_way_back(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate().ready(PORTRAIT)
    tab.press("n", "2 of 3").ready(LANDSCAPE)
    # a reload in the middle goes on with the radiograph in hand
    tab.page.reload()
    tab.shows("2 of 3").ready(LANDSCAPE)
    tab.press("x", "3 of 3").ready(SQUARE)
    assert set(excluded.flagged(layout)) == {LANDSCAPE}
    tab.press("d").ready(SQUARE)
    tab.press("s", "Nothing is waiting any more", "#empty")
    tab.shows("1 saved; 1 skipped; 1 not usable: 8", "#empty")
    assert tab.page.locator("#finished .thumbnail-item").count() == 3
    # by its thumbnail to the flagged one, by the key to the saved one
    tab.page.evaluate("window.canvasBefore = null")
    tab.page.locator("#finished .thumbnail-item", has_text="8, not").click()
    tab.shows("2 of 3").ready(LANDSCAPE)
    tab.press("s", f"Radiograph {LANDSCAPE} saved", "#message")
    np.testing.assert_array_equal(saved(layout, LANDSCAPE), proposals[LANDSCAPE])
    assert excluded.flagged(layout) == {}
    assert [entry["id"] for entry in log_of(layout, "skipped")] == [PORTRAIT]
    tab.press("g", "Everything is saved. This page can be closed.", "#empty")
    assert annotate.served[1].wait() == "close"


def test_two_tabs_share_the_queue_and_overwrite_nothing_unasked(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    first = annotate().ready(PORTRAIT)
    second = annotate(heading="2 of 2").ready(SQUARE)
    second.press("s", f"Radiograph {SQUARE} saved", "#message")
    second.shows("open in another page", "#message").ready(PORTRAIT)
    second.correct("l", PORTRAIT).press("s", "Nothing is waiting", "#empty")
    theirs = saved(layout, PORTRAIT)
    first.press("s", "saved elsewhere since you opened it", "#message")
    np.testing.assert_array_equal(saved(layout, PORTRAIT), theirs)
    first.press("s", "Nothing is waiting", "#empty")
    np.testing.assert_array_equal(saved(layout, PORTRAIT), proposals[PORTRAIT])


def test_the_training_goes_on_when_the_person_says_so(browser, layout):
    """Two rounds on one page, which gets the second by itself."""
    lay_out(layout, PORTRAIT, SQUARE)
    outcomes, asked = [], threading.Event()

    def train(oracle):
        outcomes.append(oracle.annotate([Query(PORTRAIT, 0.9, 3)]))
        outcomes.append(oracle.annotate([Query(SQUARE, 0.8, 4)]))
        asked.set()

    with server.BrowserOracle(layout, QUIET, "vote_entropy") as oracle:
        training = threading.Thread(target=train, args=[oracle], daemon=True)
        training.start()
        while not oracle.address:
            time.sleep(0.1)
        page = browser.new_page()
        tab = Tab(page, oracle.address, "1 of 1, round 3").ready(PORTRAIT)
        tab.press("s", "Nothing is waiting", "#empty")
        tab.press("g").shows("1 of 1, round 4").ready(SQUARE)
        for _ in range(2):
            page.get_by_role("button", name="Train on, ask no more").click()
            page.wait_for_timeout(1000)
        tab.shows("asks no more", "#empty")
        assert asked.wait(30)
        page.close()
    assert outcomes == [Decision.CONTINUE, Decision.STOP_ASKING]


def fetch(address, data=None, **headers) -> tuple[int, bytes]:
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def served(layout):
    """A page that nobody has opened yet; no browser is needed."""
    lay_out(layout, PORTRAIT)
    desk = AnnotationRound(layout, (CLOSE,))
    desk.lay(AnnotationQueue(layout, query_folder.waiting_queries(layout)))
    with server.serving(desk, QUIET) as address:
        yield address.rstrip("/")


def test_no_other_file_is_given_out(served, layout, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("classified")
    others = Path(tempfile.gettempdir()) / "gradio" / "of_another_user.txt"
    others.parent.mkdir(exist_ok=True)
    others.write_text("classified")
    own = Path(os.environ["GRADIO_TEMP_DIR"])
    assert own.stat().st_mode & 0o077 == 0
    try:
        for path in (
            secret,
            others,
            layout.query(PORTRAIT),
            layout.queries,
            f"{own}/../{tmp_path.name}/secret.txt",
            f"{own}/../../..{secret}",
            f"{own}/..%2f..%2f..{secret}",
            "README.md",
            "../README.md",
            "boneage/layout.py",
            f"file://{secret}",
            "/proc/self/environ",
        ):
            for route in ("gradio_api/file=", "file=", "gradio_api/file/", "static/"):
                status, content = fetch(f"{served}/{route}{path}")
                assert status >= 400, f"{route}{path}"
                assert b"classified" not in content
    finally:
        others.unlink()


def test_no_file_is_read_that_a_forged_drawing_names(served, tmp_path):
    secret = tmp_path / "secret.png"
    radiographs.write(secret, np.full((8, 8), 77, np.uint8))
    forged = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    config = json.loads(fetch(f"{served}/config")[1])
    for function in config["dependencies"]:
        content = json.dumps(
            {
                "data": [{"background": forged, "layers": [forged]}] * 3,
                "fn_index": function["id"],
                "session_hash": "forger",
            }
        ).encode()
        for route in ("gradio_api/run/predict", "gradio_api/queue/join"):
            fetch(f"{served}/{route}", content, **{"Content-Type": "application/json"})
    own = Path(os.environ["GRADIO_TEMP_DIR"])
    assert not [p for p in own.rglob("*") if p.is_file() and p.name == secret.name]


def test_fifty_at_once_are_served(served):
    with ThreadPoolExecutor(50) as clients:
        for route in ("", "config"):
            answers = list(clients.map(fetch, [f"{served}/{route}"] * 50))
            assert {status for status, _ in answers} == {200}
            assert len({len(content) for _, content in answers}) == 1


def test_upload_beyond_all_drawings_is_refused_and_not_kept(layout, monkeypatch):
    monkeypatch.setattr(server, "LARGEST_UPLOAD_BYTES", 1 << 20)
    lay_out(layout, PORTRAIT)
    desk = AnnotationRound(layout, (CLOSE,))
    desk.lay(AnnotationQueue(layout, query_folder.waiting_queries(layout)))
    with server.serving(desk, QUIET) as address:
        for megabytes, wanted in ((0.5, {200}), (3, {413})):
            status = upload(address, bytes(int(megabytes * (1 << 20))))
            assert status in wanted
        kept = Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*")
        assert max(path.stat().st_size for path in kept) < 1 << 20
        # and the page goes on
        assert fetch(address)[0] == 200


def upload(address: str, content: bytes) -> int:
    """Send a file as a browser would; the status of the answer."""
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n'
    body = start + b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        f"{address.rstrip('/')}/gradio_api/upload",
        body,
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_page_listens_on_this_machine_alone(served):
    port = int(served.rpartition(":")[2])
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("no table of listening sockets on this system")
    rows = [row.split() for row in listening.read_text().splitlines()[1:]]
    addresses = [row[1] for row in rows if row[3] == "0A"]
    assert [a for a in addresses if int(a[9:], 16) == port] == [f"0100007F:{port:04X}"]


def test_with_a_password_nothing_is_shown_without_it(layout):
    lay_out(layout, PORTRAIT)
    desk = AnnotationRound(layout, (CLOSE,))
    settings = WebSettings(auth="ann:pa:ss", open_page=False)
    with server.serving(desk, settings) as address:
        address = address.rstrip("/")
        assert fetch(f"{address}/config")[0] == 401
        login = f"{address}/login"
        assert fetch(login, b"username=ann&password=pa")[0] == 400
        assert fetch(login, b"username=ann&password=pa:ss")[0] == 200


def test_nothing_to_annotate_is_said(layout):
    with pytest.raises(InputError, match=r"new: no radiograph <id>\.png to annotate"):
        server.annotate_waiting(layout, QUIET)
    lay_out(layout, PORTRAIT)
    radiographs.write(layout.answer(PORTRAIT), np.eye(9, dtype=np.uint8) * 255)
    said = server.annotate_waiting(layout, QUIET)
    assert said == ["nothing is waiting for a mask"]
