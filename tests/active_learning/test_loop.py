"""The loop from the first epoch to the last, with kills, leaves and bad answers."""

import contextlib
import csv
import json
import shutil
import threading
from dataclasses import dataclass, field, fields

import numpy as np
import pytest

from boneage.active_learning import dataset, loop
from boneage.active_learning.loop import ActiveLearning
from boneage.active_learning.oracle import Decision, SimulatedOracle
from boneage.active_learning.settings import CommitteeSettings
from boneage.active_learning.state import EpochRecord
from boneage.annotator import server
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import hdf5, radiographs
from tests.conftest import ANNOTATED, PHANTOMS, call, quick_networks

STEP = "al_segmentation/step2_interactive_segmentation"
SETTINGS = {
    "filters": 2,
    "epochs": 3,
    "images_per_epoch": 4,
    "batch_size": 4,
    "queries": 2,
    "test_fraction": 0.34,
}
POOL = set(range(ANNOTATED + 1, PHANTOMS + 1))


@pytest.fixture(autouse=True)
def _quick():
    with quick_networks():
        yield


@dataclass
class Oracle:
    """Answers from the truth until it decides to stop; remembers what it saw."""

    layout: object
    decisions: dict[int, Decision] = field(default_factory=dict)
    silent: bool = False
    seen: list[list[int]] = field(default_factory=list)
    answerable_ids: set[int] | None = None

    def annotate(self, queries):
        self.seen.append([query.radiograph_id for query in queries])
        if len(self.seen) in self.decisions:
            return self.decisions[len(self.seen)]
        if self.silent:
            return Decision.CONTINUE
        return SimulatedOracle(self.layout, self.layout.truth).annotate(queries)


def learn(layout, oracle=None, **more) -> tuple[ActiveLearning, Oracle]:
    learning = ActiveLearning.begin_or_resume(
        layout, CommitteeSettings(**SETTINGS | more)
    )
    oracle = oracle or Oracle(layout)
    learning.run(oracle)
    return learning, oracle


def state_of(layout) -> dict:
    return json.loads((layout.committee / "state.json").read_text())


def rows_of(layout) -> list[dict]:
    with (layout.committee / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def log_of(layout) -> list[dict]:
    return [json.loads(line) for line in layout.queries.read_text().splitlines()]


def comparable(layout) -> tuple:
    """What must not depend on kills: all but the seconds."""
    state = state_of(layout)
    history = [row | {"seconds": 0} for row in state["history"]]
    return state["test_ids"], state["trained_ids"], state["queries"], history


@pytest.fixture(scope="module")
def undisturbed(made_cohort, tmp_path_factory):
    """Three epochs without a break: the layout and its oracle."""
    folder = tmp_path_factory.mktemp("undisturbed")
    layout = type(made_cohort)(folder / "data", folder / "models")
    shutil.copytree(made_cohort.data, layout.data)
    with quick_networks():
        _, oracle = learn(layout)
    return layout, oracle


def test_history_has_a_row_an_epoch(undisturbed):
    rows = rows_of(undisturbed[0])
    assert list(rows[0]) == [field.name for field in fields(EpochRecord)]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [int(row["training_pairs"]) for row in rows] == [4, 6, 8]
    # after the last epoch nobody is asked: the pool is not looked at any more
    assert [int(row["pool"]) for row in rows[:2]] == [8, 6]
    assert [int(row["asked"]) for row in rows] == [2, 2, 0]
    assert all(0 <= float(row["test_dice"]) <= 1 for row in rows)


def test_no_radiograph_is_asked_twice_and_none_outside_the_pool(undisturbed):
    asked = [i for batch in undisturbed[1].seen for i in batch]
    assert len(asked) == len(set(asked)) == 4
    assert set(asked) <= POOL


def test_test_part_is_never_trained_on_nor_asked_about(undisturbed):
    layout, oracle = undisturbed
    state = state_of(layout)
    test_ids = set(state["test_ids"])
    assert len(test_ids) == 2
    assert not test_ids & set(state["trained_ids"])
    assert not test_ids & {i for batch in oracle.seen for i in batch}
    everyone = hdf5.open_packed(layout.annotated_h5, STEP).ids.tolist()
    assert sorted({*test_ids, *state["trained_ids"]}) == sorted(everyone)


def test_each_query_is_logged_when_asked_and_when_answered(undisturbed):
    layout, oracle = undisturbed
    log = log_of(layout)
    assert set(log[0]) == {
        *("time", "round", "id", "measure", "score"),
        *("proposal", "action", "seconds"),
    }
    for action in ("asked", "annotated"):
        ids = [entry["id"] for entry in log if entry["action"] == action]
        assert ids == [i for batch in oracle.seen for i in batch]
    assert {entry["round"] for entry in log} == {1, 2}
    assert {entry["measure"] for entry in log} == {"vote_entropy"}
    assert all(entry["seconds"] is None for entry in log if entry["action"] == "asked")


def test_radiograph_and_proposal_are_laid_out(undisturbed):
    layout, oracle = undisturbed
    for i in oracle.seen[0]:
        original = radiographs.read(layout.radiograph(i))
        np.testing.assert_array_equal(
            radiographs.read(layout.new / f"{i}.png"), original
        )
        for name in ("proposal", "disagreement"):
            beside = radiographs.read(layout.new / f"{i}_{name}.png")
            assert beside.shape == original.shape


def test_same_command_again_finds_the_training_finished(undisturbed):
    layout, _ = undisturbed
    before = comparable(layout)
    learning, oracle = learn(layout)
    assert oracle.seen == []
    assert learning.state.epoch == 3
    assert comparable(layout) == before


@pytest.mark.parametrize("when", ["after training", "after members", "after state"])
def test_killed_in_the_second_epoch_and_gone_on_nothing_differs(
    cohort_copy, undisturbed, monkeypatch, when
):
    class Killed(BaseException):
        pass

    commit = loop.commit_epoch

    def killing_commit(folder, state=None):
        if state is None or state["epoch"] != 2:
            return commit(folder, state)
        if when == "after state":
            (folder / "state.json").write_text(json.dumps(state))
        raise Killed

    def killing_save(committee, folder, epoch):
        raise Killed

    if when == "after training":
        with monkeypatch.context() as patched:
            learning = ActiveLearning.begin_or_resume(
                cohort_copy, CommitteeSettings(**SETTINGS)
            )
            learning.run(Oracle(cohort_copy, {1: Decision.STOP_TRAINING}))
            patched.setattr(loop.Committee, "save_epoch", killing_save, raising=True)
            with pytest.raises(Killed):
                learn(cohort_copy)
    else:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "commit_epoch", killing_commit)
            with pytest.raises(Killed):
                learn(cohort_copy)
    _, oracle = learn(cohort_copy)
    assert comparable(cohort_copy) == comparable(undisturbed[0])
    assert oracle.seen[-1] == undisturbed[1].seen[-1]
    assert not list(cohort_copy.committee.glob("*.epoch_*"))


def test_who_leaves_is_asked_the_same_again(cohort_copy, undisturbed):
    _, oracle = learn(cohort_copy, Oracle(cohort_copy, {2: Decision.STOP_TRAINING}))
    assert state_of(cohort_copy)["epoch"] == 2
    _, again = learn(cohort_copy)
    assert again.seen[0] == oracle.seen[1]
    assert comparable(cohort_copy) == comparable(undisturbed[0])


class PatientOracle(Oracle):
    """Draws until the epoch that is trained meanwhile has chosen its queries."""

    def annotate(self, queries):
        self.epoch_on_disk = state_of(self.layout)["epoch"]
        if self.chosen is not None and len(self.seen) < 1:
            assert self.chosen.wait(60)
        return super().annotate(queries)

    chosen: threading.Event | None = None


def test_ahead_the_next_epoch_is_trained_while_the_person_draws(
    cohort_copy, monkeypatch
):
    chosen, choose = threading.Event(), ActiveLearning._choose

    def choose_and_tell(self, rows, epoch):
        picked = choose(self, rows, epoch)
        if epoch == 2:
            chosen.set()
        return picked

    monkeypatch.setattr(ActiveLearning, "_choose", choose_and_tell)
    oracle = PatientOracle(cohort_copy)
    oracle.chosen = chosen
    learn(cohort_copy, oracle, ahead=True)
    # the person began after epoch 1, and epoch 2 was on disk only when all was drawn
    assert oracle.epoch_on_disk == 2
    asked = [i for ids in oracle.seen for i in ids]
    assert len(asked) == len(set(asked)) == 4
    pairs = [int(row["training_pairs"]) for row in rows_of(cohort_copy)]
    # the second epoch knows nothing of the first answers, the last one knows all
    assert pairs[1] == pairs[0]
    assert pairs[2] == pairs[0] + 4


def test_ahead_who_leaves_finds_the_committee_of_the_last_whole_epoch(
    cohort_copy, undisturbed
):
    oracle = Oracle(cohort_copy, {1: Decision.STOP_TRAINING})
    learning, _ = learn(cohort_copy, oracle, ahead=True)
    assert state_of(cohort_copy)["epoch"] == 1
    hashed = learning.committee.hash_weights()
    assert hashed == state_of(cohort_copy)["committee_hash"]
    _, again = learn(cohort_copy)
    assert again.seen[0] == oracle.seen[0]
    assert comparable(cohort_copy) == comparable(undisturbed[0])


def test_ahead_who_finishes_is_not_asked_again(cohort_copy):
    oracle = Oracle(cohort_copy, {1: Decision.STOP_ASKING})
    learning, _ = learn(cohort_copy, oracle, ahead=True)
    assert len(oracle.seen) == 1
    assert learning.state.epoch == 3
    assert [row["asked"] for row in rows_of(cohort_copy)] == ["2", "0", "0"]


def test_who_finishes_is_not_asked_again(cohort_copy):
    oracle = Oracle(cohort_copy, {1: Decision.STOP_ASKING})
    learning, _ = learn(cohort_copy, oracle)
    assert len(oracle.seen) == 1
    assert learning.state.epoch == 3


def test_who_comes_back_may_finish_at_the_first_prompt(cohort_copy):
    learn(cohort_copy, Oracle(cohort_copy, {1: Decision.STOP_TRAINING}))
    learning, _ = learn(cohort_copy, Oracle(cohort_copy, {1: Decision.STOP_ASKING}))
    assert learning.state.epoch == 3


def test_flagged_radiographs_are_not_asked_about_again(cohort_copy):
    """Neither in this round nor in later ones, and nobody trains on them."""
    _, oracle = learn(cohort_copy, Oracle(cohort_copy, {1: Decision.STOP_TRAINING}))
    flagged, other = oracle.seen[0]
    excluded.flag(cohort_copy, flagged)
    # a mask drawn before does not bring it back, nor does an empty folder
    answer = radiographs.read(cohort_copy.truth / f"{flagged}_bin.png")
    radiographs.write(cohort_copy.answer(flagged), answer)
    learning, again = learn(cohort_copy, epochs=20)
    assert again.seen[0] == [other]
    assert flagged not in {i for batch in again.seen for i in batch}
    assert flagged not in learning.state.trained_ids
    assert other in learning.state.trained_ids


def test_query_that_left_the_pool_is_not_waited_for(cohort_copy):
    _, oracle = learn(cohort_copy, Oracle(cohort_copy, {1: Decision.STOP_TRAINING}))
    gone, other = oracle.seen[0]
    cohort_copy.radiograph(gone).unlink()
    dataset.pack_unannotated(cohort_copy, 32)
    _, again = learn(cohort_copy)
    assert again.seen[0] == [other]


def test_without_a_pair_to_train_on_it_says_what_to_do(cohort_copy):
    learn(cohort_copy, Oracle(cohort_copy, {1: Decision.STOP_TRAINING}), epochs=2)
    test_ids = state_of(cohort_copy)["test_ids"]
    for i in range(1, ANNOTATED + 1):
        if i not in test_ids:
            (cohort_copy.annotated / f"{i}_bin.png").unlink()
    dataset.pack_annotated(cohort_copy, 32)
    with pytest.raises(
        InputError, match=r"must have a pair beside those for testing .*annotate"
    ):
        learn(cohort_copy, Oracle(cohort_copy, silent=True), epochs=5)


def test_shipped_committee_cannot_be_trained_further(undisturbed, cohort_copy):
    shutil.copytree(undisturbed[0].committee, cohort_copy.committee)
    state = cohort_copy.committee / "state.json"
    facts = json.loads(state.read_text())
    del facts["history"]
    state.write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"cannot be trained further .*exported"):
        learn(cohort_copy)


def test_masks_drawn_while_the_program_was_off_are_logged(cohort_copy):
    _, oracle = learn(
        cohort_copy, Oracle(cohort_copy, {1: Decision.STOP_TRAINING}), epochs=2
    )
    for i in oracle.seen[0]:
        mask = radiographs.read(cohort_copy.truth / f"{i}_bin.png")
        radiographs.write(cohort_copy.new / f"{i}_bin.png", mask)
    learn(cohort_copy, epochs=2)
    log = log_of(cohort_copy)
    annotated = {entry["id"] for entry in log if entry["action"] == "annotated"}
    assert annotated == set(oracle.seen[0])


def test_every_pair_once_is_every_pair(cohort_copy, monkeypatch):
    seen = []
    epoch = loop.Committee.train_epoch

    def listening(self, images, masks, rows, seeds, plan):
        seen.append(plan.steps * plan.batch_size >= len(rows))
        return epoch(self, images, masks, rows, seeds, plan)

    monkeypatch.setattr(loop.Committee, "train_epoch", listening)
    learn(cohort_copy, images_per_epoch=0, batch_size=3, epochs=1)
    assert seen == [True]


def test_queries_nobody_answers_are_not_repeated_in_later_rounds(cohort_copy):
    learning, oracle = learn(cohort_copy, Oracle(cohort_copy, silent=True))
    assert len({i for batch in oracle.seen for i in batch}) == 4
    assert len(learning.state.trained_ids) == 4


def test_empty_pool_ends_the_training(cohort_copy, capsys):
    learning, oracle = learn(cohort_copy, epochs=20, queries=6)
    assert [len(batch) for batch in oracle.seen] == [6, 2]
    assert learning.state.epoch == 3
    assert "the pool is empty" in capsys.readouterr().out
    assert len(learning.state.trained_ids) == PHANTOMS - 2


def test_simulated_oracle_is_asked_about_what_it_knows(cohort_copy, tmp_path, capsys):
    truth = tmp_path / "known"
    for i in (8, 11):
        mask = radiographs.read(cohort_copy.truth / f"{i}_bin.png")
        radiographs.write(truth / f"{i}_bin.png", mask)
    call(cohort_copy, STEP, oracle="simulated", truth=truth, **SETTINGS)
    assert {entry["id"] for entry in log_of(cohort_copy)} == {8, 11}
    printed = capsys.readouterr().out
    assert "committee Dice on its test part: mean" in printed
    assert printed.splitlines()[-1] == f"wrote {cohort_copy.committee}"


def test_browser_oracle_is_asked_round_after_round(cohort_copy, monkeypatch, capsys):
    """The page is tested in a browser; here somebody answers behind it."""

    def answer(annotation_round, stop):
        while not stop.wait(0.05):
            _, queue = annotation_round.current()
            if queue is not None:
                while (i := queue.next_for("page")) is not None:
                    truth = radiographs.read(cohort_copy.truth / f"{i}_bin.png")
                    queue.save(queue.open(i), truth)
                annotation_round.decide("go_on", queue)

    @contextlib.contextmanager
    def serving(annotation_round, settings):
        stop = threading.Event()
        somebody = threading.Thread(target=answer, args=[annotation_round, stop])
        somebody.start()
        yield "the page"
        stop.set()
        somebody.join()

    monkeypatch.setattr(server, "serving", serving)
    call(cohort_copy, STEP, oracle="browser", **SETTINGS)
    log = log_of(cohort_copy)
    answered = [entry for entry in log if "dice" in entry]
    assert [entry["round"] for entry in answered] == [1, 1, 2, 2]
    asked = {entry["id"] for entry in log if entry["action"] == "asked"}
    assert {entry["id"] for entry in answered} == asked
    assert asked <= set(state_of(cohort_copy)["trained_ids"])
    # each answer once: the training does not log what the page has logged
    assert len(log) == 8
    assert "2 saved" in capsys.readouterr().out


def test_annotating_alone_asks_for_a_password_before_others_see_it(layout):
    with pytest.raises(InputError, match="--auth"):
        call(layout, STEP, annotate_only=True, host="0.0.0.0")
    with pytest.raises(
        InputError, match=r"must hold a radiograph <id>\.png to annotate"
    ):
        call(layout, STEP, annotate_only=True)


def test_a_flagged_test_pair_is_left_out(cohort_copy):
    learning, _ = learn(cohort_copy, epochs=1)
    first, second = learning.state.test_ids
    dice = learning.test_dice(excluded.flagged(cohort_copy))
    excluded.flag(cohort_copy, first)
    assert learning.test_dice(excluded.flagged(cohort_copy)) == dice[1:]
    excluded.flag(cohort_copy, second)
    with pytest.raises(
        InputError, match="cannot flag every pair of the committee's test"
    ):
        learning.test_dice(excluded.flagged(cohort_copy))


def test_random_choice_asks_as_well(cohort_copy):
    _, oracle = learn(cohort_copy, measure="random", epochs=2)
    assert len(set(oracle.seen[0])) == 2


def test_part_of_the_pool_may_be_scored(cohort_copy):
    _, oracle = learn(cohort_copy, score_at_most=2, epochs=2)
    assert len(set(oracle.seen[0])) == 2


def begin(layout, **more) -> None:
    ActiveLearning.begin_or_resume(layout, CommitteeSettings(**SETTINGS | more))


@pytest.mark.parametrize("change", [{"members": 3}, {"filters": 4}, {"seed": 1}])
def test_other_settings_do_not_go_on_with_this_committee(undisturbed, change):
    (name,) = change
    with pytest.raises(InputError, match=rf"committee must go on with --{name}"):
        begin(undisturbed[0], **change)


def test_files_of_two_sizes(cohort_copy):
    call(cohort_copy, "al_segmentation/step2_image_2_h5", pool="unannotated", size=16)
    with pytest.raises(
        InputError, match=r"unannotated\.h5 must have the size .*got 16.* --size"
    ):
        begin(cohort_copy)


def test_committee_of_another_size(trained_committee, layout):
    shutil.copytree(trained_committee.data, layout.data)
    shutil.copytree(trained_committee.models, layout.models)
    for pool in ("annotated", "unannotated"):
        call(layout, "al_segmentation/step2_image_2_h5", pool=pool, size=16)
    settings = state_of(layout)["settings"]
    with pytest.raises(
        InputError, match=r"annotated\.h5 must be packed with --size 32.*got 16"
    ):
        ActiveLearning.begin_or_resume(layout, CommitteeSettings(**settings))


@pytest.mark.parametrize("pool", ["annotated", "unannotated"])
def test_missing_file_names_the_command(cohort_copy, pool):
    (cohort_copy.data / "gt" / f"{pool}.h5").unlink()
    complaint = rf"{pool}\.h5 cannot be found; run .*step2_image_2_h5\.py --pool {pool}"
    with pytest.raises(InputError, match=complaint):
        call(cohort_copy, STEP)
    assert not cohort_copy.committee.exists()


def test_one_pair_is_too_few(cohort_copy):
    for i in range(2, ANNOTATED + 1):
        (cohort_copy.annotated / f"{i}_ori.png").unlink()
        (cohort_copy.annotated / f"{i}_bin.png").unlink()
    call(cohort_copy, "al_segmentation/step2_image_2_h5", pool="annotated", size=32)
    with pytest.raises(
        InputError, match=r"annotated\.h5 must have at least two .*got 1"
    ):
        begin(cohort_copy)


def test_simulated_oracle_needs_the_truth(cohort_copy):
    with pytest.raises(InputError, match="must have --truth DIR"):
        call(cohort_copy, STEP, oracle="simulated")


def test_test_pair_that_was_taken_away_is_named(trained_committee, layout):
    shutil.copytree(trained_committee.data, layout.data)
    shutil.copytree(trained_committee.models, layout.models)
    state = state_of(layout)
    for name in ("ori", "bin"):
        (layout.annotated / f"{state['test_ids'][0]}_{name}.png").unlink()
    call(layout, "al_segmentation/step2_image_2_h5", pool="annotated", size=32)
    with pytest.raises(InputError, match=rf"{state['test_ids'][0]}"):
        learn(layout, **state["settings"] | {"epochs": 3})


@pytest.mark.parametrize(
    "wrong",
    [{"members": 0}, {"batch_size": 0}, {"filters": 0}, {"test_fraction": 1.5}],
)
def test_impossible_numbers_are_refused(cohort_copy, wrong):
    with pytest.raises(InputError, match=next(iter(wrong)).replace("_", ".")):
        learn(cohort_copy, **wrong | {"epochs": 1})
