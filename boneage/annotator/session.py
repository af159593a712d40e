"""What one page has in hand: its radiograph, mask, steps to undo, and way back.

Free of Gradio: the page calls a method for every key and shows what came of it. A
method that is given `drawn` gets the mask as it stands on the page.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from boneage.annotator import mask_edits
from boneage.annotator.queue import AnnotationQueue, Conflict, OpenImage, Refused
from boneage.errors import InputError
from boneage.io.radiographs import Mask

STEPS = 20
"""How many steps are kept to undo."""


@dataclass
class EditSession:
    """One page's state, from one radiograph to the next.

    page: names the page, the same after a reload. serial: goes up whenever the canvas
    is to be drawn anew; an action that comes from an older canvas is not for this one.
    mask: what the canvas was last given. message: what the person should read.
    """

    page: str = ""
    queue: AnnotationQueue | None = None
    serial: int = 0
    opened: OpenImage | None = None
    mask: Mask | None = None
    show_map: bool = False
    message: str = ""
    undo_steps: list[Mask] = field(default_factory=list)
    redo_steps: list[Mask] = field(default_factory=list)
    drafts: dict[int, tuple[Mask, tuple]] = field(default_factory=dict)
    """What was drawn and not saved, and the stamp of what lay on disk then."""
    trail: list[int] = field(default_factory=list)
    insisting: str = ""
    seen: int = 0
    """The serial that the page was told last."""
    frame: int = 0
    """How often the page has built its canvas anew."""
    shown: list[tuple] = field(default_factory=list)
    """What the thumbnails show: id, status and time of each."""

    def headline(self) -> str:
        """Where the person stands, in Markdown."""
        if self.queue is None:
            return ""
        ids, statuses = self.queue.ids, list(self.queue.statuses().values())
        if self.opened is None:
            return f"## {len(ids)} of {len(ids)}\n{self.queue.advice}"
        query = self.opened.query
        place = f"## {ids.index(query.radiograph_id) + 1} of {len(ids)}"
        if query.round is not None:
            place += f", round {query.round}"
        facts = [f"radiograph {query.radiograph_id}"]
        if query.score is not None:
            measure = (query.measure or "score").replace("_", " ")
            facts.append(f"{measure} {query.score:.3f}")
        waiting = statuses.count("waiting")
        done = f"{statuses.count('saved')} saved, {waiting} waiting"
        advice = f"\n\n**{self.queue.advice}**" if self.queue.advice else ""
        # two blanks: a new line
        return f"{place}\n{', '.join(facts)}  \n{done}{advice}"

    def background(self) -> np.ndarray:
        """The radiograph in hand as it is shown: (row, column, 3) uint8, RGB."""
        grey = mask_edits.stretched(self.opened.radiograph)
        if self.show_map and self.opened.disagreement is not None:
            return mask_edits.overlay_disagreement(grey, self.opened.disagreement)
        return np.repeat(grey[..., None], 3, axis=2)

    def begin(self, queue: AnnotationQueue | None, page: str) -> None:
        """Start on a queue; None while there is none to start on."""
        if queue is not self.queue:
            self.drafts, self.trail = {}, []
        self.queue, self.page, self.message = queue, page, ""
        self._next()

    def _next(self) -> None:
        """Take the next radiograph in hand that can be read, or none."""
        self._put_down()
        while self.queue is not None:
            radiograph_id = self.queue.next_for(self.page)
            if radiograph_id is None or self._show(radiograph_id):
                return

    def _put_down(self) -> None:
        self.serial += 1
        self.opened = self.mask = None
        self.undo_steps, self.redo_steps, self.insisting = [], [], ""
        if self.queue is not None:
            self.queue.release(self.page)

    def _show(self, radiograph_id: int) -> bool:
        """Take a radiograph in hand; False where it cannot be read."""
        elsewhere = self.queue.in_another_hand(radiograph_id, self.page)
        self._put_down()
        try:
            self.opened = self.queue.open(radiograph_id, self.page)
        except InputError as error:
            self._say(f"Set aside: {error}")
            return False
        self.mask = self.opened.start
        if radiograph_id in self.drafts:
            draft, stamp = self.drafts.pop(radiograph_id)
            if stamp == self.opened.stamp:
                self.mask = draft
            else:
                self.redo_steps = [draft]
                self._say(
                    f"Radiograph {radiograph_id} was saved or flagged since you drew "
                    "on it: shown is what was saved, Redo brings yours back."
                )
        for note in self.opened.notes:
            self._say(note)
        if elsewhere:
            self._say(f"Radiograph {radiograph_id} is open in another page as well.")
        return True

    def _say(self, text: str) -> None:
        self.message = f"{self.message} {text}".strip()

    def _give(self, mask: Mask) -> None:
        """Hand the canvas a mask."""
        self.mask = mask
        self.serial += 1

    def _keep_strokes(self, drawn: Mask) -> None:
        """Make what was drawn since the canvas was given its mask a step to undo."""
        if not np.array_equal(drawn, self.mask):
            self.undo_steps = [*self.undo_steps, self.mask][-STEPS:]
            self.redo_steps = []
            self.mask = drawn

    def use(self, tool: str, drawn: Mask) -> None:
        """Correct the mask with one of TOOLS."""
        self.message, self.insisting = "", ""
        self._keep_strokes(drawn)
        result = TOOLS[tool](self, drawn)
        if result is None:
            self._say("There is no proposal for this radiograph.")
        elif np.array_equal(result, drawn):
            self._say("That changes nothing here.")
        else:
            self.undo_steps = [*self.undo_steps, drawn][-STEPS:]
            self.redo_steps = []
            self._give(result)

    def undo(self, drawn: Mask) -> None:
        """Take back the last correction, or all strokes since."""
        self.message = ""
        self._keep_strokes(drawn)
        if not self.undo_steps:
            self._say("Nothing to undo.")
            return
        self.redo_steps.append(self.mask)
        self._give(self.undo_steps.pop())

    def redo(self, drawn: Mask) -> None:
        """Do again what was taken back, unless something was drawn since."""
        self.message = ""
        self._keep_strokes(drawn)
        if not self.redo_steps:
            self._say("Nothing to redo.")
            return
        self.undo_steps.append(self.mask)
        self._give(self.redo_steps.pop())

    def switch_map(self, drawn: Mask) -> None:
        """Show the disagreement map, or hide it."""
        self.message = ""
        if self.opened.disagreement is None:
            self._say("There is no disagreement map for this radiograph.")
            return
        self._keep_strokes(drawn)
        self.show_map = not self.show_map
        self._give(self.mask)

    def save(self, drawn: Mask) -> None:
        """Save and go on to the next; a second time over what others did meanwhile."""

        def act(is_sure: bool) -> None:
            self.queue.save(self.opened, drawn, is_sure)
            self.drafts.pop(self.opened.radiograph_id, None)

        self._finish("saved", act)

    def flag(self, drawn: Mask) -> None:
        """Flag as not usable and go on; what was drawn stays until the page closes."""

        def act(is_sure: bool) -> None:
            self.queue.flag(self.opened, is_sure)
            # its own flag is no news to this page
            self._keep_draft(drawn, self.queue.stamp(self.opened.radiograph_id))

        self._finish("flagged", act)

    def _finish(self, what: str, act: Callable[[bool], object]) -> None:
        radiograph_id = self.opened.radiograph_id
        self.message, insisting = "", self.insisting == what
        try:
            act(insisting)
        except Refused as refused:
            self._say(str(refused))
            return
        except Conflict as conflict:
            self.insisting = what
            self._say(str(conflict))
            return
        self._leave(f"Radiograph {radiograph_id} {what}.")

    def skip(self, drawn: Mask) -> None:
        """Leave it for later and go on; what was drawn stays until the page closes."""
        self._keep_draft(drawn)
        self.message = ""
        self.queue.skip(self.opened)
        self._leave(f"Radiograph {self.opened.radiograph_id} skipped.")

    def _keep_draft(self, drawn: Mask, stamp: tuple | None = None) -> None:
        if not np.array_equal(drawn, self.opened.start):
            self.drafts[self.opened.radiograph_id] = drawn, stamp or self.opened.stamp

    def _leave(self, message: str) -> None:
        self._remember()
        self._say(message)
        self._next()

    def _remember(self) -> None:
        if self.opened is not None:
            self.trail.append(self.opened.radiograph_id)

    def back(self, drawn: Mask | None) -> None:
        """Take the radiograph before this one in hand again."""
        self.message = ""
        if not self.trail:
            self._say("This is the first one.")
            return
        radiograph_id = self.trail.pop()
        if drawn is not None:
            self._keep_draft(drawn)
        if not self._show(radiograph_id):
            self._next()

    def pick(self, radiograph_id: int, drawn: Mask | None) -> None:
        """Take a certain radiograph in hand."""
        self.message = ""
        if drawn is not None:
            self._keep_draft(drawn)
        self._remember()
        if not self._show(radiograph_id):
            self._next()

    def may_decide(self, decision: str) -> bool:
        """Whether the person means it: with radiographs waiting, only said twice."""
        waiting = 0 if self.queue is None else self.queue.count("waiting")
        if waiting and self.insisting != decision:
            self.insisting = decision
            self.message = f"{waiting} still waiting. Once more, and they are left."
            return False
        return True

    def offer_skipped(self) -> None:
        """Go on with the skipped ones."""
        self.message = ""
        self.queue.offer_skipped_again()
        self._next()


TOOLS: dict[str, Callable[[EditSession, Mask], Mask | None]] = {
    "refine": lambda sheet, mask: mask_edits.refine_edge(sheet.opened.radiograph, mask),
    "fill": lambda sheet, mask: mask_edits.fill_holes(mask),
    "largest": lambda sheet, mask: mask_edits.keep_largest(mask),
    "smooth": lambda sheet, mask: mask_edits.smooth(mask),
    "proposal": lambda sheet, mask: sheet.opened.proposal,
    "coarse": lambda sheet, mask: sheet.queue.coarse_mask(
        sheet.opened.radiograph_id, sheet.opened.radiograph
    ),
    "clear": lambda sheet, mask: np.zeros_like(mask),
}
