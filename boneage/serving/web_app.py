"""Predictions as a web page and an HTTP API, served by Gradio.

Only this machine can reach it unless a password is set. It serves the report pages it
makes and no other file, and limits the size of uploads.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from boneage import web
from boneage.cli import ends_on_sigterm
from boneage.errors import InputError
from boneage.prediction import chronological_age
from boneage.prediction.inputs import resolve_input
from boneage.prediction.predictor import Predictor
from boneage.prediction.record import STATEMENT
from boneage.reporting import formats, report_page
from boneage.serving import rest_api
from boneage.serving.reading_lanes import MOST_WAITING, Busy, ReadingLanes
from boneage.serving.rest_api import ApiSettings
from boneage.web import WebSettings

API = "predict"
FROM_FILE = "as the DICOM file says"
DEFAULT_LIMITS = ApiSettings()
LARGEST_UPLOAD = f"{rest_api.LARGEST_UPLOAD_BYTES >> 20}mb"


def serve(predictor: Predictor, settings: WebSettings, limits: ApiSettings) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with serving(predictor, settings, limits):
        try:
            with ends_on_sigterm():
                threading.Event().wait()
        except KeyboardInterrupt:
            print("\nstopped")


@contextmanager
def serving(
    predictor: Predictor, settings: WebSettings, limits: ApiSettings = DEFAULT_LIMITS
) -> Iterator[str]:
    """Serve the page and the API while the block runs; yields their address.

    Raises:
        InputError: a host that others see, without a password.
        OSError: the port is taken.
    """
    settings.check_page()
    with web.own_files("predict"):
        from fastapi import FastAPI

        lanes = ReadingLanes(predictor)
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.mount(rest_api.PATH, rest_api.build(lanes, limits))
        web.mount_page(
            app, _build(lanes), max_file_size=LARGEST_UPLOAD, footer_links=["api"]
        )
        greeting = "page at {address}, API at {address}api (Ctrl-C stops)"
        with web.serve(app, settings, greeting, [rest_api.HEALTH], True) as address:
            yield address


def _build(lanes: ReadingLanes) -> Any:
    """The page: radiograph and sex as input, report and numbers as output."""
    import anyio
    import gradio as gr

    async def predict(
        radiograph: str | None, sex: str, age: str
    ) -> tuple[str, np.ndarray, dict]:
        if radiograph is None:
            raise gr.Error("Choose a radiograph first.", print_exception=False)
        path = Path(radiograph)
        try:
            # one file and no list of files: a list could name what is not uploaded
            known = None if sex == FROM_FILE else sex
            months = chronological_age.parse(age) if age.strip() else math.nan
            inputs = await anyio.to_thread.run_sync(resolve_input, path, known, months)
            prediction = (await lanes.predict(inputs)).with_file(path.name)
        except Busy as error:
            raise gr.Error(str(error), print_exception=False) from None
        except (InputError, ValueError) as error:
            # the folder of an upload concerns nobody
            words = str(error).replace(f"{path.parent}/", "")
            raise gr.Error(words, print_exception=False) from None
        words = "\n\n".join(
            [
                f"## {formats.format_prediction(prediction)}",
                formats.format_interval(prediction),
                *formats.child_lines(prediction),
                *[f"**Warning:** {warning}" for warning in prediction.warnings],
                f"*{STATEMENT.capitalize()}.*",
            ]
        )
        record = {"statement": STATEMENT, "coverage": prediction.coverage}
        return (
            words,
            await anyio.to_thread.run_sync(
                report_page.picture, prediction, lanes.predictor, limiter=drawing
            ),
            record | formats.to_record(prediction),
        )

    # Matplotlib's settings are those of the whole process
    drawing = anyio.CapacityLimiter(1)
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
                age = gr.Textbox(
                    label="Chronological age",
                    placeholder="8y3m or 99m; empty: as the DICOM file says",
                    max_lines=1,
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
            [radiograph, sex, age],
            [words, report, record],
            api_name=API,
            # the lanes let one at a time through
            concurrency_limit=MOST_WAITING,
        )
    blocks.queue(max_size=MOST_WAITING)
    return blocks
