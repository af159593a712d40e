"""Locks on folders and files, which vanish with the process that holds them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from boneage.errors import InputError
from boneage.io.files import name_oserror


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Work on a folder that no other process works on.

    Raises:
        InputError: one does; the lock vanishes with the process that holds it.
    """
    path = folder.with_name(f".{folder.name}.lock")
    lock = filelock.FileLock(path, timeout=0)
    made = [place for place in path.parents if not place.exists()]
    with name_oserror(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise InputError(f"{folder}: another process is at work on it") from None
    try:
        yield
    finally:
        if made and list(path.parent.iterdir()) == [path]:
            # nothing came of it: wrong options leave no folder behind
            path.unlink()
            # another process may have begun there meanwhile
            with contextlib.suppress(OSError):
                for place in made:
                    place.rmdir()
        lock.release()


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of `path`; it vanishes with the process that holds it."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    with name_oserror(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
