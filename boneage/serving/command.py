"""Predict bone ages from hand radiographs: age, interval, warnings, activation maps.

Reads   radiographs (PNG, JPEG, WebP, TIFF, DICOM), folders, CSV files with columns
        file,sex; models/committee and models/regression/<run>/, or models/pretrained
Writes  nothing but the screen; with --csv and --json a file on all radiographs, with
        --report a page on each radiograph, <name>_bone_age.png (or .pdf); with
        --follow-up a figure on each child with several radiographs; with
        --dicom-out DICOM objects, SC.<UID>.dcm and SR.<UID>.dcm

    boneage-predict hand.png --sex female

A CSV file gives the sex as male, M, True or 1; female, F, False or 0; or unknown, and
may give a chronological_age (8y3m) and a patient. A DICOM file's own sex and age are
used if nothing else gives them. Unreadable files and images without a hand are counted,
with exit code 2 if there are no others. For research, not for diagnosis.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from boneage import cli
from boneage.errors import InputError
from boneage.io import engine
from boneage.prediction import chronological_age, local_calibration
from boneage.prediction.inputs import collect_inputs
from boneage.prediction.model_selection import find_models
from boneage.prediction.predictor import COVERAGE, VIEW_COUNT, Predictor
from boneage.prediction.reference import read_reference
from boneage.prediction.shown_maps import MapName
from boneage.reporting import formats
from boneage.serving import batch, dicom_node
from boneage.serving.batch import OutputSettings
from boneage.serving.dicom_node import NodeSettings
from boneage.serving.rest_api import ApiSettings
from boneage.web import WebSettings, check_installed


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """What to read, the models, and what to write."""

    resumes: ClassVar[bool] = False
    output: OutputSettings
    paths: cli.Paths
    page: WebSettings
    api: ApiSettings
    node: NodeSettings
    radiographs: tyro.conf.Positional[Annotated[tuple[Path, ...], cli.NO_DEFAULT]] = ()
    """radiographs, folders of them, CSV files with columns file,sex"""
    sex: Literal["male", "female", "unknown"] | None = None
    """sex for radiographs whose sex neither a CSV nor a DICOM header states"""
    chronological_age: Annotated[str, cli.NO_DEFAULT] = ""
    """age on the day of the radiograph, 8y3m or 99m, where no file states it"""
    reference: Path | None = None
    """table of mean bone ages and standard deviations by age and sex, for scores"""
    calibration: bool = True
    """apply the calibration on local radiographs that calibrate.py stored"""
    runs: Annotated[tuple[str, ...], cli.NO_DEFAULT] = ()
    """runs to average, by name or folder; default: up to three of the best"""
    views: int = VIEW_COUNT
    """number of views of each hand to average; 1 for the hand as it is"""
    coverage: float = COVERAGE
    """nominal coverage of the prediction intervals"""
    include_refused: bool = False
    """predict an age even for images that are likely not a hand"""
    map: MapName | None = None
    """maps on pages: occlusion, what moves the answer (seconds), or exact (no time)"""
    all_hands: bool = False
    """read both hands of a radiograph that shows two, not the left one alone"""
    scheduler: Annotated[str, cli.NO_DEFAULT] = ""
    """Dask scheduler to use, tcp://HOST:PORT (docs/SCALING.md)"""
    serve: bool = False
    """serve a web page and an API instead of reading files"""


def main(options: Options) -> None:
    """Predict for the named files, serve the page, or run a DICOM node."""
    check_task(options)
    options.output.check_output()
    age_months = parse_age_flag(options.chronological_age)
    reference = read_reference(options.reference) if options.reference else None
    inputs, skipped, notes = collect_inputs(
        options.radiographs, options.sex, age_months
    )
    listed = [*(i.path for i in inputs), *(item.item for item in skipped)]
    options.output.check_no_overwrite(options.radiographs, listed)
    models = find_models(options.layout, options.runs)
    settings = (options.views, options.coverage, options.include_refused)
    stored = options.layout.calibration
    predictor = Predictor(
        models,
        options.runs,
        *settings,
        options.all_hands,
        reference,
        local_calibration.read(stored) if options.calibration else None,
        _at_once(options, len(inputs)),
        # an archive sends many, and waits
        options.map or ("exact" if options.node.dicom_node else "occlusion"),
    )
    if models.models != options.paths.models:
        cli.summary(
            f"{options.paths.models} has no trained models; using the pretrained ones"
        )
    lines = [*predictor.notes, *formats.accuracy_lines(predictor)]
    cli.summary(*notes, f"models in {models.models}", *lines)
    if options.serve or options.node.dicom_node or inputs:
        predictor.load()
    if options.serve:
        from boneage.serving import web_app

        web_app.serve(predictor, options.page, options.api)
        return
    if options.node.dicom_node:
        queue, out = options.layout.dicom_queue, options.output.dicom_out
        dicom_node.run(predictor, queue, options.node, out, options.sex)
        return
    batch.predict_to_files(
        predictor, inputs, skipped, options.output, options.scheduler
    )


def check_task(options: Options) -> None:
    """Raise InputError unless one of files, page and node is asked for, as it can be.

    Flags that belong to another of them are refused by name.
    """
    is_node = bool(options.node.dicom_node)
    if options.serve:
        files = ["sex", "chronological_age", "scheduler"]
        cli.reject_flags(files, "cannot be used with --serve")
        cli.reject_flags(OutputSettings, "cannot be used with --serve")
    else:
        cli.reject_flags(WebSettings, "cannot be used without --serve")
        cli.reject_flags(ApiSettings, "cannot be used without --serve")
    if is_node:
        files = ["csv", "json", "report", "report_format", "follow_up"]
        files += ["chronological_age", "scheduler"]
        cli.reject_flags(files, "cannot be used with --dicom-node")
    else:
        cli.reject_flags(NodeSettings, "cannot be used without --dicom-node")
    has_pages = options.output.report or options.output.dicom_out
    if not (options.serve or is_node or has_pages):
        without = "cannot be used without --report, --dicom-out or --serve"
        cli.reject_flags(["map"], without)
    if options.serve + is_node + bool(options.radiographs) != 1:
        raise InputError(
            "either --serve, --dicom-node AE:PORT or radiographs, folders or CSV files "
            "must be given, and only one of them"
        )
    if options.serve:
        check_installed("gradio")
    options.page.check_page()
    options.api.check_api()
    if is_node:
        options.node.check_node(options.output.dicom_out)


def _at_once(options: Options, count: int) -> int:
    """Radiographs that are read at the same time; a single one is read on all cores."""
    if options.node.dicom_node:
        return engine.core_count()
    return max(1, min(engine.core_count(), count))


def parse_age_flag(text: str) -> float:
    """Months in the value of --chronological-age; NaN for none.

    Raises:
        InputError: no such age.
    """
    try:
        return chronological_age.parse(text) if text else math.nan
    except ValueError as error:
        raise InputError(f"--chronological-age: {error}") from None


def run() -> None:
    """The command `boneage-predict` of an installed package."""
    cli.run(main, Options)
