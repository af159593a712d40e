"""A disk that is full, or that must not be written to: said once, nothing spoilt."""

import errno
import shutil
import subprocess
import sys

import pytest

from boneage import cli
from boneage.io import files
from boneage.layout import Layout
from tests.conftest import pack_hands, quick_networks, script, with_tiny_backbone
from tests.scripts.test_step5_step6 import ERRORS, finish

QUICK = {
    "step0_prepare_cohort": ["--count", "40", "--size-px", "128", "--annotated", "9"],
    "step1_corase_segment": [],
    "step2_image_2_h5": ["--pool", "unannotated", "--size", "64"],
    "step2_image_2_h5 annotated": ["--pool", "annotated", "--size", "64"],
    "step2_image_2_h5 new": ["--pool", "new"],
    "step3_gen_segmentation_with_enhance": [],
    "step3_check_data": ["--report", "{data}/report.csv"],
    "step5_statiscal_data": ["--resamples", "20"],
}
TINY = ["--weights", "none", "--batch-size", "8", "--workers", "1"]
TINY += ["--model", "xception", "--validation-fraction", "0.2"]
STAGES = ["--schedule", "head", "1e-3", "all", "1e-4", "--epochs-per-stage", "1"]
SLOW = {
    "step2_interactive_segmentation": [
        *("--oracle", "simulated", "--truth", "{data}/truth", "--filters", "2"),
        *("--epochs", "2", "--images-per-epoch", "8", "--batch-size", "4"),
    ],
    "step4_regression_with_cam": [*TINY, "--epochs", "2"],
    "step6_cam": ["--limit", "2", "--run", "xception_all_cam"],
    "step1_ptl_gen": [*TINY, *STAGES],
    "step2_conventional_transfer": [*TINY, *STAGES],
    "step5_cam_inference": ["--limit", "2"],
    "step6_visualize": ["--resamples", "20"],
}
FIRST = {
    "step6_cam": ("step4_regression_with_cam",),
    "step5_cam_inference": ("step1_ptl_gen",),
    "step6_visualize": ("step1_ptl_gen", "step2_conventional_transfer"),
}
"""What has to be there already, of the slow ones."""
TRANSFER = ("step1_ptl_gen", "step2_conventional", "step5_cam_inf", "step6_visualize")
FILLING = "filling"


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A small disk of its own; root alone may mount one."""
    folder = tmp_path_factory.mktemp("disk")
    mount = shutil.which("mount")
    if mount is None or not sys.platform.startswith("linux"):
        pytest.skip("a small disk is mounted with Linux's mount")
    command = [mount, "-t", "tmpfs", "-o", "size=32m", "small", folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk (needs root)")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def small(disk, made_cohort):
    """The tiny cohort on the small disk, with masks, and something to do everywhere."""
    layout = Layout(disk / "data", disk / "models")
    shutil.copytree(made_cohort.data, layout.data)
    shutil.copytree(layout.truth, layout.segmentation)
    layout.new.mkdir(parents=True)
    for i in (8, 9):
        shutil.copy(layout.radiograph(i), layout.query(i))
        shutil.copy(layout.truth / f"{i}_bin.png", layout.answer(i))
    finish(layout, "one", ERRORS)
    finish(layout, "two", ERRORS)
    yield layout
    remount(disk, "rw")
    (disk / FILLING).unlink(missing_ok=True)
    for folder in (layout.data, layout.models):
        shutil.rmtree(folder, ignore_errors=True)


def remount(disk, how):
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


def fill(disk):
    """Leave no room."""
    with (disk / FILLING).open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free))


def run(layout, step, arguments):
    """Run a script as the command line does; its exit code."""
    folder = "paced_transfer" if step.startswith(TRANSFER) else "al_segmentation"
    module = script(f"{folder}/{step.split()[0]}")
    given = ["--data", str(layout.data), "--models", str(layout.models)]
    if "processing" in module.Options.__dataclass_fields__:
        given += ["--jobs", "1"]
    given += [argument.format(data=layout.data) for argument in arguments]
    with pytest.raises(SystemExit) as left:
        cli.run(module.main, module.Options, given)
    return left.value.code or 0


def there(layout) -> dict:
    """Every file and its content."""
    folders = (layout.data, layout.models)
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return {
        path: path.read_bytes()
        for path in paths
        if path.is_file() and path.suffix != ".lock"
    }


def refused_once(capsys, words):
    errors = [x for x in capsys.readouterr().err.splitlines() if x.strip()]
    lines = [line for line in errors if line.startswith("error: ")]
    assert len(lines) == 1, errors
    assert words in lines[0]
    assert not any("Traceback" in line for line in errors)
    return lines[0]


def check_full(disk, layout, step, arguments, capsys):
    before = there(layout)
    if step == "step0_prepare_cohort":  # it says first of all what there will be
        del before[layout.train_csv]
    fill(disk)
    assert run(layout, step, arguments) == 2
    line = refused_once(capsys, "No space left on device; make room")
    assert line.startswith(f"error: {disk}")
    after = there(layout)
    assert {path: after.get(path) for path in before} == before
    assert [path for path in after if ".partial" in path.name] == []
    (disk / FILLING).unlink()
    assert run(layout, step, arguments) == 0
    assert "Traceback" not in capsys.readouterr().err


def check_read_only(disk, layout, step, arguments, capsys):
    before = there(layout)
    remount(disk, "ro")
    assert run(layout, step, arguments) == 2
    refused_once(capsys, "Read-only file system")
    assert there(layout) == before


@pytest.mark.parametrize("step", QUICK)
def test_full_disk(disk, small, step, capsys):
    if "annotated" in step.split():
        small.annotated_h5.unlink()
    check_full(disk, small, step, QUICK[step], capsys)


@pytest.mark.parametrize("step", QUICK)
def test_disk_that_must_not_be_written_to(disk, small, step, capsys):
    check_read_only(disk, small, step, QUICK[step], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("step", SLOW)
def test_full_disk_where_networks_are_at_work(disk, small, step, capsys):
    pack_hands(small)
    with with_tiny_backbone("xception"), quick_networks():
        for earlier in FIRST.get(step, ()):
            assert run(small, earlier, SLOW[earlier]) == 0
        check_full(disk, small, step, SLOW[step], capsys)


def test_full_disk_names_the_file_and_not_its_temporary_name(tmp_path):
    path = tmp_path / "a.csv"
    with (
        pytest.raises(OSError, match="No space left") as caught,
        files.atomic_write(path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(path)
    with (
        pytest.raises(OSError, match="quota") as caught,
        files.atomic_write(path) as part,
    ):
        raise OSError(errno.EDQUOT, "Disk quota exceeded", str(part))
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_number_that_hdf5_tells_in_words_is_understood(tmp_path):
    told = "Can't write data (file write failed: errno = 28, error message = 'No ...')"
    name = tmp_path / "a.h5"
    with pytest.raises(OSError, match="No space") as caught, files.name_oserror(name):
        raise OSError(told)
    assert caught.value.errno == errno.ENOSPC
