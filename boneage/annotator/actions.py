"""Everything a person can do on the page: name, label, key and help, in this one table.

The buttons, the list of keys on `?`, and the script's key handling are made from it.
"""

from typing import NamedTuple


class Action(NamedTuple):
    """One button of the page.

    keys: as in `KeyboardEvent.key`, letters in lower case, "Ctrl+" for Ctrl or Cmd;
    the first is shown. repeats: a key that is held down repeats the action.
    """

    name: str
    label: str
    keys: tuple[str, ...]
    help: str
    repeats: bool = False


PROGRESS = (
    Action(
        "save", "Save and next", ("s",), "save the mask and open the next radiograph"
    ),
    Action("skip", "Skip", ("n",), "leave the radiograph for later"),
    Action("back", "Back", ("p",), "return to the radiograph before this one"),
    Action("flag", "Not usable", ("x",), "exclude the radiograph from the training"),
)
TOOLS = (
    Action("brush", "Brush", ("b",), "paint; its size stays the same on the screen"),
    Action("eraser", "Eraser", ("e",), "erase"),
    Action(
        "bright", "Bright brush", ("t",), "paint, but nothing darker than at the start"
    ),
    Action("add_area", "Add area", ("a",), "drag around an area, or click its corners"),
    Action("remove_area", "Remove area", ("w",), "the same, but erase the area"),
    Action("cut", "Straight cut", ("f",), "drag a line: the smaller side is removed"),
    Action("to_edge", "To the edge", ("i",), "click: grow or shrink to nearby edges"),
)
HISTORY = (
    Action("undo", "Undo", ("z", "Ctrl+z"), "undo the last stroke or correction"),
    Action("redo", "Redo", ("y", "Ctrl+y", "Ctrl+Z"), "redo what you undid last"),
    Action("smaller", "Smaller", ("[",), "make the brush smaller", repeats=True),
    Action("larger", "Larger", ("]",), "make the brush larger", repeats=True),
)
CORRECTIONS = (
    Action("refine", "Refine edge", ("r",), "move the outline to the nearest edge"),
    Action("fill", "Fill holes", ("h",), "fill what the mask encloses"),
    Action("largest", "Largest piece", ("l",), "keep only the largest piece"),
    Action("smooth", "Smooth", ("m",), "smooth the outline"),
    Action("proposal", "Proposal", ("o",), "restart from the committee's mask"),
    Action("coarse", "Coarse mask", ("c",), "restart from the coarse mask"),
    Action("merge", "Merge", ("2",), "merge the proposal and the coarse mask"),
    Action("clear", "Clear", ("k",), "erase everything"),
)
VIEW = (
    Action("map", "Disagreement", ("d",), "show where the committee disagrees"),
    Action("second", "Coarse outline", ("j",), "show where the coarse mask ends"),
    Action("equalize", "Equalize", ("q",), "show the radiograph equalized"),
    Action("outline", "Outline", ("v",), "area, outline or no mask, in turn"),
    Action(
        "zoom_in", "Zoom in", ("+", "="), "zoom in (or turn the wheel)", repeats=True
    ),
    Action("zoom_out", "Zoom out", ("-", "_"), "zoom out", repeats=True),
    Action("fit", "Fit", ("0",), "show the whole radiograph with its own contrast"),
    Action("keys", "Keys", ("?",), "show this list"),
)
DECISIONS = (
    Action("skipped", "Show skipped", ("u",), "show the skipped radiographs again"),
    Action("go_on", "Continue training", ("g",), "train on your masks, then ask again"),
    Action("close", "Finish and close", ("g",), "end the program"),
    Action("finish", "Train on, ask no more", (), "train without further questions"),
    Action("leave", "Stop for today", (), "end the program; it can continue later"),
)
SECTIONS = {
    "Radiograph": PROGRESS,
    "Draw": (*TOOLS, *HISTORY),
    "Correct": CORRECTIONS,
    "View": VIEW,
    "Round": DECISIONS,
}
LABELS = {action.name: action.label for part in SECTIONS.values() for action in part}
