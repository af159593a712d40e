"""When the person is told that they can stop, and on what evidence."""

import numpy as np
import pytest

from boneage.active_learning import stopping
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_folder import AnnotationStatus
from boneage.active_learning.query_log import QueryLog
from boneage.active_learning.settings import CommitteeSettings
from boneage.active_learning.state import EpochRecord, State
from boneage.cohort import excluded
from boneage.io import radiographs
from boneage.io.files import write_json

SETTLED = {5: [0.96, 0.98], 6: [0.97, 0.99]}


def test_settled_answers_and_a_settled_pool_say_stop():
    words = stopping.advice_text(SETTLED, [0.09, 0.04, 0.042, 0.039, 0.04])
    assert words.startswith("You can stop now.")
    assert "4 radiographs" in words
    assert "mean Dice 0.970 and 0.980" in words
    assert "0.0395 after 0.0410" in words


@pytest.mark.parametrize(
    ("answers", "scores"),
    [
        pytest.param({}, [0.04] * 4, id="nobody has answered"),
        pytest.param({6: [0.99]}, [0.04] * 4, id="one round is chance"),
        pytest.param({5: [0.80], 6: [0.99]}, [0.04] * 4, id="proposals are changed"),
        pytest.param(SETTLED, [0.09, 0.08, 0.05, 0.04], id="uncertainty still falls"),
        pytest.param(SETTLED, [0.04, 0.04, 0.04], id="too few rounds to tell"),
    ],
)
def test_no_advice_while_asking_pays(answers, scores):
    assert stopping.advice_text(answers, scores) == ""


def test_with_random_choice_the_answers_alone_decide():
    assert stopping.advice_text(SETTLED, []).endswith("Dice 0.970 and 0.980.")


@pytest.mark.parametrize(
    ("answers", "scores", "left"),
    [
        pytest.param({}, [0.09], 3, id="one of four rounds is scored"),
        pytest.param({5: [0.99], 6: [0.8]}, [0.04] * 5, 2, id="the last was changed"),
        pytest.param({5: [0.8], 6: [0.99]}, [0.04] * 5, 1, id="one is settled"),
        pytest.param(SETTLED, [0.09, 0.08, 0.05, 0.04], 1, id="still falling"),
        pytest.param({}, [], 2, id="chosen at random"),
    ],
)
def test_rounds_until_there_can_be_advice(answers, scores, left):
    assert stopping.rounds_left(answers, scores) == left


def test_only_the_latest_rounds_count():
    early = {1: [0.2], 2: [0.5]}
    assert stopping.advice_text(early | SETTLED, [0.04] * 4)


def record(epoch, pool_score=0.04, measure="vote_entropy"):
    return EpochRecord(epoch, 4, 8, 2, measure, pool_score, 0.5, 0.9, 1.0)


def write_state(layout, history, began=""):
    state = State(began, 4, "1a2b", 2, 0.03, CommitteeSettings(), [1], [2], [], history)
    write_json(layout.committee_state, state.facts())


def dice_of(layout):
    return stopping.proposal_dice(layout, AnnotationStatus.read(layout))


@pytest.fixture
def answered(layout):
    """Three rounds of one radiograph each; the mask of round 3 is not drawn yet."""
    square = np.zeros((20, 20), np.uint8)
    square[:10] = 255
    for number, i in ((1, 11), (2, 12), (3, 13)):
        QueryLog(layout.queries, "vote_entropy").log_asked([Query(i, 0.1, number)])
        radiographs.write(layout.proposal(i), square)
        if number < 3:
            radiographs.write(layout.answer(i), square)
    (layout.committee).mkdir(parents=True)
    write_state(layout, [record(n) for n in range(1, 5)])
    return layout


def test_evidence_is_read_from_the_files_of_the_answers(answered):
    assert dice_of(answered) == {1: [1.0], 2: [1.0]}
    assert "(2 radiographs) your masks agree" in stopping.outlook(answered).advice


def test_a_round_that_is_not_finished_is_no_evidence(answered):
    square = radiographs.read(answered.proposal(13))
    log = QueryLog(answered.queries, "vote_entropy")
    log.log_asked([Query(14, 0.1, 3), Query(15, 0.1, 3)])
    for i in (13, 14):
        radiographs.write(answered.proposal(i), square)
        radiographs.write(answered.answer(i), square)
    assert dice_of(answered).keys() == {1, 2}
    excluded.flag(answered, 15)
    found = dice_of(answered)
    assert found == {2: [1.0], 3: [1.0, 1.0]}


def test_rounds_of_another_committee_are_no_evidence(answered):
    assert stopping.outlook(answered).advice
    history = [record(n) for n in range(1, 5)]
    write_state(answered, history, began="2999-01-01T00:00:00+00:00")
    assert stopping.outlook(answered).advice == ""


def test_scores_of_another_measure_are_not_compared(answered):
    before = [record(n, 0.2, "consensus_entropy") for n in (1, 2)]
    write_state(answered, before + [record(n, 0.2) for n in (3, 4)])
    assert stopping.outlook(answered).advice == ""
    write_state(answered, before + [record(n, 0.2) for n in (3, 4, 5, 6)])
    assert stopping.outlook(answered).advice


def test_shipped_committee_has_no_history(answered):
    write_json(answered.committee_state, {"epoch": 3})
    assert stopping.outlook(answered).advice


def test_a_mask_that_cannot_be_read_is_no_evidence(answered):
    answered.answer(12).write_bytes(b"no image")
    assert dice_of(answered) == {1: [1.0]}
    assert stopping.outlook(answered).advice == ""


def test_without_a_committee_there_is_no_advice(layout):
    assert stopping.outlook(layout) == stopping.Outlook()
