"""Writing files so that what exists is whole."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

SETTLED_S = 10
"""A scratch folder older than that has its lock."""


class InputError(Exception):
    """What the user gave cannot be used; the message names it and says what to do."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends.

    The temporary name depends on nothing but `path`: a process killed half-way
    leaves one hidden file, and the next attempt at the same file overwrites it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: dict) -> None:
    """Write `content` as readable JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path, made_by: str) -> dict:
    """Read a JSON object; InputError names `made_by`, the step that writes it."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run {made_by} first") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


def at_least(least: float, **numbers: float) -> None:
    """Raise InputError for a number below `least`, named as the user's flag."""
    for name, number in numbers.items():
        if number < least:
            raise InputError(f"--{name.replace('_', '-')} {number}: at least {least}")


def up_to_date(product: Path, *sources: Path | None) -> bool:
    """Whether `product` exists and none of the `sources` that exist is newer."""
    if not product.exists():
        return False
    made = product.stat().st_mtime
    return all(s.stat().st_mtime <= made for s in sources if s and s.exists())


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Work on a folder that no other process works on.

    Raises:
        InputError: one does; the lock vanishes with the process that holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            yield
    except filelock.Timeout:
        raise InputError(f"{folder}: another process is at work on it") from None


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Yield an empty folder for files that are nobody's once the block ends.

    Folders of that name left by processes that were killed are removed; a living
    process holds the lock of its own.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{name}-*"):
        # Timeout: in use. OSError: another user's.
        with (
            contextlib.suppress(filelock.Timeout, OSError),
            filelock.FileLock(left / "lock", timeout=0),
        ):
            # a moment passes between a folder's making and its lock
            if time.time() - left.stat().st_ctime > SETTLED_S:
                shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(prefix=f"{name}-") as folder,
        filelock.FileLock(Path(folder) / "lock"),
    ):
        yield Path(folder)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of `path`; it vanishes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock")):
        yield
