"""Training of each backbone at 299 px, beside one batch, and beside PyTorch."""

import functools
import math

from benchmarks import noise_hands, pytorch_script
from benchmarks.timing import LEAST, Goal, Row, Size, medians
from boneage.regression import network
from boneage.regression.backbones import BACKBONES
from boneage.regression.batches import TrainingBatches

BATCH = 4


def compare(size: Size) -> list[Row]:
    """Seconds a hand of each backbone, with augmentation, in 32 bits."""
    return [one(backbone, size) for backbone in BACKBONES]


def one(backbone: str, size: Size) -> Row:
    """Seconds a hand of one backbone."""
    side, count = size.of(299, 75), size.of(6, 1) * BATCH
    with noise_hands.hands(count, count) as hands:
        model = network.build_network(backbone, side, "none", sex_input=True)
        model.compile(optimizer="adam", loss="mae")
        feed = functools.partial(network.feed_dict, model)
        batches = TrainingBatches(hands, feed, side, BATCH, 1.0, 0, workers=2)
        batch = batches[0]
        ours_and_floor = [
            lambda: model.fit(batches, shuffle=False, verbose=0),
            lambda: [model.train_on_batch(*batch) for _ in range(len(batches))],
        ]
        if pytorch_script.is_installed():
            with pytorch_script.epochs(hands, backbone, side, BATCH) as epoch:
                seconds = medians([*ours_and_floor, epoch], size.rounds)
            baseline = "PyTorch: timm's network, DataLoader on PNG files"
        else:
            seconds = [*medians(ours_and_floor, size.rounds), math.nan]
            baseline = "PyTorch, torchvision and timm are not installed"
    ours, floor, theirs = (taken / count for taken in seconds)
    return Row(
        f"{backbone}, training, {side} px",
        *(
            ours,
            baseline,
            theirs,
            "train_on_batch on one batch",
            floor,
            Goal(LEAST, 0.95),
        ),
    )
