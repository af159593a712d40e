"""Results as DICOM objects, read back by pydicom, highdicom and an outside checker."""

import math
import re
import shutil
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import CodedConcept

from boneage.errors import InputError
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.record import STATEMENT
from boneage.prediction.reference import DeviationScore
from boneage.reporting import dicom_output, report_page, structured_report
from tests.scripts.bad_input import DEEP, dicom_of
from tests.serving.node_stub import StubPredictor
from tests.tiny_runs import exit_code, predict

PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "HOSPITAL-7",
    "PatientBirthDate": "20150203",
    "PatientSex": "F",
    "StudyDate": "20240506",
    "StudyTime": "101500",
    "AccessionNumber": "A1",
    "StudyID": "S1",
    "ReferringPhysicianName": "Who^Doctor",
    "StudyDescription": "Left hand",
    "Laterality": "L",
    "BodyPartExamined": "HAND",
    "StudyInstanceUID": "1.2.3.4",
    "SeriesInstanceUID": "1.2.3.4.5",
    "SOPInstanceUID": "1.2.3.4.5.6",
}


@pytest.fixture
def dicom_hand(tmp_path, hand):
    """A simulated hand as a file of a patient and a study; tags as keywords."""

    def write(name="hand.dcm", **tags):
        from boneage.io import radiographs

        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dicom_of(radiographs.read(hand), **(PATIENT | tags)))
        return path

    return write


@pytest.fixture(scope="module")
def predictor():
    return StubPredictor()


@pytest.fixture(scope="module")
def prediction(predictor, hand):
    (made,) = predictor.predict_hands(InputRadiograph(hand, "female"))
    return replace(made, warnings=("first doubt", "second doubt"))


def made_of(path, prediction, predictor):
    return dicom_output.build(dicom_output.read_source(path), prediction, predictor)


def numbers(report) -> dict[str, float]:
    """Measurements by the meaning of their names."""
    (group,) = report.content.get_image_measurement_groups()
    return {m.name.meaning: m.value for m in group.get_measurements()}


def texts(report) -> list[tuple[str, str]]:
    (group,) = report.content.get_image_measurement_groups()
    return [
        (item.name.value, item.value)
        for item in group[0].ContentSequence
        if item.ValueType == "TEXT" and item.name.scheme_designator == "99BONEAGE"
    ]


def test_page_is_a_capture_in_the_study_of_the_radiograph(
    dicom_hand, prediction, predictor, tmp_path
):
    result = made_of(dicom_hand(), prediction, predictor)
    capture_path, _ = result.write(tmp_path)
    capture = pydicom.dcmread(capture_path)
    assert capture.SOPClassUID.name == "Secondary Capture Image Storage"
    for keyword in ("PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate"):
        assert capture[keyword].value == PATIENT[keyword]
    assert capture.PatientName == "Doe^Jane"
    assert capture.AccessionNumber == "A1"
    assert capture.BurnedInAnnotation == "YES"
    assert capture.ContentQualification == "RESEARCH"
    assert STATEMENT in capture.SeriesDescription
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == "1.2.3.4.5.6"
    named = prediction.with_file("1.2.3.4.5.6")
    assert (capture.pixel_array == report_page.picture(named, predictor)).all()


def test_uids_are_new_and_differ(dicom_hand, prediction, predictor):
    path = dicom_hand()
    results = [made_of(path, prediction, predictor) for _ in range(2)]
    made = [dataset for result in results for dataset in result]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        uids = {str(dataset[keyword].value) for dataset in made}
        assert len(uids) == 4
        assert PATIENT[keyword] not in uids
    assert {dataset.StudyInstanceUID for dataset in made} == {"1.2.3.4"}


def test_report_has_age_interval_and_warnings_as_codes(
    dicom_hand, prediction, predictor, tmp_path
):
    _, path = made_of(dicom_hand(), prediction, predictor).write(tmp_path)
    report = highdicom.sr.srread(path)
    (group,) = report.content.get_image_measurement_groups()
    (age,) = group.get_measurements(name=CodedConcept("85151-9", "LN", "XR Bone age"))
    assert age.value == round(prediction.bone_age_months, 1)
    assert age.unit.value == "mo"
    assert numbers(report)["Lower end of the prediction interval"] == round(
        prediction.lower_months, 1
    )
    assert numbers(report)["Nominal coverage of the prediction interval"] == 90
    assert texts(report)[:2] == [("statement", STATEMENT), ("sex", "female")]
    assert ("warning", "second doubt") in texts(report)
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    (site,) = group.finding_sites
    assert (site.value.meaning, site.laterality.meaning) == ("Hand", "Left")
    ((study, series, instance, _),) = report.get_evidence()
    assert (study, series, instance) == ("1.2.3.4", "1.2.3.4.5", "1.2.3.4.5.6")


def test_report_has_chronological_age_and_score(
    dicom_hand, prediction, predictor, tmp_path
):
    known = replace(
        prediction,
        bone_age_months=100.0,
        chronological_age_months=90.5,
        deviation_score=DeviationScore(1.25, math.nan, math.nan, "Invented, 2026"),
    )
    _, path = made_of(dicom_hand(), known, predictor).write(tmp_path)
    report = highdicom.sr.srread(path)
    assert numbers(report)["Subject Age"] == 90.5
    assert numbers(report)["Bone age minus chronological age"] == 9.5
    assert numbers(report)["Standard deviation score of the bone age"] == 1.2
    assert ("reference", "Invented, 2026") in texts(report)


def test_report_has_each_network_where_there_are_several(
    dicom_hand, prediction, predictor, tmp_path
):
    months = {"one": 90.0, "tw\u3042": 110.0}
    several = replace(prediction, months_by_run=months)
    _, path = made_of(dicom_hand(), several, predictor).write(tmp_path)
    (group,) = highdicom.sr.srread(path).content.get_image_measurement_groups()
    by_run = group.get_measurements(name=structured_report.concept("run-months"))
    named = {
        item.value: measurement.value
        for measurement in by_run
        for item in measurement[0].ContentSequence
        if item.name.meaning == "Algorithm Name"
    }
    assert named == {"one": 90.0, "tw\\u3042": 110.0}
    if shutil.which("dciodvfy") is not None:
        ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        assert "Error" not in ran.stdout + ran.stderr


def test_refusal_gives_a_report_without_an_age(
    dicom_hand, prediction, predictor, tmp_path
):
    nan = math.nan
    refused = replace(
        prediction,
        refusal="likely not a hand",
        bone_age_months=nan,
        lower_months=nan,
        upper_months=nan,
        months_by_run={},
        explanations={},
    )
    _, path = made_of(dicom_hand(), refused, predictor).write(tmp_path)
    report = highdicom.sr.srread(path)
    assert numbers(report) == {}
    assert ("refusal", "likely not a hand") in texts(report)


@pytest.mark.parametrize("kind", ["SC", "SR"])
@pytest.mark.parametrize("tags", [{}, dict.fromkeys(["PatientName", "Laterality"])])
def test_objects_pass_dciodvfy(kind, tags, dicom_hand, prediction, predictor, tmp_path):
    """The checker of dicom3tools, where it is installed (Debian: dicom3tools)."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    result = made_of(dicom_hand(**tags), prediction, predictor)
    path = result.write(tmp_path)[("SC", "SR").index(kind)]
    ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
    found = (ran.stdout + ran.stderr).splitlines()
    # a private coding scheme is in no list of defined terms
    serious = [
        line
        for line in found
        if line.startswith(("Error", "Warning"))
        and "Unrecognized defined term <99BONEAGE>" not in line
        and "empty when actually unknown" not in line
    ]
    assert serious == []
    assert "SCImage" in found or "EnhancedSR" in found


def test_names_in_any_script_stay_readable(dicom_hand, prediction, predictor, tmp_path):
    name = "Yamada^Tarou=山田^太郎"
    path = dicom_hand(PatientName=name, SpecificCharacterSet="ISO_IR 192")
    for written in made_of(path, prediction, predictor).write(tmp_path):
        assert str(pydicom.dcmread(written).PatientName) == name
    latin = dicom_hand(PatientName="Jos\xe9", SpecificCharacterSet="ISO_IR 100")
    for written in made_of(latin, prediction, predictor).write(tmp_path):
        assert str(pydicom.dcmread(written).PatientName) == "Jos\xe9"


def test_odd_names_and_numbers_are_kept_and_in_no_warning(
    dicom_hand, prediction, predictor, tmp_path, recwarn
):
    path = dicom_hand(PatientName="Doe", PatientID="secret-7" * 10)
    recwarn.clear()
    for written in made_of(path, prediction, predictor).write(tmp_path):
        dataset = pydicom.dcmread(written)
        assert (dataset.PatientName, dataset.PatientID) == ("Doe", "secret-7" * 10)
    told = " ".join(str(warning.message) for warning in recwarn)
    assert "Doe" not in told
    assert "secret-7" not in told


def test_values_that_are_no_dates_are_left_empty(
    dicom_hand, prediction, predictor, tmp_path
):
    path = dicom_hand()
    content = path.read_bytes()
    content = content.replace(b"20150203", b"3.2.2015")
    content = content.replace(b"20240506", b"6/5/2024")
    path.write_bytes(content.replace(b"F \x20", b"F \x20"))
    for written in made_of(path, prediction, predictor).write(tmp_path):
        dataset = pydicom.dcmread(written)
        assert dataset.PatientBirthDate == dataset.StudyDate == ""
        assert dataset.PatientID == "HOSPITAL-7"


def test_nothing_else_of_the_header_is_taken_over(
    dicom_hand, prediction, predictor, tmp_path
):
    path = dicom_hand(
        PatientComments="secret one",
        PatientAddress="secret two",
        OperatorsName="secret three",
        InstitutionName="secret four",
    )
    for written in made_of(path, prediction, predictor).write(tmp_path):
        assert b"secret" not in written.read_bytes()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"StudyInstanceUID": None}, "must state its StudyInstanceUID (got none)"),
        ({"SeriesInstanceUID": "a.b"}, "must state its SeriesInstanceUID (got a.b)"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
            "must be a radiograph (got CT Image Storage)",
        ),
    ],
)
def test_source_without_a_place_for_results_is_refused(dicom_hand, tags, words):
    with pytest.raises(InputError, match=re.escape(words)):
        dicom_output.read_source(dicom_hand(**tags))


def test_predict_writes_both_objects_and_names_no_patient(
    trained, dicom_hand, tmp_path, capsys
):
    path = dicom_hand("scan.dcm")
    out, table = tmp_path / "out", tmp_path / "ages.csv"
    arguments = [path, "--dicom-out", out, "--csv", table, "--views", 1]
    assert exit_code(*arguments, "--models", trained.models) is None
    shown = capsys.readouterr().out
    assert f"wrote {out}" in shown
    kinds = sorted(written.name[:2] for written in out.iterdir())
    assert kinds == ["SC", "SR"]
    told = shown + table.read_text() + " ".join(w.name for w in out.iterdir())
    for word in ("Doe", "Jane", "HOSPITAL-7", "20150203", "1.2.3.4"):
        assert word not in told


def test_predict_sets_aside_what_has_no_study(trained, dicom_hand, tmp_path, capsys):
    good = dicom_hand("good.dcm")
    stripped = dicom_hand("stripped.dcm", StudyInstanceUID=None)
    out = tmp_path / "out"
    predict(trained, good, stripped, views=1, dicom_out=out)
    assert len(list(out.iterdir())) == 2
    assert "stripped.dcm must state its StudyInstanceUID" in capsys.readouterr().out


def test_radiographs_that_are_no_dicom_are_refused_before_any_is_read(
    hand, dicom_hand, tmp_path, capsys
):
    status = exit_code(
        dicom_hand(), hand, "--sex", "female", "--dicom-out", tmp_path / "out"
    )
    assert status == 2
    assert f"error: {hand} must be DICOM for --dicom-out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_results_are_not_written_among_the_radiographs(dicom_hand, capsys):
    path = dicom_hand()
    assert exit_code(path, "--dicom-out", path.parent) == 2
    assert "cannot be a folder with radiographs to read" in capsys.readouterr().err


def test_missing_package_is_named(monkeypatch, dicom_hand, tmp_path, capsys):
    monkeypatch.setattr(dicom_output.importlib.util, "find_spec", lambda name: None)
    assert exit_code(dicom_hand(), "--dicom-out", tmp_path / "out") == 2
    assert 'pip install "boneage[dicom]"' in capsys.readouterr().err


def test_own_terms_fit_their_elements():
    for value, meaning in structured_report.OWN_TERMS.items():
        assert len(value) <= 16 < 64 >= len(meaning)


def test_text_fits_every_character_set_and_viewer():
    assert structured_report._text("a\u3042") == "a\\u3042"
    assert len(structured_report._text("x" * 9999)) == 1024


def test_tiny_image_of_no_hand_gives_no_traceback(dicom_hand, trained, tmp_path):
    path = tmp_path / "in" / "grey.dcm"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(dicom_of(np.zeros_like(DEEP), **PATIENT))
    status = exit_code(
        path, "--dicom-out", tmp_path / "out", "--models", trained.models
    )
    assert status == 2
