"""Take a picture of the annotator with a simulated radiograph.

Reads   nothing; needs Debian's chromium
Writes  docs/pictures/annotator.png

    python -m docs.make_annotator
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from boneage import cli
from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.annotator import server
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import FINISH, GO_ON, LEAVE, AnnotationRound
from boneage.io import radiographs
from boneage.layout import REPOSITORY, Layout
from boneage.phantoms import radiograph
from boneage.web import WebSettings

AGES_MONTHS = (30, 72, 108, 156, 190, 216)
ALREADY_SAVED = 3
ROUND = 3
RADIOGRAPH_PX = 1200
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run")


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """The browser, its window, and where the picture goes."""

    paths: cli.Paths
    out: Path = REPOSITORY / "docs" / "pictures" / "annotator.png"
    """File to write."""
    chromium: Path = Path("/usr/bin/chromium")
    """Browser to take the picture with."""
    width_px: int = 1280
    """Width of the window."""
    height_px: int = 900
    """Height of the window."""
    with_map: bool = True
    """Show the disagreement map."""


def main(options: Options) -> None:
    """Write phantoms as a committee would ask about them, and photograph the page."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder), Path(folder))
        for number, age_months in enumerate(AGES_MONTHS):
            lay_out(layout, 1470 + 21 * number, age_months, number < ALREADY_SAVED)
        annotation_round = AnnotationRound(layout, (GO_ON, FINISH, LEAVE))
        queries = query_folder.waiting_queries(layout)
        annotation_round.publish(AnnotationQueue(layout, queries))
        settings = WebSettings(open_page=False)
        with server.serving(annotation_round, settings) as address:
            take(options, address)
    cli.summary(wrote=options.out)


def lay_out(layout: Layout, i: int, age_months: int, is_saved: bool) -> None:
    """One radiograph, and two members that disagree on what is left of a finger."""
    rng = np.random.default_rng(i)
    made = radiograph.simulate(rng, age_months, i % 2 == 0, RADIOGRAPH_PX)
    height, width = made.mask.shape
    blob = np.zeros((height, width), np.uint8)
    centre = (round(0.42 * width), round(0.18 * height))
    cv2.circle(blob, centre, round(0.06 * height), 255, cv2.FILLED)
    edge = cv2.morphologyEx(made.mask, cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8))
    doubt = cv2.GaussianBlur(blob & made.mask, (0, 0), 20)
    doubt = np.maximum(doubt & made.mask, cv2.GaussianBlur(edge // 2, (0, 0), 5))
    radiographs.write(layout.proposal(i), made.mask & ~blob)
    radiographs.write(layout.disagreement(i), doubt)
    radiographs.write(layout.query(i), made.radiograph)
    score = round(0.4 - i / 10_000, 3)
    QueryLog(layout.queries, "vote_entropy").log_asked([Query(i, score, ROUND)])
    if is_saved:
        radiographs.write(layout.answer(i), made.mask)


def take(options: Options, address: str) -> None:
    """Open the page and save a screenshot."""
    with sync_playwright() as starter:
        browser = starter.chromium.launch(
            executable_path=options.chromium, args=list(ARGUMENTS)
        )
        size = {"width": options.width_px, "height": options.height_px}
        page = browser.new_page(viewport=size)
        page.goto(address)
        # shown, and the next ones and their thumbnails fetched
        page.wait_for_selector("#view[data-shown]:not([data-shown=''])")
        page.wait_for_load_state("networkidle")
        if options.with_map:
            page.keyboard.press("d")
            page.wait_for_selector("#map[aria-pressed=true]")
        page.screenshot(path=options.out)
        browser.close()


if __name__ == "__main__":
    cli.run(main, Options)
