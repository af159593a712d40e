"""What a person does about each radiograph, and what lies on disk afterwards."""

import csv
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from boneage.active_learning import agreement, query_folder, query_log
from boneage.active_learning.oracle import Query
from boneage.active_learning.query_log import QueryLog
from boneage.annotator.queue import (
    KEPT_OPEN,
    AnnotationQueue,
    Conflict,
    ImplausibleMask,
    RefusedMask,
)
from boneage.annotator.round import GO_ON, AnnotationRound
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import radiographs
from boneage.segmentation import confirmed_masks

SHAPE = (30, 20)


def block(row: int, column: int = 5) -> np.ndarray:
    """A mask: ten rows and ten columns from here on, with two slits between fingers."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[row : row + 10, column : column + 10] = 255
    for slit in (column + 2, column + 6):
        mask[row : row + 7, slit : slit + 2] = 0
    return mask


PROPOSAL, DRAWN = block(10), block(12)


class Clock:
    """Time that goes by when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(layout, clock):
    """Three queries of round 2, the most uncertain first: 7, 9, 8."""
    rng = np.random.default_rng(0)
    for i in (7, 8, 9):
        noise = rng.integers(0, 255, SHAPE, dtype=np.uint8)
        radiographs.write(layout.query(i), noise)
        radiographs.write(layout.proposal(i), PROPOSAL)
    asked = [Query(7, 0.9, 2), Query(8, 0.1, 2), Query(9, 0.5, 2)]
    QueryLog(layout.queries, "vote_entropy").log_asked(asked)
    return AnnotationQueue(layout, query_folder.waiting_queries(layout), clock)


SQUARE = np.zeros(SHAPE, np.uint8)
SQUARE[10:20, 5:15] = 255


def last(queue) -> dict:
    return queue.log.entries()[-1]


def test_most_uncertain_first(queue):
    assert queue.ids == [7, 9, 8]
    assert queue.next_for("page") == 7


def test_saving_writes_the_mask_and_a_line(queue, layout):
    opened = queue.open(7)
    np.testing.assert_array_equal(opened.start, PROPOSAL)
    assert queue.save(opened, DRAWN, 12.5) == "annotated"
    np.testing.assert_array_equal(radiographs.read(layout.answer(7)), DRAWN)
    line = last(queue)
    assert line.pop("time")
    assert line == {
        "round": 2,
        "id": 7,
        "measure": "vote_entropy",
        "score": 0.9,
        "proposal": "7_proposal.png",
        "action": "annotated",
        "seconds": 12.5,
        "dice": 0.72222,
    }
    assert queue.next_for("page") == 9


def test_proposal_saved_as_it_was_is_told_apart(queue):
    assert queue.save(queue.open(7), PROPOSAL) == "accepted"
    assert last(queue)["action"] == "accepted"
    assert last(queue)["dice"] == 1


@pytest.mark.parametrize(
    ("mask", "why"),
    [(np.zeros(SHAPE, np.uint8), "empty"), (np.full(SHAPE, 255, np.uint8), "every")],
)
def test_masks_that_cannot_be_taken_in_are_refused(queue, layout, mask, why):
    with pytest.raises(RefusedMask, match=why):
        queue.save(queue.open(7), mask)
    assert not layout.answer(7).exists()
    assert last(queue)["action"] == "asked"


def test_mask_of_another_radiograph_is_refused(queue):
    with pytest.raises(RefusedMask, match="out of date"):
        queue.save(queue.open(7), DRAWN[:10])


def test_skipped_ones_are_logged_and_wait_for_another_look(queue):
    queue.skip(queue.open(7))
    assert last(queue)["action"] == "skipped"
    assert queue.next_for("page") == 9
    queue.offer_skipped_again()
    assert queue.next_for("page") == 7


def test_skipping_is_no_answer_to_the_log(queue):
    queue.skip(queue.open(7))
    queue.log.log_answers([7])
    assert last(queue)["action"] == "annotated"


@pytest.mark.parametrize("action", ["save", "flag"])
def test_what_the_page_logged_is_not_logged_again(queue, action):
    opened = queue.open(7)
    queue.save(opened, DRAWN) if action == "save" else queue.flag(opened)
    lines = len(queue.log.entries())
    queue.log.log_answers([7])
    assert len(queue.log.entries()) == lines


def test_flagged_is_listed_in_a_file_and_waits_no_more(queue, layout):
    queue.flag(queue.open(7))
    with layout.unusable.open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["7"]
    assert last(queue)["action"] == "flagged"
    assert queue.describe() == "0 saved; 2 waiting; 1 not usable: 7"
    again = AnnotationQueue(layout, query_folder.waiting_queries(layout))
    assert again.next_for("page") == 9
    assert excluded.flagged_lines(excluded.flagged(layout)) == [
        "flagged as not usable: 7"
    ]


def test_saving_a_flagged_one_makes_it_usable_again(queue, layout):
    queue.flag(queue.open(7))
    queue.save(queue.open(7), DRAWN)
    assert excluded.flagged(layout) == {}
    assert queue.statuses()[7] == "saved"


def test_flags_that_are_none_are_named(layout):
    layout.unusable.parent.mkdir(parents=True)
    layout.unusable.write_text("id,time\n\n7,now\n\n")
    assert excluded.flagged(layout) == {7: "now"}
    layout.unusable.write_text("id,time\nse/ven,now\n")
    with pytest.raises(
        InputError, match=r"unusable\.csv must have an id and a time .*se/ven,now"
    ):
        excluded.flagged(layout)


def test_a_restart_begins_with_what_is_left_and_shows_what_is_done(queue, layout):
    queue.save(queue.open(7), DRAWN)
    again = AnnotationQueue(layout, query_folder.waiting_queries(layout))
    assert again.ids == [7, 9, 8]
    assert again.next_for("page") == 9
    np.testing.assert_array_equal(again.open(7).start, DRAWN)


def test_two_pages_get_two_radiographs(queue):
    queue.claim(queue.next_for("first"), "first")
    assert queue.next_for("first") == 7
    assert queue.next_for("second") == 9
    queue.claims.release("first")
    assert queue.next_for("second") == 7


def test_a_page_that_went_away_does_not_keep_its_radiograph(queue, clock):
    queue.claim(7, "gone")
    assert queue.claimed_elsewhere(7, "page")
    assert not queue.claimed_elsewhere(7, "gone")
    clock.now = 601
    assert queue.next_for("page") == 7


def test_the_last_one_is_offered_though_another_page_has_it(queue):
    for i in (8, 9):
        queue.save(queue.open(i), DRAWN)
    queue.claim(7, "first")
    assert queue.next_for("second") == 7


@pytest.mark.parametrize("action", ["save", "flag"])
def test_two_pages_do_not_overwrite_each_other_unasked(queue, layout, action):
    mine, theirs = queue.open(7), queue.open(7)
    queue.save(theirs, DRAWN)
    act = {"save": lambda **sure: queue.save(mine, PROPOSAL, **sure)}
    act["flag"] = lambda **sure: queue.flag(mine, **sure)
    with pytest.raises(Conflict, match="saved elsewhere since you opened it"):
        act[action]()
    np.testing.assert_array_equal(radiographs.read(layout.answer(7)), DRAWN)
    assert excluded.flagged(layout) == {}
    act[action](overwrite=True)
    assert (7 in excluded.flagged(layout)) == (action == "flag")


def test_another_process_is_seen_as_well(queue, layout):
    """No claim tells of it; what lies on disk does."""
    opened = queue.open(7)
    other = AnnotationQueue(layout, query_folder.waiting_queries(layout))
    other.flag(other.open(7))
    with pytest.raises(Conflict, match="flagged as not usable elsewhere"):
        queue.save(opened, DRAWN)


def test_without_a_proposal_the_coarse_mask_is_the_start(queue, layout):
    layout.proposal(7).unlink()
    radiographs.write(layout.coarse_mask(7), DRAWN)
    opened = queue.open(7)
    assert opened.proposal is None
    np.testing.assert_array_equal(opened.start, DRAWN)
    queue.save(opened, DRAWN)
    assert last(queue)["action"] == "annotated"
    assert last(queue)["proposal"] is None
    assert last(queue)["dice"] is None


def test_proposal_of_another_size_is_named_and_not_used(queue, layout):
    radiographs.write(layout.proposal(7), PROPOSAL[:5])
    opened = queue.open(7)
    assert opened.proposal is None
    assert (
        "7_proposal.png must have the shape (30, 20) (got (5, 20))" in opened.notes[0]
    )


def test_radiographs_nobody_asked_about_wait_last(queue, layout):
    radiographs.write(layout.query(3), block(0))
    queries = query_folder.waiting_queries(layout)
    assert [query.radiograph_id for query in queries] == [7, 9, 8, 3]
    assert queries[-1] == Query(3, None, None)


def test_half_a_line_of_the_log_costs_no_other(queue, layout):
    with layout.queries.open("a") as log:
        log.write('{"time": "20')
    queue.skip(queue.open(7))
    assert last(queue)["action"] == "skipped"
    assert len(layout.queries.read_text().splitlines()) == 5


def test_only_a_few_radiographs_are_kept_decoded(queue, layout):
    queue.queries |= {i: Query(i, None, None) for i in range(20, 20 + KEPT_OPEN)}
    first = queue.open(7)
    assert queue.open(7) is first
    for i in range(20, 20 + KEPT_OPEN):
        radiographs.write(layout.query(i), block(i % 10))
        queue.open(i)
    assert queue.open(7) is not first


def test_what_is_opened_again_is_as_it_lies_on_disk(queue):
    queue.save(queue.open(7), DRAWN)
    opened = queue.open(7)
    np.testing.assert_array_equal(opened.start, DRAWN)
    queue.save(opened, block(3))
    np.testing.assert_array_equal(queue.open(7).start, block(3))


def test_a_decision_is_about_the_queue_that_the_page_shows(queue, layout):
    annotation_round = AnnotationRound(layout, (GO_ON,))
    annotation_round.publish(queue)
    later = AnnotationQueue(layout, [Query(8, 0.1, 3)])
    annotation_round.publish(later)
    for stale in (queue, None):
        annotation_round.decide(GO_ON, stale)
        assert annotation_round.current() == (2, later)
    annotation_round.decide(GO_ON, later)
    assert annotation_round.current() == (2, None)
    assert annotation_round.wait() == GO_ON


def test_mask_without_a_line_in_the_log_gets_one(queue):
    """A page that was killed between the two leaves one."""
    radiographs.write(queue.layout.answer(8), DRAWN)
    queue.log_saved()
    queue.log_saved()
    lines = [e for e in queue.log.entries() if e["action"] != "asked"]
    assert [(e["id"], e["action"], e["seconds"]) for e in lines] == [
        (8, "annotated", None)
    ]


def test_what_looks_like_no_hand_is_saved_once_confirmed(queue, layout):
    opened = queue.open(7)
    with pytest.raises(ImplausibleMask, match="looks like no hand"):
        queue.save(opened, SQUARE)
    assert not layout.answer(7).exists()
    assert queue.log.entries()[-1]["action"] == "asked"
    queue.save(opened, SQUARE, no_hand=True)
    mask_path = layout.answer(7)
    confirmed = confirmed_masks.read_confirmed(layout.confirmed_masks)
    # packing takes it: nothing is raised
    confirmed_masks.check_drawn_mask(7, mask_path, SQUARE, confirmed)
    # the confirmation is of this drawing alone
    with pytest.raises(ImplausibleMask):
        queue.save(queue.open(7), 255 - SQUARE)


def test_a_confirmed_mask_does_not_overwrite_a_newer_one(queue, layout):
    opened = queue.open(7)
    queue.save(queue.open(7), DRAWN)
    with pytest.raises(Conflict):
        queue.save(opened, SQUARE, no_hand=True)
    np.testing.assert_array_equal(radiographs.read(layout.answer(7)), DRAWN)
    assert not layout.confirmed_masks.exists()


@pytest.fixture
def shared(layout, queue, monkeypatch):
    """The same queries for two people; both are to draw 9."""
    monkeypatch.setattr(agreement, "is_shared", lambda i, fraction: i == 9)
    queries = query_folder.waiting_queries(layout)
    return AnnotationQueue(layout, queries, people=("ann", "bob"), shared_fraction=0.1)


def test_both_draw_what_is_shared_without_seeing_the_other_mask(shared, layout):
    ann, bob = shared.for_person("ann"), shared.for_person("bob")
    ann.save(ann.open(9), DRAWN, 5.0)
    assert last(ann)["annotator"] == "ann"
    assert (ann.statuses()[9], bob.statuses()[9]) == ("saved", "waiting")
    assert ann.waiting_for_others() == [9]
    opened = bob.open(9)
    np.testing.assert_array_equal(opened.start, PROPOSAL)
    bob.save(opened, PROPOSAL, 7.0)
    assert (ann.seconds, bob.seconds) == ({9: 5.0}, {9: 7.0})
    assert shared.waiting_for_others() == []
    for name, mask in (("ann", DRAWN), ("bob", PROPOSAL)):
        np.testing.assert_array_equal(
            radiographs.read(layout.shared_mask(name, 9)), mask
        )
    # the committee trains on the first, and on what its author makes of it
    np.testing.assert_array_equal(radiographs.read(layout.answer(9)), DRAWN)
    ann.save(ann.open(9), block(14))
    bob.save(bob.open(9), block(15))
    np.testing.assert_array_equal(radiographs.read(layout.answer(9)), block(14))


def test_what_is_not_shared_is_drawn_by_one_of_them(shared, layout):
    ann, bob = shared.for_person("ann"), shared.for_person("bob")
    ann.claim(7, "page of ann")
    assert bob.upcoming("page of bob") == [9, 8, 7]
    ann.claim(9, "page of ann")
    assert not bob.claimed_elsewhere(9, "page of bob")
    ann.save(ann.open(7), DRAWN)
    assert bob.statuses()[7] == "saved"
    assert not layout.shared_mask("ann", 7).exists()


def test_a_shared_one_waits_on_another_day_for_who_has_not_drawn_it(shared, layout):
    for i in (7, 8, 9):
        ann = shared.for_person("ann")
        ann.save(ann.open(i), DRAWN)
    assert query_folder.waiting_queries(layout) == []
    waiting = query_folder.waiting_queries(layout, ("ann", "bob"), 0.1)
    later = AnnotationQueue(layout, waiting, people=("ann", "bob"), shared_fraction=0.1)
    assert later.for_person("ann").upcoming("page") == []
    assert later.for_person("bob").upcoming("page") == [9]


@pytest.mark.parametrize("folder", ["new", "agreement/ann"])
def test_a_full_disk_leaves_neither_mask_of_a_shared_one(
    shared, layout, monkeypatch, folder
):
    ann = shared.for_person("ann")
    opened, own = ann.open(9), layout.shared_mask("ann", 9)
    write_bytes = Path.write_bytes

    def fills_up(path, content):
        if path.parent == layout.data / "gt" / folder:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fills_up)
        with pytest.raises(OSError, match="No space left"):
            ann.save(opened, DRAWN)
    assert not own.exists()
    assert not layout.answer(9).exists()
    # drawn on meanwhile: nothing to confirm, and no older mask to train on
    ann.save(opened, block(14))
    for path in (own, layout.answer(9)):
        np.testing.assert_array_equal(radiographs.read(path), block(14))


def test_what_the_log_had_no_room_for_is_saved_again_unasked(
    queue, layout, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    opened = queue.open(7)
    with monkeypatch.context() as patched:
        patched.setattr(query_log, "append_line", full)
        with pytest.raises(OSError, match="No space left"):
            queue.save(opened, DRAWN)
    with pytest.raises(Conflict):
        queue.save(opened, block(14))
    assert queue.save(opened, DRAWN) == "annotated"
    assert last(queue)["id"] == 7


def test_masks_without_a_line_are_logged_as_their_authors(shared, layout):
    for name, mask in (("ann", DRAWN), ("bob", PROPOSAL)):
        radiographs.write(layout.shared_mask(name, 9), mask)
    radiographs.write(layout.answer(9), DRAWN)
    shared.for_person("bob").save(shared.for_person("bob").open(9), PROPOSAL)
    shared.log_saved()
    shared.log_saved()
    answers = [
        (entry["id"], entry.get("annotator"))
        for entry in shared.log.entries()
        if entry["action"] in ("annotated", "accepted")
    ]
    assert answers == [(9, "bob"), (9, "ann")]
