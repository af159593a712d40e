"""Which radiographs are read, and of whom."""

import os
from pathlib import Path

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.prediction.inputs import SAY_SEX, collect_inputs
from tests.io.test_radiographs import write_dicom
from tests.scripts import bad_input

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


@pytest.fixture
def hand(tmp_path) -> Path:
    path = tmp_path / "hand.png"
    radiographs.write(path, PIXELS)
    return path


def asked(*paths, sex=None):
    inputs = collect_inputs(paths, sex)
    return [(each.path.name, each.sex) for each in inputs.radiographs], [
        each.reason for each in inputs.skipped
    ]


def notes_of(path, sex=None):
    ((each,), _, _) = collect_inputs([path], sex)
    return each.notes


def test_sex_of_the_flag(hand):
    assert asked(hand, sex="female") == ([("hand.png", "female")], [])
    assert asked(hand, sex="unknown") == ([("hand.png", "unknown")], [])


def test_without_a_sex_the_radiograph_is_set_aside(hand):
    why = f"{hand}: the sex must be known (got none); {SAY_SEX}"
    assert asked(hand) == ([], [why])


def test_missing_file_is_set_aside(hand, tmp_path):
    found, reasons = asked(tmp_path / "no.png", hand, sex="male")
    assert found == [("hand.png", "male")]
    assert reasons == [f"{tmp_path / 'no.png'} cannot be found; check the path"]


def test_folder_holds_radiographs_among_other_files(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / ".git").mkdir()
    names = ("b.PNG", "a.jpg", "notes.txt", ".hidden.png", "deeper/c.tif", ".git/d.png")
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deeper" / "IM0001").write_bytes(bad_input.dicom_of(PIXELS))
    (tmp_path / "deeper" / "DICOMDIR").write_bytes(bad_input.dicom_of(PIXELS))
    inputs = collect_inputs([tmp_path], "male")
    assert [
        each.path.relative_to(tmp_path).as_posix() for each in inputs.radiographs
    ] == [*("a.jpg", "b.PNG", "deeper/IM0001", "deeper/c.tif")]
    assert inputs.notes == [
        f"{tmp_path}: 2 of 6 files not read, no radiographs: deeper/DICOMDIR, notes.txt"
    ]


def test_what_cannot_be_opened_does_not_end_the_search(tmp_path, hand):
    (tmp_path / "nowhere").symlink_to(tmp_path / "nothing-there")
    assert asked(tmp_path, sex="male") == ([("hand.png", "male")], [])


def test_folder_without_radiographs(tmp_path):
    with pytest.raises(InputError, match=r"must hold radiographs .got 0 other files"):
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


def test_other_names_of_the_column_and_empty_cells(tmp_path, hand):
    table = tmp_path / "table.csv"
    table.write_text("file,Gender,age\nhand.png,M,7\nhand.png,,7\n")
    assert asked(table)[0] == [("hand.png", "male"), ("hand.png", "unknown")]
    assert collect_inputs([table], None).notes == [f"{table}: columns not read: age"]
    assert asked(table, sex="female")[0] == [
        ("hand.png", "male"),
        ("hand.png", "female"),
    ]
    table.write_text("file,gender,sex\nhand.png,M,F\n")
    assert asked(table)[0] == [("hand.png", "female")]
    assert collect_inputs([table], None).notes == [f"{table}: columns not read: gender"]


def test_csv_without_sexes_takes_that_of_the_flag(tmp_path, hand):
    (tmp_path / "table.csv").write_text("file\nhand.png\n")
    assert asked(tmp_path / "table.csv", sex="male")[0] == [("hand.png", "male")]
    assert asked(tmp_path / "table.csv")[0] == []


def test_wrong_rows_of_a_csv_are_set_aside(tmp_path, hand):
    table = tmp_path / "table.csv"
    table.write_text("file,sex\nhand.png,x\nno.png,M\nhand.png,M\n")
    found, reasons = asked(table)
    assert found == [("hand.png", "male")]
    assert "the sex must be male, female or unknown" in reasons[0]
    assert "(got 'x')" in reasons[0]
    assert reasons[1].endswith("no.png cannot be found; check the path")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must have the columns file,sex or id,male .got nothing"),
        ("number,sex\n1,M\n", "columns file,sex or id,male .got number,sex"),
        ("id,Case ID,sex\n1,1,M\n", "columns file,sex or id,male .got id,Case ID,sex"),
        ("file,sex,male\na.png,M,True\n", "must have the columns file,sex"),
        ("file,sex\n", "must name radiographs .got no rows"),
        ("file,sex\na.png\n", "line 2 must have 2 values .got 1"),
        ("file,sex\n,M\n", "line 2 must name a radiograph"),
    ],
)
def test_csv_of_another_form(tmp_path, text, why):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        collect_inputs([tmp_path / "table.csv"], "male")


def test_missing_csv(tmp_path):
    with pytest.raises(InputError, match=r"table\.csv cannot be found; check the name"):
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
    assert "the sex must be known (got none)" in asked(path)[1][0]
    assert asked(path, sex="male")[0] == [("1.dcm", "male")]


def test_flag_against_the_dicom_file_is_noted(tmp_path):
    path = write_dicom(tmp_path / "1.dcm", PIXELS, PatientSex="F")
    assert asked(path, sex="male")[0] == [("1.dcm", "male")]
    assert notes_of(path, "male") == ("read as male, but the DICOM file says female",)
    assert notes_of(path, "female") == ()


def test_damaged_dicom_is_set_aside(tmp_path):
    path = tmp_path / "1.dcm"
    path.write_bytes(b"no DICOM at all")
    assert "1.dcm: the sex must be known (got none)" in asked(path)[1][0]
    path.write_bytes(bad_input.dicom_of(PIXELS)[:133])
    assert asked(path, sex="male")[0] == [("1.dcm", "male")]


@pytest.mark.parametrize("written", ["W", "Y", "male", "U"])
def test_sex_that_dicom_does_not_know_is_noted(tmp_path, written):
    path = write_dicom(tmp_path / "1.dcm", PIXELS, PatientSex=written)
    assert f"(got PatientSex '{written}')" in asked(path)[1][0]
    note = f"the DICOM file gives the sex as '{written}', not as M, F or O"
    assert notes_of(path, "female") == (note,)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Laterality": "R"}, "this is a right hand"),
        ({"ImageLaterality": "R"}, "this is a right hand"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "this is a right hand"),
        ({"BodyPartExamined": "CHEST"}, "the body part as CHEST, not as a hand"),
        ({"Laterality": "L", "BodyPartExamined": "HAND"}, None),
        ({"BodyPartExamined": "Left hand"}, None),
        ({"BodyPartExamined": "UP_EXM"}, None),
    ],
)
def test_side_and_body_part_of_a_dicom_file_are_noted(tmp_path, tags, words):
    path = write_dicom(tmp_path / "1.dcm", PIXELS, PatientSex="F", **tags)
    notes = notes_of(path)
    assert (words in notes[0]) if words else notes == ()


def test_dicom_is_known_by_its_bytes(tmp_path):
    content = bad_input.dicom_of(PIXELS, PatientSex="F")
    for name in ("1.IMA", "IM2", "3.png"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "4").write_bytes(content[132:])
    paths = [tmp_path / name for name in ("1.IMA", "IM2", "3.png", "4")]
    assert [sex for _, sex in asked(*paths)[0]] == ["female"] * 4


def rsna(tmp_path, table):
    """A table beside a folder of radiographs, as the RSNA data set comes."""
    folder = tmp_path / "boneage-training-dataset"
    folder.mkdir()
    for name in ("1377.png", "1378.png", "P001_left.png"):
        radiographs.write(folder / name, PIXELS)
    (tmp_path / "train.csv").write_text(table)
    return tmp_path / "train.csv"


def test_table_of_the_rsna_beside_its_radiographs(tmp_path):
    path = rsna(tmp_path, "id,boneage,male\n1377,180,False\n1378.0,12,True\n9,9,True\n")
    inputs = collect_inputs([path], None)
    assert [(each.path.name, each.sex) for each in inputs.radiographs] == [
        ("1377.png", "female"),
        ("1378.png", "male"),
    ]
    (missing,) = inputs.skipped
    assert "id 9 must have one radiograph in" in missing.reason
    assert inputs.notes == [f"{path}: columns not read: boneage"]


def test_ids_that_are_names(tmp_path):
    path = rsna(tmp_path, "Image ID,male\nP001_left,False\n1378.png,True\n")
    assert asked(path)[0] == [("P001_left.png", "female"), ("1378.png", "male")]


def test_id_of_two_radiographs_is_set_aside(tmp_path):
    path = rsna(tmp_path, "id,male\n1377,False\n1378,True\n")
    radiographs.write(tmp_path / "copy" / "1377.png", PIXELS)
    found, (reason,) = asked(path)
    assert found == [("1378.png", "male")]
    assert "(got 2: " in reason


def test_table_beside_other_radiographs(tmp_path):
    with pytest.raises(InputError, match=r"id 5 must have one radiograph .* .got none"):
        collect_inputs([rsna(tmp_path, "id,male\n5,False\n")], None)


@pytest.mark.parametrize("form", ["tab", "xlsx", "utf-16"])
def test_table_in_other_forms(tmp_path, hand, form):
    if form == "xlsx":
        path = tmp_path / "table.xlsx"
        path.write_bytes(bad_input.workbook([["file", "sex"], ["hand.png", "M"]]))
    else:
        path = tmp_path / "table.tsv"
        path.write_text(
            "file\tsex\nhand.png\tM\n", encoding="utf-8" if form == "tab" else form
        )
    assert asked(path) == ([("hand.png", "male")], [])


def test_name_in_another_encoding_costs_nothing_but_escapes(tmp_path):
    """A file called José in Latin-1, on a system that writes UTF-8."""
    name = os.fsdecode(b"Jos\xe9.png")
    (tmp_path / name).write_bytes(bad_input.PNG)
    assert asked(tmp_path, sex="male") == ([(name, "male")], [])
    _, (reason,) = asked(tmp_path)
    assert "Jos\\xe9.png: the sex must be known" in reason
    assert reason.encode()


def test_dicom_cut_short_in_its_first_element_is_refused_in_one_line(tmp_path):
    path = tmp_path / "1.dcm"
    whole = bad_input.dicom_of(bad_input.GREY)
    path.write_bytes(whole[:139] + b"\0\0")
    found, (reason,) = asked(path)
    assert found == []
    assert "1.dcm must have a readable DICOM header" in reason
