"""The annotator's page and its interface over HTTP, an ASGI application.

Masks travel as run lengths (`run_lengths`), pictures as PNG under addresses that change
with their content, so that a browser keeps them. Facts are JSON. `round` is the number
of the queue that the page shows; once that is over a request answers 410.

| request | answer |
|---|---|
| GET / , annotator.css, annotator.js and what it imports | the page |
| GET api/state?page= | the round: statuses, versions, what comes next |
| GET api/open/ID?round= | facts of a radiograph; with &page= it is claimed for it |
| GET api/start/ID?round= | the mask to begin with |
| GET api/picture/ID/KIND?v= | radiograph, equalized, disagreement, second, thumbnail |
| POST api/correct/ID/TOOL?round= | mask -> corrected mask; 404: there is no such mask |
| POST api/save/ID?round=&page=&version=&seconds=&confirm= | mask -> saved |
| POST api/skip/ID, api/flag/ID (as save, without a mask) | |
| POST api/decide/DECISION?round= | ends the round, or offers the skipped ones again |
| POST api/disconnect?page= | the page was closed |

Refusals are JSON {"message": ...}: 400 a request that no page makes, 404 nothing there,
409 what the person must confirm (named by `confirm`, which the next request passes on),
410 a round that is over, 413 too large, 422 a mask or a radiograph that cannot be used,
507 a file that cannot be written.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from boneage.annotator import mask_edits, page, run_lengths
from boneage.annotator.open_image import OpenImage
from boneage.annotator.queue import (
    AnnotationQueue,
    Conflict,
    ImplausibleMask,
    NeedsConfirmation,
    RefusedMask,
)
from boneage.annotator.round import AnnotationRound, thumbnail
from boneage.errors import InputError
from boneage.ids import RadiographId, parse_id
from boneage.io import png_encoder
from boneage.io.radiographs import Mask
from boneage.io.transforms import equalize_clahe
from boneage.web import PERSON_KEY

KEEP = {"Cache-Control": "private, max-age=86400, immutable"}
"""For pictures: another content has another address."""
ASK_AGAIN = {"Cache-Control": "no-store"}
SECURITY = {
    # nothing from elsewhere, and no other site may frame the page
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
AHEAD = 2
"""How many of the next radiographs a page gets the ids of."""

CORRECTIONS: dict[str, Callable[[AnnotationQueue, OpenImage, Mask], Mask | None]] = {
    "refine": lambda _, opened, mask: mask_edits.refine_edge(opened.radiograph, mask),
    "fill": lambda _, opened, mask: mask_edits.fill_holes(mask),
    "largest": lambda _, opened, mask: mask_edits.keep_largest(mask),
    "smooth": lambda _, opened, mask: mask_edits.smooth(mask),
    "proposal": lambda _, opened, mask: opened.proposal,
    "merge": lambda _, opened, mask: (
        None
        if opened.proposal is None
        else mask_edits.merge(opened.radiograph, opened.proposal, opened.coarse)
    ),
    "coarse": lambda _, opened, mask: opened.coarse,
}
"""Corrections of the whole mask; None where there is no such mask."""


class Refusal(Exception):
    """A request that is answered with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        """Answer with `status`; the page shows `message`."""
        super().__init__(message)
        self.status = status


def build(annotation_round: AnnotationRound) -> Starlette:
    """The application that serves a round to every page that opens it."""
    api = _Api(annotation_round)
    html = page.render(annotation_round.decisions)
    files = {"/": ("text/html", html)}
    for name in page.FILES:
        content = (page.HERE / name).read_text(encoding="utf-8")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        files[f"/{name}"] = (kind, content)

    async def file(request: Request) -> Response:
        kind, content = files[request.url.path]
        return Response(content, media_type=kind, headers=SECURITY | ASK_AGAIN)

    def route(path: str, work: Callable[[Request, bytes], Response], how: str) -> Route:
        return Route(path, _endpoint(work), methods=[how])

    return Starlette(
        routes=[
            *[Route(path, file) for path in files],
            route("/api/state", api.state, "GET"),
            route("/api/open/{id}", api.open, "GET"),
            route("/api/start/{id}", api.start, "GET"),
            route("/api/picture/{id}/{kind}", api.picture, "GET"),
            route("/api/correct/{id}/{tool}", api.correct, "POST"),
            *[
                route(f"/api/{what}/{{id}}", getattr(api, what), "POST")
                for what in ("save", "skip", "flag")
            ],
            route("/api/decide/{decision}", api.decide, "POST"),
            route("/api/disconnect", api.disconnect, "POST"),
        ]
    )


def _endpoint(work: Callable[[Request, bytes], Response]) -> Callable:
    """Let `work` answer in a thread, given the request and its body."""

    @functools.wraps(work)
    async def answer(request: Request) -> Response:
        try:
            body = await _body(request)
            return await run_in_threadpool(work, request, body)
        except Refusal as refusal:
            status, message = refusal.status, str(refusal)
        except NeedsConfirmation as question:
            content = {"message": str(question), "confirm": question.confirmation}
            return JSONResponse(content, 409)
        except (RefusedMask, InputError) as error:
            status, message = 422, str(error)
        except OSError as error:
            status, message = 507, f"Nothing is saved: {error.strerror or error}."
        return JSONResponse({"message": message}, status)

    return answer


async def _body(request: Request) -> bytes:
    """The body, unless it is larger than any drawing."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > run_lengths.LARGEST_BYTES:
            raise Refusal(413, "The drawing is too large.")
        parts.append(part)
    return b"".join(parts)


class _Api:
    """The handlers: request and body in, response out."""

    def __init__(self, annotation_round: AnnotationRound) -> None:
        """Answer for this round."""
        self.round = annotation_round

    def _queue(self, request: Request) -> AnnotationQueue:
        """The queue that a request is about."""
        number, queue = self.round.current(_person(request))
        if queue is None or _whole(request, "round") != number:
            raise Refusal(410, "This round is over.")
        return queue

    def _opened(self, request: Request) -> tuple[AnnotationQueue, OpenImage]:
        queue, radiograph_id = self._queue(request), _radiograph_id(request)
        if radiograph_id not in queue.queries:
            raise Refusal(404, f"Radiograph {radiograph_id} is not in this round.")
        return queue, queue.open(radiograph_id)

    def state(self, request: Request, _: bytes) -> Response:
        """Where the round stands."""
        return JSONResponse(self._state(request), headers=ASK_AGAIN)

    def _state(self, request: Request, claim: bool = False) -> dict[str, Any]:
        page_name, person = _page(request), _person(request)
        number, queue = self.round.current(person)
        idle = self.round.explain(queue)
        if queue is None:
            return {"round": 0, "idle": idle, "items": [], "next": []}
        upcoming = queue.upcoming(page_name)[:AHEAD]
        elsewhere = bool(upcoming) and queue.claimed_elsewhere(upcoming[0], page_name)
        if claim and upcoming:
            queue.claim(upcoming[0], page_name)
        return {
            "round": number,
            "idle": idle,
            "items": [
                {"id": i, "status": status, "version": version}
                for i, status, version in queue.overview()
            ],
            "next": upcoming,
            "elsewhere": elsewhere,
            "advice": queue.outlook.advice,
            "rounds_left": queue.outlook.rounds_left,
            "person": person,
            "others": len(queue.waiting_for_others()),
            "accepted": len(queue.accepted),
            "seconds": float(np.median([*queue.seconds.values()]))
            if queue.seconds
            else None,
        }

    def open(self, request: Request, _: bytes) -> Response:
        """Facts of a radiograph; claims it for the page that shows it."""
        queue, opened = self._opened(request)
        query, i = opened.query, opened.radiograph_id
        facts = [f"radiograph {i}"]
        if query.score is not None:
            measure = (query.measure or "score").replace("_", " ")
            facts.append(f"{measure} {query.score:.3f}")
        place = f"{queue.ids.index(i) + 1} of {len(queue.ids)}"
        elsewhere = False
        if name := _page(request):
            elsewhere = queue.claimed_elsewhere(i, name)
            queue.claim(i, name)
        height, width = opened.radiograph.shape
        return JSONResponse(
            {
                "id": i,
                "height": height,
                "width": width,
                "version": opened.version,
                "picture": self._stamp(i),
                "has_map": opened.disagreement is not None,
                "has_second": opened.proposal is not None,
                "notes": list(opened.notes),
                "place": place
                if query.round is None
                else f"{place}, round {query.round}",
                "facts": ", ".join(facts),
                "elsewhere": elsewhere,
            },
            headers=ASK_AGAIN,
        )

    def _stamp(self, radiograph_id: RadiographId) -> str:
        """Changes with the radiograph's file."""
        facts = self.round.layout.query(radiograph_id).stat()
        return f"{facts.st_mtime_ns}-{facts.st_size}-{facts.st_ino}"

    def start(self, request: Request, _: bytes) -> Response:
        """The mask to begin with."""
        return _mask_response(self._opened(request)[1].start)

    def picture(self, request: Request, _: bytes) -> Response:
        """A picture of a radiograph."""
        queue = self.round.current(_person(request))[1]
        radiograph_id = _radiograph_id(request)
        if queue is None or radiograph_id not in queue.queries:
            raise Refusal(404, "There is no such radiograph.")
        kind = request.path_params["kind"]
        if kind == "thumbnail":
            content = thumbnail(queue, radiograph_id)
            return Response(content, media_type="image/jpeg", headers=KEEP)
        opened = queue.open(radiograph_id)
        if kind == "disagreement" and opened.disagreement is not None:
            layer = mask_edits.disagreement_layer(opened.disagreement)
            quick = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            layer = cv2.cvtColor(layer, cv2.COLOR_RGBA2BGRA)
            content = cv2.imencode(".png", layer, quick)[1].tobytes()
        elif kind == "second" and opened.second is not None:
            layer = mask_edits.outline_layer(opened.second)
            quick = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            layer = cv2.cvtColor(layer, cv2.COLOR_RGBA2BGRA)
            content = cv2.imencode(".png", layer, quick)[1].tobytes()
        elif kind in ("radiograph", "equalized"):
            grey = mask_edits.stretched(opened.radiograph)
            grey = equalize_clahe(grey) if kind == "equalized" else grey
            content = png_encoder.encode(grey)
        else:
            raise Refusal(404, "There is no such picture.")
        return Response(content, media_type="image/png", headers=KEEP)

    def correct(self, request: Request, body: bytes) -> Response:
        """Correct the mask that the page sends."""
        queue, opened = self._opened(request)
        mask, tool = _mask(body, opened), request.path_params["tool"]
        corrected: Mask | None
        if tool == "to_edge":
            height, width = mask.shape
            point = (_whole(request, "row"), _whole(request, "column"))
            if not (0 <= point[0] < height and 0 <= point[1] < width):
                raise Refusal(400, "The point is outside the radiograph.")
            corrected = mask_edits.move_to_edge(
                opened.radiograph, mask, point, opened.second
            )
        elif tool in CORRECTIONS:
            corrected = CORRECTIONS[tool](queue, opened, mask)
        else:
            raise Refusal(404, "There is no such correction.")
        if corrected is None:
            raise Refusal(404, "There is no proposal for this radiograph.")
        return _mask_response(corrected)

    def save(self, request: Request, body: bytes) -> Response:
        """Save the mask that the page sends."""
        queue, opened = self._opened(request)
        opened = replace(opened, version=request.query_params.get("version", ""))
        confirmed = _confirmed(request)
        queue.save(
            opened,
            _mask(body, opened),
            _seconds(request),
            overwrite=Conflict.confirmation in confirmed,
            no_hand=ImplausibleMask.confirmation in confirmed,
        )
        return self._done(request, queue, opened, "saved")

    def flag(self, request: Request, _: bytes) -> Response:
        """Flag a radiograph as not usable."""
        queue, opened = self._opened(request)
        opened = replace(opened, version=request.query_params.get("version", ""))
        overwrite = Conflict.confirmation in _confirmed(request)
        queue.flag(opened, _seconds(request), overwrite)
        return self._done(request, queue, opened, "flagged")

    def skip(self, request: Request, _: bytes) -> Response:
        """Leave a radiograph for later."""
        queue, opened = self._opened(request)
        queue.skip(opened, _seconds(request))
        return self._done(request, queue, opened, "skipped")

    def _done(
        self, request: Request, queue: AnnotationQueue, opened: OpenImage, what: str
    ) -> Response:
        queue.claims.release(_page(request))
        return JSONResponse(
            {
                "message": f"Radiograph {opened.radiograph_id} {what}.",
                "version": queue.version(opened.radiograph_id),
                "state": self._state(request, claim=True),
            }
        )

    def decide(self, request: Request, _: bytes) -> Response:
        """End the round, or offer the skipped ones again."""
        queue, decision = self._queue(request), request.path_params["decision"]
        if decision == "skipped":
            queue.offer_skipped_again()
        elif decision in self.round.decisions:
            self.round.decide(decision, queue)
        else:
            raise Refusal(404, "There is no such decision.")
        return self.state(request, b"")

    def disconnect(self, request: Request, _: bytes) -> Response:
        """Release what a closed page had open."""
        self.round.disconnect(_page(request))
        return Response(status_code=204)


def _person(request: Request) -> str:
    """Who has logged in."""
    return request.scope.get(PERSON_KEY, "")


def _page(request: Request) -> str:
    return request.query_params.get("page", "")[:80]


def _radiograph_id(request: Request) -> RadiographId:
    try:
        return parse_id(request.path_params["id"])
    except ValueError:
        raise Refusal(404, "There is no such radiograph.") from None


def _whole(request: Request, name: str) -> int:
    try:
        return int(request.query_params[name])
    except (KeyError, ValueError):
        raise Refusal(400, f"The request needs a whole number {name}.") from None


def _seconds(request: Request) -> float | None:
    try:
        seconds = float(request.query_params["seconds"])
    except (KeyError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _confirmed(request: Request) -> list[str]:
    return request.query_params.get("confirm", "").split(" ")


def _mask(body: bytes, opened: OpenImage) -> Mask:
    mask = run_lengths.decode(body, opened.radiograph.shape)
    if mask is None:
        raise Refusal(400, "The drawing did not arrive; press the key again.")
    return mask


def _mask_response(mask: Mask) -> Response:
    encoded = run_lengths.encode(mask)
    return Response(encoded, media_type="application/octet-stream", headers=ASK_AGAIN)
