"""Serves the annotator's page, as an oracle for step 2 or on its own.

The page is a Gradio application; only this machine sees it unless a password is set,
and it gives out the pictures that it shows and no other file.
"""

import contextlib
import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from typing import Any

from boneage.active_learning import query_folder
from boneage.active_learning.oracle import FinishAsking, Leave, Query
from boneage.active_learning.settings import PageSettings
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, FINISH, GO_ON, LEAVE, Desk
from boneage.io.files import InputError, clear_scratch, scratch
from boneage.layout import Layout

FAREWELL_S = 1.5
"""How long the page is still served after the last decision, to say so."""

SCRATCH = "annotator"
"""Gradio's own files, in the system's folder of temporary files."""

LARGEST_UPLOAD_BYTES = 64 << 20
"""A drawing that the canvas sends is smaller by far."""


@contextlib.contextmanager
def serving(desk: Desk, settings: PageSettings) -> Iterator[str]:
    """Serve a desk's page while the block runs; yields its address.

    Raises:
        InputError: a host that others see, without a password.
        OSError: the port is taken.
    """
    settings.check_page()
    with own_files(SCRATCH):
        # with it comes Gradio, which looks at the environment
        from boneage.annotator import page as annotator_page

        page = annotator_page.build(desk)
        with launched(
            page,
            settings,
            "annotate at {address} (Ctrl-C stops; what is saved stays)",
            max_file_size=LARGEST_UPLOAD_BYTES,
            css_paths=annotator_page.HERE / "annotator.css",
            head=annotator_page.head(desk),
        ) as address:
            yield address
            time.sleep(FAREWELL_S)


ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_TEMP_DIR": "",
    # set by other programs, these would open to all what we keep to ourselves
    "GRADIO_ALLOWED_PATHS": "",
    "GRADIO_SHARE": "False",
    "GRADIO_ROOT_PATH": "",
}


@contextlib.contextmanager
def own_files(name: str) -> Iterator[None]:
    """Let Gradio work in a folder of this program's own while the block runs."""
    before = {variable: os.environ.get(variable) for variable in ENVIRONMENT}
    with scratch(name) as folder:
        # by default all of a machine's Gradio programs, of all its users, share one
        # folder, and each gives out what it finds there; this one is ours alone
        os.environ |= ENVIRONMENT | {"GRADIO_TEMP_DIR": str(folder)}
        try:
            yield
        finally:
            for variable, value in before.items():
                os.environ.pop(variable, None)
                if value is not None:
                    os.environ[variable] = value


@contextlib.contextmanager
def launched(
    page: Any, settings: PageSettings, greeting: str, **more: Any
) -> Iterator[str]:
    """Serve a Gradio page, and no other file, while the block runs.

    Args:
        page: built within `own_files`.
        settings: where to, and to whom.
        greeting: for the screen, with a place for the {address}, which is yielded.
        more: of Gradio's `launch`.
    """
    import gradio

    quiet = {
        "share": False,
        "quiet": True,
        "inbrowser": False,
        "prevent_thread_lock": True,
        "allowed_paths": [],
        "show_error": True,
        "footer_links": [],
        # the themes' own fonts would be fetched from the web
        "theme": gradio.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),
        "ssr_mode": False,
        "enable_monitoring": False,
        "mcp_server": False,
    }
    _, address, _ = page.launch(
        server_name=settings.host,
        server_port=settings.port,
        auth=tuple(settings.auth.split(":", 1)) if settings.auth else None,
        **(quiet | more),
    )
    try:
        print(greeting.format(address=address))
        if settings.open_page and _has_screen():
            webbrowser.open(address)
        yield address
    finally:
        page.close(verbose=False)


def _has_screen() -> bool:
    """Whether a browser can open here; a text browser would take the terminal."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


class BrowserOracle:
    """A person who draws on a page, and says there when the training is to go on."""

    def __init__(self, layout: Layout, settings: PageSettings, measure: str) -> None:
        """Serve nothing yet; `measure` chose the queries."""
        self.layout = layout
        self.settings = settings
        self.measure = measure
        self.desk = Desk(layout, (GO_ON, FINISH, LEAVE))
        self._served = contextlib.ExitStack()
        self.address = ""

    def __enter__(self) -> "BrowserOracle":
        """The page is served from the first question until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """End serving."""
        self._served.close()

    def annotate(self, queries: list[Query]) -> int:
        """Show the queries on the page, wait for the decision, count the masks."""
        asked = [
            Query(q.radiograph_id, q.score, q.round, self.measure) for q in queries
        ]
        queue = AnnotationQueue(
            self.layout, query_folder.queries_of_round(self.layout, asked)
        )
        self.desk.lay(queue)
        if not self.address:
            serving_page = serving(self.desk, self.settings)
            self.address = self._served.enter_context(serving_page)
        else:
            print(f"{len(queries)} radiographs wait at {self.address}")
        decision = self.desk.wait()
        print(queue.describe())
        if decision == LEAVE.name:
            raise Leave
        if decision == FINISH.name:
            raise FinishAsking
        now = queue.statuses()
        return sum(now[query.radiograph_id] == "saved" for query in queries)


def annotate_waiting(layout: Layout, settings: PageSettings) -> list[str]:
    """Serve whatever waits in gt/new until the person is done; summary lines.

    Raises:
        InputError: no radiograph lies there.
    """
    if not any(path.stem.isdecimal() for path in layout.new.glob("*.png")):
        raise InputError(
            f"{layout.new}: no radiograph <id>.png to annotate; "
            "step2_interactive_segmentation.py lays there what it asks about"
        )
    # of one that was killed; here nothing may be served
    clear_scratch(SCRATCH)
    queries = query_folder.waiting_queries(layout)
    if not queries:
        return ["nothing is waiting for a mask"]
    desk = Desk(layout, (CLOSE,))
    queue = AnnotationQueue(layout, queries)
    queue.log_saved()
    desk.lay(queue)
    with serving(desk, settings):
        desk.wait()
    return [queue.describe()]
