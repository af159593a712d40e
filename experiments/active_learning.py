"""Does active learning pay? Test Dice by number of annotations, against random choice.

    python -m experiments.active_learning run --annotated DATA/gt/annotated.h5 --out OUT
    python -m experiments.active_learning report --out OUT

`run` trains committees on a packed file of annotated pairs: a part of them, drawn for
each seed, is for testing and the rest is the pool; the mask of a pair is used only once
it was queried. Finished runs are skipped, so that the work can be shared among
processes and days. `report` draws the finished runs.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from boneage import cli
from boneage.active_learning import acquisition, selection
from boneage.io import hdf5
from boneage.io.files import atomic_write
from boneage.segmentation import dice as segmentation_dice
from boneage.segmentation.committee import Committee, EpochPlan
from experiments import learning_curves
from experiments.committee_variants import KINDS


@dataclass(frozen=True)
class Variant:
    """One way of choosing queries; all have equally many annotations and images."""

    measure: str = "vote_entropy"
    members: int = 2
    kind: str = "seeds"
    per: str = "hand"
    edge: str = "all"
    first: str = "random"
    among: int = 1
    random_share: float = 0.0
    anew: bool = False
    everything: bool = False


PLAIN = Variant()
VARIANTS = {
    "all_annotations": replace(PLAIN, everything=True),
    "random": replace(PLAIN, measure="random"),
    "vote_entropy": PLAIN,
    "consensus_entropy": replace(PLAIN, measure="consensus_entropy"),
    "jensen_shannon": replace(PLAIN, measure="jensen_shannon"),
    "pairwise_dice": replace(PLAIN, measure="pairwise_dice"),
    "feature_cosine": replace(PLAIN, measure="feature_cosine"),
    "not_normalised": replace(PLAIN, per="image"),
    "off_the_edge": replace(PLAIN, edge="off"),
    "on_the_edge": replace(PLAIN, edge="only"),
    "3_members": replace(PLAIN, members=3),
    "5_members": replace(PLAIN, members=5),
    "3_snapshots": replace(PLAIN, members=3, kind="snapshots"),
    "5_dropout_passes": replace(PLAIN, members=5, kind="dropout"),
    "clustered_first": replace(PLAIN, first="clustered"),
    "clustered_first_random": replace(PLAIN, first="clustered", measure="random"),
    "diverse": replace(PLAIN, among=4),
    "a_third_random": replace(PLAIN, random_share=0.3),
    "anew": replace(PLAIN, anew=True),
    "anew_random": replace(PLAIN, anew=True, measure="random"),
}


@dataclass(frozen=True)
class Run:
    """Train and query."""

    annotated: Path
    """Packed file of pairs, by step2_image_2_h5.py --pool annotated."""
    out: Path
    """Folder of the tables, one per run."""
    variants: tuple[str, ...] = ("all_annotations", "random", "vote_entropy")
    """Names from the table of variants."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the test part, the first batch, weights and order."""
    filters: int = 8
    """Filters of each member at full resolution."""
    first: int = 20
    """Annotations at the start."""
    queries: int = 10
    """Queries per round."""
    rounds: int = 8
    """Rounds of queries."""
    images: int = 400
    """Augmented images per member and round; three times as many in the first."""
    test: int = 104
    """Pairs held out for testing."""


@dataclass(frozen=True)
class Report:
    """Draw and tabulate the curves."""

    out: Path
    """Folder that `run` wrote."""


def main(options: Run | Report) -> None:
    """Train what is missing, or report on what is finished."""
    if isinstance(options, Report):
        print("\n".join(learning_curves.report(options.out)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    packed = hdf5.open_packed(options.annotated, "step2_image_2_h5.py --pool annotated")
    for seed in options.seeds:
        for name in options.variants:
            path = learning_curves.path_of(options.out, name, seed)
            if not path.exists():
                rows = curve(packed, VARIANTS[name], seed, options)
                with atomic_write(path) as temporary:
                    learning_curves.write(temporary, rows)


def curve(
    packed: hdf5.PackedImages, variant: Variant, seed: int, options: Run
) -> list[dict]:
    """Train and query to the end; a row per round and test radiograph."""
    rng = np.random.default_rng([seed, 0])
    test, pool = np.split(rng.permutation(len(packed.ids)), [options.test])
    test, pool = np.sort(test), np.sort(pool)
    build, size = KINDS[variant.kind], packed.images.shape[1]
    committee = build(variant.members, size, options.filters, seed)
    labelled = _first(packed, pool, variant, options.first, rng)
    rows = []
    for turn in range(options.rounds + 1):
        images = options.images * (1 if turn else 3)
        if variant.anew:
            committee = build(variant.members, size, options.filters, seed)
            images = options.images * (3 + turn)
        _train(committee, packed, np.sort(labelled), [seed, turn], images)
        found = committee.probabilities(packed.images[test]).mean(axis=0)
        dice = [
            segmentation_dice.dice(image > 0.5, packed.masks[row])
            for image, row in zip(found, test, strict=True)
        ]
        left = np.setdiff1d(pool, labelled)
        rng = np.random.default_rng([seed, turn, 1])
        asked, facts = _ask(committee, packed, left, variant, options.queries, rng)
        for row, value in zip(test, dice, strict=True):
            facts_of_row = {"id": packed.ids[row], "dice": value}
            rows.append({"annotations": len(labelled), **facts_of_row, **facts})
        labelled = np.concatenate([labelled, asked])
    return rows


def _first(
    packed: hdf5.PackedImages,
    pool: np.ndarray,
    variant: Variant,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rows of the first annotations."""
    if variant.everything:
        return pool
    if variant.first == "clustered":
        return pool[selection.cluster_representatives(packed.images[pool], count, rng)]
    return rng.choice(pool, count, replace=False)


def _train(
    committee: Committee,
    packed: hdf5.PackedImages,
    rows: np.ndarray,
    seeds: list[int],
    images: int,
) -> None:
    plan = EpochPlan(-(-images // 8), 8, 1e-3, anneal=True)
    for _ in committee.train_epoch(packed.images, packed.masks, rows, seeds, plan):
        pass


def _ask(
    committee: Committee,
    packed: hdf5.PackedImages,
    left: np.ndarray,
    variant: Variant,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict]:
    """Queried rows; the Dice of their proposals and the pool's disagreement."""
    if not len(left):
        return left, {"asked_dice": np.nan, "pool_disagreement": np.nan}
    images = packed.images[left]
    probabilities = committee.probabilities(images)
    disagreement = segmentation_dice.pairwise_disagreement(probabilities)
    if variant.measure == acquisition.RANDOM:
        scores = rng.random(len(left))
    elif variant.measure in acquisition.FEATURE_ACQUISITION_FUNCTIONS:
        batches = acquisition.pool_scores(
            committee, packed.images, left, variant.measure
        )
        scores = np.concatenate(list(batches))
    else:
        scores = acquisition.ACQUISITION_FUNCTIONS[variant.measure](
            EDGES[variant.edge](probabilities)
        )
    if variant.per == "image":
        share = probabilities.mean(axis=0).mean(axis=(1, 2))
        scores = scores * np.maximum(share, acquisition.SMALLEST_HAND)
    best = selection.most_uncertain(scores, count * variant.among, rng)
    if variant.among > 1:
        features = selection.thumbnails(images[best])
        best = best[selection.diverse_top_k(scores[best], features, count, rng)]
    by_chance = round(variant.random_share * count)
    if by_chance:
        best = best[: count - by_chance]
        others = np.setdiff1d(np.arange(len(left)), best)
        best = np.concatenate([best, rng.choice(others, by_chance, replace=False)])
    proposals = probabilities.mean(axis=0)[best] > 0.5
    asked_dice = [
        segmentation_dice.dice(proposal, packed.masks[row])
        for proposal, row in zip(proposals, left[best], strict=True)
    ]
    facts = {
        "asked_dice": np.mean(asked_dice),
        "pool_disagreement": disagreement.mean(),
    }
    return left[best], facts


def _edge(probabilities: np.ndarray) -> np.ndarray:
    """(image, row, column): near the outline of the members' mean mask."""
    masks = (probabilities.mean(axis=0) > 0.5).astype(np.uint8)
    side = 2 * max(1, probabilities.shape[-1] // 64) + 1
    kernel = np.ones((side, side), np.uint8)
    edges = [cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, kernel) for mask in masks]
    return np.array(edges).reshape(masks.shape) > 0


def _off_the_edge(probabilities: np.ndarray) -> np.ndarray:
    """Make all members agree near the outline, where people draw differently, too."""
    sure = (probabilities.mean(axis=0) > 0.5).astype(probabilities.dtype)
    return np.where(_edge(probabilities), sure, probabilities)


def _on_the_edge(probabilities: np.ndarray) -> np.ndarray:
    """Make all members agree everywhere but near the outline."""
    sure = (probabilities.mean(axis=0) > 0.5).astype(probabilities.dtype)
    return np.where(_edge(probabilities), probabilities, sure)


EDGES = {"all": lambda found: found, "off": _off_the_edge, "only": _on_the_edge}


if __name__ == "__main__":
    cli.run(main, Run | Report)
