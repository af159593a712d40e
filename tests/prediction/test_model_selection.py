"""Which runs are averaged for each sex, and which are left out."""

import shutil

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io.files import write_json
from boneage.layout import Layout
from boneage.prediction import model_selection
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Predictor
from boneage.regression.run_folder import Run
from tests.conftest import script
from tests.tiny_runs import BOTH, copy_runs, to_ship


def test_own_committee_is_asked_where_runs_are_named_by_folder(trained, layout):
    shutil.copytree(trained.committee, layout.committee)
    folder = str(trained.regression / "tiny_0")
    assert model_selection.find_models(layout, [folder]).models == layout.models
    assert model_selection.find_models(layout, ["tiny_0"]).models != layout.models


def test_runs_of_one_name_are_told_apart(trained, layout, tmp_path):
    copy_runs(trained, layout)
    other = Layout(tmp_path / "data", tmp_path / "elsewhere")
    shutil.copytree(trained.models, other.models)
    both = [str(place.regression / "tiny_0") for place in (layout, other)]
    found, _ = model_selection.select_ensembles(layout, both, 1)
    assert [each.name for each in found["male"].candidates] == both
    ship = script("ship")
    options = to_ship(
        Layout(trained.data, layout.models), tuple(both), tmp_path / "out"
    )
    with pytest.raises(InputError, match=r"different names .*got tiny_0, tiny_0"):
        ship.main(options)
    assert not (tmp_path / "out").exists()


def test_without_models_those_shipped_are_asked(layout, tmp_path, monkeypatch, trained):
    pretrained = tmp_path / "models" / "pretrained"
    monkeypatch.setattr(model_selection, "PRETRAINED", pretrained)
    layout.models.mkdir()
    with pytest.raises(InputError, match="must contain a committee and a finished run"):
        model_selection.find_models(layout)
    shutil.copytree(trained.models, tmp_path / "models" / "pretrained")
    found = model_selection.find_models(layout)
    assert found.models == tmp_path / "models" / "pretrained"
    assert model_selection.find_models(trained).models == trained.models


def test_runs_of_different_splits_are_not_averaged(trained, layout):
    copy_runs(trained, layout, split_hash="another")
    with pytest.raises(InputError, match=r"tiny_0 and .*tiny_1 cannot be averaged"):
        Predictor(layout, BOTH)
    found, _ = model_selection.select_ensembles(layout, (), 1)
    assert len(found["male"].candidates) == 1


def test_runs_of_one_sex_are_asked_about_that_sex(trained, layout, hand):
    copy_runs(trained, layout, sex="male")
    found, _ = model_selection.select_ensembles(layout, BOTH, 1)
    asked = {s: [c.name for c in each.candidates] for s, each in found.items()}
    assert asked == {"female": ["tiny_0"], "male": ["tiny_0", "tiny_1"]}
    boys = Predictor(layout, ["tiny_1"], 1)
    with pytest.raises(InputError, match=r"no run in .* was trained on female"):
        boys.predict(InputRadiograph(hand, "female"))


def test_run_whose_hands_were_made_by_others_is_not_asked(trained, layout):
    copy_runs(trained, layout, preprocessing="some other way")
    with pytest.raises(
        InputError, match=r"config\.json: preprocessing must have .*some other way"
    ):
        Predictor(layout, ["tiny_1"])
    found, notes = model_selection.select_ensembles(layout, (), 1)
    assert [c.name for c in found["male"].candidates] == ["tiny_0"]
    assert "preprocessing must have" in notes[0]


def test_far_worse_and_broken_runs_are_not_asked_by_default(trained, layout):
    copy_runs(trained, layout)
    run = Run(layout.regression / "tiny_1")
    table = run.read_predictions()
    run.write_predictions(table.assign(predicted_months=0.0))
    found, _ = model_selection.select_ensembles(layout, (), 1)
    assert [c.name for c in found["male"].candidates] == ["tiny_0"]
    run.write_predictions(table.assign(predicted_months=np.nan))
    _, notes = model_selection.select_ensembles(layout, (), 1)
    assert "must contain numbers only" in notes[0]
    with pytest.raises(InputError, match="must contain numbers only"):
        model_selection.select_ensembles(layout, ["tiny_1"], 1)


def test_qualifier_is_that_of_the_sex(trained):
    female = Predictor(trained, ["tiny_0"], 1).ensembles["female"]
    low, high = female.calibration.usable_range_months()
    assert female.qualifier(low) == "or younger"
    assert female.qualifier(np.nextafter(low, 400)) == ""
    assert female.qualifier(np.nextafter(high, -400)) == ""
    assert female.qualifier(high) == "or older"


def test_usual_spread_is_not_exceeded_on_99_in_100_validation_hands(trained, layout):
    copy_runs(trained, layout)
    table = Run(layout.regression / "tiny_0").read_predictions()
    # the runs differ by 2 months, on one hand of a sex by 40
    rank = table.groupby(["split", "is_male"]).cumcount()
    other = table.predicted_months + np.where(rank == 0, 40.0, 2.0)
    changed = table.assign(predicted_months=other)
    Run(layout.regression / "tiny_1").write_predictions(changed)
    ensembles, _ = model_selection.select_ensembles(layout, BOTH, 1)
    validation = table[table.split == "validation"]
    for sex, ensemble in ensembles.items():
        count = (validation.is_male == (sex == "male")).sum()
        # between the last two of the hands, as numpy's quantile
        expected = 40 - 0.01 * (count - 1) * 38
        assert ensemble.usual_spread_months == pytest.approx(expected, abs=0.01)


def test_age_range_is_what_all_runs_were_trained_on(trained, layout):
    copy_runs(trained, layout, age_range_months=[20.0, 220.0])
    first = Run(layout.regression / "tiny_0")
    write_json(first.config, first.read_config() | {"age_range_months": [10.0, 200.0]})
    ensembles, _ = model_selection.select_ensembles(layout, BOTH, 1)
    assert ensembles["male"].age_range_months == (20, 200)


@pytest.mark.parametrize(
    ("committees", "is_other"), [(["1a2b"], False), (["ffff"], True), ([], False)]
)
def test_another_committee_than_that_of_training_is_named(
    trained, layout, hand, committees, is_other
):
    facts = Run(trained.regression / "tiny_1").read_config()["preprocessing"]
    copy_runs(trained, layout, preprocessing=facts | {"committees": committees})
    predictor = Predictor(layout, ["tiny_1"], 1)
    expected = (
        "tiny_1 was trained on hands cut out by another committee (ffff) than the one "
        "in use (1a2b): its errors and intervals may not apply"
    )
    assert predictor.notes == [expected] * is_other
    prediction = predictor.predict(InputRadiograph(hand, "male"))
    assert (expected in prediction.warnings) == is_other
