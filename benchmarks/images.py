"""step2_image_2_h5 and the enhancing of step 3, beside reading and writing alone."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from skimage import exposure, transform

from benchmarks.timing import MOST, Goal, Row, Size, medians
from boneage.io import hdf5, radiographs
from boneage.layout import Layout
from boneage.segmentation import coarse, hand_images, preprocessing


def by_scikit_image(radiograph: np.ndarray, size: int) -> np.ndarray:
    """What a plain script does: equalise the radiograph, then shrink it."""
    equalised = exposure.equalize_adapthist(radiograph, clip_limit=0.03)
    return (transform.resize(equalised, (size, size)) * 255).astype(np.uint8)


def compare(size: Size) -> list[Row]:
    """Time both steps on one radiograph and one core."""
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(Path(name), Path(name))
        radiograph = size.full_size()
        layout.radiographs.mkdir()
        # as libpng compresses it, like radiographs that come from elsewhere
        cv2.imwrite(str(layout.radiograph(1)), radiograph)
        radiographs.write(layout.mask(1), coarse.coarse_mask(radiograph))
        how = hand_images.Enhancement()
        hand_images.enhance_file(layout, how, 1)
        final = radiographs.read(layout.hand(1))
        small = preprocessing.prepare(radiograph, 256, 0.03)
        path, packed = layout.radiograph(1), Path(name) / "pool.h5"

        def pack(image: np.ndarray) -> None:
            with hdf5.create(packed, 1, 256, "this benchmark") as writer:
                writer.add(1, image)

        def read_both() -> np.ndarray:
            radiographs.read(layout.mask(1))
            return radiographs.read(path)

        cv2.setNumThreads(1)
        times = medians(
            [
                lambda: pack(preprocessing.prepare(radiographs.read(path), 256, 0.03)),
                lambda: pack(by_scikit_image(radiographs.read(path), 256)),
                lambda: [radiographs.read(path), pack(small)],
                lambda: hand_images.enhance_file(layout, how, 1),
                lambda: radiographs.write(
                    layout.hand(2), by_scikit_image(read_both(), hdf5.HAND_PX)
                ),
                lambda: [read_both(), radiographs.write(layout.hand(2), final)],
            ],
            size.rounds,
        )
        cv2.setNumThreads(-1)
    baseline = "CLAHE of scikit-image at full size"
    return [
        Row(
            "step2_image_2_h5, one radiograph",
            *(times[0], baseline, times[1], "decoding and packing alone", times[2]),
            Goal(MOST, 2.0),
        ),
        Row(
            "step 3, enhancing one hand",
            *(times[3], baseline, times[4], "decoding and encoding alone", times[5]),
            Goal(MOST, 2.0),
        ),
    ]
