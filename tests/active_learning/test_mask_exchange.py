"""Masks out and in: what comes back is what went out, and what is wrong is named."""

import json

import numpy as np
import pytest

from boneage.active_learning import mask_exchange
from boneage.active_learning.mask_exchange import ExchangeSettings
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import radiographs

SHAPE = (40, 30)


def hand(top: int) -> np.ndarray:
    """A mask that is no rectangle, as its outline has to show: two fingers."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[top + 8 : top + 16, 6:20] = 255
    mask[top : top + 8, 7:10] = 255
    mask[top + 3 : top + 8, 14:17] = 255
    mask[top + 9, 20] = 255
    return mask


@pytest.fixture
def drawn(layout):
    """A cohort of 7, 8 and 9; 7 was drawn before, 8 in the browser."""
    rng = np.random.default_rng(0)
    layout.radiographs.mkdir(parents=True)
    layout.annotated.mkdir(parents=True)
    for i in (7, 8, 9):
        noise = rng.integers(0, 255, SHAPE, np.uint8)
        radiographs.write(layout.radiograph(i), noise)
    radiograph = radiographs.read(layout.radiograph(7))
    radiographs.write(layout.annotated / "7_ori.png", radiograph)
    radiographs.write(layout.annotated / "7_bin.png", hand(4))
    radiographs.write(layout.query(8), radiographs.read(layout.radiograph(8)))
    radiographs.write(layout.answer(8), hand(10))
    return layout


def forget(layout):
    """Remove the masks that lie there."""
    for path in (*layout.annotated.glob("*"), *layout.new.glob("*")):
        path.unlink()


def export(layout, folder, kind):
    if kind == "coco":
        pytest.importorskip("pycocotools")
    if kind == "dicom-seg":
        pytest.importorskip("highdicom")
    mask_exchange.export_masks(layout, ExchangeSettings(export=folder, format=kind))
    return folder / "masks.json" if kind == "coco" else folder


def take(layout, path, **more):
    return mask_exchange.take_masks(layout, ExchangeSettings(take=path, **more))


@pytest.mark.parametrize("kind", ["png", "coco", "dicom-seg"])
def test_what_goes_out_comes_back_to_the_pixel(drawn, tmp_path, kind):
    with_hole = hand(10)
    with_hole[20:22, 9:11] = 0
    radiographs.write(drawn.answer(8), with_hole)
    path = export(drawn, tmp_path / "out", kind)
    forget(drawn)
    assert take(drawn, path) == ["2 taken, 0 set aside"]
    for i, mask in ((7, hand(4)), (8, with_hole)):
        pair = drawn.annotated / f"{i}_bin.png", drawn.annotated / f"{i}_ori.png"
        np.testing.assert_array_equal(radiographs.read(pair[0]), mask)
        np.testing.assert_array_equal(
            radiographs.read(pair[1]), radiographs.read(drawn.radiograph(i))
        )


def test_a_segmentation_of_another_image_is_set_aside(drawn, tmp_path):
    folder = export(drawn, tmp_path / "out", "dicom-seg")
    forget(drawn)
    (folder / "7_seg.dcm").rename(folder / "9_seg.dcm")
    other, count = take(drawn, folder)
    assert count == "1 taken, 1 set aside"
    assert "9_seg.dcm must refer to radiograph 9 (got the image " in other
    # unless the image of 9 is this one
    (folder / "7.dcm").rename(folder / "9.dcm")
    assert take(drawn, folder, dicom=folder, overwrite=True) == ["2 taken, 0 set aside"]


def test_segmentations_refer_to_the_original_dicom_files(drawn, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    originals = export(drawn, tmp_path / "originals", "dicom-seg")
    for i in (7, 8):
        image = pydicom.dcmread(originals / f"{i}.dcm")
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.{i}"
        image.save_as(originals / f"{i}.dcm")
    settings = ExchangeSettings(
        export=tmp_path / "out", format="dicom-seg", dicom=originals
    )
    mask_exchange.export_masks(drawn, settings)
    assert sorted(p.name for p in settings.export.iterdir()) == [
        "7_seg.dcm",
        "8_seg.dcm",
    ]
    forget(drawn)
    with pytest.raises(InputError, match=r"got the image 1\.2\.7"):
        take(drawn, settings.export)
    assert take(drawn, settings.export, dicom=originals)[-1].startswith("2 taken")


@pytest.mark.parametrize(
    ("name", "mask", "why"),
    [
        ("5_bin.png", hand(4), r"must be of a radiograph in .* \(got id 5\)"),
        ("9_bin.png", hand(4)[:20], r"must be \(40, 30\) as its radiograph"),
        ("9_bin.png", np.zeros(SHAPE, np.uint8), "empty"),
        ("9_bin.png", np.full(SHAPE, 255, np.uint8), "the whole picture"),
        ("7_bin.png", hand(5), r"cannot replace .*7_bin.png; --overwrite does"),
        ("8_bin.png", hand(5), r"cannot replace .*gt/new/8_bin.png"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(drawn, tmp_path, name, mask, why):
    radiographs.write(tmp_path / name, mask)
    with pytest.raises(InputError, match=why):
        take(drawn, tmp_path)
    before = radiographs.read(drawn.annotated / "7_bin.png")
    np.testing.assert_array_equal(before, hand(4))


def test_the_good_ones_are_taken_all_the_same(drawn, tmp_path):
    radiographs.write(tmp_path / "5_bin.png", hand(4))
    radiographs.write(tmp_path / "9_bin.png", hand(4))
    why, count = take(drawn, tmp_path)
    assert why.startswith("set aside: ")
    assert count == "1 taken, 1 set aside"


def test_coco_files_of_other_programs(drawn, tmp_path):
    path = export(drawn, tmp_path, "coco")
    forget(drawn)
    facts = json.loads(path.read_text())
    facts["categories"].append({"id": 2, "name": "marker"})
    facts["annotations"] += [
        # a second piece, something else, and what belongs to no image
        {
            "image_id": 1,
            "category_id": 1,
            "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]],
        },
        {"image_id": 2, "category_id": 2, "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]},
        {"image_id": 99, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]},
    ]
    facts["images"].append({"id": 9, "file_name": "9.png", "width": 30, "height": 40})
    facts["annotations"].append({"image_id": 9, "category_id": 1, "segmentation": "x"})
    path.write_text(json.dumps(facts))
    *why, count = take(drawn, path)
    assert count == "2 taken, 2 set aside"
    assert "9.png cannot be read" in why[0]
    assert "must refer to an image of it (got 99)" in why[1]
    seven = radiographs.read(drawn.annotated / "7_bin.png")
    assert seven[2, 2]
    np.testing.assert_array_equal(seven[5:], hand(4)[5:])
    eight = radiographs.read(drawn.annotated / "8_bin.png")
    np.testing.assert_array_equal(eight, hand(10))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("masks.json", "[1", "cannot be read as JSON"),
        ("masks.json", '{"images": []}', "must have annotations"),
        (
            "masks.json",
            '{"images": [], "annotations": [], "categories": []}',
            r"must have one category hand \(got none\)",
        ),
        ("7_seg.dcm", "no file", "must be a DICOM segmentation"),
        ("7.txt", "", "must have masks <id>_bin.png or <id>_seg.dcm"),
    ],
)
def test_files_of_no_format(drawn, tmp_path, name, content, why):
    for package in ("pycocotools", "highdicom"):
        pytest.importorskip(package)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=why):
        take(drawn, tmp_path / name if name.endswith("json") else tmp_path)


def test_flagged_radiographs_stay_here(drawn, tmp_path):
    excluded.flag(drawn, 7)
    export(drawn, tmp_path / "out", "png")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["8_bin.png", "8_ori.png"]


def test_one_direction_at_a_time(tmp_path):
    for settings in (ExchangeSettings(), ExchangeSettings(tmp_path, tmp_path)):
        with pytest.raises(InputError, match="give one of --export"):
            settings.check()
