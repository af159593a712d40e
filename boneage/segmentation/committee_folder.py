"""The committee's folder: its members of one finished epoch, and what they expect."""

from collections.abc import Sequence
from pathlib import Path

from boneage.errors import InputError
from boneage.io.files import read_json, write_json
from boneage.layout import STATE_JSON

TRAINED_BY = "al_segmentation/step2_interactive_segmentation.py"

STATE = ("epoch", "members", "clip_limit", "committee_hash")
"""The networks' facts in state.json; the rest belongs to the loop."""


def read_state(folder: Path) -> dict:
    """The facts of the finished epoch, STATE among them.

    Raises:
        InputError: there is no committee.
    """
    return read_json(folder / STATE_JSON, TRAINED_BY, STATE)


def advice(folder: Path) -> str:
    """What to do about a member that is of no use."""
    return f"remove {folder} and run {TRAINED_BY} again"


def member_paths(folder: Path, state: dict) -> list[Path]:
    """Where the members of the finished epoch are.

    state: of `read_state`.
    """
    paths = []
    for member in range(state["members"]):
        path = folder / f"member_{member}.keras"
        # not renamed yet: the process was killed, or is about to
        pending = pending_path(folder, member, state["epoch"])
        paths.append(pending if pending.exists() else path)
    return paths


def check_input(
    path: Path, shape: Sequence[int], first: Sequence[int], advice: str
) -> None:
    """Raise InputError unless a member takes what the first one does."""
    if tuple(shape) != tuple(first):
        raise InputError(
            f"{path} must have the input of member_0.keras, {tuple(first)} (got "
            f"{tuple(shape)}); {advice}"
        )


def pending_path(folder: Path, member: int, epoch: int) -> Path:
    """Where a member is until its epoch is committed."""
    return folder / f"member_{member}.epoch_{epoch}.keras"


def commit_epoch(folder: Path, state: dict | None = None) -> dict | None:
    """Make an epoch the committee's, or finish what a killed process began.

    `state.json` alone decides which epoch is finished: members written for it take
    their final names, members of any other epoch are removed.

    Returns:
        The state now valid, None when no epoch was ever finished.
    """
    path = folder / STATE_JSON
    if state is not None:
        write_json(path, state)
    elif not path.exists():
        for left_over in folder.glob("member_*.epoch_*.keras"):
            left_over.unlink()
        return None
    state = read_json(path, TRAINED_BY, ["epoch"])
    for pending in folder.glob("member_*.epoch_*.keras"):
        name, epoch, _ = pending.name.split(".")
        if epoch == f"epoch_{state['epoch']}":
            pending.replace(folder / f"{name}.keras")
        else:
            pending.unlink()
    return state
