"""The stress test's table, with a stand-in for the networks."""

import math

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from experiments import stress_test
from experiments.answers import Answer, AnswerTable
from experiments.non_hands import NON_HANDS
from experiments.stress_test import Subject, ask, markdown, summarise, verdicts
from tests.conftest import options_of

NAMES = ("brightness", "inversion")


def subject(name: str, level: int, months: float, group: str = "originals") -> Subject:
    image = np.full((4, 4), level, np.uint8)
    return Subject(group, name, "female", months, lambda: image)


class StandIn:
    """Answers the mean grey level; doubts it below 30, refuses above 200."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def __call__(self, image, sex) -> Answer:
        months = float(image.mean())
        self.asked.append(months)
        if months > 200:
            return Answer(math.nan, refusal="too bright, or no hand")
        return Answer(months, 'dark; "very"' if months < 30 else "", "", 300.0, 0.2)


@pytest.fixture
def subjects() -> list[Subject]:
    return [subject("a.png", 100, 104.0), subject("b.png", 110, math.nan)]


def rows_of(subjects, tmp_path, read=None):
    table = AnswerTable(tmp_path / "answers.csv", "m")
    left_out = ask(subjects, NAMES, read or StandIn(), table)
    assert left_out == []
    rows = summarise(subjects, NAMES, table.answers)
    return {(row.group, row.alteration, row.strength): row for row in rows}


def test_counts_of_each_row(subjects, tmp_path):
    rows = rows_of(subjects, tmp_path)
    assert len(rows) == 1 + 2 * 4
    plain = rows["originals", "none", ""]
    assert (plain.hands, plain.off, plain.warned, plain.refused) == (2, 0, 0, 0)
    assert plain.error_months == 4
    assert plain.shift_months == 0
    brighter = rows["originals", "brightness", "40"]
    assert (brighter.shift_months, brighter.error_months) == (40, 36)
    assert (brighter.off, brighter.warned) == (2, 0)
    assert brighter.silent == ("a.png", "b.png")
    # 20 and 30 months: one of them is warned of
    darker = rows["originals", "brightness", "-80"]
    assert (darker.off, darker.warned, darker.silent) == (2, 1, ("b.png",))
    negative = rows["originals", "inversion", "0.4"]
    assert (negative.hands, negative.refused, negative.off) == (2, 2, 0)


def test_without_a_shift_of_24_months_nothing_is_off(tmp_path):
    class Steady(StandIn):
        def __call__(self, image, sex):
            return Answer(100 + (23.9 if image.mean() > 130 else 0))

    rows = rows_of([subject("a.png", 100, 60.0)], tmp_path, Steady())
    assert sum(row.off for row in rows.values() if row.alteration != "none") == 0
    # of the unaltered, the error counts
    assert rows["originals", "none", ""].silent == ("a.png",)


def test_what_is_refused_unaltered_counts_there_alone(tmp_path):
    rows = rows_of([subject("a.png", 220, 100.0), subject("b.png", 90, 90)], tmp_path)
    plain = rows["originals", "none", ""]
    assert (plain.hands, plain.refused) == (2, 1)
    assert rows["originals", "brightness", "-40"].hands == 1


def test_what_is_refused_counts_once_and_against_the_goal(tmp_path):
    class Doubting(StandIn):
        def __call__(self, image, sex):
            return Answer(math.nan, "a doubt", "no hand")

    rows = rows_of([subject("a.png", 100, 100.0)], tmp_path, Doubting())
    plain = rows["originals", "none", ""]
    assert (plain.warned, plain.refused) == (0, 1)
    assert "refused: 1 of 1; " in verdicts(list(rows.values()))[-1]


def test_both_goals_are_judged_for_each_group(subjects, tmp_path):
    others = [subject(f"{i}", 20, 20.0, "phantoms") for i in range(2)]
    rows = list(rows_of([*subjects, *others], tmp_path).values())
    said = verdicts(rows)
    # 140, 180 and 20 months, inverted 255, 254: refused, or months off
    start = "originals: answers 24 months or more off without a warning: "
    assert said[0].startswith(start)
    assert said[0].endswith("; the goal, none, is missed")
    assert "    brightness 40: a.png, b.png" in said
    assert (
        "originals: unaltered radiographs warned of or refused: 0 of 2; the goal, "
        "3 % at most, is met"
    ) in said
    assert (
        "phantoms: unaltered radiographs warned of or refused: 2 of 2; the goal, "
        "3 % at most, is missed"
    ) in said
    lines = markdown(rows)
    assert [line for line in lines if line.startswith("##")] == [
        *("## Originals", "## Phantoms")
    ]
    assert "| none |  | 2 | 4.0 | +0.0 | 0 % | 0 % | 0 % | 0 |" in lines
    brighter = "| brightness | +40 grey levels of 255 | 2 | 36.0 | +40.0 | 100 % "
    assert f"{brighter}| 0 % | 0 % | 2 |" in lines


def test_an_interrupted_run_goes_on_where_it_stopped(subjects, tmp_path):
    path = tmp_path / "deep" / "answers.csv"

    class Killed(StandIn):
        def __call__(self, image, sex):
            if len(self.asked) == 6:
                raise KeyboardInterrupt
            return super().__call__(image, sex)

    with pytest.raises(KeyboardInterrupt):
        ask(subjects, NAMES, Killed(), AnswerTable(path, "m"))
    whole = path.read_text()
    # the line that was being written is torn within a quotation
    path.write_text(whole[: whole.rindex('"')])
    rest = StandIn()
    table = AnswerTable(path, "m")
    assert len(table.answers) == whole.count("\n") - 1 - 1
    ask(subjects, NAMES, rest, table)
    assert len(rest.asked) == 2 * 9 - len(whole.splitlines()) + 2
    undisturbed = AnswerTable(tmp_path / "other.csv", "m")
    ask(subjects, NAMES, StandIn(), undisturbed)
    again = AnswerTable(path, "m").answers
    assert {q: repr(a) for q, a in again.items()} == {
        q: repr(a) for q, a in undisturbed.answers.items()
    }


def test_answers_of_other_models_are_asked_for_again(subjects, tmp_path):
    path = tmp_path / "answers.csv"
    ask(subjects, NAMES, StandIn(), AnswerTable(path, "m"))
    other = StandIn()
    ask(subjects, NAMES, other, AnswerTable(path, "n"))
    assert len(other.asked) == 18
    none = StandIn()
    ask(subjects, NAMES, none, AnswerTable(path, "m"))
    assert none.asked == []


def test_another_table_is_not_appended_to(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("id,boneage,male\n1,2,True\n")
    with pytest.raises(InputError, match=r"must be a table of answers \(got 'id,bonea"):
        AnswerTable(path, "m")


def test_what_cannot_be_altered_is_named(subjects, tmp_path):
    table = AnswerTable(tmp_path / "answers.csv", "m")
    left_out = ask(subjects[:1], ("cut wrist",), StandIn(), table)
    assert len(left_out) == 4
    assert left_out[0].startswith(
        "a.png, cut wrist 2.2: the radiograph must show a hand"
    )


def test_originals_take_sex_and_age_from_the_table(tmp_path):
    folder = tmp_path / "originals"
    for name in ("7", "8"):
        radiographs.write(folder / f"{name}.png", np.full((64, 64), 9, np.uint8))
    table = tmp_path / "train.csv"
    table.write_text("id,boneage,male\n7,120,True\n9,30,False\n")
    known, unknown = stress_test.originals(folder, table)
    assert (known.name, known.sex, known.months) == ("7.png", "male", 120)
    assert (unknown.name, unknown.sex) == ("8.png", "unknown")
    assert math.isnan(unknown.months)
    assert unknown.load().shape == (64, 64)


def test_phantoms_depend_on_seed_and_number_alone():
    first, again, other = (stress_test.phantom(*n) for n in ((0, 1), (0, 1), (1, 1)))
    np.testing.assert_array_equal(first.load(), again.load())
    assert first.name != other.name
    assert 24 <= first.months <= 216


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "--originals or --phantoms must give radiographs"),
        (
            {"phantoms": 1, "alterations": ("tur",)},
            r"--alterations must be .*got tur\)",
        ),
        ({"phantoms": -1}, "--phantoms must be at least 0"),
    ],
)
def test_options_that_cannot_be_used(layout, tmp_path, flags, message):
    options = options_of(stress_test, layout, out=tmp_path / "a.md", **flags)
    with pytest.raises(InputError, match=message):
        stress_test.main(options)


def test_the_command_writes_the_table_and_says_what_it_misses(
    layout, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(stress_test, "Predictor", lambda *_: StandInPredictor())
    monkeypatch.setattr(stress_test, "find_models", lambda layout, _: layout)
    monkeypatch.setattr(stress_test, "models_of", lambda _: "m")
    stand_in = StandIn()
    monkeypatch.setattr(stress_test, "reader_of", lambda *_: stand_in)
    out = tmp_path / "docs" / "stress.md"
    flags = {"out": out, "phantoms": 1, "alterations": ("gamma",)}
    stress_test.main(options_of(stress_test, layout, **flags))
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"wrote {out}"
    text = out.read_text()
    assert text.startswith("## Phantoms\n\n| alteration | strength | hands |")
    assert set(printed[:-1]) <= set(text.splitlines())
    assert out.with_suffix(".csv").read_text().count("\n") == 6
    stress_test.main(options_of(stress_test, layout, **flags))
    assert len(stand_in.asked) == 5
    stress_test.main(options_of(stress_test, layout, overwrite=True, **flags))
    assert len(stand_in.asked) == 10


class StandInPredictor:
    def load(self) -> None:
        pass


def test_pictures_of_no_hand_must_get_no_age(tmp_path):
    group = stress_test.NON_HANDS_GROUP
    pictures = [subject("noise 0", 220, math.nan, group)]
    rows = rows_of(pictures, tmp_path)
    assert list(rows) == [(group, "none", "")]  # as they are alone
    assert verdicts(list(rows.values())) == [
        f"{group}: given an age: 0 of 1, 0 with a warning; the goal, none, is met"
    ]
    pictures.append(subject("noise 1", 100, math.nan, group))
    rows = rows_of(pictures, tmp_path)
    (line,) = verdicts(list(rows.values()))
    assert "given an age: 1 of 2" in line
    assert "missed" in line


def test_pictures_of_no_hand_are_the_same_every_time(tmp_path):
    for name in NON_HANDS:
        first, again, other = (
            stress_test.non_hand(name, 0, number).load() for number in (0, 0, 1)
        )
        assert first.dtype == np.uint8
        np.testing.assert_array_equal(first, again)
        assert first.shape != other.shape or np.any(first != other)
