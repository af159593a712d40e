"""Compare paced transfer with its rivals: losses, test metrics, and what holds up.

Reads   models/paced/<run>/ and models/conventional/<run>/ of every finished run
Writes  models/transfer/: loss_<backbone>_<sex>.png of each sex group, loss_joint.png
        where there are several, table.csv, table.md (with the differences in words)

    python paced_transfer/step6_visualize.py

Runs that differ by nothing but the seed are taken together.
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
    """How the intervals are drawn."""

    paths: cli.Paths
    bootstrap: BootstrapSettings


def main(options: Options) -> None:
    """Write figures and tables, and say which differences hold up."""
    options.bootstrap.check()
    with exclusive(options.layout.transfer):
        compare(options)


def compare(options: Options) -> None:
    """The same, where no other process writes it."""
    finished, notes = runs.find(options.layout)

    # Pandas and Matplotlib: a second, once everything named is there
    import pandas as pd
    from tqdm import tqdm

    from boneage import plotting
    from boneage.transfer import comparison
    from boneage.transfer import figures as transfer_figures
    from boneage.transfer import methods as transfer_methods

    groups = transfer_methods.groups(transfer_methods.read(finished))
    notes += transfer_methods.duplicate_seeds(groups)
    folder = options.layout.transfer
    bootstrap = (options.bootstrap.seed, options.bootstrap.resamples)
    tables, found, drawn = [], {}, {}
    for name, methods in tqdm(groups.items(), "comparing", disable=None):
        of_group = [comparison.tabulate(name, m, *bootstrap) for m in methods]
        tables += of_group
        found[name] = comparison.of_group(methods, *bootstrap)
        figure = transfer_figures.group_figure(name, methods, pd.concat(of_group))
        drawn[f"loss_{re.sub(r'[, ]+', '_', name)}.png"] = figure
    table = pd.concat(tables)
    if len(groups) > 1:
        drawn["loss_joint.png"] = transfer_figures.joint_figure(groups, table)
    for stale in set(folder.glob("loss_*.png")) - {folder / name for name in drawn}:
        stale.unlink()
    for name, figure in drawn.items():
        plotting.save(figure, folder / name)
    with atomic_write(folder / "table.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")
    words = {name: comparison.in_words(groups[name], found[name]) for name in groups}
    with atomic_write(folder / "table.md") as temporary:
        temporary.write_text(comparison.markdown(table, words, notes))
    lines = [line for name, said in words.items() for line in (f"{name}:", *said)]
    cli.summary(*lines, *notes, wrote=folder)


if __name__ == "__main__":
    cli.run(main, Options)
