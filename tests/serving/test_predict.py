"""predict.py: screen, files, exit codes."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.parallel import Skipped
from boneage.prediction import predictor
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.record import STATEMENT
from boneage.reporting import formats, report_page
from boneage.segmentation.hand_search import FoundHand
from boneage.serving import batch, command
from tests.conftest import REPOSITORY
from tests.io.test_radiographs import write_dicom
from tests.tiny_runs import BOTH, exit_code, predict, refuse_all

COLUMNS = ["file", "bone_age_months", "lower_months", "upper_months", "qualifier"]
COLUMNS += ["sex", "chronological_age_months", "difference_months"]
COLUMNS += ["difference_lower_months", "difference_upper_months"]
COLUMNS += ["standard_deviation_score", "score_lower", "score_upper", "reference"]
COLUMNS += ["local_calibration", "warnings"]


def test_screen_csv_json_and_report(trained, hand, tmp_path, capsys):
    dicom = write_dicom(tmp_path / "other.dcm", radiographs.read(hand), PatientSex="M")
    table = tmp_path / "table.csv"
    table.write_text(f"file,sex\n{hand},F\nother.dcm,unknown\nmissing.png,M\n")
    out = tmp_path / "out"
    predict(
        trained,
        hand,
        dicom,
        table,
        sex="female",
        runs=BOTH,
        views=2,
        csv=out / "a.csv",
        json=out / "a.json",
        report=out / "pages",
    )
    said = capsys.readouterr().out
    assert f"models in {trained.models}" in said
    assert f"{hand}: " in said
    assert "90 % interval" in said
    assert (
        f"set aside: {tmp_path / 'missing.png'} cannot be found; check the path" in said
    )
    assert "4 radiographs read, 1 set aside\nFor research, not for diagnosis." in said

    with (out / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == COLUMNS
    missing = rows.pop()
    assert missing[:-1] == [str(tmp_path / "missing.png"), *[""] * 14]
    assert missing[-1].startswith("not read: ")
    assert [row[0] for row in rows[1:]] == [str(hand), str(dicom)] * 2
    assert [row[5] for row in rows[1:]] == ["female", "female", "female", "unknown"]
    for row in rows[1:]:
        assert float(row[2]) <= float(row[1]) <= float(row[3])
        assert row[-1].endswith(STATEMENT)
    assert "the DICOM file says male" in rows[2][-1]
    assert "sex unknown" in rows[4][-1]
    assert "read as unknown, but the DICOM file says male" in rows[4][-1]
    # asked as female, the same radiograph gets the same answer from PNG and CSV
    assert rows[1][1:] == rows[3][1:]

    content = json.loads((out / "a.json").read_text())
    assert content["statement"] == STATEMENT
    assert [run["run"] for run in content["runs"]] == ["tiny_0", "tiny_1"]
    assert {"backbone", "test_mae_months", "git_commit"} <= set(content["runs"][0])
    first = content["radiographs"][0]
    assert first["bone_age_months"] == pytest.approx(
        np.mean(list(first["months_by_run"].values())), abs=0.1
    )
    assert content["skipped"][0]["file"] == str(tmp_path / "missing.png")

    pages = sorted(path.name for path in (out / "pages").iterdir())
    assert pages == [
        *("hand_2_bone_age.png", "hand_bone_age.png"),
        *("other_2_bone_age.png", "other_bone_age.png"),
    ]
    page = radiographs.read(out / "pages" / "hand_bone_age.png")
    assert page.shape == (1753, 1240)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.zeros((60, 50), np.uint8), "must show a hand"),
        (b"no image", "must be a radiograph (got no readable image)"),
    ],
)
def test_nothing_readable_is_exit_code_2(
    trained, tmp_path, monkeypatch, capsys, image, why
):
    path = tmp_path / "x.png"
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        radiographs.write(path, image)
        monkeypatch.setattr(
            predictor,
            "find_hands",
            lambda _, image: [FoundHand(image, image * 0, 0.0, None, 0.0)],
        )
    table = tmp_path / "ages.csv"
    table.write_text("kept")
    code = exit_code(path, "--sex", "male", "--models", trained.models, "--csv", table)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith(
        f"error: no radiograph could be read; set aside: {path} {why}"
    )
    assert captured.err.count("\n") == 1
    # no table of nothing takes the place of what was there
    assert table.read_text() == "kept"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"views": 0}, r"--views must be from 1 to 10 \(got 0\)"),
        ({"coverage": 1.0}, r"--coverage must be between 0 and 1 \(got 1.0\)"),
        (
            {"runs": ("tiny_7",)},
            r"--runs must name finished runs \(got tiny_7\); .*tiny_0, tiny_1",
        ),
        ({"serve": True}, "must be given"),
        ({"host": "0.0.0.0"}, "--auth NAME:PASSWORD"),
        ({"csv": Path()}, "--csv must be a file"),
        ({"models": Path("modles")}, r"--models must be a folder \(got modles"),
    ],
)
def test_wrong_options(trained, hand, options, why):
    more = dict(options)
    asked = replace(trained, models=more.pop("models", trained.models))
    with pytest.raises(InputError, match=why):
        predict(asked, hand, sex="male", **more)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (
            ["hand.png", "--csv", "hand.png"],
            "--csv .*hand.png would overwrite an input",
        ),
        (
            ["list.csv", "--json", "list.csv"],
            "--json .*list.csv would overwrite an input",
        ),
        (
            ["list.csv", "--csv", "more/../hand.png"],
            "--csv .*hand.png would overwrite an input",
        ),
        ([".", "--report", "."], "--report .* cannot be a folder with radiographs"),
        (
            ["hand.png", "--report", "."],
            "--report .* cannot be a folder with radiographs",
        ),
        (
            ["hand.png", "--csv", "a", "--json", "./a"],
            "--json a would overwrite the --csv file",
        ),
    ],
)
def test_nothing_that_is_read_is_written_over(
    trained, hand, tmp_path, monkeypatch, capsys, flags, why
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(hand, "hand.png")
    Path("more").mkdir()
    Path("list.csv").write_text("file\nhand.png\n")
    assert exit_code(*flags, "--sex", "male", "--models", trained.models) == 2
    assert re.search(why, capsys.readouterr().err)
    assert Path("hand.png").read_bytes() == hand.read_bytes()


def test_undecodable_names_cost_no_file(tiny_predictor, hand, tmp_path, capsys):
    path = shutil.copy(hand, tmp_path / os.fsdecode(b"caf\xe9.png"))
    inputs = [InputRadiograph(Path(path), "male"), InputRadiograph(hand, "male")]
    out = tmp_path / "out"
    settings = batch.OutputSettings(out / "a.csv", out / "a.json", out / "pages")
    batch.predict_to_files(tiny_predictor, inputs, [], settings)
    assert "caf\\xe9.png" in (out / "a.csv").read_text(encoding="utf-8")
    assert len(json.loads((out / "a.json").read_text())["radiographs"]) == 2
    pages = sorted(page.name for page in (out / "pages").iterdir())
    assert pages == ["caf_bone_age.png", "hand_bone_age.png"]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--serve", "--csv", "a.csv"], "--csv cannot be used with --serve"),
        (["--serve", "--sex", "male"], "--sex cannot be used with --serve"),
        (["hand.png", "--map", "exact"], "--map cannot be used without --report"),
        (["hand.png", "--no-open-page"], "--open-page cannot be used without --serve"),
    ],
)
def test_flags_that_do_nothing_are_refused(trained, monkeypatch, capsys, flags, why):
    monkeypatch.setattr("sys.argv", ["predict.py", *flags])
    assert exit_code(*flags, "--models", trained.models) == 2
    assert why in capsys.readouterr().err


def test_what_was_read_before_an_interruption_is_written(
    tiny_predictor, trained, hand, tmp_path, monkeypatch
):
    class Interrupted:
        layout, notes, ensembles, candidates = tiny_predictor.layout, [], {}, []
        coverage, view_count, calibrator = 0.9, 2, None

        def load(self):
            pass

        def predict_all(self, inputs, with_images):
            yield from tiny_predictor.predict_all(inputs[:2], with_images)
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "Predictor", lambda *_: Interrupted())
    table, facts = tmp_path / "ages.csv", tmp_path / "ages.json"
    with pytest.raises(KeyboardInterrupt):
        predict(trained, hand, hand, hand, sex="male", csv=table, json=facts)
    assert len(table.read_text().splitlines()) == 3
    content = json.loads(facts.read_text())
    assert len(content["radiographs"]) == 2
    assert not content["complete"]


def test_kill_leaves_readable_files_of_what_was_read(trained, hand, tmp_path):
    listed, table = tmp_path / "list.csv", tmp_path / "ages.csv"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    listed.write_text(f"file,sex\n{hand},F\n{broken},M\n" + f"{hand},M\n" * 400)
    facts = tmp_path / "ages.json"
    command = [sys.executable, "predict.py", listed, "--models", trained.models]
    process = subprocess.Popen(
        [*command, "--csv", table, "--json", facts],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 240
    while not table.exists() or table.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    rows = list(csv.reader(table.read_text().splitlines()))
    assert 5 <= len(rows) < 400
    assert [rows[1][5], rows[2][1], rows[3][5]] == ["female", "", "male"]
    assert rows[2][-1].startswith(f"not read: {broken} must be a radiograph")
    assert all(len(row) == len(COLUMNS) for row in rows)
    content = json.loads(facts.read_text())
    # killed between the two files at most
    assert len(rows) - 2 - len(content["radiographs"]) in (0, 1)
    assert content["skipped"][0]["file"] == str(broken)
    assert not content["complete"]


def test_files_grow_while_radiographs_are_read(tiny_predictor, hand, tmp_path):
    read = tiny_predictor.predict(InputRadiograph(hand, "male"))
    settings = batch.OutputSettings(tmp_path / "a.csv", tmp_path / "a.json")
    missing = Skipped("missing.png", "cannot be found")
    answers = batch.Answers(tiny_predictor, settings, [missing])
    for count in (1, 2):
        answers.add(read)
        assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + count
        content = json.loads((tmp_path / "a.json").read_text())
        assert content["radiographs"] == [formats.to_record(read)] * count
        assert not content["complete"]
    answers.finish()
    assert "missing.png" in (tmp_path / "a.csv").read_text().splitlines()[-1]
    text = (tmp_path / "a.json").read_text()
    content = json.loads(text)
    assert [content["complete"], len(content["skipped"])] == [True, 1]
    # as json.dumps writes the whole
    assert text == json.dumps(content, indent=2) + "\n"


def test_refused_radiographs_are_listed_without_months(
    tiny_predictor, hand, tmp_path, monkeypatch, capsys
):
    read = tiny_predictor.predict(InputRadiograph(hand, "male"))
    refuse_all(monkeypatch)
    refused = tiny_predictor.predict(InputRadiograph(hand, "female"))
    assert np.isnan([refused.bone_age_months, refused.lower_months]).all()
    assert "refused: likely not a hand (a test)" in repr(refused)
    settings = batch.OutputSettings(tmp_path / "a.csv", tmp_path / "a.json")
    answers = batch.Answers(tiny_predictor, settings)
    answers.add(refused)
    assert not (tmp_path / "a.csv").exists()
    answers.add(read)
    answers.finish()
    said = capsys.readouterr().out
    assert "1 radiograph read, 1 refused, 0 set aside" in said
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert rows[1][1:6] == ["", "", "", "", "female"]
    assert rows[1][-1].startswith("refused: likely not a hand (a test); a doubt; ")
    record, _ = json.loads((tmp_path / "a.json").read_text())["radiographs"]
    assert record["bone_age_months"] is record["lower_months"] is None
    assert record["refusal"] == "likely not a hand (a test)"
    answers = batch.Answers(tiny_predictor, batch.OutputSettings())
    answers.add(refused)
    with pytest.raises(InputError, match=r"no bone age for .* --include-refused"):
        answers.finish()


def test_only_refused_radiographs_are_exit_code_2(
    trained, hand, tmp_path, monkeypatch, capsys
):
    refuse_all(monkeypatch)
    table = tmp_path / "ages.csv"
    code = exit_code(hand, "--sex", "male", "--models", trained.models, "--csv", table)
    assert code == 2
    captured = capsys.readouterr()
    assert f"{hand}: no bone age, likely not a hand (a test)" in captured.out
    assert captured.err.count("\n") == 1
    assert not table.exists()


def test_ages_at_the_end_of_the_range_are_called_limits(tiny_predictor, hand):
    prediction = tiny_predictor.predict(InputRadiograph(hand, "male"))
    oldest = replace(prediction, bone_age_months=182.2, qualifier="or older")
    assert "182 months (15 y 2 m) or older, 90 %" in formats.to_text(oldest)[0]
    assert formats.to_record(oldest)["qualifier"] == "or older"
    assert formats.to_record(replace(oldest, qualifier=""))["qualifier"] is None
    assert "182.2 months or older" in repr(oldest)
    figure = report_page.draw(oldest, tiny_predictor)
    words = [text.get_text() for text in figure.texts]
    assert "182 months (15 y 2 m) or older" in words
