"""step1 on a full-size radiograph, beside the first implementation's algorithm."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from skimage import filters, measure

from benchmarks.timing import MOST, Goal, Row, Size, medians
from boneage.io import radiographs
from boneage.segmentation import coarse


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
    hand = cv2.bitwise_and(radiograph, radiograph, mask=mask)
    for name, image in (("hand.png", hand), ("mask.png", mask)):
        # a file that is replaced is flushed to the disk, a new one is not
        (folder / name).unlink(missing_ok=True)
        radiographs.write(folder / name, image)


def compare(size: Size) -> list[Row]:
    """Time both on one radiograph and one core; the floor is decoding it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "radiograph.png"
        # as libpng compresses it, like radiographs that come from elsewhere
        cv2.imwrite(str(path), size.full_size())
        cv2.setNumThreads(1)
        ours_s, baseline_s, floor_s = medians(
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
        baseline_s,
        "decoding its PNG",
        floor_s,
        Goal(MOST, 2.5),
    )
    return [row]
