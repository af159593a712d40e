"""The table that says whether activation maps are true, of a tiny network."""

import shutil

import numpy as np
import pytest

from boneage.io import radiographs
from boneage.regression import dataset
from experiments import map_faithfulness
from tests.conftest import call, options_of

pytestmark = pytest.mark.usefixtures("tiny_backbone")


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


def table_of(layout, tmp_path, capsys) -> dict[str, float | None]:
    path = tmp_path / "table.md"
    map_faithfulness.main(options_of(map_faithfulness, layout, markdown=path))
    text = path.read_text()
    assert text in capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    return {row[0]: float(row[1]) if len(row) > 1 else None for row in rows}


def test_every_measure_of_a_run_on_phantoms(trained, tmp_path, capsys):
    table = table_of(trained, tmp_path, capsys)
    assert len(table) == 11
    shares = {name: value for name, value in table.items() if "share" in name}
    assert all(0 <= value <= 1 for value in shares.values())
    assert 0.02 < table["their share of the hand's area"] < 0.6
    # four layers in all: the tiny network has no twenty to shuffle
    assert "rank correlation, 20 layers from the head shuffled" not in table


def test_where_growth_plates_are_is_known_of_phantoms_alone(trained, tmp_path, capsys):
    for facts in trained.truth.glob("*.json"):
        facts.unlink()
    table = table_of(trained, tmp_path, capsys)
    assert "their share of the hand's area" not in table
    assert "attention on the hand" in table


def test_whole_radiographs_too_have_the_hand_inside(trained):
    hands, _ = dataset.select_hands(trained, "test", sex="all")
    cut = map_faithfulness.masks(trained, hands)
    shown = np.stack(
        [hands.image(i, map_faithfulness.DISPLAY_PX) for i in range(len(hands))]
    )
    # black pixels of the hand are inside, no others that are black
    assert (cut >= (shown > 0)).all()
    assert (cut & (shown == 0)).mean() < 0.01

    call(
        trained,
        "al_segmentation/step3_gen_segmentation_with_enhance",
        cut=False,
        overwrite=True,
    )
    hands, _ = dataset.select_hands(trained, "test", sex="all")
    whole = map_faithfulness.masks(trained, hands)
    truth = [radiographs.read_mask(trained.truth / f"{i}_bin.png") for i in ids(hands)]
    share = np.mean([(mask > 0).sum() / max(mask.shape) ** 2 for mask in truth])
    assert whole.mean() == pytest.approx(share / 1.06**2, rel=0.02)
    assert whole.mean() < 0.95 * cut.mean()


def ids(hands) -> list[int]:
    return hands.cohort.ids.tolist()
