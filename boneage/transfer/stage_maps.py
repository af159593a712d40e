"""Predictions and maps of a paced or conventional run on a cohort, by stage too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boneage.evaluation import comparison, metrics
from boneage.evaluation.ages import years_and_months
from boneage.explanation import contact_sheet, gallery, overlays, saliency
from boneage.explanation.activation_maps import DISPLAY_PX, Explainer
from boneage.explanation.captions import signed
from boneage.io import hdf5, radiographs
from boneage.io.files import atomic_write
from boneage.io.locks import exclusive
from boneage.parallel import THIS_PROCESS, Workers
from boneage.regression.dataset import HandDataset
from boneage.regression.run_folder import Run
from boneage.transfer.runs import FinishedTraining, stage_name

HANDS_ON_SHEET = 8


def write_folder(
    training: FinishedTraining,
    run: Run,
    title: str,
    hands: HandDataset,
    parts: np.ndarray,
    limit: int,
    batch_size: int,
    workers: Workers = THIS_PROCESS,
) -> np.ndarray:
    """Write the `cam` folder of a run: predictions, gallery and, by stage, a sheet.

    Args:
        training: a paced or conventional run.
        run: the stage to predict with, or the conventional run.
        title: title of the gallery.
        hands: the cohort; ages may be unknown.
        parts: (hand,), part of the split.
        limit: greatest number of overlays.
        batch_size: hands per forward pass.
        workers: processes that draw.

    Returns:
        Predicted months, (hand,) float32.

    Raises:
        InputError: a network is missing, broken or predicts NaN, or another process is
            writing the folder.
    """
    with exclusive(training.cam):
        predicted = write_run(
            training.cam, run, title, hands, limit, batch_size, workers
        )
        write_predictions(training.cam / "predictions.csv", hands, parts, predicted)
        if len(training.runs) > 1:
            sheet = training.cam / "stages.png"
            write_sheet(
                sheet, training.name, training.runs, hands, predicted, batch_size
            )
    return predicted


def write_run(
    folder: Path,
    run: Run,
    title: str,
    hands: HandDataset,
    limit: int,
    batch_size: int,
    workers: Workers = THIS_PROCESS,
) -> np.ndarray:
    """Predict a cohort with one network, and write the gallery of some hands.

    The gallery has at most `limit` hands, from the best to the worst predicted:
    overlays `error_<months>_<id>.png`, the contact sheet and the page.

    Args:
        folder: models/paced/<run>/cam, or that of a conventional run.
        run: the stage, or the conventional run.
        title: title of the gallery.
        hands: the cohort; ages may be unknown.
        limit: greatest number of overlays.
        batch_size: hands per forward pass.
        workers: processes that draw.

    Returns:
        Predicted months, (hand,) float32.

    Raises:
        InputError: the network is missing, broken or predicts NaN.
    """
    explainer = Explainer(run.open_network())
    maps = saliency.map_hands(
        saliency.MAPS["exact"], explainer, hands, batch_size, title
    )
    errors = maps.predicted_months - hands.cohort.bone_age_months
    chosen = metrics.spread_over_errors(errors, limit)
    shown = gallery.Gallery(hands.select(chosen), maps.select(chosen))
    gallery.write(folder, title, shown, by_error=True, workers=workers)
    return maps.predicted_months


def write_predictions(
    path: Path, hands: HandDataset, parts: np.ndarray, predicted: np.ndarray
) -> None:
    """Write a row per hand: id, part of the split, sex, true and predicted age, error.

    parts, predicted: (hand,).
    """
    import pandas as pd

    cohort = hands.cohort
    table = pd.DataFrame(
        {
            "id": cohort.ids,
            "split": parts,
            "is_male": cohort.is_male,
            "bone_age_months": cohort.bone_age_months,
            "predicted_months": predicted,
            "error_months": predicted - cohort.bone_age_months,
        }
    )
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.3f")


def write_sheet(
    path: Path,
    title: str,
    stages: Sequence[Run],
    hands: HandDataset,
    predicted: np.ndarray,
    batch_size: int,
) -> None:
    """Write a sheet with a row per hand: the hand, and its map after each stage.

    It has a few hands, from the best to the worst predicted. All maps share one colour
    scale, so that a colour means the same in every stage.

    Args:
        path: the PNG file.
        title: title of the sheet.
        stages: the finished stages, in order.
        hands: the cohort.
        predicted: (hand,) months.
        batch_size: hands per forward pass.
    """
    errors = predicted - hands.cohort.bone_age_months
    hands = hands.select(metrics.spread_over_errors(errors, HANDS_ON_SHEET))
    by_stage = {
        stage_name(stage): saliency.map_hands(
            saliency.MAPS["exact"],
            Explainer(stage.open_network()),
            hands,
            batch_size,
            stage.name,
        )
        for stage in stages
    }
    limit_months = overlays.colour_limit(
        np.concatenate([maps.values for maps in by_stage.values()])
    )
    tiles = []
    for number in range(len(hands)):
        hand = hands.image(number, DISPLAY_PX)
        true = float(hands.cohort.bone_age_months[number])
        sex = "male" if hands.cohort.is_male[number] else "female"
        who = f"{hands.cohort.ids[number]}  {sex}"
        grey = np.repeat(hand[..., np.newaxis], 3, axis=2)
        tiles.append(contact_sheet.tile(grey, who, f"true {years_and_months(true)}"))
        for name, maps in by_stage.items():
            map_months = maps.grid.upsample(maps.values[number])
            overlay = overlays.overlay(hand, map_months, limit_months)
            months = float(maps.predicted_months[number])
            error = "" if np.isnan(true) else f" ({signed(months - true)} months)"
            line = years_and_months(months) + error
            tiles.append(contact_sheet.tile(overlay, name, line))
    header = f"{title}: the same hands after each stage"
    sheet = contact_sheet.mosaic(tiles, header, limit_months, columns=1 + len(stages))
    radiographs.write(path, sheet[..., ::-1])


def notes(
    run: Run,
    title: str,
    hands: HandDataset,
    parts: np.ndarray,
    predicted: np.ndarray,
    split_hash: str | None,
) -> list[str]:
    """The error of predictions, (hand,) months, and warnings about them.

    parts: (hand,), part of the split. split_hash: of the cohort's own split.
    """
    config, true = run.read_config(), hands.cohort.bone_age_months
    known = ~np.isnan(true)
    lines = [f"{title}: {len(hands)} hands"]
    if known.any():
        mae = metrics.mae(true[known], predicted[known])
        lines[0] += f", MAE {mae:.2f} months on {known.sum()} with a known age"
    trained_on = np.count_nonzero(parts == "train")
    if split_hash not in (None, config["split_hash"]):
        lines.append(
            "the network was trained with another split than this cohort's split.csv, "
            "perhaps on some of these hands"
        )
    elif trained_on:
        lines.append(
            f"{trained_on} of these hands are of the training part, so the error is "
            "too low"
        )
    lines += comparison.prediction_flaws(predicted, config["age_range_months"])
    if hands.packed.preprocessing != config["preprocessing"]:
        lines.append(
            "the network was trained on hands made with "
            f"{hdf5.preprocessing_in_words(config['preprocessing'])}, these were made "
            f"with {hdf5.preprocessing_in_words(hands.packed.preprocessing)}"
        )
    return lines
