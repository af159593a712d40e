"""When the person who annotates can stop, and what says so.

Two things must have settled: what the committee proposes for the radiographs that it
doubts most is hardly changed any more, and its doubt about the whole pool no longer
falls. docs/results/active_learning.md says what following this advice costs.
Source: Vlachos, A stopping criterion for active learning, Computer Speech & Language
2008, for the pool; the answers are the evidence that he lacks.
"""

from collections import defaultdict

import numpy as np

from boneage.active_learning import excluded
from boneage.active_learning.query_log import QueryLog
from boneage.errors import InputError
from boneage.io import radiographs
from boneage.io.files import read_json
from boneage.layout import Layout
from boneage.segmentation import dice as segmentation_dice

ROUNDS = 2
"""Rounds that must agree."""
HARDLY_CHANGED = 0.95
"""Mean Dice of proposals and saved masks, of each of these rounds."""
NO_LONGER_FALLS = 0.9
"""The pool's doubt in these rounds, as a share of that in as many rounds before."""


def advice(layout: Layout) -> str:
    """Tell the person to stop, with the evidence; empty while asking still pays."""
    state = layout.committee_state
    if not state.exists():
        return ""
    facts = read_json(state, "step2_interactive_segmentation.py")
    rows = facts.get("history", [])
    # rows of before they named the measure had that of the settings
    usual = facts.get("settings", {}).get("measure")
    measures = [row.get("measure", usual) for row in rows]
    doubts: list[float] = []
    for row, measure in zip(reversed(rows), reversed(measures), strict=True):
        # doubts by one measure are no fractions of those by another
        if measure != measures[-1]:
            break
        if row.get("pool_score") is not None:
            doubts.insert(0, row["pool_score"])
    answers = proposals_against_answers(layout, facts.get("began", ""))
    return in_words(answers, doubts)


def in_words(answers: dict[int, list[float]], doubts: list[float]) -> str:
    """The advice on given evidence.

    answers: by round, the Dice of each proposal with the mask that was saved.
    doubts: the pool's mean score by round; empty where radiographs are chosen by
    chance, which are no harder than others: their proposals alone decide.
    """
    latest = [answers[number] for number in sorted(answers)][-ROUNDS:]
    settled = [np.mean(dice) >= HARDLY_CHANGED for dice in latest]
    if len(latest) < ROUNDS or not all(settled):
        return ""
    agreed = " and ".join(f"{np.mean(dice):.3f}" for dice in latest)
    words = (
        f"You can stop now. Your masks of the last {ROUNDS} rounds, "
        f"{sum(map(len, latest))} radiographs, agree with what was proposed: Dice "
        f"{agreed}"
    )
    if not doubts:
        return f"{words}."
    now, before = doubts[-ROUNDS:], doubts[-2 * ROUNDS : -ROUNDS]
    if len(before) < ROUNDS or np.mean(now) < NO_LONGER_FALLS * np.mean(before):
        return ""
    return (
        f"{words}. The committee's doubt about the pool no longer falls: "
        f"{np.mean(now):.4f} after {np.mean(before):.4f}."
    )


def proposals_against_answers(
    layout: Layout, began: str = ""
) -> dict[int, list[float]]:
    """Of the latest rounds that were answered, the Dice of proposals and masks.

    A round counts where all its radiographs have been dealt with or left behind by a
    later one; an unreadable file is not evidence. began: when this committee did, as in
    the log: rounds asked before were another one's.
    """
    asked = defaultdict(list)
    for entry in QueryLog(layout.queries).read():
        is_its_own = entry.get("time", "") >= began
        if entry["action"] == "asked" and entry["round"] and is_its_own:
            asked[entry["round"]].append(entry["id"])
    flagged = excluded.flagged(layout)
    latest = max(asked, default=0)
    if any(i not in flagged and not layout.answer(i).exists() for i in asked[latest]):
        del asked[latest]
    found: dict[int, list[float]] = {}
    for number in sorted(asked, reverse=True):
        dice = [d for i in asked[number] if (d := _agreement(layout, i)) is not None]
        if dice:
            found[number] = dice
        if len(found) == ROUNDS:
            break
    return found


def _agreement(layout: Layout, radiograph_id: int) -> float | None:
    proposal, answer = layout.proposal(radiograph_id), layout.answer(radiograph_id)
    if not (proposal.exists() and answer.exists()):
        return None
    try:
        proposed = radiographs.read_mask(proposal)
        return segmentation_dice.dice(
            proposed, radiographs.read_mask(answer, proposed.shape)
        )
    except InputError:  # named where the pair is taken in
        return None
