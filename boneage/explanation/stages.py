"""A trained paced run or rival on a cohort: predictions, overlays, hands by stage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from boneage import radiographs
from boneage.explanation import activation_maps, overlays, pictures, report
from boneage.explanation.activation_maps import DISPLAY_PX, Explainer, Explanation
from boneage.explanation.pictures import TILE_PX, signed, years_and_months
from boneage.files import InputError, replacing
from boneage.regression import agreement
from boneage.regression.parts import Hands
from boneage.regression.runs import Run

HANDS_ON_SHEET = 8


def write_run(
    folder: Path, run: Run, title: str, hands: Hands, limit: int, batch_size: int
) -> np.ndarray:
    """Predict a cohort with one network, and show hands from the best to the worst.

    Writes predictions.csv of all hands, and of at most `limit` the overlays
    `error_<months>_<id>.png`, the contact sheet and the page.

    Args:
        folder: models/paced/<run>/cam, or that of a rival.
        run: whose network, a stage or a rival.
        title: names it to people.
        hands: the cohort; ages may be unknown.
        limit: overlays at most.
        batch_size: hands a forward pass.

    Returns:
        Predicted months, (hand,) float32.

    Raises:
        InputError: the network is missing, broken or predicts no numbers.
    """
    explainer = Explainer(run.load_model())
    explanation = _explain(explainer, run, title, hands, batch_size)
    predicted = explanation.predicted_months
    errors = predicted - hands.cohort.bone_age_months
    _write_predictions(folder / "predictions.csv", hands, predicted)
    chosen = agreement.spanning(errors, limit)
    shown = report.Gallery(
        hands.select(chosen),
        Explanation(*(part[chosen] for part in explanation)),
        explainer.grid,
    )
    report.write(folder, title, shown, by_error=True)
    return predicted


def _explain(
    explainer: Explainer, run: Run, title: str, hands: Hands, batch_size: int
) -> Explanation:
    found = activation_maps.explain_hands(explainer, hands, batch_size, title)
    if not np.isfinite(found.maps).all():
        raise InputError(f"{run.model}: predicts no numbers (NaN); train the run again")
    return found


def _write_predictions(path: Path, hands: Hands, predicted: np.ndarray) -> None:
    import pandas as pd

    cohort = hands.cohort
    table = pd.DataFrame(
        {
            "id": cohort.ids,
            "is_male": cohort.is_male,
            "bone_age_months": cohort.bone_age_months,
            "predicted_months": predicted,
            "error_months": predicted - cohort.bone_age_months,
        }
    )
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.3f")


def write_sheet(
    path: Path, title: str, stages: list[Run], hands: Hands, batch_size: int
) -> None:
    """Write a sheet with a row a hand: the hand, and its map after each stage.

    All maps share one colour scale, so that a colour means the same in every stage.

    Args:
        path: the PNG.
        title: names the run to people.
        stages: in order, finished.
        hands: few.
        batch_size: hands a forward pass.
    """
    explained = []
    for stage in stages:
        explainer = Explainer(stage.load_model())
        found = _explain(explainer, stage, stage.name, hands, batch_size)
        explained.append((stage.name.split("_", 2)[2], explainer.grid, found))
    limit_months = overlays.limit_of(
        np.concatenate([activation_maps.deviations(e.maps) for _, _, e in explained])
    )
    tiles = []
    for number in range(len(hands)):
        hand = hands.image(number, DISPLAY_PX)
        true = float(hands.cohort.bone_age_months[number])
        sex = "male" if hands.cohort.is_male[number] else "female"
        who = f"{hands.cohort.ids[number]}  {sex}"
        grey = np.repeat(hand[..., np.newaxis], 3, axis=2)
        tiles.append(_tile(grey, who, f"true {years_and_months(true)}"))
        for name, grid, explanation in explained:
            deviation = activation_maps.deviations(explanation.maps[number])
            overlay = overlays.overlay(hand, grid.upsample(deviation), limit_months)
            said = float(explanation.predicted_months[number])
            error = "" if np.isnan(true) else f" ({signed(said - true)} months)"
            tiles.append(_tile(overlay, name, years_and_months(said) + error))
    header = f"{title}: the same hands after each stage"
    sheet = pictures.mosaic(tiles, header, limit_months, columns=1 + len(stages))
    radiographs.write(path, sheet[..., ::-1])


def _tile(picture: np.ndarray, first: str, second: str) -> np.ndarray:
    size = (TILE_PX, TILE_PX)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return pictures.tile(small, first, second)


def notes(run: Run, title: str, hands: Hands, predicted: np.ndarray) -> list[str]:
    """What to know of predictions, (hand,) months: their error, and what is odd."""
    config, true = run.read_config(), hands.cohort.bone_age_months
    known = ~np.isnan(true)
    said = [f"{title}: {len(hands)} hands"]
    if known.any():
        mae = agreement.mae(true[known], predicted[known])
        said[0] += f", MAE {mae:.2f} months of {known.sum()} with a known age"
    said += agreement.flags(predicted, config["age_range_months"])
    if hands.packed.preprocessing != config["preprocessing"]:
        said.append(
            f"trained on hands made as {config['preprocessing']}, these are "
            f"{hands.packed.preprocessing}"
        )
    return said
