"""A video of how the panel's activation maps formed during training."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from boneage.errors import InputError
from boneage.evaluation.ages import years_and_months
from boneage.explanation import activation_maps, contact_sheet, overlays
from boneage.explanation.activation_maps import Grid
from boneage.explanation.contact_sheet import TILE_PX
from boneage.explanation.panel import Panel
from boneage.io.files import atomic_write
from boneage.regression.dataset import HandDataset

CONTROLS_PX = 56
"""Blank space at the bottom of a video, over which browsers draw their controls."""
CODECS = {".webm": "VP80", ".mp4": "mp4v"}
"""Suffix -> codec, best first: browsers play VP8, and OpenCV has no H.264."""


def write_evolution(
    folder: Path,
    title: str,
    hands: HandDataset,
    panel: Panel,
    grid: Grid,
    frames_per_second: int = 4,
) -> Path:
    """Write the panel's maps over the epochs as a video, `evolution.webm`.

    All epochs share the colour scale of the last one, which stays for two seconds.

    Args:
        folder: folder of the video.
        title: name of the network.
        hands: the panel's hands, in its order.
        panel: of `panel.read_panel`.
        grid: where the maps' cells lie.
        frames_per_second: epochs per second.

    Returns:
        The file: `.mp4` where OpenCV was built without VP8.

    Raises:
        InputError: OpenCV cannot write video, or all maps are NaN.
    """
    # an epoch that diverged has no map to show
    is_finite = np.isfinite(panel.maps).all(axis=(1, 2, 3))
    if not is_finite.any():
        raise InputError(
            f"{folder} cannot have a video, because every epoch's maps are NaN; train "
            "the run again at a lower learning rate"
        )
    epochs, predicted = panel.epochs[is_finite], panel.predicted_months[is_finite]
    maps = activation_maps.centred_maps(panel.maps[is_finite])
    limit_months = overlays.colour_limit(maps[-1])
    cohort = hands.cohort
    images = [hands.image(index, TILE_PX) for index in range(len(hands))]

    def frame(number: int) -> np.ndarray:
        tiles = []
        for hand, image in enumerate(images):
            map_months = grid.upsample(maps[number, hand], TILE_PX)
            overlay = overlays.overlay(image, map_months, limit_months)
            true = years_and_months(cohort.bone_age_months[hand])
            line = (
                f"{true} \N{RIGHTWARDS ARROW} "
                f"{years_and_months(predicted[number, hand])}"
            )
            sex = "male" if cohort.is_male[hand] else "female"
            tiles.append(contact_sheet.tile(overlay, f"{panel.ids[hand]}  {sex}", line))
        header = f"{title}: epoch {epochs[number]}; true \N{RIGHTWARDS ARROW} "
        picture = contact_sheet.mosaic(tiles, header + "predicted", limit_months)
        blank = ((0, CONTROLS_PX), (0, 0), (0, 0))
        return np.pad(picture, blank, constant_values=255)

    suffix, codec = _video_format()
    path = folder / f"evolution{suffix}"
    last = len(epochs) - 1
    numbers = [*range(last + 1), *[last] * (2 * frames_per_second)]
    with atomic_write(path) as temporary:
        size = frame(0).shape[1::-1]
        video = _open_video(temporary, codec, frames_per_second, size)
        for number in tqdm(numbers, "writing video", disable=None):
            video.write(np.ascontiguousarray(frame(number)[..., ::-1]))
        video.release()
    return path


def _open_video(
    path: Path, codec: str, frames_per_second: int, size: tuple[int, int]
) -> cv2.VideoWriter:
    with _quiet_stderr():
        fourcc = cv2.VideoWriter_fourcc(*codec)
        return cv2.VideoWriter(str(path), fourcc, frames_per_second, size)


def _video_format() -> tuple[str, str]:
    """The first suffix and codec of CODECS that this OpenCV can write."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in CODECS.items():
            video = _open_video(Path(folder) / f"probe{suffix}", codec, 4, (64, 64))
            if video.isOpened():
                video.release()
                return suffix, codec
    raise InputError(
        "the installed OpenCV cannot write video (neither VP8 nor MPEG-4); install "
        "opencv-python-headless from PyPI"
    )


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Silence C libraries: FFmpeg prints a needless warning about VP8 in WebM."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
