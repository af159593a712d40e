"""Predictions as a web page and an HTTP API, served by Gradio.

Only this machine can reach it unless a password is set. It serves the report pages it
makes and no other file, and limits the size of uploads.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from boneage import web
from boneage.errors import InputError
from boneage.prediction import formats, report_page
from boneage.prediction.inputs import resolve_input
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT
from boneage.web import WebSettings

API = "predict"
LARGEST_UPLOAD = "100mb"
"""A radiograph of 6000 x 6000 px and 16 bits, uncompressed, is 72."""
WAITING = 32
"""Requests that may wait; further ones are turned away."""


def serve(predictor: Predictor, settings: WebSettings) -> None:
    """Serve until Ctrl-C."""
    with serving(predictor, settings):
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("\nstopped")


@contextmanager
def serving(predictor: Predictor, settings: WebSettings) -> Iterator[str]:
    """Serve the page while the block runs; yields its address.

    Raises:
        InputError: a host that others see, without a password.
        OSError: the port is taken.
    """
    settings.check_page()
    with web.own_files("predict"):
        page_of = _build(predictor)
        with web.launched(
            page_of,
            settings,
            f"page at {{address}} (API: {API}; Ctrl-C stops)",
            max_file_size=LARGEST_UPLOAD,
            footer_links=["api"],
        ) as address:
            yield address


def _build(predictor: Predictor) -> Any:
    """The page: radiograph and sex as input, report and numbers as output."""
    import gradio as gr

    def predict(radiograph: str | None, sex: str) -> tuple[str, np.ndarray, dict]:
        if radiograph is None:
            raise gr.Error("Choose a radiograph first.", print_exception=False)
        path = Path(radiograph)
        try:
            # one file and no list of files: a list could name what is not uploaded
            inputs = resolve_input(path, None if sex == FROM_FILE else sex)
            prediction = predictor.predict(inputs).with_file(path.name)
        except InputError as error:
            # the folder of an upload concerns nobody
            words = str(error).replace(f"{path.parent}/", "")
            raise gr.Error(words, print_exception=False) from None
        words = "\n\n".join(
            [
                f"## {formats.format_prediction(prediction)}",
                formats.format_interval(prediction),
                *[f"**Warning:** {warning}" for warning in prediction.warnings],
                f"*{STATEMENT.capitalize()}.*",
            ]
        )
        record = {"statement": STATEMENT, "coverage": prediction.coverage}
        return (
            words,
            report_page.picture(prediction, predictor),
            record | formats.to_record(prediction),
        )

    with gr.Blocks(
        title="Bone age", analytics_enabled=False, delete_cache=(600, 3600)
    ) as blocks:
        gr.Markdown(f"# Bone age from a hand radiograph\n\n*{STATEMENT.capitalize()}.*")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                radiograph = gr.File(
                    label="Radiograph (PNG, JPEG, WebP, TIFF, DICOM)", type="filepath"
                )
                sex = gr.Radio(
                    ["female", "male", "unknown", FROM_FILE],
                    value=FROM_FILE,
                    label="Sex",
                )
                button = gr.Button("Predict", variant="primary")
                words = gr.Markdown()
                record = gr.JSON(label="JSON", open=False)
            with gr.Column(scale=3, min_width=400):
                report = gr.Image(
                    label="Report",
                    interactive=False,
                    format="png",
                    # no sharing, which would send it to a website
                    buttons=["fullscreen", "download"],
                )
        button.click(
            predict,
            [radiograph, sex],
            [words, report, record],
            api_name=API,
            # one at a time: the networks use all cores anyway
            concurrency_limit=1,
        )
    blocks.queue(max_size=WAITING, default_concurrency_limit=1)
    return blocks


FROM_FILE = "as the DICOM file says"
