"""From radiographs to bone ages with tiny networks: screen, files, exit codes, HTTP."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import boneage
from boneage import cli
from boneage.errors import InputError
from boneage.io import hdf5, radiographs, transforms
from boneage.io.files import write_json
from boneage.layout import Layout
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.prediction import (
    batch,
    export,
    formats,
    model_selection,
    predictor,
    reliability,
    report_page,
    test_time_augmentation,
)
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import STATEMENT, Predictor
from boneage.regression import inference
from boneage.regression.run_folder import Run
from boneage.segmentation.hand_images import Enhancement
from boneage.web import WebSettings
from tests.conftest import (
    REPOSITORY,
    call,
    options_of,
    pack_hands,
    script,
    with_tiny_backbone,
)
from tests.io.test_radiographs import write_dicom
from tests.test_web import fetch

HOW = Enhancement(fill_square=True)
COLUMNS = ["file", "bone_age_months", "lower_months", "upper_months", "qualifier"]
COLUMNS += ["sex", "warnings"]
BOTH = ("tiny_0", "tiny_1")


@pytest.fixture(scope="module", autouse=True)
def _untraced():
    """Tracing takes seconds for each of these networks, computing none."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(before)


def write_committee(folder: Path, levels: tuple[int, int] = (25, 32)) -> None:
    """A committee that knows bright from dark: enough for phantoms on black."""
    import keras

    for number, level in enumerate(levels):
        image = keras.Input((64, 64, 1), name="image")
        scaled = keras.layers.Rescaling(0.2, -0.2 * level, name="features")(image)
        kernel = keras.layers.Conv2D(1, 1, use_bias=False, name="mask_logits")
        member = keras.Model(image, kernel(scaled))
        kernel.set_weights([np.ones((1, 1, 1, 1))])
        folder.mkdir(parents=True, exist_ok=True)
        member.save(folder / f"member_{number}.keras")
    write_json(
        folder / "state.json", {"epoch": 1, "members": len(levels), "clip_limit": 0.0}
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, _untraced) -> Layout:
    """A simple committee, and two tiny runs of one split. Never change it."""
    folder = tmp_path_factory.mktemp("trained")
    layout = Layout(folder / "data", folder / "models")
    write_committee(layout.committee)
    pack_hands(layout, 160, how=HOW)
    with with_tiny_backbone() as backbone:
        for seed, loss in enumerate(("mae", "distribution")):
            call(
                layout,
                "al_segmentation/step4_regression_multi_gpu",
                model=backbone,
                weights="none",
                run=f"tiny_{seed}",
                seed=seed,
                loss=loss,
                epochs=3,
                batch_size=8,
                learning_rate=0.02,
                validation_fraction=0.4,
                test_fraction=0.2,
            )
    return layout


@pytest.fixture(scope="module")
def hand(tmp_path_factory) -> Path:
    """A simulated radiograph on black."""
    path = tmp_path_factory.mktemp("radiographs") / "hand.png"
    made = phantoms_radiograph.simulate(np.random.default_rng(8), 100, False, 128)
    radiographs.write(path, made.radiograph)
    return path


@pytest.fixture(scope="module")
def tiny_predictor(trained) -> Predictor:
    return Predictor(trained, BOTH, 2)


def predict(layout, *paths, **options):
    module = script("predict")
    return module.main(options_of(module, layout, radiographs=paths, **options))


def to_ship(layout, names, out, **more):
    """Options of ship.py for runs of these names or folders."""
    facts = {"training_data": "noise", "terms": "none"} | more
    return options_of(script("ship"), layout, runs=tuple(names), out=out, **facts)


def exit_code(*arguments) -> int:
    module = script("predict")
    with pytest.raises(SystemExit) as caught:
        cli.run(module.main, module.Options, [str(a) for a in arguments])
    return caught.value.code


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
    assert f"set aside: {tmp_path / 'missing.png'}: no such file" in said
    assert "4 radiographs read, 1 set aside\nFor research, not for diagnosis." in said

    with (out / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == COLUMNS
    missing = rows.pop()
    assert missing[:6] == [str(tmp_path / "missing.png"), *[""] * 5]
    assert missing[6].startswith("not read: ")
    assert [row[0] for row in rows[1:]] == [str(hand), str(dicom)] * 2
    assert [row[5] for row in rows[1:]] == ["female", "female", "female", "unknown"]
    for row in rows[1:]:
        assert float(row[2]) <= float(row[1]) <= float(row[3])
        assert row[6].endswith(STATEMENT)
    assert "the DICOM file says male" in rows[2][6]
    assert "sex unknown" in rows[4][6]
    assert "read as unknown, but the DICOM file says male" in rows[4][6]
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


def test_report_as_pdf(tiny_predictor, trained, hand, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "Predictor", lambda *_: tiny_predictor)
    predict(trained, hand, sex="male", report=tmp_path, report_format="pdf")
    assert (tmp_path / "hand_bone_age.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("shape", [(900, 400), (400, 900)], ids=["tall", "wide"])
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_nothing_on_the_page_overlaps(tiny_predictor, hand, count, shape):
    prediction = tiny_predictor.predict(InputRadiograph(hand, "female"))
    explanations = next(iter(prediction.explanations.values()))
    names = [f"inception_resnet_v2_al{number}" for number in range(count)]
    figure = report_page.draw(
        replace(
            prediction,
            radiograph=np.zeros(shape, np.uint8),
            mask=np.zeros(shape, np.uint8),
            warnings=("the mask is implausible (no fingers)",) * 3,
            months_by_run=dict.fromkeys(names, 100.0) | prediction.months_by_run,
            explanations=dict.fromkeys(names, explanations),
        ),
        tiny_predictor,
    )
    figure.canvas.draw()
    drawn = [text.get_window_extent() for text in figure.texts]
    drawn += [axes.get_tightbbox() for axes in figure.axes]
    assert len(figure.axes) == 2 + count + 1
    for box in drawn:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
    for one, other in combinations(drawn, 2):
        assert not one.padded(-1).overlaps(other.padded(-1))


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


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.zeros((60, 50), np.uint8), "no hand was found"),
        (b"no image", "expected a radiograph, found no readable image"),
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
            Predictor, "_segment", lambda _, radiograph: (radiograph * 0, 0.0)
        )
    table = tmp_path / "ages.csv"
    table.write_text("kept")
    code = exit_code(path, "--sex", "male", "--models", trained.models, "--csv", table)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith(
        f"error: nothing could be read; set aside: {path}: {why}"
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
        ({"serve": True}, "or give --serve"),
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


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize(
    "name", ["cost_$5_$6", "hand" * 60, "\N{HIRAGANA LETTER A}" * 80]
)
def test_names_that_pages_stumble_over(
    tiny_predictor, trained, hand, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(predictor, "Predictor", lambda *_: tiny_predictor)
    path = shutil.copy(hand, tmp_path / f"{name}.png")
    pages = tmp_path / "pages"
    predict(trained, path, path, sex="male", report=pages)
    names = [page.name for page in pages.iterdir()]
    assert len(names) == 2
    assert all(page.endswith("bone_age.png") for page in names)


def test_undecodable_names_cost_no_file(tiny_predictor, hand, tmp_path, capsys):
    path = shutil.copy(hand, tmp_path / os.fsdecode(b"caf\xe9.png"))
    inputs = [InputRadiograph(Path(path), "male"), InputRadiograph(hand, "male")]
    out = tmp_path / "out"
    settings = batch.OutputSettings(out / "a.csv", out / "a.json", out / "pages")
    batch.predict_to_files(tiny_predictor, inputs, [], settings)
    assert "caf\\udce9.png" in (out / "a.csv").read_text(encoding="utf-8")
    assert len(json.loads((out / "a.json").read_text())["radiographs"]) == 2
    pages = sorted(page.name for page in (out / "pages").iterdir())
    assert pages == ["caf_bone_age.png", "hand_bone_age.png"]


def test_what_no_font_has_is_escaped():
    assert report_page.drawable("hand \N{GREEK SMALL LETTER ALPHA}\n\u2212") == (
        "hand \N{GREEK SMALL LETTER ALPHA}\n\u2212"
    )
    assert report_page.drawable("a\udce9\U000f0000") == "a\\udce9\\U000f0000"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--serve", "--csv", "a.csv"], "--csv: of no use with --serve"),
        (["--serve", "--sex", "male"], "--sex: of no use with --serve"),
        (["hand.png", "--no-open-page"], "--open-page: only with --serve"),
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
        coverage, view_count, count = 0.9, 2, 0

        def load(self):
            pass

        def predict(self, inputs):
            self.count += 1
            if self.count == 3:
                raise KeyboardInterrupt
            return tiny_predictor.predict(inputs)

    monkeypatch.setattr(predictor, "Predictor", lambda *_: Interrupted())
    table, facts = tmp_path / "ages.csv", tmp_path / "ages.json"
    with pytest.raises(KeyboardInterrupt):
        predict(trained, hand, hand, hand, sex="male", csv=table, json=facts)
    assert len(table.read_text().splitlines()) == 3
    assert len(json.loads(facts.read_text())["radiographs"]) == 2


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
    with pytest.raises(InputError, match="two of one name, tiny_0, tiny_0"):
        ship.main(options)
    assert not (tmp_path / "out").exists()


def test_shipping_that_is_interrupted_leaves_no_predictions_of_another_network(
    trained, layout, tmp_path, tiny_backbone, monkeypatch
):
    ship = script("ship")
    options = to_ship(trained, ("tiny_0",), layout.models, views=1)
    ship.main(options)
    monkeypatch.setattr(inference, "predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ship.main(options)
    shipped = Run(layout.regression / "tiny_0")
    assert shipped.model.exists()
    assert not shipped.predictions.exists()


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


def copy_runs(trained, layout, **changed) -> Layout:
    """The trained runs with other facts in tiny_1's config."""
    shutil.copytree(trained.models, layout.models)
    run = Run(layout.regression / "tiny_1")
    run.config.write_text(json.dumps(run.read_config() | changed))
    return layout


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


def test_doubts_about_ages():
    seen = (10.0, 220.0)
    assert reliability.age_warnings(100, seen, np.array([95.0, 105]), 12) == []
    (beyond,) = reliability.age_warnings(5, seen, np.array([5.0, 5]), 12)
    assert beyond == "beyond the 10 to 220 months of the training hands"
    (apart,) = reliability.age_warnings(100, seen, np.array([80.0, 120]), 12)
    assert apart.startswith("the runs disagree by 40 months; on 95 % of the")


def test_doubts_about_masks():
    left = phantoms_radiograph.simulate(np.random.default_rng(3), 100, False, 240).mask
    assert reliability.check_mask(left, 0.02) == ([], "")
    mirrored = reliability.check_mask(left[:, ::-1].copy(), 0.02)
    assert "a right hand" in mirrored.warnings[0]
    assert mirrored.refusal == ""
    disk = np.zeros((200, 200), np.uint8)
    disk[60:140, 60:140] = 255
    assert reliability.check_mask(disk, 0.02) == (
        ["the mask is implausible (no fingers)"],
        "",
    )


@pytest.mark.parametrize(
    ("disagreement", "is_doubtful", "is_refused"),
    [
        (0.09, False, False),
        (0.11, True, False),
        (0.19, True, False),
        (0.21, False, True),
        (0.44, False, True),
    ],
)
def test_members_that_disagree_make_a_mask_doubtful_then_refused(
    disagreement, is_doubtful, is_refused
):
    left = phantoms_radiograph.simulate(np.random.default_rng(3), 100, False, 240).mask
    verdict = reliability.check_mask(left, disagreement)
    assert any("unsure of the mask" in w for w in verdict.warnings) == is_doubtful
    assert ("likely not a hand" in verdict.refusal) == is_refused


@pytest.mark.parametrize(("disagreement", "is_refused"), [(0.09, False), (0.11, True)])
def test_implausible_masks_are_refused_where_members_are_unsure(
    disagreement, is_refused
):
    disk = np.zeros((200, 200), np.uint8)
    disk[60:140, 60:140] = 255
    assert bool(reliability.check_mask(disk, disagreement).refusal) == is_refused


def refuse_all(monkeypatch):
    """Every mask is refused, whatever it shows."""
    verdict = reliability.Verdict(["a doubt"], "likely not a hand (a test)")
    monkeypatch.setattr(reliability, "check_mask", lambda *_: verdict)


def test_refused_radiographs_are_listed_without_months(
    tiny_predictor, hand, tmp_path, monkeypatch, capsys
):
    read = tiny_predictor.predict(InputRadiograph(hand, "male"))
    refuse_all(monkeypatch)
    refused = tiny_predictor.predict(InputRadiograph(hand, "female"))
    assert np.isnan([refused.bone_age_months, refused.lower_months]).all()
    assert "refused: likely not a hand (a test)" in repr(refused)
    settings = batch.OutputSettings(tmp_path / "a.csv", tmp_path / "a.json")
    batch.finish(tiny_predictor, [read, refused], [], settings)
    said = capsys.readouterr().out
    assert "1 radiograph read, 1 refused, 0 set aside" in said
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert rows[2][1:6] == ["", "", "", "", "female"]
    assert rows[2][6].startswith("refused: likely not a hand (a test); a doubt; ")
    _, record = json.loads((tmp_path / "a.json").read_text())["radiographs"]
    assert record["bone_age_months"] is record["lower_months"] is None
    assert record["refusal"] == "likely not a hand (a test)"
    with pytest.raises(InputError, match=r"no bone age for .* --include-refused"):
        batch.finish(tiny_predictor, [refused], [], batch.OutputSettings())


def test_refused_radiographs_get_a_page_without_maps(tiny_predictor, hand, monkeypatch):
    refuse_all(monkeypatch)
    refused = tiny_predictor.predict(InputRadiograph(hand, "female"))
    figure = report_page.draw(refused, tiny_predictor)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "no bone age" in words
    assert "Refused: likely not a hand (a test)" in words
    assert "months (" not in words
    assert len(figure.axes) == 1


def test_refused_radiographs_get_an_age_if_asked_for(trained, hand, monkeypatch):
    insisting = Predictor(trained, ["tiny_0"], 1, include_refused=True)
    expected = insisting.predict(InputRadiograph(hand, "male"))
    refuse_all(monkeypatch)
    prediction = insisting.predict(InputRadiograph(hand, "male"))
    assert prediction.bone_age_months == expected.bone_age_months
    assert prediction.refusal == ""
    assert prediction.warnings[:2] == ("a doubt", "likely not a hand (a test)")


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


def test_qualifier_is_that_of_the_sex(trained):
    female = Predictor(trained, ["tiny_0"], 1).ensembles["female"]
    low, high = female.calibration.usable_range_months()
    assert female.qualifier(low) == "or younger"
    assert female.qualifier(np.nextafter(low, 400)) == ""
    assert female.qualifier(np.nextafter(high, -400)) == ""
    assert female.qualifier(high) == "or older"


def test_views_keep_what_they_show():
    image = np.zeros((64, 64), np.uint8)
    image[20:40, 10:30] = 200
    seen = test_time_augmentation.make_views(image, len(test_time_augmentation.VIEWS))
    np.testing.assert_array_equal(seen[0], image)
    np.testing.assert_array_equal(seen[1], image[:, ::-1])
    sums = seen.sum(axis=(1, 2), dtype=float) / image.sum()
    scales = np.array([view.scale for view in test_time_augmentation.VIEWS])
    np.testing.assert_allclose(sums, scales**2, rtol=0.02)


def test_views_of_a_network_that_knows_no_mirrored_hands():
    image = np.random.default_rng(0).integers(0, 255, (16, 16), np.uint8)
    seen = test_time_augmentation.make_views(image, 6, mirrored=False)
    upright = [
        view for view in range(6) if not test_time_augmentation.VIEWS[view].mirrored
    ]
    np.testing.assert_array_equal(
        seen, test_time_augmentation.make_views(image, 6)[upright]
    )


@pytest.mark.parametrize(
    ("settings", "learned"),
    [
        ({"augmentation": 1.0, "mirrored_share": 0.5}, True),
        ({"augmentation": 1.0, "mirrored_share": 0.0}, False),
        ({"augmentation": 0.0, "mirrored_share": 0.5}, False),
        # of a run made before there was a choice
        ({"augmentation": 1.0}, True),
    ],
)
def test_training_says_whether_it_mirrored(settings, learned):
    assert test_time_augmentation.trained_with_flips({"settings": settings}) is learned


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
    with pytest.raises(InputError, match="the sex is not known"):
        boneage.predict_bone_age(hand, models=trained.models)


def test_importing_it_is_instant():
    code = (
        "import sys; from boneage import predict_bone_age; "
        "slow = {'keras', 'tensorflow', 'matplotlib', 'gradio'}; "
        "sys.exit(bool(slow & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)
    assert done.returncode == 0


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


def test_what_is_shipped_tells_no_folders_and_sees_no_views_it_did_not_learn(
    trained, layout, tmp_path, tiny_backbone
):
    again = Layout(trained.data, tmp_path / "no_mirrored")
    shutil.copytree(trained.models, again.models)
    run = Run(again.regression / "tiny_0")
    config = run.read_config()
    assert config["settings"]["mirrored_share"] == 0.5
    weights = str(tmp_path / "weights.keras")
    config["settings"] |= {"weights": weights, "mirrored_share": 0.0}
    write_json(run.config, config)
    ship = script("ship")
    ship.main(to_ship(again, ("tiny_0",), layout.models, views=3))
    shipped = Run(layout.regression / "tiny_0")
    assert str(tmp_path) not in shipped.config.read_text()
    assert shipped.read_config()["settings"]["weights"] == "weights.keras"
    table = shipped.read_predictions().set_index("id")
    # its three views are the hand as it is and turned, each of them once
    packed = hdf5.open_packed(again.hands_h5, "pack_hands")
    first = int(table.index[0])
    image = transforms.resize(packed.images[packed.row_indices([first])[0]], 32)
    seen = test_time_augmentation.make_views(image, 3, mirrored=False)
    assert len(seen) == 2
    is_male = np.array([table.is_male[first]] * 2)
    said = inference.predict_images(shipped.load_model(), seen, is_male, 2)
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
    with pytest.raises(InputError, match="holds the models that are to be packed"):
        ship.main(to_ship(trained, ("tiny_0",), trained.models))


def test_a_run_is_not_shipped_over_itself(trained, layout):
    copy_runs(trained, layout)
    ship = script("ship")
    options = to_ship(trained, (str(layout.regression / "tiny_0"),), layout.models)
    with pytest.raises(InputError, match="holds the models that are to be packed"):
        ship.main(options)
    assert Run(layout.regression / "tiny_0").predictions.exists()


def upload(address, path: Path) -> str:
    """Send a file; its place on the server."""
    boundary = "x7x7x7"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; '
        f'filename="{path.name}"\r\nContent-Type: image/png\r\n\r\n'
    ).encode()
    body += path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    status, answer = fetch(
        f"{address}/gradio_api/upload", body, **{"Content-Type": kind}
    )
    assert status == 200, answer
    return json.loads(answer)[0]


def ask(address, place: str, sex: str) -> tuple[str, list]:
    """Call the endpoint as the README says; the last event and its data."""
    file = {"path": place, "meta": {"_type": "gradio.FileData"}}
    status, answer = fetch(
        f"{address}/gradio_api/call/predict",
        json.dumps({"data": [file, sex]}).encode(),
        **{"Content-Type": "application/json"},
    )
    if status != 200:
        return "refused", []
    event = json.loads(answer)["event_id"]
    text = fetch(f"{address}/gradio_api/call/predict/{event}")[1].decode()
    *_, name, data = [line for line in text.splitlines() if line]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.fixture(scope="module")
def served(tiny_predictor):
    from boneage.prediction import web_app

    with web_app.serving(tiny_predictor, WebSettings(open_page=False)) as address:
        yield address.rstrip("/")


def test_page_answers_over_http(served, tiny_predictor, hand):
    assert served.startswith("http://127.0.0.1:")
    event, (words, report, record) = ask(served, upload(served, hand), "female")
    assert event == "complete"
    expected = tiny_predictor.predict(InputRadiograph(hand, "female"))
    assert record["bone_age_months"] == round(expected.bone_age_months, 1)
    assert record["file"] == "hand.png"
    assert record["statement"] == STATEMENT
    assert "For research, not for diagnosis." in words
    status, png = fetch(report["url"])
    assert status == 200
    assert png.startswith(b"\x89PNG")


def test_page_offers_to_send_nothing_to_a_website(served):
    parts = json.loads(fetch(f"{served}/config")[1])["components"]
    offered = [part["props"].get("buttons") or [] for part in parts]
    assert ["fullscreen", "download"] in offered
    assert not any("share" in buttons for buttons in offered)


def test_page_says_what_is_wrong(served, hand, tmp_path):
    event, why = ask(served, upload(served, hand), "as the DICOM file says")
    assert event == "error"
    assert "the sex is not known" in str(why)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    event, why = ask(served, upload(served, broken), "male")
    assert event == "error"
    assert "broken.png: expected a radiograph" in str(why)
    assert "/" not in str(why).replace("image", "")


def test_page_gives_out_and_reads_no_other_file(served, hand, tmp_path):
    for path in (hand, REPOSITORY / "README.md", "README.md", "../README.md"):
        assert fetch(f"{served}/gradio_api/file={path}")[0] >= 400
        event, why = ask(served, str(path), "male")
        assert event in ("error", "refused"), why
    # a list of files is no radiograph, whatever it names
    table = tmp_path / "table.csv"
    table.write_text(f"file,sex\n{hand},F\n")
    assert ask(served, upload(served, table), "male")[0] == "error"


def test_upload_is_bounded(served, tiny_predictor, tmp_path, monkeypatch):
    from boneage.prediction import web_app

    large = tmp_path / "large.png"
    large.write_bytes(bytes(300_000))
    monkeypatch.setattr(web_app, "LARGEST_UPLOAD", "100kb")
    with (
        web_app.serving(tiny_predictor, WebSettings(open_page=False)) as address,
        pytest.raises(AssertionError),
    ):
        upload(address.rstrip("/"), large)


def test_password_is_asked_for(tiny_predictor):
    from boneage.prediction import web_app

    settings = WebSettings(auth="ann:secret", open_page=False)
    with web_app.serving(tiny_predictor, settings) as address:
        assert fetch(f"{address.rstrip('/')}/config")[0] == 401
        forged = json.dumps({"data": [None, "male"]}).encode()
        status, _ = fetch(
            f"{address.rstrip('/')}/gradio_api/call/predict",
            forged,
            **{"Content-Type": "application/json"},
        )
        assert status == 401
    with (
        pytest.raises(InputError, match="--auth NAME:PASSWORD"),
        web_app.serving(tiny_predictor, WebSettings(host="0.0.0.0")),
    ):
        pass
