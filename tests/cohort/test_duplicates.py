"""One radiograph under two ids is found; two hands that look alike are not."""

import cv2
import numpy as np
import pytest

from boneage.cohort import duplicates, table
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.io import radiographs, transforms
from boneage.phantoms import radiograph
from tests.conftest import call

CHECK = "al_segmentation/step3_check_data"
COUNT = 24


@pytest.fixture(scope="module")
def hands() -> list[np.ndarray]:
    """Radiographs of ages and poses by chance."""
    return [
        radiograph.simulate(np.random.default_rng(i), 9 * i + 6, True, 128).radiograph
        for i in range(COUNT)
    ]


def noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compressed(image: np.ndarray) -> np.ndarray:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


COPIES = {
    "equal": lambda image: image,
    "compressed": compressed,
    "noisy": noisy,
    "smaller": lambda image: cv2.resize(image, None, fx=0.6, fy=0.6),
    "squeezed to a square": lambda image: cv2.resize(image, (90, 90)),
    "darker": lambda image: (image * 0.7).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and darker": lambda image: (image[:, ::-1] * 0.8).astype(np.uint8),
}


def found(images: list[np.ndarray], ids=None) -> list[duplicates.DuplicatePair]:
    pictures = np.stack([duplicates.thumbnail(transforms.to_uint8(i)) for i in images])
    return duplicates.find_duplicates(list(ids or range(len(images))), pictures)


def test_different_hands_are_no_twins(hands):
    assert found(hands) == []


@pytest.mark.parametrize("name", COPIES)
def test_copy_is_found(hands, name):
    copy = COPIES[name](transforms.to_uint8(hands[7]))
    pairs = found([*hands, copy])
    assert [(p.first, p.second) for p in pairs] == [(7, COUNT)]
    assert pairs[0].mirrored == name.startswith("mirrored")


def test_pairs_are_named_by_id_whatever_the_order(hands):
    pairs = found([hands[1], hands[0], hands[1]], [90, 50, 20])
    assert [(p.first, p.second) for p in pairs] == [(20, 90)]


def test_more_pictures_than_are_compared_at_once(hands, monkeypatch):
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 5)
    pairs = found([*hands, hands[3], hands[22]])
    expected = [(3, COUNT), (22, COUNT + 1)]
    assert [(p.first, p.second) for p in pairs] == expected


def test_black_pictures_are_nobodys_twins():
    assert found([np.zeros((64, 64), np.uint8)] * 2) == []


@pytest.fixture
def doubled(layout, hands):
    """Five hands, the third once more under id 99."""
    for i, image in enumerate([*hands[:5], compressed(transforms.to_uint8(hands[2]))]):
        radiographs.write(layout.radiograph(99 if i == 5 else i + 1), image)
    ids = np.array([1, 2, 3, 4, 5, 99])
    ages = np.full(6, 100.0)
    table.write_cohort(layout.train_csv, Cohort(ids, ages, ages > 0))
    return layout


def test_twins_across_the_split_are_reported_and_the_check_fails(doubled, capsys):
    parts = np.array(["train", "train", "train", "validation", "test", "test"])
    table.write_split(doubled.split_csv, np.array([1, 2, 3, 4, 5, 99]), parts)
    assert call(doubled, CHECK) == 1
    said = capsys.readouterr().out
    assert "the same radiograph in two parts: 3 and 99 (train, test)" in said


def test_twins_within_a_part_are_reported(doubled, capsys):
    parts = np.array(["validation", "test", "train", "train", "train", "train"])
    table.write_split(doubled.split_csv, np.array([1, 2, 3, 4, 5, 99]), parts)
    assert call(doubled, CHECK) == 0
    assert "the same radiograph under two ids: 3 and 99" in capsys.readouterr().out


def test_twins_before_there_is_a_split(doubled, capsys):
    assert call(doubled, CHECK) == 0
    assert "the same radiograph under two ids: 3 and 99" in capsys.readouterr().out


# leaks that ids give away: no training begins


def leak(layout, *lines: str) -> str:
    layout.split_csv.write_text("id,split\n" + "".join(f"{x}\n" for x in lines))
    with pytest.raises(InputError) as caught:
        table.split_cohort(layout)
    return str(caught.value)


def test_test_id_in_training(layout):
    some = Cohort(np.array([1, 2]), np.array([10.0, 20]), np.array([True, False]))
    table.write_cohort(layout.train_csv, some)
    assert "line 4: id 2 must be unique" in leak(layout, "1,train", "2,train", "2,test")


def test_official_test_id_in_training(layout):
    some = Cohort(np.array([1, 2]), np.array([10.0, 20]), np.array([True, False]))
    table.write_cohort(layout.train_csv, some)
    official = Cohort(np.array([9]), np.array([10.0]), np.array([True]))
    table.write_cohort(layout.test_csv, official)
    said = leak(layout, "1,train", "2,validation", "9,train")
    assert "id 9 of test.csv must be in the test part (got train)" in said


@pytest.mark.parametrize("line", ["1;train", "1,train,2", "x/y,train", "1,Test", "1"])
def test_split_that_is_none(layout, line):
    some = Cohort(np.array([1]), np.array([10.0]), np.array([True]))
    table.write_cohort(layout.train_csv, some)
    assert "line 2 must be an id and one of train" in leak(layout, line)
