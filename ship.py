"""Export trained models to give away: 16-bit weights, facts, a model card.

Reads   models/committee, models/regression/<run>/, data/segment_all.h5
Writes  models/pretrained/ (or --out): committee/, regression/<run>/ with model.keras,
        config.json and predictions.csv of the exported network, README.md

    python ship.py --runs inception_v3_all --training-data "RSNA 2017" --terms "..."

predict.py uses models/pretrained if nothing else is trained. The 16-bit networks
predict the validation and test hands again, with one view and with --views views, so
that errors and intervals are those of the exported models. Files of an earlier call
with the same names are replaced; other runs stay.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from boneage import cli
from boneage.errors import InputError
from boneage.prediction import predictor, test_time_augmentation
from boneage.prediction.model_selection import named_runs


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What to export."""

    resumes: ClassVar[bool] = False
    paths: cli.Paths
    runs: Annotated[tuple[str, ...], cli.NO_DEFAULT] = ()
    """runs to export, by name or folder"""
    training_data: Annotated[str, cli.NO_DEFAULT] = ""
    """training data, for the model card; exported runs keep what they state"""
    terms: Annotated[str, cli.NO_DEFAULT] = ""
    """terms of use of the weights, for the model card"""
    failures: Annotated[str, cli.NO_DEFAULT] = ""
    """known failures, for the model card"""
    age_bias_correction: float = 0.0
    """share of the pull towards the middle ages to take back; 0 to 1"""
    out: Path | None = None
    """folder to write; default: pretrained in the folder of models"""
    views: int = predictor.VIEW_COUNT
    """number of views per hand that the intervals of predict.py are made for"""


def main(options: Options) -> None:
    """Export the models, then print their size and what 16-bit weights changed."""
    layout = options.layout
    needed = ("runs", "training_data", "terms")
    absent = [flag for flag in needed if not getattr(options, flag)]
    if absent:
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in absent)
        raise InputError(f"{flags} must be given; they are part of the model card")
    test_time_augmentation.check_view_count(options.views)
    if not 0 <= options.age_bias_correction <= 1:
        raise InputError(
            "--age-bias-correction must be between 0 and 1 (got "
            f"{options.age_bias_correction:g})"
        )
    out = options.out or layout.pretrained

    # Keras: seconds, once everything named is there
    from boneage.reporting import export

    chosen = named_runs(layout, options.runs)
    exported = export.export_models(
        layout,
        chosen,
        out,
        options.training_data,
        options.terms,
        options.views,
        options.failures,
        options.age_bias_correction,
    )
    cli.summary(
        *[
            f"{run.name}: 16-bit weights change {run.hands} predictions by at most "
            f"{run.max_change_months:.3f} months"
            for run in exported
        ],
        f"{export.size_mb(out):.1f} MB",
        wrote=out,
    )


if __name__ == "__main__":
    cli.run(main, Options)
