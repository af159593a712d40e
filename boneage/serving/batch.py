"""Predict many radiographs, and write each answer as soon as it is there."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from boneage import cli, parallel
from boneage.errors import InputError, printable
from boneage.parallel import Skipped
from boneage.prediction import on_cluster
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import Prediction
from boneage.reporting import dicom_output, follow_up, formats
from boneage.reporting.answer_files import CsvFile, JsonFile

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
    skipped: Sequence[Skipped],
    settings: OutputSettings,
    scheduler: str = "",
) -> None:
    """Predict, print and write each radiograph, then print the counts.

    skipped: what was set aside before. scheduler: of a Dask cluster that reads, see
    `on_cluster`; "" to read here.

    Raises:
        InputError: no radiograph got an age.
    """
    answers, is_complete = Answers(predictor, settings, skipped), False
    try:
        for outcome in predict_all(predictor, inputs, settings, scheduler):
            answers.add(outcome)
        is_complete = True
    finally:
        # after an interruption, too: the counts are of use
        if is_complete or answers.count:
            answers.finish(is_complete)


def predict_all(
    predictor: Predictor,
    inputs: Sequence[InputRadiograph],
    settings: OutputSettings,
    scheduler: str = "",
) -> Iterator[Prediction | Skipped]:
    """Yield the predictions, without their images, once their pages are written.

    In the order of `inputs`; what cannot be read comes as why it is set aside.
    """
    taken: set[str] = set()
    needs_images = settings.report is not None or settings.dicom_out is not None
    if scheduler:
        outcomes = on_cluster.predict_all(predictor, inputs, needs_images, scheduler)
    else:
        outcomes = predictor.predict_all(inputs, needs_images)
    progress = tqdm(outcomes, "reading", len(inputs), leave=False, disable=None)
    for radiograph, outcome in zip(inputs, progress, strict=True):
        if isinstance(outcome, Skipped):
            yield outcome
            continue
        source = None
        if settings.dicom_out is not None:
            try:
                source = dicom_output.read_source(radiograph.path)
            except InputError as error:
                yield Skipped(radiograph.path, str(error))
                continue
        for prediction in outcome:
            if needs_images:
                prediction = predictor.with_shown_maps(prediction)
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


class Answers:
    """What was predicted: printed and written at once, then counted.

    Files are begun with the first age: a table of none takes no other's place.

    count, refused: radiographs with an age, and those without.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: OutputSettings,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        """Begin with what was set aside before anything was read."""
        self.count = self.refused = 0
        self._predictor, self._settings = predictor, settings
        self._before, self._skipped = tuple(skipped), [*skipped]
        self._csv: CsvFile | None = None
        self._json: JsonFile | None = None
        self._without_files: list[Prediction | Skipped] = []
        self._last_refused: Prediction | None = None
        self._followed: list[Prediction] = []

    def add(self, outcome: Prediction | Skipped) -> None:
        """Print a prediction, without images, and write it, or what is set aside."""
        if isinstance(outcome, Skipped):
            self._skipped.append(outcome)
        else:
            with tqdm.external_write_mode():
                cli.summary(*formats.to_text(outcome))
            if self._settings.follow_up is not None:
                self._followed.append(outcome)
            if outcome.refusal:
                self.refused, self._last_refused = self.refused + 1, outcome
            else:
                self.count += 1
        if not self.count:
            self._without_files.append(outcome)
            return
        if self.count == 1 and not isinstance(outcome, Skipped) and not outcome.refusal:
            self._begin_files()
        self._write(outcome)

    def _begin_files(self) -> None:
        if self._settings.csv is not None:
            self._csv = CsvFile(self._settings.csv)
        if self._settings.json is not None:
            self._json = JsonFile(self._settings.json, self._predictor)
        for outcome in self._without_files:
            self._write(outcome)
        self._without_files.clear()

    def _write(self, outcome: Prediction | Skipped) -> None:
        if self._csv is not None:
            self._csv.add(outcome)
        if self._json is not None and not isinstance(outcome, Skipped):
            self._json.add(outcome, self._skipped)

    def finish(self, is_complete: bool = True) -> None:
        """Close the files, and print the counts and what was written.

        is_complete: all radiographs were read, or set aside.

        Raises:
            InputError: no radiograph got an age.
        """
        lines = [printable(line) for line in parallel.skipped_lines(self._skipped)]
        if not self.count:
            self._refuse(lines)
        if self.refused:
            lines.append(
                f"refused: {self.refused}; --include-refused predicts an age for such "
                "images, too"
            )
        settings, children = self._settings, None
        if settings.follow_up is not None:
            children, notes = follow_up.follow_ups(self._followed)
            reference = self._predictor.reference
            follow_up.write(
                settings.follow_up, children, reference, settings.report_format
            )
            lines += [*follow_up.summary_lines(children), *notes]
        if self._csv is not None:
            for item in self._before:
                self._csv.add(item)
        if self._json is not None:
            self._json.close(self._skipped, children, is_complete)
        cli.summary(
            *lines,
            f"{self.count} radiograph{'s' * (self.count > 1)} read, "
            + (f"{self.refused} refused, " if self.refused else "")
            + f"{len(self._skipped)} set aside",
            f"{formats.STATEMENT.capitalize()}.",
        )
        folders = (settings.report, settings.follow_up, settings.dicom_out)
        for path in (settings.csv, settings.json, *folders):
            cli.summary(wrote=path)

    def _refuse(self, lines: list[str]) -> None:
        cli.summary(*lines[:-1])
        if self._last_refused is None:
            raise InputError(f"no radiograph could be read; {lines[-1]}")
        cli.summary(*lines[-1:])
        raise InputError(
            f"no bone age for {self._last_refused.file}: {self._last_refused.refusal}; "
            "--include-refused predicts an age for such images, too"
        )
