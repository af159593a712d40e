"""The first radiographs that a person annotates, before there is a committee to ask."""

import numpy as np

from boneage.active_learning import dataset, excluded, query_folder, selection
from boneage.active_learning.oracle import Oracle, Query, StopAsking, StopTraining
from boneage.active_learning.query_log import QueryLog
from boneage.errors import InputError
from boneage.io import hdf5
from boneage.layout import MASK_ENDING, Layout, ids_in
from boneage.parallel import THIS_PROCESS, skipped_lines
from boneage.segmentation import preprocessing

ROUND = 0
MEASURE = "representative"
FEWEST = 2
"""Annotated pairs: one to train on, one for testing."""


def is_needed(layout: Layout) -> bool:
    """Whether nobody has annotated enough to train a committee and to test it."""
    if any(ids_in(layout.annotated, MASK_ENDING)):
        return False
    if not layout.annotated_h5.exists():
        return True
    return len(hdf5.open_packed(layout.annotated_h5, dataset.PACKED_BY).ids) < FEWEST


def ask(
    layout: Layout, oracle: Oracle, count: int, seed: int, askable: set[int] | None
) -> bool:
    """Ask about `count` radiographs that stand for the pool, and pack the answers.

    One of each cluster of `selection.representative`; asked again, the same ones. A
    page begins with their coarse masks.

    Returns:
        Whether there is something to train on; False where the oracle left.

    Raises:
        InputError: fewer than two answers.
    """
    pool = hdf5.open_packed(
        layout.unannotated_h5, f"{dataset.PACKED_BY} --pool unannotated"
    )
    rows = np.arange(len(pool.ids))
    if askable is not None:
        rows = np.flatnonzero(np.isin(pool.ids, list(askable)))
    rng = np.random.default_rng([seed, 1])
    chosen = rows[selection.cluster_representatives(pool.images[rows], count, rng)]
    flagged = excluded.flagged(layout)
    queries = [
        Query(i, None, ROUND, MEASURE)
        for i in pool.ids[np.sort(chosen)].tolist()
        if i not in flagged and not layout.answer(i).exists()
    ]
    if queries:
        query_folder.write_queries(layout, queries)
        QueryLog(layout.queries).asked(queries)
        try:
            oracle.annotate(queries)
        except StopAsking:
            print("nothing is trained yet: going on to the first epoch")
        except StopTraining:
            print("left; the same command goes on from here")
            return False
    taken = dataset.pack_annotated(
        layout, pool.size, preprocessing.clip_limit_of(pool), THIS_PROCESS
    )
    print(
        "\n".join(
            [*skipped_lines(taken.set_aside), f"{len(taken.added)} first annotations"]
        )
    )
    if len(taken.added) < FEWEST:
        raise InputError(
            f"{layout.new}: {len(taken.added)} annotated; at least {FEWEST} are needed "
            "to begin; --first asks about more"
        )
    return True
