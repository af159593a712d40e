"""One child over time: which radiographs belong together, and how fast bones grow."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.prediction.record import STATEMENT, Prediction
from boneage.prediction.reference import ReferenceTable
from boneage.reporting import follow_up
from boneage.reporting.follow_up import FollowUp
from boneage.serving import batch
from tests.tiny_runs import predict

NOTHING = np.zeros((0, 0), np.uint8)


def of_child(age, bone_age, half=16.45, patient="secret", **changed) -> Prediction:
    """A 90 % interval of 16.45 months is a standard error of 10."""
    prediction = Prediction(
        file=f"{age}.png",
        sex="female",
        bone_age_months=float(bone_age),
        lower_months=float(bone_age - half),
        upper_months=float(bone_age + half),
        coverage=0.9,
        warnings=(),
        months_by_run={},
        calibration_group="",
        radiograph=NOTHING,
        mask=NOTHING,
        explanations={},
    )
    return replace(prediction.with_child(float(age), patient), **changed)


def test_rate_of_two_radiographs_is_their_slope():
    child = FollowUp(1, (of_child(96, 90), of_child(108, 105)))
    rate = child.rate()
    # 12 months apart: a standard error of sqrt(2) 10 months
    assert rate.months_a_year == pytest.approx(15)
    assert rate.upper - 15 == pytest.approx(1.645 * 2**0.5 * 10, rel=0.001)
    assert child.rate_in_words() == (
        "15.0 months of bone age a year, 90 % interval \u22128.3 to 38.3"
    )


def test_an_unsure_bone_age_counts_less():
    sure = (of_child(60, 60), of_child(84, 84))
    child = FollowUp(1, (*sure, of_child(96, 126, half=164.5)))
    assert child.rate().months_a_year == pytest.approx(12, abs=0.6)
    assert FollowUp(1, (*sure, of_child(96, 126))).rate().months_a_year > 18


def test_nine_in_ten_intervals_contain_the_rate():
    rng = np.random.default_rng(0)
    ages = np.array([72, 84, 99, 111])
    inside = 0
    for _ in range(1000):
        months = 10 / 12 * ages + rng.normal(0, 10, 4)
        predictions = map(of_child, ages, months)
        rate = FollowUp(1, tuple(predictions)).rate()
        inside += rate.lower <= 10 <= rate.upper
    assert 870 <= inside <= 930


def test_limits_are_drawn_but_not_part_of_the_rate():
    oldest = of_child(200, 200, qualifier="or older")
    child = FollowUp(1, (of_child(96, 90), of_child(108, 102), oldest))
    assert child.rate().months_a_year == pytest.approx(12)
    assert child.notes()[0].startswith("1 of 3 bone ages are limits")
    alone = FollowUp(1, (of_child(96, 90), oldest))
    assert math.isnan(alone.rate().months_a_year)
    assert alone.to_record()["bone_age_months_a_year"] is None
    assert follow_up.draw(alone, None).axes


def test_children_are_never_mixed():
    radiographs = [
        of_child(108, 108),
        of_child(96, 96),
        of_child(60, 60, patient="b"),
        of_child(60, 60, patient=""),
        of_child(72, 72, patient=""),
        of_child(60, 60, patient="c"),
        of_child(72, 72, patient="c", sex="male"),
        of_child(60, math.nan, patient="d", refusal="no hand"),
        of_child(72, 72, patient="d"),
        of_child(80, 80, patient="e"),
        of_child(80, 81, patient="e", file="other.png"),
        of_child(math.nan, 81, patient="f"),
        of_child(60, 60, patient="g"),
        of_child(90, 90, patient="g"),
        of_child(90, 95, patient="g"),
    ]
    children, notes = follow_up.follow_ups(radiographs)
    assert [[p.file for p in child.predictions] for child in children] == [
        ["96.png", "108.png"],
        ["60.png", "90.png"],
    ]
    assert [child.number for child in children] == [1, 2]
    assert "1 radiographs of known patients have no chronological age" in notes[0]
    assert "1 further hands of a radiograph" in notes[1]
    assert "1 patients have radiographs of two sexes" in notes[2]


def test_nothing_of_a_patient_is_written(tmp_path):
    predictions = [of_child(96, 90), of_child(108, 105)]
    children, _ = follow_up.follow_ups(predictions)
    follow_up.write(tmp_path, children, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "child_1.png",
        "follow_up.csv",
    ]
    text = (tmp_path / "follow_up.csv").read_text()
    assert "secret" not in text + "".join(follow_up.summary_lines(children))
    row = next(csv.DictReader(text.splitlines()))
    assert row["files"] == "96.png | 108.png"
    assert float(row["bone_age_months_a_year"]) == 15
    assert row["notes"].endswith(STATEMENT)


def test_reference_is_a_band_behind_the_bone_ages():
    table = np.array([[60, 60, 8], [120, 120, 12]], float)
    reference = ReferenceTable("Invented numbers", {"female": table})
    child = FollowUp(1, (of_child(96, 90), of_child(108, 105)))
    labels = follow_up.draw(child, reference).axes[0].get_legend_handles_labels()[1]
    assert any("Invented numbers" in label for label in labels)
    other = ReferenceTable("Invented numbers", {"male": table})
    labels = follow_up.draw(child, other).axes[0].get_legend_handles_labels()[1]
    assert not any("Invented numbers" in label for label in labels)


def test_the_command_writes_figures(trained, hand, tmp_path, capsys):
    table = tmp_path / "t.csv"
    rows = f"{hand},F,8y,anna\n{hand},F,9y,anna\n"
    table.write_text("file,sex,chronological_age,patient\n" + rows)
    out, record = tmp_path / "children", tmp_path / "a.json"
    predict(trained, table, views=1, follow_up=out, json=record, runs=("tiny_0",))
    assert (out / "child_1.png").is_file()
    said = capsys.readouterr().out
    assert "child 1: 2 radiographs, 0.0 months of bone age a year" in said
    assert '"child": 1' in record.read_text()
    written = said + record.read_text() + (out / "follow_up.csv").read_text()
    assert "anna" not in written


def test_follow_up_must_be_a_folder_of_its_own(tmp_path):
    file = tmp_path / "x"
    file.write_text("")
    with pytest.raises(InputError, match=r"--follow-up must be a folder \(got"):
        batch.OutputSettings(follow_up=file).check_output()
    settings = batch.OutputSettings(follow_up=tmp_path)
    with pytest.raises(InputError, match=r"--follow-up .* cannot be a folder with"):
        settings.check_no_overwrite([Path(tmp_path)], [])
