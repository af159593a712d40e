"""Calibration on local radiographs: lines, intervals, refusals, storage, answers."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from boneage import cli
from boneage.errors import InputError
from boneage.layout import Layout
from boneage.prediction import calibration_gain, local_calibration, model_selection
from boneage.prediction.calibration_gain import Origin
from boneage.prediction.conformal import Calibration
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.local_calibration import (
    UNCHANGED,
    Calibrator,
    Line,
    LocalReadings,
    fit_lines,
    out_of_fold,
)
from boneage.prediction.predictor import Predictor
from boneage.reporting import formats
from tests.conftest import options_of, script
from tests.tiny_runs import BOTH

ORIGIN = Origin("1a2b", "3c4d")


def place(count, rng, change=lambda months, is_male: months, noise=9.0):
    """A place whose readers give `change` of the true age; networks err by `noise`."""
    true = rng.uniform(30, 210, count)
    is_male = np.arange(count) % 2 == 0
    predicted = true + rng.normal(0, noise, count)
    return LocalReadings(predicted, change(true, is_male), is_male, np.arange(count))


def shipped(rng, noise=9.0):
    calibrations = {}
    for sex, population in (("female", "girls"), ("male", "boys")):
        true = rng.uniform(30, 210, 400)
        predicted = true + rng.normal(0, noise, 400)
        calibrations[sex] = Calibration(predicted, true, population)
    return calibrations


def older(months, is_male):
    return months + 12


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_the_line_of_a_place_is_found(rng):
    local = place(400, rng, lambda months, is_male: 0.9 * months + 15 * is_male)
    lines = fit_lines(local)
    for sex, offset in (("female", 0), ("male", 15)):
        at_100 = lines[sex].apply(100.0)
        assert at_100 == pytest.approx(90 + offset, abs=1.5)
        # noise of the predictions flattens a regression on them
        assert lines[sex].slope == pytest.approx(0.88, abs=0.03)


def test_few_radiographs_change_little(rng):
    local = place(4000, rng, older)
    few, many = (
        np.mean([line.apply(120.0) - 120 for line in fit_lines(part).values()])
        for part in (local.select(np.arange(4000) < 20), local)
    )
    assert many == pytest.approx(12, abs=0.5)
    assert few < 12.5
    design = local_calibration._design(local, 120.0, 50.0)
    weights, _ = local_calibration._ridge(
        design[:10], np.full(10, 12.0), (10.0, np.inf)
    )
    # ten radiographs against ten that show no change
    assert weights[0] == pytest.approx(6)
    assert weights[2] == 0


def test_leaving_one_out_is_what_it_says(rng):
    local = place(12, rng, older)
    errors = local.read_months - local.predicted_months
    design = local_calibration._design(local, 120.0, 50.0)
    left_out = []
    for out in range(12):
        kept = np.arange(12) != out
        weights, _ = local_calibration._ridge(design[kept], errors[kept], (2.0, 5.0))
        left_out.append(abs(errors[out] - design[out] @ weights))
    quick = local_calibration._leave_one_out_error(design, errors, (2.0, 5.0))
    assert quick == pytest.approx(np.mean(left_out), rel=1e-4)


def test_no_child_is_judged_by_its_own_radiographs(rng):
    local = replace(place(60, rng), child=np.arange(60) // 2)
    before = out_of_fold(local)
    changed = local.read_months.copy()
    changed[:2] += 100
    after = out_of_fold(replace(local, read_months=changed))
    np.testing.assert_array_equal(before[:2], after[:2])
    assert (before[2:] != after[2:]).any()


def test_a_gain_is_stored_with_its_interval(rng):
    stored = calibration_gain.calibrate(
        place(80, rng, older), shipped(rng), 0.9, ORIGIN
    )
    gain, lower, upper = stored.gain_months
    assert 0 < lower < gain < upper
    assert gain == pytest.approx(
        stored.mae_before_months - stored.mae_after_months, abs=0.01
    )
    assert stored.radiographs == stored.children == 80
    assert set(stored.lines) == {"female", "male"}
    assert "calibrated on 80 local radiographs, 20" in stored.in_words()
    assert stored.in_words().endswith("(1a2b)")


def test_no_gain_is_refused(rng):
    with pytest.raises(InputError, match=r"calibration would not help: .* gain"):
        calibration_gain.calibrate(place(80, rng), shipped(rng), 0.9, ORIGIN)


def test_intervals_alone_are_replaced_where_they_cover_too_few(rng):
    # errors of the readers, which no line takes away
    local = place(80, rng, lambda months, _: months + rng.normal(0, 15, 80), noise=5.0)
    calibrations = shipped(rng, noise=5.0)
    stored = calibration_gain.calibrate(local, calibrations, 0.9, ORIGIN)
    assert set(stored.lines.values()) == {UNCHANGED}
    assert stored.gain_in_words().startswith("intervals alone: the shipped ones")
    calibrator = Calibrator(stored, calibrations, 0.9)
    before = calibrations["male"].width(100.0, 0.9).half_months
    assert calibrator.width("male", 100.0).half_months > 2 * before


@pytest.mark.parametrize("count", [30, 120])
def test_nine_in_ten_new_radiographs_lie_inside(rng, count):
    inside, total = 0, 0
    calibrations = shipped(rng)
    for _ in range(5):
        stored = calibration_gain.calibrate(
            place(count, rng, lambda m, is_male: m + 20), calibrations, 0.9, ORIGIN
        )
        calibrator = Calibrator(stored, calibrations, 0.9)
        new = place(100, rng, lambda m, is_male: m + 20)
        for predicted, read, is_male in zip(
            new.predicted_months, new.read_months, new.is_male, strict=True
        ):
            sex = "male" if is_male else "female"
            half = calibrator.width(sex, predicted).half_months
            inside += abs(calibrator.line(sex).apply(predicted) - read) <= half
            total += 1
    assert 0.86 <= inside / total <= 0.96


def test_a_sex_with_few_radiographs_is_left_out(rng):
    local = place(100, rng, older)
    chosen = ~local.is_male | (np.arange(100) < 18)
    stored = calibration_gain.calibrate(local.select(chosen), shipped(rng), 0.9, ORIGIN)
    assert set(stored.lines) == {"female"}
    assert stored.radiographs == 50


def test_sex_of_a_place_with_one_sex(rng):
    local = place(100, rng, older)
    lines = fit_lines(local.select(~local.is_male))
    assert set(lines) == {"female"}
    assert lines["female"].apply(120.0) == pytest.approx(132, abs=4)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda local: local.select(np.arange(len(local)) < 29), "30 radiographs"),
        (
            lambda local: replace(local, read_months=240 - local.read_months),
            "must rise together",
        ),
        (
            lambda local: replace(local, read_months=local.read_months / 12),
            "must rise together",
        ),
    ],
)
def test_what_cannot_be_a_place_is_refused(rng, change, why):
    with pytest.raises(InputError, match=why):
        calibration_gain.calibrate(change(place(80, rng)), shipped(rng), 0.9, ORIGIN)


def test_what_is_written_is_read(rng, tmp_path):
    path = tmp_path / "calibration.json"
    assert local_calibration.read(path) is None
    stored = calibration_gain.calibrate(
        place(60, rng, older), shipped(rng), 0.9, ORIGIN
    )
    local_calibration.write(path, stored)
    assert local_calibration.read(path) == stored


@pytest.mark.parametrize(
    "change",
    [
        {"lines": 3},
        {"lines": {"male": [1]}},
        {"radiographs": 7},
        {"gain_months": None},
        {"read_months": ["x"]},
    ],
)
def test_broken_calibration_is_one_line(rng, tmp_path, change):
    path = tmp_path / "calibration.json"
    stored = calibration_gain.calibrate(
        place(60, rng, older), shipped(rng), 0.9, ORIGIN
    )
    local_calibration.write(path, stored)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=re.escape("calibrate.py --remove")) as caught:
        local_calibration.read(path)
    assert "\n" not in str(caught.value)


def applied(trained, hand, stored, sex="male"):
    predictor = Predictor(trained, BOTH, 1, calibration=stored)
    return predictor, predictor.predict(InputRadiograph(hand, sex))


def test_answers_are_calibrated_and_say_so(trained, hand, rng):
    plain = Predictor(trained, BOTH, 1)
    before = plain.predict(InputRadiograph(hand, "male"))
    stored = calibration_gain.calibrate(
        place(60, rng, older), shipped(rng), 0.9, Origin("1a2b", plain.models_hash)
    )
    line = Line(5.0, 1.1)
    stored = replace(stored, lines={"male": line})
    predictor, after = applied(trained, hand, stored)
    assert after.bone_age_months == pytest.approx(line.apply(before.bone_age_months))
    assert after.local_calibration == stored.in_words()
    assert f"    {stored.in_words()}" in formats.to_text(after)
    assert formats.to_record(after)["local_calibration"] == stored.in_words()
    assert after.calibration_group.endswith("local radiographs")
    for name, months in after.months_by_run.items():
        assert months == pytest.approx(line.apply(before.months_by_run[name]))
        np.testing.assert_allclose(
            after.explanations[name].map_months,
            1.1 * before.explanations[name].map_months,
            rtol=1e-5,
        )
    assert any(stored.in_words() in note for note in predictor.notes)
    girl = predictor.predict(InputRadiograph(hand, "female"))
    assert girl.local_calibration == ""
    assert "not calibrated: too few local radiographs of sex female" in girl.warnings


def test_calibration_of_other_models_is_not_applied(trained, hand, rng):
    stored = calibration_gain.calibrate(
        place(60, rng, older), shipped(rng), 0.9, ORIGIN
    )
    predictor, after = applied(trained, hand, stored)
    assert after.local_calibration == ""
    assert predictor.calibrator is None
    assert predictor.notes[-1].endswith("but for other models: not applied")


def calibrate(layout, **options):
    module = script("calibrate")
    return module.main(options_of(module, layout, **options))


def test_the_command_stores_applies_and_removes(
    trained, hand, tmp_path, rng, monkeypatch, capsys
):
    def reads(predictor, inputs, skipped):
        assert [i.read_months for i in inputs] == [99.0, 12.0]
        assert "must have a bone age in its row" in skipped[0].reason
        return place(60, rng, older)

    monkeypatch.setattr(calibration_gain, "read_locally", reads)
    monkeypatch.setattr(
        Predictor, "__init__", lambda self, layout, *_: _stub(self, layout, rng)
    )
    table = tmp_path / "own.csv"
    table.write_text(f"file,sex,bone_age\n{hand},M,99\n{hand},F,12\n{hand},F,\n")
    layout = replace(trained, models=tmp_path / "models")
    monkeypatch.setattr(model_selection, "find_models", lambda *_: trained)
    calibrate(layout, csv=table)
    said = capsys.readouterr().out
    assert "calibrated on 60 local radiographs" in said
    assert "male: 0.9" in said or "male: 1.0" in said
    assert "gain" in said
    stored = local_calibration.read(layout.calibration)
    assert stored.table_hash
    calibrate(layout, remove=True)
    assert not layout.calibration.exists()
    with pytest.raises(InputError, match="nothing to remove"):
        calibrate(layout, remove=True)


def _stub(self, layout, rng):
    self.layout = layout
    self.ensembles = {
        sex: type("Ensemble", (), {"calibration": c, "candidates": ()})
        for sex, c in shipped(rng).items()
    }


def test_radiographs_that_cannot_be_used_are_set_aside(tiny_predictor, hand):
    inputs = [
        InputRadiograph(hand, "male", read_months=90.0, patient="a"),
        InputRadiograph(hand, "unknown", read_months=90.0),
        InputRadiograph(hand.with_name("missing.png"), "male", read_months=90.0),
        InputRadiograph(hand, "female", read_months=91.0, patient="a"),
    ]
    skipped = []
    local = calibration_gain.read_locally(tiny_predictor, inputs, skipped)
    assert local.read_months.tolist() == [90, 91]
    assert local.is_male.tolist() == [True, False]
    assert local.child[0] == local.child[1]
    assert "the sex must be male or female" in skipped[0].reason
    assert "cannot be found" in skipped[1].reason


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ([], "either --csv FILE or --remove must be given"),
        (["--csv", "own.csv", "--remove"], "either --csv FILE or --remove"),
        (["--csv", "own.csv"], "own.csv cannot be found"),
    ],
)
def test_wrong_calls_are_one_line(flags, why, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = script("calibrate")
    with pytest.raises(SystemExit) as caught:
        cli.run(module.main, module.Options, flags)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1


def test_table_without_bone_ages(tmp_path, hand):
    table = tmp_path / "own.csv"
    table.write_text(f"file,sex\n{hand},M\n")
    with pytest.raises(InputError, match="must have a column boneage, in months"):
        calibrate(Layout(), csv=table)
