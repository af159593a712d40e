"""Writing files so that what exists is whole."""

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import filelock

from boneage.errors import InputError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends.

    The temporary name depends on nothing but `path`: a process killed half-way
    leaves one hidden file, and the next attempt at the same file overwrites it.

    Raises:
        OSError: the disk is full, the folder is read-only; it names `path`.
    """
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    with name_oserror(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            # of a read-only folder as well: nothing was written then
            if temporary.exists():
                temporary.unlink()


@contextlib.contextmanager
def name_oserror(path: Path) -> Iterator[None]:
    """Let errors of writing `path` name it: a full disk names no file by itself."""
    try:
        yield
    except OSError as error:
        # named by somebody nearer to it, and no temporary name
        if error.filename and not Path(error.filename).name.startswith("."):
            raise
        # HDF5 gives the number in its message only
        match = re.search(r"errno = (\d+)", str(error))
        number = error.errno or (int(match[1]) if match else None)
        if number is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(number, os.strerror(number), str(path)) from error


def append_line(path: Path, text: str) -> None:
    """Append one or more lines to a file; a line that a killed process tore is ended.

    Nothing waits in a buffer that a full disk would refuse once more when it closes.

    Raises:
        OSError: the disk is full, the file cannot be written; it names `path`.
    """
    with name_oserror(path), path.open("a+b", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            text = text if file.read(1) == b"\n" else f"\n{text}"
        content = text.encode()
        if file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def preallocate(path: Path, byte_count: int) -> None:
    """Let `path` have room for so many bytes, those that it has included.

    For writers that do not stand a disk that fills up: the HDF5 library crashes.

    Raises:
        OSError: there is no such room, or the quota is used up.
    """
    with name_oserror(path):
        if hasattr(os, "posix_fallocate"):
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, byte_count)
        elif shutil.disk_usage(path.parent).free < byte_count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_json(path: Path, content: dict) -> None:
    """Write `content` as readable JSON, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path, made_by: str, keys: Collection[str] = ()) -> dict:
    """Read a JSON object that has `keys`.

    Raises:
        InputError: it is none; names `made_by`, the step that writes it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} cannot be found; run {made_by} first") from None
    # JSONDecodeError and UnicodeDecodeError are both ValueError
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as JSON ({error}); run {made_by} again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} must be a JSON object (got another value); run {made_by} again"
        )
    absent = [key for key in keys if key not in content]
    if absent:
        raise InputError(
            f"{path} must have {', '.join(absent)} (got none); run {made_by} again"
        )
    return content


def up_to_date(product: Path, *sources: Path | None) -> bool:
    """Whether `product` exists and none of the `sources` that exist is newer."""
    if not product.exists():
        return False
    made = product.stat().st_mtime
    return all(s.stat().st_mtime <= made for s in sources if s and s.exists())


@contextlib.contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Yield an empty folder for files that are nobody's once the block ends.

    What processes that were killed left under that name goes first.
    """
    clear_temporary_folders(name)
    # locked before there is a folder: one whose lock is free is nobody's
    unique = f"{name}-{os.getpid()}-{time.time_ns()}"
    path = Path(tempfile.gettempdir(), f"{unique}.lock")
    with filelock.FileLock(path):
        folder = path.with_suffix("")
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
            path.unlink()


def clear_temporary_folders(name: str) -> None:
    """Remove the scratch folders of that name whose processes were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{name}-*.lock"):
        # Timeout: in use. OSError: another user's.
        with (
            contextlib.suppress(filelock.Timeout, OSError),
            filelock.FileLock(path, timeout=0),
        ):
            if path.with_suffix("").exists():
                shutil.rmtree(path.with_suffix(""))
            path.unlink()
