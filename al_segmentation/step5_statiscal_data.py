"""Compare all runs on the test part: table, intervals, figures, and their average.

Reads   models/regression/<run>/ of every finished run: config.json, predictions.csv,
        history.csv; with --readers a table of readings instead
Writes  models/statistics/: table.csv (a row a run, group and metric), table.md, and
        for each run scatter_<run>.png, bland_altman_<run>.png, error_by_age_<run>.png
        and training_<run>.png; with --readers readers.csv, readers.md, readers.png

    python al_segmentation/step5_statiscal_data.py
"""

from dataclasses import dataclass

from boneage import cli, parallel
from boneage.evaluation import comparison, reader_agreement
from boneage.evaluation.reader_agreement import ReaderSettings
from boneage.io.files import atomic_write
from boneage.io.locks import exclusive
from boneage.regression import run_folder
from boneage.regression.settings import BootstrapSettings


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """How the intervals are drawn."""

    paths: cli.Paths
    bootstrap: BootstrapSettings
    comparison: ReaderSettings


def main(options: Options) -> None:
    """Write the table and the figures, and show the main table."""
    if options.comparison.readers is None:
        cli.reject_flags(["networks"], "cannot be used without --readers")
    options.bootstrap.check()
    with exclusive(options.layout.statistics):
        if options.comparison.readers is None:
            compare(options)
        else:
            folder, settings = options.layout.statistics, options.comparison
            lines = reader_agreement.write(folder, settings, options.bootstrap)
            cli.summary(*lines, wrote=folder)


def compare(options: Options) -> None:
    """Write tables and figures."""
    finished = run_folder.finished_runs(options.layout.regression)
    predictions, set_aside = comparison.read_all_test_predictions(finished)
    notes = parallel.skipped_lines(set_aside)
    notes += [flaw for of_run in predictions for flaw in of_run.flaws()]
    average, averaged = comparison.average_predictions(predictions)
    if average:
        notes.append(f"{average.name}: mean of {cli.list_some(averaged)}")
        predictions.append(average)
    if len(averaged) < len(predictions) - bool(average) > 1:
        notes.append(
            "not all runs were tested on the same radiographs: compare with care"
        )

    # Pandas and Matplotlib: a second, once everything named is there
    import pandas as pd
    from tqdm import tqdm

    from boneage.evaluation import figures

    folder, bootstrap = options.layout.statistics, options.bootstrap
    tables = []
    for of_run in tqdm(predictions, "comparing", disable=None):
        tables.append(comparison.tabulate(of_run, bootstrap.seed, bootstrap.resamples))
        figures.write_agreement(folder, of_run)
    broken = [skipped.item for skipped in set_aside]
    for run in finished:
        if run not in broken and run.history.is_file():
            figures.write_training(folder, run)
    table = pd.concat(tables)
    with atomic_write(folder / "table.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")
    with atomic_write(folder / "table.md") as temporary:
        temporary.write_text(comparison.to_markdown(table, notes))
    cli.summary(*comparison.to_screen(table), *notes, wrote=folder)


if __name__ == "__main__":
    cli.run(main, Options)
