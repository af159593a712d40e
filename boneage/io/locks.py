"""Locks on folders and files, which vanish with the process that holds them."""

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

from boneage.errors import InputError
from boneage.io.files import name_oserror

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Error numbers of file systems without locks: NFS without lockd, some FUSE mounts."""


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Work on a folder that no other process works on.

    Raises:
        InputError: one does, or the file system has no locks; the lock vanishes with
            the process that holds it.
    """
    path = folder.with_name(f".{folder.name}.lock")
    lock = filelock.FileLock(path, timeout=0)
    made = [place for place in path.parents if not place.exists()]
    with name_oserror(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            _acquire(lock, folder)
        except filelock.Timeout:
            raise InputError(
                f"{folder} cannot be used: another process is at work on it; wait for "
                "it to end, or choose another folder"
            ) from None
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


def _acquire(lock: filelock.BaseFileLock, subject: Path) -> None:
    """Lock; InputError where the file system cannot."""
    without = InputError(
        f"{subject} must lie on a file system with locks (got one without); choose a "
        "local disk, or mount this one with locks"
    )
    try:
        with warnings.catch_warnings(action="ignore"):
            lock.acquire()
    except NotImplementedError:  # what older versions of filelock make of ENOSYS
        raise without from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise without from error
    # newer ones fall back to a file that a killed process leaves behind for good
    if isinstance(lock, filelock.SoftFileLock):
        lock.release()
        raise without


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of `path`; it vanishes with the process that holds it."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    with name_oserror(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, path)
    try:
        yield
    finally:
        lock.release()
