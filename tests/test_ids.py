"""Ids: whole numbers and names, their order, and how they are stored."""

import json

import numpy as np
import pytest

from boneage import ids
from boneage.cohort import checks, excluded, table
from boneage.io import hdf5, radiographs
from boneage.layout import Layout
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.segmentation.confirmed_masks import read_confirmed
from boneage.segmentation.hand_images import Enhancement
from boneage.segmentation.mask_quality import QualityTable
from tests.conftest import call

MIXED = [7, "P2", "P10", "Müller 3 (links)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1377", 1377),
        ("007", 7),
        ("P001_left", "P001_left"),
        ("1.2.840.113619.2.55", "1.2.840.113619.2.55"),
        ("Müller 3 (links)", "Müller 3 (links)"),
        ("Mu\u0308ller", "M\u00fcller"),
        ("٣", "٣"),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, "9" * 19),
    ],
)
def test_id_of_a_text(text, expected):
    parsed = ids.parse_id(text)
    assert (parsed, type(parsed)) == (expected, type(expected))


@pytest.mark.parametrize(
    "text",
    ["", "a/b", "a\\b", "..", ".x", "x.", "x ", "a,b", 'a"b', "a\nb", "=1", "x" * 101],
)
def test_text_that_names_no_file(text):
    with pytest.raises(ValueError, match="must consist of at most 100 letters"):
        ids.parse_id(text)


@pytest.mark.parametrize("text", ["P1_bin", "7_seg", "x_ORI", "P1_proposal"])
def test_name_that_a_step_gives_to_another_file(text):
    with pytest.raises(ValueError, match="must not end as files of the steps"):
        ids.parse_id(text)


def test_numbers_come_first_and_nine_comes_before_ten():
    shuffled = ["P10", "b", 10, "P2", 9, "10x", "B"]
    assert ids.sort_ids(shuffled) == [9, 10, "10x", "B", "P2", "P10", "b"]


@pytest.mark.parametrize("values", [[3, 1, 2], MIXED, []])
def test_stored_ids_are_the_same_ids(values):
    stored = ids.to_stored(values)
    assert stored.dtype.kind == ("S" if values == MIXED else "i")
    assert ids.from_stored(stored).tolist() == values


def test_which_are_among_and_where():
    known = ids.id_array(MIXED)
    among = ids.is_among(known, ["P10", 7, "nobody"])
    assert among.tolist() == [True, False, True, False]
    assert ids.row_indices(known, ["P10", 7]).tolist() == [2, 0]
    # a name is not the number that it looks like
    assert not ids.is_among(ids.id_array(["7a"]), [7]).any()


def test_packed_file_keeps_names(tmp_path):
    path = tmp_path / "packed.h5"
    with hdf5.create(path, 5, 8, {}) as writer:
        for radiograph_id in MIXED:
            writer.add(radiograph_id, np.full((8, 8), 3, np.uint8))
    packed = hdf5.open_packed(path, "this test")
    assert packed.ids.tolist() == MIXED
    assert packed.images.shape == (4, 8, 8)
    assert packed.row_indices(["P2"]).tolist() == [1]


NAMES = ("P001_left", "P001_right", "P010", "Jürgen 2", "12")


@pytest.fixture
def named(tmp_path) -> Layout:
    """A folder of five small phantoms under names, imported by step 0."""
    source = tmp_path / "hospital"
    source.mkdir()
    lines = ["file;bone age (months);sex"]
    for number, name in enumerate(NAMES):
        acquired = phantoms_radiograph.simulate(
            np.random.default_rng(number), 60 + 24 * number, number % 2 == 0, 160
        )
        radiographs.write(source / f"{name}.png", acquired.radiograph)
        lines.append(f"{name}.png;{60 + 24 * number};{'MF'[number % 2]}")
    lines[0] = "id;boneage;sex"
    (source / "ages.csv").write_text("\n".join(lines), encoding="utf-8")
    layout = Layout(tmp_path / "data", tmp_path / "models")
    call(
        layout,
        "al_segmentation/step0_prepare_cohort",
        source="folder",
        from_=source,
    )
    return layout


def test_steps_keep_a_users_names_in_files_and_tables(named):
    expected = [12, "Jürgen 2", "P001_left", "P001_right", "P010"]
    assert named.ids_on_disk() == expected
    assert table.read_cohort(named.train_csv).ids.tolist() == expected
    call(named, "al_segmentation/step1_corase_segment")
    assert (named.coarse / "P001_left_bin.png").exists()
    rows = QualityTable(named.coarse_quality, overwrite=False).rows
    assert ids.sort_ids(rows) == expected
    assert "\nP001_left,otsu," in named.coarse_quality.read_text()
    excluded.flag(named, "P010")
    assert list(excluded.flagged(named)) == ["P010"]
    named.segmentation.mkdir()
    for radiograph_id in expected:
        named.coarse_mask(radiograph_id).rename(named.mask(radiograph_id))
    call(named, "al_segmentation/step3_gen_segmentation_with_enhance")
    assert (named.hands / "Jürgen 2_seg.png").exists()
    packed = hdf5.open_packed(named.hands_h5, "step 3")
    assert packed.ids.tolist() == expected[:-1]
    cohort, parts = table.split_cohort(
        named, validation_fraction=0.25, test_fraction=0.25
    )
    assert cohort.ids.tolist() == expected
    assert table.read_split(named.split_csv) == dict(zip(expected, parts, strict=True))
    (stage, *_) = checks.check_all(named, expected)
    assert not stage.problems


def test_masks_of_names_are_packed_and_confirmed(named):
    first, second = "P001_left", "P001_right"
    call(named, "al_segmentation/step1_corase_segment")
    named.annotated.mkdir(parents=True)
    for name in (first, second):
        named.coarse_mask(name).rename(named.annotated_mask(name))
    blot = np.zeros((160, 160), np.uint8)
    blot[40:120, 40:120] = 255
    shape = radiographs.read(named.radiograph("P010")).shape
    radiographs.write(named.annotated_mask("P010"), blot[: shape[0], : shape[1]])
    step = "al_segmentation/step2_image_2_h5"
    call(named, step, pool="annotated", size=32)
    packed = hdf5.open_packed(named.annotated_h5, step)
    assert packed.ids.tolist() == [first, second]
    call(named, step, pool="annotated", size=32, confirm=("P010",))
    packed = hdf5.open_packed(named.annotated_h5, step)
    assert packed.ids.tolist() == [first, second, "P010"]
    assert {name for name, _ in read_confirmed(named.confirmed_masks)} == {"P010"}


def test_queries_of_names_are_json(tmp_path):
    from boneage.active_learning.oracle import Query
    from boneage.active_learning.query_log import QueryLog

    log = QueryLog(tmp_path / "queries.jsonl", "random")
    log.log_asked([Query("P001_left", 0.5, 1), Query(7, 0.25, 1)])
    log.log_answers(["P001_left"])
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["id"], line["action"]) for line in lines] == [
        ("P001_left", "asked"),
        (7, "asked"),
        ("P001_left", "annotated"),
    ]


def test_training_and_predictions_keep_names(layout):
    from boneage.explanation.panel import append_panel, read_panel
    from boneage.regression import run_folder
    from boneage.regression.dataset import DataSplits, select_hands
    from boneage.regression.settings import TrainingSettings

    count = 20
    names = ids.sort_ids([*(f"P{i}_left" for i in range(1, count)), 5])
    rng = np.random.default_rng(0)
    months, is_male = rng.uniform(20, 200, count), rng.random(count) < 0.5
    cohort = table.Cohort(ids.id_array(names), months, is_male)
    table.write_cohort(layout.train_csv, cohort)
    how = Enhancement().facts()
    with hdf5.create(layout.hands_h5, count, 16, how) as writer:
        for number, name in enumerate(reversed(names)):
            writer.add(name, np.full((16, 16), number, np.uint8))
    splits = DataSplits.read(layout, TrainingSettings(model="inception_v3"))
    parts = [splits.train, splits.validation, splits.test]
    used = [i for part in parts for i in part.cohort.ids.tolist()]
    assert ids.sort_ids(used) == names
    # the image of a hand is the one under its name
    first = splits.train.cohort.ids.tolist()[0]
    assert splits.train.image(0, 16)[0, 0] == count - 1 - names.index(first)
    run = run_folder.Run(layout.regression / "one")
    run.folder.mkdir(parents=True)
    rows = run_folder.prediction_table(
        splits.validation, "validation", np.ones(len(splits.validation))
    )
    run.write_predictions(rows)
    assert run.read_predictions().id.tolist() == splits.validation.cohort.ids.tolist()
    hands, _ = select_hands(layout, "all", ["P3_left", 5])
    assert hands.cohort.ids.tolist() == [5, "P3_left"]
    path = layout.models / "cam_history.h5"
    maps = np.zeros((2, 3, 3), np.float32)
    append_panel(path, 1, hands.cohort.ids, maps, np.zeros(2))
    append_panel(path, 2, hands.cohort.ids, maps, np.zeros(2))
    panel = read_panel(path)
    assert (panel.ids.tolist(), panel.epochs.tolist()) == ([5, "P3_left"], [1, 2])
