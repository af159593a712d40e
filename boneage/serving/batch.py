"""Predict many radiographs, and write what is left of them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from boneage import cli, parallel
from boneage.errors import InputError, printable
from boneage.parallel import Skipped
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import Prediction
from boneage.reporting import dicom_output, follow_up, formats

MAX_STEM_BYTES = 200
"""Of a page's name: a file's name has at most 255 bytes."""


@dataclass(frozen=True)
class OutputSettings:
    """Files to write."""

    csv: Path | None = None
    """CSV file to write, one row per radiograph: age, interval, sex, warnings"""
    json: Path | None = None
    """JSON file to write: as the CSV, with each run's prediction and model facts"""
    report: Path | None = None
    """folder for a page on each radiograph, <name>_bone_age.png"""
    report_format: Literal["png", "pdf"] = "png"
    """file format of the pages"""
    dicom_out: Path | None = None
    """folder for DICOM results, a page and a structured report, of DICOM radiographs"""
    follow_up: Path | None = None
    """folder for a figure on each child with several radiographs, and follow_up.csv"""

    def check_output(self) -> None:
        """Raise InputError where something else has an output's name."""
        for flag, path in (("--csv", self.csv), ("--json", self.json)):
            if path is not None and path.is_dir():
                raise InputError(
                    f"{flag} must be a file (got the folder {path}); name a file in it"
                )
        for flag, folder in self._folders().items():
            if folder.is_file():
                raise InputError(
                    f"{flag} must be a folder (got the file {folder}); name a folder"
                )
        if self.dicom_out is not None:
            dicom_output.check_installed("--dicom-out", "highdicom")

    def check_no_overwrite(self, named: Sequence[Path], listed: Sequence[Path]) -> None:
        """Raise InputError where an output would overwrite an input.

        named: radiographs, folders, CSV files. listed: the radiographs in them.
        """
        inputs = {path.resolve() for path in (*named, *listed)}
        for flag, path in (("--csv", self.csv), ("--json", self.json)):
            if path is not None and path.resolve() in inputs:
                raise InputError(
                    f"{flag} {path} would overwrite an input file; choose another name"
                )
        if self.csv and self.json and self.csv.resolve() == self.json.resolve():
            raise InputError(
                f"--json {self.json} would overwrite the --csv file; choose another "
                "name"
            )
        # results there would be read as radiographs the next time
        folders = inputs | {path.parent.resolve() for path in listed}
        searched = {path.resolve() for path in named if path.is_dir()}
        for flag, path in self._folders().items():
            if flag != "--dicom-out" and self.report_format != "png":
                continue
            if path.resolve() in folders or not searched.isdisjoint(
                path.resolve().parents
            ):
                raise InputError(
                    f"{flag} {path} cannot be a folder with radiographs to read; "
                    "choose another folder"
                )
        if self.dicom_out is not None:
            dicom_output.check_is_dicom(listed)

    def _folders(self) -> dict[str, Path]:
        """Folders of results that are wanted, by their flags."""
        folders = {"--report": self.report, "--follow-up": self.follow_up}
        folders |= {"--dicom-out": self.dicom_out}
        return {flag: path for flag, path in folders.items() if path is not None}


def predict_to_files(
    predictor: Predictor,
    inputs: Sequence[InputRadiograph],
    skipped: list[Skipped],
    settings: OutputSettings,
) -> None:
    """Predict, print and write; if interrupted, what has been predicted by then.

    Raises:
        InputError: no radiograph could be read.
    """
    predictions, is_complete = [], False
    try:
        for prediction in predict_all(predictor, inputs, skipped, settings):
            with tqdm.external_write_mode():
                cli.summary(*formats.to_text(prediction))
            predictions.append(prediction)
        is_complete = True
    finally:
        # whatever happened: hours may be in them
        if is_complete or any(not prediction.refusal for prediction in predictions):
            finish(predictor, predictions, skipped, settings)


def predict_all(
    predictor: Predictor,
    inputs: Sequence[InputRadiograph],
    skipped: list[Skipped],
    settings: OutputSettings,
) -> Iterator[Prediction]:
    """Yield the predictions, without their images, once their pages are written.

    Radiographs that cannot be read are added to `skipped`.
    """
    taken: set[str] = set()
    needs_images = settings.report is not None or settings.dicom_out is not None
    outcomes = predictor.predict_all(inputs, needs_images)
    progress = tqdm(outcomes, "reading", len(inputs), leave=False, disable=None)
    for radiograph, outcome in zip(inputs, progress, strict=True):
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
            continue
        source = None
        if settings.dicom_out is not None:
            try:
                source = dicom_output.read_source(radiograph.path)
            except InputError as error:
                skipped.append(Skipped(radiograph.path, str(error)))
                continue
        for prediction in outcome:
            if settings.report is not None:
                # Matplotlib takes a second, and few ask for pages
                from boneage.reporting import report_page

                name = _free_name(radiograph.path.stem, taken)
                path = settings.report / f"{name}_bone_age.{settings.report_format}"
                report_page.write(path, prediction, predictor)
            if source is not None and settings.dicom_out is not None:
                result = dicom_output.build(source, prediction, predictor)
                result.write(settings.dicom_out)
            yield prediction.without_images()


def _free_name(stem: str, taken: set[str]) -> str:
    """The radiograph's name; numbered where several folders have the same."""
    # bytes that are no UTF-8, and a character cut in half, are left out
    stem = os.fsencode(stem)[:MAX_STEM_BYTES].decode(errors="ignore") or "radiograph"
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name.casefold())
    return name


def finish(
    predictor: Predictor,
    predictions: Sequence[Prediction],
    skipped: Sequence[Skipped],
    settings: OutputSettings,
) -> None:
    """Write CSV and JSON, and print the counts and the files written.

    Raises:
        InputError: no radiograph got an age.
    """
    lines = [printable(line) for line in parallel.skipped_lines(skipped)]
    refused = [prediction for prediction in predictions if prediction.refusal]
    if len(refused) == len(predictions):
        cli.summary(*lines[:-1])
        if not refused:
            raise InputError(f"no radiograph could be read; {lines[-1]}")
        cli.summary(*lines[-1:])
        raise InputError(
            f"no bone age for {refused[-1].file}: {refused[-1].refusal}; "
            "--include-refused predicts an age for such images, too"
        )
    if refused:
        lines.append(
            f"refused: {len(refused)}; --include-refused predicts an age for such "
            "images, too"
        )
    answered = len(predictions) - len(refused)
    children = None
    if settings.follow_up is not None:
        children, notes = follow_up.follow_ups(predictions)
        follow_up.write(
            settings.follow_up, children, predictor.reference, settings.report_format
        )
        lines += [*follow_up.summary_lines(children), *notes]
    if settings.csv is not None:
        formats.write_csv(settings.csv, predictions, skipped)
    if settings.json is not None:
        formats.write_json(settings.json, predictor, predictions, skipped, children)
    cli.summary(
        *lines,
        f"{answered} radiograph{'s' * (answered > 1)} read, "
        + (f"{len(refused)} refused, " if refused else "")
        + f"{len(skipped)} set aside",
        f"{formats.STATEMENT.capitalize()}.",
    )
    folders = (settings.report, settings.follow_up, settings.dicom_out)
    for path in (settings.csv, settings.json, *folders):
        cli.summary(wrote=path)
