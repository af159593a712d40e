"""What step6 leaves of a run: overlays, a contact sheet, a page and a video."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from boneage import radiographs
from boneage.cli import list_some
from boneage.cohort import Cohort
from boneage.explanation import activation_maps, overlays, page, pictures, video
from boneage.explanation.activation_maps import DISPLAY_PX, Explanation, Grid
from boneage.explanation.pictures import signed, years_and_months
from boneage.files import InputError
from boneage.hdf5 import Packed
from boneage.regression import agreement
from boneage.regression.parts import Hands
from boneage.regression.runs import Run

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

    hands: Hands
    explanation: Explanation
    grid: Grid

    @property
    def errors_months(self) -> np.ndarray:
        """Predicted less true, (N,); NaN where the age is unknown."""
        return self.explanation.predicted_months - self.hands.cohort.bone_age_months


def write_run(run: Run, packed: Packed, ids: np.ndarray, batch_size: int) -> list[str]:
    """Explain hands of a run and write its whole `cam` folder.

    Args:
        run: a finished run: model.keras and predictions.csv; cam_history.h5 becomes
            a video.
        packed: segment_all.h5.
        ids: (N,), among the run's predictions, N > 0.
        batch_size: hands a forward pass.

    Returns:
        Notes for the user: what to know before trusting the pictures.

    Raises:
        InputError: a hand or its prediction is missing, or the network is broken.
    """
    predictions = run.read_predictions().set_index("id")
    hands = _hands_of(run, predictions, packed, ids)
    explainer = activation_maps.Explainer(run.load_model())
    explanation = activation_maps.explain_hands(explainer, hands, batch_size, run.name)
    film = None
    if run.cam_history.is_file():
        panel = activation_maps.read_panel(run.cam_history)
        shown = _hands_of(run, predictions, packed, panel.ids)
        film = video.write_evolution(run.cam, run.name, shown, panel, explainer.grid)
    write(run.cam, run.name, Gallery(hands, explanation, explainer.grid), film)
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
    run: Run, predictions: pd.DataFrame, packed: Packed, ids: np.ndarray
) -> Hands:
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
    return Hands(packed, packed.rows_of(ids), Cohort(np.asarray(ids), ages, is_male))


OVERLAY = re.compile(r"(error_\d+\.\d_|error_unknown_)?\d+\.png")
"""Names of overlays: `<id>.png`, or led by the error."""


def write(
    folder: Path,
    title: str,
    gallery: Gallery,
    evolution: Path | None = None,
    by_error: bool = False,
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
    """
    named = [_file_name(gallery, n, by_error) for n in range(len(gallery.hands))]
    for found in folder.glob("*.png"):
        if OVERLAY.fullmatch(found.name) and found.name not in named:
            found.unlink()
    deviations = activation_maps.deviations(gallery.explanation.maps)
    limit_months = overlays.limit_of(deviations)
    on_sheet = set(agreement.spanning(gallery.errors_months, MOST_TILES).tolist())
    tiles = []
    by_age = np.argsort(gallery.hands.cohort.bone_age_months)
    for number in tqdm(by_age, "drawing", disable=None):
        facts = _facts(gallery, number)
        overlay = overlays.overlay(
            gallery.hands.image(number, DISPLAY_PX),
            gallery.grid.upsample(deviations[number]),
            limit_months,
        )
        picture = pictures.with_caption(overlay, facts, limit_months)
        radiographs.write(folder / named[number], picture[..., ::-1])
        if number in on_sheet:
            line = f"{facts['true']} \N{RIGHTWARDS ARROW} {facts['predicted']}"
            who = f"{facts['id']}  {facts['sex']}"
            tiles.append(pictures.tile(overlay, who, line))
    count = len(gallery.hands)
    shown = f"{len(tiles)} of {count}" if len(tiles) < count else str(count)
    header = f"{title}: {shown} hands by true age; true \N{RIGHTWARDS ARROW} predicted"
    sheet = pictures.mosaic(tiles, header, limit_months)
    radiographs.write(folder / "contact_sheet.png", sheet[..., ::-1])
    order = agreement.spanning(gallery.errors_months, count)[::-1]
    cards = [_facts(gallery, number) | {"file": named[number]} for number in order]
    page.write(folder / "index.html", title, cards, limit_months, evolution)


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
