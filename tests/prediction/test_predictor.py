"""From a radiograph to a bone age with tiny networks."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import boneage
from boneage.errors import InputError
from boneage.io import engine, radiographs, transforms
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT
from boneage.regression.run_folder import Run
from boneage.reporting import formats
from boneage.segmentation import image_quality
from experiments.answers import reader_of
from tests.conftest import REPOSITORY
from tests.tiny_runs import BOTH, copy_runs, refuse_all


def test_unknown_sex_covers_both(tiny_predictor, hand):
    one, other, both = (
        tiny_predictor.predict(InputRadiograph(hand, sex))
        for sex in ("female", "male", "unknown")
    )
    assert both.bone_age_months == pytest.approx(
        (one.bone_age_months + other.bone_age_months) / 2, abs=1e-3
    )
    assert both.lower_months == min(one.lower_months, other.lower_months)
    assert both.upper_months == max(one.upper_months, other.upper_months)
    assert any("sex unknown" in warning for warning in both.warnings)
    assert not any("sex unknown" in warning for warning in one.warnings)


def test_interval_is_that_of_the_validation_hands(tiny_predictor, trained, hand):
    prediction = tiny_predictor.predict(InputRadiograph(hand, "male"))
    tables = [
        Run(trained.regression / f"tiny_{seed}").read_predictions("validation")
        for seed in (0, 1)
    ]
    average = (tables[0].predicted_months + tables[1].predicted_months) / 2
    errors = np.abs(average - tables[0].bone_age_months)
    is_boy, edges = tables[0].is_male, (60, 120, 180)
    is_alike = is_boy & (
        np.searchsorted(edges, average)
        == np.searchsorted(edges, prediction.bone_age_months)
    )

    def half(chosen):
        ordered = np.sort(errors[chosen])
        return ordered[int(np.ceil(0.9 * (len(ordered) + 1))) - 1]

    # fewer than 50: whichever is wider, theirs or that of all boys
    assert 9 <= is_alike.sum() < 50
    widest = max(half(is_alike), half(is_boy))
    assert prediction.upper_months - prediction.bone_age_months == pytest.approx(widest)
    assert "boys" in prediction.calibration_group


def test_answer_is_the_mean_of_runs_and_views(trained, hand):
    one_view = Predictor(trained, ["tiny_0"], 1).predict(InputRadiograph(hand, "male"))
    network = Run(trained.regression / "tiny_0").load_model()
    seen = one_view.explanations["tiny_0"].hand
    small = transforms.resize(seen, 32)
    fed = {"is_male": np.ones((1, 1), np.float32)}
    images = [small, small[:, ::-1]]
    said = [
        network.predict_on_batch(fed | {"image": i[None, ..., None].astype("float32")})
        for i in images
    ]
    assert one_view.bone_age_months == pytest.approx(float(said[0][0, 0]), abs=0.01)
    two_views = Predictor(trained, ["tiny_0"], 2).predict(InputRadiograph(hand, "male"))
    assert two_views.bone_age_months == pytest.approx(float(np.mean(said)), abs=0.01)


def test_hand_is_cut_out_as_each_run_was_trained(tiny_predictor, hand):
    prediction = tiny_predictor.predict(InputRadiograph(hand, "male"))
    seen = prediction.explanations["tiny_0"].hand > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    # the runs say "filled": both ways from margin to margin, whatever the hand's form
    for extent in (rows, columns):
        assert extent[0] < 22
        assert extent[-1] > 490


def test_too_few_validation_hands_give_no_interval(trained, layout, hand):
    copy_runs(trained, layout)
    run = Run(layout.regression / "tiny_0")
    table = run.read_predictions()
    few = table.groupby("is_male").head(8)
    others = table.drop(few.index).assign(split="test")
    run.write_predictions(pd.concat([few.assign(split="validation"), others]))
    asked = Predictor(layout, ["tiny_0"], 1)
    prediction = asked.predict(InputRadiograph(hand, "male"))
    assert np.isnan([prediction.lower_months, prediction.upper_months]).all()
    assert any(
        "8 validation hands of boys are too few" in w for w in prediction.warnings
    )
    said = formats.accuracy_lines(asked)
    assert all("too few validation hands for 90 % intervals" in line for line in said)


def test_refused_radiographs_get_an_age_if_asked_for(trained, hand, monkeypatch):
    insisting = Predictor(trained, ["tiny_0"], 1, include_refused=True)
    expected = insisting.predict(InputRadiograph(hand, "male"))
    refuse_all(monkeypatch)
    prediction = insisting.predict(InputRadiograph(hand, "male"))
    assert prediction.bone_age_months == expected.bone_age_months
    assert prediction.refusal == ""
    assert prediction.warnings[:2] == ("a doubt", "likely not a hand (a test)")


def test_doubts_are_of_this_radiograph_alone(
    tiny_predictor, trained, hand, monkeypatch
):
    both = tiny_predictor.predict(InputRadiograph(hand, "unknown", ("a note",)))
    assert {"a note", *both.doubts} < set(both.warnings)
    assert not any("sex unknown" in d or "a note" in d for d in both.doubts)
    refuse_all(monkeypatch)
    refused = tiny_predictor.predict(InputRadiograph(hand, "male", ("a note",)))
    assert refused.warnings == ("a note", "a doubt")
    assert refused.doubts == ("a doubt",)
    insisting = Predictor(trained, BOTH, 2, include_refused=True)
    kept = insisting.predict(InputRadiograph(hand, "male", ("a note",)))
    assert kept.warnings[:3] == ("a note", "a doubt", "likely not a hand (a test)")
    assert kept.doubts[:2] == kept.warnings[1:3]


def test_experiments_ask_by_way_of_a_file(tiny_predictor, hand, tmp_path):
    read = reader_of(tiny_predictor, tmp_path)
    image = radiographs.read(hand)
    answer = read(image, "male")
    assert answer == read(image, "male")
    expected = tiny_predictor.predict(InputRadiograph(hand, "male"))
    assert answer.months == expected.bone_age_months
    assert answer.doubts == "; ".join(expected.doubts)
    assert answer.length_px == image_quality.hand_length_px(expected.mask)
    assert 0 < answer.sharpness < 1
    nothing = read(np.zeros((300, 300), np.uint8), "male")
    assert np.isnan(nothing.months)
    assert nothing.refusal.startswith("it must show a hand (got none")


def test_compiled_networks_answer_as_keras_does(trained, hand, monkeypatch):
    inputs = InputRadiograph(hand, "unknown")
    compiled = Predictor(trained, BOTH, 3).predict(inputs)
    monkeypatch.setenv(engine.VARIABLE, engine.KERAS)
    in_keras = Predictor(trained, BOTH, 3).predict(inputs)
    assert compiled.warnings == in_keras.warnings
    np.testing.assert_array_equal(compiled.mask, in_keras.mask)
    for name, months in in_keras.months_by_run.items():
        assert compiled.months_by_run[name] == pytest.approx(months, abs=0.01)
        found, expected = compiled.explanations[name], in_keras.explanations[name]
        np.testing.assert_allclose(found.map_months, expected.map_months, atol=0.01)
    for name in ("bone_age_months", "lower_months", "upper_months"):
        assert getattr(compiled, name) == pytest.approx(
            getattr(in_keras, name), abs=0.01
        )


@pytest.mark.parametrize("chosen", ["onnxruntime", "keras"])
def test_many_radiographs_are_answered_in_order(
    trained, hand, tmp_path, monkeypatch, chosen
):
    monkeypatch.setenv(engine.VARIABLE, chosen)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    inputs = [InputRadiograph(hand, sex) for sex in ("female", "male") * 3]
    inputs.insert(2, InputRadiograph(broken, "male"))
    asked = Predictor(trained, ["tiny_0"], 1, at_once=2)
    outcomes = list(asked.predict_all(inputs, with_images=False))
    alone = Predictor(trained, ["tiny_0"], 1)
    for given, outcome in zip(inputs, outcomes, strict=True):
        if given.path == broken:
            assert outcome.item == broken
            assert "broken.png must be a radiograph" in outcome.reason
            continue
        (prediction,) = outcome
        expected = alone.predict(given)
        assert prediction.sex == given.sex
        assert prediction.bone_age_months == pytest.approx(
            expected.bone_age_months, abs=1e-3
        )
        assert prediction.mask.size == 0


def test_no_tensorflow_is_needed(trained, hand):
    code = (
        "import sys, boneage\n"
        f"print(boneage.predict_bone_age({str(hand)!r}, 'male', views=1, "
        f"models={str(trained.models)!r}).bone_age_months)\n"
        "print({'keras', 'tensorflow', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(REPOSITORY)},
    )
    assert done.stdout.splitlines()[1] == "set()"


def test_python_use(trained, hand):
    assert "keras" not in boneage.__dict__
    prediction = boneage.predict_bone_age(
        hand, "female", models=trained.models, views=1
    )
    assert (
        prediction.lower_months < prediction.bone_age_months < prediction.upper_months
    )
    assert STATEMENT in repr(prediction)
    several = boneage.predict_bone_age(
        [hand, hand], "female", models=trained.models, views=1
    )
    assert [each.bone_age_months for each in several] == [
        prediction.bone_age_months
    ] * 2
    with pytest.raises(InputError, match="the sex must be known"):
        boneage.predict_bone_age(hand, models=trained.models)


def test_importing_it_is_instant():
    code = (
        "import sys; from boneage import predict_bone_age; "
        "slow = {'keras', 'tensorflow', 'matplotlib', 'gradio'}; "
        "sys.exit(bool(slow & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)
    assert done.returncode == 0
