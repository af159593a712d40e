"""The annotator in a real browser: what a person draws is what lies on disk."""

import contextlib
import functools
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.active_learning import agreement, query_folder
from boneage.active_learning.oracle import Decision, Query
from boneage.active_learning.query_log import QueryLog
from boneage.annotator import mask_edits, server
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, AnnotationRound
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import radiographs, transforms
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.segmentation import confirmed_masks
from boneage.web import WebSettings

CHROMIUM, FIREFOX = Path("/usr/bin/chromium"), Path("/usr/bin/firefox-esr")
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]
IS_FIREFOX = os.environ.get("TEST_BROWSER") == "firefox"
"""The same tests in Firefox: one that this Playwright can drive over WebDriver BiDi."""
QUIET = WebSettings(open_page=False)
PORTRAIT, LANDSCAPE, SQUARE = 7, 8, 9
PATIENCE_MS = 60_000


@pytest.fixture(autouse=True)
def _no_farewell(monkeypatch):
    monkeypatch.setattr(server, "FAREWELL_S", 0)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not IS_FIREFOX and not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    with playwright.sync_playwright() as starter:
        if IS_FIREFOX:
            browser = starter.firefox.launch(
                channel="moz-firefox", executable_path=FIREFOX
            )
        else:
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

    def __init__(self, browser, address, place="1 of", shows_guide=False, **more):
        # waiting for a condition evaluates text, which the page forbids
        self.page = browser.new_page(
            viewport={"width": 1000, "height": 640}, bypass_csp=True, **more
        )
        if not shows_guide:
            self.page.add_init_script(
                "try { localStorage.guide = 'closed'; } catch { /* about:blank */ }"
            )
        self.requested, self.faults = [], []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(address)
        self.shows(place)

    @functools.cached_property
    def devtools(self):
        return self.page.context.new_cdp_session(self.page)

    def waits(self, condition, argument=None):
        """Wait until a condition in JavaScript holds and the page is not busy."""
        self.page.wait_for_function(
            f"(argument) => document.querySelector('#view').ariaBusy === 'false'"
            f" && ({condition})(argument)",
            arg=argument,
            # not by frames: a busy machine may draw none for long
            polling=50,
            timeout=PATIENCE_MS,
        )
        return self

    def shows(self, text, where="#headline"):
        """Wait until `text` can be read."""
        return self.waits(
            "([where, text]) => document.querySelector(where)"
            "?.textContent.includes(text)",
            [where, text],
        )

    def ready(self, radiograph_id):
        """Wait until a radiograph is shown."""
        return self.waits(
            "(id) => document.querySelector('#view').dataset.shown === id",
            str(radiograph_id),
        )

    def press(self, key, then="", where="#headline"):
        """Press a key and wait for what it brings about."""
        self.page.keyboard.press(key)
        return self.shows(then, where) if then else self.waits("() => true")

    def says(self, text):
        return self.shows(text, "#message")

    def at(self, row, column):
        """Where a pixel's middle is in the window."""
        box = self.page.locator("#mask").bounding_box()
        scale = box["width"] / self.page.evaluate(
            "document.querySelector('#mask').width"
        )
        return box["x"] + scale * (column + 0.5), box["y"] + scale * (row + 0.5)

    def stroke(self, *points):
        """Draw through points (row, column) of the radiograph."""
        mouse = self.page.mouse
        for number, point in enumerate(points):
            mouse.move(*self.at(*point), steps=1 if number == 0 else 8)
            if number == 0:
                mouse.down()
        mouse.up()
        return self.waits("() => true")

    def click(self, row, column):
        self.page.mouse.click(*self.at(row, column))
        return self.waits("() => true")

    def brush(self, diameter_px):
        """Let the brush be so many of the radiograph's pixels wide."""
        box = self.page.locator("#mask").bounding_box()
        scale = box["width"] / self.page.evaluate(
            "document.querySelector('#mask').width"
        )
        self.page.locator("#brush_px").fill(str(round(diameter_px / 2 * scale)))
        self.page.locator("#view").focus()
        return self


@pytest.fixture
def annotate(browser, layout):
    """Serve what waits and open tabs on it: annotate() -> a tab."""
    with contextlib.ExitStack() as stack:
        served = []

        def open_tab(place="1 of", **more):
            if not served:
                annotation_round = AnnotationRound(layout, (CLOSE,))
                queries = query_folder.waiting_queries(layout)
                annotation_round.publish(AnnotationQueue(layout, queries))
                address = stack.enter_context(server.serving(annotation_round, QUIET))
                served.extend([address, annotation_round])
            tab = Tab(browser, served[0], place, **more)
            stack.callback(tab.page.close)
            return tab

        open_tab.served = served
        yield open_tab


def saved(layout, radiograph_id) -> np.ndarray:
    return radiographs.read(layout.answer(radiograph_id))


def log_of(layout, action) -> list[dict]:
    entries = QueryLog(layout.queries).entries()
    return [entry for entry in entries if entry["action"] == action]


def save(tab, radiograph_id):
    return tab.press("s").says(f"Radiograph {radiograph_id} saved.")


def save_no_hand(tab, radiograph_id):
    tab.press("s").says("This looks like no hand")
    return save(tab, radiograph_id)


def test_proposals_saved_untouched_are_the_proposals_to_the_pixel(annotate, layout):
    """Portrait, landscape and square, one after the other."""
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate()
    for number, i in enumerate(proposals):
        tab.shows(f"{number + 1} of 3, round 3").ready(i)
        tab.stroke((60, 60), (90, 60)).press("z")
        save(tab, i)
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


def test_strokes_lie_where_they_are_drawn(annotate, layout):
    """Portrait, landscape and square, each on a cleared mask."""
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    start, end = (40, 30), (40, 100)
    tab = annotate()
    for i, proposal in proposals.items():
        tab.ready(i).press("k").brush(8).stroke(start, end)
        save_no_hand(tab, i)
        mask = saved(layout, i)
        assert mask.shape == proposal.shape
        assert set(np.unique(mask)) == {0, 255}
        assert mask[tube(mask.shape, start, end, 3)].all()
        assert not mask[~tube(mask.shape, start, end, 5.5)].any()


def test_draw_erase_refine_save_next(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT).brush(8)
    drawn, erased = ((60, 5), (90, 5)), ((150, 40), (150, 110))
    tab.stroke(*drawn).press("e").stroke(*erased)
    save(tab, PORTRAIT).ready(SQUARE)
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
    save(tab.press("r"), SQUARE)
    refined = mask_edits.refine_edge(radiograph, proposals[SQUARE])
    assert (refined != proposals[SQUARE]).any()
    np.testing.assert_array_equal(saved(layout, SQUARE), refined)


def test_tool_size_zoom_and_place_stay_over_a_correction(annotate, layout):
    lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT).brush(8)
    for key in ("e", "]", "]", "+", "+"):
        tab.press(key)
    place = tab.at(100, 60)
    tab.press("k").press("o").press("m").press("o")
    assert tab.at(100, 60) == place
    start, end = (100, 50), (100, 70)
    tab.stroke(start, end)
    save(tab, PORTRAIT).ready(SQUARE)
    # 4 px to begin with, two steps larger, and two steps zoomed in
    mask = saved(layout, PORTRAIT)
    assert not mask[tube(mask.shape, start, end, 3.9)].any()
    assert mask[106:110, 60].all()
    assert tab.page.get_attribute("#eraser", "aria-pressed") == "true"


def test_undo_takes_back_one_gesture_whichever_it_was(annotate, layout):
    proposals = lay_out(layout, PORTRAIT)
    tab = annotate().ready(PORTRAIT).brush(8)
    mask_now = (
        "() => { const c = document.querySelector('#mask'); "
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; "
        "let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"
    )
    counts = [tab.page.evaluate(mask_now)]
    assert counts[0] == np.count_nonzero(proposals[PORTRAIT])
    gestures = [
        lambda: tab.stroke((60, 5), (90, 5)),
        lambda: tab.press("l"),
        lambda: tab.press("e").stroke((150, 40), (150, 110)),
        lambda: tab.press("a").stroke((200, 3), (200, 14), (215, 14), (215, 3)),
        lambda: (
            tab.press("w").click(100, 30).click(100, 60).click(130, 60)
            and tab.press("Enter")
        ),
        lambda: tab.press("f").stroke((210, 2), (210, 120)),
        lambda: tab.press("i").click(120, 60),
        lambda: tab.press("r"),
        lambda: tab.press("m"),
        lambda: tab.press("c"),
        lambda: tab.press("o"),
        lambda: tab.press("k"),
        lambda: tab.press("t").stroke((120, 50), (120, 80)),
    ]
    for gesture in gestures:
        gesture()
        counts.append(tab.page.evaluate(mask_now))
        assert counts[-1] != counts[-2], len(counts)
    for count in counts[-2::-1]:
        assert tab.press("z").page.evaluate(mask_now) == count
    tab.press("z").says("Nothing to undo.")
    for count in counts[1:]:
        assert tab.press("y").page.evaluate(mask_now) == count
    tab.press("y").says("Nothing to redo.")
    # what is drawn after an undo ends the way forward, and only that
    tab.press("z").press("b").stroke((5, 60), (5, 80)).press("y")
    tab.says("Nothing to redo.")
    assert tab.press("z").page.evaluate(mask_now) == counts[-2]


def test_areas_and_cuts_change_what_they_enclose(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate().ready(PORTRAIT)
    # clicked corners, closed by a double click
    tab.press("k").press("a").click(50, 30).click(50, 80).click(100, 80)
    tab.page.mouse.dblclick(*tab.at(100, 30))
    save_no_hand(tab, PORTRAIT).ready(LANDSCAPE)
    mask = saved(layout, PORTRAIT)
    rows, columns = np.nonzero(mask)
    assert np.ptp(rows) == pytest.approx(49, abs=1)
    assert np.ptp(columns) == pytest.approx(49, abs=1)
    assert mask[51:100, 31:80].all()
    # dragged around the piece in the corner
    corner = ((-0.4, -0.4), (-0.4, 25), (25, 25), (25, -0.4), (1, -0.4))
    tab.press("w").stroke(*corner)
    save(tab, LANDSCAPE).ready(SQUARE)
    mask, proposal = saved(layout, LANDSCAPE), proposals[LANDSCAPE]
    assert not mask[:20, :20].any()
    np.testing.assert_array_equal(mask[26:], proposal[26:])
    # a cut takes the smaller part away, here the forearm below the line
    tab.press("f").stroke((200, 5), (200, 230))
    save(tab, SQUARE)
    mask, proposal = saved(layout, SQUARE), proposals[SQUARE]
    assert not mask[201:].any()
    np.testing.assert_array_equal(mask[:200], proposal[:200])


def test_bright_brush_paints_skin_and_bone_but_not_the_background(annotate, layout):
    lay_out(layout, PORTRAIT)
    # a bar of skin with bone in it, on a dark ground
    image = np.full((240, 180), 40, np.uint8)
    image[:, 75:105] = 120
    image[:, 85:95] = 200
    radiographs.write(layout.query(PORTRAIT), image)
    layout.proposal(PORTRAIT).unlink()
    tab = annotate().ready(PORTRAIT).press("k").brush(60).press("t")
    tab.stroke((60, 80), (180, 80))
    save_no_hand(tab, PORTRAIT)
    mask = saved(layout, PORTRAIT)
    assert mask[60:180, 75:105].all()
    assert not mask[:, :75].any()
    assert not mask[:, 105:].any()


def test_a_click_moves_the_mask_to_the_edge(annotate, layout):
    proposals = lay_out(layout, PORTRAIT)
    truth = proposals[PORTRAIT].copy()
    truth[:20, :20] = 0
    row, column = np.argwhere(truth)[0]
    tip = truth.copy()
    tip[: row + 14] = 0
    radiographs.write(layout.proposal(PORTRAIT), tip)
    tab = annotate().ready(PORTRAIT).press("i").click(row + 8, column)
    save(tab, PORTRAIT)
    # other fingers end there, too
    _, pieces = cv2.connectedComponents(((truth > 0) & (tip == 0)).astype(np.uint8))
    missing = pieces == pieces[row + 8, column]
    found = (saved(layout, PORTRAIT) > 0) & (tip == 0)
    overlap = np.count_nonzero(missing & found) / np.count_nonzero(missing | found)
    assert overlap > 0.6


def test_a_click_between_the_outlines_takes_the_coarse_masks_piece(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    coarse_mask = proposals[PORTRAIT].copy()
    row = int(np.argwhere(coarse_mask[20:])[0][0]) + 30
    tip = coarse_mask.copy()
    tip[20 : row + 8] = 0
    radiographs.write(layout.proposal(PORTRAIT), tip)
    radiographs.write(layout.coarse_mask(PORTRAIT), coarse_mask)
    layout.proposal(SQUARE).unlink()
    tab = annotate().ready(PORTRAIT).press("j")
    assert tab.page.locator("#stage img").count() == 2
    spot = np.unravel_index(
        int(cv2.distanceTransform(coarse_mask - tip, 2, 5).argmax()), tip.shape
    )
    tab.press("i").click(*spot)
    save(tab, PORTRAIT).ready(SQUARE).press("j").says("you see the coarse mask itself")
    now = saved(layout, PORTRAIT)
    _, pieces = cv2.connectedComponents(coarse_mask - tip)
    np.testing.assert_array_equal(now > tip, pieces == pieces[spot])


def touch(tab, kind, *points):
    """Fingers on the screen, at (row, column) of the radiograph."""
    places = [tab.at(*point) for point in points]
    points = [{"x": x, "y": y} for x, y in places]
    tab.devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def pen(tab, *points):
    """A stroke with a pen."""
    kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
    for kind, point in zip(kinds, (*points, points[-1]), strict=True):
        x, y = tab.at(*point)
        facts = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1}
        tab.devtools.send("Input.dispatchMouseEvent", facts | {"pointerType": "pen"})
    tab.waits("() => true")


@pytest.mark.skipif(IS_FIREFOX, reason="fingers and pens are simulated by Chromium")
def test_two_fingers_move_and_zoom_and_one_draws_until_a_pen_does(annotate, layout):
    lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT).brush(8).press("k")
    before = tab.page.locator("#mask").bounding_box()
    touch(tab, "touchStart", (60, 60))
    touch(tab, "touchStart", (60, 60), (60, 80))
    between = tab.at(60, 70)
    touch(tab, "touchMove", (60, 50), (60, 90))
    touch(tab, "touchEnd")
    after = tab.page.locator("#mask").bounding_box()
    assert after["width"] == pytest.approx(2 * before["width"], rel=0.02)
    assert tab.at(60, 70) == pytest.approx(between, abs=3)
    # the first of the two fingers left no dot
    tab.press("s").says("The mask is empty").press("0")
    touch(tab, "touchStart", (60, 60))
    touch(tab, "touchMove", (90, 60))
    touch(tab, "touchEnd")
    pen(tab, (150, 40), (150, 90))
    zoomed = tab.press("+").press("+").at(60, 60)
    # now a finger moves the picture
    touch(tab, "touchStart", (60, 60))
    touch(tab, "touchMove", (80, 60))
    touch(tab, "touchEnd")
    assert tab.at(60, 60)[1] > zoomed[1] + 20
    save_no_hand(tab, PORTRAIT)
    mask = saved(layout, PORTRAIT)
    assert mask[75, 60]
    assert mask[150, 65]
    assert not mask[100:140].any()


def test_keys_pressed_meanwhile_are_done_after_it_but_never_to_the_next(
    annotate, layout
):
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate().ready(PORTRAIT)
    press = "(keys) => keys.forEach((key) => " + (
        "dispatchEvent(new KeyboardEvent('keydown', { key })))"
    )
    tab.page.evaluate(press, ["l", "m", "z", "s", "s", "s"])
    tab.says(f"Radiograph {PORTRAIT} saved.").ready(LANDSCAPE)
    largest = mask_edits.keep_largest(proposals[PORTRAIT])
    np.testing.assert_array_equal(saved(layout, PORTRAIT), largest)
    assert not layout.answer(LANDSCAPE).exists()


def test_first_steps_are_shown_until_they_are_closed(annotate, layout):
    lay_out(layout, PORTRAIT)
    tab = annotate(shows_guide=True).ready(PORTRAIT)
    tab.page.get_by_role("button", name="Got it").click()
    tab.page.reload()
    tab.ready(PORTRAIT)
    assert not tab.page.locator("#guide").is_visible()


def test_the_pace_is_the_median(annotate, layout):
    lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate().ready(PORTRAIT)
    save(tab, PORTRAIT).ready(LANDSCAPE)
    queue = annotate.served[1].queue
    queue.seconds.update({PORTRAIT: 10.0, 1: 20.0, 2: 900.0})
    tab.press("n").ready(SQUARE)
    tab.shows(
        "1 saved (1 as proposed), 1 waiting, 20 s each (median): 20 s left", "#progress"
    )


def test_by_keyboard_alone(annotate, layout):
    lay_out(layout, PORTRAIT)
    tab = annotate().ready(PORTRAIT).brush(8).press("k")
    for key in (" ", *["ArrowRight"] * 4, " "):
        tab.press(key)
    save_no_hand(tab, PORTRAIT)
    rows, columns = np.nonzero(saved(layout, PORTRAIT))
    height, width = saved(layout, PORTRAIT).shape
    assert abs(rows.mean() - height / 2) < 2
    assert columns.min() == pytest.approx(width / 2 - 4, abs=1.5)
    assert np.ptp(columns) > 15
    tab.press("p").ready(PORTRAIT).press("?")
    assert tab.page.locator("#help").is_visible()
    tab.press("k")
    tab.page.keyboard.press("Escape")
    tab.press("z").says("Nothing to undo.")


def test_contrast_changes_what_is_seen_and_not_what_is_saved(annotate, layout):
    proposals = lay_out(layout, PORTRAIT)
    tab = annotate().ready(PORTRAIT).press("q").press("d").press("v")
    tab.page.mouse.move(*tab.at(100, 60))
    tab.page.mouse.down(button="right")
    tab.page.mouse.move(*tab.at(60, 90), steps=4)
    tab.page.mouse.up(button="right")
    assert float(tab.page.get_attribute("feFuncR", "slope")) > 1.2
    assert tab.page.locator("#stage img").count() == 2
    assert tab.page.locator("#mask").is_visible()
    assert not tab.press("v").page.locator("#mask").is_visible()
    tab.press("0")
    assert float(tab.page.get_attribute("feFuncR", "slope")) == 1
    save(tab, PORTRAIT)
    np.testing.assert_array_equal(saved(layout, PORTRAIT), proposals[PORTRAIT])


def test_pictures_are_sent_once(annotate, layout):
    lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate().ready(PORTRAIT)
    for key in ("h", "l", "m", "o"):
        tab.press(key)
    save(tab, PORTRAIT).ready(LANDSCAPE)
    tab.press("p").ready(PORTRAIT)
    for i in (PORTRAIT, LANDSCAPE, SQUARE):
        sent = [url for url in tab.requested if f"/{i}/radiograph" in url]
        assert len({*sent}) == 1
    # the next one was there before it was asked for
    first_save = next(n for n, url in enumerate(tab.requested) if "/save/" in url)
    ahead = tab.requested[:first_save]
    assert any(f"/{LANDSCAPE}/radiograph" in url for url in ahead)
    assert any(f"/start/{LANDSCAPE}" in url for url in ahead)


def test_skip_flag_reload_and_the_way_back(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    tab = annotate().ready(PORTRAIT)
    tab.press("n", "2 of 3").ready(LANDSCAPE)
    # a reload in the middle goes on with the radiograph in hand
    tab.page.reload()
    tab.shows("2 of 3").ready(LANDSCAPE)
    tab.press("x", "3 of 3").ready(SQUARE)
    assert set(excluded.flagged(layout)) == {LANDSCAPE}
    tab.press("s", "Nothing is waiting any more", "#empty")
    tab.shows("1 saved; 1 skipped; 1 not usable: 8", "#empty")
    assert tab.page.locator("#strip button").count() == 3
    # by its thumbnail to the flagged one
    tab.page.locator("#strip button", has_text="8 not usable").click()
    tab.shows("2 of 3").ready(LANDSCAPE)
    tab.press("s", f"Radiograph {LANDSCAPE} saved", "#message")
    np.testing.assert_array_equal(saved(layout, LANDSCAPE), proposals[LANDSCAPE])
    assert excluded.flagged(layout) == {}
    assert [entry["id"] for entry in log_of(layout, "skipped")] == [PORTRAIT]
    # the skipped one waits again when it is asked for
    tab.press("u", "1 of 3").ready(PORTRAIT).press("g").says("1 still waiting")
    tab.press("g", "Everything is saved. You can close this page.", "#empty")
    assert annotate.served[1].wait() == "close"


def test_two_tabs_share_the_queue_and_overwrite_nothing_unasked(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    first = annotate().ready(PORTRAIT)
    second = annotate("2 of 2").ready(SQUARE)
    second.press("s", f"Radiograph {SQUARE} saved", "#message")
    second.says("also open in another page").ready(PORTRAIT)
    second.press("l").press("s", "Nothing is waiting", "#empty")
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
        tab = Tab(browser, oracle.address, "1 of 1, round 3").ready(PORTRAIT)
        tab.press("s", "Nothing is waiting", "#empty")
        tab.press("g").shows("1 of 1, round 4").ready(SQUARE)
        for _ in range(2):
            tab.page.get_by_role("button", name="Train on, ask no more").click()
        tab.shows("trains on without further questions", "#empty")
        assert asked.wait(30)
        tab.page.close()
    assert outcomes == [Decision.CONTINUE, Decision.STOP_ASKING]


def test_drawings_that_were_not_saved_come_back(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT).brush(8).stroke((60, 5), (90, 5))
    tab.press("n").ready(SQUARE).press("p").ready(PORTRAIT)
    save(tab, PORTRAIT)
    mask = saved(layout, PORTRAIT)
    assert mask[75, 5]
    np.testing.assert_array_equal(mask[:, 15:], proposals[PORTRAIT][:, 15:])


def test_a_drawing_never_hides_a_mask_saved_since(annotate, layout):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT).brush(8).stroke((60, 5), (90, 5))
    tab.press("n").ready(SQUARE)
    theirs = proposals[PORTRAIT].copy()
    theirs[:20, :20] = 0
    radiographs.write(layout.answer(PORTRAIT), theirs)
    tab.press("p").ready(PORTRAIT).says("7 was saved or flagged since you drew on it")
    tab.press("y")
    save(tab, PORTRAIT)
    assert saved(layout, PORTRAIT)[75, 5]


def test_a_flag_of_this_page_keeps_the_drawing(annotate, layout):
    lay_out(layout, PORTRAIT, SQUARE)
    tab = annotate().ready(PORTRAIT).brush(8).stroke((60, 5), (90, 5))
    tab.press("x").ready(SQUARE).press("p").ready(PORTRAIT)
    save(tab, PORTRAIT)
    assert saved(layout, PORTRAIT)[75, 5]


def test_an_unreadable_radiograph_is_named_and_passed_over(annotate, layout):
    lay_out(layout, PORTRAIT, LANDSCAPE, SQUARE)
    for i in (PORTRAIT, SQUARE):
        layout.query(i).write_bytes(b"no picture")
    tab = annotate("2 of 3").ready(LANDSCAPE).says("7.png must be a radiograph")
    tab.press("s", "2 not readable: 7, 9", "#empty")
    tab.says("9.png must be a radiograph")


def test_what_was_drawn_survives_a_program_that_does_not_answer(annotate, layout):
    lay_out(layout, PORTRAIT)
    tab = annotate().ready(PORTRAIT).brush(8).stroke((60, 5), (90, 5))
    tab.page.route("**/api/save/**", lambda route: route.abort())
    tab.press("s").says("The program does not answer.")
    tab.page.unroute("**/api/save/**")
    save(tab, PORTRAIT)
    assert saved(layout, PORTRAIT)[75, 5]


def test_a_browser_that_knows_the_password_is_let_in(browser, layout):
    lay_out(layout, PORTRAIT)
    annotation_round = AnnotationRound(layout, (CLOSE,))
    queries = query_folder.waiting_queries(layout)
    annotation_round.publish(AnnotationQueue(layout, queries))
    settings = WebSettings(auth=("ann:secret",), open_page=False)
    with server.serving(annotation_round, settings) as address:
        known = {"username": "ann", "password": "secret"}
        tab = Tab(browser, address, http_credentials=known).ready(PORTRAIT)
        save(tab.press("m"), PORTRAIT)
        tab.page.close()
    assert layout.answer(PORTRAIT).exists()


def test_two_people_log_in_and_both_draw_what_is_shared(browser, layout, monkeypatch):
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    monkeypatch.setattr(agreement, "is_shared", lambda i, fraction: i == SQUARE)
    settings = WebSettings(auth=("ann:a", "bob:b"), open_page=False)
    queries = query_folder.waiting_queries(layout)
    queue = AnnotationQueue(
        layout, queries, people=settings.people, shared_fraction=0.1
    )
    annotation_round = AnnotationRound(layout, (CLOSE,))
    annotation_round.publish(queue)
    with server.serving(annotation_round, settings) as address:
        ann, bob = (
            Tab(browser, address, place, http_credentials=login).shows(name, "#person")
            for place, name, login in (
                ("1 of", "ann", {"username": "ann", "password": "a"}),
                ("2 of", "bob", {"username": "bob", "password": "b"}),
            )
        )
        save(ann.ready(PORTRAIT), PORTRAIT).ready(SQUARE).press("l")
        save(ann, SQUARE).shows("Nothing is waiting", "#empty")
        ann.press("g").says("1 still to be drawn by others.")
        save(bob.ready(SQUARE), SQUARE).shows("Nothing is waiting", "#empty")
        ann.page.close()
        bob.page.close()
    masks = [radiographs.read(layout.shared_mask(n, SQUARE)) for n in ("ann", "bob")]
    np.testing.assert_array_equal(masks[0], mask_edits.keep_largest(proposals[SQUARE]))
    np.testing.assert_array_equal(masks[1], proposals[SQUARE])
    np.testing.assert_array_equal(saved(layout, SQUARE), masks[0])
    drawn = [(e["id"], e["annotator"]) for e in log_of(layout, "accepted")]
    assert drawn == [(PORTRAIT, "ann"), (SQUARE, "bob")]
    (line,) = agreement.write_table(layout)
    assert line.startswith("ann and bob: Dice 0.9")


def test_only_so_many_steps_are_kept(annotate, layout):
    lay_out(layout, PORTRAIT)
    tab = annotate().ready(PORTRAIT)
    steps = "(keys) => keys.forEach((key) => " + (
        "dispatchEvent(new KeyboardEvent('keydown', { key })))"
    )
    tab.page.evaluate(steps, ["k"])
    for _ in range(110):
        tab.page.mouse.click(*tab.at(60, 60))
        tab.page.evaluate(steps, ["k"])
    tab.page.evaluate(steps, ["z"] * 99)
    tab.press("z").says("Nothing to undo.")


def test_an_empty_mask_is_not_saved(annotate, layout):
    lay_out(layout, PORTRAIT)
    annotate().ready(PORTRAIT).press("k").press("s").says("The mask is empty")
    assert not layout.answer(PORTRAIT).exists()


def test_what_looks_like_no_hand_is_saved_after_a_second_press(annotate, layout):
    lay_out(layout, PORTRAIT)
    tab = annotate().ready(PORTRAIT).press("k")
    tab.press("a").stroke((50, 30), (50, 80), (100, 80), (100, 30))
    tab.press("s").says("This looks like no hand (no fingers)")
    # the question was about another drawing
    tab.press("z").press("y").press("s").says("Press the same key again")
    assert not layout.answer(PORTRAIT).exists()
    save(tab, PORTRAIT)
    confirmed = confirmed_masks.read_confirmed(layout.confirmed_masks)
    mask_path = layout.answer(PORTRAIT)
    mask = radiographs.read(mask_path)
    confirmed_masks.check_drawn_mask(PORTRAIT, mask_path, mask, confirmed)


def test_nothing_to_annotate_is_said(layout):
    with pytest.raises(InputError, match=r"new must hold a radiograph <id>\.png"):
        server.annotate_waiting(layout, QUIET)
    lay_out(layout, PORTRAIT)
    radiographs.write(layout.answer(PORTRAIT), np.eye(9, dtype=np.uint8) * 255)
    said = server.annotate_waiting(layout, QUIET)
    assert said == ["nothing is waiting for a mask"]
