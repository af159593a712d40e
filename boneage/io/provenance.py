"""Where a trained network comes from: commit, versions, hashes."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from importlib import metadata
from pathlib import Path

from boneage.layout import REPOSITORY


def file_hash(path: Path | str) -> str | None:
    """Twelve hexadecimal digits that name a file's content; None without the file."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


@functools.cache
def provenance() -> dict:
    """Git commit and package versions as the process began, for config.json.

    A long training outlives commits: its code is that of its start.
    """
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # no git on this machine
        commit = ""
    packages: tuple[str, ...] = ("keras", "tensorflow", "jax", "torch", "numpy", "h5py")
    packages += ("onnxruntime", "opencv-python-headless")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # another backend, another OpenCV
            continue
    return {"git_commit": commit or None, "versions": versions}
