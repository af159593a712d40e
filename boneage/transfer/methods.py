"""Results of paced and conventional runs, grouped into methods to compare.

Runs are compared within a group: the same backbone, sex, split and test radiographs.
Within a group, runs that differ only by the seed are one method: paced, or conventional
from one start layer.
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
"""Settings, and how the hands were made, that distinguish methods of one group besides
start layer and plan."""


@dataclass(frozen=True)
class TrainingResult:
    """Result of one training, of the network with the lowest validation MAE.

    start: "paced", or the stage where a conventional run started. plan: its stages with
    epochs and learning rates. settings: of the run, with those of METHOD_SETTINGS;
    weights by name and content hash. test: predictions of the test part. history: the
    epochs of all stages, counted on, with the column `stage`.
    """

    name: str
    start: str
    plan: str
    settings: dict
    hands_hash: str | None
    validation_mae: float
    test: TestPredictions
    history: pd.DataFrame

    @property
    def group(self) -> tuple:
        """What runs must share to be compared."""
        backbone, sex = self.settings["model"], self.settings["sex"]
        ids = self.test.predictions.id
        return backbone, sex, self.test.split_hash, self.hands_hash, *ids


@dataclass(frozen=True)
class Method:
    """Trainings that differ only by the seed, in the order of the seeds."""

    label: str
    results: tuple[TrainingResult, ...]

    @property
    def is_paced(self) -> bool:
        """Whether the method is paced transfer."""
        return self.results[0].start == PACED

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return [result.settings["seed"] for result in self.results]

    @property
    def epochs(self) -> int:
        """Epochs of each training."""
        return len(self.results[0].history)

    @property
    def validation_mae(self) -> float:
        """Mean over the seeds, months."""
        return float(np.mean([result.validation_mae for result in self.results]))

    @property
    def true_months(self) -> np.ndarray:
        """True ages of the test radiographs, (radiograph,)."""
        return self.results[0].test.arrays[0]

    @property
    def predicted_months(self) -> np.ndarray:
        """Predictions of the test radiographs, (seed, radiograph)."""
        return np.stack([result.test.arrays[1] for result in self.results])


def read_results(finished: list[FinishedTraining]) -> list[TrainingResult]:
    """Read the predictions, histories and settings of finished trainings."""
    return [_read_result(training) for training in finished]


def _read_result(training: FinishedTraining) -> TrainingResult:
    import pandas as pd

    configs = [run.read_config() for run in training.runs]
    is_paced = training.start == PACED
    stages = (
        [stage_name(run) for run in training.runs] if is_paced else [training.start]
    )
    histories = [run.read_history() for run in training.runs]
    earlier_epochs = np.cumsum([0, *(len(history) for history in histories)])
    history = pd.concat(
        [
            of_stage.assign(epoch=of_stage.epoch + int(earlier), stage=stage)
            for of_stage, earlier, stage in zip(
                histories, earlier_epochs, stages, strict=False
            )
        ],
        ignore_index=True,
    )
    plan = ", ".join(
        f"{stage} {len(of_stage)} at {config['settings']['learning_rate']:g}"
        for stage, of_stage, config in zip(stages, histories, configs, strict=True)
    )
    weights_hash = configs[0].get("weights_hash")
    settings = dict(configs[0]["settings"])
    how = hdf5.preprocessing_in_words(configs[0]["preprocessing"])
    settings |= {"preprocessing": how}
    if weights_hash:
        settings |= {"weights": f"{settings['weights']} ({weights_hash})"}
    return TrainingResult(
        training.name,
        training.start,
        plan,
        settings,
        configs[0].get("hands_hash"),
        training.best.read_config()["best_validation_mae"],
        comparison.read_test_predictions(training.best),
        history,
    )


def group_methods(results: list[TrainingResult]) -> dict[str, list[Method]]:
    """The methods of each group, paced first; groups are named `backbone, sex`.

    If a backbone and sex was trained or tested on several sets of hands, these are
    separate, numbered groups.
    """
    by_group: dict[tuple, list[TrainingResult]] = {}
    for result in results:
        by_group.setdefault(result.group, []).append(result)
    groups: dict[str, list[Method]] = {}
    for (backbone, sex, *_), of_group in by_group.items():
        name = f"{backbone}, {sex}"
        if sum(key[:2] == (backbone, sex) for key in by_group) > 1:
            name += f", hands {1 + sum(other.startswith(name) for other in groups)}"
        groups[name] = _methods(of_group)
    return groups


def duplicate_seeds(groups: dict[str, list[Method]]) -> list[str]:
    """A warning about each training with the method and seed of another.

    groups: of `group_methods`. Such a training is counted as a further seed.
    """
    notes = []
    for methods in groups.values():
        for method in methods:
            names: dict[int, str] = {}
            for result in method.results:
                first = names.setdefault(result.settings["seed"], result.name)
                if first != result.name:
                    notes.append(
                        f"{result.name} repeats {first} with the same seed; remove one "
                        "of them"
                    )
    return notes


def _methods(results: list[TrainingResult]) -> list[Method]:
    """The methods of a group; a label names only what distinguishes it from others."""
    by_facts: dict[tuple, list[TrainingResult]] = {}
    for result in results:
        facts = [f"{name} {result.settings[name]}" for name in METHOD_SETTINGS]
        by_facts.setdefault((result.start, result.plan, *facts), []).append(result)
    stages = list(backbones.transfer_stages(results[0].settings["model"]))
    order = {start: place for place, start in enumerate([PACED, *stages])}
    methods = []
    for key in sorted(by_facts, key=lambda key: (order[key[0]], *key[1:])):
        of_start = [other for other in by_facts if other[0] == key[0]]
        distinctions = [
            fact.replace("_", " ")
            for place, fact in enumerate(key)
            if place > 0 and any(other[place] != fact for other in of_start)
        ]
        label = PACED if key[0] == PACED else f"from {key[0]}"
        label += f" ({'; '.join(distinctions)})" if distinctions else ""
        by_seed = sorted(by_facts[key], key=lambda result: result.settings["seed"])
        methods.append(Method(label, tuple(by_seed)))
    return methods
