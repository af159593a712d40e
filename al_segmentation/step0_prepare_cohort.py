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
class Options(cli.ImagePaths):
    """Where the cohort comes from."""

    source: Literal["phantom", "folder"] = "phantom"
    """Simulate radiographs, or import a folder."""
    count: int = 300
    """Phantoms to simulate."""
    annotated: int = 0
    """Phantoms whose exact mask is laid into gt/annotated, as a person's would be."""
    size_px: int = 512
    """Longer side of a phantom."""
    seed: int = 0
    """Seed of the phantoms."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Folder of the radiographs to import."""
    csv: Path | None = None
    """Their ids, bone ages and sexes; default: the one CSV file in the folder."""
    official_test: bool = False
    """Import as the cohort's official test set (test.csv)."""
    overwrite: bool = False
    """Do images again that exist."""


FLAGS = {"phantom": ("count", "annotated", "size_px", "seed")}
FLAGS["folder"] = ("from", "csv", "official_test")


def main(options: Options) -> None:
    """Write the cohort in the form that all other steps read."""
    other = "folder" if options.source == "phantom" else "phantom"
    cli.reject_flags(FLAGS[other], f"only with --source {other}")
    with exclusive(options.layout.radiographs):
        prepare(options)


def prepare(options: Options) -> None:
    """Simulate or import, whatever else is not there yet."""
    if options.source == "phantom":
        cohort, set_aside = phantoms_cohort.simulate_cohort(
            options.layout,
            options.count,
            options.annotated,
            options.size_px,
            options.seed,
            options.workers,
            options.overwrite,
        )
    elif options.from_ is None:
        raise InputError("--source folder needs --from DIR, the folder to import")
    else:
        cohort, set_aside = importing.import_folder(
            options.layout,
            options.from_.absolute(),
            options.csv,
            options.official_test,
            options.workers,
            options.overwrite,
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
