"""What a script leaves off its screen, and what it must not."""

import os
import subprocess
import sys

import numpy as np
import pytest

from boneage import screen
from boneage.io import radiographs
from boneage.phantoms import radiograph as phantoms
from tests.conftest import REPOSITORY, pack_hands

NOTES = [
    "WARNING: All log messages before absl::InitializeLog() is called are",
    "I0000 00:00:1795760924.541348   31982 port.cc:153] oneDNN custom operations",
    "2025-09-17 14:44:05.157831: I external/local_xla/cudart_stub.cc:32] No",
    "To enable the following instructions: AVX2 AVX512F, in other operations, rebuild",
    "E0000 00:00:1758131045.2 3 cuda_dnn.cc:8579] Unable to register cuDNN factory",
]
ERRORS = [
    "E0000 00:00:1795760976.111732   31982 cuda_platform.cc:52] out of memory",
    "F0000 00:00:1795760976.111732   31982 cpu_feature_guard.cc:20] needs AVX",
    "2025-09-17 14:44:05.176998: W external/xla/allocator.cc:1] not much memory",
    "Segmentation fault",
]
NO_GPU = "E0000 00:00:1795760976.111732 3 cuda_platform.cc:52] failed call to cuInit: 3"

WRITES = """
import os, subprocess, sys
from boneage import cli
def main(options):
    for line in {lines}:
        os.write(2, (line + "\\n").encode())
    {more}
cli.run(main, cli.Paths, [])
"""


def stderr_of(lines, more="pass") -> list[str]:
    code = WRITES.format(lines=lines, more=more)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    return ended.stderr.splitlines()


def test_notes_are_left_off_and_errors_are_not():
    mixed = [line for pair in zip(NOTES, ERRORS, strict=False) for line in pair]
    assert stderr_of(mixed) == ERRORS


@pytest.mark.parametrize("line", NOTES)
def test_each_kind_of_note_is_known(line):
    assert screen.is_note(line.encode())


@pytest.mark.parametrize(("has_gpu", "is_note"), [(False, True), (True, False)])
def test_no_gpu_is_news_only_where_there_is_one(
    tmp_path, monkeypatch, has_gpu, is_note
):
    driver = tmp_path / "driver"
    if has_gpu:
        driver.touch()
    monkeypatch.setattr(screen, "GPU_DRIVER", driver)
    assert screen.is_note(NO_GPU.encode()) == is_note


def test_last_words_of_a_program_that_aborts_are_shown():
    lines = stderr_of(ERRORS[:2], "os.abort()")
    assert lines[:2] == ERRORS[:2]


def test_processes_that_a_script_starts_are_quiet_too():
    worker = f"import os; os.write(2, {(NOTES[1] + chr(10) + ERRORS[0]).encode()!r})"
    more = f"subprocess.run([sys.executable, '-c', {worker!r}])"
    assert stderr_of([], more) == [ERRORS[0]]


def test_python_writes_to_the_screen_itself():
    shown = stderr_of([], "print(sys.stderr.fileno() != 2, file=sys.stderr)")
    assert shown == ["True"]


def test_a_prompt_without_end_of_line_is_shown():
    assert stderr_of([], "os.write(2, b'continue? ')") == ["continue? "]


def test_a_process_left_running_holds_nobody_up():
    more = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    code = WRITES.format(lines=[], more=more + "; print('left')")
    # its own stdout and stderr are this pipe, too: read the first line only
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as started:
        try:
            assert started.stdout.readline() == b"left\n"
            assert started.wait(timeout=30) == 0
        finally:
            os.killpg(started.pid, 9)


TRAINS = """
from tests import tiny_networks
from tests.conftest import script
from boneage import cli
step4 = script("al_segmentation/step4_regression_multi_gpu")
def main(options):
    tiny_networks.install()
    step4.main(options)
cli.run(main, step4.Options)
"""


def assert_quiet(command: list) -> None:
    """The command succeeds, and nothing at all stands on its stderr."""
    ended = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        # as on a user's machine, whatever made the tests quiet
        env={k: v for k, v in os.environ.items() if not k.startswith("TF_")},
    )
    assert ended.stderr == ""
    assert ended.returncode == 0


def test_screen_of_a_training(layout):
    pack_hands(layout)
    folders = ["--data", layout.data, "--models", layout.models]
    small = ["--model", "xception", "--weights", "none", "--image-size", "32"]
    assert_quiet(["-c", TRAINS, *folders, *small, "--epochs", "2"])


@pytest.mark.slow
def test_screen_of_a_prediction(tmp_path):
    made = phantoms.simulate(np.random.default_rng(8), 100, False, 384)
    radiographs.write(tmp_path / "hand.png", made.radiograph)
    hand = [tmp_path / "hand.png", "--sex", "female"]
    assert_quiet(["predict.py", *hand, "--report", tmp_path / "pages"])
