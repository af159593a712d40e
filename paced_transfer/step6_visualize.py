"""Compare paced and conventional transfer: losses, test metrics and differences.

Reads   models/paced/<run>/ and models/conventional/<run>/ of every finished run
Writes  models/transfer/: loss_<backbone>_<sex>.png of each sex group, loss_joint.png
        where there are several, table.csv, table.md (with the differences in words)

    python paced_transfer/step6_visualize.py

Runs that differ only by the seed are averaged.
"""

import re
from dataclasses import dataclass

from boneage import cli
from boneage.io.files import atomic_write
from boneage.io.locks import exclusive
from boneage.regression.settings import BootstrapSettings
from boneage.transfer import runs


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Cohort and bootstrap."""

    paths: cli.Paths
    bootstrap: BootstrapSettings


def main(options: Options) -> None:
    """Write figures and tables, and print which differences are significant."""
    options.bootstrap.check()
    with exclusive(options.layout.transfer):
        compare(options)


def compare(options: Options) -> None:
    """Write them while no other process does."""
    finished, notes = runs.find_finished(options.layout)

    # Pandas and Matplotlib take a second to load: only when the input is complete
    import pandas as pd
    from tqdm import tqdm

    from boneage import plotting
    from boneage.transfer import comparison, figures, methods

    groups = methods.group_methods(methods.read_results(finished))
    notes += methods.duplicate_seeds(groups)
    folder = options.layout.transfer
    bootstrap = (options.bootstrap.seed, options.bootstrap.resamples)
    tables, differences, drawn = [], {}, {}
    for name, of_group in tqdm(groups.items(), "comparing", disable=None):
        rows = [comparison.tabulate(name, m, *bootstrap) for m in of_group]
        tables += rows
        differences[name] = comparison.compare_group(of_group, *bootstrap)
        figure = figures.group_figure(name, of_group, pd.concat(rows))
        drawn[f"loss_{re.sub(r'[, ]+', '_', name)}.png"] = figure
    table = pd.concat(tables)
    if len(groups) > 1:
        drawn["loss_joint.png"] = figures.joint_figure(groups, table)
    for stale in set(folder.glob("loss_*.png")) - {folder / name for name in drawn}:
        stale.unlink()
    for name, figure in drawn.items():
        plotting.save(figure, folder / name)
    with atomic_write(folder / "table.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")
    words = {
        name: comparison.in_words(groups[name], differences[name]) for name in groups
    }
    with atomic_write(folder / "table.md") as temporary:
        temporary.write_text(comparison.markdown(table, words, notes))
    lines = [line for name, texts in words.items() for line in (f"{name}:", *texts)]
    cli.summary(*lines, *notes, wrote=folder)


if __name__ == "__main__":
    cli.run(main, Options)
