"""The two scripts that look back on trained runs, on a cohort made of noise."""

import importlib.util
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest

from boneage.errors import InputError
from boneage.evaluation.metrics import METRICS
from boneage.explanation import gallery_page, panel, saliency
from boneage.io import hdf5, transforms
from boneage.io.locks import exclusive
from boneage.layout import Layout
from boneage.regression.run_folder import Run
from tests.conftest import options_of

SCRIPTS = Path(__file__).resolve().parents[2] / "al_segmentation"
VALIDATION, TEST = np.arange(1, 7), np.arange(7, 15)
TEST_AGES = np.array([10.0, 50, 70, 110, 130, 170, 190, 228])


def script(name):
    """Import a numbered script as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


step5 = script("step5_statiscal_data")
step6 = script("step6_cam")


def finish(layout, name, errors, split_hash="abc", test_ids=TEST, **more) -> Run:
    """Leave what a training leaves, but for the network."""
    run = Run(layout.regression / name)
    ages = np.concatenate([np.full(6, 100.0), TEST_AGES])
    table = pd.DataFrame(
        {
            "id": np.concatenate([VALIDATION, test_ids]),
            "split": ["validation"] * 6 + ["test"] * 8,
            "is_male": [True, False] * 7,
            "bone_age_months": ages,
            "predicted_months": ages + np.concatenate([np.zeros(6), errors]),
        }
    )
    run.write_predictions(table)
    facts = {
        "age_mean_months": 120.0,
        "age_range_months": [1.0, 228.0],
        "split_hash": split_hash,
    }
    run.write_config(facts | more)
    run.history.write_text(
        "epoch,learning_rate,loss,validation_mae,seconds\n1,0.001,9.0,30.0,1.0\n"
        "2,0.0005,7.0,25.0,1.0\n"
    )
    return run


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "data", tmp_path / "models")


def statistics(layout, **more):
    step5.main(options_of(step5, layout, resamples=200, **more))
    return pd.read_csv(layout.statistics / "table.csv")


def cell(table, run, group, metric):
    chosen = (table.run == run) & (table.group == group) & (table.metric == metric)
    assert chosen.sum() == 1
    return table[chosen].iloc[0]


ERRORS = np.array([2.0, -2, 4, -4, 6, -6, 8, -8])


def test_table_holds_the_metrics_of_every_group(layout):
    finish(layout, "one", ERRORS)
    table = statistics(layout)
    assert list(table.columns) == [
        *["run", "group", "radiographs", "metric"],
        *["value", "lower", "upper", "mean_predictor"],
    ]
    mae = cell(table, "one", "all", "mae")
    # the ages lie 110, 70, 50, 10, 10, 50, 70 and 108 months from the mean
    assert (mae.radiographs, mae.value, mae.mean_predictor) == (8, 5.0, 59.75)
    assert mae.lower < 5 < mae.upper
    assert cell(table, "one", "all", "mse").value == 30
    assert cell(table, "one", "all", "median_absolute_error").value == 5
    assert cell(table, "one", "all", "bias").value == 0
    assert cell(table, "one", "male", "bias").value == 5
    assert cell(table, "one", "female", "bias").value == -5
    values = {
        group: cell(table, "one", group, "mae").value
        for group in (
            "below 5 years",
            "5 to 10 years",
            "10 to 15 years",
            "15 years or more",
        )
    }
    assert list(values.values()) == [2, 4, 6, 8]
    assert len(table) == 7 * 9


def test_figures_and_readable_table_are_written(layout):
    finish(layout, "one", ERRORS)
    statistics(layout)
    assert sorted(path.name for path in layout.statistics.iterdir()) == [
        "bland_altman_one.png",
        "error_by_age_one.png",
        "scatter_one.png",
        "table.csv",
        "table.md",
        "training_one.png",
    ]
    text = (layout.statistics / "table.md").read_text()
    assert "## 15 years or more" in text
    assert "| training mean | 8 | 59.8 |" in text


def test_average_of_runs_with_the_same_split(layout, capsys):
    finish(layout, "one", ERRORS)
    finish(layout, "two", -ERRORS + 1)
    table = statistics(layout)
    assert cell(table, "average", "all", "mae").value == 0.5
    assert (layout.statistics / "scatter_average.png").exists()
    assert not (layout.statistics / "training_average.png").exists()
    assert "average: mean of one, two" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"split_hash": "xyz"}, {"test_ids": TEST + 50}])
def test_runs_of_different_splits_are_not_averaged(layout, capsys, other):
    finish(layout, "one", ERRORS)
    finish(layout, "two", ERRORS, **other)
    table = statistics(layout)
    assert set(table.run) == {"one", "two"}
    assert "compare with care" in capsys.readouterr().out


def test_broken_predictions_are_flagged(layout, capsys):
    finish(layout, "constant", 100 - TEST_AGES)
    finish(layout, "far", ERRORS * -3)
    finish(layout, "holes", np.where(TEST_AGES < 20, np.nan, 1.0))
    table = statistics(layout)
    printed = capsys.readouterr().out
    assert "constant: constant: every prediction is 100.0 months" in printed
    assert "far: 1 of 8 predictions beyond the 1 to 228 months" in printed
    assert "holes: 1 of 8 predictions are NaN" in printed
    assert np.isnan(cell(table, "holes", "all", "mae").value)
    assert cell(table, "holes", "15 years or more", "mae").value == 1


BREAKAGES = {
    "predictions cut": lambda run: run.predictions.write_text("id,spl"),
    "no predictions in it": lambda run: run.predictions.write_text(""),
    "an image": lambda run: run.predictions.write_bytes(b"\x89PNG\r\n\x1a\n\xff"),
    "words": lambda run: run.predictions.write_text(
        run.predictions.read_text().replace("100.000", "old", 1)
    ),
    "an id twice": lambda run: run.predictions.write_text(
        run.predictions.read_text().replace("7,test", "6,test", 1)
    ),
    "no config": lambda run: run.config.unlink(),
    "config cut": lambda run: run.config.write_text("{"),
    "history cut": lambda run: run.history.write_text("epoch\n1\n"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_broken_run_is_set_aside_with_its_reason(layout, name, capsys):
    finish(layout, "good", ERRORS)
    broken = finish(layout, "broken", ERRORS)
    BREAKAGES[name](broken)
    table = statistics(layout)
    assert set(table.run) == {"good"}
    said = capsys.readouterr().out
    assert f"set aside: {broken.folder}" in said
    assert "Traceback" not in said
    # alone, it is an error
    (layout.regression / "good" / "predictions.csv").unlink()
    with pytest.raises(InputError, match="broken"):
        statistics(layout)


def test_run_of_nan_has_no_say_in_the_average(layout, capsys):
    finish(layout, "one", ERRORS)
    finish(layout, "two", ERRORS)
    finish(layout, "three", np.full(8, np.nan))
    table = statistics(layout)
    assert cell(table, "average", "all", "mae").value == 5
    said = capsys.readouterr().out
    assert "average: mean of one, two" in said
    assert "three: 8 of 8 predictions are NaN" in said


def test_statistics_need_a_run(layout):
    with pytest.raises(
        InputError,
        match=r"regression must contain a finished run .got none.; run .*step4",
    ):
        statistics(layout)


def test_statistics_need_test_rows(layout):
    run = finish(layout, "one", ERRORS)
    run.write_predictions(run.read_predictions("validation"))
    with pytest.raises(
        InputError, match=r"one/predictions\.csv must have rows of the test"
    ):
        statistics(layout)


def test_statistics_need_the_config(layout):
    run = finish(layout, "one", ERRORS)
    run.write_config({})
    config = run.config.read_text()
    assert "split_hash" not in config
    with pytest.raises(
        InputError, match=r"one/config\.json must state age_mean_months"
    ):
        statistics(layout)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("bias", -0.04, "0.0"),
        ("mae", 7.46, "7.5"),
        ("r2", -1.23456, "-1.235"),
        ("r2", np.nan, "-"),
    ],
)
def test_numbers_have_the_decimals_they_deserve(metric, value, text):
    assert METRICS[metric].format(value) == text


# --- step6 -------------------------------------------------------------------------


@pytest.fixture
def with_hands(layout):
    rng = np.random.default_rng(0)
    with hdf5.create(layout.hands_h5, 14, 512, {}) as file:
        for radiograph_id in range(1, 15):
            file.add(radiograph_id, rng.integers(0, 256, (512, 512), dtype=np.uint8))
    return layout


def train(layout, name, monkeypatch) -> Run:
    """A finished run whose network has one convolution, and agrees with its table."""
    import keras

    from boneage.regression import backbones, network

    def small(name, size, weights, map_stride):
        image = keras.Input((size, size, 3))
        features = keras.layers.Conv2D(4, 32, 32, activation="relu")(image)
        return keras.Model(image, features, name=name)

    monkeypatch.setattr(backbones, "build_backbone", small)
    keras.utils.set_random_seed(0)
    model = network.build_network("xception", 96, "none", True, 120.0, 40.0)
    run = finish(layout, name, ERRORS)
    model.save(run.model)
    hands = hdf5.open_packed(layout.hands_h5, "the test")
    table = run.read_predictions()
    images = np.stack([transforms.resize(hands.images[i - 1], 96) for i in table.id])
    fed = network.feed_dict(model, images, table.is_male.to_numpy())
    said = model.predict_on_batch(fed)[:, 0]
    run.write_predictions(table.assign(predicted_months=said))
    return run


def explain(layout, **more):
    step6.main(options_of(step6, layout, **more))


def overlays(run):
    return sorted(int(path.stem) for path in run.cam.glob("[0-9]*.png"))


def test_gallery_of_the_test_part(with_hands, monkeypatch, capsys):
    run = train(with_hands, "one", monkeypatch)
    explain(with_hands, batch_size=3)
    assert overlays(run) == TEST.tolist()
    assert (run.cam / "contact_sheet.png").exists()
    assert not (run.cam / "evolution.webm").exists()
    page = (run.cam / "index.html").read_text()
    assert page.count("<figure") == 8
    printed = capsys.readouterr().out
    assert "predictions have changed" not in printed
    assert printed.endswith(f"wrote {run.cam}\n")


def test_gallery_of_occlusion_maps(with_hands, monkeypatch):
    run = train(with_hands, "one", monkeypatch)
    explain(with_hands, map="exact", limit=2)
    exact = (run.cam / "contact_sheet.png").read_bytes()
    explain(with_hands, map="occlusion", limit=2)
    assert (run.cam / "contact_sheet.png").read_bytes() != exact
    page = (run.cam / "index.html").read_text()
    assert gallery_page.LEGENDS["occlusion"] in page


def test_kinds_of_map_are_those_of_the_table():
    kinds = get_args(get_type_hints(step6.Options)["map"])
    assert list(kinds) == list(saliency.MAPS)


def test_gallery_of_chosen_hands_replaces_the_earlier_one(with_hands, monkeypatch):
    run = train(with_hands, "one", monkeypatch)
    explain(with_hands, part="validation", limit=3)
    assert len(overlays(run)) == 3
    explain(with_hands, run="one", ids=(9, 2))
    assert overlays(run) == [2, 9]
    assert (run.cam / "index.html").read_text().count("<figure") == 2


def test_broken_network_is_set_aside_with_its_reason(with_hands, monkeypatch, capsys):
    broken, good = (train(with_hands, name, monkeypatch) for name in ("a", "b"))
    broken.model.write_bytes(broken.model.read_bytes()[:2000])
    explain(with_hands, limit=2)
    assert len(overlays(good)) == 2
    assert (
        f"set aside: a: {broken.model} cannot be read as a network"
        in capsys.readouterr().out
    )


def test_every_finished_run_gets_a_gallery(with_hands, monkeypatch):
    both = [train(with_hands, name, monkeypatch) for name in ("one", "two")]
    explain(with_hands, limit=1)
    assert [len(overlays(run)) for run in both] == [1, 1]


def test_history_of_the_panel_becomes_a_video(with_hands, monkeypatch):
    run = train(with_hands, "one", monkeypatch)
    for epoch in (1, 2):
        maps = np.random.default_rng(epoch).normal(size=(2, 3, 3)).astype(np.float32)
        months = np.array([90.0, 80])
        panel.append_panel(run.cam_history, epoch, VALIDATION[:2], maps, months)
    explain(with_hands, limit=2)
    assert (run.cam / "evolution.webm").stat().st_size > 1000
    assert 'src="evolution.webm"' in (run.cam / "index.html").read_text()


def test_changed_predictions_are_noted(with_hands, monkeypatch, capsys):
    run = train(with_hands, "one", monkeypatch)
    table = run.read_predictions()
    table.loc[table.id == 9, "predicted_months"] += 5
    run.write_predictions(table)
    explain(with_hands)
    assert "1 of 8 predictions have changed" in capsys.readouterr().out


def test_gallery_needs_a_run(with_hands):
    with pytest.raises(
        InputError,
        match=r"regression must contain a finished run .got none.; run .*step4",
    ):
        explain(with_hands)


def test_second_gallery_of_a_run_is_refused(with_hands, monkeypatch):
    run = train(with_hands, "boys", monkeypatch)
    with (
        exclusive(run.cam),
        pytest.raises(InputError, match="another process is at work on it"),
    ):
        explain(with_hands, run="boys")
    assert not run.cam.exists()
    explain(with_hands, run="boys")
    assert overlays(run)


def test_unknown_run_is_named_with_the_known_ones(with_hands):
    finish(with_hands, "one", ERRORS)
    with pytest.raises(InputError, match=r"got other\); choose from one"):
        explain(with_hands, run="other")


def test_unknown_id_is_named(with_hands):
    run = finish(with_hands, "one", ERRORS)
    with pytest.raises(InputError, match="no prediction of id 77"):
        explain(with_hands, ids=(7, 77))
    assert not run.cam.exists()


def test_missing_hands_name_the_step(layout):
    finish(layout, "one", ERRORS)
    with pytest.raises(
        InputError, match=r"segment_all\.h5 cannot be found; run .*enhance"
    ):
        explain(layout)


def test_hand_that_is_not_packed_is_named(with_hands, monkeypatch):
    run = train(with_hands, "one", monkeypatch)
    table = run.read_predictions()
    run.write_predictions(table.assign(id=table.id + 5))
    with pytest.raises(InputError, match=r"lacks 5 of 8 hands \(id 15, 16"):
        explain(with_hands)


def test_network_of_nan_is_named(with_hands, monkeypatch):
    run = train(with_hands, "one", monkeypatch)
    model = run.load_model()
    model.set_weights([weights * np.nan for weights in model.get_weights()])
    model.save(run.model)
    with pytest.raises(
        InputError, match=r"one predicts values that are not numbers \(NaN\)"
    ):
        explain(with_hands)


def test_epochs_of_nan_are_left_out_of_the_video(with_hands, monkeypatch):
    run = train(with_hands, "one", monkeypatch)
    for epoch, value in ((1, np.nan), (2, 5.0)):
        maps = np.full((2, 3, 3), value, np.float32)
        panel.append_panel(run.cam_history, epoch, VALIDATION[:2], maps, maps[:, 0, 0])
    explain(with_hands, limit=2)
    assert (run.cam / "evolution.webm").exists()


def test_missing_network_is_named(with_hands):
    finish(with_hands, "one", ERRORS)
    with pytest.raises(InputError, match=r"one/model\.keras cannot be found"):
        explain(with_hands)
