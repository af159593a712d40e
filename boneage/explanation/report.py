"""What step6 leaves of a run: overlays, a contact sheet, a page and a video."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from boneage import radiographs
from boneage.cli import list_some
from boneage.cohort import Cohort
from boneage.explanation import activation_maps, figures
from boneage.explanation.activation_maps import DISPLAY_PX, Explanation, Grid, Panel
from boneage.files import InputError, replacing
from boneage.hdf5 import Packed
from boneage.regression import agreement
from boneage.regression.batches import Hands
from boneage.regression.runs import Run

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE_MONTHS = 1.0
"""Half-precision arithmetic moves a prediction by less."""
PAPER_RGB, INK_RGB, FAINT_RGB = (255, 255, 255), (34, 34, 34), (110, 110, 110)
CAPTION_PX, TILE_PX, TILE_CAPTION_PX, HEADER_PX = 92, 200, 44, 64
CONTROLS_PX = 56
"""Free space under a video, where browsers lay their buttons."""
MOST_TILES = 120
"""On one contact sheet; more would be a poster."""
CODECS = {".webm": "VP80", ".mp4": "mp4v"}
"""Suffix -> codec, the best first: browsers play VP8, and OpenCV has no H.264."""


@dataclass(frozen=True)
class Gallery:
    """Hands with their maps, shown on one scale.

    hands: the N hands, their ages known. explanation: of the same N. grid: where the
    maps' cells lie.
    """

    hands: Hands
    explanation: Explanation
    grid: Grid

    @property
    def errors_months(self) -> np.ndarray:
        """Predicted less true, (N,)."""
        return self.explanation.predicted_months - self.hands.cohort.bone_age_months


def write_run(run: Run, packed: Packed, ids: np.ndarray, batch_size: int) -> list[str]:
    """Explain hands of a run and write its whole `cam` folder.

    Args:
        run: a finished run: model.keras and predictions.csv; cam_history.h5 becomes
            a video.
        packed: segment_all.h5.
        ids: (N,), among the run's predictions, N > 0.
        batch_size: hands a forward pass.

    Returns:
        Notes for the user: what to know before trusting the pictures.

    Raises:
        InputError: a hand or its prediction is missing, or the network.
    """
    predictions = run.read_predictions().set_index("id")
    hands = _hands_of(run, predictions, packed, ids)
    explainer = activation_maps.Explainer(run.load_model())
    explanation = activation_maps.explain_hands(explainer, hands, batch_size, run.name)
    video = None
    if run.cam_history.is_file():
        panel = activation_maps.read_panel(run.cam_history)
        shown = _hands_of(run, predictions, packed, panel.ids)
        video = write_evolution(run.cam, run.name, shown, panel, explainer.grid)
    write(run.cam, run.name, Gallery(hands, explanation, explainer.grid), video)
    notes = []
    said = predictions.predicted_months.loc[ids].to_numpy()
    changed = int(
        (np.abs(explanation.predicted_months - said) > TOLERANCE_MONTHS).sum()
    )
    if changed:
        notes.append(
            f"{run.predictions}: {changed} of {len(ids)} predictions are others now: "
            "the hands or the network changed since; train the run again"
        )
    cells = explanation.maps.shape[1]
    if cells < 3:
        notes.append(
            f"{run.name}: the maps have {cells} x {cells} cells at "
            f"{explainer.image_size} px and show little; train on larger images"
        )
    return notes


def _hands_of(
    run: Run, predictions: pd.DataFrame, packed: Packed, ids: np.ndarray
) -> Hands:
    absent = np.setdiff1d(ids, predictions.index)
    if len(absent):
        raise InputError(
            f"{run.predictions}: no prediction of id {list_some(absent.tolist())}"
        )
    absent = np.setdiff1d(ids, packed.ids)
    if len(absent):
        raise InputError(
            f"segment_all.h5: {len(absent)} of {len(ids)} hands are not in it (id "
            f"{list_some(absent.tolist())}); run "
            "al_segmentation/step3_gen_segmentation_with_enhance.py first"
        )
    rows = predictions.loc[ids]
    ages, is_male = rows.bone_age_months.to_numpy(), rows.is_male.to_numpy(bool)
    return Hands(packed, packed.rows_of(ids), Cohort(np.asarray(ids), ages, is_male))


def write(
    folder: Path, title: str, gallery: Gallery, evolution: Path | None = None
) -> None:
    """Write `<id>.png`, contact_sheet.png and index.html of a gallery.

    Overlays of hands that are not in the gallery are removed: everything in the
    folder is of one network and one colour scale.

    Args:
        folder: models/regression/<run>/cam.
        title: names the network and the part.
        gallery: what is shown.
        evolution: the video in the same folder, when there is one.
    """
    for stale in folder.glob("*.png"):
        if stale.stem.isdecimal() and int(stale.stem) not in gallery.hands.cohort.ids:
            stale.unlink()
    deviations = gallery.explanation.deviations()
    limit_months = figures.limit_of(deviations)
    on_sheet = set(agreement.spanning(gallery.errors_months, MOST_TILES).tolist())
    tiles = []
    for number in tqdm(np.argsort(gallery.hands.cohort.bone_age_months), "drawing"):
        facts = _facts(gallery, number)
        overlay = figures.overlay(
            gallery.hands.image(number, DISPLAY_PX),
            gallery.grid.upsample(deviations[number]),
            limit_months,
        )
        picture = _with_caption(overlay, facts, limit_months)
        radiographs.write(folder / f"{facts['id']}.png", picture[..., ::-1])
        if number in on_sheet:
            small = cv2.resize(
                overlay, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA
            )
            line = f"{facts['true']} \N{RIGHTWARDS ARROW} {facts['predicted']}"
            tiles.append(_tile(small, f"{facts['id']}  {facts['sex']}", line))
    count = len(gallery.hands)
    shown = f"{len(tiles)} of {count}" if len(tiles) < count else str(count)
    header = f"{title}: {shown} hands by true age; true \N{RIGHTWARDS ARROW} predicted"
    sheet = _mosaic(tiles, header, limit_months)
    radiographs.write(folder / "contact_sheet.png", sheet[..., ::-1])
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(
            _page(title, gallery, limit_months, evolution), encoding="utf-8"
        )


def write_evolution(
    folder: Path,
    title: str,
    hands: Hands,
    panel: Panel,
    grid: Grid,
    frames_per_second: int = 4,
) -> Path:
    """Write the panel's maps over the epochs as a video, `evolution.webm`.

    The colours have the scale of the last epoch; it stays for two seconds.

    Args:
        folder: where to.
        title: names the network.
        hands: those of the panel, in its order.
        panel: what `activation_maps.read_panel` gives.
        grid: where the maps' cells lie.
        frames_per_second: epochs a second.

    Returns:
        The file: `.mp4` where OpenCV was built without VP8.

    Raises:
        InputError: OpenCV can write neither.
    """
    limit_months = figures.limit_of(_deviations(panel.maps[-1]))
    cohort = hands.cohort
    images = [hands.image(index, TILE_PX) for index in range(len(hands))]

    def frame(number: int) -> np.ndarray:
        tiles = []
        for hand, image in enumerate(images):
            deviation = _deviations(panel.maps[number, hand][np.newaxis])[0]
            overlay = figures.overlay(
                image, grid.upsample(deviation, TILE_PX), limit_months
            )
            true = cohort.bone_age_months[hand]
            said = years_and_months(panel.predicted_months[number, hand])
            line = f"{years_and_months(true)} \N{RIGHTWARDS ARROW} {said}"
            sex = "male" if cohort.is_male[hand] else "female"
            tiles.append(_tile(overlay, f"{panel.ids[hand]}  {sex}", line))
        header = f"{title}: epoch {panel.epochs[number]}; true \N{RIGHTWARDS ARROW} "
        picture = _mosaic(tiles, header + "predicted", limit_months)
        below = ((0, CONTROLS_PX), (0, 0), (0, 0))
        return np.pad(picture, below, constant_values=255)

    suffix, codec = _video_format()
    path = folder / f"evolution{suffix}"
    last = len(panel.epochs) - 1
    numbers = [*range(last + 1), *[last] * (2 * frames_per_second)]
    with replacing(path) as temporary:
        size = frame(0).shape[1::-1]
        video = _open_video(temporary, codec, frames_per_second, size)
        for number in tqdm(numbers, "filming"):
            video.write(np.ascontiguousarray(frame(number)[..., ::-1]))
        video.release()
    return path


def years_and_months(months: float) -> str:
    """Write an age as people say it: 106.4 -> "8 y 10 m"."""
    whole = round(abs(float(months)))
    sign = "\N{MINUS SIGN}" if months < -0.5 else ""
    return f"{sign}{whole // 12} y {whole % 12} m"


def signed(months: float) -> str:
    """Write an error with its sign, the true minus of typography."""
    return f"{round(float(months)):+d}".replace("-", "\N{MINUS SIGN}")


def _facts(gallery: Gallery, number: int) -> dict:
    cohort = gallery.hands.cohort
    true = float(cohort.bone_age_months[number])
    predicted = float(gallery.explanation.predicted_months[number])
    return {
        "id": int(cohort.ids[number]),
        "sex": "male" if cohort.is_male[number] else "female",
        "true": years_and_months(true),
        "predicted": years_and_months(predicted),
        "true_months": true,
        "predicted_months": predicted,
        "error_months": predicted - true,
        "error": signed(predicted - true),
    }


def _deviations(maps: np.ndarray) -> np.ndarray:
    return maps - maps.mean(axis=(-2, -1), keepdims=True)


# --- pictures: (row, column, 3) uint8, RGB -----------------------------------------


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Matplotlib's own font: there on every machine, unlike the system's
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size
    )


def _with_caption(overlay: np.ndarray, facts: dict, limit_months: float) -> np.ndarray:
    """Put who, true and predicted age and the colour scale under an overlay."""
    width = overlay.shape[1]
    caption = Image.new("RGB", (width, CAPTION_PX), PAPER_RGB)
    draw = ImageDraw.Draw(caption)
    draw.text((10, 6), f"{facts['id']}  {facts['sex']}", INK_RGB, _font(17, True))
    ages = (
        f"true {facts['true']} ({facts['true_months']:.0f} months),  "
        f"predicted {facts['predicted']} ({facts['predicted_months']:.0f})"
    )
    draw.text((10, 33), ages, INK_RGB, _font(15))
    error = f"error {facts['error']} months"
    draw.text((width - 10, 7), error, INK_RGB, _font(15), anchor="ra")
    _draw_scale(caption, 10, 64, width - 20, limit_months)
    return np.vstack([overlay, np.asarray(caption)])


def _draw_scale(
    paper: Image.Image, left: int, top: int, width: int, limit_months: float
) -> None:
    """Draw the colour bar with its ends named, in `width` px."""
    draw, font = ImageDraw.Draw(paper), _font(12)
    ends = (
        f"looks younger  {signed_limit(-limit_months)}",
        f"{signed_limit(limit_months)} months  looks older",
    )
    left_width, right_width = (int(draw.textlength(end, font)) + 8 for end in ends)
    bar = figures.colour_bar(max(width - left_width - right_width, 20), 12)
    draw.text((left, top), ends[0], FAINT_RGB, font)
    paper.paste(Image.fromarray(bar), (left + left_width, top + 1))
    draw.text((left + width, top), ends[1], FAINT_RGB, font, anchor="ra")


def signed_limit(months: float) -> str:
    """Write an end of the colour scale: +20, or +0.5 where it is that small."""
    return f"{months:+g}".replace("-", "\N{MINUS SIGN}")


def _tile(overlay: np.ndarray, first: str, second: str) -> np.ndarray:
    caption = Image.new("RGB", (TILE_PX, TILE_CAPTION_PX), PAPER_RGB)
    draw = ImageDraw.Draw(caption)
    draw.text((2, 4), first, INK_RGB, _font(13, True))
    draw.text((2, 22), second, INK_RGB, _font(12))
    return np.vstack([overlay, np.asarray(caption)])


def _mosaic(tiles: list[np.ndarray], header: str, limit_months: float) -> np.ndarray:
    """Lay tiles in rows under a header with the colour scale; even sides, for video."""
    gap = 8
    # a little wider than high, and never narrower than the header
    columns = min(max(int(np.ceil((len(tiles) * 1.6) ** 0.5)), 3), max(len(tiles), 3))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    side = (columns * (width + gap) + gap, HEADER_PX + rows * (height + gap))
    paper = Image.new("RGB", side, PAPER_RGB)
    ImageDraw.Draw(paper).text((gap, 10), header, INK_RGB, _font(14, True))
    _draw_scale(paper, gap, 36, min(side[0] - 2 * gap, 520), limit_months)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        corner = (gap + column * (width + gap), HEADER_PX + row * (height + gap))
        paper.paste(Image.fromarray(tile), corner)
    return np.asarray(paper)


# --- video -------------------------------------------------------------------------


def _open_video(
    path: Path, codec: str, frames_per_second: int, size: tuple[int, int]
) -> cv2.VideoWriter:
    with _quiet_stderr():
        fourcc = cv2.VideoWriter_fourcc(*codec)
        return cv2.VideoWriter(str(path), fourcc, frames_per_second, size)


def _video_format() -> tuple[str, str]:
    """Suffix and codec of CODECS that this OpenCV can write."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in CODECS.items():
            video = _open_video(Path(folder) / f"probe{suffix}", codec, 4, (64, 64))
            if video.isOpened():
                video.release()
                return suffix, codec
    raise InputError(
        "this OpenCV writes neither VP8 nor MPEG-4 video; install the package "
        "opencv-python-headless from PyPI"
    )


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Silence C libraries: FFmpeg prints a false alarm for VP8 in WebM."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# --- the page ----------------------------------------------------------------------


def _page(
    title: str, gallery: Gallery, limit_months: float, evolution: Path | None
) -> str:
    ends = figures.colour_bar(3, 1)[0]
    film = Template(FILM).substitute(source=evolution.name) if evolution else ""
    cards = [
        Template(CARD).substitute(_facts(gallery, number))
        for number in agreement.spanning(gallery.errors_months, len(gallery.hands))[
            ::-1
        ]
    ]
    return Template(PAGE).substitute(
        title=html.escape(title),
        count=len(cards),
        mae=f"{np.abs(gallery.errors_months).mean():.1f}",
        gradient=", ".join("rgb({}, {}, {})".format(*colour) for colour in ends),
        least=signed_limit(-limit_months),
        greatest=signed_limit(limit_months),
        link=LINK if evolution else "",
        evolution=film,
        cards="".join(cards),
    )


CARD = """
<figure data-id="$id" data-sex="$sex" data-age="$true_months"
        data-error="$error_months">
  <a href="$id.png"><img src="$id.png" width="512" height="512" loading="lazy"
    alt="Hand $id under its activation map, $sex, true $true, predicted $predicted"></a>
  <figcaption><b>$id</b> $sex <span>$error months</span><br>
    true $true, predicted $predicted</figcaption>
</figure>"""

LINK = """
<a href="#training">How the maps formed during training.</a>"""

FILM = """
<section>
  <h2 id="training">During training</h2>
  <p>The same hands after each epoch, on the scale of the last.</p>
  <video src="$source" controls loop muted playsinline></video>
</section>"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Activation maps: $title</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff;
         margin: 1.5rem auto; max-width: 90rem; padding: 0 1.5rem }
  h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
  p { max-width: 46rem; margin: .4rem 0 }
  .scale { display: flex; flex-wrap: wrap; gap: .2rem .6rem; margin: .8rem 0;
           align-items: center }
  .scale i { width: 14rem; height: .8rem;
             background: linear-gradient(to right, $gradient) }
  form { display: flex; flex-wrap: wrap; gap: .6rem .7rem; align-items: center;
         background: #fff; padding: .7rem 0; border-bottom: 1px solid #ccc }
  @media (min-width: 50rem) { form { position: sticky; top: 0; z-index: 1 } }
  select, input, button { font: inherit; padding: .15rem .35rem }
  input { width: 3rem }
  #hands { display: grid; gap: 1.1rem; margin-top: 1.1rem;
           grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)) }
  figure { margin: 0 } figure[hidden] { display: none }
  figure img { width: 100%; height: auto; aspect-ratio: 1; object-fit: cover;
               object-position: top; display: block; background: #000 }
  figcaption { padding-top: .3rem } figcaption span { float: right }
  a:focus-visible, select:focus-visible, input:focus-visible, button:focus-visible
    { outline: 3px solid #0072b2; outline-offset: 2px }
  video { max-width: 100%; border: 1px solid #ccc }
</style>
<h1>Activation maps: $title</h1>
<p>$count hands, mean absolute error among them $mae months. Each region gives an age of
its own, and the prediction is their mean. Orange: the region says older than the whole
hand; blue: younger; uncoloured: the same. What a region says also depends on its
surroundings. A click on a hand enlarges it.$link</p>
<div class="scale">looks younger $least <i></i> $greatest months looks older</div>
<form id="controls">
  <label>Sort by <select name="order">
    <option value="error -1">error, greatest first</option>
    <option value="error 1">error, least first</option>
    <option value="age 1">true age, youngest first</option>
    <option value="age -1">true age, oldest first</option>
    <option value="id 1">id</option>
  </select></label>
  <label>Sex <select name="sex">
    <option value="">both</option><option>male</option><option>female</option>
  </select></label>
  <span>True age <label>from <input name="youngest" type="number" min="0" step="any">
    </label> <label>to <input name="oldest" type="number" min="0" step="any"></label>
    years</span>
  <span>Error <label>from <input name="least" type="number" min="0" step="any">
    </label> <label>to <input name="greatest" type="number" min="0" step="any"></label>
    months</span>
  <button type="reset">Show all</button>
  <output name="count" aria-live="polite">$count of $count hands</output>
</form>
<main id="hands">$cards
</main>$evolution
<script>
  const form = document.getElementById("controls");
  const hands = document.getElementById("hands");
  const cards = Array.from(hands.querySelectorAll("figure"));
  const facts = new Map(cards.map(card => [card, {
    id: Number(card.dataset.id),
    sex: card.dataset.sex,
    age: Number(card.dataset.age),
    error: Math.abs(Number(card.dataset.error)),
  }]));
  const within = (value, from, to) =>
    (from === "" || value >= Number(from)) && (to === "" || value <= Number(to));

  function show() {
    const chosen = Object.fromEntries(new FormData(form));
    const [key, direction] = chosen.order.split(" ");
    cards.sort((a, b) => direction * (facts.get(a)[key] - facts.get(b)[key])
      || facts.get(a).id - facts.get(b).id);
    let count = 0;
    for (const card of cards) {
      const hand = facts.get(card);
      card.hidden = !((chosen.sex === "" || hand.sex === chosen.sex)
        && within(hand.age / 12, chosen.youngest, chosen.oldest)
        && within(hand.error, chosen.least, chosen.greatest));
      count += !card.hidden;
    }
    hands.append(...cards);
    form.elements.count.value = count + " of " + cards.length + " hands";
  }
  form.addEventListener("input", show);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  show();
</script>
</html>
"""
