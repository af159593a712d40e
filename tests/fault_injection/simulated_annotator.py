"""People at the annotator's page, in real browsers: every gesture, then save."""

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


def annotate(
    process: subprocess.Popen, said: Path, logins: tuple[str, ...]
) -> list[int]:
    """Save what waits until the program has ended; ids that its page called saved.

    logins: NAME:PASSWORD of each person; empty where nobody logs in.
    """
    from playwright.sync_api import Error, sync_playwright

    acknowledged: list[int] = []
    address = _address(process, said)
    if address is None:
        return acknowledged
    with sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            people = [_Person(browser, address, login) for login in logins]
            while process.poll() is None:
                for person in people:
                    acknowledged += person.work()
                if all(person.has_nothing for person in people):
                    people[0].page.keyboard.press("g")
                time.sleep(0.05)
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
IDLE = "#view[aria-busy=false]"
# by key, the places that the pointer passes: shares of the radiograph
GESTURES = (
    ("b", [(0.3, 0.6), (0.7, 0.6)]),
    ("e", [(0.1, 0.9), (0.3, 0.95)]),
    ("a", [(0.4, 0.6), (0.6, 0.6), (0.6, 0.8), (0.4, 0.8)]),
    ("w", [(0.02, 0.02), (0.1, 0.02), (0.1, 0.1), (0.02, 0.1)]),
    ("t", [(0.5, 0.7), (0.5, 0.5)]),
    ("f", [(0.01, 0.97), (0.99, 0.97)]),
    ("i", [(0.5, 0.5)]),
    *((key, []) for key in "rmhlz"),
)


class _Person:
    """One page; its login may be empty."""

    def __init__(self, browser, address: str, login: str) -> None:
        name, _, password = login.partition(":")
        known = {"username": name, "password": password} if name else None
        self.page = browser.new_page(
            viewport={"width": 1000, "height": 640}, http_credentials=known
        )
        self.page.add_init_script(
            "try { localStorage.guide = 'closed'; } catch { /* about:blank */ }"
        )
        self.page.goto(address)
        self.drawn: str | None = None
        self.has_nothing = False
        self.said_saved: set[int] = set()

    def work(self) -> list[int]:
        """Draw and save what is shown, if it is new; ids called saved since."""
        state = self.page.evaluate(LOOK)
        saved = {
            int(i) for i in re.findall(r"Radiograph (\d+) saved", state["message"])
        }
        saved -= self.said_saved
        self.said_saved |= saved
        self.has_nothing = state["finished"]
        if state["shown"] and state["shown"] != self.drawn:
            self.drawn = state["shown"]
            # another set of gestures for each radiograph, for all people the same
            for number, gesture in enumerate(GESTURES):
                if (int(self.drawn) + number) % 3:
                    self._draw(*gesture)
            self._press("s")
            self.page.wait_for_selector(IDLE, timeout=20_000)
            if "no hand" in self.page.evaluate(LOOK)["message"]:
                self.page.keyboard.press("s")
        return sorted(saved)

    def _press(self, key: str) -> None:
        # a key that comes too early waits, and a pointer does not
        self.page.wait_for_selector(IDLE, timeout=20_000)
        self.page.keyboard.press(key)

    def _draw(self, key: str, places: list[tuple[float, float]]) -> None:
        self._press(key)
        if not places:
            return
        box = self.page.locator("#mask").bounding_box(timeout=5000)
        mouse = self.page.mouse
        for number, (x, y) in enumerate(places):
            mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if number == 0:
                mouse.down()
        mouse.up()
