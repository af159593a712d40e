"""The HTTP API: a radiograph and a sex in, an age with its interval and warnings out.

Its description is `docs/openapi.json`, made by `python -m docs.make_openapi`, and at
`/api/openapi.json` of a served page.
"""

import base64
import math
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import boneage
from boneage.cohort.columns import OLDEST_MONTHS
from boneage.errors import InputError, check_minimum, printable
from boneage.prediction.inputs import resolve_input
from boneage.prediction.record import STATEMENT, Prediction
from boneage.reporting import formats
from boneage.serving.reading_lanes import Busy, ReadingLanes

if TYPE_CHECKING:
    from fastapi import FastAPI

PATH = "/api"
HEALTH = f"{PATH}/health"
LARGEST_UPLOAD_BYTES = 100 << 20
"""A radiograph of 6000 x 6000 px and 16 bits, uncompressed, is 72 MB."""
RETRY_AFTER_S = 10
BURST_S = 10
"""A client may save up its requests of so many seconds."""
MOST_CLIENTS = 10_000
"""Whose requests are counted; beyond that the counts begin anew."""


@dataclass(frozen=True)
class ApiSettings:
    """Limits of the HTTP API."""

    requests_per_minute: int = 600
    """radiographs that one client may send to the API in a minute"""

    def check_api(self) -> None:
        """Raise InputError for a limit that lets nobody in."""
        check_minimum(1, requests_per_minute=self.requests_per_minute)


def build(lanes: ReadingLanes, settings: ApiSettings) -> "FastAPI":
    """The application, to be mounted at `PATH`."""
    from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
    from fastapi.responses import JSONResponse
    from pydantic import BaseModel, ConfigDict, Field
    from pydantic.json_schema import SkipJsonSchema

    class Answer(BaseModel):
        """A bone age; null where there is no age, no interval or no map."""

        # further facts may be added
        model_config = ConfigDict(extra="allow")
        statement: str = Field(description="what the answer may be used for")
        file: str = Field(description="the file's name as it was sent")
        bone_age_months: float | None
        lower_months: float | None = Field(description="lower limit of the interval")
        upper_months: float | None = Field(description="upper limit of the interval")
        coverage: float = Field(description="nominal coverage of the interval")
        qualifier: str | None = Field(
            description="`or younger` or `or older` at the ends of the usable range"
        )
        refusal: str | None = Field(description="why there is no age")
        sex: Literal["male", "female", "unknown"] = Field(description="as it was read")
        chronological_age_months: float | None
        difference_months: float | None = Field(
            description="bone age minus chronological age"
        )
        difference_lower_months: float | None
        difference_upper_months: float | None
        standard_deviation_score: float | None = Field(
            description="where the service was started with a reference"
        )
        local_calibration: str | None = Field(
            description="the calibration on local radiographs that is applied"
        )
        warnings: list[str]
        months_by_run: dict[str, float] = Field(description="each network's age")
        maps_png: dict[str, str] | None = Field(
            description="each network's activation map on its hand, base64 of a PNG"
        )

    class Health(BaseModel):
        """The service answers."""

        status: Literal["ok"]
        version: str
        waiting: int = Field(description="radiographs that wait or are being read")

    class Problem(BaseModel):
        """Why there is no answer, in one line."""

        error: str

    problems = {
        400: "the radiograph cannot be read, or its sex is not known",
        413: f"larger than {LARGEST_UPLOAD_BYTES >> 20} MB",
        429: "more requests than one client may send",
        503: "too many radiographs wait",
    }
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": words}
        for status, words in problems.items()
    }
    app = FastAPI(
        title="Bone age",
        version=boneage.__version__,
        description=f"Bone age from a hand radiograph; {STATEMENT}.",
        # their pages would load scripts from the web
        docs_url=None,
        redoc_url=None,
    )

    @app.exception_handler(InputError)
    async def _(_: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(Busy)
    async def _(_: Request, error: Busy) -> JSONResponse:
        again = {"Retry-After": str(RETRY_AFTER_S)}
        return JSONResponse({"error": str(error)}, 503, again)

    @app.exception_handler(HTTPException)
    async def _(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.get("/health", operation_id="health")
    async def health() -> Health:
        """Whether the service is up; needs no password."""
        return Health(status="ok", version=boneage.__version__, waiting=lanes.waiting)

    @app.post("/predict", operation_id="predict", responses=responses)
    async def predict(
        file: Annotated[
            UploadFile, File(description="a radiograph: PNG, JPEG, WebP, TIFF, DICOM")
        ],
        sex: Annotated[
            Literal["male", "female", "unknown", "from_file"],
            Form(description="`from_file` for the sex that a DICOM file states"),
        ] = "from_file",
        chronological_age_months: Annotated[
            int | SkipJsonSchema[None],
            Form(
                ge=0,
                le=OLDEST_MONTHS,
                description="without it, the age that a DICOM file states",
            ),
        ] = None,
        maps: Annotated[
            Literal["true", "false"], Form(description="whether to draw the maps")
        ] = "false",
    ) -> Answer:
        """Estimate the bone age of a hand."""
        name = printable(Path(file.filename or "radiograph").name)[:255]
        # a served page has a folder of its own, cleared after a kill
        folder = os.environ.get("GRADIO_TEMP_DIR") or None
        with tempfile.NamedTemporaryFile(dir=folder) as copy:
            await _in_thread(shutil.copyfileobj, file.file, copy)
            copy.flush()
            path = Path(copy.name)
            try:
                known = None if sex == "from_file" else sex
                given = chronological_age_months
                age = math.nan if given is None else float(given)
                radiograph = await _in_thread(resolve_input, path, known, age)
                prediction = await lanes.predict(radiograph, maps == "true")
            except InputError as error:
                # the place of an upload concerns nobody
                raise InputError(str(error).replace(str(path), name)) from None
        drawn = await _in_thread(draw_maps, prediction) if maps == "true" else None
        record = formats.to_record(prediction.with_file(name))
        coverage = prediction.coverage
        return Answer(
            **(record | {"statement": STATEMENT, "coverage": coverage}), maps_png=drawn
        )

    app.add_middleware(
        Limits, LARGEST_UPLOAD_BYTES, settings.requests_per_minute, "/predict"
    )
    return app


def description() -> dict:
    """The OpenAPI description."""
    from unittest import mock

    return build(mock.Mock(ReadingLanes), ApiSettings()).openapi()


def draw_maps(prediction: Prediction) -> dict[str, str]:
    """Each run's activation map on its hand, on one scale: base64 of a PNG."""
    import cv2
    import numpy as np

    from boneage.explanation import overlays

    explanations = prediction.explanations
    if not explanations:
        return {}
    limit_months = overlays.colour_limit(
        np.stack([explanation.map_months for explanation in explanations.values()])
    )
    drawn = {}
    for name, explanation in explanations.items():
        image = overlays.overlay(explanation.hand, explanation.map_months, limit_months)
        encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1]
        drawn[name] = base64.b64encode(encoded.tobytes()).decode()
    return drawn


async def _in_thread(function: Callable, *arguments: object) -> Any:
    """Call what would hold up all other requests."""
    import anyio

    return await anyio.to_thread.run_sync(function, *arguments)


class Limits:
    """Turns away requests that are too large, or too many from one client."""

    def __init__(
        self, application: Callable, largest_bytes: int, per_minute: int, path: str
    ) -> None:
        """Limit requests to `path` of the application."""
        self.application, self.path = application, path
        self.largest_bytes, self.per_second = largest_bytes, per_minute / 60
        self._left: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Pass a request on, or refuse it: 413 or 429."""
        if scope["type"] != "http" or not scope["path"].endswith(self.path):
            await self.application(scope, receive, send)
            return
        wait_s = self._wait_s((scope.get("client") or ("",))[0])
        if wait_s:
            words = f"too many requests; try again in {wait_s:.0f} s"
            await _refuse(send, 429, words, wait_s)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self.largest_bytes:
            await _refuse(send, 413, self._too_large())
            return
        await self.application(scope, self._counted(receive), send)

    def _too_large(self) -> str:
        return f"a request must have at most {self.largest_bytes >> 20} MB"

    def _counted(self, receive: Callable) -> Callable[[], Awaitable[dict]]:
        """Receive, and end a request whose parts say no length and are too many."""
        from fastapi import HTTPException

        received = 0

        async def counted() -> dict:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.largest_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return counted

    def _wait_s(self, client: str) -> float:
        """Seconds that a client has to wait; 0 if it may ask now (token bucket)."""
        now = time.monotonic()
        if len(self._left) >= MOST_CLIENTS:
            self._left.clear()
        most = max(1.0, self.per_second * BURST_S)
        left, before = self._left.get(client, (most, now))
        left = min(most, left + (now - before) * self.per_second)
        if left < 1:
            self._left[client] = (left, now)
            return max(1.0, (1 - left) / self.per_second)
        self._left[client] = (left - 1, now)
        return 0.0


async def _refuse(
    send: Callable, status: int, words: str, retry_after_s: float = 0
) -> None:
    from fastapi.responses import JSONResponse

    headers = {"Retry-After": f"{retry_after_s:.0f}"} if retry_after_s else {}
    answer = JSONResponse({"error": words}, status, headers)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": answer.raw_headers,
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
