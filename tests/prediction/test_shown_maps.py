"""The maps of a page: of the kind that was asked for, in the page's months."""

from dataclasses import replace

import numpy as np
import pytest

from boneage.explanation import saliency
from boneage.io import transforms
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.local_calibration import Line
from boneage.prediction.predictor import Predictor
from boneage.reporting import report_page
from tests.tiny_runs import BOTH


@pytest.fixture(scope="module")
def occluding(trained) -> Predictor:
    return Predictor(trained, BOTH, 1, map_kind="occlusion")


def occlusion_of(predictor, shown, name, is_male):
    """The map straight from the network, at the size that pages show."""
    (candidate,) = [c for c in predictor.candidates if c.name == name]
    explainer = predictor.explainer(candidate)
    image = transforms.resize(shown.hand, explainer.image_size)
    maps = saliency.occlusion(explainer, image[np.newaxis], np.array([is_male]))
    return maps.grid.upsample(maps.values[0])


def test_page_shows_what_moves_the_answer(occluding, hand):
    plain = occluding.predict(InputRadiograph(hand, "male"))
    prediction = occluding.with_shown_maps(plain)
    assert prediction.bone_age_months == plain.bone_age_months
    for name, shown in prediction.explanations.items():
        assert (shown.kind, shown.cells) == ("occlusion", saliency.PLACES)
        expected = occlusion_of(occluding, shown, name, True)
        np.testing.assert_allclose(shown.map_months, expected, atol=1e-4)
        assert np.ptp(shown.map_months) > 0
    # what has them already is not made again
    assert occluding.with_shown_maps(prediction) is prediction
    page = report_page.draw(prediction, occluding)
    texts = " ".join(text.get_text() for text in page.texts)
    assert "Maps (occlusion): how far the prediction moves when a place is" in texts


def test_exact_maps_cost_nothing(trained, hand):
    predictor = Predictor(trained, BOTH, 1)
    prediction = predictor.predict(InputRadiograph(hand, "male"))
    assert predictor.with_shown_maps(prediction) is prediction


def test_refused_radiograph_has_no_maps(occluding, hand):
    prediction = occluding.predict(InputRadiograph(hand, "male"))
    refused = replace(prediction, explanations={}, refusal="no hand")
    assert occluding.with_shown_maps(refused) is refused


def test_map_of_an_unknown_sex_is_the_mean_of_both(occluding, hand):
    plain = occluding.predict(InputRadiograph(hand, "unknown"))
    for name, shown in occluding.with_shown_maps(plain).explanations.items():
        both = [occlusion_of(occluding, shown, name, sex) for sex in (False, True)]
        np.testing.assert_allclose(shown.map_months, np.mean(both, axis=0), atol=1e-4)


def test_map_has_the_months_of_the_local_calibration(occluding, hand, monkeypatch):
    plain = occluding.predict(InputRadiograph(hand, "male"))
    before = occluding.with_shown_maps(plain).explanations
    monkeypatch.setattr(occluding, "line", lambda sex: Line(5.0, 2.0))
    after = occluding.with_shown_maps(plain).explanations
    for name, shown in after.items():
        np.testing.assert_allclose(
            shown.map_months, 2 * before[name].map_months, atol=1e-4
        )
