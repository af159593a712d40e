"""Limits of length and sharpness, found of a stand-in that fails below known ones."""

import math

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.layout import Layout
from experiments import input_limits
from experiments.answers import Answer, AnswerTable
from experiments.input_limits import Hand, limit
from tests.conftest import options_of

EDGES = (10, 20, 30, 40)


def bins(*means: float, answers: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Values and shifts: a bin of equal answers below 10, from 10, 20, 30 and 40 on."""
    values = np.repeat(10.0 * np.arange(len(means)) + 5, answers)
    return values, np.repeat(means, answers)


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((30, 20, 7, 5, 1), 30),
        ((30, 20, 6, 5, 1), 30),
        ((30, 20, 5.9, 5, 1), 20),
        ((1, 1, 1, 1, 1), 10),
        # one good bin below a bad one is chance
        ((30, 1, 7, 5, 1), 30),
        ((30, 20, 7, 5, 9), math.nan),
    ],
)
def test_limit_is_the_lowest_edge_with_good_bins_alone_above(means, expected):
    found = limit(*bins(*means), EDGES, 6.0)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_bins_of_few_answers_say_nothing():
    values, shifts = bins(30, 20, 7, 5, 1)
    values, shifts = np.append(values, [35.0] * 7), np.append(shifts, [99.0] * 7)
    keep = ~((values == 35) & (shifts == 5))
    assert limit(values[keep], shifts[keep], EDGES, 6.0) == 40
    good = keep & ~((values > 20) & (values < 30))
    few = np.append(values[good], [25.0] * 8), np.append(shifts[good], [5.0] * 8)
    assert limit(*few, EDGES, 6.0) == 20
    assert math.isnan(limit(values[:0], shifts[:0], EDGES, 6.0))


class StandIn:
    """Reads hands that fill the radiograph: 20 months off below 80 px or when blurred.

    40 months off below 40 px; finds no hand below 28 px.
    """

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, image, sex) -> Answer:
        self.count += 1
        length_px = float(max(image.shape))
        if length_px < 28:
            return Answer(math.nan, refusal="no hand was found")
        sharpness = float(np.abs(np.diff(image.astype(float), axis=0)).max()) / 255
        off = 40 if length_px < 40 else 20 if length_px < 80 else 1
        if length_px == 300 and sharpness < 0.05:
            off = 20
        return Answer(100.0 + off, "", "", length_px, sharpness)


@pytest.fixture
def cohort(layout) -> Layout:
    """40 edges, 300 px long, as radiographs; 30 of them of the validation part."""
    image = np.repeat(np.where(np.arange(300) < 150, 0, 200)[:, np.newaxis], 90, axis=1)
    layout.train_csv.parent.mkdir(parents=True)
    lines = ["id,boneage,male", *(f"{i},100,{i % 2 == 0}" for i in range(1, 41))]
    layout.train_csv.write_text("\n".join(lines) + "\n")
    parts = [f"{i},{'train' if i > 30 else 'validation'}" for i in range(1, 41)]
    layout.split_csv.write_text("\n".join(["id,split", *parts]) + "\n")
    for i in range(1, 41):
        radiographs.write(layout.radiograph(i), image.astype(np.uint8))
    return layout


def test_validation_hands_in_two_halves(cohort):
    hands = input_limits.validation_hands(cohort, 24, np.random.default_rng(0))
    assert len({hand.radiograph_id for hand in hands}) == 24
    assert max(hand.radiograph_id for hand in hands) <= 30
    assert sum(hand.is_check for hand in hands) == 12
    assert {h.sex for h in hands if h.radiograph_id % 2 == 0} == {"male"}
    cohort.split_csv.unlink()
    with pytest.raises(InputError, match="must name two validation radiographs"):
        input_limits.validation_hands(cohort, 24, np.random.default_rng(0))


def test_variants_spread_over_the_range_and_stay_the_same():
    hand = Hand(7, "male", False)
    drawn = input_limits.variants_of(0, hand, 5)
    assert drawn == input_limits.variants_of(0, hand, 5)
    assert drawn != input_limits.variants_of(0, hand._replace(radiograph_id=8), 5)
    for way, (_, (low, high)) in input_limits.WAYS.items():
        strengths = [strength for name, strength in drawn if name == way]
        parts = np.geomspace(low, high, 6)
        for strength, least, most in zip(strengths, parts, parts[1:], strict=False):
            assert least <= strength <= most


def test_shrinking_and_blurring_are_in_units_of_the_hand():
    image = np.zeros((300, 200), np.uint8)
    image[100:200] = 200
    assert input_limits.shrink(image, 50, 100).shape == (150, 100)
    # never enlarged
    assert input_limits.shrink(image, 200, 100).shape == (300, 200)
    edge = input_limits.blur(image, 0.1, 100)[:, 0].astype(int)
    # a Gaussian of 10 px: 84 % of the step one deviation inside the edge
    assert edge[110] == pytest.approx(0.84 * 200, abs=8)


@pytest.fixture
def stand_in(monkeypatch) -> StandIn:
    class Predictor:
        def __init__(self, *_, include_refused):
            assert include_refused  # or nothing is known of what is refused today

        def load(self):
            pass

    read = StandIn()
    monkeypatch.setattr(input_limits, "Predictor", Predictor)
    monkeypatch.setattr(input_limits, "find_models", lambda layout, _: layout)
    monkeypatch.setattr(input_limits, "models_of", lambda _: "m")
    monkeypatch.setattr(input_limits, "reader_of", lambda *_: read)
    return read


def test_the_command_finds_where_a_reader_fails(cohort, tmp_path, capsys, stand_in):
    out = tmp_path / "limits.md"
    flags = {"out": out, "hands": 30, "variants": 24}
    input_limits.main(options_of(input_limits, cohort, **flags))
    text = out.read_text()
    printed = capsys.readouterr().out
    assert printed == f"{text}wrote {out}\n"
    assert "- `SMALL_PX`: 80 derived, 95 in use" in text
    assert "- `HOPELESSLY_SMALL_PX`: 40 derived, 68 in use" in text
    assert "- `BLURRED`: 0.0500 derived" in text
    length, blurred = text.split("## By sharpness")
    zones = [line for line in length.splitlines() if "other half, " in line]
    assert [line.split(", ")[2] for line in zones] == [
        *("mean shift 0.0 months", "mean shift 19.0 months", "mean shift 39.0 months")
    ]
    assert zones[0].endswith(" 0 of 24 months or more")
    assert "below the warn limit: 0 of 15" in length
    lost = next(line for line in length.splitlines() if "no hand found" in line)
    assert 20 < int(lost.split(": ")[1].split(" of ")[0]) < 120
    assert "no hand found, or no answer: 0 of 720" in blurred
    # asked once
    assert stand_in.count == 30 * 49
    input_limits.main(options_of(input_limits, cohort, **flags))
    assert stand_in.count == 30 * 49
    assert out.read_text() == text


def test_too_few_answers_give_no_limit(cohort, tmp_path, capsys, stand_in):
    flags = {"out": tmp_path / "limits.md", "hands": 2, "variants": 1}
    input_limits.main(options_of(input_limits, cohort, **flags))
    printed = capsys.readouterr().out
    assert "`SMALL_PX`: none derived (too few answers, or all of them far off), 95" in (
        printed
    )
    assert "other half, answered: 0 answers\n" in printed
    assert "nan" not in printed


def test_each_half_has_its_own_hands(cohort, tmp_path, stand_in):
    options = options_of(input_limits, cohort, out=tmp_path / "a.md", variants=2)
    hands = input_limits.validation_hands(cohort, 30, np.random.default_rng(0))
    answers = AnswerTable(tmp_path / "a.csv", "m")
    input_limits.ask(options, hands, stand_in, answers)
    shifts = input_limits.shifts_of(hands, answers)
    assert len(shifts) == 30 * 5
    assert (shifts[shifts.way == ""]["shift"] == 0).all()
    halves = shifts.groupby("is_check").id.unique()
    assert not set(halves[False]) & set(halves[True])
    # what the checking half says moves no limit
    spoilt = shifts.assign(
        shift=np.where(shifts.is_check, 99.0, shifts["shift"]),
    )
    for text in (input_limits.report(shifts), input_limits.report(spoilt)):
        derived = [line for line in text if "derived" in line]
        assert derived == [
            line for line in input_limits.report(shifts) if "derived" in line
        ]
