"""The page on which a person draws masks, as Gradio builds it.

Imported only when a page is served: Gradio takes seconds.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from boneage.annotator import mask_edits
from boneage.annotator.round import AnnotationRound, caption
from boneage.annotator.session import TOOLS, EditSession
from boneage.io.radiographs import Mask

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
"""How all events are wired: no spinner over the canvas, no entry in an open API."""
NAME = """() => sessionStorage.page ||=
    crypto.getRandomValues(new Uint32Array(2)).join("-")"""
"""A page keeps its name over a reload, another tab gets one of its own."""
HERE = Path(__file__).parent
FRAMES = (gr.Group, gr.Column)
POLL_S = 2
"""How often a page without a radiograph asks for the next."""

# key, what it does, what the button says
CORRECTIONS = (
    ("r", "refine", "Refine edge"),
    ("h", "fill", "Fill holes"),
    ("l", "largest", "Largest piece"),
    ("m", "smooth", "Smooth"),
    ("o", "proposal", "Proposal"),
    ("c", "coarse", "Coarse mask"),
    ("k", "clear", "Clear"),
    ("d", "map", "Disagreement map"),
)
IN_CANVAS = (
    ("b", "brush", "Brush"),
    ("e", "eraser", "Eraser"),
    ("[", "smaller", "Smaller"),
    ("]", "larger", "Larger"),
    ("z", "undo", "Undo"),
    ("y", "redo", "Redo"),
    ("+", "zoom_in", "Zoom in"),
    ("-", "zoom_out", "Zoom out"),
)
MOVES = (
    ("s", "save", "Save and next"),
    ("n", "skip", "Skip"),
    ("p", "back", "Back"),
    ("x", "flag", "Not a usable radiograph"),
)


@dataclass(frozen=True)
class Wires:
    """The parts that stay while the canvas comes and goes."""

    sheet: gr.State
    buttons: dict[str, gr.Button]
    finished: gr.Gallery
    outputs: list[gr.blocks.Block]


def build(desk: AnnotationRound) -> gr.Blocks:
    """The page of a desk; every browser tab that opens it has a sheet of its own."""
    with gr.Blocks(
        title="Annotate hands",
        fill_width=True,
        analytics_enabled=False,
        # what was shown an hour ago is in the browser, or no longer wanted
        delete_cache=(600, 3600),
    ) as page:
        sheet, serial = gr.State(EditSession()), gr.State(0)
        name = gr.Textbox(visible=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=500):

                @gr.render(inputs=[sheet], triggers=[serial.change])
                def draw(mine: EditSession) -> None:
                    # another kind of frame each time: the canvas takes another size,
                    # and forgets the strokes before, only where it is built anew
                    with FRAMES[mine.frame % len(FRAMES)]():
                        if mine.opened is None:
                            _nothing_in_hand(desk, mine, wires)
                        else:
                            _canvas(desk, mine, wires)

            with gr.Column(scale=3, min_width=330, elem_id="side"):
                headline = gr.Markdown(elem_id="headline")
                message = gr.Markdown(elem_id="message")
                buttons = _buttons()
                gr.Markdown("Done in this round: click one to go back", elem_id="done")
                finished = gr.Gallery(
                    show_label=False,
                    elem_id="finished",
                    columns=4,
                    height=220,
                    object_fit="contain",
                    allow_preview=False,
                    buttons=[],
                    interactive=False,
                    format="png",
                )
                for decision in desk.decisions:
                    buttons[decision.name] = _button(*decision)
        outputs = [sheet, serial, headline, message, finished]
        wires = Wires(sheet, buttons, finished, outputs)

        def begin(page_name: str, request: gr.Request) -> list:
            mine = EditSession()
            desk.arrived(page_name, request.session_hash)
            mine.begin(desk.queue, page_name)
            return _seen(desk, mine)

        def leave(request: gr.Request) -> None:
            desk.left(request.session_hash)

        page.load(begin, [name], outputs, js=NAME, **QUIET)
        page.unload(leave)
        for decision in desk.decisions:

            def decide(mine: EditSession, what: str = decision.name) -> list:
                if mine.may_decide(what):
                    desk.decide(what, mine.queue)
                    mine.begin(desk.queue, mine.page)
                return _seen(desk, mine)

            buttons[decision.name].click(decide, [sheet], outputs, **QUIET)
    return page


def head(desk: AnnotationRound) -> str:
    """What the page's head holds: the script that gives every button its key."""
    keys = {key: what for key, what, _ in (*MOVES, *CORRECTIONS, *IN_CANVAS)}
    keys |= {decision.key: decision.name for decision in desk.decisions if decision.key}
    keys |= {"=": "zoom_in", "_": "zoom_out"}
    script = (HERE / "annotator.js").read_text().replace("KEYS", json.dumps(keys))
    return f"<script>{script}</script>"


def _button(key: str, what: str, label: str, **more: Any) -> gr.Button:
    text = f"{label} \u00b7 {key.upper()}" if key else label
    return gr.Button(text, elem_id=what, size="sm", min_width=60, **more)


def _buttons() -> dict[str, gr.Button]:
    """All buttons but the decisions, by what they do."""
    buttons = {}
    save, *others = MOVES
    buttons["save"] = _button(*save, variant="primary")
    for group in (others[:2], others[2:], *_rows(CORRECTIONS, 3), *_rows(IN_CANVAS, 4)):
        with gr.Row():
            for tool in group:
                buttons[tool[1]] = _button(*tool)
    for _, what, _ in IN_CANVAS:
        buttons[what].click(None, js=f"() => {{ annotator.{what}(); }}")
    for what in ("take_back", "do_again"):
        buttons[what] = _button("", what, what, elem_classes="behind")
    return buttons


def _rows(tools: tuple, length: int) -> list[tuple]:
    return [tools[start : start + length] for start in range(0, len(tools), length)]


def _canvas(desk: AnnotationRound, mine: EditSession, wires: Wires) -> None:
    """The radiograph with the mask as its one layer, and what the buttons do to it."""
    opened, serial = mine.opened, mine.serial
    height, width = opened.radiograph.shape
    brush_px = max(2, round(max(height, width) / 60))
    editor = gr.ImageEditor(
        value={
            "background": mine.background(),
            "layers": [mask_edits.layer_of(mine.mask)],
            "composite": None,
        },
        # the radiograph's own size: what is drawn is the mask to the pixel
        canvas_size=(width, height),
        fixed_canvas=True,
        image_mode="RGBA",
        format="png",
        brush=gr.Brush(
            default_size=brush_px,
            colors=[(f"rgb{mask_edits.MASK_COLOUR}", mask_edits.MASK_OPACITY)],
            default_color=(f"rgb{mask_edits.MASK_COLOUR}", mask_edits.MASK_OPACITY),
            color_mode="fixed",
        ),
        eraser=gr.Eraser(default_size=brush_px),
        transforms=(),
        sources=(),
        layers=False,
        buttons=[],
        show_label=False,
        interactive=True,
        height="calc(100vh - 26px)",
        elem_id="canvas",
        elem_classes=f"of-{opened.radiograph_id} brush-{brush_px}",
    )

    def act(
        call: Callable[[EditSession, Mask], None],
    ) -> Callable[[EditSession, dict], list]:
        def handle(now: EditSession, value: dict) -> list:
            # a second press may come from a canvas that is already gone
            if now.serial == serial:
                layers = (value or {}).get("layers") or []
                drawn = mask_edits.mask_of_layers(layers, opened.radiograph.shape)
                if drawn is None:
                    now.message = "The drawing did not arrive; press the key once more."
                else:
                    call(now, drawn)
            return _seen(desk, now)

        return handle

    calls = {
        **{what: functools.partial(EditSession.use, tool=what) for what in TOOLS},
        **{
            "save": EditSession.save,
            "skip": EditSession.skip,
            "flag": EditSession.flag,
        },
        **{"back": EditSession.back, "map": EditSession.switch_map},
        **{"take_back": EditSession.undo, "do_again": EditSession.redo},
    }
    for what, call in calls.items():
        wires.buttons[what].click(
            act(lambda now, drawn, call=call: call(now, drawn=drawn)),
            [wires.sheet, editor],
            wires.outputs,
            **QUIET,
        )

    def pick(now: EditSession, value: dict, picked: gr.SelectData) -> list:
        chosen = now.shown[picked.index][0]
        return act(lambda now, drawn: now.pick(chosen, drawn))(now, value)

    wires.finished.select(pick, [wires.sheet, editor], wires.outputs, **QUIET)


def _nothing_in_hand(desk: AnnotationRound, mine: EditSession, wires: Wires) -> None:
    """What to read while nothing waits, and the ways back."""
    serial = mine.serial
    with gr.Column(elem_id="empty"):
        gr.Markdown(desk.explain(mine.queue))
        if mine.queue is not None and mine.queue.count("skipped"):
            again = gr.Button("Go through the skipped ones", size="sm")

            def skipped_ones(now: EditSession) -> list:
                now.offer_skipped()
                return _seen(desk, now)

            again.click(skipped_ones, [wires.sheet], wires.outputs, **QUIET)

    def look(now: EditSession) -> list:
        if now.serial == serial and desk.has_news(now.queue, now.page):
            now.begin(desk.queue, now.page)
        return _seen(desk, now)

    def back(now: EditSession) -> list:
        if now.serial == serial:
            now.back(None)
        return _seen(desk, now)

    def pick(now: EditSession, picked: gr.SelectData) -> list:
        if now.serial == serial:
            now.pick(now.shown[picked.index][0], None)
        return _seen(desk, now)

    gr.Timer(POLL_S).tick(look, [wires.sheet], wires.outputs, **QUIET)
    wires.buttons["back"].click(back, [wires.sheet], wires.outputs, **QUIET)
    wires.finished.select(pick, [wires.sheet], wires.outputs, **QUIET)


def _seen(desk: AnnotationRound, mine: EditSession) -> list:
    """What the page shows of a sheet, in the order of its outputs."""
    if mine.serial != mine.seen:
        mine.seen, mine.frame = mine.serial, mine.frame + 1
    done = desk.finished(mine.queue)
    gallery = gr.skip()
    if done != mine.shown:
        mine.shown = done
        gallery = [(desk.thumbnail(*one), caption(*one[:2])) for one in done]
    return [mine, mine.serial, mine.headline(), mine.message or "\u00a0", gallery]
