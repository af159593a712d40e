"""The annotator in a real browser: how long each key takes on a full-size radiograph.

Timed in the page, from the key to the second frame after the answer is drawn; browser
and program run on one machine.
"""

import contextlib
import io
import math
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import MOST, Goal, Row, Size
from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.annotator import server
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, AnnotationRound
from boneage.io import radiographs
from boneage.layout import Layout
from boneage.segmentation import coarse
from boneage.web import WebSettings

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run")

SAVE_S, CORRECTION_S, AT_ONCE_S = 0.4, 0.3, 0.1
"""What is to be reached; a tenth of a second is seen as at once (Miller 1968)."""
KEYS = {
    "refine edge": ("r", CORRECTION_S),
    "undo": ("z", AT_ONCE_S),
    "redo": ("y", AT_ONCE_S),
    "smooth": ("m", CORRECTION_S),
    "fill holes": ("h", CORRECTION_S),
    "largest piece": ("l", CORRECTION_S),
    "back to the proposal": ("o", CORRECTION_S),
    "a click to the edge": ("click", CORRECTION_S),
    "a stroke's step": ("stroke", 1 / 30),
    "save and next": ("s", SAVE_S),
}
"""What is measured, by which key, and how many seconds it may take."""

TIME_IT = """async (key) => {
    const view = document.querySelector("#view");
    const frame = () => new Promise(requestAnimationFrame);
    const box = document.querySelector("#mask").getBoundingClientRect();
    // two thirds down, a step on for each event: over the hand and its edge
    const pointer = (type, step) => view.dispatchEvent(new PointerEvent(type, {
        pointerId: 1, bubbles: true, clientX: box.x + box.width * (0.3 + step / 100),
        clientY: box.y + box.height * 0.6,
    }));
    view.setPointerCapture = () => {};
    await frame();
    let began = performance.now();
    if (key === "click" || key === "stroke") {
        pointer("pointerdown", 0);
        if (key === "stroke") {
            pointer("pointermove", 5);
            await frame();
            began = performance.now();
            pointer("pointermove", 10);
            await frame();
            const seconds = (performance.now() - began) / 1000;
            pointer("pointerup", 10);
            return seconds;
        }
        pointer("pointerup", 0);
    } else dispatchEvent(new KeyboardEvent("keydown", { key }));
    while (view.ariaBusy === "true") await new Promise((go) => setTimeout(go, 1));
    await frame();
    await frame();
    return (performance.now() - began) / 1000;
}"""
READY = "[aria-busy=false][data-shown]:not([data-shown=''])"


def lay_out(layout: Layout, size: Size, count: int) -> None:
    """Ask about one radiograph under several ids."""
    radiograph = size.full_size()
    mask = coarse.coarse_mask(radiograph)
    queries = [Query(i, 1 - i / 1000, 1) for i in range(1, count + 1)]
    for query in queries:
        radiographs.write(layout.proposal(query.radiograph_id), mask)
        radiographs.write(layout.query(query.radiograph_id), radiograph)
    QueryLog(layout.queries, "vote_entropy").log_asked(queries)


def seconds_by_key(address: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each key, once a radiograph, after one to warm up."""
    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {name: [] for name in KEYS}
    with sync_playwright() as starter:
        browser = starter.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS)
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        for turn in range(rounds + 1):
            page.wait_for_selector(f"#view{READY}")
            # a person looks first; meanwhile the next one is fetched
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(1000)
            for name, (key, _) in KEYS.items():
                tool = {"click": "i", "stroke": "b"}.get(key)
                if tool is not None:
                    page.keyboard.press(tool)
                taken = page.evaluate(TIME_IT, key)
                if turn:
                    seconds[name].append(taken)
        browser.close()
    return seconds


def compare(size: Size) -> list[Row]:
    """A row for each key; no row without the browser."""
    if not CHROMIUM.exists():
        print(f"the annotator is not measured: {CHROMIUM} is missing")
        return []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as served:
        layout = Layout(Path(folder), Path(folder))
        lay_out(layout, size, size.rounds + 2)
        annotation_round = AnnotationRound(layout, (CLOSE,))
        queries = query_folder.waiting_queries(layout)
        annotation_round.publish(AnnotationQueue(layout, queries))
        with contextlib.redirect_stdout(io.StringIO()):
            serving = server.serving(annotation_round, WebSettings(open_page=False))
            address = served.enter_context(serving)
        seconds = seconds_by_key(address, size.rounds)
    return [
        Row(
            f"annotator: {name}",
            float(np.median(seconds[name])),
            *("nothing comparable", math.nan),
            *("what a person may wait", allowed_s, Goal(MOST, 1.0)),
        )
        for name, (_, allowed_s) in KEYS.items()
    ]
