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
        address = re.search(r"http://127\.0\.0\.1:\d+", said.read_text())
        if address:
            return address[0]
        time.sleep(0.1)
    return None


# what the page says, and which radiograph it shows
LOOK = """() => {
    const view = document.querySelector("#view");
    return {
        message: document.querySelector("#message").textContent,
        shown: view.ariaBusy === "false" ? view.dataset.shown : null,
        finished: document.querySelector("#empty").textContent.includes("Nothing is"),
    };
}"""


def _work(process: subprocess.Popen, page, acknowledged: list[int]) -> None:
    pressed_for = None
    while process.poll() is None:
        state = page.evaluate(LOOK)
        saved = re.search(r"Radiograph (\d+) saved", state["message"])
        if saved and int(saved[1]) not in acknowledged:
            acknowledged.append(int(saved[1]))
        shown = "nothing" if state["finished"] else state["shown"]
        if shown and shown != pressed_for:
            page.keyboard.press("g" if shown == "nothing" else "s")
            pressed_for = shown
        time.sleep(0.05)
