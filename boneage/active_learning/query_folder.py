"""data/gt/new, where queries wait for a person: writing them, and what is answered."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from boneage.active_learning import agreement
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.cohort import excluded
from boneage.ids import RadiographId, order, sort_ids
from boneage.io import radiographs
from boneage.layout import MASK_ENDING, Layout, ids_in
from boneage.segmentation import hand_images


@dataclass(frozen=True)
class AnnotationStatus:
    """What lies in data/gt, read once: ids, which a round passes on.

    offered: with a radiograph in gt/new. answered: with a mask there. annotated: with
    a mask in gt/annotated or gt/new. flagged: not usable.
    """

    offered: Collection[RadiographId]
    answered: Collection[RadiographId]
    annotated: Collection[RadiographId]
    flagged: Collection[RadiographId]

    @classmethod
    def read(cls, layout: Layout) -> "AnnotationStatus":
        """Read the two folders and unusable.csv.

        Raises:
            InputError: unusable.csv is damaged.
        """
        answered = ids_in(layout.new, MASK_ENDING).keys()
        return cls(
            ids_in(layout.new, ".png").keys(),
            answered,
            answered | ids_in(layout.annotated, MASK_ENDING).keys(),
            excluded.flagged(layout).keys(),
        )

    def is_done(self, radiograph_id: RadiographId) -> bool:
        """Whether a person has answered this query or flagged its radiograph."""
        return radiograph_id in self.answered or radiograph_id in self.flagged


def write_queries(
    layout: Layout, queries: list[Query], probabilities: np.ndarray | None = None
) -> None:
    """Write each query's radiograph, and what the committee makes of it.

    probabilities: (member, query, size, size) float32 in [0, 1] of the padded squares;
    None before there is a committee.
    """
    for index, query in enumerate(queries):
        i = query.radiograph_id
        radiograph = radiographs.read(layout.radiograph(i))
        if probabilities is not None:
            by_member, shape = probabilities[:, index], radiograph.shape
            proposal = hand_images.committee_mask(by_member, shape)
            spread = hand_images.disagreement(by_member, shape)
            radiographs.write(layout.proposal(i), proposal)
            radiographs.write(layout.disagreement(i), spread)
        # last: a radiograph without the other files would count as a query
        radiographs.write(layout.query(i), radiograph)


def queries_of_round(layout: Layout, open_queries: list[Query]) -> list[Query]:
    """The open queries and those of their rounds that are answered already.

    Highest score first; radiographs without a score last, by id.
    """
    status = AnnotationStatus.read(layout)
    return _with_their_rounds(open_queries, QueryLog(layout.queries).asked(), status)


def waiting_queries(
    layout: Layout, people: Collection[str] = (), shared_fraction: float = 0.0
) -> list[Query]:
    """Whatever lies in gt/new without a mask, and the rest of its rounds.

    Also what is shared among `people` and not yet drawn by all of them.
    """
    logged = QueryLog(layout.queries).asked()
    status = AnnotationStatus.read(layout)
    shared = agreement.unfinished_ids(layout, status.offered, people, shared_fraction)
    waiting = [
        logged.get(i, Query(i, None, None))
        for i in sort_ids(status.offered)
        if not status.is_done(i) or (i in shared and i not in status.flagged)
    ]
    return _with_their_rounds(waiting, logged, status)


def _with_their_rounds(
    open_queries: list[Query],
    logged: dict[RadiographId, Query],
    status: AnnotationStatus,
) -> list[Query]:
    rounds = {query.round for query in open_queries} - {None}
    queries = {query.radiograph_id: query for query in open_queries}
    for i, query in logged.items():
        if query.round in rounds and status.is_done(i) and i in status.offered:
            queries.setdefault(i, query)
    return sorted(
        queries.values(),
        key=lambda q: (q.score is None, -(q.score or 0), order(q.radiograph_id)),
    )
