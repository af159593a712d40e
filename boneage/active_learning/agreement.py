"""Do two people draw the same? Their masks of the radiographs that both were given.

Of those who log in to the annotator, everybody draws every tenth radiograph or so, and
sees there neither the masks nor the names of the others. Their masks lie in
gt/agreement/<name>; the committee trains on that of the first who saved one.
"""

import csv
import itertools
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from boneage.errors import InputError
from boneage.ids import RadiographId, sort_ids
from boneage.io import radiographs
from boneage.io.files import atomic_write
from boneage.layout import MASK_ENDING, Layout, ids_in
from boneage.segmentation.dice import dice

RESAMPLES = 2000


@dataclass(frozen=True)
class SharingSettings:
    """What several people draw in common, and how well they agree."""

    shared: float = 0.1
    """fraction of the radiographs that all people draw whom --auth names"""
    agreement: bool = False
    """write a table of how well their masks of these agree, and nothing else"""

    def check(self) -> None:
        """Raise InputError where the number makes no sense."""
        if not 0 <= self.shared <= 1:
            raise InputError(f"--shared must be between 0 and 1 (got {self.shared})")


def is_shared(radiograph_id: RadiographId, fraction: float) -> bool:
    """Whether everybody draws this one: the same on every day and every machine."""
    return zlib.crc32(str(radiograph_id).encode()) < fraction * 2**32


def people_with_masks(layout: Layout) -> list[str]:
    """Names of those who have drawn shared radiographs."""
    return sorted(path.name for path in layout.agreement.glob("*") if path.is_dir())


def unfinished_ids(
    layout: Layout,
    ids: Iterable[RadiographId],
    people: Collection[str],
    fraction: float,
) -> list[RadiographId]:
    """Shared ones of `ids` that somebody has not drawn yet."""
    return [
        i
        for i in ids
        if is_shared(i, fraction)
        and not all(layout.shared_mask(name, i).exists() for name in people)
    ]


@dataclass(frozen=True)
class Agreement:
    """Two people's masks of the same radiographs.

    dice: by radiograph id. lower, upper: of its mean, the 95 % interval by the
    percentile bootstrap over radiographs; NaN with fewer than two.
    """

    first: str
    second: str
    dice: dict[RadiographId, float]
    lower: float
    upper: float

    @property
    def mean(self) -> float:
        """Mean Dice."""
        return float(np.mean([*self.dice.values()]))

    def describe(self) -> str:
        """The agreement in one line."""
        worst = min(self.dice, key=lambda i: self.dice[i])
        interval = ""
        if np.isfinite(self.lower):
            interval = f" (95 % interval {self.lower:.4f} to {self.upper:.4f})"
        return (
            f"{self.first} and {self.second}: Dice {self.mean:.4f}{interval} on "
            f"{len(self.dice)} shared radiographs, lowest {self.dice[worst]:.4f} "
            f"(radiograph {worst})"
        )


def measure(layout: Layout) -> list[Agreement]:
    """The agreement of every two people who drew a radiograph in common.

    Raises:
        InputError: no two did, or a mask cannot be read.
    """
    drawn = {
        name: ids_in(layout.agreement / name, MASK_ENDING)
        for name in people_with_masks(layout)
    }
    found = []
    for first, second in itertools.combinations(drawn, 2):
        if common := sort_ids(drawn[first].keys() & drawn[second].keys()):
            values = {}
            for i in common:
                mask = radiographs.read_mask(drawn[first][i])
                other = radiographs.read_mask(drawn[second][i], mask.shape)
                values[i] = float(dice(mask, other))
            found.append(Agreement(first, second, values, *_interval(values)))
    if not found:
        raise InputError(
            f"{layout.agreement} must have masks of one radiograph by two people (got "
            "none); annotate with --oracle browser --auth NAME:PASSWORD NAME:PASSWORD"
        )
    return found


def _interval(values: dict[RadiographId, float]) -> tuple[float, float]:
    if len(values) < 2:
        return np.nan, np.nan
    # the same masks give the same table
    rng = np.random.default_rng(0)
    drawn = rng.choice([*values.values()], (RESAMPLES, len(values))).mean(axis=1)
    lower, upper = np.quantile(drawn, [0.025, 0.975])
    return float(lower), float(upper)


def write_table(layout: Layout) -> list[str]:
    """Write agreement.csv, a row for every two people; the same in lines.

    Raises:
        InputError: as `measure`.
    """
    agreements = measure(layout)
    with (
        atomic_write(layout.agreement_csv) as temporary,
        temporary.open("w", newline="") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(
            ["first", "second", "radiographs", "dice", "lower", "upper", "lowest"]
        )
        for a in agreements:
            numbers = (a.mean, a.lower, a.upper, min(a.dice.values()))
            texts = ["" if np.isnan(x) else f"{x:.5f}" for x in numbers]
            rows.writerow([a.first, a.second, len(a.dice), *texts])
    return [a.describe() for a in agreements]
