"""Trained paced runs and their rivals, by what distinguishes them, and read to compare.

Runs are compared within a group: the same backbone, sex, split and test radiographs.
In it a method is what only the seed distinguishes: paced, or one start layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boneage.evaluation import comparison
from boneage.evaluation.comparison import TestPredictions
from boneage.io import hdf5
from boneage.regression import backbones
from boneage.transfer.runs import PACED, FinishedTraining, stage_name

if TYPE_CHECKING:
    import pandas as pd

METHOD_SETTINGS = (
    *("weights", "batch_norm", "batch_norm_momentum", "sex_input", "image_size"),
    *("batch_size", "devices", "mixed_precision", "loss", "augmentation", "decay"),
    *("mirrored_share", "preprocessing"),
)
"""What tells methods of one group apart, beside start layer and plan: settings, and how
the hands were made."""


@dataclass(frozen=True)
class TrainingResult:
    """One training, judged by the network that validation chose.

    start: "paced", or the stage whose layers a rival began with. plan: its stages with
    epochs and learning rates. settings: those of METHOD_SETTINGS and the like; weights
    by name and content. answers: on the test part. history: of all epochs in one count,
    with the column `stage`.
    """

    name: str
    start: str
    plan: str
    settings: dict
    hands_hash: str | None
    validation_mae: float
    answers: TestPredictions
    history: pd.DataFrame

    @property
    def group(self) -> tuple:
        """What runs must share to be compared."""
        backbone, sex = self.settings["model"], self.settings["sex"]
        ids = self.answers.predictions.id
        return backbone, sex, self.answers.split_hash, self.hands_hash, *ids


@dataclass(frozen=True)
class Method:
    """Trainings that only the seed distinguishes, by seed."""

    label: str
    trained: tuple[TrainingResult, ...]

    @property
    def is_paced(self) -> bool:
        """Whether these were trained in stages."""
        return self.trained[0].start == PACED

    @property
    def seeds(self) -> list[int]:
        """Their seeds, ascending."""
        return [one.settings["seed"] for one in self.trained]

    @property
    def epochs(self) -> int:
        """Epochs of each training."""
        return len(self.trained[0].history)

    @property
    def validation_mae(self) -> float:
        """Mean over the seeds, months."""
        return float(np.mean([one.validation_mae for one in self.trained]))

    @property
    def true_months(self) -> np.ndarray:
        """Of the test radiographs, (radiograph,)."""
        return self.trained[0].answers.arrays[0]

    @property
    def predicted_months(self) -> np.ndarray:
        """(seed, radiograph)."""
        return np.stack([one.answers.arrays[1] for one in self.trained])


def read(found: list[FinishedTraining]) -> list[TrainingResult]:
    """Read the predictions, histories and facts of finished runs."""
    return [_read_one(one) for one in found]


def _read_one(one: FinishedTraining) -> TrainingResult:
    import pandas as pd

    configs = [run.read_config() for run in one.runs]
    is_paced = one.start == PACED
    stages = [stage_name(run) for run in one.runs] if is_paced else [one.start]
    histories = [run.read_history() for run in one.runs]
    before = np.cumsum([0, *(len(history) for history in histories)])
    joined = pd.concat(
        [
            history.assign(epoch=history.epoch + int(first), stage=stage)
            for history, first, stage in zip(histories, before, stages, strict=False)
        ],
        ignore_index=True,
    )
    plan = ", ".join(
        f"{stage} {len(history)} at {config['settings']['learning_rate']:g}"
        for stage, history, config in zip(stages, histories, configs, strict=True)
    )
    content = configs[0].get("weights_hash")
    settings = dict(configs[0]["settings"])
    how = hdf5.preprocessing_in_words(configs[0]["preprocessing"])
    settings |= {"preprocessing": how}
    if content:
        settings |= {"weights": f"{settings['weights']} ({content})"}
    return TrainingResult(
        one.name,
        one.start,
        plan,
        settings,
        configs[0].get("hands_hash"),
        one.best.read_config()["best_validation_mae"],
        comparison.read_test_predictions(one.best),
        joined,
    )


def groups(trained: list[TrainingResult]) -> dict[str, list[Method]]:
    """Comparable trainings by `backbone, sex`, and in it by method, paced first.

    Where the same backbone and sex were trained or tested on other hands, the groups
    are numbered: what is in one is not compared with what is in the other.
    """
    found: dict[tuple, list[TrainingResult]] = {}
    for one in trained:
        found.setdefault(one.group, []).append(one)
    named: dict[str, list[Method]] = {}
    for (backbone, sex, *_), alike in found.items():
        name = f"{backbone}, {sex}"
        several = sum(key[:2] == (backbone, sex) for key in found) > 1
        if several:
            name += f", hands {1 + sum(other.startswith(name) for other in named)}"
        named[name] = _methods(alike)
    return named


def duplicate_seeds(found: dict[str, list[Method]]) -> list[str]:
    """A note on each training that has another one's method and seed.

    found: of `groups`. Such a training counts as one more seed, which it is not.
    """
    notes = []
    for methods in found.values():
        for method in methods:
            first: dict[int, str] = {}
            for one in method.trained:
                there = first.setdefault(one.settings["seed"], one.name)
                if there != one.name:
                    notes.append(
                        f"{one.name}: the same training as {there}, seed included; "
                        "remove one of them"
                    )
    return notes


def _methods(alike: list[TrainingResult]) -> list[Method]:
    """Trainings by method; a label says no more than what tells it from others."""
    found: dict[tuple, list[TrainingResult]] = {}
    for one in alike:
        facts = [f"{name} {one.settings[name]}" for name in METHOD_SETTINGS]
        found.setdefault((one.start, one.plan, *facts), []).append(one)
    stages = list(backbones.transfer_stages(alike[0].settings["model"]))
    order = {start: place for place, start in enumerate([PACED, *stages])}
    methods = []
    for key in sorted(found, key=lambda key: (order[key[0]], *key[1:])):
        of_start = [other for other in found if other[0] == key[0]]
        telling = [
            fact.replace("_", " ")
            for place, fact in enumerate(key)
            if place > 0 and any(other[place] != fact for other in of_start)
        ]
        label = PACED if key[0] == PACED else f"from {key[0]}"
        label += f" ({'; '.join(telling)})" if telling else ""
        by_seed = sorted(found[key], key=lambda one: one.settings["seed"])
        methods.append(Method(label, tuple(by_seed)))
    return methods
