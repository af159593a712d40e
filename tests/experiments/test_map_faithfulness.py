"""The tables that compare kinds of map, and the places of the bones behind them."""

import shutil

import numpy as np
import pandas as pd
import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.regression import dataset
from boneage.segmentation.hand_images import Enhancement, enhanced_hand
from experiments import bone_regions, map_faithfulness
from tests.conftest import call, options_of

pytestmark = pytest.mark.usefixtures("tiny_backbone")

BONES = "attention on the bones, per area, against the hand"
KINDS = [
    *("exact, size", "exact, older part", "views, size", "views, older part"),
    *("occlusion, size", "occlusion, older part", "centre-heavy map"),
]


@pytest.fixture
def trained(cohort_copy):
    """A tiny network on the tiny cohort's hands."""
    shutil.copytree(cohort_copy.truth, cohort_copy.segmentation)
    call(cohort_copy, "al_segmentation/step3_gen_segmentation_with_enhance")
    call(
        cohort_copy,
        "al_segmentation/step4_regression_multi_gpu",
        model="tiny",
        weights="none",
        image_size=32,
        epochs=1,
        test_fraction=0.3,
        validation_fraction=0.2,
    )
    return cohort_copy


def options_for(layout, **options) -> map_faithfulness.Options:
    small = {"places": 4, "resamples": 100, "batch_size": 8}
    return options_of(map_faithfulness, layout, **small | options)


def tables_of(layout, tmp_path, capsys, **options) -> dict[str, dict[str, dict]]:
    """Title of each table -> its rows by measure -> its cells by kind of map."""
    path = tmp_path / "table.md"
    map_faithfulness.main(options_for(layout, markdown=path, **options))
    text = path.read_text()
    assert text in capsys.readouterr().out
    tables = {}
    for part in text.split("## ")[1:]:
        title, _, header, _, *rows = part.strip().splitlines()
        kinds = [cell.strip() for cell in header.split("|")[2:-1]]
        cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
        tables[title] = {
            name: dict(zip(kinds, values, strict=True)) for name, *values in cells
        }
    return tables


def number(cell: str) -> float:
    return float(cell.split(" ")[0])


def test_every_measure_of_every_kind_of_map_on_phantoms(trained, tmp_path, capsys):
    path = tmp_path / "by_hand.csv"
    ((title, table),) = tables_of(trained, tmp_path, capsys, by_hand=path).items()
    assert title == "tiny_all, 4 hands"
    assert list(table[BONES]) == KINDS
    # four layers in all: the tiny network has no five and no twenty to shuffle
    absent = "rank correlation, 20 layers from the head shuffled"
    assert set(map_faithfulness.MEASURES) - set(table) >= {absent}
    area = table["the bones' share of the hand, what chance hits"]
    assert {0.02 < number(cell) < 0.6 for cell in area.values()} == {True}
    moved = table["months moved by deletion"]
    assert [kind for kind in KINDS if moved[kind]] == [
        *("exact, size", "views, size", "occlusion, size", "centre-heavy map")
    ]
    value, lower, upper = (
        float(word.strip("()"))
        for word in table[BONES]["exact, size"].replace(" to ", " ").split(" ")
    )
    assert lower <= value <= upper
    by_hand = pd.read_csv(path)
    assert len(by_hand) == 4 * len(KINDS)
    exact = by_hand[(by_hand["map"] == "exact") & (by_hand.attention == "size")]
    ratio = exact.attention_on_bones.mean() / exact.bones_share_of_hand.mean()
    assert value == pytest.approx(ratio, abs=0.006)


def test_without_boxes_the_bones_are_known_of_phantoms_alone(trained, tmp_path, capsys):
    for facts in trained.truth.glob("*.json"):
        facts.unlink()
    (table,) = tables_of(trained, tmp_path, capsys).values()
    assert BONES not in table
    assert "attention on the hand, per area, against the image" in table


def write_boxes(path, ids):
    """A box of the middle of each radiograph."""
    rows = [(i, "MCP", 0.3, 0.4, 0.6, 0.7) for i in ids]
    columns = ["id", "label", *bone_regions.BOX_COLUMNS]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


def test_boxed_hands_of_all_parts_are_measured_apart(trained, tmp_path, capsys):
    parts = pd.read_csv(trained.split_csv).set_index("id").split
    boxed = [
        i
        for name in ("train", "validation", "test")
        for i in parts.index[parts == name][:2]
    ]
    path = write_boxes(tmp_path / "boxes.csv", [*boxed, 999_999])
    tables = tables_of(trained, tmp_path, capsys, boxes=path)
    assert list(tables) == [
        *("tiny_all, 6 hands", "tiny_all, 2 hands, validation part"),
        "tiny_all, 2 hands, test part",
    ]
    assert all(BONES in table for table in tables.values())
    # hands that the network has not seen come first
    tables = tables_of(trained, tmp_path, capsys, boxes=path, hands=4)
    assert next(iter(tables)) == "tiny_all, 4 hands"
    assert len(tables) == 3


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_boxes_lie_on_the_hand_where_they_lay_on_the_radiograph(
    trained, tmp_path, fill, cut
):
    call(
        trained,
        "al_segmentation/step3_gen_segmentation_with_enhance",
        fill_square=fill,
        crop=cut,
        overwrite=True,
    )
    hands, _ = dataset.select_hands(trained, "test", sex="all")
    path = write_boxes(tmp_path / "boxes.csv", ids(hands))
    regions = bone_regions.boxed_bones(trained, hands, bone_regions.read_boxes(path))
    how = Enhancement(fill_square=fill, crop=cut, stretch_contrast=False, clip_limit=0)
    for region, radiograph_id in zip(regions, ids(hands), strict=True):
        mask = radiographs.read_mask(trained.mask(radiograph_id))
        height, width = mask.shape
        painted = np.zeros_like(mask)
        rows, columns = (
            slice(round(first * side), round(last * side))
            for first, last, side in ((0.4, 0.7, height), (0.3, 0.6, width))
        )
        painted[rows, columns] = 255
        inside = np.full_like(mask, 255) if not cut else mask
        expected = enhanced_hand(painted, mask, how) > 127
        shown = region & (enhanced_hand(inside, mask, how) > 127)
        assert (shown & expected).sum() / (shown | expected).sum() > 0.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,left,top,right\n1,0,0,1\n", r"must have the columns .* \(got no bottom\)"),
        ("id,left,top,right,bottom\n1,0,0,2,1\n", r"line 2: a box must lie between"),
        ("id,left,top,right,bottom\n1,0,0,1,1\n1,.5,0,.4,1\n", "line 3: a box must"),
        ("id,left,top,right,bottom\n1,0,a,1,1\n", "line 2: a box must lie between"),
        ("", "must be a CSV file"),
        (None, "got no such file"),
    ],
)
def test_boxes_that_cannot_be_used_are_named(tmp_path, text, message):
    path = tmp_path / "boxes.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        bone_regions.read_boxes(path)


def test_boxes_and_runs_of_others_are_named(trained, tmp_path):
    path = write_boxes(tmp_path / "boxes.csv", [999_999])
    with pytest.raises(InputError, match="must hold ids of the cohort"):
        map_faithfulness.main(options_for(trained, boxes=path))
    with pytest.raises(InputError, match=r"--run must name .* choose from tiny_all"):
        map_faithfulness.main(options_for(trained, run=("other",)))


def test_map_on_the_bones_alone_is_told_from_one_elsewhere(trained):
    hands, _ = dataset.select_hands(trained, "test", sex="all")
    bones = bone_regions.phantom_bones(trained, hands)
    inside = bone_regions.hand_masks(trained, hands)
    maps = map_faithfulness.centre_heavy(
        map_faithfulness.SaliencyMaps(
            np.zeros((len(hands), 2, 2)),
            np.zeros(len(hands)),
            map_faithfulness.Grid(0.0, 1.0, map_faithfulness.DISPLAY_PX),
        )
    )
    for where, share, hit in ((bones, 1, 1), (~bones, 0, 0)):
        on = maps._replace(values=maps.values * (where & inside))
        columns = map_faithfulness._where(on, bones, inside)
        np.testing.assert_allclose(columns["attention_on_bones"], share, atol=1e-6)
        np.testing.assert_array_equal(columns["most_attended_on_bone"], hit)


def test_cells_on_the_hand_are_those_whose_centre_is():
    inside = np.zeros((1, 512, 512), bool)
    inside[0, 256:, :128] = True
    # centres at 8, 24, 40, 56 of 64 px: display 67.5, 195.5, 323.5, 451.5
    maps = map_faithfulness.SaliencyMaps(
        np.zeros((1, 4, 4)), np.zeros(1), map_faithfulness.Grid(8.0, 16.0, 64)
    )
    on_hand = map_faithfulness._at_cells(inside, maps)
    assert np.argwhere(on_hand[0]).tolist() == [[2, 0], [3, 0]]


def test_whole_radiographs_too_have_the_hand_inside(trained):
    hands, _ = dataset.select_hands(trained, "test", sex="all")
    cut = bone_regions.hand_masks(trained, hands)
    size = map_faithfulness.DISPLAY_PX
    shown = np.stack([hands.image(i, size) for i in range(len(hands))])
    # black pixels of the hand are inside, no others that are black
    assert (cut >= (shown > 0)).all()
    assert (cut & (shown == 0)).mean() < 0.01

    call(
        trained,
        "al_segmentation/step3_gen_segmentation_with_enhance",
        crop=False,
        overwrite=True,
    )
    hands, _ = dataset.select_hands(trained, "test", sex="all")
    whole = bone_regions.hand_masks(trained, hands)
    truth = [radiographs.read_mask(trained.truth / f"{i}_bin.png") for i in ids(hands)]
    share = np.mean([(mask > 0).sum() / max(mask.shape) ** 2 for mask in truth])
    assert whole.mean() == pytest.approx(share / 1.06**2, rel=0.02)
    assert whole.mean() < 0.95 * cut.mean()


def ids(hands) -> list[int]:
    return hands.cohort.ids.tolist()
