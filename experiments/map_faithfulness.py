"""Which kind of map shows what a network looks at? A table a run.

    python -m experiments.map_faithfulness --data DATA --models MODELS
    python -m experiments.map_faithfulness --data RSNA --boxes ossification_boxes.csv

Every kind of map is measured on the same hands: its attention on the bones that tell
the age against chance, how far predictions move when the places of most attention are
blurred first, against the order of another hand's map and of one that favours the
centre, and what is left of it when the network's weights are shuffled. Where the bones
lie is known of phantoms; of radiographs --boxes gives it. Intervals are 95 % bootstrap
intervals over hands.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd

from boneage import cli
from boneage.errors import InputError, check_minimum
from boneage.evaluation.bootstrap import bootstrap_interval
from boneage.explanation import faithfulness, saliency
from boneage.explanation.activation_maps import DISPLAY_PX, Explainer, Grid
from boneage.explanation.saliency import MapKind, SaliencyMaps
from boneage.ids import is_among
from boneage.io.files import atomic_write
from boneage.layout import Layout
from boneage.prediction.test_time_augmentation import VIEWS, View, trained_with_flips
from boneage.regression import dataset, run_folder
from boneage.regression.dataset import HandDataset
from experiments import bone_regions

VIEW_COUNT = 6
SHARES = np.array([0.02, 0.05, 0.1, 0.2, 0.3])
"""Of the image's area that are deleted, or inserted."""
SHUFFLED = (1, 5, 20)
"""How many layers, from the head down, are shuffled when maps are compared."""
CENTRE_SIGMA = 0.25
"""Of the map that favours the centre, as a share of the image's side."""
SIZE, OLDER = "size", "older part"
ATTENTION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    SIZE: np.abs,
    OLDER: lambda values: np.maximum(values, 0),
}
"""What of a map is its attention: how far a place moves the prediction, either way, or
how far up."""
CENTRE = "centre-heavy map"


@dataclass(frozen=True)
class Measure:
    """A mean over hands, or the ratio of two means, of columns of the table by hand."""

    column: str
    over: str | None = None


MEASURES = {
    "attention on the bones, per area, against the hand": Measure(
        "attention_on_bones", over="bones_share_of_hand"
    ),
    "attention on the bones, per area, against the image": Measure(
        "attention_of_image_on_bones", over="bones_share_of_image"
    ),
    "most attended place on a bone": Measure("most_attended_on_bone"),
    "the bones' share of the hand, what chance hits": Measure("bones_share_of_hand"),
    "attention on the hand, per area, against the image": Measure(
        "attention_on_hand", over="hand_share_of_image"
    ),
    "months moved by deletion": Measure("deleted"),
    "deletion, against another hand's map": Measure("deleted", over="deleted_other"),
    "deletion, against the centre-heavy map": Measure("deleted", over="deleted_centre"),
    "months moved by insertion": Measure("inserted"),
    "insertion, against another hand's map": Measure("inserted", over="inserted_other"),
    "insertion, against the centre-heavy map": Measure(
        "inserted", over="inserted_centre"
    ),
    **{
        f"rank correlation, {count} layers from the head shuffled": Measure(
            f"correlation_{count}"
        )
        for count in SHUFFLED
    },
}


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Which runs, on which hands."""

    paths: cli.Paths
    run: tuple[str, ...] = ()
    """Runs below models/regression; default: all"""
    boxes: Path | None = None
    """CSV file of the bones' boxes, id,left,top,right,bottom as shares of the
    radiograph; only hands with boxes are measured then, of all parts"""
    hands: int = 60
    """Hands drawn at random; with --boxes from the validation and test parts first"""
    places: int = saliency.PLACES
    """Places of an occlusion map along each side"""
    shuffled_hands: int = 6
    """Hands whose maps are compared with those of shuffled networks"""
    batch_size: int = 32
    """Images a forward pass"""
    seed: int = 0
    """Seed of the choice of hands, the shuffled weights and the bootstrap"""
    resamples: int = 2000
    """Resamples of the bootstrap"""
    markdown: Path | None = None
    """File for the tables, which are printed in any case"""
    by_hand: Path | None = None
    """CSV file for every figure of every hand"""


def main(options: Options) -> None:
    """Measure every run, and print its tables."""
    check_minimum(
        1,
        hands=options.hands,
        places=options.places,
        shuffled_hands=options.shuffled_hands,
        batch_size=options.batch_size,
        resamples=options.resamples,
    )
    finished = run_folder.finished_runs(options.layout.regression)
    chosen = [run for run in finished if not options.run or run.name in options.run]
    if not chosen:
        names = cli.list_some([run.name for run in finished])
        raise InputError(
            f"--run must name finished runs (got {' '.join(options.run)}); choose "
            f"from {names}"
        )
    boxes = None if options.boxes is None else bone_regions.read_boxes(options.boxes)
    tables = [measure(options.layout, run, options, boxes) for run in chosen]
    by_hand = pd.concat(tables, ignore_index=True)
    lines = report(by_hand, options)
    print("\n".join(lines))
    if options.markdown is not None:
        with atomic_write(options.markdown) as temporary:
            temporary.write_text("\n".join(lines) + "\n")
    if options.by_hand is not None:
        with atomic_write(options.by_hand) as temporary:
            by_hand.to_csv(temporary, index=False, float_format="%.5f")


def measure(
    layout: Layout,
    run: run_folder.Run,
    options: Options,
    boxes: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """All figures of one run: a row a hand and kind of map.

    boxes: of `bone_regions.read_boxes`; None for phantoms, or bones at unknown places.
    """
    rng = np.random.default_rng(options.seed)
    config = run.read_config()
    hands, parts = choose_hands(layout, config["sex"], options.hands, boxes, rng)
    if boxes is None:
        bones = bone_regions.phantom_bones(layout, hands)
    else:
        bones = bone_regions.boxed_bones(layout, hands, boxes)
    inside = bone_regions.hand_masks(layout, hands)
    model = run.load_model()
    explainer = Explainer(model)
    kinds = map_kinds(explainer.image_size, options.places, config)
    maps = {
        name: saliency.map_hands(
            kind, explainer, hands, options.batch_size, f"{run.name}, {name}"
        )
        for name, kind in kinds.items()
    }
    attention = {
        (name, what): maps[name]._replace(values=of(maps[name].values))
        for name in maps
        for what, of in ATTENTION.items()
    }
    attention[CENTRE, SIZE] = centre_heavy(maps["exact"])
    columns = {
        kind: _where(values, bones, inside) for kind, values in attention.items()
    }
    for kind, moved in _moves(
        DeletionTest(explainer, hands, options.batch_size), attention
    ):
        columns[kind] |= moved
    # last: it spoils the network
    few = np.arange(min(options.shuffled_hands, len(hands)))
    for kind, column, rho in _shuffled(
        model,
        config["backbone"],
        explainer,
        hands.select(few),
        inside[few],
        attention,
        kinds,
        rng,
    ):
        columns[kind][column] = np.append(rho, np.full(len(hands) - len(few), np.nan))
    facts = {"run": run.name, "id": hands.cohort.ids, "part": parts}
    return pd.concat(
        pd.DataFrame(facts | {"map": name, "attention": what} | columns[name, what])
        for name, what in columns
    )


def choose_hands(
    layout: Layout,
    sex: str,
    count: int,
    boxes: pd.DataFrame | None,
    rng: np.random.Generator,
) -> tuple[HandDataset, np.ndarray]:
    """At most `count` hands drawn at random, and their parts, (hand,).

    Without boxes from the test part; with boxes from all hands that have some, those
    that no network was trained on first.
    """
    if boxes is None:
        hands, parts = dataset.select_hands(layout, "test", sex=sex)
    else:
        hands, parts = dataset.select_hands(layout, "all", sex=sex)
        is_boxed = is_among(hands.cohort.ids, boxes.id)
        if not is_boxed.any():
            raise InputError(
                "--boxes must hold ids of the cohort (got none of them); choose --data "
                "of the radiographs that were boxed"
            )
        hands, parts = hands.select(is_boxed), parts[is_boxed]
    order = rng.permutation(len(hands))
    order = order[np.argsort(parts[order] == "train", kind="stable")]
    chosen = np.sort(order[:count])
    return hands.select(chosen), parts[chosen]


def map_kinds(size: int, places: int, config: dict) -> dict[str, MapKind]:
    """Every kind of map that is measured, for a network of `size` px, by name."""
    views = VIEWS[:VIEW_COUNT]
    if not trained_with_flips(config):
        views = tuple(dict.fromkeys(view._replace(mirrored=False) for view in views))
    matrices = np.stack([view_matrix(view, size) for view in views])
    return {
        "exact": saliency.MAPS["exact"],
        "views": MapKind(
            partial(saliency.averaged_over_views, matrices=matrices), len(matrices)
        ),
        "occlusion": MapKind(partial(saliency.occlusion, places=places), places**2),
    }


def view_matrix(view: View, size: int) -> np.ndarray:
    """(2, 3), px: from a hand to its view of test-time augmentation."""
    centre = (size - 1) / 2
    turn = cv2.getRotationMatrix2D((centre, centre), view.degrees, view.scale)
    mirror = np.diag([1.0, 1.0, 1.0])
    if view.mirrored:
        mirror[0] = (-1, 0, size - 1)
    return turn @ mirror


def centre_heavy(maps: SaliencyMaps) -> SaliencyMaps:
    """A map that knows nothing but that hands are centred, for every hand of `maps`."""
    size = maps.grid.image_px
    away = (np.arange(size) - (size - 1) / 2) / (CENTRE_SIGMA * size)
    bump = np.exp(-(away**2) / 2).astype(np.float32)
    values = np.repeat(np.outer(bump, bump)[np.newaxis], len(maps.values), axis=0)
    return SaliencyMaps(values, maps.predicted_months, Grid(0.0, 1.0, size))


def _where(
    attention: SaliencyMaps, bones: np.ndarray | None, inside: np.ndarray
) -> dict[str, np.ndarray]:
    """Attention on the bones, of all that lies on the hand, and on the hand; (N,)."""
    shown = np.stack([attention.grid.upsample(v, DISPLAY_PX) for v in attention.values])
    columns = {
        "attention_on_hand": faithfulness.share_inside(shown, inside),
        "hand_share_of_image": inside.mean(axis=(1, 2)),
    }
    if bones is None:
        return columns
    on_hand, there = shown * inside, bones & inside
    return columns | {
        "attention_on_bones": faithfulness.share_inside(on_hand, there),
        "attention_of_image_on_bones": faithfulness.share_inside(shown, bones),
        "bones_share_of_image": bones.mean(axis=(1, 2)),
        "bones_share_of_hand": there.sum(axis=(1, 2)) / inside.sum(axis=(1, 2)),
        "most_attended_on_bone": faithfulness.pointing_game_hits(on_hand, there) * 1.0,
    }


class DeletionTest:
    """Blurs the places of most attention first, or shows them first."""

    def __init__(self, explainer: Explainer, hands: HandDataset, batch_size: int):
        """Prepare the test of one network on some hands."""
        self.explainer, self.batch_size = explainer, batch_size
        self.is_male, self.size = hands.cohort.is_male, explainer.image_size
        images = np.stack([hands.image(i, self.size) for i in range(len(hands))])
        blurred = faithfulness.blurred(images, saliency.BLUR_SHARE * self.size)
        self.ways = {"deleted": (images, blurred), "inserted": (blurred, images)}
        self.before = {way: self._predict(pair[0]) for way, pair in self.ways.items()}

    def curves(
        self, attention: SaliencyMaps, shares: np.ndarray, shift: int = 0
    ) -> dict[str, np.ndarray]:
        """How far predictions move, (N, share) months, when deleted and inserted.

        shift: 1 takes the attention on the hand before in place of a hand's own.
        """
        cells = np.roll(attention.values, shift, axis=0)
        order = np.stack([attention.grid.upsample(c, self.size) for c in cells])
        return {
            way: faithfulness.deletion_curve(
                self._predict, *pair, order, shares, self.before[way]
            )
            for way, pair in self.ways.items()
        }

    def _predict(self, images: np.ndarray) -> np.ndarray:
        return self.explainer(images, self.is_male, self.batch_size).predicted_months


def _moves(
    test: DeletionTest, attention: dict[tuple[str, str], SaliencyMaps]
) -> Iterator[tuple[tuple[str, str], dict[str, np.ndarray]]]:
    """How far predictions move, (N,) months, mean of SHARES, by kind of map.

    Of a map's older part there is none: how far a prediction moves has no sign.
    """

    def moves(maps: SaliencyMaps, suffix: str, shift: int = 0) -> dict[str, np.ndarray]:
        curves = test.curves(maps, SHARES, shift)
        return {way + suffix: months.mean(axis=1) for way, months in curves.items()}

    centre = moves(attention[CENTRE, SIZE], "_centre")
    for (name, what), maps in attention.items():
        if name == CENTRE:
            own = {way.removesuffix("_centre"): centre[way] for way in centre}
            yield (name, what), own
        elif what == SIZE:
            yield (name, what), moves(maps, "") | moves(maps, "_other", 1) | centre


def _shuffled(
    model: keras.Model,
    backbone: str,
    explainer: Explainer,
    hands: HandDataset,
    inside: np.ndarray,
    attention: dict[tuple[str, str], SaliencyMaps],
    kinds: dict[str, MapKind],
    rng: np.random.Generator,
) -> Iterator[tuple[tuple[str, str], str, np.ndarray]]:
    """Rank correlation of maps with those of ever more shuffled networks, (N,).

    Yields kind, column of the table and correlations; `hands` are the first N, and
    `inside` is where they are, (N, DISPLAY_PX, DISPLAY_PX).
    """
    shuffling = faithfulness.cascading_randomisation(model, backbone, rng)
    for count, _ in enumerate(shuffling, 1):
        if count in SHUFFLED:
            for name, kind in kinds.items():
                now = saliency.map_hands(
                    kind, explainer, hands, description=f"{name}, {count} shuffled"
                )
                on_hand = _at_cells(inside, now)
                for what, of in ATTENTION.items():
                    before = attention[name, what].values[: len(hands)]
                    rho = faithfulness.rank_correlation(before, of(now.values), on_hand)
                    yield (name, what), f"correlation_{count}", rho
        if count == max(SHUFFLED):
            break


def _at_cells(inside: np.ndarray, maps: SaliencyMaps) -> np.ndarray:
    """Whether the centre of each cell of the maps is on the hand, (N, row, column)."""
    grid, size = maps.grid, inside.shape[1]
    rows, columns = (
        grid.first_px + grid.step_px * np.arange(count)
        for count in maps.values.shape[1:]
    )
    to_display = size / grid.image_px
    rows, columns = (
        np.rint((places + 0.5) * to_display - 0.5).astype(int).clip(0, size - 1)
        for places in (rows, columns)
    )
    return inside[:, rows[:, np.newaxis], columns]


def report(by_hand: pd.DataFrame, options: Options) -> list[str]:
    """Tables in Markdown: one a run and part, a row a measure, a column a kind of map.

    by_hand: of `measure`, of all runs.
    """
    lines = []
    for run, of_run in by_hand.groupby("run", sort=False):
        parts = [name for name in ("validation", "test") if (of_run.part == name).any()]
        # one part alone is no part
        for part in ["", *parts] if of_run.part.nunique() > 1 else [""]:
            rows = of_run[of_run.part == part] if part else of_run
            title = f"{run}, {rows.id.nunique()} hands"
            lines += ["", f"## {title}" + (f", {part} part" if part else ""), ""]
            lines += _table(rows, options)
    return lines[1:]


def _table(rows: pd.DataFrame, options: Options) -> list[str]:
    kinds = {
        name if name == CENTRE else f"{name}, {what}": own
        for (name, what), own in rows.groupby(["map", "attention"], sort=False)
    }
    lines = ["| | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for title, measured in MEASURES.items():
        cells = [_cell(own, measured, options) for own in kinds.values()]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def _cell(own: pd.DataFrame, measured: Measure, options: Options) -> str:
    """`1.49 (1.31 to 1.66)`; empty where there is nothing of this kind."""
    columns = [measured.column, *([measured.over] if measured.over else [])]
    if not set(columns) <= set(own.columns):
        return ""
    numbers = own[columns].dropna()
    if numbers.empty:
        return ""
    over = numbers[measured.over] if measured.over else np.ones(len(numbers))
    value, lower, upper = bootstrap_interval(
        _ratio_of_means,
        np.asarray(over, float),
        numbers[measured.column].to_numpy(),
        np.random.default_rng(options.seed),
        options.resamples,
    )
    text = f"{value:.2f}"
    return text if np.isnan(lower) else f"{text} ({lower:.2f} to {upper:.2f})"


def _ratio_of_means(over: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1) / over.mean(axis=-1)


if __name__ == "__main__":
    cli.run(main, Options)
