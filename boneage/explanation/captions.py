"""Captions, tiles and sheets around the overlays: (row, column, 3) uint8, RGB."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boneage.explanation import overlays

PAPER_RGB, INK_RGB, FAINT_RGB = (255, 255, 255), (34, 34, 34), (110, 110, 110)
CAPTION_PX, TILE_PX, TILE_CAPTION_PX, HEADER_PX = 92, 200, 44, 64


def signed(months: float) -> str:
    """Write an error with its sign, the true minus of typography."""
    return f"{round(float(months)):+d}".replace("-", "\N{MINUS SIGN}")


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Matplotlib's own font: there on every machine, unlike the system's
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size
    )


def with_caption(overlay: np.ndarray, facts: dict, limit_months: float) -> np.ndarray:
    """Put who, true and predicted age and the colour scale under an overlay."""
    width = overlay.shape[1]
    caption = Image.new("RGB", (width, CAPTION_PX), PAPER_RGB)
    draw = ImageDraw.Draw(caption)
    draw.text((10, 6), f"{facts['id']}  {facts['sex']}", INK_RGB, _font(17, True))
    true = "unknown"
    if not np.isnan(facts["true_months"]):
        true = f"{facts['true']} ({facts['true_months']:.0f} months)"
        error = f"error {facts['error']}"
        draw.text((width - 10, 7), error, INK_RGB, _font(15), anchor="ra")
    predicted = f"{facts['predicted']} ({facts['predicted_months']:.0f})"
    draw.text((10, 33), f"true {true},  predicted {predicted}", INK_RGB, _font(15))
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
    bar = overlays.colour_bar(max(width - left_width - right_width, 20), 12)
    draw.text((left, top), ends[0], FAINT_RGB, font)
    paper.paste(Image.fromarray(bar), (left + left_width, top + 1))
    draw.text((left + width, top), ends[1], FAINT_RGB, font, anchor="ra")


def signed_limit(months: float) -> str:
    """Write an end of the colour scale: +20, or +0.5 where it is that small."""
    return f"{months:+g}".replace("-", "\N{MINUS SIGN}")


def tile(overlay: np.ndarray, first: str, second: str) -> np.ndarray:
    """Shrink an overlay to TILE_PX, and put two lines under it."""
    size = (TILE_PX, TILE_PX)
    overlay = cv2.resize(overlay, size, interpolation=cv2.INTER_AREA)
    caption = Image.new("RGB", (TILE_PX, TILE_CAPTION_PX), PAPER_RGB)
    draw = ImageDraw.Draw(caption)
    draw.text((2, 4), first, INK_RGB, _font(13, True))
    draw.text((2, 22), second, INK_RGB, _font(12))
    return np.vstack([overlay, np.asarray(caption)])


def mosaic(
    tiles: list[np.ndarray],
    header: str,
    limit_months: float,
    columns: int | None = None,
) -> np.ndarray:
    """Lay tiles in rows under a header with the colour scale; even sides, for video.

    columns: tiles in a row; by default a little more than rows.
    """
    gap = 8
    if columns is None:
        # never narrower than the header
        wide = max(int(np.ceil((len(tiles) * 1.6) ** 0.5)), 3)
        columns = min(wide, max(len(tiles), 3))
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
