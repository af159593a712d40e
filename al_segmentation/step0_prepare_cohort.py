"""Prepare a cohort: simulated radiographs, or a folder of real ones and a CSV.

Reads   --source folder: --from DIR with radiographs <id>.(png|jpg|webp|tif|dcm) and
        --csv FILE in one of the forms of the RSNA and Kaggle files
Writes  data/boneage-training-dataset/<id>.png, data/csv/train.csv (or test.csv);
        --source phantom: data/truth/<id>_bin.png and <id>.json as well

    python al_segmentation/step0_prepare_cohort.py --source phantom --count 300
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from boneage import cli, parallel
from boneage.cohort import importing
from boneage.errors import InputError
from boneage.io.locks import exclusive
from boneage.phantoms import cohort as phantoms_cohort


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """Where the cohort comes from."""

    paths: cli.Paths
    processing: cli.Processing
    source: Literal["phantom", "folder"] = "phantom"
    """source of the radiographs: a simulation or a folder"""
    count: int = 300
    """number of simulated radiographs"""
    annotated: int = 0
    """number of simulated radiographs that get an annotation, the exact mask"""
    size_px: int = 512
    """longer side of the simulated radiographs, px"""
    seed: int = 0
    """random seed of the simulation"""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """folder of radiographs to import"""
    csv: Path | None = None
    """CSV of ids, bone ages and sexes; default: the folder's only CSV file"""
    official_test: bool = False
    """import as the official test set of the cohort (test.csv)"""
    overwrite: bool = False
    """replace existing images"""


FLAGS = {
    "phantom": ("count", "annotated", "size_px", "seed"),
    "folder": ("from", "csv", "official_test"),
}


def main(options: Options) -> None:
    """Write the cohort in the form that all other steps read."""
    for source in FLAGS.keys() - {options.source}:
        cli.reject_flags(FLAGS[source], f"cannot be used without --source {source}")
    with exclusive(options.layout.radiographs):
        prepare(options)


def prepare(options: Options) -> None:
    """Simulate or import, whatever else is not there yet."""
    if options.source == "phantom":
        cohort, set_aside = phantoms_cohort.simulate_cohort(
            options.layout,
            *(options.count, options.annotated, options.size_px, options.seed),
            *(options.workers, options.overwrite),
        )
    elif options.from_ is None:
        raise InputError("--source folder cannot be used without --from DIR; give both")
    else:
        cohort, set_aside = importing.import_folder(
            options.layout,
            *(options.from_.absolute(), options.csv, options.official_test),
            *(options.workers, options.overwrite),
        )
    what = "simulated" if options.source == "phantom" else f"from {options.from_}"
    cli.summary(
        *parallel.skipped_lines(set_aside),
        f"{len(cohort)} radiographs ({cohort.is_male.sum()} male, "
        f"{(~cohort.is_male).sum()} female), {what}; {len(set_aside)} set aside",
        wrote=options.layout.radiographs,
    )


if __name__ == "__main__":
    cli.run(main, Options)
