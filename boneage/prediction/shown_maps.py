"""The maps that a page shows, of another kind than those that cost nothing.

A prediction comes with exact maps, which its own forward pass gives. Where a person
will look at them, occlusion maps take their place: they point at what the networks look
at (`docs/results/activation_maps.md`), for 130 to 180 forward passes of each network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from boneage.explanation import saliency
from boneage.io import transforms
from boneage.prediction.record import Prediction, RunExplanation

if TYPE_CHECKING:
    from boneage.prediction.inputs import Sex
    from boneage.prediction.predictor import Predictor

MapName = Literal["occlusion", "exact"]
"""Kinds of map that a page can show; keys of `saliency.MAPS`."""


def with_maps(
    prediction: Prediction, predictor: Predictor, kind: MapName
) -> Prediction:
    """The same prediction with maps of this kind, months as the page gives them.

    predictor: which made the prediction.
    """
    shown = prediction.explanations
    if all(explanation.kind == kind for explanation in shown.values()):
        return prediction
    sexes: tuple[Sex, ...] = (prediction.sex,)
    if prediction.sex == "unknown":
        sexes = ("female", "male")
    return replace(
        prediction,
        explanations={
            name: _explain(predictor, name, explanation, sexes, kind)
            for name, explanation in shown.items()
        },
    )


def _explain(
    predictor: Predictor,
    name: str,
    shown: RunExplanation,
    sexes: tuple[Sex, ...],
    kind: MapName,
) -> RunExplanation:
    """The map of a run, the mean where it predicted both sexes."""
    found = []
    for sex in sexes:
        candidates = predictor.ensembles[sex].candidates
        named = [candidate for candidate in candidates if candidate.name == name]
        for candidate in named:
            explainer = predictor.explainer(candidate)
            image = transforms.resize(shown.hand, explainer.image_size)
            maps = saliency.MAPS[kind].make(
                explainer, image[np.newaxis], np.array([sex == "male"]), 16
            )
            slope = predictor.line(sex).slope
            found.append((slope * maps.values[0], maps.grid))
    enlarged = np.mean([grid.upsample(values) for values, grid in found], axis=0)
    return shown._replace(map_months=enlarged, cells=len(found[0][0]), kind=kind)
