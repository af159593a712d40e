"""Whether two runs of the pipeline have left the same files, and whole ones."""

import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd

from boneage.active_learning.query_log import ANSWERS
from boneage.io import radiographs
from boneage.segmentation.dice import dice

LOSS_TOLERANCE = 1e-3
"""Relative, of losses, and of metrics; threads add in another order."""
MONTHS_TOLERANCE = 0.05
LEAST_DICE = 0.999
GREY_LEVELS = 2.0
"""Mean difference of pictures of maps, which are a network's."""
VOLATILE = (
    "seconds",
    "time",
    "began",
    "git_commit",
    "versions",
    "weights_hash",
    "committee_hash",
    "committee",
    "committees",
    "parent",
)
"""What no two runs share: times, and hashes of weights or of files with their time."""
NO_NETWORK = ("boneage-training-dataset", "truth", "segmented_hand_al", "annotated")
"""Folders whose pictures are the same to the bit."""
TEMPORARY = (".partial", ".epoch_")


def unlike(reference: Path, folder: Path) -> tuple[int, list[str], list[str]]:
    """How many files there should be, those that differ, and temporary ones."""
    wanted, found = files(reference), files(folder)
    temporary = {name for name in found if any(x in name for x in TEMPORARY)}
    temporary |= {name for name in found if name.startswith("tmp/")}
    wanted = {name for name in wanted if not name.startswith("tmp/")}
    differing = [
        name
        for name in sorted(wanted | (found - temporary))
        if name not in found
        or name not in wanted
        or not alike(reference / name, folder / name)
    ]
    return len(wanted), differing, sorted(temporary)


def files(folder: Path) -> set[str]:
    """All files but locks, and TensorBoard's logs, which are named by the time."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".lock"
        and path.name != ".ses"  # ONNX Runtime's, in the temporary folder
        and path.parent.name != "tensorboard"
    }


def not_whole(folder: Path) -> list[str]:
    """Files that are there by their own name and cannot be read."""
    names = [name for name in files(folder) if not name.startswith("tmp/")]
    names = [name for name in names if not any(x in name for x in TEMPORARY)]
    return [name for name in sorted(names) if not _is_whole(folder / name)]


def _is_whole(path: Path) -> bool:
    if path.suffix == ".h5":
        try:
            with h5py.File(path) as file:
                return len(file) > 0
        except OSError:
            return False
    if path.suffix == ".png":
        return _reads_to_its_end(path)
    if path.suffix == ".csv":
        return path.read_text().endswith("\n")
    if path.suffix == ".json":
        try:
            return bool(json.loads(path.read_text()))
        except json.JSONDecodeError:
            return False
    if path.suffix == ".keras":
        return zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is None
    # half a line of queries.jsonl is passed over, and the next begins a line of its own
    return path.suffix == ".jsonl" or path.stat().st_size > 0


def _reads_to_its_end(path: Path) -> bool:
    content = path.read_bytes()
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return decoded is not None and b"IEND" in content[-12:]


def annotations(gt: Path, packed: bool) -> tuple[list[int], list[int]]:
    """Ids drawn but not logged or, if they should be, packed; ids twice in either."""
    log = gt / "queries.jsonl"
    if not log.exists():
        return [], []
    drawn = [int(p.name.removesuffix("_bin.png")) for p in gt.glob("new/*_bin.png")]
    with h5py.File(gt / "annotated.h5") as file:
        rows = Counter(file["id"][:].tolist())
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    answers = [line for line in lines if line["action"] in ANSWERS]
    logged = {line["id"] for line in answers}
    # what is shared has an answer of each person
    by_person = Counter((line["id"], line.get("annotator")) for line in answers)
    lost = [i for i in sorted(drawn) if i not in logged or (packed and not rows[i])]
    doubled = {i for i, count in rows.items() if count > 1}
    doubled |= {i for (i, _), count in by_person.items() if count > 1}
    return lost, sorted(doubled)


def alike(first: Path, second: Path) -> bool:
    """Whether two files say the same, networks and what they predict within bounds."""
    if first.suffix == ".h5":
        return _same_datasets(first.read_bytes(), second.read_bytes())
    if first.suffix == ".png":
        return _same_pictures(first, second)
    if first.suffix == ".csv":
        return _same_table(first, second)
    if first.suffix == ".json":
        one, other = (json.loads(path.read_text()) for path in (first, second))
        return _same_values(one, other)
    if first.suffix == ".jsonl":
        return _answers(first) == _answers(second)
    # networks: their metrics stand in history.csv and predictions.csv; videos hold a
    # number by chance, and a frame for each epoch of the panel's maps, compared above
    if first.suffix in (".keras", ".webm"):
        return True
    return first.read_bytes() == second.read_bytes()


def _same_pictures(first: Path, second: Path) -> bool:
    one, other = (
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (first, second)
    )
    if one.shape != other.shape:
        return False
    if first.name.endswith("_bin.png") or first.name.endswith("_proposal.png"):
        return dice(radiographs.read(first), radiographs.read(second)) >= LEAST_DICE
    if first.parent.name in NO_NETWORK:
        return np.array_equal(one, other)
    return float(np.abs(one.astype(float) - other.astype(float)).mean()) <= GREY_LEVELS


def _answers(path: Path) -> set[tuple]:
    entries = map(json.loads, path.read_text().splitlines())
    # killed between mask and line, a proposal saved as it was is logged as drawn; what
    # is doubled, `annotations` tells
    return {
        (e["id"], "answered" if e["action"] in ANSWERS else e["action"])
        for e in entries
    }


def _same_datasets(first: bytes, second: bytes) -> bool:
    with h5py.File(io.BytesIO(first)) as one, h5py.File(io.BytesIO(second)) as other:
        if one.keys() != other.keys():
            return False
        # maps and predictions of the panel are a network's
        loose = {"rtol": LOSS_TOLERANCE, "atol": MONTHS_TOLERANCE}
        return all(
            one[name].shape == other[name].shape
            and (
                np.allclose(one[name][:], other[name][:], **loose)
                if one[name].dtype.kind == "f"
                else np.array_equal(one[name][:], other[name][:])
            )
            for name in one
        )


def _same_table(first: Path, second: Path) -> bool:
    one, other = (
        pd.read_csv(path).drop(columns=list(VOLATILE), errors="ignore")
        for path in (first, second)
    )
    try:
        pd.testing.assert_frame_equal(
            one, other, check_dtype=False, rtol=LOSS_TOLERANCE, atol=MONTHS_TOLERANCE
        )
    except AssertionError:
        return False
    return True


def _same_values(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=LOSS_TOLERANCE, atol=MONTHS_TOLERANCE))
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - set(VOLATILE)
        return one.keys() == other.keys() and all(
            _same_values(one[key], other[key]) for key in keys
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_values, one, other))
    return one == other
