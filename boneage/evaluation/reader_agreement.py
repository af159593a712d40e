"""How readers agree: people and networks that read the same radiographs.

For each pair the metrics of agreement, with bootstrap intervals over radiographs. For
each network whether it lies within the spread of people: whether it differs from a
person more than two people differ from each other. This is the question of individual
equivalence (Obuchowski, Subhas and Schoenhagen, Acad Radiol 21 (2014) 1483), here with
absolute in place of squared differences, because these are months. The distance to the
mean of the other people is given as well: the labels of the RSNA 2017 test set are such
means, of six readings, and nearer to any good reader than a single reading is.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from boneage.cli import NO_DEFAULT
from boneage.cohort.columns import (
    CHRONOLOGICAL_AGE,
    COLUMNS,
    normalized,
    parse_age,
)
from boneage.errors import InputError
from boneage.evaluation.bootstrap import bootstrap_interval
from boneage.evaluation.metrics import METRICS
from boneage.io.files import atomic_write
from boneage.io.tables import read_table
from boneage.regression.settings import BootstrapSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PAIR_METRICS = (
    *("mae", "bias", "lower_limit_of_agreement", "upper_limit_of_agreement"),
    "concordance_correlation",
)
HEADINGS = {"mae": "mean absolute difference"}
NO_READINGS = (*COLUMNS["sex"], *COLUMNS["patient"], *CHRONOLOGICAL_AGE, "file", "note")
"""Headings of what is no reading, without case, blanks and punctuation."""
FEWEST = 2
YEARS_FROM, YEARS_UNTIL = 20, 20
"""So many readings, all at or below so many months, are years."""


@dataclass(frozen=True)
class ReaderSettings:
    """Readers to compare in place of the runs."""

    readers: Path | None = None
    """table with the column id and a column of readings in months for each reader"""
    networks: Annotated[tuple[str, ...], NO_DEFAULT] = ()
    """columns of the table that networks read; the others are people's"""


@dataclass(frozen=True)
class Readings:
    """Bone ages by several readers.

    months: (radiograph, reader) float, NaN where a reader did not read. names: of the
    readers. is_network: (reader,) bool.
    """

    months: np.ndarray
    names: tuple[str, ...]
    is_network: np.ndarray

    def common(self, readers: list[int]) -> np.ndarray:
        """Readings of the radiographs that all of these readers read: (n, reader)."""
        chosen = self.months[:, readers]
        return chosen[~np.isnan(chosen).any(axis=1)]


@dataclass(frozen=True)
class Distance:
    """How far a reader is from people, months; each with its 95 % interval.

    radiographs: that this reader and all people read. to_people: mean absolute
    difference to a person, over the people but the reader. to_mean: to the mean of all
    people but one; NaN with two people. excess: `to_people` less the same among people;
    NaN for a person.
    """

    name: str
    is_network: bool
    radiographs: int
    to_people: tuple[float, float, float]
    to_mean: tuple[float, float, float]
    excess: tuple[float, float, float]

    def verdict(self) -> str:
        """Whether a network lies within the spread of people; empty for a person."""
        value, lower, upper = self.excess
        if not self.is_network or math.isnan(value):
            return ""
        if upper <= 0:
            return "within the spread of people"
        if lower > 0:
            return "outside the spread of people"
        return "not told apart from a person by these radiographs"


def read_readings(path: Path, networks: tuple[str, ...] = ()) -> Readings:
    """Read a table with a row per radiograph and a column per reader.

    Raises:
        InputError: it cannot be read, has no column of ids or fewer than two of
            readings, names no such network, or a cell is no bone age in months.
    """
    table = read_table(path, "check the name")
    names = [normalized(name) for name in table.header]
    ids = [i for i, n in enumerate(names) if n in (*COLUMNS["id"], "file")]
    places = [
        place
        for place, name in enumerate(table.header)
        if place not in ids and name and normalized(name) not in NO_READINGS
    ]
    readers = tuple(table.header[place] for place in places)
    if len(ids) != 1 or len(readers) < 2 or len(set(readers)) < len(readers):
        raise InputError(
            f"{path} must have a column id and two or more columns of readings, each "
            f"with its own name (got {','.join(table.header) or 'nothing'})"
        )
    unknown = [name for name in networks if name not in readers]
    if unknown:
        raise InputError(
            f"--networks must name columns of {path} (got {unknown[0]}); it has "
            f"{', '.join(readers)}"
        )
    months = np.full((len(table.rows), len(places)), np.nan)
    seen: set[str] = set()
    for number, (line, row) in enumerate(table.rows):
        if len(row) != len(table.header):
            raise InputError(
                f"{path}: line {line} must have {len(table.header)} values (got "
                f"{len(row)})"
            )
        if row[ids[0]] in seen or not row[ids[0]]:
            raise InputError(
                f"{path}: line {line}: id must be given, and once (got {row[ids[0]]!r})"
            )
        seen.add(row[ids[0]])
        for column, place in enumerate(places):
            try:
                months[number, column] = parse_age({"months": row[place]})
            except ValueError as error:
                raise InputError(
                    f"{path}: line {line}, {table.header[place]}: {error}; rename the "
                    "column to note if it has no readings"
                ) from None
    _check_units(path, months, readers)
    return Readings(months, readers, np.array([name in networks for name in readers]))


def _check_units(path: Path, months: np.ndarray, readers: tuple[str, ...]) -> None:
    for column, name in enumerate(readers):
        known = months[~np.isnan(months[:, column]), column]
        if len(known) >= YEARS_FROM and known.max() <= YEARS_UNTIL:
            raise InputError(
                f"{path}: {name} must be in months (got none above {known.max():g}, "
                f"which look like years); multiply them by 12"
            )


def compare_pairs(
    readings: Readings, bootstrap: BootstrapSettings
) -> tuple[pd.DataFrame, list[str]]:
    """Agreement of each pair of readers on the radiographs that both read.

    Returns:
        `first,second,kind,radiographs,metric,value,lower,upper`, where kind is people,
        mixed or networks, and a difference is second less first; and what was left out.
    """
    import pandas as pd

    rows, notes = [], []
    for first, second in itertools.combinations(range(len(readings.names)), 2):
        common = readings.common([first, second])
        names = readings.names[first], readings.names[second]
        if len(common) < FEWEST:
            notes.append(
                f"{names[0]} and {names[1]} share {len(common)} radiographs: not "
                "compared"
            )
            continue
        networks = int(readings.is_network[[first, second]].sum())
        kind = ("people", "mixed", "networks")[networks]
        for metric in PAIR_METRICS:
            interval = bootstrap_interval(
                METRICS[metric].function,
                common[:, 0],
                common[:, 1],
                np.random.default_rng(bootstrap.seed),
                bootstrap.resamples,
            )
            rows.append((*names, kind, len(common), metric, *interval))
    columns = "first second kind radiographs metric value lower upper"
    return pd.DataFrame(rows, columns=columns.split()), notes


def distances(readings: Readings, bootstrap: BootstrapSettings) -> list[Distance]:
    """Each reader's distance from people; none with fewer than two people."""
    people = np.flatnonzero(~readings.is_network).tolist()
    if len(people) < 2:
        return []
    return [
        _distance(readings, reader, people, bootstrap)
        for reader in range(len(readings.names))
    ]


def _distance(
    readings: Readings, reader: int, people: list[int], bootstrap: BootstrapSettings
) -> Distance:
    is_network = bool(readings.is_network[reader])
    others = [person for person in people if person != reader]
    months = readings.common([reader, *others])

    def interval(function) -> tuple[float, float, float]:
        """Of a function of readings (..., radiograph, reader), the reader first."""
        places = np.arange(len(months))
        return bootstrap_interval(
            lambda rows, _: function(months[rows]),
            places,
            places,
            np.random.default_rng(bootstrap.seed),
            bootstrap.resamples,
        )

    nothing = (math.nan, math.nan, math.nan)
    return Distance(
        readings.names[reader],
        is_network,
        len(months),
        interval(_to_people),
        interval(lambda m: _to_mean(m, is_network)) if len(people) > 2 else nothing,
        interval(_excess) if is_network else nothing,
    )


def _to_people(months: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the first reader to each of the others."""
    return np.abs(months[..., :1] - months[..., 1:]).mean(axis=(-2, -1))


def _excess(months: np.ndarray) -> np.ndarray:
    """How much farther the first reader is from the others than they are apart."""
    return _to_people(months) - _among(months[..., 1:])


def _among(months: np.ndarray) -> np.ndarray:
    """Mean absolute difference between two of the readers, over all pairs."""
    first, second = np.triu_indices(months.shape[-1], 1)
    return np.abs(months[..., first] - months[..., second]).mean(axis=(-2, -1))


def _to_mean(months: np.ndarray, is_network: bool) -> np.ndarray:
    """Of the first reader to the mean of the people but one.

    For a person the one is that person; for a network it is each person in turn, so
    that both are compared with means of as many readings.
    """
    first, people = months[..., :1], months[..., 1:]
    if not is_network:
        return np.abs(first[..., 0] - people.mean(axis=-1)).mean(axis=-1)
    total, count = people.sum(axis=-1, keepdims=True), people.shape[-1]
    return np.abs(first - (total - people) / (count - 1)).mean(axis=(-2, -1))


def write(
    folder: Path, settings: ReaderSettings, bootstrap: BootstrapSettings
) -> list[str]:
    """Write readers.csv, readers.md and readers.png; returns lines for the screen.

    Raises:
        InputError: no table of readings, or no two readers share radiographs.
    """
    if settings.readers is None:
        raise InputError("--readers must name a table of readings (got none)")
    readings = read_readings(settings.readers, settings.networks)
    pairs, notes = compare_pairs(readings, bootstrap)
    if pairs.empty:
        raise InputError(
            f"two readers must have read {FEWEST} radiographs or more in common (got "
            f"none: {notes[0]})"
        )
    of_readers = distances(readings, bootstrap)
    with atomic_write(folder / "readers.csv") as temporary:
        pairs.to_csv(temporary, index=False, float_format="%.4f")
    lines = verdict_lines(of_readers)
    if not of_readers:
        notes.append("fewer than two people: no spread of people to compare with")
    with atomic_write(folder / "readers.md") as temporary:
        temporary.write_text(to_markdown(pairs, of_readers, [*lines, *notes]))
    from boneage.plotting import save

    save(draw(pairs), folder / "readers.png")
    return [*pair_lines(pairs), *lines, *notes]


def pair_lines(pairs: pd.DataFrame) -> list[str]:
    """A line for each pair: how far the two differ."""
    lines = []
    for row in pairs[pairs.metric == "mae"].itertuples():
        value = METRICS["mae"].format_interval(row.value, row.lower, row.upper)
        lines.append(
            f"{row.first} and {row.second}: {value} months apart on "
            f"{row.radiographs} radiographs"
        )
    return lines


def verdict_lines(of_readers: list[Distance]) -> list[str]:
    """A line for each network: its distance from people beside theirs."""
    lines = []
    for distance in of_readers:
        if not distance.is_network:
            continue
        format_interval = METRICS["mae"].format_interval
        lines.append(
            f"{distance.name}: {format_interval(*distance.to_people)} months from a "
            f"person; less the distance of two people, "
            f"{format_interval(*distance.excess)}: "
            f"{distance.verdict() or 'not compared'}"
        )
    return lines


def to_markdown(
    pairs: pd.DataFrame, of_readers: list[Distance], notes: list[str]
) -> str:
    """Write both tables for people."""
    text = [
        "# Agreement of readers",
        "",
        "Months; 95 % bootstrap intervals over radiographs are in brackets. A "
        "difference is the second reader less the first.",
        "",
        *[f"- {note}" for note in notes],
        "",
        "## Pairs",
        "",
    ]
    headings = [HEADINGS.get(name, METRICS[name].heading) for name in PAIR_METRICS]
    text.append("| first | second | radiographs | " + " | ".join(headings) + " |")
    text.append("|---|---" + "|---:" * (len(headings) + 1) + "|")
    for (first, second), rows in pairs.groupby(["first", "second"], sort=False):
        of_pair = rows.set_index("metric")
        cells = [
            METRICS[name].format_interval(
                *of_pair.loc[name, ["value", "lower", "upper"]]
            )
            for name in PAIR_METRICS
        ]
        count = of_pair.radiographs.iloc[0]
        text.append(f"| {first} | {second} | {count} | " + " | ".join(cells) + " |")
    if of_readers:
        text += ["", "## Distance from people", ""]
        text.append(
            "| reader | radiographs | to another person | to the mean of the people "
            "but one | excess over people |"
        )
        text.append("|---|---:|---:|---:|---:|")
    for distance in of_readers:
        three = (distance.to_people, distance.to_mean, distance.excess)
        cells = [METRICS["mae"].format_interval(*values) for values in three]
        kind = " (network)" if distance.is_network else ""
        text.append(
            f"| {distance.name}{kind} | {distance.radiographs} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(text) + "\n"


def draw(pairs: pd.DataFrame) -> Figure:
    """The mean absolute difference of each pair, nearest first."""
    import matplotlib
    from matplotlib.figure import Figure

    from boneage.plotting import FAINT, INK, SEXES, STYLE

    rows = pairs[pairs.metric == "mae"].sort_values("value", ascending=False)
    styles = {
        "people": ("two people", INK, "o"),
        "mixed": ("a network and a person", SEXES["male"]["color"], "s"),
        "networks": ("two networks", SEXES["female"]["color"], "^"),
    }
    with matplotlib.rc_context(STYLE | {"text.parse_math": False}):
        figure = Figure(figsize=(6.4, 1.5 + 0.26 * len(rows)))
        axes = figure.subplots()
        for place, row in enumerate(rows.itertuples()):
            _, color, marker = styles[row.kind]
            axes.plot([row.lower, row.upper], [place] * 2, color=color, lw=1.3)
            axes.plot(row.value, place, marker, color=color, ms=5)
        for kind in [kind for kind in styles if (rows.kind == kind).any()]:
            label, color, marker = styles[kind]
            axes.plot([], [], marker, color=color, ms=5, label=label)
        between = rows[rows.kind == "people"].value
        if len(between):
            axes.axvline(
                between.mean(), color=FAINT, ls="--", lw=1, label="mean of two people"
            )
        names = [
            f"{_short(row.first)}, {_short(row.second)}" for row in rows.itertuples()
        ]
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlim(left=0)
        axes.set_xlabel("mean absolute difference (months), 95 % interval")
        axes.set_title("How far two readers are apart")
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower left", ncol=2
        )
    return figure


def _short(name: str, longest: int = 24) -> str:
    name = re.sub(r"\s+", " ", name)
    return name if len(name) <= longest else f"{name[: longest - 3]}..."
