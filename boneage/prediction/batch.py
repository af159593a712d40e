"""Many radiographs one after the other, and the files that are left of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boneage import cli, parallel
from boneage.errors import InputError
from boneage.parallel import Skipped
from boneage.prediction import formats
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Prediction, Predictor

LONGEST_STEM = 200
"""Bytes of a page's name."""


@dataclass(frozen=True)
class OutputSettings:
    """What is written about the radiographs that were read."""

    csv: Path | None = None
    """CSV to write: file, months, interval, sex, warnings; a row a radiograph."""
    json: Path | None = None
    """JSON to write: the same, each run's answer, the models' facts."""
    report: Path | None = None
    """Folder for a page on each radiograph, <name>_bone_age.png."""
    report_format: Literal["png", "pdf"] = "png"
    """Of these pages."""

    def check_output(self) -> None:
        """Raise InputError where a name is taken by something else."""
        for flag, path in (("--csv", self.csv), ("--json", self.json)):
            if path is not None and path.is_dir():
                raise InputError(f"{flag} {path}: a folder; name a file in it")
        if self.report is not None and self.report.is_file():
            raise InputError(f"--report {self.report}: a file; name a folder")

    def check_kept(self, named: Sequence[Path], read: Sequence[Path]) -> None:
        """Raise InputError where something that is read would be written over.

        named: radiographs, folders, CSV files. read: the radiographs in them.
        """
        kept = {path.resolve() for path in (*named, *read)}
        for flag, path in (("--csv", self.csv), ("--json", self.json)):
            if path is not None and path.resolve() in kept:
                raise InputError(f"{flag} {path}: is read; name another file")
        if self.csv and self.json and self.csv.resolve() == self.json.resolve():
            raise InputError(f"--json {self.json}: is the --csv, too")
        if self.report is None or self.report_format != "png":
            return
        # pages there would be read as radiographs the next time
        folders = kept | {path.parent.resolve() for path in read}
        if self.report.resolve() in folders:
            raise InputError(
                f"--report {self.report}: radiographs are read there; name another "
                "folder"
            )


def predict_to_files(
    ensemble: Predictor,
    asked: Sequence[InputRadiograph],
    set_aside: list[Skipped],
    settings: OutputSettings,
) -> None:
    """Read, say and write what was asked; interrupted, what has been read by then.

    Raises:
        InputError: nothing could be read.
    """
    readings, is_complete = [], False
    try:
        for reading in predict_all(ensemble, asked, set_aside, settings):
            cli.summary(*formats.to_text(reading))
            readings.append(reading)
        is_complete = True
    finally:
        # whatever happened: hours may be in them
        if readings or is_complete:
            finish(ensemble, readings, set_aside, settings)


def predict_all(
    ensemble: Predictor,
    asked: Sequence[InputRadiograph],
    set_aside: list[Skipped],
    settings: OutputSettings,
) -> Iterator[Prediction]:
    """Yield the readings, without their pictures, once their pages are written.

    What cannot be read is added to `set_aside`.
    """
    taken: set[str] = set()
    for each in asked:
        try:
            reading = ensemble.read(each)
        except InputError as error:
            set_aside.append(Skipped(each.path, str(error)))
            continue
        if settings.report is not None:
            # Matplotlib takes a second, and few ask for pages
            from boneage.prediction import report_page

            name = _free_name(each.path.stem, taken)
            path = settings.report / f"{name}_bone_age.{settings.report_format}"
            report_page.write(path, reading, ensemble)
        yield reading.without_pictures()


def _free_name(stem: str, taken: set[str]) -> str:
    """The radiograph's name; numbered where several folders have the same."""
    # a file's name has at most 255 bytes
    stem = stem.encode()[:LONGEST_STEM].decode(errors="ignore")
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name.casefold())
    return name


def finish(
    ensemble: Predictor,
    readings: Sequence[Prediction],
    set_aside: Sequence[Skipped],
    settings: OutputSettings,
) -> None:
    """Write CSV and JSON, and say what was read and what was not.

    Raises:
        InputError: nothing could be read.
    """
    lines = parallel.skipped_lines(set_aside)
    if not readings:
        cli.summary(*lines[:-1])
        raise InputError(f"nothing could be read; {lines[-1]}")
    if settings.csv is not None:
        formats.write_csv(settings.csv, readings, set_aside)
    if settings.json is not None:
        formats.write_json(settings.json, ensemble, readings, set_aside)
    cli.summary(
        *lines,
        f"{len(readings)} radiograph{'s' * (len(readings) > 1)} read, "
        f"{len(set_aside)} set aside",
        f"{formats.STATEMENT.capitalize()}.",
    )
    for path in (settings.csv, settings.json, settings.report):
        cli.summary(wrote=path)
