"""Bone ages from Python: what `from boneage import predict_bone_age` gives."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from boneage.errors import InputError
from boneage.io import engine
from boneage.layout import Layout
from boneage.parallel import Skipped
from boneage.prediction import local_calibration
from boneage.prediction.inputs import Sex, collect_inputs
from boneage.prediction.model_selection import find_models
from boneage.prediction.predictor import COVERAGE, VIEW_COUNT, Predictor
from boneage.prediction.record import Prediction
from boneage.prediction.shown_maps import MapName


def predict_bone_age(
    files: str | Path | Sequence[str | Path],
    sex: Sex | None = None,
    *,
    models: str | Path = Layout.models,
    runs: Sequence[str] = (),
    views: int = VIEW_COUNT,
    coverage: float = COVERAGE,
    include_refused: bool = False,
    calibration: bool = True,
    maps: MapName = "exact",
) -> Prediction | list[Prediction]:
    """Predict bone ages from radiographs; for research, not for diagnosis.

    Each call loads the networks: pass many radiographs at once.

    Args:
        files: one radiograph or several (PNG, JPEG, WebP, TIFF, DICOM); folders and CSV
            files as predict.py takes them.
        sex: male, female or unknown; None takes it from DICOM and CSV files.
        models: folder with committee/ and regression/; if it has none, the pretrained
            models are used.
        runs: names or folders of the runs to average; empty for the best.
        views: augmented views of each hand to average; 1 for none.
        coverage: nominal coverage of the prediction intervals.
        include_refused: an age for images that are likely not a hand, too; otherwise
            their months are NaN, and `refusal` gives the reason.
        calibration: apply the one that calibrate.py stored in `models`.
        maps: exact, which cost nothing, or occlusion, which show what moves the answer,
            for seconds a radiograph.

    Returns:
        A Prediction for one file; for several, a folder or a CSV file a list in order.

    Raises:
        InputError: a radiograph, its sex or a model cannot be used.
    """
    is_single = isinstance(files, str | Path)
    paths = [Path(files)] if isinstance(files, str | Path) else [*map(Path, files)]
    inputs, skipped, notes = collect_inputs(paths, sex)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    if skipped:
        raise InputError(skipped[0].reason)
    own = Layout(models=Path(models))
    predictor = Predictor(
        find_models(own, runs),
        runs,
        views,
        coverage,
        include_refused,
        calibration=local_calibration.read(own.calibration) if calibration else None,
        at_once=max(1, min(engine.core_count(), len(inputs))),
        map_kind=maps,
    )
    predictions = []
    for outcome in predictor.predict_all(inputs):
        if isinstance(outcome, Skipped):
            raise InputError(outcome.reason)
        predictions.append(predictor.with_shown_maps(outcome[0]))
    is_single = is_single and inputs[0].path == paths[0]
    return predictions[0] if is_single else predictions
