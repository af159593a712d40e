"""Serves the annotator's page, as an oracle for step 2 or on its own.

The page is a Gradio application; only this machine sees it unless a password is set,
and it gives out the pictures that it shows and no other file.
"""

import contextlib
import time
from collections.abc import Iterator

from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Decision, Query
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, FINISH, GO_ON, LEAVE, AnnotationRound
from boneage.errors import InputError
from boneage.io.files import clear_temporary_folders
from boneage.layout import Layout
from boneage.web import WebSettings, launched, own_files

FAREWELL_S = 1.5
"""How long the page is still served after the last decision, to say so."""

SCRATCH = "annotator"
"""Gradio's own files, in the system's folder of temporary files."""

LARGEST_UPLOAD_BYTES = 64 << 20
"""A drawing that the canvas sends is smaller by far."""

DECISIONS = {
    GO_ON.name: Decision.CONTINUE,
    FINISH.name: Decision.STOP_ASKING,
    LEAVE.name: Decision.STOP_TRAINING,
}


@contextlib.contextmanager
def serving(desk: AnnotationRound, settings: WebSettings) -> Iterator[str]:
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


class BrowserOracle:
    """A person who draws on a page, and says there when the training is to go on."""

    def __init__(self, layout: Layout, settings: WebSettings, measure: str) -> None:
        """Serve nothing yet; `measure` chose the queries."""
        self.layout = layout
        self.settings = settings
        self.measure = measure
        self.answerable_ids = None
        self.desk = AnnotationRound(layout, (GO_ON, FINISH, LEAVE))
        self._served = contextlib.ExitStack()
        self.address = ""

    def __enter__(self) -> "BrowserOracle":
        """The page is served from the first question until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """End serving."""
        self._served.close()

    def annotate(self, queries: list[Query]) -> Decision:
        """Show the queries on the page, and wait for the person's decision."""
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
        return DECISIONS[decision]


def annotate_waiting(layout: Layout, settings: WebSettings) -> list[str]:
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
    clear_temporary_folders(SCRATCH)
    queries = query_folder.waiting_queries(layout)
    if not queries:
        return ["nothing is waiting for a mask"]
    desk = AnnotationRound(layout, (CLOSE,))
    queue = AnnotationQueue(layout, queries)
    queue.log_saved()
    desk.lay(queue)
    with serving(desk, settings):
        desk.wait()
    return [queue.describe()]
