"""A run from its first epoch to its predictions, with kills and wrong settings."""

import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from boneage import augmentation, cli
from boneage.cohort import excluded, table
from boneage.errors import InputError
from boneage.explanation.panel import read_panel
from boneage.io import files, hdf5
from boneage.layout import Layout
from boneage.regression import batches, losses, run_folder, trainer, training_runs
from boneage.regression.dataset import DataSplits
from boneage.regression.settings import TrainingSettings
from tests.conftest import REPOSITORY, call, pack_hands, with_tiny_backbone

STEP = "al_segmentation/step4_regression_multi_gpu"
STEP_WITH_CAM = "al_segmentation/step4_regression_with_cam"
OPTIONS = {
    "model": "tiny",
    "run": "one",
    "weights": "none",
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.05,
    "workers": 1,
}
SETTINGS = TrainingSettings(**OPTIONS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of four epochs with its panel, through the script."""
    folder = tmp_path_factory.mktemp("finished")
    layout = Layout(folder / "data", folder / "models")
    cohort = pack_hands(layout)
    with with_tiny_backbone():
        call(layout, STEP_WITH_CAM, panel=3, **OPTIONS)
    return layout, run_folder.Run(layout.regression / "one"), cohort


def comparable(run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """History without seconds, and predictions."""
    history = pd.read_csv(run.history).drop(columns="seconds")
    return history, run.read_predictions()


def test_folder_is_complete_and_clean(finished):
    _, run, _ = finished
    assert sorted(path.name for path in run.folder.iterdir()) == [
        *("cam_history.h5", "config.json", "history.csv", "model.keras"),
        *("predictions.csv", "tensorboard"),
    ]


def test_history_has_a_row_an_epoch(finished):
    history = pd.read_csv(finished[1].history)
    assert list(history.columns) == [
        *("epoch", "learning_rate", "loss"),
        *("validation_loss", "validation_mae", "seconds"),
    ]
    assert history.epoch.tolist() == [1, 2, 3, 4]
    assert np.isfinite(history).all(axis=None)


def test_predictions_are_of_the_validation_and_test_parts(finished):
    layout, run, cohort = finished
    predictions = run.read_predictions()
    _, parts = table.split_cohort(layout)
    for part in ("validation", "test"):
        chosen = cohort.select(parts == part)
        rows = predictions[predictions.split == part]
        assert rows.id.tolist() == chosen.ids.tolist()
        assert rows.bone_age_months.tolist() == chosen.bone_age_months.tolist()
        assert rows.is_male.tolist() == chosen.is_male.tolist()
    assert set(predictions.split) == {"validation", "test"}


def test_kept_network_is_that_of_the_best_epoch(finished):
    _, run, _ = finished
    history = pd.read_csv(run.history)
    best = history.loc[history.validation_mae.idxmin()]
    config = run.read_config()
    assert config["best_epoch"] == best.epoch
    rows = run.read_predictions("validation")
    error = (rows.predicted_months - rows.bone_age_months).abs().mean()
    assert error == pytest.approx(best.validation_mae, abs=0.01)


def test_config_holds_what_prediction_needs(finished):
    layout, run, cohort = finished
    config = run.read_config()
    _, parts = table.split_cohort(layout)
    ages = cohort.bone_age_months[parts == "train"]
    assert config["backbone"] == "tiny"
    assert config["image_size"] == 32
    assert config["sex_input"] is True
    assert config["age_mean_months"] == pytest.approx(ages.mean())
    assert config["training_hands"] == len(ages)
    assert config["split_hash"] == table.split_hash(cohort.ids, parts)
    assert "keras" in config["versions"]


def test_kept_network_has_no_optimizer(finished):
    model = finished[1].load_model()
    assert getattr(model, "optimizer", None) is None


def test_panel_is_kept_after_each_epoch(finished):
    layout, run, _ = finished
    panel = read_panel(run.cam_history)
    assert panel.epochs.tolist() == [1, 2, 3, 4]
    _, parts = table.split_cohort(layout)
    validation = table.read_cohort(layout.train_csv).select(parts == "validation")
    assert set(panel.ids) <= set(validation.ids)
    ages = np.sort(validation.bone_age_months)
    shown = validation.bone_age_months[np.isin(validation.ids, panel.ids)]
    assert {ages[0], ages[-1]} <= set(shown)
    with h5py.File(run.cam_history) as file:
        assert len(file["map"]) == 4


def test_same_command_again_trains_nothing(finished, tiny_backbone, capsys):
    layout, run, _ = finished
    before = run.predictions.stat().st_mtime_ns
    call(layout, STEP, **OPTIONS)
    assert run.predictions.stat().st_mtime_ns == before
    printed = capsys.readouterr().out
    assert "one is already trained" in printed
    assert "test MAE" in printed
    assert printed.splitlines()[-1] == f"wrote {run.folder}"


class Killed(BaseException):
    """As sudden as a kill."""


def kill_after(epoch: int):
    """A recorder that ends the process after an epoch."""

    def recorder(run, hands):
        def after_epoch(model, number):
            if number == epoch:
                raise Killed

        return after_epoch

    return recorder


@pytest.mark.parametrize("checkpoint_minutes", [0.0, 10.0])
def test_killed_and_gone_on_the_run_is_the_same(ready, finished, checkpoint_minutes):
    settings = replace(SETTINGS, checkpoint_minutes=checkpoint_minutes)
    with pytest.raises(Killed):
        training_runs.train_run(ready, settings, kill_after(3))
    run = run_folder.Run(ready.regression / "one")
    assert run.config.exists()
    assert not run.predictions.exists()
    resumed = training_runs.train_run(ready, settings)
    for got, expected in zip(comparable(resumed), comparable(finished[1]), strict=True):
        pd.testing.assert_frame_equal(got, expected, rtol=1e-4, atol=1e-3)
    assert not list(run.folder.glob("last_*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"mixed_precision": "float16"}, {"loss": "distribution"}]
)
def test_killed_run_of_other_settings_is_the_same(ready, change):
    settings = replace(SETTINGS, **change, checkpoint_minutes=0.0)
    with pytest.raises(Killed):
        training_runs.train_run(ready, settings, kill_after(3))
    resumed = training_runs.train_run(ready, settings)
    undisturbed = training_runs.train_run(ready, replace(settings, run="undisturbed"))
    for got, expected in zip(comparable(resumed), comparable(undisturbed), strict=True):
        pd.testing.assert_frame_equal(got, expected, rtol=1e-4, atol=1e-3)


def test_killed_run_goes_on_from_its_checkpoint(ready, capsys):
    settings = replace(SETTINGS, checkpoint_minutes=0.0)
    with pytest.raises(Killed):
        training_runs.train_run(ready, settings, kill_after(3))
    run = run_folder.Run(ready.regression / "one")
    assert [path.name for path in run.folder.glob("last_*")] == ["last_2.keras"]
    training_runs.train_run(ready, settings)
    assert "resuming after epoch 2" in capsys.readouterr().out


def test_run_that_was_killed_in_the_end_trains_no_epoch_again(ready, monkeypatch):
    """What another machine, or a GPU, would find in them need not be the same."""
    from boneage.regression.trainer import Training

    def killed(self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_finish", killed)
        with pytest.raises(Killed):
            training_runs.train_run(ready, SETTINGS)
    monkeypatch.setattr(Training, "_epoch", lambda *_: pytest.fail("trained again"))
    run = training_runs.train_run(ready, SETTINGS)
    assert len(run.read_history()) == SETTINGS.epochs


def test_best_network_of_epochs_that_were_lost_goes(tmp_path):
    run = run_folder.Run(tmp_path)
    for name in ("model", "best_2", "best_4", "last_2", "last_1"):
        (tmp_path / f"{name}.keras").write_text(name)
    run.promote_checkpoint(2)
    left = {path.stem: path.read_text() for path in tmp_path.iterdir()}
    assert left == {"model": "best_2", "last_2": "last_2"}


def test_other_pictures_of_the_same_hands_are_noticed(ready):
    settings = replace(SETTINGS, checkpoint_minutes=0.0)
    with pytest.raises(Killed):
        training_runs.train_run(ready, settings, kill_after(2))
    packed = hdf5.open_packed(ready.hands_h5, "")
    images = 255 - packed.images
    how = packed.preprocessing
    with hdf5.create(ready.hands_h5, len(images), packed.size, how) as writer:
        for i, image in zip(packed.ids, images, strict=True):
            writer.add(i, image)
    with pytest.raises(InputError, match="its hands have changed since"):
        training_runs.train_run(ready, settings)


def test_distribution_knows_no_ages_of_20_years(ready):
    lines = ready.train_csv.read_text().splitlines()
    first = lines[1].split(",")
    lines[1] = ",".join([first[0], "240", *first[2:]])
    ready.train_csv.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"for --loss distribution .got 240"):
        training_runs.train_run(ready, replace(SETTINGS, loss="distribution"))


def test_mean_of_runs_is_no_name_of_a_run(layout):
    with pytest.raises(InputError, match="--run cannot be average"):
        training_runs.train_run(layout, replace(SETTINGS, run="average"))


@pytest.mark.parametrize("loss", ["mae", "distribution"])
def test_training_learns_what_the_hands_show(ready, loss):
    plain = replace(SETTINGS, augmentation=0.0, epochs=15, learning_rate=0.1, loss=loss)
    run = training_runs.train_run(ready, plain)
    rows = run.read_predictions()
    error = (rows.predicted_months - rows.bone_age_months).abs().mean()
    constant = (run.read_config()["age_mean_months"] - rows.bone_age_months).abs()
    assert error < constant.mean() / 2


def test_stops_when_nothing_gets_better(ready, capsys):
    still = replace(SETTINGS, batch_norm="frozen", learning_rate=1e-30, patience=2)
    run = training_runs.train_run(ready, replace(still, epochs=9))
    assert pd.read_csv(run.history).epoch.tolist() == [1, 2, 3]
    assert run.read_config()["best_epoch"] == 1
    assert "stopping" in capsys.readouterr().out


def test_network_that_was_spoilt_after_the_best_epoch_is_not_kept(ready):
    def recorder(run, hands):
        def spoil(model, epoch):
            run.cam_history.touch()  # which a recorder leaves behind
            if epoch == 2:
                *others, bias = model.get_weights()
                model.set_weights([*others, bias + 100])

        return spoil

    still = replace(SETTINGS, batch_norm="frozen", learning_rate=1e-30, loss="mae")
    run = training_runs.train_run(ready, replace(still, epochs=3), recorder)
    first, _, last = pd.read_csv(run.history).validation_mae
    assert last > first + 20
    rows = run.read_predictions("validation")
    error = (rows.predicted_months - rows.bone_age_months).abs().mean()
    assert error == pytest.approx(first, abs=0.01)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 5}, {"loss": "mse"}])
def test_run_of_other_settings_is_not_gone_on_with(tiny_backbone, finished, change):
    layout, _, _ = finished
    (name,) = change
    with pytest.raises(InputError, match=rf"one holds a run with {name} .* --run"):
        training_runs.train_run(layout, replace(SETTINGS, **change))


def test_what_does_not_change_the_result_may_change(finished, tiny_backbone):
    layout, _, _ = finished
    training_runs.train_run(layout, replace(SETTINGS, workers=7, checkpoint_minutes=1))


def test_run_of_another_split_is_not_gone_on_with(finished, tiny_backbone, layout):
    made, _, _ = finished
    shutil.copytree(made.data, layout.data)
    shutil.copytree(made.models, layout.models)
    layout.split_csv.unlink()
    table.split_cohort(layout, seed=99)
    with pytest.raises(InputError, match=r"one holds a run with split_hash .* --run"):
        training_runs.train_run(layout, SETTINGS)


def test_unknown_block_names_the_known_ones(ready):
    with pytest.raises(InputError, match="must be one of all, head, block1, block2"):
        training_runs.train_run(ready, replace(SETTINGS, fine_tune_from="mixed0"))
    assert not ready.models.exists()


def test_weights_that_are_not_there(ready):
    with pytest.raises(InputError, match=r"nowhere\.keras cannot be found"):
        training_runs.train_run(ready, replace(SETTINGS, weights="nowhere.keras"))
    run = run_folder.Run(ready.regression / "one")
    assert not run.config.exists()


def test_one_sex_has_no_sex_input(ready):
    run = training_runs.train_run(
        ready, replace(SETTINGS, sex="female", run="", epochs=1)
    )
    assert run.name == "tiny_female"
    assert run.read_config()["sex_input"] is False
    assert not run.read_predictions().is_male.any()
    assert len(run.load_model().inputs) == 1


def test_share_of_mirrored_hands_is_the_trainings(ready, monkeypatch):
    shares = []

    def record(size, ranges, rng):
        shares.append(ranges.mirrored_share)
        return augmentation.sample_augmentation(size, ranges, rng)

    monkeypatch.setattr(batches, "sample_augmentation", record)
    training_runs.train_run(ready, replace(SETTINGS, mirrored_share=0.2, epochs=1))
    assert set(shares) == {0.2}


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_every_loss_trains(ready, loss):
    run = training_runs.train_run(ready, replace(SETTINGS, loss=loss, epochs=1))
    assert np.isfinite(run.read_predictions().predicted_months).all()


def has_bfloat16() -> bool:
    """Whether the processor computes bfloat16 itself."""
    flags = Path("/proc/cpuinfo")
    return flags.exists() and "_bf16" in flags.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    # a CPU adds up float16 in float16; where bfloat16 is computed in software, four
    # epochs end 1.5 % apart
    ("precision", "losses", "months"),
    [
        ("bfloat16", 0.01 if has_bfloat16() else 0.03, 0.15),
        ("float16", 0.05, 0.3),
    ],
)
def test_16_bits_train_as_32_do(ready, precision, losses, months, monkeypatch):
    # noise fills the image: there is no fingertip to keep inside
    monkeypatch.setattr(batches, "keep_inside", lambda change, image: change)
    losses_by_epoch, predicted = {}, {}
    for name in ("none", precision):
        settings = replace(SETTINGS, run=name, mixed_precision=name)
        run = training_runs.train_run(ready, settings)
        losses_by_epoch[name] = run.read_history().loss
        assert {v.dtype for v in run.load_model().trainable_variables} == {"float32"}
        # of one epoch: of several, each training may keep another
        short = replace(settings, run=f"{name}_short", epochs=1)
        predicted[name] = training_runs.train_run(ready, short).read_predictions()
    np.testing.assert_allclose(
        losses_by_epoch[precision], losses_by_epoch["none"], rtol=losses
    )
    rows, rows_16 = predicted["none"], predicted[precision]
    off = (rows_16.predicted_months - rows.predicted_months).abs().max()
    assert 0 < off < months * rows.bone_age_months.std()


def test_float16_skips_no_step(ready, monkeypatch):
    taken = []

    def record(self):
        taken.append(int(self.model.optimizer.inner_optimizer.iterations))

    monkeypatch.setattr(trainer.Training, "_finish", record)
    training_runs.train_run(ready, replace(SETTINGS, mixed_precision="float16"))
    assert taken == [16]


def test_no_hands_yet_names_the_step(layout):
    complaint = (
        r"segment_all\.h5 cannot be found; run .*step3_gen_segmentation_with_enhance"
    )
    with pytest.raises(InputError, match=complaint):
        call(layout, STEP)
    assert not layout.models.exists()


def test_no_ages_yet_names_the_step(layout):
    pack_hands(layout)
    layout.train_csv.unlink()
    with pytest.raises(InputError, match=r"train\.csv cannot be found; run .*step0"):
        call(layout, STEP)
    assert not layout.models.exists()


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"mirrored_share": 1.5}]
)
def test_impossible_numbers_are_refused(ready, wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name.replace("_", ".")):
        training_runs.train_run(ready, replace(SETTINGS, **wrong))
    assert not ready.models.exists()


@pytest.mark.slow
def test_inception_v3_through_the_script_with_a_kill(layout):
    pack_hands(layout, 24, size=80)
    options = OPTIONS | {
        "model": "inception_v3",
        "image_size": 75,
        "epochs": 2,
        "checkpoint_minutes": 0.0,
        "learning_rate": 1e-3,
    }
    with pytest.raises(Killed):
        training_runs.train_run(layout, TrainingSettings(**options), kill_after(2))
    call(layout, STEP_WITH_CAM, panel=2, **options)
    run = run_folder.Run(layout.regression / "one")
    assert pd.read_csv(run.history).epoch.tolist() == [1, 2]
    assert np.isfinite(run.read_predictions().predicted_months).all()
    assert read_panel(run.cam_history).epochs.tolist() == [2]


# logical devices can only be made before TensorFlow starts: a process of its own
TWO_DEVICES = """
import functools, pathlib, sys
sys.path.insert(0, "tests")
import keras, numpy as np, tensorflow as tf
from tests.conftest import pack_hands, tiny_build
from boneage.io import files
from boneage.explanation.panel import read_panel
from boneage.explanation.panel import PanelRecorder
from boneage.layout import Layout
from boneage.regression import backbones, devices, training_runs, network, trainer
from boneage.regression.settings import TrainingSettings
cpus = tf.config.list_physical_devices("CPU")
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpus[0], two)
backbones.BACKBONES["tiny"] = backbones.Backbone("", 32, {})
backbones.build_backbone = tiny_build
of_cpus = functools.partial(devices.chosen_devices, kind="CPU")
"""

SAME_STEPS = """
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (8, 32, 32), dtype=np.uint8)
months = rng.uniform(1, 228, (8, 1)).astype(np.float32)
answers = []
for number in ("1", "2"):
    keras.utils.set_random_seed(0)
    scope = of_cpus(number)
    assert scope.replicas == int(number)
    with scope:
        model = regressor.build("tiny", 32, "none", False, 100.0, 40.0)
        for layer in model.get_layer("tiny").layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        regressor.freeze_and_compile(
            model, "tiny", "all", keras.optimizers.SGD(1e-3), "mean_absolute_error"
        )
    fed = regressor.inputs(model, images, np.ones(8, bool))
    model.fit(fed, months, batch_size=8, epochs=2, shuffle=False, verbose=0)
    answers.append(model.predict_on_batch(fed)[:8])
assert np.ptp(answers[0]) > 0.1
np.testing.assert_allclose(answers[0], answers[1], atol=0.01)
"""

WHOLE_RUN = """
layout = Layout(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
pack_hands(layout, 60)
training.chosen_devices = of_cpus
settings = TrainingSettings(
    model="tiny", run="two", weights="none", devices="2", epochs=2, batch_size=2,
    validation_fraction=0.2,
)
run = fine_tuning.train_run(layout, settings, functools.partial(PanelRecorder, count=3))
rows, history = run.read_predictions("validation"), read_panel(run.cam_history)
shown = rows.set_index("id").loc[history.ids].predicted_months
best = run.read_config()["best_epoch"] - 1
np.testing.assert_allclose(history.predicted_months[best], shown, atol=0.1)
mae = (rows.predicted_months - rows.bone_age_months).abs().mean()
assert abs(mae - run.read_config()["best_validation_mae"]) < 0.1
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [SAME_STEPS, WHOLE_RUN], ids=["steps", "run"])
def test_two_devices_train_as_one(layout, code):
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES + code, layout.data, layout.models],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_epoch_that_predicts_no_number_is_never_the_best():
    run = trainer.Training.__new__(trainer.Training)
    run.history = [{"validation_mae": float("nan")}, {"validation_mae": 30.0}]
    assert run.best is run.history[1]


def test_run_without_a_panel_is_not_taken_for_one_with(finished, tiny_backbone):
    layout, run, _ = finished
    run.cam_history.rename(run.folder / "kept.h5")
    try:
        with pytest.raises(
            InputError, match=r"cam_history\.h5 cannot be found.* --run"
        ):
            training_runs.train_run(layout, SETTINGS, lambda run, hands: None)
    finally:
        (run.folder / "kept.h5").rename(run.cam_history)


def test_run_is_trained_again_from_its_config_alone(finished, tiny_backbone):
    layout, run, _ = finished
    call(layout, STEP, like="one")
    again = run_folder.Run(layout.regression / "one_again")
    for before, after in zip(comparable(run), comparable(again), strict=True):
        pd.testing.assert_frame_equal(before, after, rtol=1e-4, atol=1e-3)
    facts, now = run.read_config(), again.read_config()
    assert facts["settings"] | {"run": "one_again"} == now["settings"]
    shutil.rmtree(again.folder)


def test_config_file_of_elsewhere_and_another_name(finished, tiny_backbone, tmp_path):
    layout, run, _ = finished
    elsewhere = tmp_path / "theirs.json"
    shutil.copy(run.config, elsewhere)
    call(layout, STEP, like=str(elsewhere), run="two", workers=3)
    settings = run_folder.Run(layout.regression / "two").read_config()["settings"]
    assert settings == asdict(replace(SETTINGS, run="two", workers=3))
    shutil.rmtree(layout.regression / "two")


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"like": "nowhere"}, r"nowhere/config\.json cannot be found"),
        ({"like": "one", "epochs": 7}, "--epochs cannot be given with --like one"),
    ],
)
def test_like_that_makes_no_sense(finished, tiny_backbone, more, complaint):
    with pytest.raises(InputError, match=complaint):
        call(finished[0], STEP, **more)


def test_like_refuses_flags_that_say_the_default(finished, tmp_path, monkeypatch):
    layout, run, _ = finished
    path = tmp_path / "theirs.json"
    facts = run.read_config()
    facts["settings"] |= {"loss": "mae", "devices": "4", "cluster": "h:1"}
    files.write_json(path, facts | {"settings": facts["settings"] | {"index": 1}})
    words = ["step4", "--like", str(path), "--devices=1"]
    monkeypatch.setattr("sys.argv", words)
    again = training_runs.settings_of_run(
        layout, TrainingSettings(), str(path), cli.flags_given()
    )
    assert (again.loss, again.devices, again.cluster, again.index) == (
        *("mae", "1", "", 0),
    )
    monkeypatch.setattr("sys.argv", [*words, "--loss", "distribution"])
    with pytest.raises(InputError, match="--loss cannot be given with --like"):
        training_runs.settings_of_run(
            layout, TrainingSettings(), str(path), cli.flags_given()
        )


def test_random_layers_are_not_left_as_they_are(layout, tiny_backbone):
    with pytest.raises(InputError, match="frozen layers would stay random"):
        call(layout, STEP, **OPTIONS | {"fine_tune_from": "head"})


def test_panel_needs_a_hand(layout):
    with pytest.raises(InputError, match=r"--panel must be at least 1 \(got 0\)"):
        call(layout, STEP_WITH_CAM, panel=0, **OPTIONS)


@pytest.mark.parametrize("wrong", [{"epochs": "ten"}, {"speed": 3}])
def test_config_with_settings_that_are_none(finished, tiny_backbone, tmp_path, wrong):
    path = tmp_path / "theirs.json"
    facts = finished[1].read_config()
    files.write_json(path, facts | {"settings": facts["settings"] | wrong})
    with pytest.raises(InputError, match="must hold settings of this version"):
        call(finished[0], STEP, like=str(path))


DETERMINISTIC = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.conftest import call, with_tiny_backbone
from boneage.layout import Layout
layout = Layout(Path(sys.argv[2]), Path(sys.argv[2]))
with with_tiny_backbone():
    for run in ("one", "two"):
        call(layout, "al_segmentation/step4_regression_multi_gpu", model="tiny",
             weights="none", batch_size=8, workers=2, epochs=3, run=run,
             deterministic=True)
"""


@pytest.mark.slow
def test_deterministic_runs_have_the_same_losses_to_the_last_digit(layout):
    pack_hands(layout)
    folder = layout.data
    tests = str(REPOSITORY / "tests")
    # in a process of its own: TensorFlow cannot leave this mode
    command = [sys.executable, "-c", DETERMINISTIC, tests, str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    one, two = (run_folder.Run(folder / "regression" / name) for name in ("one", "two"))
    for before, after in zip(comparable(one), comparable(two), strict=True):
        pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_flagged_radiographs_are_not_trained_on(ready, capsys):
    excluded.flag(ready, 3)
    parts = DataSplits.read(ready, SETTINGS)
    hands = [getattr(parts, part) for part in ("train", "validation", "test")]
    assert 3 not in np.concatenate([part.cohort.ids for part in hands])
    assert sum(map(len, hands)) == 39
    assert "unusable.csv: 1 flagged radiographs are left out" in capsys.readouterr().out
