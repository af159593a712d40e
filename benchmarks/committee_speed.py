"""The committee's training and scoring, beside its network on data in memory."""

import numpy as np

from benchmarks.timing import LEAST, Goal, Row, Size, medians
from boneage.active_learning import acquisition
from boneage.segmentation.committee import Committee, EpochPlan

BATCH = 8


def compare(size: Size) -> list[Row]:
    """Seconds an image of one epoch, and of scoring a pool."""
    side, steps = size.of(128, 32), size.of(8, 2)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH * steps, side, side), np.uint8)
    masks = (images > 127).astype(np.uint8) * 255
    committee = Committee.new(2, side, size.of(16, 2), 0, 0.03)
    x = images[:BATCH, ..., None].astype(np.float32)
    y = (masks[:BATCH, ..., None] > 127).astype(np.float32)
    plan = EpochPlan(steps, BATCH, 1e-3, anneal=True)
    rows = np.arange(len(images))
    whole = images[..., None].astype(np.float32)

    def bare() -> None:
        for member in committee.members:
            for _ in range(steps):
                float(member.train_on_batch(x, y))

    def by_fit() -> None:
        for member in committee.members:
            truth = (masks[..., None] > 127).astype(np.float32)
            member.fit(whole, truth, batch_size=BATCH, verbose=0)

    times = medians(
        [
            lambda: list(committee.train_epoch(images, masks, rows, [0], plan)),
            by_fit,
            bare,
            lambda: list(
                acquisition.pool_scores(committee, images, rows, "vote_entropy", BATCH)
            ),
            lambda: [m.predict(whole, BATCH, verbose=0) for m in committee.members],
            lambda: [
                member.predict_on_batch(x)
                for member in committee.members
                for _ in range(steps)
            ],
        ],
        size.rounds,
    )
    per_image = [seconds / len(images) / 2 for seconds in times]
    goal = Goal(LEAST, 0.95)
    return [
        Row(
            "committee training, image and member",
            *(per_image[0], "Keras's fit, all in memory, no augmentation"),
            *(per_image[1], "train_on_batch on one batch", per_image[2], goal),
        ),
        Row(
            "scoring the pool, image and member",
            *(per_image[3], "Keras's predict, all in memory, no score"),
            *(per_image[4], "predict_on_batch on one batch", per_image[5], goal),
        ),
    ]
