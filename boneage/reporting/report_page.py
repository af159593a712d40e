"""One page about one radiograph: age, interval, warnings, maps, and the models."""

from __future__ import annotations

import datetime
import functools
import math
import textwrap
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from boneage.explanation import overlays
from boneage.explanation.captions import signed_limit
from boneage.plotting import FAINT, INK, STYLE, save
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT, Prediction
from boneage.reporting import formats

FALLBACK_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Noto Sans Arabic"),
    *("Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "IPAGothic"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS", "Yu Gothic"),
    *("Microsoft YaHei", "Malgun Gothic", "PingFang SC", "Hiragino Sans"),
)
"""For names in scripts that Matplotlib's own font lacks, where one is installed."""
PAGE_STYLE = STYLE | {
    "figure.constrained_layout.use": False,
    # a file's name may have two dollar signs
    "text.parse_math": False,
}
A4_INCHES = (8.27, 11.69)
OUTLINE_RGB = (255, 214, 0)
RADIOGRAPH_PX = 900
"""Longer side on the page: more is not seen in print."""
WARNING = "#B04A00"
OLDEST_YEARS = 20
MAP_WORDS = {
    "exact": "how much older or younger each place makes the hand look than the mean "
    "place does; all places together add up to the prediction.",
    "occlusion": "how far the prediction moves when a place is blurred; a place makes "
    "the hand look older if it looks younger without it.",
}
"""What each kind of map says, by its name in `saliency.MAPS`."""
SMALL_POINTS = 7.5
LINE = 1.35
"""Of small text, times its size."""


def write(path: Path, prediction: Prediction, predictor: Predictor) -> None:
    """Write the page, as PNG or PDF by the suffix."""
    with matplotlib.rc_context(PAGE_STYLE | {"font.family": list(_fonts())}):
        save(draw(prediction, predictor), path)


def picture(prediction: Prediction, predictor: Predictor) -> np.ndarray:
    """The page as (row, column, 3) uint8, RGB."""
    with matplotlib.rc_context(PAGE_STYLE | {"font.family": list(_fonts())}):
        canvas = FigureCanvasAgg(draw(prediction, predictor))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw(prediction: Prediction, predictor: Predictor) -> Figure:
    """Lay the page out, A4 upright; without scale and maps where no age is reported."""
    figure = Figure(A4_INCHES)
    figure.text(0.07, 0.955, "Bone age", size=11, color=FAINT)
    heading = formats.format_prediction(prediction)
    figure.text(0.07, 0.918, heading, size=24, weight="bold")
    about = f"{_shortened(Path(prediction.file).name)}, sex {prediction.sex}"
    place = 0.893
    if not prediction.refusal:
        figure.text(0.07, place, formats.format_interval(prediction), size=11)
        about += f"; interval from {prediction.calibration_group}"
    for number, line in enumerate(formats.child_lines(prediction)):
        place -= 0.02
        size = 8.5 if number else 9.5
        line = _shortened(line[0].upper() + line[1:], 118)
        figure.text(0.07, place, line, size=size)
    for line in filter(None, [about, prediction.local_calibration]):
        place -= 0.02
        figure.text(0.07, place, line, size=8.5, color=FAINT)
    if prediction.refusal:
        below = place - 0.013
    else:
        _scale(figure, prediction, place - 0.053)
        below = place - 0.083
    below = _warnings(figure, prediction, below)
    below = _pictures(figure, prediction, below)
    _facts(figure, prediction, predictor, below)
    figure.text(0.5, 0.025, STATEMENT.capitalize() + ".", ha="center", weight="bold")
    today = f"{datetime.date.today():%Y-%m-%d}"
    figure.text(0.93, 0.025, today, ha="right", size=8, color=FAINT)
    for text in [*figure.texts, *(axes.title for axes in figure.axes)]:
        text.set_text(drawable(text.get_text()))
    return figure


def drawable(text: str) -> str:
    r"""The text with an escape, such as `\u3042`, for what no installed font has."""
    known = _drawable_characters()
    return "".join(
        character
        if character == "\n" or ord(character) in known
        else character.encode("ascii", "backslashreplace").decode()
        for character in text
    )


@functools.cache
def _fonts() -> tuple[str, ...]:
    """Matplotlib's own font, then those for other scripts that are installed."""
    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed))


@functools.cache
def _drawable_characters() -> frozenset[int]:
    fonts = [get_font(findfont(FontProperties(name))) for name in _fonts()]
    return frozenset(code for font in fonts for code in font.get_charmap())


def _scale(figure: Figure, prediction: Prediction, bottom: float) -> None:
    """Draw interval, each run's prediction and the child's age on a scale of years."""
    axes = figure.add_axes((0.07, bottom, 0.86, 0.035))
    chronological = prediction.chronological_age_months / 12
    lower, upper = prediction.lower_months / 12, prediction.upper_months / 12
    if not math.isnan(lower):
        axes.plot([lower, upper], [0, 0], color="#9CC3DD", lw=9, solid_capstyle="butt")
    words = "years: bone age, interval"
    if len(prediction.months_by_run) > 1:
        words = "years: average of the runs, each run (|), interval"
        for months in prediction.months_by_run.values():
            axes.plot(months / 12, 0, "|", color=INK, ms=9, mew=1)
    axes.plot(prediction.bone_age_months / 12, 0, "o", color="#0072B2", ms=7)
    oldest = OLDEST_YEARS
    if not math.isnan(chronological):
        axes.plot(chronological, 0.62, "v", color=WARNING, ms=7, clip_on=False)
        words += ", chronological age (\N{BLACK DOWN-POINTING TRIANGLE})"
        oldest = max(oldest, 2 * math.ceil(chronological / 2))
    axes.set(xlim=(0, oldest), ylim=(-1, 1), yticks=[])
    axes.set_xticks(range(0, oldest + 1, 2))
    axes.set_xlabel(words, size=8)
    axes.tick_params(labelsize=8)
    axes.spines["left"].set_visible(False)


def _warnings(figure: Figure, prediction: Prediction, top: float) -> float:
    """Write a refusal and the warnings; returns where the page is free below them."""
    lines = [f"Warning: {warning}" for warning in prediction.warnings]
    if prediction.refusal:
        lines.insert(0, f"Refused: {prediction.refusal}")
    text = "\n".join(
        textwrap.fill(line, 108, subsequent_indent="    ") for line in lines
    )
    if not text:
        return top - 0.005
    figure.text(
        0.07, top - 0.018, text, size=9, color=WARNING, va="top", linespacing=1.3
    )
    return top - 0.025 - 0.0148 * (text.count("\n") + 1)


def _pictures(figure: Figure, prediction: Prediction, top: float) -> float:
    """The radiograph with the mask's outline; beside it each run's map on its hand.

    Returns where the page is free below them.
    """
    space, middle, title = top - 0.245, 0.5, 0.025
    radiograph = outlined(prediction.radiograph, prediction.mask)
    room = (0.07, top, middle - 0.09, space)
    bottoms = [
        _show(figure, room, radiograph, "Radiograph with the outline of the hand")
    ]
    explanations = prediction.explanations
    if not explanations:
        return min(bottoms) - 0.02
    maps = np.stack([explanation.map_months for explanation in explanations.values()])
    limit_months = overlays.colour_limit(maps)
    count = len(explanations)
    columns = 1 if count < 3 else 2
    points, longest, unit = (8.5, 38, " months") if columns == 1 else (7, 24, "")
    width, height = (0.93 - middle) / columns, space / -(-count // columns)
    for number, (name, explanation) in enumerate(explanations.items()):
        if number and number % columns == 0:
            top = min(bottoms[-columns:]) - title / 2
        left = middle + number % columns * width
        room = (left, top, width - 0.015 * (columns - 1), height)
        words = (
            f"{_shortened(name, longest)}: {prediction.months_by_run[name]:.0f}{unit}"
        )
        image = overlays.overlay(explanation.hand, explanation.map_months, limit_months)
        bottoms.append(_show(figure, room, image, words, points))
    below = min(bottoms) - title
    bar = figure.add_axes((0.39, below, 0.25, 0.009), xticks=[], yticks=[])
    bar.imshow(overlays.colour_bar(256, 8), aspect="auto")
    bar.set_axis_off()
    ends = (
        (0.38, "right", f"maps: looks younger {signed_limit(-limit_months)}"),
        (0.65, "left", f"{signed_limit(limit_months)} months, looks older"),
    )
    for place, side, words in ends:
        figure.text(place, below + 0.001, words, ha=side, size=8, color=FAINT)
    return below - 0.02


def _show(
    figure: Figure,
    room: tuple[float, float, float, float],
    image: np.ndarray,
    title: str,
    points: float = 8.5,
) -> float:
    """Draw a picture at the upper left of `room` (left, top, width, height).

    Returns its lower end: it is as large as its proportions let it be.
    """
    left, top, width, height = room
    top, height = top - 0.025, height - 0.025
    wide, tall = A4_INCHES
    scale = min(width * wide / image.shape[1], height * tall / image.shape[0])
    height = image.shape[0] * scale / tall
    box = (left, top - height, image.shape[1] * scale / wide, height)
    axes = figure.add_axes(box, xticks=[], yticks=[])
    axes.imshow(image)
    axes.set_title(title, size=points)
    axes.set_axis_off()
    return top - height


def outlined(radiograph: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The radiograph, shrunk, with the mask's outline: (row, column, 3) uint8, RGB."""
    scale = min(1.0, RADIOGRAPH_PX / max(radiograph.shape))
    size = [max(1, round(side * scale)) for side in radiograph.shape[::-1]]
    grey = cv2.resize(radiograph, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    contours, _ = cv2.findContours(
        np.where(small > 127, 255, 0).astype(np.uint8),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_NONE,
    )
    width_px = max(1, round(max(size) / 300))
    rgb = np.ascontiguousarray(np.repeat(grey[..., np.newaxis], 3, axis=2))
    return cv2.drawContours(rgb, contours, -1, OUTLINE_RGB, width_px, cv2.LINE_AA)


def _facts(
    figure: Figure, prediction: Prediction, predictor: Predictor, top: float
) -> None:
    """How to read the maps, and how accurate the models are on test hands."""
    shown = list(prediction.explanations.values())
    rows = []
    if shown:
        cells = sorted({explanation.cells for explanation in shown})
        rows += [
            f"Maps ({shown[0].kind}): {MAP_WORDS[shown[0].kind]} They have "
            f"{' or '.join(map(str, cells))} cells a side on the square image that "
            "the network sees, and what lies between is interpolated: they show no "
            "anatomy. Each page has its own scale.",
            "The months above a map are the mean over all views of the hand; the map "
            "is that of the unchanged view.",
            "",
        ]
    for candidate in predictor.candidates:
        if candidate.name not in prediction.months_by_run:
            continue
        facts = formats.run_facts(candidate)
        error = facts["test_mae_months"]
        name, backbone = _shortened(candidate.name, 30), facts["backbone"]
        trained_on = facts["training_data"] or f"{facts['training_hands']} hands"
        rows.append(
            (name if name == backbone else f"{name}: {backbone}")
            + f", {facts['image_size_px']} px; trained on {_shortened(trained_on, 400)}"
            + ("; not tested" if error is None else f"; test MAE {error:.1f} months")
            + f"; commit {(facts['git_commit'] or 'unknown')[:9]}"
        )
    rows += formats.accuracy_lines(predictor, prediction.sex)
    if prediction.local_calibration:
        rows.append("Test figures are those before the calibration.")
    text = "\n".join(textwrap.fill(row, 126, subsequent_indent="    ") for row in rows)
    line = SMALL_POINTS * LINE / 72 / A4_INCHES[1]
    # many runs take more lines than the foot of the page has
    fits = (top - 0.06) / line / (text.count("\n") + 1)
    size = SMALL_POINTS * min(1.0, fits)
    figure.text(0.07, top, text, size=size, va="top", linespacing=LINE)


def _shortened(text: str, length: int = 60) -> str:
    if len(text) <= length:
        return text
    half = (length - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
