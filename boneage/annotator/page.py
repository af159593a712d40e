"""The page's HTML: the template with its buttons and keys filled in."""

import json
from collections.abc import Collection, Iterable
from html import escape
from pathlib import Path
from string import Template

from boneage.annotator.actions import DECISIONS, SECTIONS, Action
from boneage.annotator.mask_edits import MASK_COLOUR

HERE = Path(__file__).parent
FILES = (
    "annotator.css",
    *("page.js", "requests.js", "canvas.js", "tools.js", "annotator.js"),
)
"""What the template loads; a script imports only those before it."""


def render(decisions: Collection[str]) -> str:
    """The page that offers these decisions, as HTML."""
    sections = {
        title: [
            a for a in part if part is not DECISIONS or a.name in offered(decisions)
        ]
        for title, part in SECTIONS.items()
    }
    actions = [action for part in sections.values() for action in part]
    config = {
        "keys": {key: action.name for action in actions for key in action.keys},
        "repeats": [action.name for action in actions if action.repeats],
        "labels": {action.name: action.label for action in actions},
        "decisions": list(decisions),
        "mask_colour": MASK_COLOUR,
    }
    template = Template((HERE / "annotator.html").read_text(encoding="utf-8"))
    return template.substitute(
        # "<" could close the script element that holds it
        config=json.dumps(config).replace("<", "\\u003c"),
        help="".join(_help(title, part) for title, part in sections.items()),
        **{title.lower(): _buttons(part) for title, part in sections.items()},
    )


def offered(decisions: Collection[str]) -> set[str]:
    """Names of the round's buttons: the decisions, and the way to the skipped ones."""
    return {*decisions, "skipped"}


def _buttons(actions: Iterable[Action]) -> str:
    return "".join(
        f'<button type="button" id="{action.name}" title="{escape(action.help)}"'
        f"{_shortcut(action)}>{escape(action.label)}"
        + (f" <kbd>{escape(action.keys[0].upper())}</kbd>" if action.keys else "")
        + "</button>"
        for action in actions
    )


def _shortcut(action: Action) -> str:
    keys = " ".join(key.replace("Ctrl", "Control") for key in action.keys)
    return f' aria-keyshortcuts="{escape(keys)}"' if keys else ""


def _help(title: str, actions: Iterable[Action]) -> str:
    rows = "".join(
        f"<dt>{' '.join(f'<kbd>{escape(key)}</kbd>' for key in action.keys)}</dt>"
        f"<dd>{escape(action.label)}: {escape(action.help)}</dd>"
        for action in actions
        if action.keys
    )
    return f"<h3>{escape(title)}</h3><dl>{rows}</dl>"
