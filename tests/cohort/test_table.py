"""Every form in which cohorts come, and every way in which a row can be wrong."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.cohort import columns, table
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from tests.conftest import make_cohort

FORMS = {
    "kaggle": "id,boneage,male\n1377,180,False\n1380,12,True\n",
    "validation": "Image ID,male,Bone Age (months)\n1377,FALSE,180\n1380,TRUE,12\n",
    "official test": (
        "Case ID,Sex,Ground truth bone age (months)\n1377,F,180\n1380,M,12\n"
    ),
}


def write(tmp_path, content: str | bytes):
    path = tmp_path / "train.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(tmp_path, content: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        table.read_cohort(write(tmp_path, content))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "train.csv"))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form(tmp_path, form, line_end, bom):
    text = bom + FORMS[form].replace("\n", line_end)
    cohort = table.read_cohort(write(tmp_path, text))
    assert cohort.ids.tolist() == [1377, 1380]
    assert cohort.bone_age_months.tolist() == [180, 12]
    assert cohort.is_male.tolist() == [False, True]


@pytest.mark.parametrize("form", FORMS)
def test_semicolons(tmp_path, form):
    cohort = table.read_cohort(write(tmp_path, FORMS[form].replace(",", ";")))
    assert cohort.bone_age_months.tolist() == [180, 12]


def test_file_without_ages(tmp_path):
    cohort = table.read_cohort(write(tmp_path, "Case ID,Sex\n4360,M\n4361,F\n"))
    assert cohort.ids.tolist() == [4360, 4361]
    assert np.isnan(cohort.bone_age_months).all()


def test_rows_come_ascending_by_id(tmp_path):
    text = "id,boneage,male\n9,90,True\n2,20,False\n"
    cohort = table.read_cohort(write(tmp_path, text))
    assert cohort.ids.tolist() == [2, 9]
    assert cohort.bone_age_months.tolist() == [20, 90]
    assert cohort.is_male.tolist() == [False, True]


def test_empty_lines_do_not_count(tmp_path):
    text = "id,boneage,male\n\n1,20,True\n\n\n"
    assert table.read_cohort(write(tmp_path, text)).ids.tolist() == [1]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("1,-5,True", "at most 300 months (got '-5')"),
        ("1,0,True", "at most 300 months (got '0')"),
        ("1,999,True", "at most 300 months (got '999')"),
        ("1,nan,True", "at most 300 months (got 'nan')"),
        ("1,old,True", "old"),
        ("1,20,maybe", "True or False, M or F (got 'maybe')"),
        ("a/b,20,True", "letters, digits, blanks and any of _ - . + ( ) (got 'a/b')"),
        ("-1,20,True", "(got '-1')"),
        ("7_bin,20,True", "an id must not end as files"),
        ("1,20", "must have 3 values (got 2)"),
        ("1,20,True,7", "must have 3 values (got 4)"),
        ("2,20,True\n2,30,True", "id 2 must be unique (got it twice)"),
    ],
)
def test_wrong_row_is_named_with_its_line(tmp_path, row, complaint):
    message = refused(tmp_path, f"id,boneage,male\n7,20,True\n{row}\n")
    assert complaint in message
    assert f"line {3 + row.count(chr(10))}: " in message


def test_line_numbers_are_those_of_an_editor(tmp_path):
    message = refused(tmp_path, "id,boneage,male\n\n\n1,-5,True\n")
    assert "line 4: " in message


def test_many_wrong_rows_are_counted(tmp_path):
    rows = "".join(f"{i},-1,True\n" for i in range(10))
    assert "(and 7 more)" in refused(tmp_path, "id,boneage,male\n" + rows)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("boneage,male\n20,True\n", "no id in"),
        ("id,boneage\n1,20\n", "no sex in"),
        (
            "id,Case ID,male\n1,1,True\n",
            "must have one column for the id (got id and Case ID)",
        ),
        (
            "id,male,Sex\n1,True,M\n",
            "must have one column for the sex (got male and Sex)",
        ),
        ("id,boneage,male\n", "must have a header and rows"),
        ("", "got no id in an empty file"),
        (b"id,boneage,male\n1,20,\xff\n", "(got 'ÿ')"),
        ('id,boneage,male\n1,"20,True\n' + "2,20,True\n" * 20000, "CSV"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path, content, complaint):
    assert complaint in refused(tmp_path, content)


def test_years_in_place_of_months_are_refused(tmp_path):
    rows = "".join(f"{i},{i % 18 + 1},True\n" for i in range(30))
    assert "years" in refused(tmp_path, "id,boneage,male\n" + rows)


def test_few_small_children_are_no_years(tmp_path):
    rows = "".join(f"{i},{i + 1},True\n" for i in range(19))
    assert len(table.read_cohort(write(tmp_path, "id,boneage,male\n" + rows))) == 19


def test_missing_file_names_the_step(tmp_path):
    with pytest.raises(InputError, match=r"train\.csv cannot be found; run step0"):
        table.read_cohort(tmp_path / "train.csv")


ages = st.one_of(
    st.just(float("nan")),
    st.floats(21, columns.OLDEST_MONTHS),
    st.integers(21, columns.OLDEST_MONTHS).map(float),
)
rows = st.dictionaries(
    st.integers(0, 2**63 - 1), st.tuples(ages, st.booleans()), min_size=1
)


# the first table of a process takes longer than the deadline of an example
@settings(deadline=None)
@given(rows)
def test_whatever_is_written_is_read_again(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "train.csv"
    ids = sorted(rows)
    written = Cohort(
        np.array(ids, np.int64),
        np.array([rows[i][0] for i in ids]),
        np.array([rows[i][1] for i in ids]),
    )
    table.write_cohort(path, written)
    again = table.read_cohort(path)
    np.testing.assert_array_equal(again.ids, written.ids)
    np.testing.assert_array_equal(again.bone_age_months, written.bone_age_months)
    np.testing.assert_array_equal(again.is_male, written.is_male)


def test_written_in_the_form_of_the_rsna_file(tmp_path):
    cohort = Cohort(np.array([5]), np.array([132.0]), np.array([True]))
    table.write_cohort(tmp_path / "train.csv", cohort)
    text = (tmp_path / "train.csv").read_bytes()
    assert text == b"id,boneage,male\n5,132,True\n"


def drawn(cohort=None, **more):
    cohort = make_cohort(1000) if cohort is None else cohort
    fractions = {"validation_fraction": 0.1, "test_fraction": 0.1} | more
    return table.draw_split(cohort, rng=np.random.default_rng(0), **fractions)


def test_parts_have_their_share():
    names, counts = np.unique(drawn().astype(str), return_counts=True)
    assert names.tolist() == ["test", "train", "validation"]
    np.testing.assert_allclose(counts, [100, 800, 100], atol=2)


def test_parts_are_alike_in_age_and_sex():
    cohort = make_cohort(1000)
    parts = drawn(cohort)
    for part in table.PARTS:
        chosen = cohort.select(parts == part)
        assert abs(chosen.is_male.mean() - cohort.is_male.mean()) < 0.02
        for sex in (True, False):
            ages = chosen.bone_age_months[chosen.is_male == sex]
            everyone = cohort.bone_age_months[cohort.is_male == sex]
            quartiles = np.percentile(everyone, [25, 50, 75])
            assert np.allclose(np.percentile(ages, [25, 50, 75]), quartiles, atol=6)


def test_split_is_drawn_once(layout):
    table.write_cohort(layout.train_csv, make_cohort())
    cohort, first = table.split_cohort(layout, seed=1)
    written = layout.split_csv.read_text()
    _, second = table.split_cohort(layout, seed=2, test_fraction=0.5)
    assert first.tolist() == second.tolist()
    assert layout.split_csv.read_text() == written
    assert len(first) == len(cohort) == 40
    assert set(first) == set(table.PARTS)


def test_another_seed_draws_another_split(layout, tmp_path):
    table.write_cohort(layout.train_csv, make_cohort())
    _, first = table.split_cohort(layout, seed=1)
    layout.split_csv.unlink()
    _, second = table.split_cohort(layout, seed=2)
    assert first.tolist() != second.tolist()


def test_official_test_set_is_the_test_part(layout):
    table.write_cohort(layout.train_csv, make_cohort())
    official = Cohort(np.array([2, 4]), np.array([50.0, 60]), np.array([True, False]))
    table.write_cohort(layout.test_csv, official)
    cohort, parts = table.split_cohort(layout)
    assert cohort.ids[parts == "test"].tolist() == [2, 4]
    assert set(parts) == set(table.PARTS)


def test_radiograph_in_both_files_is_refused(layout):
    table.write_cohort(layout.train_csv, make_cohort())
    table.write_cohort(layout.test_csv, make_cohort(1))
    with pytest.raises(InputError, match=r"test\.csv: id 1 must be in one table"):
        table.split_cohort(layout)


def test_radiographs_without_age_are_in_no_part(layout):
    cohort = make_cohort()
    cohort.bone_age_months[:5] = np.nan
    table.write_cohort(layout.train_csv, cohort)
    kept, _ = table.split_cohort(layout)
    assert kept.ids.tolist() == cohort.ids[5:].tolist()


def test_cohort_without_any_age_cannot_be_split(layout):
    cohort = make_cohort()
    cohort.bone_age_months[:] = np.nan
    table.write_cohort(layout.train_csv, cohort)
    with pytest.raises(InputError, match="must have bone ages"):
        table.split_cohort(layout)
    assert not layout.split_csv.exists()


@pytest.mark.parametrize("count", [39, 41])
def test_changed_cohort_is_refused(layout, count):
    table.write_cohort(layout.train_csv, make_cohort(40))
    table.split_cohort(layout)
    table.write_cohort(layout.train_csv, make_cohort(count))
    with pytest.raises(InputError, match=r"split\.csv .*the cohort changed"):
        table.split_cohort(layout)


def test_damaged_split_is_refused(layout):
    table.write_cohort(layout.train_csv, make_cohort(1))
    layout.split_csv.write_text("id,split\n1,tset\n")
    with pytest.raises(InputError, match=r"split\.csv: line 2 .*tset"):
        table.split_cohort(layout)


@pytest.mark.parametrize(("validation", "test"), [(0.5, 1.0), (0.6, 0.5), (-0.1, 0.1)])
def test_impossible_fractions_are_refused(layout, validation, test):
    table.write_cohort(layout.train_csv, make_cohort())
    with pytest.raises(InputError, match="fraction"):
        table.split_cohort(layout, 0, validation, test)
    assert not layout.split_csv.exists()


def test_split_hash_knows_the_split_and_not_its_order():
    ids, parts = np.array([1, 2, 3]), np.array(["train", "test", "train"])
    named = table.split_hash(ids, parts)
    assert named == table.split_hash(ids[::-1], parts[::-1])
    assert named != table.split_hash(ids, parts[[1, 0, 2]])


# follow-ups of one child


def follow_ups(count=600, seed=0) -> Cohort:
    """A third of the children have three radiographs each; some are not named."""
    rng = np.random.default_rng(seed)
    cohort = make_cohort(count, seed)
    patients = np.array([f"p{i // 3}" if i < count // 2 else "" for i in range(count)])
    return replace(cohort, patients=rng.permutation(patients))


def test_radiographs_of_a_child_stay_together():
    cohort = follow_ups()
    parts = drawn(cohort)
    for patient in set(cohort.patients) - {""}:
        assert len(set(parts[cohort.patients == patient])) == 1
    names, counts = np.unique(parts.astype(str), return_counts=True)
    assert names.tolist() == ["test", "train", "validation"]
    np.testing.assert_allclose(counts, [60, 480, 60], atol=12)


def test_children_of_one_radiograph_each_are_drawn_as_without_patients():
    cohort = make_cohort(100)
    named = replace(cohort, patients=cohort.ids.astype(str))
    unnamed = replace(cohort, patients=np.full(100, ""))
    plain = drawn(cohort).tolist()
    assert drawn(named).tolist() == drawn(unnamed).tolist() == plain


def test_patients_are_written_and_read(layout):
    cohort = follow_ups(60)
    table.write_cohort(layout.train_csv, cohort)
    again, parts = table.split_cohort(layout)
    assert again.patients.tolist() == cohort.patients.tolist()
    chosen = again.select(parts == "train")
    assert chosen.patients.tolist() == again.patients[parts == "train"].tolist()


def test_split_that_parts_a_child_is_refused(layout):
    table.write_cohort(layout.train_csv, make_cohort(30))
    table.split_cohort(layout)
    table.write_cohort(
        layout.train_csv, replace(make_cohort(30), patients=np.full(30, "x"))
    )
    with pytest.raises(InputError, match=r"split\.csv: patient x must be in one part"):
        table.split_cohort(layout)


def test_child_in_training_and_official_test_is_refused_before_a_split_is_drawn(layout):
    cohort = replace(make_cohort(30), patients=np.full(30, "x"))
    table.write_cohort(layout.train_csv, cohort.select(cohort.ids > 9))
    table.write_cohort(layout.test_csv, cohort.select(cohort.ids <= 9))
    with pytest.raises(InputError, match=r"test\.csv: patient x must be in one table"):
        table.split_cohort(layout)
    assert not layout.split_csv.exists()


def test_columns_that_are_not_read_are_named_once(tmp_path, capsys):
    text = "id,boneage,male,chronological_age,\n1,20,True,3,\n"
    path = write(tmp_path, text)
    table.read_cohort(path)
    table.read_cohort(path)
    printed = capsys.readouterr().out
    assert printed == f"{path}: columns not read: chronological_age\n"
