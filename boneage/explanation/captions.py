"""The caption of a picture: who it is, the ages, and the colour scale."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boneage.explanation import overlays

PAPER_RGB, INK_RGB, FAINT_RGB = (255, 255, 255), (34, 34, 34), (110, 110, 110)
CAPTION_PX = 92


def signed(months: float) -> str:
    """Format an error in months with its sign, a typographic minus."""
    return f"{round(float(months)):+d}".replace("-", "\N{MINUS SIGN}")


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font, which every machine has, unlike those of the system."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size
    )


def with_caption(overlay: np.ndarray, facts: dict, limit_months: float) -> np.ndarray:
    """Put id, sex, true and predicted age and the colour scale under an overlay.

    overlay: (row, column, 3) uint8, RGB. facts: id, sex, true, predicted, error (text),
    true_months, predicted_months. limit_months: where the colour scale ends.
    """
    width = overlay.shape[1]
    caption = Image.new("RGB", (width, CAPTION_PX), PAPER_RGB)
    draw = ImageDraw.Draw(caption)
    draw.text((10, 6), f"{facts['id']}  {facts['sex']}", INK_RGB, font(17, True))
    true = "unknown"
    if not np.isnan(facts["true_months"]):
        true = f"{facts['true']} ({facts['true_months']:.0f} months)"
        error = f"error {facts['error']}"
        draw.text((width - 10, 7), error, INK_RGB, font(15), anchor="ra")
    predicted = f"{facts['predicted']} ({facts['predicted_months']:.0f})"
    draw.text((10, 33), f"true {true},  predicted {predicted}", INK_RGB, font(15))
    draw_scale(caption, 10, 64, width - 20, limit_months)
    return np.vstack([overlay, np.asarray(caption)])


def draw_scale(
    paper: Image.Image, left: int, top: int, width: int, limit_months: float
) -> None:
    """Draw the colour bar with labels at its ends, `width` px in all."""
    draw, small = ImageDraw.Draw(paper), font(12)
    ends = (
        f"looks younger  {signed_limit(-limit_months)}",
        f"{signed_limit(limit_months)} months  looks older",
    )
    left_width, right_width = (int(draw.textlength(end, small)) + 8 for end in ends)
    bar = overlays.colour_bar(max(width - left_width - right_width, 20), 12)
    draw.text((left, top), ends[0], FAINT_RGB, small)
    paper.paste(Image.fromarray(bar), (left + left_width, top + 1))
    draw.text((left + width, top), ends[1], FAINT_RGB, small, anchor="ra")


def signed_limit(months: float) -> str:
    """Format an end of the colour scale: +20, or +0.5 where it is that small."""
    return f"{months:+g}".replace("-", "\N{MINUS SIGN}")
