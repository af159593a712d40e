"""Predict bone ages from hand radiographs: age, interval, warnings, activation maps.

Reads   radiographs (PNG, JPEG, WebP, TIFF, DICOM), folders, CSV files with columns
        file,sex; models/committee and models/regression/<run>/, or models/pretrained
Writes  nothing but the screen; with --csv and --json a file on all radiographs, with
        --report a page on each radiograph, <name>_bone_age.png (or .pdf); with
        --follow-up a figure on each child with several radiographs; with
        --dicom-out DICOM objects, SC.<UID>.dcm and SR.<UID>.dcm

    python predict.py hand.png --sex female

A CSV file gives the sex as male, M, True or 1; female, F, False or 0; or unknown, and
may give a chronological_age (8y3m) and a patient. A DICOM file's own sex and age are
used if nothing else gives them. Unreadable files and images without a hand are counted,
with exit code 2 if there are no others. For research, not for diagnosis.
"""

from boneage import cli
from boneage.serving import command
from boneage.serving.command import Options


def main(options: Options) -> None:
    """Predict for the named files, or serve the page."""
    command.main(options)


if __name__ == "__main__":
    cli.run(main, Options)
