"""Steps 1 and 3 on the tiny cohort: reruns, bad files, and what they say."""

import csv
import json
import shutil

import numpy as np
import pytest

from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import engine, hdf5, radiographs
from boneage.io.files import write_json
from boneage.layout import mask_in
from boneage.segmentation import confirmed_masks, hand_shape, inference
from boneage.segmentation.dice import dice
from tests.conftest import ANNOTATED, PHANTOMS, call, quick_networks

COARSE = "al_segmentation/step1_corase_segment"
CHECK = "al_segmentation/step3_check_data"
SEGMENT = "al_segmentation/step3_gen_segmentation_result"
ENHANCE = "al_segmentation/step3_gen_segmentation_with_enhance"


@pytest.fixture(autouse=True)
def _quick():
    with quick_networks():
        yield


@pytest.fixture
def committee_copy(trained_committee, layout):
    """The tiny cohort with its trained committee, to be changed."""
    shutil.copytree(trained_committee.data, layout.data)
    shutil.copytree(trained_committee.models, layout.models)
    return layout


def table_of(folder) -> dict[int, dict]:
    with (folder / "quality.csv").open(newline="") as file:
        return {int(row["id"]): row for row in csv.DictReader(file)}


def stamps(folder) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def test_coarse_masks_of_all(cohort_copy, capsys):
    call(cohort_copy, COARSE, truth=cohort_copy.truth)
    for i in cohort_copy.ids_on_disk():
        radiograph = radiographs.read(cohort_copy.radiograph(i))
        mask = radiographs.read(cohort_copy.coarse_mask(i))
        hand = radiographs.read(cohort_copy.coarse_hand(i))
        assert set(np.unique(mask)) <= {0, 255}
        np.testing.assert_array_equal(hand, np.where(mask > 0, radiograph, 0))
    assert list(table_of(cohort_copy.coarse)) == cohort_copy.ids_on_disk()
    printed = capsys.readouterr().out
    assert f"{PHANTOMS} of {PHANTOMS} coarse masks, 0 set aside" in printed
    assert f"Dice against {PHANTOMS} known masks" in printed
    assert printed.splitlines()[-1] == f"wrote {cohort_copy.coarse}"


def test_coarse_rerun_does_what_is_missing_and_nothing_else(cohort_copy):
    call(cohort_copy, COARSE)
    table = table_of(cohort_copy.coarse)
    cohort_copy.coarse_mask(3).unlink()
    before = stamps(cohort_copy.coarse)
    call(cohort_copy, COARSE)
    after = stamps(cohort_copy.coarse)
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed == {"3_bin.png", "3_seg.png"}
    assert table_of(cohort_copy.coarse) == table


def test_published_method_with_overwrite(cohort_copy):
    call(cohort_copy, COARSE)
    ours = radiographs.read(cohort_copy.coarse_mask(1))
    call(cohort_copy, COARSE, published=True, overwrite=True)
    theirs = radiographs.read(cohort_copy.coarse_mask(1))
    assert not np.array_equal(ours, theirs)


def test_coarse_sets_bad_radiographs_aside(cohort_copy, capsys):
    cohort_copy.radiograph(2).write_bytes(b"no image")
    cohort_copy.radiograph(5).write_bytes(b"")
    call(cohort_copy, COARSE)
    printed = capsys.readouterr().out
    for i in (2, 5):
        assert f"set aside: {cohort_copy.radiograph(i)} must be" in printed
        assert not cohort_copy.coarse_mask(i).exists()
        assert not cohort_copy.coarse_hand(i).exists()
    assert "12 of 14 coarse masks, 2 set aside" in printed
    assert not {2, 5} & set(table_of(cohort_copy.coarse))


@pytest.mark.parametrize("step", [COARSE, SEGMENT])
def test_no_radiographs_yet(layout, step):
    with pytest.raises(InputError, match=r"cannot be found; .*step0_prepare_cohort"):
        call(layout, step)
    assert not layout.data.exists()


@pytest.mark.parametrize("step", [COARSE, SEGMENT])
def test_empty_folder(layout, step):
    layout.radiographs.mkdir(parents=True)
    (layout.radiographs / "notes.txt").touch()
    with pytest.raises(InputError, match=r"must contain radiographs <id>\.png"):
        call(layout, step)
    assert [path.name for path in layout.data.iterdir()] == [layout.radiographs.name]


def test_number_with_leading_zeros_is_no_id(cohort_copy):
    cohort_copy.radiograph(3).rename(cohort_copy.radiographs / "003.png")
    with pytest.raises(InputError, match=r"003\.png must be named 3\.png"):
        call(cohort_copy, COARSE)


def test_truth_that_is_not_there(cohort_copy, tmp_path):
    with pytest.raises(InputError, match="nowhere must hold known masks"):
        call(cohort_copy, COARSE, truth=tmp_path / "nowhere")


def test_committee_segments_all_at_their_own_size(committee_copy, capsys):
    call(committee_copy, SEGMENT, batch_size=3)
    rows = table_of(committee_copy.segmentation)
    assert list(rows) == committee_copy.ids_on_disk()
    for i in committee_copy.ids_on_disk():
        shape = radiographs.read(committee_copy.radiograph(i)).shape
        mask = radiographs.read(committee_copy.mask(i))
        assert mask.shape == shape
        assert set(np.unique(mask)) <= {0, 255}
    assert f"{PHANTOMS} of {PHANTOMS} segmented" in capsys.readouterr().out


def test_masks_of_persons_are_taken_as_they_are(committee_copy):
    call(committee_copy, SEGMENT)
    rows = table_of(committee_copy.segmentation)
    drawn = {i for i, row in rows.items() if row["source"] == "person"}
    asked = {int(path.name.split("_")[0]) for path in committee_copy.new.glob("*_bin*")}
    assert drawn == {*range(1, ANNOTATED + 1), *asked}
    for i in drawn:
        truth = radiographs.read(committee_copy.truth / f"{i}_bin.png")
        np.testing.assert_array_equal(radiographs.read(committee_copy.mask(i)), truth)
    disagreements = [row["disagreement"] for i, row in rows.items() if i not in drawn]
    assert all(0 <= float(one) <= 1 for one in disagreements)


def test_masks_do_not_depend_on_the_batches(committee_copy):
    call(committee_copy, SEGMENT, batch_size=3)
    first = {p.name: p.read_bytes() for p in committee_copy.segmentation.glob("*.png")}
    call(committee_copy, SEGMENT, batch_size=16, overwrite=True)
    second = {p.name: p.read_bytes() for p in committee_copy.segmentation.glob("*.png")}
    assert first == second


@pytest.mark.parametrize("jobs", [1, 2])
def test_compiled_members_make_the_masks_that_keras_makes(
    committee_copy, monkeypatch, jobs
):
    layout = committee_copy

    def masks(**options) -> tuple[dict, dict]:
        call(layout, SEGMENT, overwrite=True, **options)
        found = {i: radiographs.read(layout.mask(i)) for i in layout.ids_on_disk()}
        return found, table_of(layout.segmentation)

    compiled, rows = masks(jobs=jobs)
    monkeypatch.setenv(engine.VARIABLE, engine.KERAS)
    in_keras, rows_of_keras = masks()
    assert list(rows) == list(rows_of_keras)
    for i, mask in in_keras.items():
        assert dice(compiled[i], mask) >= 0.999
        assert rows[i]["source"] == rows_of_keras[i]["source"]
        if rows[i]["disagreement"]:
            expected = float(rows_of_keras[i]["disagreement"])
            assert float(rows[i]["disagreement"]) == pytest.approx(expected, abs=2e-3)


def test_damaged_member_is_no_fault_of_the_radiographs(committee_copy):
    (committee_copy.committee / "member_1.keras").write_bytes(b"")
    with pytest.raises(InputError, match=r"member_1\.keras cannot be read"):
        call(committee_copy, SEGMENT)
    rows = table_of(committee_copy.segmentation)
    assert {row["source"] for row in rows.values()} == {"person"}


def test_segmentation_goes_on_after_a_kill(committee_copy):
    call(committee_copy, SEGMENT)
    table = table_of(committee_copy.segmentation)
    path = committee_copy.segmentation / "quality.csv"
    path.write_bytes(path.read_bytes()[:-9])
    committee_copy.mask(2).unlink()
    before = stamps(committee_copy.segmentation)
    call(committee_copy, SEGMENT)
    after = stamps(committee_copy.segmentation)
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed == {"2_bin.png", f"{PHANTOMS}_bin.png"}
    assert table_of(committee_copy.segmentation) == table


def test_segmentation_sets_bad_files_aside(committee_copy, capsys):
    bad_mask = committee_copy.annotated / "2_bin.png"
    radiographs.write(bad_mask, np.eye(5, dtype=np.uint8))
    bad_radiograph = committee_copy.radiograph(PHANTOMS)
    bad_radiograph.write_bytes(b"no image")
    # a person's mask would not need the radiograph's pixels, but its size
    (committee_copy.new / f"{PHANTOMS}_bin.png").unlink(missing_ok=True)
    call(committee_copy, SEGMENT)
    printed = capsys.readouterr().out
    for path in (bad_mask, bad_radiograph):
        assert f"set aside: {path}" in printed
    assert not committee_copy.mask(2).exists()
    assert not committee_copy.mask(PHANTOMS).exists()


def test_segmentation_without_committee_names_the_step(cohort_copy):
    with pytest.raises(InputError, match=r"run .*step2_interactive_segmentation\.py"):
        call(cohort_copy, SEGMENT)
    left = {int(path.stem.split("_")[0]) for path in stamps(cohort_copy.segmentation)}
    assert left <= set(range(1, ANNOTATED + 1))


def test_check_before_and_after_each_step(cohort_copy, capsys):
    assert call(cohort_copy, CHECK) == 0
    assert "14 radiographs: all stages begun are complete" in capsys.readouterr().out
    call(cohort_copy, COARSE)
    radiographs.write(cohort_copy.coarse_mask(4), np.eye(5, dtype=np.uint8))
    cohort_copy.radiograph(5).unlink()
    capsys.readouterr()
    assert call(cohort_copy, CHECK) == 1
    printed = capsys.readouterr().out
    assert "13 of 14" in printed
    assert "5.png" in printed
    assert "4_bin.png" in printed


@pytest.mark.parametrize("only", ["coarse", "final"])
def test_check_counts_negatives_and_turned_hands_and_passes_them(
    cohort_copy, capsys, only
):
    folder = cohort_copy.coarse if only == "coarse" else cohort_copy.segmentation
    shutil.copytree(cohort_copy.truth, folder)
    ids = [i for i in cohort_copy.ids_on_disk() if looks_upright(cohort_copy, i)]
    assert call(cohort_copy, CHECK) == 0
    assert "turned or negative" not in capsys.readouterr().out
    negative, turned = ids[:2]
    change(cohort_copy.radiograph(negative), lambda image: 255 - image)
    for path in (cohort_copy.radiograph(turned), mask_in(folder, turned)):
        change(path, np.rot90)
    assert call(cohort_copy, CHECK) == 0
    # a mask that cannot be read is a problem of its stage
    mask_in(folder, ids[2]).write_bytes(b"")
    assert call(cohort_copy, CHECK) == 1
    _, line = (
        line
        for line in capsys.readouterr().out.splitlines()
        if "turned or negative" in line
    )
    assert line.startswith("turned or negative radiographs, 2: ")
    assert f"{negative} (a negative)" in line
    assert f"{turned} (turned by -" in line


def looks_upright(layout, radiograph_id: int) -> bool:
    """Whether the exact mask shows enough fingers to tell a turn."""
    shape = hand_shape.measure(radiographs.read_mask(layout.true_mask(radiograph_id)))
    return shape is not None and len(shape.angles) >= 4 and abs(shape.tilt) < 20


def change(path, how) -> None:
    radiographs.write(path, np.ascontiguousarray(how(radiographs.read(path))))


def test_check_without_cohort_names_the_step(layout):
    with pytest.raises(InputError, match=r"train\.csv cannot be found; run .*step0"):
        call(layout, CHECK)
    assert not layout.data.exists()


def test_check_misses_radiographs_that_are_all_gone(cohort_copy):
    shutil.rmtree(cohort_copy.radiographs)
    assert call(cohort_copy, CHECK) == 1


def test_mask_drawn_after_the_segmentation_is_taken_over(committee_copy):
    call(committee_copy, SEGMENT)
    i = committee_copy.ids_on_disk()[-1]
    assert table_of(committee_copy.segmentation)[i]["source"].startswith("committee")
    drawn = radiographs.read(committee_copy.truth / f"{i}_bin.png")
    radiographs.write(committee_copy.new / f"{i}_bin.png", drawn)
    call(committee_copy, SEGMENT)
    assert table_of(committee_copy.segmentation)[i]["source"] == "person"
    np.testing.assert_array_equal(radiographs.read(committee_copy.mask(i)), drawn)


def test_published_method_does_the_masks_of_the_other_again(cohort_copy):
    call(cohort_copy, COARSE)
    call(cohort_copy, COARSE, published=True)
    rows = table_of(cohort_copy.coarse).values()
    assert {row["source"] for row in rows} == {"published"}


def test_drawn_mask_that_is_no_hand_is_not_taken_over(committee_copy, capsys):
    path = committee_copy.annotated / "2_bin.png"
    radiographs.write(path, 255 - radiographs.read(path))
    call(committee_copy, SEGMENT)
    assert f"set aside: {path} looks like no hand" in capsys.readouterr().out
    assert not committee_copy.mask(2).exists()
    confirmed_masks.confirm(committee_copy, [2])
    call(committee_copy, SEGMENT)
    np.testing.assert_array_equal(
        radiographs.read(committee_copy.mask(2)), radiographs.read(path)
    )


def test_flagged_radiographs_are_not_segmented(committee_copy, capsys):
    excluded.flag(committee_copy, 3)
    call(committee_copy, SEGMENT)
    assert not committee_copy.mask(3).exists()
    assert f"{PHANTOMS - 1} of {PHANTOMS - 1} segmented" in capsys.readouterr().out
    call(committee_copy, ENHANCE)
    assert 3 not in hdf5.open_packed(committee_copy.hands_h5, ENHANCE).ids
    # flagged later, a hand that exists goes
    excluded.flag(committee_copy, 4)
    call(committee_copy, ENHANCE)
    assert not committee_copy.hand(4).exists()
    assert 4 not in hdf5.open_packed(committee_copy.hands_h5, ENHANCE).ids
    call(committee_copy, COARSE)
    assert call(committee_copy, CHECK) == 0
    assert "flagged as not usable: 3, 4" in capsys.readouterr().out


def test_hands_name_the_committee_that_cut_them(committee_copy):
    call(committee_copy, SEGMENT)
    state = json.loads(committee_copy.committee_state.read_text())
    rows = table_of(committee_copy.segmentation)
    committees = {row["committee"] for row in rows.values()}
    assert committees == {state["committee_hash"], ""}
    drawn = {i for i, row in rows.items() if row["source"] == "person"}
    assert all(rows[i]["committee"] == "" for i in drawn)
    call(committee_copy, ENHANCE)
    packed = hdf5.open_packed(committee_copy.hands_h5, ENHANCE)
    assert packed.preprocessing["committees"] == [state["committee_hash"]]


def test_masks_of_another_committee_are_pointed_out(committee_copy, capsys):
    call(committee_copy, SEGMENT)
    assert "another committee" not in capsys.readouterr().out
    state = json.loads(committee_copy.committee_state.read_text())
    write_json(committee_copy.committee_state, state | {"committee_hash": "ffff"})
    call(committee_copy, SEGMENT)
    assert "masks are of another committee" in capsys.readouterr().out


class Disagreeing:
    """Members that agree on the upper half alone: 0.4 and 0.8; below, 0.9 and 0.05."""

    size, clip_limit, epoch, committee_hash = 32, 0.03, 7, "1a2b"

    def probabilities(self, images, batch_size):
        first = np.full((2, len(images), 32, 32), 0.4, np.float32)
        first[1] = 0.8
        first[0, :, 16:], first[1, :, 16:] = 0.9, 0.05
        return first


def test_all_members_decide_on_the_mask(committee_copy, monkeypatch):
    monkeypatch.setattr(inference, "open_committee", lambda folder: Disagreeing())
    call(committee_copy, SEGMENT)
    i = committee_copy.ids_on_disk()[-1]
    mask = radiographs.read(committee_copy.mask(i)) > 0
    half = len(mask) // 2
    assert mask[: half - 8].all()
    assert not mask[half + 8 :].any()
    assert table_of(committee_copy.segmentation)[i]["source"] == "committee, epoch 7"
