"""Check that every radiograph of the cohort has come through every stage begun.

Reads   data/csv/train.csv (and test.csv), and the images and masks of every stage
Writes  nothing; with --report FILE, a CSV with a row for every problem

    python al_segmentation/step3_check_data.py

Exit code 1 when a stage that has begun is incomplete, or when one radiograph lies in
two parts of the split under two ids. Negatives and turned hands are counted by their
masks, and do not change the exit code. The full RSNA set has 12611.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from boneage import cli
from boneage.cohort import checks, excluded, table
from boneage.ids import sort_ids
from boneage.io.files import atomic_write
from boneage.segmentation import mask_quality


@dataclass(frozen=True)
class Options(cli.ImageScriptOptions):
    """What to report."""

    paths: cli.Paths
    processing: cli.Processing
    report: Path | None = None
    """CSV file for the problems: id, stage, problem"""


def main(options: Options) -> int:
    """Print the table; 1 where something that has begun is incomplete."""
    layout = options.layout
    ids = table.read_cohort(layout.train_csv).ids.tolist()
    if layout.test_csv.exists():
        ids = sort_ids({*ids, *table.read_cohort(layout.test_csv).ids.tolist()})
    stages = checks.check_all(layout, ids, options.workers)
    for stage in stages:
        count = f"{stage.complete} of {stage.expected}" if stage.begun else "not begun"
        print(f"{stage.name:<16}{count:>16}   {stage.folder}")
    incomplete = [stage for stage in stages if stage.begun and stage.problems]
    for stage in incomplete:
        first = next(iter(stage.problems.values()))
        which = cli.list_some(list(stage.problems), 20)
        print(f"{stage.name}: {len(stage.problems)} missing or damaged: {which}")
        print(f"    the first: {first}")
    if options.report is not None:
        with atomic_write(options.report) as path, path.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["id", "stage", "problem"])
            for stage in incomplete:
                rows.writerows((i, stage.name, p) for i, p in stage.problems.items())
    notes, is_leaking = checks.find_duplicate_radiographs(layout, stages[0])
    verdict = "incomplete" if incomplete else "all stages begun are complete"
    flagged = excluded.flagged(layout)
    usable = [i for i in ids if i not in flagged and layout.radiograph(i).exists()]
    notes += mask_quality.display_lines(layout, usable, options.workers)
    notes += excluded.flagged_lines(flagged)
    cli.summary(*notes, f"{len(ids)} radiographs: {verdict}", wrote=options.report)
    return 1 if incomplete or is_leaking else 0


if __name__ == "__main__":
    cli.run(main, Options)
