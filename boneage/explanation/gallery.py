"""What step6 leaves of a run: overlays, a contact sheet, a page and a video."""

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
    activation_maps,
    captions,
    evolution_video,
    gallery_page,
    overlays,
)
from boneage.explanation import panel as explanation_panel
from boneage.explanation.activation_maps import DISPLAY_PX, Explanation, Grid
from boneage.explanation.captions import signed
from boneage.io import radiographs
from boneage.io.hdf5 import PackedImages
from boneage.io.locks import exclusive
from boneage.parallel import THIS_PROCESS, Workers
from boneage.regression.dataset import HandDataset
from boneage.regression.run_folder import Run

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE_MONTHS = 1.0
"""Half-precision arithmetic moves a prediction by less."""
MOST_TILES = 120
"""On one contact sheet; more would be a poster."""


@dataclass(frozen=True)
class Gallery:
    """Hands with their maps, shown on one scale.

    hands: the N hands. explanation: of the same N. grid: where the
    maps' cells lie.
    """

    hands: HandDataset
    explanation: Explanation
    grid: Grid

    @property
    def errors_months(self) -> np.ndarray:
        """Predicted less true, (N,); NaN where the age is unknown."""
        return self.explanation.predicted_months - self.hands.cohort.bone_age_months


def write_run(
    run: Run,
    packed: PackedImages,
    ids: np.ndarray,
    batch_size: int,
    workers: Workers = THIS_PROCESS,
) -> list[str]:
    """Explain hands of a run and write its whole `cam` folder.

    Args:
        run: a finished run: model.keras and predictions.csv; cam_history.h5 becomes
            a video.
        packed: segment_all.h5.
        ids: (N,), among the run's predictions, N > 0.
        batch_size: hands a forward pass.
        workers: who draws.

    Returns:
        Notes for the user: what to know before trusting the pictures.

    Raises:
        InputError: a hand or its prediction is missing, the network is broken, or
            another process is at work on the folder.
    """
    with exclusive(run.cam):
        return _write_run(run, packed, ids, batch_size, workers)


def _write_run(
    run: Run, packed: PackedImages, ids: np.ndarray, batch_size: int, workers: Workers
) -> list[str]:
    predictions = run.read_predictions().set_index("id")
    hands = _hands_of(run, predictions, packed, ids)
    explainer = activation_maps.Explainer(run.load_model())
    explanation = activation_maps.explain_hands(explainer, hands, batch_size, run.name)
    film = None
    if run.cam_history.is_file():
        panel = explanation_panel.read_panel(run.cam_history)
        shown = _hands_of(run, predictions, packed, panel.ids)
        film = evolution_video.write_evolution(
            run.cam, run.name, shown, panel, explainer.grid
        )
    gallery = Gallery(hands, explanation, explainer.grid)
    write(run.cam, run.name, gallery, film, workers=workers)
    notes = []
    said = predictions.predicted_months.loc[ids].to_numpy()
    changed = int(
        (np.abs(explanation.predicted_months - said) > TOLERANCE_MONTHS).sum()
    )
    if changed:
        notes.append(
            f"{run.predictions}: {changed} of {len(ids)} predictions are others now: "
            "the hands or the network changed since; train the run again"
        )
    cells = explanation.maps.shape[1]
    if cells < 3:
        notes.append(
            f"{run.name}: the maps have {cells} x {cells} cells at "
            f"{explainer.image_size} px and show little; train on larger images"
        )
    return notes


def _hands_of(
    run: Run, predictions: pd.DataFrame, packed: PackedImages, ids: np.ndarray
) -> HandDataset:
    absent = np.setdiff1d(ids, predictions.index)
    if len(absent):
        raise InputError(
            f"{run.predictions}: no prediction of id {list_some(absent.tolist())}; it "
            "holds the validation and test parts only"
        )
    absent = np.setdiff1d(ids, packed.ids)
    if len(absent):
        raise InputError(
            f"segment_all.h5: {len(absent)} of {len(ids)} hands are not in it (id "
            f"{list_some(absent.tolist())}); run "
            "al_segmentation/step3_gen_segmentation_with_enhance.py first"
        )
    rows = predictions.loc[ids]
    ages, is_male = rows.bone_age_months.to_numpy(), rows.is_male.to_numpy(bool)
    return HandDataset(
        packed, packed.row_indices(ids), Cohort(np.asarray(ids), ages, is_male)
    )


OVERLAY = re.compile(r"(error_\d+\.\d_|error_unknown_)?\d+\.png")
"""Names of overlays: `<id>.png`, or led by the error."""


def write(
    folder: Path,
    title: str,
    gallery: Gallery,
    evolution: Path | None = None,
    by_error: bool = False,
    workers: Workers = THIS_PROCESS,
) -> None:
    """Write an overlay a hand, contact_sheet.png and index.html of a gallery.

    Overlays of hands that are not in the gallery are removed: everything in the
    folder is of one network and one colour scale.

    Args:
        folder: models/regression/<run>/cam.
        title: names the network and the part.
        gallery: what is shown.
        evolution: the video in the same folder, when there is one.
        by_error: name the overlays so that they sort by absolute error:
            `error_007.2_<id>.png` in place of `<id>.png`.
        workers: who draws.
    """
    named = [_file_name(gallery, n, by_error) for n in range(len(gallery.hands))]
    for found in folder.glob("*.png"):
        if OVERLAY.fullmatch(found.name) and found.name not in named:
            found.unlink()
    deviations = activation_maps.centred_maps(gallery.explanation.maps)
    limit_months = overlays.colour_limit(deviations)
    on_sheet = set(metrics.spanning(gallery.errors_months, MOST_TILES).tolist())
    by_age = np.argsort(gallery.hands.cohort.bone_age_months)
    overlays_to_draw = _ToDraw(gallery, by_age, named, deviations)
    draw = functools.partial(_draw, folder, gallery.grid, limit_months)
    stream = parallel.imap(draw, overlays_to_draw, workers, "drawing")
    drawn = zip(by_age, stream, strict=True)
    tiles = [tile for number, (_, tile) in drawn if number in on_sheet]
    count = len(gallery.hands)
    shown = f"{len(tiles)} of {count}" if len(tiles) < count else str(count)
    header = f"{title}: {shown} hands by true age; true \N{RIGHTWARDS ARROW} predicted"
    sheet = captions.mosaic(tiles, header, limit_months)
    radiographs.write(folder / "contact_sheet.png", sheet[..., ::-1])
    order = metrics.spanning(gallery.errors_months, count)[::-1]
    cards = [_facts(gallery, number) | {"file": named[number]} for number in order]
    gallery_page.write(folder / "index.html", title, cards, limit_months, evolution)


@dataclass(frozen=True)
class _Overlay:
    """All that drawing one hand needs: hand (row, column), map's deviation, facts."""

    hand: np.ndarray
    deviation: np.ndarray
    facts: dict
    file_name: str


class _ToDraw(Sequence):
    """A gallery's overlays, read from disk only when somebody is about to draw."""

    def __init__(
        self,
        gallery: Gallery,
        order: np.ndarray,
        named: list[str],
        deviations: np.ndarray,
    ) -> None:
        self.gallery, self.order = gallery, order
        self.named, self.deviations = named, deviations

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> _Overlay:
        number = self.order[place]
        return _Overlay(
            self.gallery.hands.image(number, DISPLAY_PX),
            self.deviations[number],
            _facts(self.gallery, number),
            self.named[number],
        )


def _draw(folder: Path, grid: Grid, limit_months: float, one: _Overlay) -> np.ndarray:
    """Write one overlay; returns its tile for the contact sheet, RGB."""
    overlay = overlays.overlay(one.hand, grid.upsample(one.deviation), limit_months)
    picture = captions.with_caption(overlay, one.facts, limit_months)
    radiographs.write(folder / one.file_name, picture[..., ::-1])
    line = f"{one.facts['true']} \N{RIGHTWARDS ARROW} {one.facts['predicted']}"
    who = f"{one.facts['id']}  {one.facts['sex']}"
    return captions.tile(overlay, who, line)


def _file_name(gallery: Gallery, number: int, by_error: bool) -> str:
    file_name = f"{gallery.hands.cohort.ids[number]}.png"
    if not by_error:
        return file_name
    error = abs(gallery.errors_months[number])
    # three digits: no error is a thousand months
    return f"error_{'unknown' if np.isnan(error) else f'{error:05.1f}'}_{file_name}"


def _facts(gallery: Gallery, number: int) -> dict:
    cohort = gallery.hands.cohort
    true = float(cohort.bone_age_months[number])
    predicted = float(gallery.explanation.predicted_months[number])
    return {
        "id": int(cohort.ids[number]),
        "sex": "male" if cohort.is_male[number] else "female",
        "true": years_and_months(true),
        "predicted": years_and_months(predicted),
        "true_months": true,
        "predicted_months": predicted,
        "error_months": predicted - true,
        "error": "" if np.isnan(true) else f"{signed(predicted - true)} months",
    }
