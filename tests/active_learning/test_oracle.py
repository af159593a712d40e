"""Who answers: a person at a prompt, and known masks."""

import shutil

import numpy as np
import pytest

from boneage.active_learning.oracle import (
    Decision,
    FolderOracle,
    Query,
    SimulatedOracle,
)
from boneage.errors import InputError
from boneage.io import radiographs

QUERIES = [Query(7, 0.5, 1), Query(8, 0.4, 1)]
MASK = np.array([[0, 255], [255, 0]], np.uint8)


@pytest.fixture
def person(layout):
    """Makes an oracle that types the answers given, and counts the copies saved."""

    def with_answers(*answers):
        typed = iter(answers)

        def ask(prompt):
            answer = next(typed)
            if isinstance(answer, type):
                raise answer
            return answer

        return FolderOracle(layout, ask)

    return with_answers


def test_enter_goes_on(person):
    assert person("").annotate(QUERIES) is Decision.CONTINUE


def test_queries_and_folder_are_named(layout, person, capsys):
    person("").annotate(QUERIES)
    printed = capsys.readouterr().out
    assert "7, 8" in printed
    assert str(layout.new) in printed


def test_s_saves_a_copy_of_the_committee_and_asks_again(trained_committee, capsys):
    typed = iter(["s", " S ", ""])
    oracle = FolderOracle(trained_committee, lambda prompt: next(typed))
    oracle.annotate(QUERIES)
    copy = trained_committee.committee / "saved_epoch_2"
    names = {path.name for path in copy.iterdir()}
    assert names == {"member_0.keras", "member_1.keras", "state.json", "history.csv"}
    assert capsys.readouterr().out.count(f"saved {copy}") == 2
    shutil.rmtree(copy)


def test_s_before_anything_is_trained(person, capsys):
    assert person("s", "").annotate(QUERIES) is Decision.CONTINUE
    assert "nothing is trained yet" in capsys.readouterr().out


def test_f_finishes_and_q_leaves(person):
    assert person("f").annotate(QUERIES) is Decision.STOP_ASKING
    assert person("Q").annotate(QUERIES) is Decision.STOP_TRAINING


def test_nobody_at_the_prompt_leaves(person):
    assert person(EOFError).annotate(QUERIES) is Decision.STOP_TRAINING


def test_ctrl_c_at_the_prompt_is_no_answer(person):
    with pytest.raises(KeyboardInterrupt):
        person(KeyboardInterrupt).annotate(QUERIES)


def test_nonsense_is_asked_again(person, capsys):
    assert person("yes please", "").annotate(QUERIES) is Decision.CONTINUE
    assert "press Enter, s, f or q (got 'yes please')" in capsys.readouterr().out


@pytest.fixture
def truth(tmp_path):
    folder = tmp_path / "truth"
    for i in (7, 8):
        radiographs.write(folder / f"{i}_bin.png", MASK)
    return folder


def test_simulated_oracle_lays_the_masks_out(layout, truth):
    assert SimulatedOracle(layout, truth).annotate(QUERIES) is Decision.CONTINUE
    for i in (7, 8):
        drawn = radiographs.read(layout.new / f"{i}_bin.png")
        np.testing.assert_array_equal(drawn, MASK)


def test_simulated_oracle_does_not_draw_over_a_person(layout, truth):
    radiographs.write(layout.new / "7_bin.png", 255 - MASK)
    SimulatedOracle(layout, truth).annotate(QUERIES)
    drawn = radiographs.read(layout.new / "7_bin.png")
    np.testing.assert_array_equal(drawn, 255 - MASK)


def test_simulated_oracle_knows_its_masks_and_nothing_else(layout, truth):
    radiographs.write(truth / "mean.png", MASK)
    assert SimulatedOracle(layout, truth).answerable_ids == {7, 8}


def test_folder_without_masks_is_refused(layout, tmp_path):
    with pytest.raises(InputError, match="must hold known masks"):
        SimulatedOracle(layout, tmp_path)
