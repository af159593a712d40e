"""A trained paced run or rival on a cohort: predictions, overlays, hands by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from boneage.evaluation import comparison, metrics
from boneage.evaluation.ages import years_and_months
from boneage.explanation import activation_maps, captions, gallery, overlays
from boneage.explanation.activation_maps import (
    DISPLAY_PX,
    Explainer,
    Explanation,
    explain_hands,
)
from boneage.explanation.captions import signed
from boneage.io import hdf5, radiographs
from boneage.io.files import atomic_write
from boneage.parallel import THIS_PROCESS, Workers
from boneage.regression.dataset import HandDataset
from boneage.regression.run_folder import Run
from boneage.transfer.runs import stage_name

HANDS_ON_SHEET = 8


def write_run(
    folder: Path,
    run: Run,
    title: str,
    hands: HandDataset,
    limit: int,
    batch_size: int,
    workers: Workers = THIS_PROCESS,
) -> np.ndarray:
    """Predict a cohort with one network, and show hands from the best to the worst.

    Writes of at most `limit` hands the overlays `error_<months>_<id>.png`, the contact
    sheet and the page.

    Args:
        folder: models/paced/<run>/cam, or that of a rival.
        run: whose network, a stage or a rival.
        title: names it to people.
        hands: the cohort; ages may be unknown.
        limit: overlays at most.
        batch_size: hands a forward pass.
        workers: who draws.

    Returns:
        Predicted months, (hand,) float32.

    Raises:
        InputError: the network is missing, broken or predicts no numbers.
    """
    explainer = Explainer(run.load_model())
    explanation = explain_hands(explainer, hands, batch_size, title)
    predicted = explanation.predicted_months
    errors = predicted - hands.cohort.bone_age_months
    chosen = metrics.spanning(errors, limit)
    shown = gallery.Gallery(
        hands.select(chosen),
        Explanation(*(part[chosen] for part in explanation)),
        explainer.grid,
    )
    gallery.write(folder, title, shown, by_error=True, workers=workers)
    return predicted


def write_predictions(
    path: Path, hands: HandDataset, of_part: np.ndarray, predicted: np.ndarray
) -> None:
    """Write a row a hand: who, its part of the split, true and predicted, the error."""
    import pandas as pd

    cohort = hands.cohort
    table = pd.DataFrame(
        {
            "id": cohort.ids,
            "split": of_part,
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
    stages: list[Run],
    hands: HandDataset,
    predicted: np.ndarray,
    batch_size: int,
) -> None:
    """Write a sheet with a row a hand: the hand, and its map after each stage.

    Shown are a few hands, from the best predicted to the worst.

    All maps share one colour scale, so that a colour means the same in every stage.

    Args:
        path: the PNG.
        title: names the run to people.
        stages: in order, finished.
        hands: to choose from.
        predicted: (hand,) months.
        batch_size: hands a forward pass.
    """
    errors = predicted - hands.cohort.bone_age_months
    hands = hands.select(metrics.spanning(errors, HANDS_ON_SHEET))
    explained = []
    for stage in stages:
        explainer = Explainer(stage.load_model())
        found = explain_hands(explainer, hands, batch_size, stage.name)
        explained.append((stage_name(stage), explainer.grid, found))
    limit_months = overlays.colour_limit(
        np.concatenate([activation_maps.centred_maps(e.maps) for _, _, e in explained])
    )
    tiles = []
    for number in range(len(hands)):
        hand = hands.image(number, DISPLAY_PX)
        true = float(hands.cohort.bone_age_months[number])
        sex = "male" if hands.cohort.is_male[number] else "female"
        who = f"{hands.cohort.ids[number]}  {sex}"
        grey = np.repeat(hand[..., np.newaxis], 3, axis=2)
        tiles.append(captions.tile(grey, who, f"true {years_and_months(true)}"))
        for name, grid, explanation in explained:
            deviation = activation_maps.centred_maps(explanation.maps[number])
            overlay = overlays.overlay(hand, grid.upsample(deviation), limit_months)
            said = float(explanation.predicted_months[number])
            error = "" if np.isnan(true) else f" ({signed(said - true)} months)"
            words = years_and_months(said) + error
            tiles.append(captions.tile(overlay, name, words))
    header = f"{title}: the same hands after each stage"
    sheet = captions.mosaic(tiles, header, limit_months, columns=1 + len(stages))
    radiographs.write(path, sheet[..., ::-1])


def notes(
    run: Run,
    title: str,
    hands: HandDataset,
    of_part: np.ndarray,
    predicted: np.ndarray,
    split: str | None,
) -> list[str]:
    """What to know of predictions, (hand,) months: their error, and what is odd.

    split: the hash of the cohort's own.
    """
    config, true = run.read_config(), hands.cohort.bone_age_months
    known = ~np.isnan(true)
    said = [f"{title}: {len(hands)} hands"]
    if known.any():
        mae = metrics.mae(true[known], predicted[known])
        said[0] += f", MAE {mae:.2f} months of {known.sum()} with a known age"
    seen = np.count_nonzero(of_part == "train")
    if split not in (None, config["split_hash"]):
        said.append(
            "not trained with the split in this cohort's split.csv: some of these "
            "hands may be among those trained on"
        )
    elif seen:
        said.append(f"{seen} of them are of the training part, so the error is too low")
    said += comparison.flags(predicted, config["age_range_months"])
    if hands.packed.preprocessing != config["preprocessing"]:
        said.append(
            "trained on hands made with "
            f"{hdf5.preprocessing_in_words(config['preprocessing'])}, these were made "
            f"with {hdf5.preprocessing_in_words(hands.packed.preprocessing)}"
        )
    return said
