"""Read bone ages off radiographs of hands: age, interval, warnings, activation maps.

Reads   radiographs (PNG, JPEG, WebP, TIFF, DICOM), folders of them, CSV files with
        columns file,sex; models/committee and models/regression/<run>/, or what was
        shipped in models/pretrained where these are not trained
Writes  nothing but the screen; with --csv and --json a file of all radiographs, with
        --report a page on each of them, <name>_bone_age.png (or .pdf)

    python predict.py hand.png --sex female

A CSV file says the sex as male, M, True or 1; female, F, False or 0; unknown or
nothing; a DICOM file says its own where nothing else does. Files that cannot be read
are named and counted, with exit code 2 when there is no other. --serve gives the same
as a page and an API on this machine. For research, not for diagnosis.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import tyro

from boneage import cli
from boneage.errors import InputError
from boneage.prediction import batch, formats, predictor
from boneage.prediction.batch import OutputSettings
from boneage.prediction.inputs import collect_inputs
from boneage.prediction.model_selection import find_models
from boneage.web import WebSettings


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What to read, whom to ask, and what to write."""

    resumes: ClassVar[bool] = False
    output: OutputSettings
    paths: cli.Paths
    page: WebSettings
    radiographs: tyro.conf.Positional[tuple[Path, ...]] = field(default=())
    """Radiographs, folders of them, CSV files with columns file,sex."""
    sex: Literal["male", "female", "unknown"] | None = None
    """Sex for radiographs whose sex neither a CSV nor a DICOM header states."""
    runs: tuple[str, ...] = ()
    """Runs to average, by name or folder; default: up to three of the best."""
    views: int = predictor.VIEW_COUNT
    """Number of views of each hand to average; 1 for the hand as it is."""
    coverage: float = predictor.COVERAGE
    """Nominal coverage of the prediction intervals."""
    serve: bool = False
    """Serve a web page and an API instead of reading files."""


def main(options: Options) -> None:
    """Read what is named, or serve the page."""
    if options.serve:
        cli.reject_flags(["sex"], "of no use with --serve")
        cli.reject_flags(OutputSettings, "of no use with --serve")
    else:
        cli.reject_flags(WebSettings, "only with --serve")
    options.page.check_page()
    options.output.check_output()
    if options.serve == bool(options.radiographs):
        raise InputError("name radiographs, folders or CSV files, or give --serve")
    inputs, skipped = collect_inputs(options.radiographs, options.sex)
    listed = [*(i.path for i in inputs), *(item.item for item in skipped)]
    options.output.check_no_overwrite(options.radiographs, listed)
    models = find_models(options.layout, options.runs)
    models_predictor = predictor.Predictor(
        models, options.runs, options.views, options.coverage
    )
    if models.models != options.paths.models:
        cli.summary(
            f"{options.paths.models}: no trained models; using the pretrained ones"
        )
    lines = [*models_predictor.notes, *formats.accuracy_lines(models_predictor)]
    cli.summary(f"models in {models.models}", *lines)
    if options.serve or inputs:
        models_predictor.load()
    if options.serve:
        from boneage.prediction import web_app

        web_app.serve(models_predictor, options.page)
        return
    batch.predict_to_files(models_predictor, inputs, skipped, options.output)


if __name__ == "__main__":
    cli.run(main, Options)
