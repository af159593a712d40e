"""The first radiographs that a person annotates, before there is a committee to ask."""

import numpy as np

from boneage.active_learning import dataset, query_folder, selection
from boneage.active_learning.oracle import Decision, Oracle, Query
from boneage.active_learning.query_folder import AnnotationStatus
from boneage.active_learning.query_log import QueryLog
from boneage.errors import InputError
from boneage.ids import is_among
from boneage.io import hdf5
from boneage.layout import MASK_ENDING, Layout, ids_in
from boneage.parallel import THIS_PROCESS, skipped_lines
from boneage.segmentation import preprocessing

ROUND = 0
MEASURE = "representative"
MINIMUM_PAIRS = 2
"""One to train on, one for testing."""


def is_needed(layout: Layout) -> bool:
    """Whether nobody has annotated enough to train a committee and to test it."""
    if ids_in(layout.annotated, MASK_ENDING):
        return False
    if not layout.annotated_h5.exists():
        return True
    packed = hdf5.open_packed(layout.annotated_h5, dataset.PACKED_BY)
    return len(packed.ids) < MINIMUM_PAIRS


def ask(layout: Layout, oracle: Oracle, count: int, seed: int) -> bool:
    """Ask about `count` radiographs that represent the pool, and pack the answers.

    See `selection.cluster_representatives`; asked again, they are the same. The browser
    shows their coarse masks to begin with.

    Returns:
        Whether there is something to train on; False where the oracle stopped.

    Raises:
        InputError: fewer than two answers.
    """
    pool = dataset.open_pool(layout)
    rows = np.arange(len(pool.ids))
    if oracle.answerable_ids is not None:
        rows = np.flatnonzero(is_among(pool.ids, oracle.answerable_ids))
    rng = np.random.default_rng([seed, 1])
    chosen = rows[selection.cluster_representatives(pool.images[rows], count, rng)]
    status = AnnotationStatus.read(layout)
    queries = [
        Query(i, None, ROUND, MEASURE)
        for i in pool.ids[np.sort(chosen)].tolist()
        if not status.is_done(i)
    ]
    if queries:
        query_folder.write_queries(layout, queries)
        QueryLog(layout.queries).log_asked(queries)
        decision = oracle.annotate(queries)
        if decision is Decision.STOP_TRAINING:
            print("stopped; the same command goes on from here")
            return False
        if decision is Decision.STOP_ASKING:
            print("nothing is trained yet: going on to the first epoch")
    packed = dataset.pack_annotated(
        layout, pool.size, preprocessing.clip_limit_of(pool), THIS_PROCESS
    )
    for line in skipped_lines(packed.skipped):
        print(line)
    print(f"{len(packed.added)} first annotations")
    if len(packed.added) < MINIMUM_PAIRS:
        raise InputError(
            f"{layout.new} must have at least {MINIMUM_PAIRS} annotated radiographs to "
            f"begin (got {len(packed.added)}); use --first to be asked about more"
        )
    return True
