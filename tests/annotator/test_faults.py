"""Full disks and kills while people draw: what was saved stays, nothing is half."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from boneage.active_learning import agreement, query_folder
from boneage.annotator import server
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, AnnotationRound
from boneage.io import radiographs
from boneage.layout import Layout
from boneage.web import WebSettings
from tests.annotator import test_page
from tests.annotator.test_page import (
    PORTRAIT,
    SQUARE,
    Tab,
    lay_out,
    log_of,
    save,
    saved,
)
from tests.scripts import test_full_disk

browser, disk = test_page.browser, test_full_disk.disk

PEOPLE = ("ann:a", "bob:b")

GESTURES = {
    "b": [(60, 5), (90, 5)],
    "e": [(150, 40), (150, 110)],
    "a": [(200, 3), (200, 14), (215, 14), (215, 3)],
    "w": [(100, 30), (100, 60), (130, 60), (130, 30)],
    "t": [(120, 50), (120, 80)],
    "f": [(225, 2), (225, 120)],
    "i": [(140, 60)],
}
"""By key, what is drawn: rows and columns of the radiograph."""
CORRECTIONS = "rhml"


def draw_all(tab):
    """Every gesture and every correction."""
    for key, points in GESTURES.items():
        tab.press(key).stroke(*points)
    for key in CORRECTIONS:
        tab.press(key)
    return tab


def runs(tab) -> list:
    """The mask on the page, as it would be sent."""
    return tab.page.evaluate("async () => [...(await import('/canvas.js')).present()]")


def mask_of(tab, shape) -> np.ndarray:
    values = np.zeros(len(lengths := runs(tab)), np.uint8)
    values[1::2] = 255
    return np.repeat(values, lengths).reshape(shape)


def left_behind(layout) -> list[str]:
    return [str(p) for p in layout.data.rglob("*") if ".partial" in p.name]


@pytest.fixture
def small(disk):
    """A layout on a disk of 32 MB."""
    layout = Layout(disk / "data", disk / "models")
    layout.new.mkdir(parents=True)
    yield layout
    (disk / test_full_disk.FILLING).unlink(missing_ok=True)
    subprocess.run(["rm", "-r", layout.data], check=True)


def log_in(browser, address, login, place):
    name, _, password = login.partition(":")
    known = {"username": name, "password": password}
    return Tab(browser, address, place, http_credentials=known)


def test_on_a_full_disk_two_people_go_on_drawing_and_save_later(
    browser, disk, small, monkeypatch
):
    proposals = lay_out(small, PORTRAIT, SQUARE)
    monkeypatch.setattr(agreement, "is_shared", lambda i, fraction: i == SQUARE)
    monkeypatch.setattr(server, "FAREWELL_S", 0)
    settings = WebSettings(auth=PEOPLE, open_page=False)
    queue = AnnotationQueue(
        small, query_folder.waiting_queries(small), people=settings.people
    )
    annotation_round = AnnotationRound(small, (CLOSE,))
    annotation_round.publish(queue)
    before = small.queries.read_bytes()
    with server.serving(annotation_round, settings) as address:
        ann = log_in(browser, address, PEOPLE[0], "1 of").ready(PORTRAIT)
        bob = log_in(browser, address, PEOPLE[1], "2 of").ready(SQUARE)
        test_full_disk.fill(disk)
        for tab in (ann, bob):
            draw_all(tab).press("s").says("Nothing is saved: No space left on device.")
        assert small.queries.read_bytes() == before
        assert [*small.data.rglob("*_bin.png")] == left_behind(small) == []
        drawn = mask_of(ann, proposals[PORTRAIT].shape)
        shared = mask_of(bob, proposals[SQUARE].shape)
        (disk / test_full_disk.FILLING).unlink()
        save(ann, PORTRAIT)
        save(bob, SQUARE)
        save(ann.ready(SQUARE), SQUARE)
        for tab in (ann, bob):
            tab.page.close()
    np.testing.assert_array_equal(saved(small, PORTRAIT), drawn)
    assert (drawn != proposals[PORTRAIT]).any()
    for path, mask in (
        (small.shared_mask("bob", SQUARE), shared),
        (small.answer(SQUARE), shared),
        (small.shared_mask("ann", SQUARE), proposals[SQUARE]),
    ):
        np.testing.assert_array_equal(radiographs.read(path), mask)
    answers = log_of(small, "annotated") + log_of(small, "accepted")
    who = [(entry["id"], entry["annotator"]) for entry in answers]
    assert sorted(who) == [(PORTRAIT, "ann"), (SQUARE, "ann"), (SQUARE, "bob")]


SERVE = """
import sys
from pathlib import Path
from boneage.annotator import server
from boneage.layout import Layout
from boneage.web import WebSettings
page = WebSettings(port=int(sys.argv[2]) or None, open_page=False)
server.annotate_waiting(Layout(Path(sys.argv[1]), Path(sys.argv[1])), page)
"""


def start(layout, port=0) -> tuple[subprocess.Popen, str]:
    """The annotator as a program of its own, and its address."""
    command = [sys.executable, "-u", "-c", SERVE, str(layout.data), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().split()[2]


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_what_was_drawn_outlives_a_killed_program(browser, layout):
    """Killed after every gesture, and in the middle of a correction."""
    proposals = lay_out(layout, PORTRAIT, SQUARE)
    process, address = start(layout)
    port = int(address.rstrip("/").rpartition(":")[2])
    first = Tab(browser, address).ready(PORTRAIT)
    second = Tab(browser, address, "2 of").ready(SQUARE)
    save(second, SQUARE)
    draw_all(first)
    drawn = mask_of(first, proposals[PORTRAIT].shape)
    process.send_signal(signal.SIGSTOP)
    first.page.keyboard.press("r")
    kill(process)
    first.says("The program does not answer. What you drew stays")
    np.testing.assert_array_equal(mask_of(first, drawn.shape), drawn)
    # by hand it goes on, without a program
    first.press("e").stroke((180, 40), (180, 110))
    drawn = mask_of(first, drawn.shape)
    first.press("s").says("The program does not answer.")
    assert left_behind(layout) == []
    np.testing.assert_array_equal(saved(layout, SQUARE), proposals[SQUARE])
    process, _ = start(layout, port)
    save(first, PORTRAIT)
    kill(process)
    for tab in (first, second):
        tab.page.close()
    np.testing.assert_array_equal(saved(layout, PORTRAIT), drawn)
    assert [entry["id"] for entry in log_of(layout, "annotated")] == [PORTRAIT]
