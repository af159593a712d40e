"""What waits for a person in gt/new: laying it there, and finding it again."""

import numpy as np

from boneage.active_learning import excluded
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.io import radiographs
from boneage.layout import Layout
from boneage.segmentation import hand_images


def write_queries(
    layout: Layout, asked: list[Query], probabilities: np.ndarray | None = None
) -> None:
    """Write each query's radiograph, and what the committee makes of it.

    probabilities: (member, query, size, size) float32 in [0, 1] of the padded squares;
    None before there is a committee.
    """
    nothing = [None] * len(asked)
    found = nothing if probabilities is None else np.swapaxes(probabilities, 0, 1)
    for query, by_member in zip(asked, found, strict=True):
        i = query.radiograph_id
        radiograph = radiographs.read(layout.radiograph(i))
        if by_member is not None:
            shape = radiograph.shape
            proposal = hand_images.mask_from_probability(by_member.mean(axis=0), shape)
            spread = hand_images.disagreement(by_member, shape)
            radiographs.write(layout.proposal(i), proposal)
            radiographs.write(layout.disagreement(i), spread)
        # last: what lies there under its id alone is asked about
        radiographs.write(layout.query(i), radiograph)


def queries_of_round(layout: Layout, open_queries: list[Query]) -> list[Query]:
    """The open queries and those of their rounds that are answered already.

    Highest score first; radiographs without a score last, by id.
    """
    rounds = {query.round for query in open_queries} - {None}
    queries = {query.radiograph_id: query for query in open_queries}
    flagged = excluded.flagged(layout)
    for radiograph_id, asked in _last_asked(layout).items():
        done = layout.answer(radiograph_id).exists() or radiograph_id in flagged
        if asked.round in rounds and done and layout.query(radiograph_id).exists():
            queries.setdefault(radiograph_id, asked)
    return sorted(
        queries.values(),
        key=lambda q: (q.score is None, -(q.score or 0), q.radiograph_id),
    )


def waiting_queries(layout: Layout) -> list[Query]:
    """Whatever lies in gt/new without a mask, and the rest of its rounds."""
    asked, flagged = _last_asked(layout), excluded.flagged(layout)
    ids = sorted(int(p.stem) for p in layout.new.glob("*.png") if p.stem.isdecimal())
    waiting = [
        asked.get(i, Query(i, None, None))
        for i in ids
        if i not in flagged and not layout.answer(i).exists()
    ]
    return queries_of_round(layout, waiting)


def _last_asked(layout: Layout) -> dict[int, Query]:
    return {
        entry["id"]: Query(
            entry["id"], entry["score"], entry["round"], entry["measure"]
        )
        for entry in QueryLog(layout.queries).read()
        if entry["action"] == "asked"
    }
