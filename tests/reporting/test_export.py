"""Models to give away: the same predictions, half the size, a model card."""

import shutil

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import hdf5, transforms
from boneage.io.files import write_json
from boneage.layout import Layout
from boneage.prediction import model_selection, test_time_augmentation
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Predictor
from boneage.regression import inference
from boneage.regression.run_folder import Run
from boneage.reporting import export
from tests.conftest import options_of, script
from tests.tiny_runs import BOTH, copy_runs, to_ship


def test_shipped_models_say_the_same(trained, layout, hand, capsys, tiny_backbone):
    ship = script("ship")
    ship.main(to_ship(trained, BOTH, layout.models, views=3))
    said = capsys.readouterr().out
    assert f"wrote {layout.models}" in said
    for seed in (0, 1):
        before, after = (
            Run(place.regression / f"tiny_{seed}") for place in (trained, layout)
        )
        old, new = before.read_predictions(), after.read_predictions()
        assert np.abs(old.predicted_months - new.predicted_months).max() < 0.5
        assert "predicted_3_views_months" in new
        assert after.read_config()["training_data"] == "noise"
    read = Predictor(layout, BOTH, 3).predict(InputRadiograph(hand, "male"))
    before = Predictor(trained, BOTH, 3).predict(InputRadiograph(hand, "male"))
    assert abs(read.bone_age_months - before.bone_age_months) < 0.5
    card = (layout.models / "README.md").read_text()
    assert "For research, not for diagnosis." in card
    assert "**Licence of the weights: none.**" in card
    # said of the rule that small groups take the wider interval
    assert "chosen after looking at the results on test hands" in card
    calibration = Predictor(layout, BOTH, 3).ensembles["female"].calibration
    lowest, highest = calibration.usable_range_months()
    assert f"| {lowest:.0f} to {highest:.0f} |" in card
    # asked in as many views, its intervals are those of as many
    for count, measured in ((3, 3), (2, 1), (1, 1)):
        found, _ = model_selection.select_ensembles(layout, BOTH, count)
        assert {each.measured_view_count for each in found.values()} == {measured}


def test_correction_of_the_age_bias_is_part_of_the_shipped_network(
    trained, layout, hand, tmp_path, tiny_backbone
):
    pulled = Layout(trained.data, tmp_path / "pulled")
    shutil.copytree(trained.models, pulled.models)
    run = Run(pulled.regression / "tiny_1")
    table = run.read_predictions()
    # ages for which these predictions are drawn in by a fifth
    predicted = table.predicted_months
    table["bone_age_months"] = 120 + (predicted - predicted.mean()) / 0.8
    run.write_predictions(table)
    ship = script("ship")
    options = {"views": 1, "age_bias_correction": 0.5}
    ship.main(to_ship(pulled, ("tiny_1",), layout.models, **options))
    shipped = Run(layout.regression / "tiny_1")
    fact = shipped.read_config()["age_bias_correction"]
    assert fact["strength"] == 0.5
    assert fact["slope"] == pytest.approx(0.5 + 0.5 / 0.8, abs=0.02)
    after = shipped.read_predictions().predicted_months
    line = fact["intercept_months"] + fact["slope"] * predicted
    np.testing.assert_allclose(after, line, atol=0.6)
    read = Predictor(layout, ["tiny_1"], 1).predict(InputRadiograph(hand, "male"))
    before = Predictor(trained, ["tiny_1"], 1).predict(InputRadiograph(hand, "male"))
    expected = fact["intercept_months"] + fact["slope"] * before.bone_age_months
    assert read.bone_age_months == pytest.approx(expected, abs=0.6)
    assert "0.5 of the pull is taken back" in (layout.models / "README.md").read_text()
    again = Layout(trained.data, layout.models)
    with pytest.raises(InputError, match="cannot be corrected twice"):
        ship.main(to_ship(again, ("tiny_1",), tmp_path / "again", **options))


def test_what_is_shipped_tells_no_folders_and_sees_no_views_it_did_not_learn(
    trained, layout, tmp_path, tiny_backbone, monkeypatch
):
    shown = []
    make_views = test_time_augmentation.make_views

    def record_views(image, *arguments):
        views = make_views(image, *arguments)
        shown.append((image, views))
        return views

    monkeypatch.setattr(test_time_augmentation, "make_views", record_views)
    again = Layout(trained.data, tmp_path / "no_mirrored")
    shutil.copytree(trained.models, again.models)
    run = Run(again.regression / "tiny_0")
    config = run.read_config()
    assert config["settings"]["mirrored_share"] == 0.5
    weights = str(tmp_path / "weights.keras")
    config["settings"] |= {"weights": weights, "mirrored_share": 0.0}
    config["training_data"] = "what it was exported with before"
    write_json(run.config, config)
    ship = script("ship")
    ship.main(to_ship(again, ("tiny_0",), layout.models, views=3))
    shipped = Run(layout.regression / "tiny_0")
    assert str(tmp_path) not in shipped.config.read_text()
    assert shipped.read_config()["settings"]["weights"] == "weights.keras"
    assert shipped.read_config()["training_data"] == config["training_data"]
    table = shipped.read_predictions().set_index("id")
    # its three views are the hand as it is and turned, without repetition
    assert len(shown) == len(table)
    assert {len(views) for _, views in shown} == {2}
    assert not any(
        (views == image[:, ::-1]).all((1, 2)).any() for image, views in shown
    )
    packed = hdf5.open_packed(again.hands_h5, "pack_hands")
    first = int(table.index[0])
    image = transforms.resize(packed.images[packed.row_indices([first])[0]], 32)
    views = make_views(image, 3, False)
    is_male = np.array([table.is_male[first]] * 2)
    said = inference.predict_images(shipped.load_model(), views, is_male, 2)
    kept = table.predicted_3_views_months[first]
    assert kept == pytest.approx(said.mean(), abs=0.01)


def test_weights_take_half_the_room_and_no_optimizer_is_kept(tmp_path):
    import keras

    network = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)])
    network.compile("adam", "mse")
    network.fit(np.ones((2, 300)), np.ones((2, 300)), verbose=0)
    network.save(tmp_path / "before.keras")
    export.save_float16(network, tmp_path / "after.keras")
    before, after = (
        (tmp_path / f"{name}.keras").stat().st_size for name in ("before", "after")
    )
    # Adam keeps two more numbers for every weight
    assert after < before / 5
    loaded = keras.saving.load_model(tmp_path / "after.keras", safe_mode=True)
    np.testing.assert_allclose(
        loaded.get_weights()[0], network.get_weights()[0], rtol=1e-3, atol=1e-7
    )


def test_weights_beyond_16_bits_keep_their_32(tmp_path):
    import keras

    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    network.layers[0].set_weights([np.array([[1e6, 1], [2, 3]]), np.array([0.1, 0.2])])
    export.save_float16(network, tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras", safe_mode=True)
    kernel, bias = loaded.get_weights()
    assert kernel.dtype == bias.dtype == np.float32
    assert kernel.tolist() == [[1e6, 1], [2, 3]]
    assert bias.tolist() == np.array([0.1, 0.2], np.float16).tolist()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"runs": ()}, "--runs must be given"),
        ({"terms": ""}, "--terms must be given"),
        ({"runs": ("no",)}, r"--runs must name finished runs \(got no\)"),
    ],
)
def test_what_ship_needs(trained, layout, options, why):
    ship = script("ship")
    given = {"runs": ("tiny_0",), "training_data": "noise", "terms": "none"}
    with pytest.raises(InputError, match=why):
        ship.main(options_of(ship, trained, out=layout.models, **(given | options)))
    assert not layout.models.exists()


def test_models_are_not_shipped_over_themselves(trained):
    ship = script("ship")
    with pytest.raises(InputError, match="would overwrite the models to export"):
        ship.main(to_ship(trained, ("tiny_0",), trained.models))


def test_a_run_is_not_shipped_over_itself(trained, layout):
    copy_runs(trained, layout)
    ship = script("ship")
    options = to_ship(trained, (str(layout.regression / "tiny_0"),), layout.models)
    with pytest.raises(InputError, match="would overwrite the models to export"):
        ship.main(options)
    assert Run(layout.regression / "tiny_0").predictions.exists()


def test_shipping_that_is_interrupted_leaves_no_predictions_of_another_network(
    trained, layout, tmp_path, tiny_backbone, monkeypatch
):
    ship = script("ship")
    options = to_ship(trained, ("tiny_0",), layout.models, views=1)
    ship.main(options)
    # the trained network predicts, the new one no more
    networks = [inference.predict]
    monkeypatch.setattr(inference, "predict", lambda *a: networks.pop()(*a))
    with pytest.raises(IndexError):
        ship.main(options)
    shipped = Run(layout.regression / "tiny_0")
    assert shipped.model.exists()
    assert not shipped.predictions.exists()
