"""Trained paced runs and their rivals, by what distinguishes them, and read to compare.

Runs are compared within a group: the same backbone, sex, split and test radiographs.
In it a method is what only the seed distinguishes: paced, or one start layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boneage.regression import backbones, comparison
from boneage.regression.comparison import Answers
from boneage.regression.transfer_runs import PACED, Finished

if TYPE_CHECKING:
    import pandas as pd

METHOD_SETTINGS = (
    *("weights", "batch_norm", "batch_norm_momentum", "sex_input", "image_size"),
    *("batch_size", "mixed_precision", "loss", "augmentation", "decay"),
)
"""Settings that tell methods of one group apart, beside start layer and plan."""


@dataclass(frozen=True)
class Trained:
    """One training, judged by the network that validation chose.

    start: "paced", or the stage whose layers a rival began with. plan: its learning
    rates and epochs. answers: on the test part. history: of all epochs in one count,
    with the column `stage`.
    """

    start: str
    plan: str
    settings: dict
    validation_mae: float
    answers: Answers
    history: pd.DataFrame

    @property
    def group(self) -> tuple:
        """What runs must share to be compared."""
        backbone, sex = self.settings["model"], self.settings["sex"]
        ids = self.answers.predictions.id
        return backbone, sex, self.answers.split_hash, hash(tuple(ids))


@dataclass(frozen=True)
class Method:
    """Trainings that only the seed distinguishes, by seed."""

    label: str
    trained: tuple[Trained, ...]

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


def read(found: list[Finished]) -> list[Trained]:
    """Read the predictions, histories and facts of finished runs."""
    return [_read_one(one) for one in found]


def _read_one(one: Finished) -> Trained:
    import pandas as pd

    configs = [run.read_config() for run in one.runs]
    histories = [pd.read_csv(run.history) for run in one.runs]
    before = np.cumsum([0, *(len(history) for history in histories)])
    joined = pd.concat(
        [
            history.assign(epoch=history.epoch + int(first), stage=run.name)
            for history, first, run in zip(histories, before, one.runs, strict=False)
        ],
        ignore_index=True,
    )
    plan = "epochs " + ", ".join(
        f"{len(history)} at {config['learning_rate']:g}"
        for history, config in zip(histories, configs, strict=True)
    )
    return Trained(
        one.start,
        plan,
        configs[0]["settings"],
        one.best.read_config()["best_validation_mae"],
        comparison.read(one.best),
        joined,
    )


def groups(trained: list[Trained]) -> dict[str, list[Method]]:
    """Comparable trainings by `backbone, sex`, and in it by method, paced first.

    A group's name says the split, too, where the same backbone and sex have several.
    """
    found: dict[tuple, list[Trained]] = {}
    for one in trained:
        found.setdefault(one.group, []).append(one)
    named = {}
    for (backbone, sex, split_hash, _), alike in found.items():
        name = f"{backbone}, {sex}"
        if sum(key[:2] == (backbone, sex) for key in found) > 1:
            name += f", split {split_hash}"
        named[name] = _methods(alike)
    return named


def _methods(alike: list[Trained]) -> list[Method]:
    """Trainings by method; a label says no more than what tells it from others."""
    found: dict[tuple, list[Trained]] = {}
    for one in alike:
        facts = [f"{name} {one.settings[name]}" for name in METHOD_SETTINGS]
        found.setdefault((one.start, one.plan, *facts), []).append(one)
    stages = list(backbones.stages(alike[0].settings["model"]))
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
