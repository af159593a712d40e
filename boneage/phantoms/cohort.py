"""Simulate a cohort of phantoms."""

import functools
import shutil
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.cohort import table
from boneage.cohort.importing import refuse_other_cohort
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.io import radiographs
from boneage.io.files import atomic_write, read_json, write_json
from boneage.layout import Layout
from boneage.parallel import ALL_CORES, Skipped, Workers
from boneage.phantoms import radiograph

OLDEST_PHANTOM_MONTHS = 228


SMALLEST_PHANTOM_PX = 64


def simulate_cohort(
    layout: Layout,
    count: int,
    annotated: int = 0,
    size_px: int = 512,
    seed: int = 0,
    workers: Workers = ALL_CORES,
    overwrite: bool = False,
) -> tuple[Cohort, list[Skipped]]:
    """Write `count` phantoms with ages uniform in 1 to 228 months, ids from 1 on.

    The first `annotated` exact masks are written into gt/annotated as well, all of
    them into truth/. A phantom depends on `seed` and its id alone.

    Raises:
        InputError: impossible numbers, or the folder has radiographs of another source.
    """
    if count < 1 or not 0 <= annotated <= count:
        raise InputError(
            "--count must be at least 1, and --annotated from 0 to --count (got "
            f"{count} and {annotated})"
        )
    if size_px < SMALLEST_PHANTOM_PX:
        raise InputError(
            f"--size-px must be at least {SMALLEST_PHANTOM_PX} (got {size_px})"
        )
    ids = range(1, count + 1)
    drawn = [_draw(seed, i) for i in ids]
    cohort = Cohort(
        np.array(ids),
        np.array([age for age, _ in drawn], float),
        np.array([male for _, male in drawn]),
    )
    for i in ids:
        if layout.radiograph(i).exists() and not layout.phantom_facts(i).exists():
            raise InputError(
                f"{layout.radiograph(i)}: phantoms cannot replace other radiographs; "
                "choose another --data DIR for them"
            )
    refuse_other_cohort(layout.train_csv, cohort, overwrite)
    existing = [
        i
        for i in ids
        if layout.radiograph(i).exists() and layout.phantom_facts(i).exists()
    ]
    for i in [] if overwrite else existing:
        before = read_json(layout.phantom_facts(i), "this step", ["size_px"])["size_px"]
        if before != size_px:
            raise InputError(
                f"{layout.radiograph(i)}: --size-px must be {before} as before (got "
                f"{size_px}); give the same, or --overwrite"
            )
    table.write_cohort(layout.train_csv, cohort)
    todo = [int(i) for i in ids if overwrite or i not in existing]
    simulate = functools.partial(_simulate_one, layout, size_px, seed)
    _, set_aside = parallel.map_all(simulate, todo, workers, "simulating")
    for i in ids[:annotated]:
        mask = layout.annotated_mask(i)
        if overwrite or not mask.exists():
            layout.annotated.mkdir(parents=True, exist_ok=True)
            _copy(layout.radiograph(i), layout.annotated_original(i))
            _copy(layout.true_mask(i), mask)
    return cohort, set_aside


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


def _draw(seed: int, radiograph_id: int) -> tuple[int, bool]:
    rng = np.random.default_rng([seed, radiograph_id])
    return int(rng.integers(1, OLDEST_PHANTOM_MONTHS + 1)), bool(rng.random() < 0.5)


def _simulate_one(layout: Layout, size_px: int, seed: int, radiograph_id: int) -> None:
    age, male = _draw(seed, radiograph_id)
    rng = np.random.default_rng([seed, radiograph_id, 1])
    simulated = radiograph.simulate(rng, age, male, size_px)
    radiographs.write(layout.true_mask(radiograph_id), simulated.mask)
    write_json(
        layout.phantom_facts(radiograph_id),
        {
            "bone_age_months": age,
            "is_male": male,
            "size_px": size_px,
            "growth_plates": _rounded(simulated.growth_plates),
            "carpals": _rounded(simulated.carpals),
        },
    )
    # last: a radiograph without facts is then never a phantom, and never replaced
    radiographs.write(layout.radiograph(radiograph_id), simulated.radiograph)


def _rounded(positions: dict[str, tuple[float, float]]) -> dict[str, list[float]]:
    return {
        name: [round(float(row), 1), round(float(column), 1)]
        for name, (row, column) in positions.items()
    }
