"""step1 on a full-size radiograph, beside the first implementation's algorithm."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from skimage import filters, measure

from benchmarks.timing import Row, Size, medians
from boneage import phantom, radiographs
from boneage.segmentation import coarse

HEIGHT_PX = 2044
"""Median height of the RSNA originals."""


def first_implementation(path: Path, folder: Path) -> np.ndarray:
    """Brightness, Otsu, regionprops looped over coordinates, six Matplotlib PNGs."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    bright = np.clip(image.astype(float) * 5, 0, 255)
    binary = bright > filters.threshold_otsu(bright) * 0.9
    dilated = cv2.dilate(binary.astype(np.uint8), np.ones((5, 5), np.uint8))
    regions = measure.regionprops(measure.label(dilated))
    largest = max(regions, key=lambda region: region.area)
    mask = np.zeros(image.shape, np.uint8)
    for row, column in largest.coords:
        mask[row, column] = 255
    mask = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    stages = (image, bright, binary, dilated, mask, image * (mask > 0))
    for number, stage in enumerate(stages):
        figure = Figure()
        figure.subplots().imshow(stage, cmap="gray")
        figure.savefig(folder / f"{number}.png")
    return mask


def ours(path: Path, folder: Path) -> None:
    """What step1 does with one radiograph: read, cut, write mask and hand."""
    radiograph = radiographs.read(path)
    mask = coarse.coarse_mask(radiograph)
    hand = np.where(mask > 0, radiograph, 0).astype(radiograph.dtype)
    radiographs.write(folder / "hand.png", hand)
    radiographs.write(folder / "mask.png", mask)


def compare(size: Size) -> list[Row]:
    """Time both on one phantom of an original's size; the floor is decoding it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "radiograph.png"
        rng = np.random.default_rng(0)
        hand = phantom.simulate(rng, 120, True, size.of(HEIGHT_PX, 256))
        radiographs.write(path, hand.radiograph)
        cv2.setNumThreads(1)
        ours_s, rival_s, floor_s = medians(
            [
                lambda: ours(path, folder),
                lambda: first_implementation(path, folder),
                lambda: radiographs.read(path),
            ],
            size.rounds,
        )
        cv2.setNumThreads(-1)
    row = Row(
        "step1, one full-size radiograph",
        ours_s,
        "the first implementation",
        rival_s,
        "decoding its PNG",
        floor_s,
    )
    return [row]
