"""The loop: train, score the pool, ask about what the members disagree on."""

import math
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
from tqdm import tqdm

from boneage.active_learning import (
    acquisition,
    dataset,
    query_folder,
    selection,
    stopping,
)
from boneage.active_learning.oracle import Decision, Oracle, Query
from boneage.active_learning.query_folder import AnnotationStatus
from boneage.active_learning.query_log import QueryLog, timestamp
from boneage.active_learning.settings import CommitteeSettings
from boneage.active_learning.state import EpochRecord, State, write_history
from boneage.cohort import excluded
from boneage.errors import InputError
from boneage.ids import RadiographId, is_among, sort_ids
from boneage.io import hdf5
from boneage.io.hdf5 import PackedImages
from boneage.layout import Layout
from boneage.parallel import Skipped, skipped_lines
from boneage.segmentation import preprocessing
from boneage.segmentation.committee import Committee, EpochPlan
from boneage.segmentation.committee_folder import commit_epoch
from boneage.segmentation.dice import dice

FIXED_SETTINGS = ("members", "filters", "seed", "optimizer")
"""What cannot change once training has begun."""


class Cancelled(Exception):
    """An epoch that is no longer wanted: the person has stopped while it trained."""


class ActiveLearning:
    """One committee's training on one cohort; everything it needs to go on is on disk.

    An epoch is finished when `state.json` names it. Whatever was done of the next one
    before a kill is done again, with the same random numbers.
    """

    def __init__(
        self,
        layout: Layout,
        settings: CommitteeSettings,
        committee: Committee,
        state: State,
        annotated: PackedImages,
        pool: PackedImages,
    ) -> None:
        """See `begin_or_resume`."""
        self.layout = layout
        self.settings = settings
        self.committee = committee
        self.state = state
        self.annotated = annotated
        self.pool = pool
        self.log = QueryLog(layout.queries, settings.measure)
        self._is_cancelled = threading.Event()

    @classmethod
    def begin_or_resume(
        cls, layout: Layout, settings: CommitteeSettings
    ) -> "ActiveLearning":
        """Load the finished epochs, or begin with a committee of random weights.

        Raises:
            InputError: nothing packed, or the folder has a committee of other settings.
        """
        settings.check()
        annotated, pool = dataset.open_pools(layout)
        facts = commit_epoch(layout.committee)
        if facts is None:
            committee, state = _begin(layout, settings, annotated)
        else:
            committee, state = _resume(layout, settings, annotated, facts)
        return cls(layout, settings, committee, state, annotated, pool)

    def run(self, oracle: Oracle) -> list[Skipped]:
        """Train until the epochs are done, the pool is empty, or the oracle stops.

        Returns:
            The pairs that could not be packed.
        """
        decision = Decision.CONTINUE
        skipped: list[Skipped] = []
        write_history(self.layout.committee, self.state.history)
        while True:
            # an interrupted run may have left questions open: they come first
            start, open_queries, ahead = time.monotonic(), [], None
            if decision is Decision.CONTINUE:
                open_queries = self._publish_open_queries()
                if open_queries:
                    decision, ahead = self._ask(oracle, open_queries)
            if decision is Decision.STOP_TRAINING:
                print("stopped; the same command goes on from here")
                return skipped
            seconds = time.monotonic() - start if open_queries else None
            skipped = self._append_new_pairs(seconds)
            if ahead is not None:
                self._commit(ahead)
                continue
            if self.state.epoch >= self.settings.epochs:
                return skipped
            status = AnnotationStatus.read(self.layout)
            is_asking = decision is Decision.CONTINUE
            rows = np.zeros(0, np.int64)
            if is_asking:
                rows = self._pool_rows(status, oracle.answerable_ids)
            if is_asking and not len(rows) and self._has_seen_all():
                print("the pool is empty")
                return skipped
            # after the last epoch there is none to train on the answers
            is_last = self.state.epoch + 1 == self.settings.epochs
            self._commit(self._epoch(rows, status, ask=is_asking and not is_last))

    def _ask(
        self, oracle: Oracle, queries: list[Query]
    ) -> tuple[Decision, State | None]:
        """Let the oracle annotate; meanwhile train the next epoch, if that is wished.

        That epoch knows nothing of these answers; so it is never the last one. It is
        committed when the oracle is done, so a kill before loses training alone.

        Returns:
            The oracle's decision, and the epoch that is to be committed.
        """
        if not self.settings.ahead or self.state.epoch + 1 >= self.settings.epochs:
            return oracle.annotate(queries), None
        status = AnnotationStatus.read(self.layout)
        rows = self._pool_rows(status, oracle.answerable_ids)
        decision = None
        self._is_cancelled.clear()
        with ThreadPoolExecutor(1) as thread:
            training = thread.submit(self._epoch, rows, status, ask=True)
            try:
                decision = oracle.annotate(queries)
            finally:
                if decision in (None, Decision.STOP_TRAINING):
                    self._is_cancelled.set()
        if decision is Decision.STOP_TRAINING:
            # what was half trained is not the committee that state.json names
            self.committee = Committee.load(self.layout.committee)
            return decision, None
        state = training.result()
        if decision is Decision.STOP_ASKING:
            last = replace(state.history[-1], asked=0)
            state = replace(state, queries=[], history=[*state.history[:-1], last])
        return decision, state

    def report(self, skipped: list[Skipped]) -> list[str]:
        """Summary lines: what was trained on, and how good the committee is now."""
        status = AnnotationStatus.read(self.layout)
        values = self.test_dice(status.flagged)
        return [
            *skipped_lines(skipped),
            f"{self.state.epoch} epochs, {len(self.state.trained_ids)} training "
            f"pairs, {len(skipped)} set aside",
            f"committee Dice on its test part: mean {np.mean(values):.4f}, lowest "
            f"{min(values):.4f}, {len(values)} radiographs",
            *excluded.flagged_lines(status.flagged),
            *filter(None, [self._advice(status)]),
        ]

    def test_dice(self, flagged: Collection[RadiographId]) -> list[float]:
        """Dice of the committee's mean on each pair of the test part but the flagged.

        Raises:
            InputError: a pair is gone, or all are flagged.
        """
        rows = dataset.test_rows(
            self.layout, self.annotated, self.state.test_ids, flagged
        )
        probabilities = self.committee.probabilities(self.annotated.images[rows])
        return [
            dice(probability > 0.5, self._masks[row])
            for probability, row in zip(probabilities.mean(axis=0), rows, strict=True)
        ]

    def _advice(self, status: AnnotationStatus) -> str:
        return stopping.advice_of_state(self.layout, self.state, status)

    def _publish_open_queries(self) -> list[Query]:
        """Write the queries that nobody has answered into gt/new, and log them."""
        status = AnnotationStatus.read(self.layout)
        open_queries = [
            query
            for query in self.state.queries
            if query.radiograph_id not in status.flagged
            and query.radiograph_id not in status.annotated
            # packed again, the pool may be without it
            and query.radiograph_id in self.pool.ids
        ]
        if open_queries:
            ids = np.array([query.radiograph_id for query in open_queries])
            images = self.pool.images[self.pool.row_indices(ids)]
            probabilities = self.committee.probabilities(images)
            query_folder.write_queries(self.layout, open_queries, probabilities)
            self.log.log_asked(open_queries)
            if advice := self._advice(status):
                print(advice)
        return open_queries

    def _append_new_pairs(self, seconds: float | None) -> list[Skipped]:
        """Pack new pairs and name the bad ones; `seconds` is what the answers took."""
        packed = dataset.append_new_pairs(self.layout)
        for line in skipped_lines(packed.skipped):
            print(line)
        if packed.added:
            print(f"packed {len(packed.added)} new pairs")
        self.annotated = hdf5.open_packed(self.layout.annotated_h5, dataset.PACKED_BY)
        self.log.log_answers(self.annotated.ids.tolist(), seconds)
        return packed.skipped

    def _pool_rows(
        self, status: AnnotationStatus, answerable_ids: Collection[RadiographId] | None
    ) -> np.ndarray:
        """Rows of unannotated.h5 that may be asked about."""
        ids = self.pool.ids
        gone = [*self.annotated.ids, *status.offered, *status.flagged]
        free = ~is_among(ids, gone)
        if answerable_ids is not None:
            free &= is_among(ids, answerable_ids)
        return np.flatnonzero(free)

    def _has_seen_all(self) -> bool:
        """Whether the last epoch was trained on every pair there is."""
        known = set(self.annotated.ids.tolist()) - set(self.state.test_ids)
        return known == set(self.state.trained_ids)

    def _epoch(
        self, pool_rows: np.ndarray, status: AnnotationStatus, ask: bool
    ) -> State:
        """Train, test and score the pool; returns the state after this epoch."""
        start = time.monotonic()
        epoch, settings = self.state.epoch + 1, self.settings
        ids = self.annotated.ids
        rows = np.flatnonzero(~is_among(ids, self.state.test_ids))
        if not len(rows):
            raise InputError(
                f"{self.layout.annotated_h5} must have a pair beside those for testing "
                f"(got none); annotate another in {self.layout.new}"
            )
        plan = EpochPlan(
            math.ceil((settings.images_per_epoch or len(rows)) / settings.batch_size),
            settings.batch_size,
            settings.learning_rate,
            settings.anneal,
        )
        losses = self._train(epoch, rows, plan)
        test_dice = self.test_dice(status.flagged)
        chosen, pool_score = self._choose(pool_rows, epoch) if ask else ([], None)
        record = EpochRecord(
            epoch,
            training_pairs=len(rows),
            pool=len(pool_rows),
            asked=len(chosen),
            measure=settings.measure,
            pool_score=pool_score,
            loss=round(float(np.mean(losses)), 5),
            test_dice=round(float(np.mean(test_dice)), 5),
            seconds=round(time.monotonic() - start, 1),
        )
        return replace(
            self.state,
            epoch=epoch,
            committee_hash=self.committee.hash_weights(),
            trained_ids=sort_ids(ids[rows].tolist()),
            queries=chosen,
            history=[*self.state.history, record],
        )

    def _commit(self, state: State) -> None:
        """Put an epoch on disk: it is finished when state.json names it."""
        self.committee.save_epoch(self.layout.committee, state.epoch)
        self.state = state
        commit_epoch(self.layout.committee, state.facts())
        write_history(self.layout.committee, state.history)
        record = state.history[-1]
        print(
            f"epoch {record.epoch}: {record.training_pairs} training pairs, loss "
            f"{record.loss:.3f}, test Dice {record.test_dice:.4f}, pool {record.pool}"
        )

    def _check_wanted(self) -> None:
        """Raise Cancelled where the person has stopped meanwhile."""
        if self._is_cancelled.is_set():
            raise Cancelled

    @property
    def _masks(self) -> np.ndarray:
        """The packed annotations, (N, size, size)."""
        if self.annotated.masks is None:
            raise InputError(
                f"{self.layout.annotated_h5} must contain masks (got none); pack it "
                "again with step2_image_2_h5.py --pool annotated"
            )
        return self.annotated.masks

    def _train(self, epoch: int, rows: np.ndarray, plan: EpochPlan) -> list[float]:
        losses = [0.0] * self.settings.members
        steps = self.committee.train_epoch(
            self.annotated.images,
            self._masks,
            rows,
            [self.settings.seed, epoch],
            plan,
        )
        total = self.settings.members * plan.steps
        with tqdm(steps, f"epoch {epoch}", total=total, disable=None) as progress:
            for member, loss in progress:
                self._check_wanted()
                losses[member] = loss
                progress.set_postfix(member=member, loss=f"{loss:.3f}")
        return losses

    def _choose(self, rows: np.ndarray, epoch: int) -> tuple[list[Query], float | None]:
        """The most uncertain of the pool, or of a sample of it; the mean score."""
        settings, ids = self.settings, self.pool.ids.tolist()
        rng = np.random.default_rng([settings.seed, epoch, 1])
        if settings.score_at_most and len(rows) > settings.score_at_most:
            rows = np.sort(rng.choice(rows, settings.score_at_most, replace=False))
        if settings.measure == acquisition.RANDOM:
            scores = rng.random(len(rows))
        else:
            batches = acquisition.pool_scores(
                acquisition.scorer(self.committee, settings.measure),
                self.pool.images,
                rows,
                settings.measure,
            )
            scored = [np.zeros(0)]
            for batch in tqdm(batches, "scoring the pool", disable=None):
                self._check_wanted()
                scored.append(batch)
            scores = np.concatenate(scored)
        best = selection.most_uncertain(scores, settings.queries, rng)
        chosen = [Query(ids[rows[i]], round(float(scores[i]), 6), epoch) for i in best]
        if settings.measure == acquisition.RANDOM or not len(scores):
            return chosen, None
        return chosen, round(float(np.mean(scores)), 6)


def _begin(
    layout: Layout, settings: CommitteeSettings, annotated: PackedImages
) -> tuple[Committee, State]:
    """Draw the test part, and leave an untrained committee on disk."""
    rng = np.random.default_rng([settings.seed, 0])
    test_count = max(1, round(len(annotated.ids) * settings.test_fraction))
    if len(annotated.ids) - test_count < 1:
        raise InputError(
            f"{layout.annotated_h5} must have at least two annotated pairs, one of "
            f"them for testing (got {len(annotated.ids)}); annotate more"
        )
    test_ids = rng.choice(annotated.ids, test_count, replace=False)
    committee = Committee.new(
        settings.members,
        annotated.size,
        settings.filters,
        settings.seed,
        preprocessing.clip_limit_of(annotated),
        settings.optimizer,
        settings.learning_rate,
    )
    state = State(
        began=timestamp(),
        epoch=0,
        committee_hash=committee.hash_weights(),
        members=settings.members,
        clip_limit=committee.clip_limit,
        settings=settings,
        test_ids=sort_ids(test_ids.tolist()),
        trained_ids=[],
        queries=[],
        history=[],
    )
    # the test part is drawn once: on disk before anything is packed or trained on
    committee.save_epoch(layout.committee, 0)
    commit_epoch(layout.committee, state.facts())
    return committee, state


def _resume(
    layout: Layout, settings: CommitteeSettings, annotated: PackedImages, facts: dict
) -> tuple[Committee, State]:
    """Load the committee of the last finished epoch, and check that it fits."""
    state = State.from_facts(facts)
    if state is None:
        raise InputError(
            f"{layout.committee} cannot be trained further (got an exported committee, "
            "without its history); start a new one with --models DIR"
        )
    committee = Committee.load(layout.committee)
    then, now = asdict(state.settings), asdict(settings)
    for name in FIXED_SETTINGS:
        if then[name] != now[name]:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{layout.committee} must go on with {flag} {then[name]} (got "
                f"{now[name]}); give the same, or start a new one with --models DIR"
            )
    if committee.size != annotated.size:
        raise InputError(
            f"{layout.annotated_h5} must be packed with --size {committee.size}, the "
            f"committee's (got {annotated.size}); pack it again"
        )
    clip_limit = preprocessing.clip_limit_of(annotated)
    if committee.clip_limit != clip_limit:
        raise InputError(
            f"{layout.annotated_h5} must be packed with --clip-limit "
            f"{committee.clip_limit:g}, the committee's (got {clip_limit:g}); pack it "
            "again"
        )
    return committee, state
