"""The child's age: what people write, what DICOM headers say, what is made of it."""

import json
import math
from dataclasses import replace

import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.io.dicom import Facts
from boneage.prediction import chronological_age
from boneage.prediction.inputs import InputRadiograph, collect_inputs, resolve_input
from boneage.prediction.record import Prediction
from boneage.prediction.reference import read_reference
from boneage.reporting import formats, report_page
from boneage.serving import command
from tests.io.test_radiographs import write_dicom
from tests.scripts.bad_input import AGES, REFERENCES
from tests.tiny_runs import predict, refuse_all

REFERENCE = REFERENCES["as it should be"][0]


@pytest.mark.parametrize("text", AGES)
def test_age_is_read_or_refused_in_one_line(text):
    expected = AGES[text]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected) as caught:
            command.parse_age_flag(text)
        assert str(caught.value).startswith("--chronological-age: ")
    else:
        assert chronological_age.parse(text) == expected


def header(birth="", study="", age=""):
    return chronological_age.of_header(Facts("F", "", "", birth, study, age))


@pytest.mark.parametrize(
    ("facts", "months"),
    [
        (header("20100101", "20180401"), 98.96),
        (header("20100101", "20180401", "007Y"), 98.96),
        (header("2010.01.01", "20180401"), 98.96),
        (header("", "20180401", "099M"), 99),
        (header("", "", "010W"), 2.3),
        (header("", "", "030D"), 0.99),
        (header("20180401", "20100101", "099M"), 99),
        (header("19000101", "20180401"), math.nan),
        (header("20101301", "20180401"), math.nan),
        (header("", "", "8"), math.nan),
        (header("", "", "099Y"), math.nan),
    ],
)
def test_age_of_a_dicom_header(facts, months):
    assert facts.months == pytest.approx(months, abs=0.01, nan_ok=True)


def test_whole_years_and_impossible_dates_are_named():
    assert "in whole years" in header("", "", "008Y").notes[0]
    assert "no age of a child" in header("19000101", "20180401").notes[0]
    assert header("20100101", "20180401").notes == ()


def test_table_wins_over_flag_and_flag_over_dicom(tmp_path, hand):
    facts = {"PatientBirthDate": "20100101", "StudyDate": "20180101"}
    facts |= {"PatientSex": "F", "PatientID": "7"}
    write_dicom(tmp_path / "a.dcm", radiographs.read(hand), **facts)
    table = tmp_path / "t.csv"
    table.write_text("file,chronological_age,patient\na.dcm,9y,x\na.dcm,,\na.dcm,9,\n")
    inputs = collect_inputs([table], None)
    first, second = inputs.radiographs
    assert (first.chronological_age_months, second.chronological_age_months) == (
        108,
        pytest.approx(96, abs=0.05),
    )
    assert "the DICOM file says 8 y 0 m" in first.notes[0]
    assert second.notes == ()
    assert first.patient.endswith("t.csv:x")
    assert "7" in second.patient
    assert "such as 8y3m, 8y or 99m (got '9')" in inputs.skipped[0].reason
    by_flag = collect_inputs([table], None, 100.0).radiographs[1]
    assert by_flag.chronological_age_months == 100


def test_columns_in_months_and_years(tmp_path, hand):
    for heading, cell in (("months", "99,5"), ("years", "8.25")):
        table = tmp_path / f"{heading}.csv"
        cells = f"file;chronological_age_{heading};male\n{hand};{cell};1\n"
        table.write_text(cells)
        found = collect_inputs([table], None).radiographs[0]
        assert found.chronological_age_months in (99.5, 99)


def test_two_columns_of_ages_are_refused(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("file,chronological_age,Chronological age (months)\nx,8y,96\n")
    with pytest.raises(InputError, match="one column for the chronological age"):
        collect_inputs([table], "male")


def test_children_of_equal_numbers_are_different_patients(tmp_path, hand):
    pixels = radiographs.read(hand)
    facts = {"PatientID": "1", "PatientSex": "F", "PatientBirthDate": "20100101"}
    changes = [{}, {"PatientBirthDate": "20110101"}, {"IssuerOfPatientID": "B"}]
    patients = {
        resolve_input(
            write_dicom(tmp_path / "a.dcm", pixels, **facts | more), "female"
        ).patient
        for more in changes
    }
    assert len(patients) == 3


@pytest.fixture
def read(tiny_predictor, hand) -> Prediction:
    prediction = tiny_predictor.predict(InputRadiograph(hand, "male"))
    return replace(
        prediction, bone_age_months=100.0, lower_months=80.0, upper_months=120.0
    )


def test_difference_and_score_on_screen(read, tmp_path):
    path = tmp_path / "reference.csv"
    path.write_text(REFERENCE)
    prediction = read.with_child(90.0, "x", read_reference(path))
    # halfway between 60 (mean 60, deviation 8) and 120 (mean 126, deviation 12)
    assert formats.to_text(prediction)[1:3] == [
        "    chronological age 90 months (7 y 6 m), difference +10 months, "
        "90 % interval \u221210 to +30 months",
        "    standard deviation score +0.7 (\u22121.3 to +2.7); reference: Invented "
        "numbers, no medical reference",
    ]
    record = formats.to_record(prediction)
    assert record["difference_months"] == 10
    assert record["difference_lower_months"] == -10
    assert record["standard_deviation_score"] == 0.7
    assert record["reference"] == "Invented numbers, no medical reference"
    assert not any(value == "x" for value in record.values())
    assert "chronological age 90.0" in repr(prediction)


def test_limits_are_limits_of_the_difference_too(read):
    oldest = replace(read, qualifier="or older").with_child(90.0)
    assert "difference +10 months or more, 90 %" in formats.to_text(oldest)[1]


@pytest.mark.parametrize(
    ("age", "sex", "why"),
    [
        (math.nan, "male", "the chronological age is not known"),
        (30.0, "male", "2 y 6 m is beyond the 60 to 120 months of the reference"),
        (90.0, "unknown", "the reference has no sex unknown"),
    ],
)
def test_why_there_is_no_score_is_a_warning(read, tmp_path, age, sex, why):
    path = tmp_path / "reference.csv"
    path.write_text(REFERENCE)
    prediction = replace(read, sex=sex).with_child(age, "", read_reference(path))
    assert prediction.deviation_score is None
    assert prediction.warnings[-1] == f"no standard deviation score: {why}"


def test_refused_radiographs_have_an_age_but_no_difference(
    tiny_predictor, hand, monkeypatch
):
    refuse_all(monkeypatch)
    inputs = InputRadiograph(hand, "male", chronological_age_months=90.0)
    refused = tiny_predictor.predict(inputs)
    assert formats.child_lines(refused) == ["chronological age 90 months (7 y 6 m)"]
    assert formats.to_record(refused)["difference_months"] is None


def test_flags_reach_files_and_page(trained, hand, tmp_path, capsys, monkeypatch):
    path = tmp_path / "reference.csv"
    path.write_text(REFERENCE)
    drawn = []
    draw = report_page.draw

    def keep(*arguments):
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(report_page, "draw", keep)
    predict(
        trained,
        hand,
        sex="male",
        views=1,
        chronological_age="7y6m",
        reference=path,
        json=tmp_path / "a.json",
        report=tmp_path / "pages",
    )
    assert (
        "chronological age 90 months (7 y 6 m), difference" in capsys.readouterr().out
    )
    record = json.loads((tmp_path / "a.json").read_text())["radiographs"][0]
    assert record["chronological_age_months"] == 90
    words = " ".join(text.get_text() for text in drawn[0].texts)
    assert "Chronological age 90 months (7 y 6 m), difference" in words
    scale = drawn[0].axes[0]
    assert [7.5] in [list(line.get_xdata()) for line in scale.get_lines()]
    assert "chronological age" in scale.get_xlabel()


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_is_read_or_refused_in_one_line(tmp_path, name):
    content, expected = REFERENCES[name]
    path = tmp_path / "reference.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if expected is None:
        reference = read_reference(path)
        assert reference.source.startswith("Invented")
        assert reference.at("male", 90) == (93, 10)
        assert reference.at("male", 59) is None
        return
    with pytest.raises(InputError, match=expected) as caught:
        read_reference(path)
    assert str(caught.value).startswith((f"{path} ", f"{path}: "))
    assert "\n" not in str(caught.value)
