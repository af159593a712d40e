"""Beginning from nothing: the first radiographs to annotate, and what comes of them."""

import json
import shutil

import pytest

from boneage.active_learning import initial_batch
from boneage.active_learning.oracle import Decision, SimulatedOracle
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import hdf5, radiographs
from tests.conftest import ANNOTATED, call, quick_networks

STEP = "al_segmentation/step2_interactive_segmentation"
PACK = "al_segmentation/step2_image_2_h5"


@pytest.fixture
def untouched(cohort_copy):
    """The tiny cohort as if nobody had annotated anything."""
    shutil.rmtree(cohort_copy.annotated)
    cohort_copy.annotated_h5.unlink()
    call(cohort_copy, PACK, pool="unannotated", size=32)
    return cohort_copy


class Person:
    """Draws the first `drawn` of what is asked, then decides as told."""

    def __init__(self, layout, drawn=99, then=Decision.CONTINUE, answerable_ids=None):
        self.answerable_ids = answerable_ids
        self.known = SimulatedOracle(layout, layout.truth)
        self.drawn, self.then, self.seen = drawn, then, []

    def annotate(self, queries):
        self.seen = [query.radiograph_id for query in queries]
        self.known.annotate(queries[: self.drawn])
        return self.then


def test_a_cohort_without_annotations_needs_them(untouched, cohort_copy):
    assert initial_batch.is_needed(untouched)


def test_a_cohort_with_annotations_does_not(made_cohort):
    assert not initial_batch.is_needed(made_cohort)


def test_pairs_that_are_not_packed_yet_are_no_reason_to_ask(cohort_copy):
    cohort_copy.annotated_h5.unlink()
    assert not initial_batch.is_needed(cohort_copy)


def test_answers_are_packed_and_logged(untouched):
    person = Person(untouched)
    assert initial_batch.ask(untouched, person, 5, 0)
    assert len(set(person.seen)) == 5
    packed = hdf5.open_packed(untouched.annotated_h5, PACK)
    assert sorted(packed.ids.tolist()) == person.seen
    assert packed.size == 32
    log = [json.loads(line) for line in untouched.queries.read_text().splitlines()]
    assert {entry["measure"] for entry in log} == {"representative"}
    assert {entry["round"] for entry in log} == {0}
    # before there is a committee there is nothing to propose
    assert not list(untouched.new.glob("*_proposal.png"))
    i = person.seen[0]
    assert (radiographs.read(untouched.new / f"{i}.png") > 0).any()
    assert not initial_batch.is_needed(untouched)


def test_only_what_the_oracle_knows_is_asked(untouched):
    person = Person(untouched, answerable_ids={2, 3, 4})
    initial_batch.ask(untouched, person, 5, 0)
    assert person.seen == [2, 3, 4]


def test_who_leaves_is_asked_about_the_rest_of_the_same(untouched):
    left = Person(untouched, drawn=2, then=Decision.STOP_TRAINING)
    assert not initial_batch.ask(untouched, left, 5, 0)
    back = Person(untouched)
    assert initial_batch.ask(untouched, back, 5, 0)
    assert back.seen == left.seen[2:]
    assert len(hdf5.open_packed(untouched.annotated_h5, PACK).ids) == 5


def test_flagged_ones_are_not_asked_again(untouched):
    left = Person(untouched, drawn=0, then=Decision.STOP_TRAINING)
    initial_batch.ask(untouched, left, 5, 0)
    excluded.flag(untouched, left.seen[0])
    back = Person(untouched)
    initial_batch.ask(untouched, back, 5, 0)
    assert back.seen == left.seen[1:]


def test_finishing_early_goes_on_with_what_there_is(untouched):
    assert initial_batch.ask(
        untouched, Person(untouched, 3, Decision.STOP_ASKING), 5, 0
    )
    assert len(hdf5.open_packed(untouched.annotated_h5, PACK).ids) == 3


def test_one_answer_is_too_few(untouched):
    with pytest.raises(InputError, match=r"at least 2 annotated .*got 1.*--first"):
        initial_batch.ask(untouched, Person(untouched, drawn=1), 5, 0)
    # and the next start asks again
    assert initial_batch.is_needed(untouched)


def test_the_step_begins_from_nothing_and_trains(untouched, capsys):
    with quick_networks():
        call(
            untouched,
            STEP,
            oracle="simulated",
            truth=untouched.truth,
            first=ANNOTATED,
            filters=2,
            epochs=2,
            images_per_epoch=4,
            batch_size=4,
            queries=2,
            test_fraction=0.34,
        )
    printed = capsys.readouterr().out
    assert f"{ANNOTATED} first annotations" in printed
    assert "2 epochs, 6 training pairs" in printed
    assert len(hdf5.open_packed(untouched.annotated_h5, PACK).ids) == ANNOTATED + 2
