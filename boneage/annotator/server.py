"""Serves the annotator's page, as an oracle for step 2 or on its own.

Only this machine sees the page unless a password is set. It serves the pictures of its
round and no other file.
"""

import contextlib
import time
from collections.abc import Iterator

from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Decision, Query
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, FINISH, GO_ON, LEAVE, AnnotationRound
from boneage.errors import InputError
from boneage.layout import Layout, ids_in
from boneage.web import WebSettings, check_installed, serve

FAREWELL_S = 3.0
"""How long the page is served after the last decision, to show that it has ended."""

DECISIONS = {
    GO_ON: Decision.CONTINUE,
    FINISH: Decision.STOP_ASKING,
    LEAVE: Decision.STOP_TRAINING,
}


@contextlib.contextmanager
def serving(annotation_round: AnnotationRound, settings: WebSettings) -> Iterator[str]:
    """Serve a round's page while the block runs; yields its address.

    Raises:
        InputError: a host that others see without a password, or a port that is taken.
    """
    settings.check_page()
    check_installed("starlette")
    from boneage.annotator import api

    greeting = "annotate at {address} (Ctrl-C stops; everything saved is kept)"
    with serve(api.build(annotation_round), settings, greeting) as address:
        yield address
        time.sleep(FAREWELL_S)


class BrowserOracle:
    """A person who draws on a page, and decides there when the training continues."""

    def __init__(
        self,
        layout: Layout,
        settings: WebSettings,
        measure: str,
        shared_fraction: float = 0.0,
    ) -> None:
        """Serve nothing yet; `measure` chose the queries.

        shared_fraction: of the radiographs that everybody draws who can log in.
        """
        self.layout = layout
        self.settings = settings
        self.measure = measure
        self.shared_fraction = shared_fraction
        self.answerable_ids = None
        self.round = AnnotationRound(layout, (GO_ON, FINISH, LEAVE))
        self._served = contextlib.ExitStack()
        self.address = ""

    def __enter__(self) -> "BrowserOracle":
        """The page is served from the first question until the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._served.close()

    def annotate(self, queries: list[Query]) -> Decision:
        """Show the queries on the page, and wait for the person's decision."""
        measured = [
            Query(q.radiograph_id, q.score, q.round, self.measure) for q in queries
        ]
        queue = AnnotationQueue(
            self.layout,
            query_folder.queries_of_round(self.layout, measured),
            people=self.settings.people,
            shared_fraction=self.shared_fraction,
        )
        self.round.publish(queue)
        if not self.address:
            serving_page = serving(self.round, self.settings)
            self.address = self._served.enter_context(serving_page)
        else:
            print(f"{len(queries)} radiographs wait at {self.address}")
        decision = self.round.wait()
        print(queue.describe())
        return DECISIONS[decision]


def annotate_waiting(
    layout: Layout, settings: WebSettings, shared_fraction: float = 0.0
) -> list[str]:
    """Serve whatever waits in gt/new until the person is done; summary lines.

    Raises:
        InputError: there is no radiograph.
    """
    if not ids_in(layout.new, ".png"):
        raise InputError(
            f"{layout.new} must hold a radiograph <id>.png to annotate (got none); "
            "step2_interactive_segmentation.py puts there what it asks about"
        )
    people = settings.people
    fraction = shared_fraction if len(people) > 1 else 0.0
    queries = query_folder.waiting_queries(layout, people, fraction)
    if not queries:
        return ["nothing is waiting for a mask"]
    annotation_round = AnnotationRound(layout, (CLOSE,))
    queue = AnnotationQueue(layout, queries, people=people, shared_fraction=fraction)
    queue.log_saved()
    annotation_round.publish(queue)
    with serving(annotation_round, settings):
        annotation_round.wait()
    return [queue.describe()]
