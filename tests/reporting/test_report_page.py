"""The page about one radiograph."""

import shutil
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from boneage.prediction.inputs import InputRadiograph
from boneage.reporting import report_page
from boneage.serving import command
from tests.tiny_runs import predict, refuse_all


def test_report_as_pdf(tiny_predictor, trained, hand, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "Predictor", lambda *_: tiny_predictor)
    predict(trained, hand, sex="male", report=tmp_path, report_format="pdf")
    assert (tmp_path / "hand_bone_age.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("shape", [(900, 400), (400, 900)], ids=["tall", "wide"])
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_nothing_on_the_page_overlaps(tiny_predictor, hand, count, shape):
    prediction = tiny_predictor.predict(InputRadiograph(hand, "female"))
    explanations = next(iter(prediction.explanations.values()))
    names = [f"inception_resnet_v2_al{number}" for number in range(count)]
    figure = report_page.draw(
        replace(
            prediction,
            radiograph=np.zeros(shape, np.uint8),
            mask=np.zeros(shape, np.uint8),
            warnings=("the mask is implausible (no fingers)",) * 3,
            months_by_run=dict.fromkeys(names, 100.0) | prediction.months_by_run,
            explanations=dict.fromkeys(names, explanations),
            chronological_age_months=90.0,
            local_calibration="calibrated on 44 local radiographs, 2026-11-27 (1a2b)",
        ),
        tiny_predictor,
    )
    figure.canvas.draw()
    drawn = [text.get_window_extent() for text in figure.texts]
    drawn += [axes.get_tightbbox() for axes in figure.axes]
    assert len(figure.axes) == 2 + count + 1
    for box in drawn:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
    for one, other in combinations(drawn, 2):
        assert not one.padded(-1).overlaps(other.padded(-1))


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize(
    "name", ["cost_$5_$6", "hand" * 60, "\N{HIRAGANA LETTER A}" * 80]
)
def test_names_that_pages_stumble_over(
    tiny_predictor, trained, hand, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(command, "Predictor", lambda *_: tiny_predictor)
    path = shutil.copy(hand, tmp_path / f"{name}.png")
    pages = tmp_path / "pages"
    predict(trained, path, path, sex="male", report=pages)
    names = [page.name for page in pages.iterdir()]
    assert len(names) == 2
    assert all(page.endswith("bone_age.png") for page in names)


def test_what_no_font_has_is_escaped():
    assert report_page.drawable("hand \N{GREEK SMALL LETTER ALPHA}\n\u2212") == (
        "hand \N{GREEK SMALL LETTER ALPHA}\n\u2212"
    )
    assert report_page.drawable("a\udce9\U000f0000") == "a\\udce9\\U000f0000"


def test_refused_radiographs_get_a_page_without_maps(tiny_predictor, hand, monkeypatch):
    refuse_all(monkeypatch)
    refused = tiny_predictor.predict(InputRadiograph(hand, "female"))
    figure = report_page.draw(refused, tiny_predictor)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "no bone age" in words
    assert "Refused: likely not a hand (a test)" in words
    assert "months (" not in words
    assert len(figure.axes) == 1
