"""The loop: train, look at the pool, ask about what the members disagree on."""

import math
import time
from dataclasses import asdict

import numpy as np
from tqdm import tqdm

from boneage.active_learning import (
    acquisition,
    dataset,
    excluded,
    history,
    query_folder,
    selection,
    stopping,
)
from boneage.active_learning.oracle import (
    Oracle,
    Query,
    StopAsking,
    StopTraining,
    timed,
)
from boneage.active_learning.query_log import QueryLog, now
from boneage.active_learning.settings import CommitteeSettings
from boneage.errors import InputError
from boneage.io import hdf5
from boneage.layout import Layout
from boneage.parallel import Skipped, skipped_lines
from boneage.segmentation import dice as segmentation_dice
from boneage.segmentation import preprocessing
from boneage.segmentation.committee import Committee, EpochPlan, commit_epoch

LOOP = ("settings", "test_ids", "trained_ids", "queries", "history")
"""What state.json needs beside the committee's own facts, to go on."""


class ActiveLearning:
    """One committee's training on one cohort; everything it needs to go on is on disk.

    An epoch is finished when `state.json` names it. Whatever was done of the next one
    before a kill is done again, with the same random numbers.
    """

    def __init__(self, layout: Layout, settings: CommitteeSettings) -> None:
        """Load the finished epochs, or begin.

        Raises:
            InputError: nothing packed, or a committee of other settings lies there.
        """
        settings.check()
        self.layout = layout
        self.settings = settings
        self.log = QueryLog(layout.queries, settings.measure)
        self.annotated, self.unannotated = dataset.read_pools(layout)
        self.state = commit_epoch(layout.committee)
        if self.state is None:
            self._begin()
        else:
            self._go_on()

    def _begin(self) -> None:
        rng = np.random.default_rng([self.settings.seed, 0])
        ids = self.annotated.ids
        held_back = max(1, round(len(ids) * self.settings.test_fraction))
        if len(ids) - held_back < 1:
            raise InputError(
                f"{self.layout.annotated_h5}: {len(ids)} annotated pairs; at least two "
                "are needed, one of them for testing"
            )
        test_ids = rng.choice(ids, held_back, replace=False)
        self.committee = Committee.new(
            self.settings.members,
            self.annotated.size,
            self.settings.filters,
            self.settings.seed,
            preprocessing.clip_limit_of(self.annotated),
            self.settings.optimizer,
            self.settings.learning_rate,
        )
        self.state = {
            "began": now(),
            "epoch": 0,
            "members": self.settings.members,
            "clip_limit": self.committee.clip_limit,
            "settings": asdict(self.settings),
            "test_ids": sorted(test_ids.tolist()),
            "trained_ids": [],
            "queries": [],
            "history": [],
        }
        # the test part is drawn once: on disk before anything is taken in or trained
        self.committee.save_epoch(self.layout.committee, 0)
        commit_epoch(self.layout.committee, self.state)

    def _go_on(self) -> None:
        absent = [key for key in LOOP if key not in self.state]
        if absent:
            raise InputError(
                f"{self.layout.committee}: state.json has no {absent[0]}, as in models "
                "that were packed to give away; begin anew with --models DIR"
            )
        self.committee = Committee.load(self.layout.committee)
        then, now = self.state["settings"], asdict(self.settings)
        for name in ("members", "filters", "seed", "optimizer"):
            if then[name] != now[name]:
                raise InputError(
                    f"{self.layout.committee}: trained with {name} {then[name]}, now "
                    f"{now[name]}; give the same, or another --models DIR"
                )
        if self.committee.size != self.annotated.size:
            raise InputError(
                f"{self.layout.annotated_h5}: {self.annotated.size} px, the committee "
                f"sees {self.committee.size}; pack with that --size"
            )
        clip_limit = preprocessing.clip_limit_of(self.annotated)
        if self.committee.clip_limit != clip_limit:
            raise InputError(
                f"{self.layout.annotated_h5}: packed with --clip-limit {clip_limit}, "
                f"the committee was trained with {self.committee.clip_limit}"
            )

    def run(self, oracle: Oracle, askable: set[int] | None = None) -> list[Skipped]:
        """Train until the epochs are done, the pool is empty, or the oracle leaves.

        Args:
            oracle: who answers.
            askable: ids that it can answer; None for all.

        Returns:
            The pairs that could not be taken in.
        """
        asking, set_aside = True, []
        history.write(self.layout.committee, self.state["history"])
        try:
            while True:
                # first of all what an interrupted run left open
                seconds = None
                try:
                    seconds = self._ask(oracle) if asking else None
                except StopAsking:
                    asking = False
                set_aside = self._take_in(seconds)
                if self.state["epoch"] >= self.settings.epochs:
                    break
                pool = self._pool(askable) if asking else np.zeros(0, np.int64)
                if asking and not len(pool) and self._all_trained():
                    print("the pool is empty")
                    break
                last = self.state["epoch"] + 1 == self.settings.epochs
                self._epoch(pool, ask=asking and not last)
        except StopTraining:
            print("left; the same command goes on from here")
        return set_aside

    def report(self, set_aside: list[Skipped]) -> list[str]:
        """Summary lines: what was trained on, and how good the committee is now."""
        dice = self.test_dice()
        return [
            *skipped_lines(set_aside),
            f"{self.state['epoch']} epochs, {len(self.state['trained_ids'])} training "
            f"pairs, {len(set_aside)} set aside",
            f"committee Dice on its test part: mean {np.mean(dice):.4f}, lowest "
            f"{min(dice):.4f}, {len(dice)} radiographs",
            *excluded.report(self.layout),
            *filter(None, [stopping.advice(self.layout)]),
        ]

    def _all_trained(self) -> bool:
        """Whether the last epoch saw every pair there is."""
        known = set(self.annotated.ids.tolist()) - set(self.state["test_ids"])
        return known == set(self.state["trained_ids"])

    def _take_in(self, seconds: float | None) -> list[Skipped]:
        """Take new pairs in, name the bad ones; `seconds` is what an answer took."""
        taken = dataset.append_new_pairs(self.layout)
        for line in skipped_lines(taken.set_aside):
            print(line)
        if taken.added:
            print(f"took in {len(taken.added)} new pairs")
        self.annotated = hdf5.open_packed(self.layout.annotated_h5, dataset.PACKED_BY)
        self.log.answered(self.annotated.ids, seconds)
        return taken.set_aside

    def _pool(self, askable: set[int] | None) -> np.ndarray:
        """Rows of unannotated.h5 that may be asked about."""
        ids = self.unannotated.ids
        asked = [
            int(path.stem)
            for path in self.layout.new.glob("*.png")
            if path.stem.isdecimal()
        ]
        gone = [*self.annotated.ids, *asked, *excluded.flagged(self.layout)]
        free = ~np.isin(ids, gone)
        if askable is not None:
            free &= np.isin(ids, list(askable))
        return np.flatnonzero(free)

    def _epoch(self, pool: np.ndarray, ask: bool) -> None:
        """Train, test, score the pool, and commit it all as one more epoch."""
        start = time.monotonic()
        epoch, settings = self.state["epoch"] + 1, self.settings
        ids = self.annotated.ids
        rows = np.flatnonzero(~np.isin(ids, self.state["test_ids"]))
        if not len(rows):
            raise InputError(
                f"{self.layout.annotated_h5}: no pair but those for testing; annotate "
                f"another in {self.layout.new}"
            )
        seen = settings.images_per_epoch or len(rows)
        plan = EpochPlan(
            math.ceil(seen / settings.batch_size),
            settings.batch_size,
            settings.learning_rate,
            settings.anneal,
        )
        losses = self._train(epoch, rows, plan)
        test_dice = self.test_dice()
        chosen, pool_score = self._choose(pool, epoch) if ask else ([], None)
        row = {
            "epoch": epoch,
            "training_pairs": len(rows),
            "pool": len(pool),
            "asked": len(chosen),
            "measure": settings.measure,
            "pool_score": pool_score,
            "loss": round(float(np.mean(losses)), 5),
            "test_dice": round(float(np.mean(test_dice)), 5),
            "seconds": round(time.monotonic() - start, 1),
        }
        self.committee.save_epoch(self.layout.committee, epoch)
        self.state |= {
            "epoch": epoch,
            "trained_ids": sorted(ids[rows].tolist()),
            "queries": [{"id": q.radiograph_id, "score": q.score} for q in chosen],
            "history": [*self.state["history"], row],
        }
        commit_epoch(self.layout.committee, self.state)
        history.write(self.layout.committee, self.state["history"])
        print(
            f"epoch {epoch}: {len(rows)} training pairs, loss {row['loss']:.3f}, "
            f"test Dice {row['test_dice']:.4f} on {len(test_dice)}, pool {len(pool)}"
        )

    def _train(self, epoch: int, rows: np.ndarray, plan: EpochPlan) -> list[float]:
        losses = [0.0] * self.settings.members
        steps = self.committee.train_epoch(
            self.annotated.images,
            self.annotated.masks,
            rows,
            [self.settings.seed, epoch],
            plan,
        )
        total = self.settings.members * plan.steps
        with tqdm(steps, f"epoch {epoch}", total=total, disable=None) as progress:
            for member, loss in progress:
                losses[member] = loss
                progress.set_postfix(member=member, loss=f"{loss:.3f}")
        return losses

    def test_dice(self) -> list[float]:
        """Dice of the committee's mean on each pair of the test part."""
        test_ids = self.state["test_ids"]
        rows = dataset.rows_for_testing(self.layout, self.annotated, test_ids)
        mean = self.committee.probabilities(self.annotated.images[rows]).mean(axis=0)
        return [
            segmentation_dice.dice(found > 0.5, self.annotated.masks[row])
            for found, row in zip(mean, rows, strict=True)
        ]

    def _choose(self, pool: np.ndarray, epoch: int) -> tuple[list[Query], float | None]:
        """The most uncertain of the pool, or of a sample of it; the mean score."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, epoch, 1])
        if settings.score_at_most and len(pool) > settings.score_at_most:
            pool = np.sort(rng.choice(pool, settings.score_at_most, replace=False))
        if settings.measure == acquisition.RANDOM:
            scores = rng.random(len(pool))
        else:
            batches = acquisition.pool_scores(
                self.committee, self.unannotated.images, pool, settings.measure
            )
            progress = tqdm(batches, "scoring the pool", disable=None)
            scores = np.concatenate([np.zeros(0), *progress])
        best = selection.most_uncertain(scores, settings.queries, rng)
        chosen = [
            Query(int(self.unannotated.ids[pool[i]]), round(float(scores[i]), 6), epoch)
            for i in best
        ]
        if settings.measure == acquisition.RANDOM or not len(scores):
            return chosen, None
        return chosen, round(float(np.mean(scores)), 6)

    def _ask(self, oracle: Oracle) -> float | None:
        """Lay the epoch's open queries out, and wait for the oracle.

        Returns:
            Seconds that an answer took; None where nothing was open or answered.
        """
        asked = [
            Query(entry["id"], entry["score"], self.state["epoch"])
            for entry in self.state["queries"]
        ]
        flagged = excluded.flagged(self.layout)
        open_queries = [
            query
            for query in asked
            if query.radiograph_id not in flagged
            # packed anew, the pool may be without it
            and query.radiograph_id in self.unannotated.ids
            and self.layout.annotation_path(query.radiograph_id) is None
        ]
        if not open_queries:
            return None
        ids = np.array([query.radiograph_id for query in open_queries])
        images = self.unannotated.images[self.unannotated.row_indices(ids)]
        found = self.committee.probabilities(images)
        query_folder.write_queries(self.layout, open_queries, found)
        self.log.asked(open_queries)
        if advice := stopping.advice(self.layout):
            print(advice)
        count, seconds = timed(oracle, open_queries)
        return seconds / count if count else None
