"""Fine-tune a network, and keep its activation maps of a few hands after each epoch.

Reads   as step4_regression_multi_gpu.py
Writes  the same, and models/regression/<run>/cam_history.h5: the maps of a fixed panel
        of validation hands spread over the ages, which step6_cam.py turns into a video

    python al_segmentation/step4_regression_with_cam.py --model inception_v3
"""

from dataclasses import dataclass, replace
from typing import Annotated

from boneage import cli
from boneage.errors import check_minimum
from boneage.regression import training_runs
from boneage.regression.settings import TrainingSettings


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What is trained, on whom, and how."""

    paths: cli.Paths
    training: TrainingSettings
    panel: int = 9
    """number of hands whose maps are kept"""
    like: Annotated[str, cli.NO_DEFAULT] = ""
    """run to train again with its settings: a name, or a config.json"""


def main(options: Options) -> None:
    """Train one run, unless it is finished; keep the panel's maps."""
    check_minimum(1, panel=options.panel)

    def record(run, hands):  # called when training begins, with Keras imported
        from boneage.explanation.panel import PanelRecorder

        return PanelRecorder(run, hands, options.panel)

    settings = options.training
    if options.like:
        flags = cli.flags_given()
        settings = training_runs.settings_of_run(
            options.layout, settings, options.like, flags
        )
    else:
        # a run of its own: the other script's has no panel
        settings = replace(settings, run=settings.run or f"{settings.run_name}_cam")
    run = training_runs.train_run(options.layout, settings, record)
    wrote = run.folder if settings.index == 0 else None
    cli.summary(*training_runs.closing_lines(run, settings), wrote=wrote)


if __name__ == "__main__":
    cli.run(main, Options)
