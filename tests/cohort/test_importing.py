"""step0: simulated cohorts, and folders of radiographs in any format."""

import json
import sys

import cv2
import numpy as np
import pytest

from boneage import cli
from boneage.cohort import table
from boneage.errors import InputError
from boneage.io import radiographs
from boneage.parallel import THIS_PROCESS
from boneage.phantoms import cohort as phantoms_cohort
from tests.conftest import ANNOTATED, PHANTOMS, call, script
from tests.io.test_radiographs import write_dicom
from tests.scripts import bad_input

STEP = "al_segmentation/step0_prepare_cohort"
HAND = np.tile(np.arange(80, dtype=np.uint8), (80, 1))


def simulate(layout, count=3, size_px=64, **more):
    return phantoms_cohort.simulate_cohort(
        layout, count, size_px=size_px, workers=THIS_PROCESS, **more
    )


def everything(folder):
    """Bytes of each file but the locks, by path."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {path: path.read_bytes() for path in files}


def test_simulated_cohort_is_complete(made_cohort):
    cohort = table.read_cohort(made_cohort.train_csv)
    assert cohort.ids.tolist() == list(range(1, PHANTOMS + 1))
    assert made_cohort.ids_on_disk() == cohort.ids.tolist()
    for i, age in zip(cohort.ids, cohort.bone_age_months, strict=True):
        radiograph = radiographs.read(made_cohort.radiograph(i))
        assert max(radiograph.shape) == 128
        radiographs.read_mask(made_cohort.truth / f"{i}_bin.png", radiograph.shape)
        facts = json.loads((made_cohort.truth / f"{i}.json").read_text())
        assert facts["bone_age_months"] == age


def test_first_masks_are_laid_out_as_annotations(made_cohort):
    names = sorted(path.name for path in made_cohort.annotated.iterdir())
    expected = [f"{i}_{k}.png" for i in range(1, ANNOTATED + 1) for k in ("bin", "ori")]
    assert names == sorted(expected)


def test_phantom_depends_on_seed_and_id_alone(layout, tmp_path):
    simulate(layout, 3)
    other = type(layout)(tmp_path / "more", layout.models)
    simulate(other, 5)
    assert layout.radiograph(2).read_bytes() == other.radiograph(2).read_bytes()


def test_rerun_changes_nothing(layout):
    simulate(layout)
    before = everything(layout.data)
    stamps = {path: path.stat().st_mtime_ns for path in layout.radiographs.iterdir()}
    simulate(layout)
    assert everything(layout.data) == before
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_rerun_goes_on_after_a_kill(layout):
    simulate(layout)
    before = everything(layout.data)
    layout.radiograph(2).unlink()
    (layout.truth / "3.json").unlink()
    layout.radiograph(3).unlink()
    simulate(layout)
    assert everything(layout.data) == before


def test_more_of_the_same_cohort_may_follow(layout):
    simulate(layout, 2)
    first = layout.radiograph(1).read_bytes()
    simulate(layout, 4)
    assert layout.ids_on_disk() == [1, 2, 3, 4]
    assert layout.radiograph(1).read_bytes() == first


def test_another_seed_does_not_relabel_the_radiographs_there(layout):
    simulate(layout, seed=0)
    before = everything(layout.data)
    with pytest.raises(InputError, match="another one, see id"):
        simulate(layout, seed=1)
    assert everything(layout.data) == before
    simulate(layout, seed=1, overwrite=True)
    assert everything(layout.data) != before


def test_phantoms_of_two_sizes_do_not_mix(layout):
    simulate(layout, 2, size_px=64)
    before = everything(layout.data)
    with pytest.raises(InputError, match=r"--size-px must be 64 as before .got 80"):
        simulate(layout, 3, size_px=80)
    assert everything(layout.data) == before


def test_radiographs_of_the_user_are_never_replaced_by_phantoms(layout):
    radiographs.write(layout.radiograph(2), HAND)
    before = everything(layout.data)
    with pytest.raises(InputError, match=r"2\.png"):
        simulate(layout)
    assert everything(layout.data) == before


def test_csv_of_the_user_is_never_replaced_by_phantoms(layout):
    layout.train_csv.parent.mkdir(parents=True)
    layout.train_csv.write_text("id,boneage,male\n1,20,True\n2,30,False\n")
    before = everything(layout.data)
    with pytest.raises(InputError, match="another one, see id"):
        simulate(layout)
    assert everything(layout.data) == before


@pytest.mark.parametrize(
    "options",
    [
        {"count": 0},
        {"count": -1},
        {"count": 2, "annotated": 3},
        {"annotated": -1},
        {"size_px": 20},
        {"source": "folder"},
    ],
)
def test_impossible_options(layout, options):
    with pytest.raises(InputError):
        call(layout, STEP, **options)
    assert not layout.data.exists()


@pytest.fixture
def folder(tmp_path):
    """A PNG, a 16-bit TIFF, a DICOM in a folder below; the CSV names a fourth."""
    folder = tmp_path / "delivered"
    radiographs.write(folder / "1.png", HAND)
    cv2.imwrite(str(folder / "002.TIFF"), HAND.astype(np.uint16) * 500)
    (folder / "study").mkdir()
    write_dicom(folder / "study" / "3.dcm", HAND)
    (folder / "notes.txt").write_text("nothing of interest")
    (folder / "ages.csv").write_text(
        "Case ID,Sex,Ground truth bone age (months)\n1,M,10.5\n2,F,20\n3,M,30\n4,F,40\n"
    )
    return folder


def import_it(layout, folder, **more):
    call(layout, STEP, source="folder", from_=folder, **more)
    target = layout.test_csv if "official_test" in more else layout.train_csv
    return table.read_cohort(target)


def test_folder_of_mixed_formats(layout, folder, capsys):
    import_it(layout, folder)
    cohort = table.read_cohort(layout.train_csv)
    assert cohort.ids.tolist() == [1, 2, 3]
    assert cohort.bone_age_months.tolist() == [10.5, 20, 30]
    assert layout.ids_on_disk() == [1, 2, 3]
    read = {i: radiographs.read(layout.radiograph(i)) for i in (1, 2, 3)}
    np.testing.assert_array_equal(read[1], HAND)
    np.testing.assert_array_equal(read[2], HAND.astype(np.uint16) * 500)
    assert read[3].dtype == np.uint16
    printed = capsys.readouterr().out
    assert f"set aside: {folder}: no radiograph of id 4" in printed
    assert f"3 radiographs (2 male, 1 female), from {folder}; 1 set aside" in printed


def test_what_is_left_out_and_ages_in_years_are_said(layout, folder, capsys):
    radiographs.write(folder / "5.png", HAND)
    radiographs.write(folder / "P002.png", HAND)
    radiographs.write(folder / "P002, left.png", HAND)
    (folder / "ages.csv").write_text("id,boneage,male\n1,9.5,True\n2,,True\n")
    import_it(layout, folder)
    printed = capsys.readouterr().out
    assert "not imported, no row in the table (3): 3.dcm, 5.png, P002.png" in printed
    assert "not imported, no id as name (1): P002, left.png" in printed
    assert "ages.csv: no bone age for 1 of 2" in printed
    assert "the oldest bone age is 9.5; are these years?" in printed


def test_a_table_without_ages_is_imported_and_the_screen_says_so(
    layout, folder, capsys
):
    (folder / "ages.csv").write_text("id,chronological_age,male\n1,9,True\n")
    cohort = import_it(layout, folder)
    printed = capsys.readouterr().out
    assert np.isnan(cohort.bone_age_months).all()
    assert "ages.csv: columns not read: chronological_age" in printed
    assert "ages.csv: no bone ages, imported without; training needs" in printed


def test_years_under_a_heading_that_says_so_become_months(layout, folder):
    (folder / "ages.csv").write_text("id,bone_age_years,male\n1,9.5,True\n")
    import_it(layout, folder)
    assert layout.train_csv.read_text() == "id,boneage,male\n1,114,True\n"


def test_patients_are_imported(layout, folder):
    (folder / "ages.csv").write_text(
        "id,boneage,male,Patient ID\n1,9,True,x\n2,9,True,\n"
    )
    import_it(layout, folder)
    assert layout.train_csv.read_text() == (
        "id,boneage,male,patient\n1,9,True,x\n2,9,True,\n"
    )


def test_dicom_without_a_suffix_and_files_that_are_no_radiographs(
    layout, folder, capsys
):
    (folder / "IM").mkdir()
    (folder / "IM" / "77").write_bytes(bad_input.dicom_of(bad_input.DEEP))
    (folder / "IM" / "README").write_text("read me")
    (folder / "ages.csv").write_text("id,boneage,male\n77,90,True\n")
    cohort = import_it(layout, folder)
    assert cohort.ids.tolist() == [77]
    found = radiographs.read(layout.radiograph(77))
    np.testing.assert_array_equal(found, bad_input.STRETCHED)
    printed = capsys.readouterr().out
    assert "not imported, no radiographs (2): README, notes.txt" in printed


def test_workbook_of_a_folder(layout, folder):
    (folder / "ages.csv").unlink()
    rows = [["id", "boneage", "male"], [1, 90, True]]
    (folder / "ages.xlsx").write_bytes(bad_input.workbook(rows))
    assert import_it(layout, folder).bone_age_months.tolist() == [90]


def test_workbook_without_the_library_for_it(layout, folder, monkeypatch):
    rows = [["id", "boneage", "male"], [1, 90, True]]
    (folder / "ages.csv").write_bytes(bad_input.workbook(rows))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    refused(layout, folder, r"ages\.csv cannot be read without openpyxl .*save the")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--from", "x"], "--from cannot be used without --source folder"),
        (
            ["--source", "folder", "--size-px", "512"],
            "--size-px cannot be used without --source phantom",
        ),
    ],
)
def test_flags_of_the_other_source_are_refused(layout, monkeypatch, capsys, flags, why):
    step = script(STEP)
    monkeypatch.setattr("sys.argv", ["step0", *flags])
    with pytest.raises(SystemExit) as caught:
        cli.run(step.main, step.Options, [*flags, "--data", str(layout.data)])
    assert caught.value.code == 2
    assert why in capsys.readouterr().err
    assert not layout.data.exists()


def test_command_line_of_the_docstring(layout, folder):
    step = script(STEP)
    arguments = ["--source", "folder", "--from", str(folder), "--jobs", "1"]
    arguments += ["--csv", str(folder / "ages.csv"), "--data", str(layout.data)]
    with pytest.raises(SystemExit) as caught:
        cli.run(step.main, step.Options, arguments)
    assert not caught.value.code
    assert layout.ids_on_disk() == [1, 2, 3]


def test_unreadable_radiograph_is_set_aside_and_left_out_of_the_csv(layout, folder):
    (folder / "4.png").write_bytes(b"not an image")
    import_it(layout, folder)
    assert table.read_cohort(layout.train_csv).ids.tolist() == [1, 2, 3]
    assert layout.ids_on_disk() == [1, 2, 3]


def test_second_import_changes_nothing(layout, folder):
    import_it(layout, folder)
    before = everything(layout.data)
    import_it(layout, folder)
    assert everything(layout.data) == before


def test_radiograph_that_came_later_is_added(layout, folder):
    import_it(layout, folder)
    radiographs.write(folder / "4.png", HAND)
    import_it(layout, folder)
    assert table.read_cohort(layout.train_csv).ids.tolist() == [1, 2, 3, 4]


def test_official_test_set_goes_into_its_own_csv(layout, folder):
    import_it(layout, folder, official_test=True)
    assert table.read_cohort(layout.test_csv).ids.tolist() == [1, 2, 3]
    assert not layout.train_csv.exists()


def test_radiograph_of_the_other_csv_is_not_replaced(layout, folder):
    import_it(layout, folder)
    before = everything(layout.data)
    radiographs.write(folder / "1.png", HAND[::-1].copy())
    with pytest.raises(InputError, match=r"train\.csv: id 1 must be in one table"):
        import_it(layout, folder, official_test=True, overwrite=True)
    assert everything(layout.data) == before


def test_another_cohort_is_not_replaced(layout, folder):
    layout.train_csv.parent.mkdir(parents=True)
    layout.train_csv.write_text("id,boneage,male\n77,20,True\n")
    before = everything(layout.data)
    with pytest.raises(InputError, match="another one, see id"):
        import_it(layout, folder)
    assert everything(layout.data) == before


def refused(layout, folder, complaint, **more):
    with pytest.raises(InputError, match=complaint) as caught:
        import_it(layout, folder, **more)
    assert "\n" not in str(caught.value)
    assert not layout.data.exists()


def test_folder_that_is_not_there(layout, tmp_path):
    refused(layout, tmp_path / "nowhere", "nowhere cannot be found")


def test_folder_without_csv(layout, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(
        layout,
        tmp_path / "empty",
        "must hold one table, CSV or xlsx .got 0.; name one with --csv",
    )


def test_folder_with_two_csv_files(layout, folder):
    (folder / "more.csv").touch()
    refused(layout, folder, "must hold one table, CSV or xlsx .got 2")
    import_it(layout, folder, csv=folder / "ages.csv")


def test_csv_that_is_not_there(layout, folder):
    refused(layout, folder, r"none\.csv cannot be found", csv=folder / "none.csv")


def test_csv_of_other_radiographs(layout, folder):
    (folder / "ages.csv").write_text("id,male\n8,True\n9,True\n")
    refused(
        layout,
        folder,
        r"named after the table's ids, such as 8\.png .got none for 2 ids",
    )


def test_two_files_of_one_id(layout, folder):
    radiographs.write(folder / "study" / "1.png", HAND)
    refused(layout, folder, "id 1 must name one radiograph")


def test_folder_of_nothing_readable(layout, folder):
    for path in (folder / "1.png", folder / "002.TIFF", folder / "study" / "3.dcm"):
        path.write_bytes(b"not an image")
    refused(layout, folder, r"1\.png must be a radiograph .got no readable image")
