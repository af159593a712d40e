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
class Question:
    """What to read, and whom to ask."""

    radiographs: tyro.conf.Positional[tuple[Path, ...]] = field(default=())
    """Radiographs, folders, CSV files."""
    sex: Literal["male", "female", "unknown"] | None = None
    """Of all radiographs of which no CSV says it; not needed for DICOM."""
    runs: tuple[str, ...] = ()
    """Runs to ask, by name or folder, after the radiographs; default: up to three of
    one split, the best and those nearly as good."""
    views: int = predictor.VIEW_COUNT
    """Of each hand, mirrored, turned, zoomed: averaged; 1 for the hand as it is."""
    coverage: float = predictor.COVERAGE
    """Share of the true bone ages that intervals hold."""
    serve: bool = False
    """Serve a page and an API in place of reading files."""


@dataclass(frozen=True)
class Options(WebSettings, OutputSettings, cli.Paths, Question):
    """The question, and what to write; in the order of the help text from the right."""

    goes_on: ClassVar[bool] = False


def main(options: Options) -> None:
    """Read what is named, or serve the page."""
    if options.serve:
        cli.reject_flags(["sex", *cli.names(OutputSettings)], "of no use with --serve")
    else:
        cli.reject_flags(cli.names(WebSettings), "only with --serve")
    options.check_page()
    options.check_output()
    if options.serve == bool(options.radiographs):
        raise InputError("name radiographs, folders or CSV files, or give --serve")
    inputs, skipped = collect_inputs(options.radiographs, options.sex)
    listed = [*(i.path for i in inputs), *(item.item for item in skipped)]
    options.check_no_overwrite(options.radiographs, listed)
    models = find_models(options.layout, options.runs)
    models_predictor = predictor.Predictor(
        models, options.runs, options.views, options.coverage
    )
    if models.models != options.models:
        cli.summary(f"{options.models}: nothing trained there; asked are those shipped")
    cli.summary(
        f"models in {models.models}",
        *models_predictor.notes,
        *formats.accuracy_lines(models_predictor),
    )
    if options.serve or inputs:
        models_predictor.load()
    if options.serve:
        from boneage.prediction import web_app

        web_app.serve(models_predictor, options)
        return
    batch.predict_to_files(models_predictor, inputs, skipped, options)


if __name__ == "__main__":
    cli.run(main, Options)
