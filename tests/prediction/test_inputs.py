"""Which radiographs are read, and of whom."""

from pathlib import Path

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.prediction.inputs import collect_inputs
from tests.io.test_radiographs import write_dicom
from tests.scripts import bad_input

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.fixture
def hand(tmp_path) -> Path:
    path = tmp_path / "hand.png"
    radiographs.write(path, PIXELS)
    return path


def asked(*paths, sex=None):
    found, set_aside = collect_inputs(paths, sex)
    return [(each.path.name, each.sex) for each in found], [
        each.reason for each in set_aside
    ]


def test_sex_of_the_flag(hand):
    assert asked(hand, sex="female") == ([("hand.png", "female")], [])
    assert asked(hand, sex="unknown") == ([("hand.png", "unknown")], [])


def test_without_a_sex_the_radiograph_is_set_aside(hand):
    why = f"{hand}: the sex is not known; give --sex male, female or unknown"
    assert asked(hand) == ([], [why])


def test_missing_file_is_set_aside(hand, tmp_path):
    found, reasons = asked(tmp_path / "no.png", hand, sex="male")
    assert found == [("hand.png", "male")]
    assert reasons == [f"{tmp_path / 'no.png'}: no such file"]


def test_folder_holds_radiographs_among_other_files(tmp_path):
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deeper").mkdir()
    assert asked(tmp_path, sex="male")[0] == [("a.jpg", "male"), ("b.PNG", "male")]


def test_folder_without_radiographs(tmp_path):
    with pytest.raises(InputError, match="no radiograph there"):
        collect_inputs([tmp_path], "male")


@pytest.mark.parametrize(
    ("written", "sex"),
    [
        *[(word, "male") for word in ("male", "M", " m ", "True", "1")],
        *[(word, "female") for word in ("Female", "f", "FALSE", "0")],
        *[(word, "unknown") for word in ("unknown", "U", "other", "o", "")],
    ],
)
def test_spellings_of_the_sex_in_a_csv(tmp_path, hand, written, sex):
    table = tmp_path / "table.csv"
    table.write_text(f"\ufefffile,sex\r\nhand.png,{written}\r\n", encoding="utf-8")
    assert asked(table) == ([("hand.png", sex)], [])


def test_csv_with_other_columns_semicolons_and_folders(tmp_path, hand):
    (tmp_path / "more").mkdir()
    table = tmp_path / "more" / "table.csv"
    table.write_text(f"Id;Male;File\n1;True;../hand.png\n2;False;{hand}\n\n")
    assert asked(table, sex="unknown")[0] == [
        ("hand.png", "male"),
        ("hand.png", "female"),
    ]


def test_other_names_of_the_column_and_empty_cells(tmp_path, hand, capsys):
    table = tmp_path / "table.csv"
    table.write_text("file,Gender,age\nhand.png,M,7\nhand.png,,7\n")
    assert asked(table)[0] == [("hand.png", "male"), ("hand.png", "unknown")]
    assert f"{table}: columns not read: age" in capsys.readouterr().out
    assert asked(table, sex="female")[0] == [
        ("hand.png", "male"),
        ("hand.png", "female"),
    ]
    table.write_text("file,gender,sex\nhand.png,M,F\n")
    assert asked(table)[0] == [("hand.png", "female")]
    assert f"{table}: columns not read: gender" in capsys.readouterr().out


def test_csv_without_sexes_takes_that_of_the_flag(tmp_path, hand):
    (tmp_path / "table.csv").write_text("file\nhand.png\n")
    assert asked(tmp_path / "table.csv", sex="male")[0] == [("hand.png", "male")]
    assert asked(tmp_path / "table.csv")[0] == []


def test_wrong_rows_of_a_csv_are_set_aside(tmp_path, hand):
    table = tmp_path / "table.csv"
    table.write_text("file,sex\nhand.png,x\nno.png,M\nhand.png,M\n")
    found, reasons = asked(table)
    assert found == [("hand.png", "male")]
    assert "expected male, female or unknown" in reasons[0]
    assert "found 'x'" in reasons[0]
    assert reasons[1].endswith("no.png: no such file")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected columns file,sex, found nothing$"),
        ("id,sex\n1,M\n", "expected columns file,sex, found id,sex"),
        ("file,sex,male\na.png,M,True\n", "expected columns file,sex"),
        ("file,sex\n", "names no file"),
        ("file,sex\na.png\n", "line 2: expected 2 columns, found 1"),
        ("file,sex\n,M\n", "line 2: names no file"),
    ],
)
def test_csv_of_another_form(tmp_path, text, why):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        collect_inputs([tmp_path / "table.csv"], "male")


def test_missing_csv(tmp_path):
    with pytest.raises(InputError, match=r"table\.csv: no such file"):
        collect_inputs([tmp_path / "table.csv"], "male")


@pytest.mark.parametrize(
    ("written", "sex"), [("M", "male"), ("F", "female"), ("O", "unknown")]
)
def test_sex_of_a_dicom_file(tmp_path, written, sex):
    path = write_dicom(tmp_path / "1.dcm", PIXELS, PatientSex=written)
    assert asked(path) == ([("1.dcm", sex)], [])


def test_dicom_file_says_the_sex_where_a_csv_does_not(tmp_path):
    write_dicom(tmp_path / "1.dcm", PIXELS, PatientSex="F")
    (tmp_path / "table.csv").write_text("file,sex\n1.dcm,\n")
    assert asked(tmp_path / "table.csv") == ([("1.dcm", "female")], [])


def test_dicom_without_a_sex_needs_the_flag(tmp_path):
    path = write_dicom(tmp_path / "1.dcm", PIXELS)
    assert "the sex is not known" in asked(path)[1][0]
    assert asked(path, sex="male")[0] == [("1.dcm", "male")]


def test_flag_against_the_dicom_file_is_noted(tmp_path):
    path = write_dicom(tmp_path / "1.dcm", PIXELS, PatientSex="F")
    (each,), _ = collect_inputs([path], "male")
    assert each.sex == "male"
    assert each.notes == ("read as male, but the DICOM file says female",)
    (each,), _ = collect_inputs([path], "female")
    assert each.notes == ()


def test_damaged_dicom_is_set_aside(tmp_path):
    path = tmp_path / "1.dcm"
    path.write_bytes(b"no DICOM at all")
    assert asked(path)[1] == [f"{path}: expected DICOM, found another format"]


def test_dicom_cut_short_in_its_first_element_is_refused_in_one_line(tmp_path):
    path = tmp_path / "1.dcm"
    whole = bad_input.dicom_of(bad_input.GREY)
    path.write_bytes(whole[:139] + b"\0\0")
    found, (reason,) = asked(path)
    assert found == []
    assert "1.dcm: no readable DICOM header" in reason
