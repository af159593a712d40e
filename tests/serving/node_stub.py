"""A DICOM node whose predictor reads nothing, as a process to kill or within a test.

python -m tests.serving.node_stub PORT QUEUE OUT
"""

import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from boneage.io import radiographs
from boneage.io.transforms import to_uint8
from boneage.prediction.record import Prediction
from boneage.reporting import dicom_output
from boneage.serving import dicom_node
from boneage.serving.dicom_node import NodeSettings

TITLE = "BONEAGE"


class StubPredictor:
    """Answers with the brightness of the image, in months."""

    candidates = ()
    ensembles: ClassVar[dict] = {}
    coverage = 0.9
    is_shareable = False
    pause_s = 0.0
    at_once, is_shareable = 2, True

    def predict(self, inputs):
        return next(self.predict_hands(inputs))

    def with_shown_maps(self, prediction):
        return prediction

    def predict_hands(self, inputs):
        image = radiographs.read(inputs.path)
        time.sleep(self.pause_s)
        grey = to_uint8(image)
        months = round(float(grey.mean()), 1)
        yield Prediction(
            file=str(inputs.path),
            sex=inputs.sex,
            bone_age_months=months,
            lower_months=months - 10,
            upper_months=months + 10,
            coverage=0.9,
            warnings=inputs.notes,
            months_by_run={},
            calibration_group="no hands",
            radiograph=grey,
            mask=grey,
            explanations={},
            chronological_age_months=inputs.chronological_age_months,
        )


def draw_no_pages():
    """A small grey page in place of Matplotlib's, a second each on a busy machine."""
    from boneage.reporting import report_page

    report_page.picture = lambda *_: np.zeros((8, 8, 3), np.uint8)


def settings(port: int, **more) -> NodeSettings:
    return NodeSettings(dicom_node=f"{TITLE}:{port}", **more)


if __name__ == "__main__":
    port, queue, out = sys.argv[1:]
    draw_no_pages()
    predictor = StubPredictor()
    predictor.pause_s = 0.02
    dicom_output.check_installed("--dicom-node", "pynetdicom")
    dicom_node.run(predictor, Path(queue), settings(int(port)), Path(out), None)
