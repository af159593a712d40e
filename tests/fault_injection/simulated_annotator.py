"""A person at the annotator's page, in a real browser: saves every proposal."""

import contextlib
import re
import subprocess
import time
from pathlib import Path

from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.io import radiographs
from boneage.layout import Layout

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
WAITING = 6
SETTLED_S = 1.5
"""A canvas that has been there so long has its textures."""


def lay_out(folder: Path) -> None:
    """Put radiographs that nobody has annotated into gt/new, with their true masks."""
    layout = Layout(folder / "data", folder / "models")
    fresh = [i for i in layout.ids_on_disk() if layout.annotation_path(i) is None][
        :WAITING
    ]
    queries = [Query(i, 1 - i / 1000, 99, "vote_entropy") for i in fresh]
    query_folder.write_queries(layout, queries)
    QueryLog(layout.queries).log_asked(queries)
    for i in fresh:
        truth = radiographs.read_mask(layout.truth / f"{i}_bin.png")
        radiographs.write(layout.proposal(i), truth)


def annotate(process: subprocess.Popen, said: Path) -> list[int]:
    """Save what waits until the program has ended; ids that its page called saved."""
    from playwright.sync_api import Error, sync_playwright

    acknowledged: list[int] = []
    address = _address(process, said)
    if address is None:
        return acknowledged
    with sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1000, "height": 640})
        try:
            page.goto(address)
            _work(process, page, acknowledged)
        except Error:
            # the page dies with the program
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            if process.poll() is None:
                process.kill()
                raise
        browser.close()
    return acknowledged


def _address(process: subprocess.Popen, said: Path) -> str | None:
    while process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+", said.read_text())
        if found:
            return found[0]
        time.sleep(0.1)
    return None


# what the page says, and which canvas stands there
LOOK = """() => ({
    message: document.querySelector("#message")?.textContent ?? "",
    empty: document.querySelector("#empty") !== null,
    canvas: document.querySelector("#canvas canvas") === null ? ""
        : document.querySelector("#canvas").className,
})"""


def _work(process: subprocess.Popen, page, acknowledged: list[int]) -> None:
    pressed_for, before, since = None, None, 0.0
    while process.poll() is None:
        seen = page.evaluate(LOOK)
        found = re.search(r"Radiograph (\d+) saved", seen["message"])
        if found and int(found[1]) not in acknowledged:
            acknowledged.append(int(found[1]))
        canvas = "nothing" if seen["empty"] else seen["canvas"]
        if canvas != before:
            before, since = canvas, time.monotonic()
        settled = canvas and time.monotonic() - since > SETTLED_S
        if settled and canvas != pressed_for:
            page.keyboard.press("g" if canvas == "nothing" else "s")
            pressed_for = canvas
        time.sleep(0.05)
