"""Two programs on one cohort: one waits or is refused, nothing is lost or spoilt."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.io import hdf5, locks, radiographs
from boneage.layout import Layout
from tests.conftest import call, options_of, pack_hands, script

HOLD = """
import sys, time
from pathlib import Path
from boneage.io import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(lock, path) -> subprocess.Popen:
    """A process that holds a lock until it is killed."""
    command = [sys.executable, "-c", HOLD, lock, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("lock", ["exclusive", "file_lock"])
def test_lock_vanishes_with_a_killed_owner(tmp_path, lock):
    process = hold(lock, tmp_path / "committee")
    with (
        pytest.raises(InputError, match="another process is at work on it"),
        locks.exclusive(tmp_path / "committee"),
    ):
        pass
    process.kill()
    process.communicate()
    with locks.exclusive(tmp_path / "committee"):
        pass


# each script, and the folder or file that it has for itself
OWN = {
    "step0_prepare_cohort": Layout.radiographs,
    "step1_corase_segment": Layout.coarse,
    "step2_interactive_segmentation": Layout.committee,
    "step2_image_2_h5": Layout.unannotated_h5,
    "step3_gen_segmentation_result": Layout.segmentation,
    "step3_gen_segmentation_with_enhance": Layout.hands,
    "step5_statiscal_data": Layout.statistics,
}


@pytest.mark.parametrize("step", OWN)
def test_second_of_its_kind_is_refused(cohort_copy, step):
    more = {"pool": "unannotated", "size": 32} if step == "step2_image_2_h5" else {}
    before = {p: p.read_bytes() for p in cohort_copy.data.rglob("*.h5")}
    with (
        locks.exclusive(OWN[step].fget(cohort_copy)),
        pytest.raises(InputError, match="another process is at work on it"),
    ):
        call(cohort_copy, f"al_segmentation/{step}", **more)
    assert {p: p.read_bytes() for p in cohort_copy.data.rglob("*.h5")} == before


def test_second_training_of_a_run_is_refused(layout):
    pack_hands(layout)
    run = layout.regression / "inception_v3_all"
    step4 = script("al_segmentation/step4_regression_multi_gpu")
    options = options_of(step4, layout)
    with locks.exclusive(run), pytest.raises(InputError, match="another process"):
        step4.main(options)


TAKE_IN = """
import sys
from pathlib import Path
from boneage.layout import Layout
from boneage.active_learning import dataset
layout = Layout(Path(sys.argv[1]), Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(6):
    dataset.append_new_pairs(layout)
"""


def start(code, *arguments) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def lay_pair(layout, radiograph_id):
    image = radiographs.read(layout.radiograph(radiograph_id))
    mask = radiographs.read(layout.truth / f"{radiograph_id}_bin.png")
    radiographs.write(layout.query(radiograph_id), image)
    radiographs.write(layout.answer(radiograph_id), mask)


def test_pairs_are_taken_in_once_by_whoever_comes_first(cohort_copy):
    """The interactive program and step2_image_2_h5, one of them killed on the way."""
    before = hdf5.open_packed(cohort_copy.annotated_h5, "step2").ids.tolist()
    new = [7, 8, 9, 10, 11]
    processes = [start(TAKE_IN, cohort_copy.data) for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for i in new[:3]:
        lay_pair(cohort_copy, i)
    processes[0].send_signal(signal.SIGKILL)
    for i in new[3:]:
        lay_pair(cohort_copy, i)
    for process in processes:
        _, errors = process.communicate()
        assert "Traceback" not in errors
    assert [p.returncode for p in processes[1:]] == [0, 0]
    call(cohort_copy, "al_segmentation/step2_image_2_h5", pool="new")
    packed = hdf5.open_packed(cohort_copy.annotated_h5, "step2")
    assert sorted(packed.ids.tolist()) == sorted(before + new)
    for i in new:
        row = int(packed.row_indices(np.array([i]))[0])
        assert packed.masks[row].any()


ANNOTATE = """
import sys
from pathlib import Path
import numpy as np
from boneage.layout import Layout
from boneage.annotator.queue import AnnotationQueue, Conflict
from boneage.active_learning.oracle import Query
layout = Layout(Path(sys.argv[1]), Path(sys.argv[1]))
queue = AnnotationQueue(layout, [Query(i, None, None) for i in range(1, 13)])
print("ready", flush=True)
sys.stdin.readline()
for i in range(1, 13):
    opened = queue.open(i)
    mask = np.zeros(opened.radiograph.shape, np.uint8)
    mask[10:20, 10 : 20 + int(sys.argv[2])] = 255
    try:
        (queue.flag(opened) if i % 4 == 0 else queue.save(opened, mask, no_hand=True))
    except Conflict:
        print("conflict", i, flush=True)
"""


def test_two_annotators_on_one_cohort(cohort_copy):
    for i in range(1, 13):
        image = radiographs.read(cohort_copy.radiograph(i))
        radiographs.write(cohort_copy.query(i), image)
    processes = [start(ANNOTATE, cohort_copy.data, width) for width in (5, 9)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = []
    for process in processes:
        printed, errors = process.communicate()
        assert errors == ""
        said += printed.splitlines()
    # every line is whole, and every action but the refused ones has one
    lines = cohort_copy.queries.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert len(entries) + len(said) == 24
    assert sorted(excluded.flagged(cohort_copy)) == [4, 8, 12]
    for i in range(1, 13):
        if i % 4:
            mask = radiographs.read_mask(cohort_copy.answer(i))
            assert np.count_nonzero(mask) in (150, 190)
    left = [n for _, _, names in os.walk(cohort_copy.data) for n in names]
    assert [name for name in left if ".partial" in name] == []
