"""Paced and conventional transfer: trained layers, and the start of each stage."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from boneage.errors import InputError
from boneage.io import hdf5
from boneage.layout import Layout
from boneage.regression.label_distribution import MONTHS
from boneage.regression.run_folder import Run
from boneage.regression.settings import PacedSettings
from boneage.transfer import training
from tests.conftest import call, pack_hands, with_tiny_backbone

PACED = "paced_transfer/step1_ptl_gen"
INFERENCE = "paced_transfer/step5_cam_inference"
CONVENTIONAL = "paced_transfer/step2_conventional_transfer"
SCHEDULE = {"head": 0.1, "block2": 0.05, "block1": 0.02, "all": 0.01}
OPTIONS = {
    "model": "tiny",
    "run": "one",
    "weights": "none",
    "schedule": SCHEDULE,
    "epochs_per_stage": (2,),
    "batch_size": 8,
    "workers": 1,
    "batch_norm": "trained",
}
LEARNED = {
    "head": ["linear_unit"],
    "block2": ["block2", "linear_unit"],
    "block1": ["block1", "block1_bn", "block2", "linear_unit"],
    "all": ["stem", "stem_bn", "block1", "block1_bn", "block2", "linear_unit"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One paced run and its four baselines, through the scripts. Copy it."""
    folder = tmp_path_factory.mktemp("transfer")
    layout = Layout(folder / "data", folder / "models")
    pack_hands(layout)
    with with_tiny_backbone():
        call(layout, PACED, **OPTIONS)
        call(layout, CONVENTIONAL, **OPTIONS)
    return layout


@pytest.fixture
def copy(finished, tmp_path, tiny_backbone):
    """The finished runs, to change."""
    shutil.copytree(finished.data, tmp_path / "data")
    shutil.copytree(finished.models, tmp_path / "models")
    return Layout(tmp_path / "data", tmp_path / "models")


def stages(layout) -> dict[str, Run]:
    """The stages of the paced run by name, in order."""
    folders = sorted((layout.paced / "one").glob("stage_*"))
    return {folder.name.split("_", 2)[2]: Run(folder) for folder in folders}


def weights(run: Run) -> dict[str, list[np.ndarray]]:
    """The weights of every layer, by name."""
    model = run.load_model()
    found = {x.name: x.get_weights() for x in model.get_layer("tiny").layers}
    return found | {"linear_unit": model.get_layer("linear_unit").get_weights()}


def changed(before: dict, after: dict) -> set[str]:
    """Layers whose weights differ."""
    return {
        name
        for name in before
        if any(
            not np.array_equal(old, new)
            for old, new in zip(before[name], after[name], strict=True)
        )
    }


def test_stages_stand_in_order_and_are_complete(finished):
    folder = finished.paced / "one"
    assert sorted(path.name for path in folder.glob("[!.]*")) == [
        *("plan.json", "stage_1_head", "stage_2_block2"),
        *("stage_3_block1", "stage_4_all"),
    ]
    assert sorted(path.name for path in (folder / "stage_1_head").iterdir()) == [
        *("config.json", "evaluation.json", "history.csv", "model.keras"),
        *("predictions.csv", "tensorboard"),
    ]


@pytest.mark.parametrize(
    ("stage", "before"), [("block2", "head"), ("block1", "block2"), ("all", "block1")]
)
def test_stage_changes_just_the_layers_it_names(finished, stage, before):
    found = stages(finished)
    assert changed(weights(found[before]), weights(found[stage])) == set(LEARNED[stage])


@pytest.mark.parametrize("stage", LEARNED)
def test_evaluation_names_and_counts_the_layers_that_learned(finished, stage):
    both = {"paced": stages(finished)[stage]}
    both["conventional"] = Run(finished.conventional / f"one_{stage}")
    for run in both.values():
        facts = json.loads(run.evaluation.read_text())
        assert facts["trainable_layers"] == LEARNED[stage]
        assert facts["trainable_layer_count"] == len(LEARNED[stage])
        # channels, weight and bias of the linear unit
        assert stage != "head" or facts["trainable_parameters"] == 2 * 4 + 1 + 1


def test_evaluation_holds_the_metrics_of_the_kept_predictions(finished):
    run = stages(finished)["block1"]
    facts = json.loads(run.evaluation.read_text())
    for part in ("validation", "test"):
        table = run.read_predictions(part)
        errors = (table.predicted_months - table.bone_age_months).abs()
        value, lower, upper = facts[part]["mae"]
        assert value == pytest.approx(errors.mean())
        assert lower < value < upper
        assert facts[part]["radiographs"] == len(table) == 4


def test_same_split_for_all_stages_and_baselines(finished):
    runs = [*stages(finished).values()]
    runs += [Run(finished.conventional / f"one_{stage}") for stage in LEARNED]
    assert len({run.read_config()["split_hash"] for run in runs}) == 1
    first = runs[0].read_predictions()[["id", "split"]]
    for run in runs[1:]:
        pd.testing.assert_frame_equal(run.read_predictions()[["id", "split"]], first)


def test_baseline_has_the_rate_of_its_stage_and_all_epochs(finished):
    for stage, rate in SCHEDULE.items():
        run = Run(finished.conventional / f"one_{stage}")
        history = pd.read_csv(run.history)
        assert history.epoch.tolist() == list(range(1, 9))
        np.testing.assert_allclose(history.learning_rate, rate)
        assert run.read_config()["best_epoch"] == history.validation_mae.idxmin() + 1


def test_first_stage_and_its_baseline_train_alike(finished):
    # the same weights, order and augmentation: the same losses
    paced = pd.read_csv(stages(finished)["head"].history)
    baseline = pd.read_csv(Run(finished.conventional / "one_head").history)
    np.testing.assert_allclose(paced.loss, baseline.loss[:2], rtol=1e-5)


def test_stage_sees_the_hands_as_its_baseline_in_the_same_epoch(ready, monkeypatch):
    from boneage.regression import batches

    seen = []
    start_epoch = batches.TrainingBatches.start_epoch

    def record(self, epoch):
        start_epoch(self, epoch)
        seen.append(epoch)

    monkeypatch.setattr(batches.TrainingBatches, "start_epoch", record)
    settings = PacedSettings(**OPTIONS | {"epochs_per_stage": (1, 2, 1, 1)})
    training.train_paced(ready, settings)
    # the constructor starts epoch 0 before each stage
    assert seen == [0, 0, 0, 1, 2, 0, 3, 0, 4]


def test_stage_begins_with_the_best_network_not_the_last(ready, monkeypatch):
    from boneage.regression.trainer import Training

    begun, left = [], []
    train, train_one = Training.train, Training._epoch

    def record(self, after_epoch=None):
        begun.append(self.model.get_weights())
        train(self, after_epoch)
        left.append(self.model.get_weights())

    def first_is_best(self, epoch):
        return train_one(self, epoch) | {"validation_mae": 10.0 + epoch}

    monkeypatch.setattr(Training, "train", record)
    monkeypatch.setattr(Training, "_epoch", first_is_best)
    settings = PacedSettings(**OPTIONS | {"schedule": {"head": 0.1, "all": 0.1}})
    head, _ = training.train_paced(ready, settings).runs
    assert head.read_config()["best_epoch"] == 1
    kept = head.load_model().get_weights()
    np.testing.assert_equal(begun[1], kept)
    assert not np.array_equal(begun[1][-1], left[0][-1])


def test_frozen_batch_norm_never_changes(ready):
    settings = PacedSettings(**OPTIONS | {"batch_norm": "frozen"})
    trained = training.train_paced(ready, settings).runs
    head, everything = weights(trained[0]), weights(trained[-1])
    assert changed(head, everything) == set(LEARNED["all"]) - {"stem_bn", "block1_bn"}
    facts = json.loads(trained[-1].evaluation.read_text())
    assert "stem_bn" not in facts["trainable_layers"]


def test_finished_stages_are_not_trained_again(copy, capsys):
    before = {p: p.stat().st_mtime_ns for p in copy.models.rglob("*") if p.is_file()}
    call(copy, PACED, **OPTIONS)
    call(copy, CONVENTIONAL, **OPTIONS)
    after = {p: p.stat().st_mtime_ns for p in copy.models.rglob("*") if p.is_file()}
    assert {p for p in after if before.get(p) != after[p]} <= {
        p for p in after if p.suffix == ".lock"
    }
    assert "stage_4_all is already trained" in capsys.readouterr().out


def test_run_resumed_after_a_finished_stage_gives_the_same_stages(copy):
    undisturbed = {name: run.read_predictions() for name, run in stages(copy).items()}
    for name in ("block1", "all"):
        shutil.rmtree(stages(copy)[name].folder)
    training.train_paced(copy, PacedSettings(**OPTIONS))
    assert list(stages(copy)) == list(SCHEDULE)
    for name, run in stages(copy).items():
        pd.testing.assert_frame_equal(
            run.read_predictions(), undisturbed[name], atol=0.01
        )


@pytest.mark.slow
def test_stage_killed_half_way_goes_on_frozen_as_it_was(ready, monkeypatch):
    from boneage.regression.trainer import Training

    settings = PacedSettings(**OPTIONS | {"epochs_per_stage": (3,)})
    undisturbed = training.train_paced(ready, replace(settings, run="whole")).runs
    train_one = Training._epoch

    def killed_at_the_third(self, epoch):
        if self.run.name == "stage_2_block2" and epoch == 2:
            raise KeyboardInterrupt
        return train_one(self, epoch)

    often = replace(settings, checkpoint_minutes=0)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_epoch", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            training.train_paced(ready, often)
    resumed = training.train_paced(ready, often).runs
    head, second = weights(resumed[0]), weights(resumed[1])
    assert changed(head, second) == set(LEARNED["block2"])
    for one, other in zip(undisturbed, resumed, strict=True):
        pd.testing.assert_frame_equal(
            one.read_predictions(), other.read_predictions(), atol=0.01
        )


def test_later_stage_of_another_earlier_one_is_refused(copy):
    # the second stage is trained anew, so the third continues a network that is gone
    shutil.rmtree(stages(copy)["block2"].folder)
    with pytest.raises(InputError, match=r"stage_3_block1 holds a run with parent"):
        training.train_paced(copy, PacedSettings(**OPTIONS, seed=0))


def test_hands_that_were_added_between_stages_are_refused(copy):
    # the same split.csv, but a hand less is packed: later stages would see others
    shutil.rmtree(stages(copy)["all"].folder)
    packed = hdf5.open_packed(copy.hands_h5, "")
    with hdf5.create(copy.hands_h5, 40, 32, packed.preprocessing) as writer:
        for row in range(39):
            writer.add(packed.ids[row], packed.images[row])
    with pytest.raises(InputError, match="one was planned with hands"):
        training.train_paced(copy, PacedSettings(**OPTIONS))


def test_other_pictures_between_stages_are_refused(copy):
    shutil.rmtree(stages(copy)["all"].folder)
    packed = hdf5.open_packed(copy.hands_h5, "")
    images = 255 - packed.images
    with hdf5.create(copy.hands_h5, 40, 32, packed.preprocessing) as writer:
        for i, image in zip(packed.ids, images, strict=True):
            writer.add(i, image)
    with pytest.raises(InputError, match="one was begun on other images"):
        training.train_paced(copy, PacedSettings(**OPTIONS))


def test_other_weights_under_the_same_name_are_refused(ready, tmp_path):
    kept = tmp_path / "kept.keras"
    settings = PacedSettings(**OPTIONS | {"schedule": {"head": 0.1}})
    first = training.train_paced(ready, settings).best
    shutil.copy(first.model, kept)
    again = replace(settings, run="two", weights=str(kept))
    training.train_paced(ready, again)
    other = training.train_paced(ready, replace(settings, run="three", seed=1)).best
    shutil.copy(other.model, kept)
    with pytest.raises(InputError, match="stage_1_head holds a run with weights_hash"):
        training.train_paced(ready, again)


def test_diverged_stage_stops_the_run_and_says_so(ready, monkeypatch):
    from boneage.regression.trainer import Training

    train_one = Training._epoch
    monkeypatch.setattr(
        Training,
        "_epoch",
        lambda self, epoch: train_one(self, epoch) | {"validation_mae": float("nan")},
    )
    with pytest.raises(InputError, match="stage_1_head diverged"):
        training.train_paced(ready, PacedSettings(**OPTIONS))
    assert not (ready.paced / "one" / "stage_2_block2").exists()


@pytest.mark.slow
def test_every_stage_scales_the_loss_in_float16(ready, monkeypatch):
    from boneage.regression.trainer import Training

    optimizers = []
    train = Training.train

    def record(self, after_epoch=None):
        optimizers.append(type(self.model.optimizer).__name__)
        train(self, after_epoch)

    monkeypatch.setattr(Training, "train", record)
    options = OPTIONS | {"mixed_precision": "float16", "epochs_per_stage": (1,)}
    training.train_paced(ready, PacedSettings(**options))
    assert optimizers == ["LossScaleOptimizer"] * 4


def test_every_stage_goes_on_with_the_distribution_of_the_one_before(
    ready, monkeypatch
):
    from boneage.regression.trainer import Training

    begun = []
    train = Training.train

    def record(self, after_epoch=None):
        begun.append(self.model.get_layer("linear_unit").get_weights()[0])
        train(self, after_epoch)

    monkeypatch.setattr(Training, "train", record)
    options = OPTIONS | {"loss": "distribution", "epochs_per_stage": (1,)}
    training.train_paced(ready, PacedSettings(**options))
    left = [weights(run)["linear_unit"][0] for run in stages(ready).values()]
    assert {kernel.shape for kernel in begun} == {(9, MONTHS)}
    for before, after in zip(left, begun[1:], strict=False):
        np.testing.assert_array_equal(after, before)


def test_retrained_baseline_is_evaluated_anew(copy):
    run = Run(copy.conventional / "one_head")
    run.evaluation.write_text(run.evaluation.read_text().replace("mae", "old"))
    time.sleep(0.01)
    run.predictions.unlink()
    run.history.unlink()
    settings = PacedSettings(**OPTIONS)
    training.train_conventional(copy, settings, ["head"])
    assert "mae" in json.loads(run.evaluation.read_text())["test"]


def test_other_settings_are_refused(copy):
    with pytest.raises(
        InputError, match=r"stage_1_head holds a run with seed 0 \(got 1\)"
    ):
        training.train_paced(copy, PacedSettings(**OPTIONS, seed=1))
    longer = PacedSettings(**OPTIONS | {"epochs_per_stage": (2, 2, 2, 3)})
    with pytest.raises(
        InputError, match=r"planned with epochs {.*2} and .* with {.*3}"
    ):
        training.train_paced(copy, longer)
    shorter = PacedSettings(**OPTIONS | {"schedule": {"head": 0.1, "all": 0.01}})
    with pytest.raises(InputError, match=r"one was planned with rates .* with {'head'"):
        training.train_paced(copy, shorter)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"schedule": {"block1": 1e-3, "head": 1e-3}},
            "--schedule must name stages of tiny in the order head",
        ),
        (
            {"schedule": {"exit": 1e-3}},
            "--schedule must name stages of tiny in the order head",
        ),
        ({"schedule": {"head": 0.0}}, r"rates greater than 0 \(got head 0.0\)"),
        ({"schedule": {"head": float("nan")}}, "rates greater than 0"),
        ({"schedule": {"head": float("inf")}}, "rates greater than 0"),
        ({"seed": -1}, r"--seed must be at least 0 \(got -1\)"),
        ({"run": ".."}, r"--run must be a folder's name .* \(got \.\.\)"),
        ({"run": "a/b"}, r"--run must be a folder's name .* \(got a/b\)"),
        ({"schedule": {}}, "--schedule must be given for tiny"),
        ({"epochs_per_stage": (2, 2)}, r"each of the 4 stages \(got 2 numbers\)"),
        (
            {"epochs_per_stage": (0,)},
            r"--epochs-per-stage must be at least 1",
        ),
        ({"epochs_per_stage": ()}, r"--epochs-per-stage must be at least 1"),
        ({"batch_size": 0}, "--batch-size must be at least"),
    ],
)
def test_impossible_plans_are_refused(ready, wrong, message):
    with pytest.raises(InputError, match=message):
        training.train_paced(ready, PacedSettings(**OPTIONS | wrong))
    assert not ready.paced.exists()


def test_unknown_start_layer_names_the_known_ones(ready):
    with pytest.raises(
        InputError, match=r"--start-layer must be one of head, .* \(got exit\)"
    ):
        call(ready, CONVENTIONAL, **OPTIONS, start_layer="exit")


def test_published_stages_and_rates_of_xception():
    settings = PacedSettings()
    assert settings.model == "xception"
    assert settings.rates == {
        **{"head": 1e-3, "exit": 1e-4, "middle": 5e-5},
        **{"entry": 1e-5, "all": 5e-6},
    }
    assert settings.epochs == dict.fromkeys(settings.rates, 50)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("inception_v3", ["head", "mixed8", "mixed3", "mixed0", "all"]),
        ("inception_resnet_v2", ["head", "mixed_7a", "mixed_6a", "mixed_5b", "all"]),
    ],
)
def test_stages_of_the_other_backbones_are_their_blocks(model, names):
    assert list(PacedSettings(model=model).rates) == names


def cam(layout, **options):
    call(layout, INFERENCE, **{"batch_size": 4} | options)


def test_overlays_sort_by_error_and_predictions_are_those_of_training(copy, capsys):
    cam(copy, run="one", stage="all", part="test")
    folder = copy.paced / "one" / "cam"
    table = pd.read_csv(folder / "predictions.csv").set_index("id")
    kept = stages(copy)["all"].read_predictions("test").set_index("id")
    assert sorted(table.index) == sorted(kept.index)
    np.testing.assert_allclose(
        table.predicted_months, kept.predicted_months[table.index], atol=0.01
    )
    np.testing.assert_allclose(
        table.error_months, table.predicted_months - table.bone_age_months, atol=0.01
    )
    overlays = sorted(path.name for path in folder.glob("error_*.png"))
    by_error = table.error_months.abs().sort_values()
    assert [
        int(name[:-4].split("_")[2]) for name in overlays
    ] == by_error.index.tolist()
    assert overlays[0].startswith(f"error_{by_error.iloc[0]:05.1f}_")
    others = {path.name for path in folder.iterdir()} - set(overlays)
    assert others == {
        *("predictions.csv", "contact_sheet.png", "index.html", "stages.png")
    }
    mae = table.error_months.abs().mean()
    said = capsys.readouterr().out
    assert set(table.split) == {"test"}
    assert "training part" not in said
    assert (
        f"one, stage_4_all, test part: 4 hands, MAE {mae:.2f} months on 4 with" in said
    )


def test_sheet_has_a_row_a_hand_and_a_column_a_stage(copy, monkeypatch):
    from boneage.explanation import contact_sheet

    seen = []
    mosaic = contact_sheet.mosaic

    def record(tiles, header, limit_months, columns=None):
        seen.append((len(tiles), columns, header))
        return mosaic(tiles, header, limit_months, columns)

    monkeypatch.setattr(contact_sheet, "mosaic", record)
    cam(copy, run="one", ids=(1, 3, 5))
    # the contact sheet; then three hands, each beside its four stages
    assert seen[1] == (15, 5, "one: the same hands after each stage")


def test_every_run_is_explained_where_none_is_named(copy):
    cam(copy, part="validation", limit=2)
    folders = [copy.paced / "one", *copy.conventional.glob("one_*")]
    assert len(folders) == 5
    for folder in folders:
        assert len(list((folder / "cam").glob("error_*.png"))) == 2
        assert len(pd.read_csv(folder / "cam" / "predictions.csv")) == 4


def test_runs_without_a_hand_to_show_are_set_aside(copy, capsys):
    table = pd.read_csv(copy.train_csv)
    boy = int(table.id[table.male][table.male].iloc[0])
    run = Run(copy.conventional / "one_head")
    facts = run.read_config()
    run.config.write_text(json.dumps(facts | {"sex": "female"}))
    cam(copy, ids=(boy,))
    assert "set aside: one_head: " in capsys.readouterr().out
    assert not (run.folder / "cam" / "predictions.csv").exists()
    assert (copy.conventional / "one_all" / "cam" / "predictions.csv").exists()
    with pytest.raises(InputError, match="must contain a hand to show"):
        cam(copy, ids=(boy,), run="one_head")


def test_another_split_than_that_of_the_training_is_said(copy, capsys):
    lines = copy.split_csv.read_text().splitlines()
    other = [line.replace(",train", ",test") for line in lines]
    copy.split_csv.write_text("\n".join(other) + "\n")
    cam(copy, run="one_all")
    said = capsys.readouterr().out
    assert "trained with another split than this cohort's split.csv" in said


def test_cohort_of_unknown_ages_without_split_is_predicted(copy, tmp_path, capsys):
    other = Layout(tmp_path / "other", copy.models)
    pack_hands(other)
    ages = other.train_csv.read_text().splitlines()
    rows = [line.split(",") for line in ages[1:]]
    lines = [
        f"{i},{'' if n < 39 else age},{male}" for n, (i, age, male) in enumerate(rows)
    ]
    other.train_csv.write_text("\n".join([ages[0], *lines]) + "\n")
    with pytest.raises(
        InputError, match=r"split\.csv cannot be found; give --part all"
    ):
        cam(other, run="one")
    cam(other, run="one", part="all")
    assert not other.split_csv.exists()
    table = pd.read_csv(copy.paced / "one" / "cam" / "predictions.csv")
    assert len(table) == 40
    assert table.predicted_months.notna().all()
    assert table.error_months.isna().sum() == 39
    names = sorted(p.name for p in (copy.paced / "one" / "cam").glob("error_*.png"))
    assert len(names) == 40
    assert names[-1] == "error_unknown_9.png"
    assert "on 1 with a known age" in capsys.readouterr().out
    page = (copy.paced / "one" / "cam" / "index.html").read_text()
    assert "40 hands, mean absolute error among them" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"run": "two"},
            r"got two, stage best\); choose from one, one_al",
        ),
        (
            {"run": "one_all", "stage": "all"},
            r"got one_all, stage all\); choose from",
        ),
        (
            {"run": "one", "stage": "exit"},
            r"--stage must be one of one: best, head, block2.*got exit",
        ),
        ({"ids": (2,)}, r"train\.csv must contain id 2"),
        ({"limit": 0}, r"--limit must be at least 1 \(got 0\)"),
        ({"batch_size": 0}, "--batch-size must be at least"),
    ],
)
def test_inference_refuses_what_is_not_there(copy, options, message):
    with pytest.raises(InputError, match=message):
        cam(copy, **options)


def test_overlays_of_an_earlier_call_go(copy):
    cam(copy, run="one", stage="head")
    cam(copy, run="one", stage="all", limit=1)
    assert len(list((copy.paced / "one" / "cam").glob("error_*.png"))) == 1
