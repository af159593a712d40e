"""When the person who annotates can stop, and on what evidence.

Two things must have settled: the committee's proposals for the radiographs that it is
least certain of are hardly corrected any more, and its uncertainty about the whole pool
has levelled off. docs/results states what following this advice costs.
Source: Vlachos, A stopping criterion for active learning, Computer Speech & Language
2008, for the pool; the corrections are evidence that he does not have.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from boneage.active_learning.query_folder import AnnotationStatus
from boneage.active_learning.query_log import QueryLog
from boneage.active_learning.state import State
from boneage.errors import InputError
from boneage.ids import RadiographId
from boneage.io import radiographs
from boneage.io.files import read_json
from boneage.layout import Layout
from boneage.segmentation.dice import dice

ROUNDS = 2
"""Rounds that must agree."""
HARDLY_CORRECTED = 0.95
"""Mean Dice of proposals and saved masks, in each of these rounds."""
LEVELLED_OFF = 0.9
"""The pool's mean score in these rounds, as a fraction of that in as many before."""


@dataclass(frozen=True)
class Outlook:
    """Whether the person can stop, or when they may hear that they can.

    advice: with the evidence; empty while asking still pays. rounds_left: before the
    advice can come at the earliest, the present round included; None where no
    committee is being trained.
    """

    advice: str = ""
    rounds_left: int | None = None


def outlook(layout: Layout) -> Outlook:
    """Read the evidence from disk."""
    path = layout.committee_state
    if not path.exists():
        return Outlook()
    state = State.from_facts(read_json(path, "step2_interactive_segmentation.py"))
    status = AnnotationStatus.read(layout)
    dice_by_round, pool_scores = _evidence(layout, state, status)
    advice = advice_text(dice_by_round, pool_scores)
    left = None if state is None else rounds_left(dice_by_round, pool_scores)
    return Outlook(advice, 0 if advice else left)


def advice_of_state(
    layout: Layout, state: State | None, status: AnnotationStatus
) -> str:
    """The advice on what was read already; state: None for an exported committee."""
    return advice_text(*_evidence(layout, state, status))


def _evidence(
    layout: Layout, state: State | None, status: AnnotationStatus
) -> tuple[dict[int, list[float]], list[float]]:
    """What `advice_text` takes."""
    pool_scores: list[float] = []
    for record in reversed(state.history if state else []):
        # scores of another measure cannot be compared
        if state and record.measure != state.history[-1].measure:
            break
        if record.pool_score is not None:
            pool_scores.insert(0, record.pool_score)
    began = state.began if state else ""
    return proposal_dice(layout, status, began), pool_scores


def rounds_left(proposal_dice: dict[int, list[float]], pool_scores: list[float]) -> int:
    """How many rounds must be answered before there can be advice, at least one.

    Both as in `advice_text`. Nobody knows when corrections will become rare; this
    counts the rounds of evidence that are missing.
    """
    missing = ROUNDS
    for number in sorted(proposal_dice):
        is_settled = np.mean(proposal_dice[number]) >= HARDLY_CORRECTED
        missing = missing - 1 if is_settled else ROUNDS
    if pool_scores:
        missing = max(missing, 2 * ROUNDS - len(pool_scores))
    return max(1, missing)


def advice_text(proposal_dice: dict[int, list[float]], pool_scores: list[float]) -> str:
    """The advice on given evidence; empty while asking still pays.

    proposal_dice: by round, the Dice of each proposal with the mask that was saved.
    pool_scores: the pool's mean score by round; empty where radiographs are chosen at
    random: they are no harder than the others, so their proposals alone decide.
    """
    latest = [proposal_dice[number] for number in sorted(proposal_dice)][-ROUNDS:]
    settled = [np.mean(values) >= HARDLY_CORRECTED for values in latest]
    if len(latest) < ROUNDS or not all(settled):
        return ""
    means = " and ".join(f"{np.mean(values):.3f}" for values in latest)
    text = (
        f"You can stop now. In the last {ROUNDS} rounds ({sum(map(len, latest))} "
        f"radiographs) your masks agree with the proposals: mean Dice {means}"
    )
    if not pool_scores:
        return f"{text}."
    now, before = pool_scores[-ROUNDS:], pool_scores[-2 * ROUNDS : -ROUNDS]
    if len(before) < ROUNDS or np.mean(now) < LEVELLED_OFF * np.mean(before):
        return ""
    return (
        f"{text}. The committee's uncertainty about the pool has levelled off: "
        f"{np.mean(now):.4f} after {np.mean(before):.4f}."
    )


def proposal_dice(
    layout: Layout, status: AnnotationStatus, began: str = ""
) -> dict[int, list[float]]:
    """Dice of proposals and saved masks in the latest answered rounds, by round.

    A round counts where all its radiographs are answered or flagged, or where a later
    round was asked; unreadable files do not count. began: when this committee's
    training did, as in the log: earlier rounds were another committee's.
    """
    ids_of_round = defaultdict(list)
    for entry in QueryLog(layout.queries).entries():
        is_its_own = entry.get("time", "") >= began
        if entry["action"] == "asked" and entry["round"] and is_its_own:
            ids_of_round[entry["round"]].append(entry["id"])
    latest = max(ids_of_round, default=0)
    if not all(status.is_done(i) for i in ids_of_round[latest]):
        del ids_of_round[latest]
    by_round: dict[int, list[float]] = {}
    for number in sorted(ids_of_round, reverse=True):
        values = [
            value
            for i in ids_of_round[number]
            if (value := _proposal_dice(layout, i)) is not None
        ]
        if values:
            by_round[number] = values
        if len(by_round) == ROUNDS:
            break
    return by_round


def _proposal_dice(layout: Layout, radiograph_id: RadiographId) -> float | None:
    proposal, answer = layout.proposal(radiograph_id), layout.answer(radiograph_id)
    if not (proposal.exists() and answer.exists()):
        return None
    try:
        proposed = radiographs.read_mask(proposal)
        return dice(proposed, radiographs.read_mask(answer, proposed.shape))
    except InputError:  # named where the pair is packed
        return None
