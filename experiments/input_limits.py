"""Below which length and sharpness of a hand its bone age is warned of or refused.

    python -m experiments.input_limits --data RSNA --models MODELS --out limits.md

Validation hands are shrunk to lengths, and blurred to degrees, drawn at random; the
answer is compared with that about the hand as it is. By bins of the measured length and
sharpness, on one half of the hands:

- the warn limit is the lowest edge above which no bin costs 6 months or more, as the
  mean change of the answer;
- the refuse limit is the same for 24 months, which is about as wrong as an answer that
  knows nothing of the hand.

The other half of the hands checks both. Radiographs should be as large as they were
acquired. Answers are kept in a CSV file beside --out: the same command goes on from
there, and does not ask the same models twice; after a change of the code --overwrite
asks all again. The limits are constants of boneage/segmentation/image_quality.py.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from boneage import cli
from boneage.cohort import table
from boneage.errors import InputError, check_minimum
from boneage.ids import RadiographId
from boneage.io import radiographs
from boneage.io.files import atomic_write, temporary_folder
from boneage.layout import Layout
from boneage.prediction.inputs import Sex
from boneage.prediction.model_selection import find_models
from boneage.prediction.predictor import VIEW_COUNT, Predictor
from boneage.segmentation import image_quality
from experiments.answers import AnswerTable, Question, Reader, models_of, reader_of

GROUP, LENGTH, BLUR = "validation", "length", "blur"
WARN_MONTHS, REFUSE_MONTHS = 6.0, 24.0
FEWEST = 8
"""Answers in a bin that count; fewer say nothing."""
LENGTHS_PX = (24, 240)
BLURS = (0.002, 0.03)
"""Range of the Gaussian's deviation, as a share of the hand's length."""


class Measure(NamedTuple):
    """What limits hold for. edges: of the bins, ascending.

    column: of the measured values. constants: the limits in `image_quality`, warn and
    refuse. decimals: of the edges.
    """

    name: str
    column: str
    edges: tuple[float, ...]
    constants: tuple[str, str]
    decimals: int


MEASURES = {
    LENGTH: Measure(
        "length of the hand, px",
        "length_px",
        (24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 108, 120, 140, 165, 200, 240),
        ("SMALL_PX", "HOPELESSLY_SMALL_PX"),
        0,
    ),
    BLUR: Measure(
        "sharpness",
        "sharpness",
        (
            *(0.005, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.0225, 0.025),
            *(0.0275, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08, 0.12),
        ),
        ("BLURRED", "HOPELESSLY_BLURRED"),
        4,
    ),
}


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Which hands, how often altered, and where the tables go."""

    paths: cli.Paths
    out: Path
    """Markdown file for the tables; answers go to a CSV file beside it"""
    hands: int = 80
    """validation hands drawn at random"""
    variants: int = 8
    """shrunk, and as many blurred, variants of each hand"""
    views: int = VIEW_COUNT
    """views of each hand that are averaged"""
    seed: int = 0
    """seed of the hands, their halves and their variants"""
    overwrite: bool = False
    """ask all again"""


class Hand(NamedTuple):
    """A validation hand. is_check: whether it checks the limits, not derives them."""

    radiograph_id: RadiographId
    sex: Sex
    is_check: bool


def main(options: Options) -> None:
    """Ask what has not been asked yet, derive the limits, and write the tables."""
    check_minimum(2, hands=options.hands)
    check_minimum(1, variants=options.variants)
    rng = np.random.default_rng(options.seed)
    hands = validation_hands(options.layout, options.hands, rng)
    predictor = Predictor(
        find_models(options.layout, ()), (), options.views, include_refused=True
    )
    predictor.load()
    answers_csv = options.out.with_suffix(".csv")
    if options.overwrite:
        answers_csv.unlink(missing_ok=True)
    answers = AnswerTable(answers_csv, models_of(predictor))
    with temporary_folder("input_limits") as folder:
        ask(options, hands, reader_of(predictor, folder), answers)
    lines = report(shifts_of(hands, answers))
    with atomic_write(options.out) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    cli.summary(*lines, wrote=options.out)


def validation_hands(
    layout: Layout, count: int, rng: np.random.Generator
) -> list[Hand]:
    """At most `count` hands of the validation part, drawn at random, in two halves.

    Raises:
        InputError: there are fewer than two.
    """
    cohort = table.read_cohort(layout.train_csv)
    parts = table.read_split(layout.split_csv) if layout.split_csv.exists() else {}
    is_usable = [
        parts.get(i) == "validation" and layout.radiograph(i).exists()
        for i in cohort.ids.tolist()
    ]
    places = rng.permutation(np.flatnonzero(is_usable))[:count]
    if len(places) < 2:
        raise InputError(
            f"{layout.split_csv} must name two validation radiographs or more (got "
            f"{len(places)} in {layout.radiographs}); choose the --data that the "
            "models were trained on"
        )
    return [
        Hand(
            cohort.ids.tolist()[place],
            "male" if cohort.is_male[place] else "female",
            number % 2 == 1,
        )
        for number, place in enumerate(places)
    ]


def shrink(image: np.ndarray, length_px: float, hand_px: float) -> np.ndarray:
    """Shrink a radiograph whose hand is `hand_px` long so that it is `length_px`."""
    scale = min(1.0, length_px / hand_px)
    size = [max(1, round(side * scale)) for side in image.shape[::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def blur(image: np.ndarray, share: float, hand_px: float) -> np.ndarray:
    """Blur by a Gaussian whose deviation is a share of the hand's length."""
    return cv2.GaussianBlur(image, (0, 0), share * hand_px)


WAYS: dict[str, tuple[Callable[..., np.ndarray], tuple[float, float]]] = {
    LENGTH: (shrink, LENGTHS_PX),
    BLUR: (blur, BLURS),
}


def variants_of(seed: int, hand: Hand, count: int) -> list[tuple[str, float]]:
    """What is done to a hand; evenly spread over the logarithm, the same every time."""
    rng = np.random.default_rng([seed, zlib.crc32(str(hand.radiograph_id).encode())])
    drawn = []
    for way, (_, (low, high)) in WAYS.items():
        # one in each of `count` equal parts
        places = (np.arange(count) + rng.random(count)) / count
        drawn += [(way, float(low * (high / low) ** place)) for place in places]
    return drawn


def ask(
    options: Options, hands: Sequence[Hand], read: Reader, answers: AnswerTable
) -> None:
    """Add the answers that are missing; hands that are not found stay as they are."""
    total = len(hands) * (1 + options.variants * len(WAYS))
    with tqdm(total=total, disable=None) as bar:
        for hand in hands:
            image = radiographs.read(options.layout.radiograph(hand.radiograph_id))
            plain = Question(GROUP, str(hand.radiograph_id))
            if plain not in answers.answers:
                answers.add(plain, read(image, hand.sex))
            bar.update()
            hand_px = answers.answers[plain].length_px
            for way, strength in variants_of(options.seed, hand, options.variants):
                bar.update()
                question = plain._replace(alteration=way, strength=f"{strength:.5g}")
                if question in answers.answers or not np.isfinite(hand_px):
                    continue
                altered = WAYS[way][0](image, strength, hand_px)
                answers.add(question, read(altered, hand.sex))


def shifts_of(hands: Sequence[Hand], answers: AnswerTable) -> pd.DataFrame:
    """A row an answer: `id,is_check,way,length_px,sharpness,shift`.

    way: length, blur, or "" for the unaltered. shift: absolute change of the answer in
    months, NaN where no hand was found.
    """
    is_check = {str(hand.radiograph_id): hand.is_check for hand in hands}
    rows = []
    for question, answer in answers.answers.items():
        if question.name in is_check:
            plain = answers.answers[Question(GROUP, question.name)]
            rows.append(
                (
                    question.name,
                    is_check[question.name],
                    question.alteration,
                    answer.length_px,
                    answer.sharpness,
                    abs(answer.months - plain.months),
                )
            )
    columns = ["id", "is_check", "way", "length_px", "sharpness", "shift"]
    return pd.DataFrame(rows, columns=columns)


def limit(
    values: np.ndarray, shifts: np.ndarray, edges: Sequence[float], months: float
) -> float:
    """The lowest edge above which no bin's mean shift is `months` or more.

    Bins with fewer than FEWEST answers say nothing. What lies above the last edge is a
    bin, too. NaN where even that bin costs as much, or none has answers enough.
    """
    lowest = float("nan")
    for low, high in zip(edges[::-1], [np.inf, *edges[:0:-1]], strict=True):
        inside = shifts[(values >= low) & (values < high)]
        if len(inside) < FEWEST:
            continue
        if inside.mean() >= months:
            break
        lowest = float(low)
    return lowest


def report(shifts: pd.DataFrame) -> list[str]:
    """The limits, how they do on the other half, and the bins, in Markdown."""
    lines: list[str] = []
    answered = shifts[np.isfinite(shifts["shift"])]
    for way, measure in MEASURES.items():
        own = answered[answered.way == way]
        fit, check = own[~own.is_check], own[own.is_check]
        warn, refuse = (
            limit(
                fit[measure.column].to_numpy(),
                fit["shift"].to_numpy(),
                measure.edges,
                months,
            )
            for months in (WARN_MONTHS, REFUSE_MONTHS)
        )
        plain = shifts[(shifts.way == "") & shifts.is_check][measure.column]
        lost = int((shifts.way == way).sum() - len(own))
        lines += [
            *("", f"## By {measure.name}", ""),
            *limit_lines(measure, warn, refuse),
            *(f"- {line}" for line in check_lines(check, measure.column, warn, refuse)),
            f"- unaltered hands of the other half below the warn limit: "
            f"{int((plain < warn).sum())} of {len(plain)}",
            f"- no hand found, or no answer: {lost} of {lost + len(own)}",
            "",
            *bin_lines(fit, check, measure),
        ]
    return lines[1:]


def limit_lines(measure: Measure, warn: float, refuse: float) -> list[str]:
    """The derived limits beside the constants."""
    lines = []
    for name, value in zip(measure.constants, (warn, refuse), strict=True):
        derived = f"{value:.{measure.decimals}f} derived"
        if np.isnan(value):
            derived = "none derived (too few answers, or all of them far off)"
        in_use = f"{getattr(image_quality, name):.{measure.decimals}f} in use"
        lines.append(f"- `{name}`: {derived}, {in_use}")
    return lines


def check_lines(
    check: pd.DataFrame, column: str, warn: float, refuse: float
) -> list[str]:
    """What the answers of the other half are like between the limits."""
    values = check[column]
    zones = {
        "answered": values >= warn,
        "warned of": (values < warn) & (values >= refuse),
        "refused": values < refuse,
    }
    lines = []
    for name, inside in zones.items():
        own = check["shift"][inside]
        line = f"other half, {name}: {len(own)} answers"
        if len(own):
            far = int((own >= REFUSE_MONTHS).sum())
            line += f", mean shift {own.mean():.1f} months, {far} of 24 months or more"
        lines.append(line)
    return lines


def bin_lines(fit: pd.DataFrame, check: pd.DataFrame, measure: Measure) -> list[str]:
    """A row a bin: answers and mean shift of both halves."""
    lines = [
        f"| {measure.name} from | answers | mean shift | other half: answers "
        "| mean shift |",
        "|---:|---:|---:|---:|---:|",
    ]
    edges = (0.0, *measure.edges)
    for low, high in zip(edges, [*edges[1:], np.inf], strict=True):
        cells = [f"{low:.{measure.decimals}f}"]
        for half in (fit, check):
            inside = half["shift"][half[measure.column].between(low, high, "left")]
            cells += [str(len(inside)), f"{inside.mean():.1f}" if len(inside) else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    cli.run(main, Options)
