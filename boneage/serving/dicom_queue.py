"""The queue of a DICOM node on disk: a kill loses nothing and repeats nothing.

An object is in one of four places, and each step from one to the next is a rename:

    incoming/<key>.dcm      received, answered with success, not yet read
    results/<key>/          read; its results wait to be delivered
    failed/<key>.dcm, .txt  could not be read, with the reason
    done.txt                keys of what has been delivered

The key stands for the object's UID, which could name a patient, and is a hash of it.
"""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from boneage.io.files import append_line, atomic_write, name_oserror

KEY_DIGITS = 20


def key_of(sop_instance_uid: str) -> str:
    """The name of an object in the queue."""
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:KEY_DIGITS]


class Queue:
    """Objects that wait, their results, and what is done; safe to share by threads.

    One process at a time: hold `locks.exclusive(folder)` meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        """Open a queue, and end what a kill left half-way.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder = folder
        self.incoming, self.results = folder / "incoming", folder / "results"
        self.failed, self.done_list = folder / "failed", folder / "done.txt"
        self._lock = threading.Lock()
        for place in (self.incoming, self.results, self.failed):
            with name_oserror(place):
                place.mkdir(parents=True, exist_ok=True)
        self._done = self._read_done()
        self._recover()

    def _read_done(self) -> set[str]:
        if not self.done_list.exists():
            return set()
        lines = self.done_list.read_text().splitlines()
        # the last line may be torn
        return {line for line in lines if len(line) == KEY_DIGITS}

    def _recover(self) -> None:
        for path in self.incoming.glob(".*"):
            path.unlink()
        for path in self.results.glob(".*"):
            shutil.rmtree(path)
        for folder in self.undelivered():
            if folder.name in self._done:
                shutil.rmtree(folder)
        for path in self.waiting():
            if path.stem in self._done or (self.results / path.stem).exists():
                path.unlink()

    def is_known(self, key: str) -> bool:
        """Whether the object waits, has results, or is done; not if it failed."""
        return (
            key in self._done
            or (self.incoming / f"{key}.dcm").exists()
            or (self.results / key).exists()
        )

    def add(self, key: str, content: bytes, check: Callable[[Path], None]) -> bool:
        """Keep an object, on the disk itself when this returns; False if it is known.

        check: looks at the file before it counts, and raises what is wrong with it.

        Raises:
            OSError: the disk is full; nothing is left of the object then.
        """
        if self.is_known(key):
            return False
        path = self.incoming / f"{key}.dcm"
        # two associations may send the same object: each has its own temporary name
        temporary = self.incoming / f".{key}.{threading.get_ident()}.dcm"
        with name_oserror(path):
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                check(temporary)
                with self._lock:
                    if self.is_known(key):
                        return False
                    temporary.replace(path)
                _sync_folder(self.incoming)
            finally:
                temporary.unlink(missing_ok=True)
        return True

    def waiting(self) -> list[Path]:
        """Objects to read, the one that has waited longest first."""
        paths = [path for path in self.incoming.glob("*.dcm") if path.name[0] != "."]
        return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def store_results(self, key: str, write: Callable[[Path], object]) -> Path:
        """Keep an object's results, and drop the object; returns their folder.

        write: writes them into the folder it is given.

        Raises:
            OSError: the disk is full; the object waits as before.
        """
        partial, folder = self.results / f".{key}", self.results / key
        with name_oserror(folder):
            try:
                partial.mkdir(exist_ok=True)
                write(partial)
                for path in partial.iterdir():
                    sync_file(path)
                partial.replace(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            _sync_folder(self.results)
            (self.incoming / f"{key}.dcm").unlink(missing_ok=True)
        return folder

    def undelivered(self) -> list[Path]:
        """Folders of results that wait, the oldest first."""
        paths = [path for path in self.results.iterdir() if path.name[0] != "."]
        return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def complete(self, key: str) -> None:
        """Note that an object's results have been delivered, and drop them."""
        with self._lock:
            append_line(self.done_list, f"{key}\n")
            self._done.add(key)
        shutil.rmtree(self.results / key)

    def set_aside(self, key: str, reason: str) -> None:
        """Move an object that cannot be read, or whose results nobody takes, aside."""
        with atomic_write(self.failed / f"{key}.txt") as temporary:
            temporary.write_text(f"{reason}\n", encoding="utf-8")
        for place in (self.incoming / f"{key}.dcm", self.results / key):
            if place.exists():
                target = self.failed / place.name
                if target.is_dir():
                    shutil.rmtree(target)
                place.replace(target)


def sync_file(path: Path) -> None:
    """Have a file's content on the disk itself: power may fail, too."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk itself, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
