"""What exists is whole."""

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from boneage import errors
from boneage.errors import InputError
from boneage.io import files, locks
from boneage.io.files import atomic_write, read_json, write_json

KILLED_HALF_WAY = """
import os, pathlib, sys
from boneage.io.files import atomic_write
with atomic_write(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_replacing_puts_the_new_file_in_place(tmp_path):
    with atomic_write(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def fail_half_way(path):
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_error_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        fail_half_way(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_kill_half_way_leaves_the_old_file_and_the_next_write_cleans_up(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, path], check=False)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_name_keeps_the_suffix_that_libraries_look_at(tmp_path):
    with atomic_write(tmp_path / "member_0.epoch_3.keras") as temporary:
        temporary.touch()
        assert temporary.suffix == ".keras"
        assert temporary.name.startswith(".")


def test_json_comes_back(tmp_path):
    write_json(tmp_path / "a.json", {"size": 32, "names": ["é"]})
    assert read_json(tmp_path / "a.json", "step1") == {"size": 32, "names": ["é"]}


def test_content_that_json_has_no_word_for_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"size": 32})
    with pytest.raises(TypeError):
        write_json(path, {"size": object()})
    assert read_json(path, "step1") == {"size": 32}
    assert list(tmp_path.iterdir()) == [path]


def test_missing_json_names_the_step_that_writes_it(tmp_path):
    with pytest.raises(InputError, match=r"a\.json cannot be found; run step1 first"):
        read_json(tmp_path / "a.json", "step1")


@pytest.mark.parametrize("text", ["", "{", "[1]", "3"])
def test_json_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(tmp_path / "a.json", "step1")


def test_product_older_than_its_source_is_not_up_to_date(tmp_path):
    product, source = tmp_path / "product", tmp_path / "source"
    product.write_text("")
    source.write_text("")
    os.utime(product, (100, 100))
    os.utime(source, (200, 200))
    assert not files.up_to_date(product, source)
    os.utime(product, (200, 200))
    assert files.up_to_date(product, source)
    assert files.up_to_date(product, None, tmp_path / "missing")
    assert not files.up_to_date(tmp_path / "missing")


def test_folder_at_work_is_refused_to_a_second(tmp_path):
    with (
        locks.exclusive(tmp_path / "run"),
        pytest.raises(errors.InputError, match="another process is at work"),
        locks.exclusive(tmp_path / "run"),
    ):
        pass
    with locks.exclusive(tmp_path / "run"):
        pass


SCRATCH_AND_WAIT = """
import sys, time
from boneage.io.files import temporary_folder
with temporary_folder("boneage-test") as folder:
    (folder / "picture.png").write_text("hand")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def working(tmp_path, monkeypatch):
    """A process that works in a scratch folder, and the folder's path."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    command = [sys.executable, "-c", SCRATCH_AND_WAIT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_scratch_folder_of_a_killed_process_goes_with_the_next(working):
    process, folder = working
    process.kill()
    process.wait()
    assert (folder / "picture.png").exists()
    with files.temporary_folder("boneage-test"):
        assert not folder.exists()
    assert list(folder.parent.glob("boneage-test-*")) == []


def test_scratch_folder_of_a_living_process_stays(working):
    _, folder = working
    with files.temporary_folder("boneage-test") as own:
        assert (folder / "picture.png").exists()
        assert own != folder
    assert not own.exists()


@pytest.mark.parametrize("lock", [locks.exclusive, locks.file_lock])
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_named_in_words(
    tmp_path, monkeypatch, lock, number
):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with (
        pytest.raises(InputError, match="run must lie on a file system with locks"),
        lock(tmp_path / "run"),
    ):
        pass


def test_disk_that_fails_for_another_reason_is_not_called_one_without_locks(
    tmp_path, monkeypatch
):
    def flock(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", flock)
    with (
        pytest.raises(OSError, match="run") as caught,
        locks.exclusive(tmp_path / "run"),
    ):
        pass
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (struct.error("unpack requires 4 bytes"), "unpack requires 4 bytes"),
        (RecursionError("too deep\nby far"), "too deep by far"),
        (KeyError(), "KeyError"),
    ],
)
def test_whatever_a_parser_raises_is_one_line(raised, words):
    def parse():
        with errors.refuse_damaged("1.dcm", "cannot be decoded", "copy it again"):
            raise raised

    with pytest.raises(InputError) as caught:
        parse()
    assert str(caught.value) == f"1.dcm cannot be decoded ({words}); copy it again"


def test_a_message_for_the_user_passes_unchanged():
    message = InputError("1.dcm must be one grey frame (got 3); export it again")

    def parse():
        with errors.refuse_damaged("1.dcm", "cannot be decoded", "copy it again"):
            raise message

    with pytest.raises(InputError) as caught:
        parse()
    assert caught.value is message


def test_an_interruption_is_no_damaged_file():
    def parse():
        with errors.refuse_damaged("1.dcm", "cannot be decoded", "copy it again"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parse()


def test_bytes_of_a_name_that_are_no_text_are_escaped():
    assert errors.printable(os.fsdecode(b"Jos\xe9 \xc3\xa9.png")) == "Jos\\xe9 é.png"
