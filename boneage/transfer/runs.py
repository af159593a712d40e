"""The folders of paced and conventional runs, and which of them are finished."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.errors import InputError
from boneage.io.files import read_json
from boneage.layout import Layout
from boneage.regression.run_folder import Run

PACED = "paced"
PACED_BY = "paced_transfer/step1_ptl_gen.py"
CONVENTIONAL_BY = "paced_transfer/step2_conventional_transfer.py"
PLAN = "plan.json"
"""In the folder of a paced run: learning rates and epochs of the stages, in order."""


def stages_of(folder: Path, names: list[str]) -> list[Run]:
    """The runs of the stages of a paced run, in the order of `names`."""
    numbered = enumerate(names, start=1)
    return [Run(folder / f"stage_{number}_{name}") for number, name in numbered]


def stage_name(run: Run) -> str:
    """The name of a stage, such as exit for the folder stage_2_exit."""
    return run.name.split("_", 2)[2]


@dataclass(frozen=True)
class FinishedTraining:
    """A finished paced or conventional run.

    start: "paced", or the stage where a conventional run started. runs: the stages in
    order, or the conventional run alone.
    """

    folder: Path
    start: str
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def cam(self) -> Path:
        """Predictions, overlays and sheets: paced_transfer/step5_cam_inference.py."""
        return Run(self.folder).cam

    @property
    def best(self) -> Run:
        """The stage with the lowest validation MAE, or the conventional run itself."""
        maes = [run.read_config()["best_validation_mae"] for run in self.runs]
        return self.runs[int(np.argmin(np.nan_to_num(maes, nan=np.inf)))]

    def stage(self, name: str) -> Run:
        """A stage by name, or the best; a conventional run has only the best.

        Raises:
            InputError: the run has no such stage.
        """
        stages = self.runs if self.start == PACED else ()
        named = {"best": self.best} | {stage_name(run): run for run in stages}
        if name not in named:
            raise InputError(
                f"--stage must be one of {self.name}: {', '.join(named)} (got {name})"
            )
        return named[name]


def find_finished(layout: Layout) -> tuple[list[FinishedTraining], list[str]]:
    """The finished paced and conventional runs, and a note on each unfinished one.

    Raises:
        InputError: no run is finished.
    """
    finished, notes = [], []
    for path in sorted(layout.paced.glob(f"*/{PLAN}")):
        stages = stages_of(path.parent, list(read_json(path, PACED_BY)["rates"]))
        done = sum(stage.evaluation.exists() for stage in stages)
        if done == len(stages):
            finished.append(FinishedTraining(path.parent, PACED, tuple(stages)))
        else:
            notes.append(
                f"{path.parent.name}: {done} of {len(stages)} stages finished, left out"
            )
    for path in sorted(layout.conventional.glob("*/config.json")):
        run = Run(path.parent)
        if run.evaluation.exists():
            start = read_json(run.evaluation, CONVENTIONAL_BY)["stage"]
            finished.append(FinishedTraining(path.parent, start, (run,)))
        else:
            notes.append(f"{run.name}: not finished, left out")
    if not finished:
        unfinished = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(
            f"{layout.paced} and {layout.conventional} have no finished run"
            f"{unfinished}; run {PACED_BY} and {CONVENTIONAL_BY} first"
        )
    return finished, notes


def closing_lines(runs: Sequence[Run]) -> list[str]:
    """A line per run: what was trained, and its errors."""
    lines = []
    for run in runs:
        config, facts = run.read_config(), read_json(run.evaluation, "this step")
        settings = config["settings"]
        validation, test = (facts[part]["mae"][0] for part in ("validation", "test"))
        lines.append(
            f"{run.name}: {facts['trainable_layer_count']} layers at "
            f"{settings['learning_rate']:g}, best epoch {config['best_epoch']} of "
            f"{settings['epochs']}, validation MAE {validation:.2f} months, test MAE "
            f"{test:.2f} months"
        )
    return lines
