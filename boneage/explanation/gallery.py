"""The gallery of a network: overlays, a contact sheet, a page and a video."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage import parallel
from boneage.cli import list_some
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.evaluation import metrics
from boneage.evaluation.ages import years_and_months
from boneage.explanation import (
    captions,
    contact_sheet,
    evolution_video,
    gallery_page,
    overlays,
    saliency,
)
from boneage.explanation.activation_maps import DISPLAY_PX, Explainer, Grid
from boneage.explanation.captions import signed
from boneage.explanation.panel import read_panel
from boneage.explanation.saliency import SaliencyMaps
from boneage.ids import sort_ids
from boneage.io import radiographs
from boneage.io.hdf5 import PackedImages
from boneage.io.locks import exclusive
from boneage.parallel import THIS_PROCESS, Workers
from boneage.regression.dataset import HandDataset
from boneage.regression.run_folder import Run

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE_MONTHS = 1.0
"""Half-precision arithmetic changes a prediction by less."""
MOST_TILES = 120
"""Hands on a contact sheet at most."""


@dataclass(frozen=True)
class Gallery:
    """N hands with their maps, which share one colour scale.

    hands, maps: of the same N hands. kind: of map, a key of `saliency.MAPS`.
    """

    hands: HandDataset
    maps: SaliencyMaps
    kind: str = "exact"

    @property
    def errors_months(self) -> np.ndarray:
        """Predicted less true, (N,); NaN where the age is unknown."""
        return self.maps.predicted_months - self.hands.cohort.bone_age_months


def choose_hands(run: Run, part: str, limit: int) -> np.ndarray:
    """Ids of hands from the best to the worst predicted, (hand,).

    Args:
        run: a finished run.
        part: validation or test.
        limit: greatest number of hands, at least 1.

    Raises:
        InputError: the run has no predictions of the part.
    """
    rows = run.read_predictions(part)
    if rows.empty:
        raise InputError(
            f"{run.predictions} has no hand of the {part} part; choose another --part"
        )
    errors = (rows.predicted_months - rows.bone_age_months).to_numpy()
    return rows.id.to_numpy()[metrics.spread_over_errors(errors, limit)]


def write_run(
    run: Run,
    packed: PackedImages,
    ids: np.ndarray,
    batch_size: int,
    workers: Workers = THIS_PROCESS,
    kind: str = "exact",
) -> list[str]:
    """Explain hands of a run and write its `cam` folder.

    Args:
        run: a finished run: model.keras and predictions.csv; cam_history.h5, if there
            is one, becomes a video.
        packed: segment_all.h5.
        ids: (N,), among the run's predictions, N > 0.
        batch_size: images per forward pass.
        workers: processes that draw.
        kind: of map, a key of `saliency.MAPS`.

    Returns:
        Warnings for the user about the pictures.

    Raises:
        InputError: a hand or its prediction is missing, the network is broken, or
            another process is writing the folder.
    """
    with exclusive(run.cam):
        return _write_run(run, packed, ids, batch_size, workers, kind)


def _write_run(
    run: Run,
    packed: PackedImages,
    ids: np.ndarray,
    batch_size: int,
    workers: Workers,
    kind: str,
) -> list[str]:
    predictions = run.read_predictions().set_index("id")
    hands = _hands_of(run, predictions, packed, ids)
    explainer = Explainer(run.open_network())
    maps = saliency.map_hands(
        saliency.MAPS[kind], explainer, hands, batch_size, run.name
    )
    video = None
    if run.cam_history.is_file():
        panel = read_panel(run.cam_history)
        panel_hands = _hands_of(run, predictions, packed, panel.ids)
        video = evolution_video.write_evolution(
            run.cam, run.name, panel_hands, panel, explainer.grid
        )
    write(run.cam, run.name, Gallery(hands, maps, kind), video, workers=workers)
    notes = []
    stored = predictions.predicted_months.loc[ids].to_numpy()
    changed = np.abs(maps.predicted_months - stored) > TOLERANCE_MONTHS
    if changed.any():
        notes.append(
            f"{run.predictions}: {changed.sum()} of {len(ids)} predictions have "
            "changed, because the hands or the network did; train the run again"
        )
    cells = maps.values.shape[1]
    if cells < 3:
        notes.append(
            f"{run.name}: the maps have only {cells} x {cells} cells at "
            f"{explainer.image_size} px; train on larger images, or choose --map "
            "occlusion"
        )
    return notes


def _hands_of(
    run: Run, predictions: pd.DataFrame, packed: PackedImages, ids: np.ndarray
) -> HandDataset:
    absent = sort_ids(set(ids.tolist()).difference(predictions.index))
    if absent:
        raise InputError(
            f"{run.predictions} has no prediction of id {list_some(absent)}; "
            "choose hands of the validation or test part"
        )
    absent = sort_ids(set(ids.tolist()).difference(packed.ids.tolist()))
    if absent:
        raise InputError(
            f"segment_all.h5 lacks {len(absent)} of {len(ids)} hands (id "
            f"{list_some(absent)}); run "
            "al_segmentation/step3_gen_segmentation_with_enhance.py first"
        )
    rows = predictions.loc[ids]
    ages, is_male = rows.bone_age_months.to_numpy(), rows.is_male.to_numpy(bool)
    return HandDataset(
        packed, packed.row_indices(ids), Cohort(np.asarray(ids), ages, is_male)
    )


PAGE = "index.html"
OVERLAY = re.compile(r"error_(\d+\.\d|unknown)_.+\.png|\d+\.png")
"""File names that only overlays have: `<id>.png` of a whole number, or with the error
before it. Any other `<id>.png` is one if the page shows it."""


def write(
    folder: Path,
    title: str,
    gallery: Gallery,
    evolution: Path | None = None,
    by_error: bool = False,
    workers: Workers = THIS_PROCESS,
) -> None:
    """Write an overlay per hand, contact_sheet.png and index.html of a gallery.

    Overlays of other hands are removed, so that all pictures in the folder show one
    network on one colour scale.

    Args:
        folder: models/regression/<run>/cam.
        title: name of the network and the part.
        gallery: the hands and their maps.
        evolution: the video in the same folder, if there is one.
        by_error: name the overlays `error_007.2_<id>.png` in place of `<id>.png`, so
            that they sort by absolute error.
        workers: processes that draw.
    """
    file_names = [_file_name(gallery, n, by_error) for n in range(len(gallery.hands))]
    shown_before = gallery_page.shown_files(folder / PAGE)
    for path in folder.glob("*.png"):
        is_overlay = OVERLAY.fullmatch(path.name) or path.name in shown_before
        if is_overlay and path.name not in file_names:
            path.unlink()
    limit_months = overlays.colour_limit(gallery.maps.values)
    on_sheet = set(
        metrics.spread_over_errors(gallery.errors_months, MOST_TILES).tolist()
    )
    by_age = np.argsort(gallery.hands.cohort.bone_age_months)
    draw = functools.partial(_draw, folder, gallery.maps.grid, limit_months)
    drawings = _Drawings(gallery, by_age, file_names)
    results = parallel.imap(draw, drawings, workers, "drawing")
    drawn = zip(by_age, results, strict=True)
    tiles = [tile for number, (_, tile) in drawn if number in on_sheet]
    count = len(gallery.hands)
    shown = f"{len(tiles)} of {count}" if len(tiles) < count else str(count)
    header = f"{title}: {shown} hands by true age; true \N{RIGHTWARDS ARROW} predicted"
    sheet = contact_sheet.mosaic(tiles, header, limit_months)
    radiographs.write(folder / "contact_sheet.png", sheet[..., ::-1])
    order = metrics.spread_over_errors(gallery.errors_months, count)[::-1]
    cards = [_facts(gallery, number) | {"file": file_names[number]} for number in order]
    gallery_page.write(
        folder / PAGE, title, gallery.kind, cards, limit_months, evolution
    )


@dataclass(frozen=True)
class _Drawing:
    """What drawing one overlay needs; hand and map_months: (row, column)."""

    hand: np.ndarray
    map_months: np.ndarray
    facts: dict
    file_name: str


class _Drawings(Sequence):
    """The drawings of a gallery; a hand is read from disk when it is drawn."""

    def __init__(
        self, gallery: Gallery, order: np.ndarray, file_names: list[str]
    ) -> None:
        self.gallery, self.order, self.file_names = gallery, order, file_names

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> _Drawing:  # type: ignore[override]  # no slices
        number = self.order[place]
        return _Drawing(
            self.gallery.hands.image(number, DISPLAY_PX),
            self.gallery.maps.values[number],
            _facts(self.gallery, number),
            self.file_names[number],
        )


def _draw(
    folder: Path, grid: Grid, limit_months: float, drawing: _Drawing
) -> np.ndarray:
    """Write an overlay; returns its tile for the contact sheet, RGB."""
    facts = drawing.facts
    overlay = overlays.overlay(
        drawing.hand, grid.upsample(drawing.map_months), limit_months
    )
    picture = captions.with_caption(overlay, facts, limit_months)
    radiographs.write(folder / drawing.file_name, picture[..., ::-1])
    ages = f"{facts['true']} \N{RIGHTWARDS ARROW} {facts['predicted']}"
    return contact_sheet.tile(overlay, f"{facts['id']}  {facts['sex']}", ages)


def _file_name(gallery: Gallery, number: int, by_error: bool) -> str:
    file_name = f"{gallery.hands.cohort.ids[number]}.png"
    if not by_error:
        return file_name
    error = abs(gallery.errors_months[number])
    # three digits, because no error reaches a thousand months
    return f"error_{'unknown' if np.isnan(error) else f'{error:05.1f}'}_{file_name}"


def _facts(gallery: Gallery, number: int) -> dict:
    cohort = gallery.hands.cohort
    true = float(cohort.bone_age_months[number])
    predicted = float(gallery.maps.predicted_months[number])
    return {
        "id": cohort.ids.tolist()[number],
        "sex": "male" if cohort.is_male[number] else "female",
        "true": years_and_months(true),
        "predicted": years_and_months(predicted),
        "true_months": true,
        "predicted_months": predicted,
        "error_months": predicted - true,
        "error": "" if np.isnan(true) else f"{signed(predicted - true)} months",
    }
