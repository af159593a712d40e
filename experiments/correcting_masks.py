"""How much work is it to correct a mask? A scripted person at the annotator's page.

    python -m experiments.correcting_masks --radiographs DIR --masks DIR --out FILE.csv

The person knows the true mask, and corrects a proposal in a real browser until its Dice
with the truth reaches 0.98, three times: with brush and eraser alone; with the keys for
the coarse mask and the edge as well; and with the coarse mask's outline in sight, too,
of which a click takes over what lies between the two outlines. Every stroke is drawn
point by point. A gesture is a stroke, a click, or a key that changes the mask; one that
is undone counts twice.

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
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from experiments.scripted_person import (
    Person,
    Work,
    brush_path,
    largest_error,
)

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
SPEEDS_PX_PER_S = (75, 150, 300)
"""Along an edge, pixels of the screen."""
AGREES = 0.7
"""Of the largest error, what the other mask must have right to be worth a click."""
CLICKS = 1
"""More do no better than a brush."""
MOST_GESTURES = 80


def by_brush(person: Person, mask: Mask) -> None:
    """Correct the largest error with brush or eraser."""
    piece, is_missing = largest_error(mask, person.truth)
    target = (person.truth > 0) == is_missing
    path = brush_path(person, piece, target)
    person.choose("b" if is_missing else "e")
    person.draw(path, person.brush_px)


def by_key(person: Person, mask: Mask, key: str) -> None:
    """Let the page change the whole mask, and keep that if it is better."""
    person.change(key)
    after = person.look()
    if dice(after, person.truth) < dice(mask, person.truth):
        person.take_back(mask, after)


def is_strip(person: Person, mask: Mask) -> bool:
    """Whether what is wrong lies all along the edge."""
    piece, _ = largest_error(mask, person.truth)
    return np.count_nonzero(piece) < np.count_nonzero(mask != person.truth) / 3


@dataclass
class Tools:
    """What is left to try of one set of tools on one radiograph."""

    keys: list[str]
    """That change the whole mask, in the order in which they are tried."""
    clicks: int = 0
    second: Mask | None = None
    """The other mask, where its outline is in sight."""

    def step(self, person: Person, mask: Mask) -> None:
        """One gesture."""
        if self.second is not None and "2" in self.keys:
            # seen before it is taken
            self.keys.remove("2")
            is_good = dice(self.second, person.truth) >= person.work.enough
            return by_key(person, mask, "c" if is_good else "2")
        if self.second is not None and self.clicks < CLICKS:
            self.clicks += 1
            if self.click(person, mask):
                return None
        if self.keys and (self.keys[0] != "r" or is_strip(person, mask)):
            return by_key(person, mask, self.keys.pop(0))
        return by_brush(person, mask)

    def click(self, person: Person, mask: Mask) -> bool:
        """Take the largest error over from the second mask, if that has it right."""
        piece, _ = largest_error(mask, person.truth)
        right = piece & (self.second == person.truth)
        if np.count_nonzero(right) < AGREES * np.count_nonzero(piece):
            return False
        depth = cv2.distanceTransform(right.astype(np.uint8), cv2.DIST_L2, 5)
        spot = np.unravel_index(int(depth.argmax()), depth.shape)
        person.choose("i")
        person.draw(np.array([spot]), float(depth.max()) * person.scale)
        return True


TOOLS: dict[str, Callable[[Mask], Tools]] = {
    "brush": lambda _: Tools([]),
    "keys": lambda _: Tools(["c", "r"]),
    "all": lambda second: Tools(["2", "r"], second=second),
}
"""By name, what a person has; given the coarse mask."""


def correct(person: Person, tools: Tools) -> None:
    """Work until the mask is good enough."""
    if tools.second is not None:
        person.key("j")
    while True:
        mask = person.look()
        person.work.dice_after = float(dice(mask, person.truth))
        done = person.work.dice_after >= person.work.enough
        if done or person.work.gestures >= MOST_GESTURES:
            break
        tools.step(person, mask)
    if tools.second is not None:
        person.page.keyboard.press("j")


@dataclass(frozen=True)
class Options:
    """What is corrected."""

    radiographs: Path
    """folder of radiographs <id>.png"""
    masks: Path
    """folder of their true masks <id>_bin.png"""
    proposals: Path | None = None
    """folder of a committee's masks <id>_proposal.png; without it, coarse masks"""
    out: Path = Path("corrections.csv")
    """table of every correction, CSV"""
    count: int = 40
    """number of radiographs: those with the worst proposals"""
    enough: float = 0.98
    """Dice at which a correction is done"""


@dataclass
class Task:
    """A radiograph to correct."""

    name: str
    radiograph: np.ndarray
    truth: Mask
    coarse: Mask
    proposal: Mask

    @property
    def dice(self) -> float:
        """Of the proposal."""
        return float(dice(self.proposal, self.truth))


def chosen(options: Options) -> list[Task]:
    """The radiographs whose proposals are worst, and not yet good enough."""
    tasks = []
    for i, path in known_masks(options.masks).items():
        file = options.radiographs / f"{i}.png"
        proposal = options.proposals and options.proposals / f"{i}_proposal.png"
        if not file.exists() or (proposal and not proposal.exists()):
            continue
        radiograph = radiographs.read(file)
        mask = coarse.coarse_mask(radiograph)
        start = radiographs.read_mask(proposal, mask.shape) if proposal else mask
        truth = radiographs.read_mask(path, mask.shape)
        tasks.append(Task(str(i), radiograph, truth, mask, start))
    tasks = [task for task in tasks if task.dice < options.enough]
    return sorted(tasks, key=lambda task: task.dice)[: options.count]


def work_through(tasks: list[Task], options: Options) -> list[Work]:
    """Correct each with every set of tools; every line is on disk at once."""
    from playwright.sync_api import sync_playwright

    done: list[Work] = []
    with (
        sync_playwright() as starter,
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as served,
        options.out.open("w", newline="") as file,
    ):
        layout = Layout(Path(folder), Path(folder))
        for place, task in enumerate(tasks, 1):
            radiographs.write(layout.proposal(place), task.proposal)
            radiographs.write(layout.coarse_mask(place), task.coarse)
            radiographs.write(layout.query(place), task.radiograph)
        queries = [
            Query(place, 1 - place / 1e4, 1) for place in range(1, len(tasks) + 1)
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
        for place, task in enumerate(tasks, 1):
            page.wait_for_selector(f"#view[aria-busy=false][data-shown='{place}']")
            for name, tools in TOOLS.items():
                page.keyboard.press("o")
                page.keyboard.press("b")
                page.wait_for_selector("#view[aria-busy=false]")
                work = Work(task.name, name, task.dice, enough=options.enough)
                person = Person(page, task.truth, work)
                person.size(10)
                work.person_s = 0.0  # so far, all are the same
                correct(person, tools(task.coarse))
                done.append(work)
                table.writerow(asdict(work))
                file.flush()
                print(work, flush=True)
            page.keyboard.press("n")
        browser.close()
    return done


def summary(done: list[Work]) -> list[str]:
    """Means of each set of tools, and paired ratios with 95 % intervals (bootstrap)."""
    by_tools = {
        tools: {w.radiograph_id: w for w in done if w.tools == tools} for tools in TOOLS
    }
    rng = np.random.default_rng(0)
    lines = []
    values = {"gestures": lambda w: w.gestures, "page, s": lambda w: w.page_s}
    for speed in SPEEDS_PX_PER_S:
        values[f"person and page at {speed} px/s, s"] = lambda w, speed=speed: (
            w.person_s + w.page_s + w.drawn_px / speed
        )
    for heading, value in values.items():
        of = {
            tools: np.array([value(work) for work in works.values()], float)
            for tools, works in by_tools.items()
        }
        means = ", ".join(f"{tools} {each.mean():.2f}" for tools, each in of.items())
        lines.append(f"{heading}: {means}")
        for old in ("brush", "keys"):
            draws = rng.integers(0, len(of["all"]), (2000, len(of["all"])))
            ratios = of["all"][draws].sum(axis=1) / of[old][draws].sum(axis=1)
            low, high = np.quantile(ratios, [0.025, 0.975])
            ratio = of["all"].sum() / of[old].sum()
            lines.append(f"  all / {old}: {ratio:.2f} ({low:.2f} to {high:.2f})")
    for tools, works in by_tools.items():
        reached = sum(w.dice_after >= w.enough for w in works.values())
        undone = sum(w.undone for w in works.values())
        lines.append(
            f"{tools}: {reached} of {len(works)} reached the aim, {undone} undone"
        )
    return lines


def main(options: Options) -> None:
    """Correct, and print the comparison."""
    done = work_through(chosen(options), options)
    print("\n".join(summary(done)))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
