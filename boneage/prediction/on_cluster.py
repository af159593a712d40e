"""Predictions on the workers of a Dask cluster, each with networks of its own."""

from __future__ import annotations

import functools
import pickle
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from boneage import parallel
from boneage.errors import printable
from boneage.layout import Layout
from boneage.parallel import Skipped, Workers
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import Prediction

_loading = threading.Lock()


def predict_all(
    predictor: Predictor,
    inputs: Sequence[InputRadiograph],
    with_images: bool,
    scheduler: str,
) -> Iterator[list[Prediction] | Skipped]:
    """As `Predictor.predict_all`, on a cluster that sees models and radiographs.

    scheduler: its address, see `parallel.Workers`.

    Raises:
        InputError: it cannot be reached, has no workers, or these do not see the
            models.
    """
    layout, names, *others = predictor.arguments
    models = layout.models.absolute()
    # a run is named by its folder, too, and workers start in another one
    here = [str(Path(n).absolute()) if Path(n).is_dir() else n for n in names]
    made = pickle.dumps((Layout(layout.data.absolute(), models), here, *others))
    work = functools.partial(_predict, made, with_images)
    # images are large, and few of them may wait
    ahead = 0 if with_images else parallel.AHEAD
    workers = Workers(scheduler=scheduler, folder=models, ahead=ahead)
    away = [replace(i, path=i.path.absolute()) for i in inputs]
    outcomes = parallel.outcomes(work, away, workers)
    for radiograph, (sent, outcome) in zip(inputs, outcomes, strict=True):
        if isinstance(outcome, Skipped):
            # as the user named it
            reason = outcome.reason.replace(
                printable(sent.path), printable(radiograph.path)
            )
            yield Skipped(radiograph.path, reason)
        else:
            name = printable(radiograph.path)
            yield [prediction.with_file(name) for prediction in outcome]


@functools.lru_cache(maxsize=1)
def _own_predictor(made: bytes) -> Predictor:
    predictor = Predictor(*pickle.loads(made))
    predictor.load()
    return predictor


def _predict(
    made: bytes, with_images: bool, radiograph: InputRadiograph
) -> list[Prediction]:
    """Read a radiograph in a worker, whose threads share the networks."""
    with _loading:
        predictor = _own_predictor(made)
    predictions = predictor.predict_hands(radiograph)
    if with_images:
        return list(predictions)
    return [prediction.without_images() for prediction in predictions]
