"""Contact sheets: overlays in rows under a header; (row, column, 3) uint8, RGB."""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from boneage.explanation.captions import INK_RGB, PAPER_RGB, draw_scale, font

TILE_PX, TILE_CAPTION_PX, HEADER_PX, GAP_PX = 200, 44, 64, 8


def tile(overlay: np.ndarray, first: str, second: str) -> np.ndarray:
    """Shrink an overlay to TILE_PX and put two lines of text under it."""
    size = (TILE_PX, TILE_PX)
    overlay = cv2.resize(overlay, size, interpolation=cv2.INTER_AREA)
    caption = Image.new("RGB", (TILE_PX, TILE_CAPTION_PX), PAPER_RGB)
    draw = ImageDraw.Draw(caption)
    draw.text((2, 4), first, INK_RGB, font(13, True))
    draw.text((2, 22), second, INK_RGB, font(12))
    return np.vstack([overlay, np.asarray(caption)])


def mosaic(
    tiles: list[np.ndarray],
    header: str,
    limit_months: float,
    columns: int | None = None,
) -> np.ndarray:
    """Arrange tiles in rows under a header and the colour scale.

    tiles: of `tile`. limit_months: where the colour scale ends. columns: tiles in a
    row; by default a little more than rows. Both sides are even, as video needs them.
    """
    if columns is None:
        # as wide as the header at least
        wide = max(int(np.ceil((len(tiles) * 1.6) ** 0.5)), 3)
        columns = min(wide, max(len(tiles), 3))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    side = (columns * (width + GAP_PX) + GAP_PX, HEADER_PX + rows * (height + GAP_PX))
    paper = Image.new("RGB", side, PAPER_RGB)
    ImageDraw.Draw(paper).text((GAP_PX, 10), header, INK_RGB, font(14, True))
    draw_scale(paper, GAP_PX, 36, min(side[0] - 2 * GAP_PX, 520), limit_months)
    for number, picture in enumerate(tiles):
        row, column = divmod(number, columns)
        corner = (
            GAP_PX + column * (width + GAP_PX),
            HEADER_PX + row * (height + GAP_PX),
        )
        paper.paste(Image.fromarray(picture), corner)
    return np.asarray(paper)
