"""A trained committee that only looks: compiled, without Keras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from boneage.io import engine
from boneage.io.files import temporary_folder
from boneage.segmentation import committee_folder

if TYPE_CHECKING:
    from boneage.io.engine import CompiledNetwork
    from boneage.segmentation.committee import Committee

LOGITS = "mask_logits"
"""The last layer of a member, see `unet.build`."""


class PredictingCommittee(Protocol):
    """What is asked of a trained committee, on Keras or compiled.

    size: side of its images, px. clip_limit, epoch, committee_hash: see
    `committee.Committee`.
    """

    clip_limit: float
    epoch: int
    committee_hash: str

    @property
    def size(self) -> int: ...  # noqa: D102

    def probabilities(self, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """(member, image, row, column) float32 in [0, 1] of (image, size, size) uint8.

        batch_size: images in memory at a time.
        """


class CompiledCommittee:
    """Members of one input size that predict, and cannot be trained."""

    def __init__(self, members: list[CompiledNetwork], state: dict) -> None:
        """Take members that put out LOGITS; state: of `committee_folder.read_state`."""
        self.members = members
        self.clip_limit: float = state["clip_limit"]
        self.epoch: int = state["epoch"]
        self.committee_hash: str = state["committee_hash"]

    @property
    def size(self) -> int:
        """Side of the images, px."""
        return self.members[0].input_shape[0]

    def probabilities(self, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """(member, image, row, column) float32 in [0, 1] of (image, size, size) uint8.

        batch_size: images in memory at a time.
        """
        parts = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size, ..., np.newaxis]
            fed = {"image": batch.astype(np.float32)}
            logits = [member(fed)[0][..., 0] for member in self.members]
            parts.append(mask_probabilities(np.stack(logits)))
        return np.concatenate(parts, axis=1)


def open_committee(folder: Path, thread_count: int = 0) -> PredictingCommittee:
    """The committee to predict with: compiled if it can be, else in Keras.

    thread_count: see `engine.compile_network`.

    Raises:
        InputError: there is no committee, or a member is damaged.
    """
    state = committee_folder.read_state(folder)
    paths = committee_folder.member_paths(folder, state)
    compiled = compile_committee(paths, state, thread_count)
    if compiled is not None:
        return compiled
    # seconds, and needed only where there is no engine
    from boneage.segmentation.committee import Committee

    return Committee.load(folder)


def compile_committee(
    paths: Sequence[Path], state: dict, thread_count: int = 0
) -> CompiledCommittee | None:
    """Compile members; None where Keras has to run them.

    Args:
        paths: of the members, in one folder.
        state: their facts, see `committee_folder.STATE`.
        thread_count: see `engine.compile_network`.

    Raises:
        InputError: a member is missing, damaged or unlike the first.
    """
    members: list[CompiledNetwork] = []
    for path in paths:
        advice = committee_folder.advice(path.parent)
        member = engine.compile_network(path, [LOGITS], advice, thread_count)
        if member is None:
            return None
        members.append(member)
        committee_folder.check_input(
            path, member.input_shape, members[0].input_shape, advice
        )
    return CompiledCommittee(members, state)


def compiled_copy(committee: Committee) -> PredictingCommittee:
    """A committee in training as it is now, compiled; itself where that cannot be."""
    if not engine.is_available():
        return committee
    facts = {
        "clip_limit": committee.clip_limit,
        "epoch": committee.epoch,
        "committee_hash": committee.committee_hash,
    }
    with temporary_folder("boneage-committee") as folder:
        paths = [folder / f"member_{i}.keras" for i in range(len(committee.members))]
        for member, path in zip(committee.members, paths, strict=True):
            member.save(path)
        return compile_committee(paths, facts) or committee


def mask_probabilities(logits: np.ndarray) -> np.ndarray:
    """The logistic function, without its overflow at large negative logits."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)
