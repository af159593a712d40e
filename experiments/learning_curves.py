"""Tables and figure of experiments/active_learning.py."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from boneage.active_learning import stopping
from boneage.errors import InputError
from boneage.io.files import atomic_write

CLOSE = 0.005
"""Difference in Dice from all annotations that counts as equal."""
POOR = 0.9
"""Dice below which a mask is useless."""
ALL, CHANCE = "all_annotations", "random"
LATEST_ROUNDS = 3
"""Rounds that are averaged at the end, because single rounds differ by chance."""
PANELS = {
    "dice": "Dice, mean",
    "lowest_tenth": "Dice, mean of the lowest tenth",
    "poor": f"share of masks below {POOR}",
}


def path_of(folder: Path, variant: str, seed: int) -> Path:
    """The table of one run."""
    return folder / f"{variant}.{seed}.csv"


def write(path: Path, rows: list[dict]) -> None:
    """One run's table: `annotations,id,dice,asked_dice,pool_disagreement`."""
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.5f")


def lowest_tenth(dice: pd.Series) -> float:
    """Mean of the lowest tenth, at least of one: where masks go wrong."""
    return float(np.sort(dice)[: max(1, round(len(dice) / 10))].mean())


def read(folder: Path) -> pd.DataFrame:
    """A row a run and round: `variant,seed,round,annotations,dice,lowest_tenth,poor`.

    Raises:
        InputError: no run there.
    """
    tables = []
    for path in sorted(folder.glob("*.*.csv")):
        variant, seed, _ = path.name.split(".")
        run = pd.read_csv(path)
        run["round"] = run.groupby("id").cumcount()
        rounds = run.groupby("round")
        facts = rounds[["annotations", "asked_dice", "pool_disagreement"]].first()
        dice = pd.DataFrame(
            {
                "dice": rounds.dice.mean(),
                "lowest_tenth": rounds.dice.apply(lowest_tenth),
                "poor": rounds.dice.apply(lambda values: (values < POOR).mean()),
            }
        )
        tables.append(
            facts.join(dice).reset_index().assign(variant=variant, seed=int(seed))
        )
    if not tables:
        raise InputError(
            f"{folder} has no finished run; train some with `run --out {folder}`"
        )
    runs = pd.concat(tables, ignore_index=True)
    # all variants are compared over equally many rounds
    common = runs.groupby(["variant", "seed"])["round"].max().min()
    return runs[runs["round"] <= common]


def at_the_end(runs: pd.DataFrame, variant: str, column: str) -> pd.Series:
    """The final value of a variant by seed: the mean of the latest rounds."""
    own = runs[runs.variant == variant].sort_values("round").groupby("seed")[column]
    return own.apply(lambda values: values[-LATEST_ROUNDS:].mean())


def needed(run: pd.DataFrame, column: str, target: float) -> float:
    """Annotations after which a run reaches `target`; NaN where it never does.

    The mean of a round and its neighbours decides, since single rounds differ by
    chance.
    """
    run = run.sort_values("round")
    smooth = run[column].rolling(3, center=True, min_periods=2).mean()
    reached = run.annotations[smooth.to_numpy() >= target]
    return float(reached.iloc[0]) if len(reached) else np.nan


def advised(run: pd.DataFrame) -> pd.Series | None:
    """The row of the round that advised to stop, or None."""
    run = run.sort_values("round").reset_index(drop=True)
    for turn in range(1, len(run)):
        answered = run[:turn].asked_dice
        disagreements = run[: turn + 1].pool_disagreement.tolist()
        if stopping.advice_text({n: [d] for n, d in answered.items()}, disagreements):
            return run.loc[turn]
    return None


def against_chance(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean over rounds less that of random choice, of the same seeds, by variant.

    Columns `difference,low,high,seeds`: the interval is Student's t at 95 %.
    """
    means = runs.pivot_table(index="seed", columns="variant", values=column)
    rows = {}
    for variant in means.columns.drop([ALL, CHANCE], errors="ignore"):
        differences = (means[variant] - means[CHANCE]).dropna()
        half = np.nan
        if len(differences) > 1:
            error = differences.std(ddof=1) / np.sqrt(len(differences))
            half = stats.t.ppf(0.975, len(differences) - 1) * error
        mean = differences.mean()
        rows[variant] = (mean, mean - half, mean + half, len(differences))
    names = ["difference", "low", "high", "seeds"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def report(folder: Path) -> list[str]:
    """Write `curves.csv`, `table.md` and `curves.png` into the folder of the runs."""
    runs = read(folder)
    lines = table(runs)
    with atomic_write(folder / "table.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    averages = runs.groupby(["variant", "round"]).agg(
        annotations=("annotations", "first"),
        seeds=("seed", "nunique"),
        **{f"{c}_mean": (c, "mean") for c in PANELS},
        **{f"{c}_deviation": (c, "std") for c in PANELS},
    )
    with atomic_write(folder / "curves.csv") as temporary:
        averages.reset_index().to_csv(temporary, index=False, float_format="%.5f")
    with atomic_write(folder / "curves.png") as temporary:
        figure(runs).savefig(temporary, dpi=120)
    return [*lines, f"wrote {folder / 'table.md'}, curves.csv, curves.png"]


def table(runs: pd.DataFrame) -> list[str]:
    """A row per variant in Markdown, sorted by the lowest tenth."""
    last = runs["round"].max() - LATEST_ROUNDS
    late = runs[runs["round"] > last].groupby("variant")[list(PANELS)].mean()
    gains = {name: against_chance(runs, name) for name in ("dice", "lowest_tenth")}
    targets = {
        "dice": at_the_end(runs, ALL, "dice") - CLOSE,
        "lowest_tenth": at_the_end(runs, CHANCE, "lowest_tenth"),
    }
    lines = [
        "| queries by | seeds | Dice | lowest tenth | below 0.9 "
        "| Dice minus random's | lowest tenth minus random's "
        "| annotations for the Dice of all minus 0.005 "
        "| annotations for random's lowest tenth | advised to stop at | Dice then |",
        "|---|---:|---|---|---|---|---|---|---|---|---|",
    ]
    for variant, means in late.sort_values("lowest_tenth", ascending=False).iterrows():
        own = [run for _, run in runs[runs.variant == variant].groupby("seed")]
        cells = [variant.replace("_", " "), str(len(own))]
        cells += [f"{means.dice:.4f}", f"{means.lowest_tenth:.4f}", f"{means.poor:.1%}"]
        for gain in gains.values():
            cells.append(_interval(gain.loc[variant]) if variant in gain.index else "")
        for column, target in targets.items():
            annotations = [
                needed(run, column, target[run.seed.iloc[0]])
                for run in own
                if run.seed.iloc[0] in target and variant != ALL
            ]
            cells.append(_counts(annotations))
        stops = [stop for run in own if (stop := advised(run)) is not None]
        cells.append(_counts([stop.annotations for stop in stops]))
        dice = np.mean([stop.dice for stop in stops]) if stops else np.nan
        cells.append("" if np.isnan(dice) else f"{dice:.4f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _interval(row: pd.Series) -> str:
    if row.seeds < 2:
        return f"{row.difference:+.4f}"
    return f"{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})"


def _counts(numbers: list[float]) -> str:
    return ", ".join("never" if np.isnan(n) else f"{n:.0f}" for n in numbers)


def figure(runs: pd.DataFrame) -> Figure:
    """Dice, its lowest tenth and the share below 0.9 by number of annotations."""
    drawn = Figure(figsize=(13, 4.2), layout="constrained")
    for axes, (column, label) in zip(drawn.subplots(1, 3), PANELS.items(), strict=True):
        for variant, own in runs[runs.variant != ALL].groupby("variant"):
            line = own.groupby("annotations")[column].agg(["mean", "std"])
            chance = variant == CHANCE
            (shown,) = axes.plot(
                line.index,
                line["mean"],
                color="black" if chance else None,
                linewidth=2.5 if chance else 1.3,
                label=variant.replace("_", " "),
            )
            if chance:
                low, high = line["mean"] - line["std"], line["mean"] + line["std"]
                axes.fill_between(
                    line.index, low, high, color=shown.get_color(), alpha=0.15
                )
        everything = runs[runs.variant == ALL]
        if len(everything):
            last = everything["round"].max() - LATEST_ROUNDS
            level = everything[everything["round"] > last][column].mean()
            axes.axhline(level, color="grey", linestyle="--", label="all annotations")
        axes.set_xlabel("annotations")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    drawn.axes[0].legend(fontsize=7)
    return drawn
