"""What waits in gt/new: radiograph, proposal and disagreement; what is answered."""

import numpy as np

from boneage.active_learning import query_folder
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_folder import AnnotationStatus
from boneage.active_learning.query_log import QueryLog
from boneage.cohort import excluded
from boneage.io import radiographs

QUERIES = [Query(7, 0.9, 1), Query(8, 0.4, 1)]


def probabilities():
    """Of query 7 the mean decides; of 8 both members see the upper half."""
    members = np.zeros((2, 2, 32, 32), np.float32)
    members[0, 0, :16], members[1, 0, :16] = 0.4, 0.8
    members[0, 0, 16:], members[1, 0, 16:] = 0.9, 0.05
    members[:, 1, :16] = 1
    return members


def test_radiograph_and_what_the_committee_makes_of_it_are_written(cohort_copy):
    query_folder.write_queries(cohort_copy, QUERIES, probabilities())
    for i, spread in ((7, round(255 * 0.85)), (8, 0)):
        radiograph = radiographs.read(cohort_copy.radiograph(i))
        np.testing.assert_array_equal(
            radiographs.read(cohort_copy.query(i)), radiograph
        )
        proposal = radiographs.read(cohort_copy.proposal(i))
        half = len(proposal) // 2
        assert proposal[: half - 8].all()
        assert not proposal[half + 8 :].any()
        disagreement = radiographs.read(cohort_copy.disagreement(i))
        assert abs(int(disagreement[-1, disagreement.shape[1] // 2]) - spread) <= 1


def test_status_knows_what_is_offered_answered_and_flagged(cohort_copy):
    query_folder.write_queries(cohort_copy, QUERIES)
    mask = radiographs.read(cohort_copy.truth / "7_bin.png")
    radiographs.write(cohort_copy.answer(7), mask)
    excluded.flag(cohort_copy, 9)
    status = AnnotationStatus.read(cohort_copy)
    assert set(status.offered) == {7, 8}
    assert set(status.answered) == {7}
    assert {1, 7} <= set(status.annotated)
    assert [i for i in (1, 7, 8, 9) if status.is_done(i)] == [7, 9]


def test_answered_queries_of_a_round_come_with_the_waiting_ones(cohort_copy):
    query_folder.write_queries(cohort_copy, QUERIES)
    QueryLog(cohort_copy.queries, "vote_entropy").log_asked(QUERIES)
    mask = radiographs.read(cohort_copy.truth / "7_bin.png")
    radiographs.write(cohort_copy.answer(7), mask)
    waiting = query_folder.waiting_queries(cohort_copy)
    assert [(q.radiograph_id, q.score) for q in waiting] == [(7, 0.9), (8, 0.4)]
    assert {query.measure for query in waiting} == {"vote_entropy"}
