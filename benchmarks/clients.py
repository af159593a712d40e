"""The page and the API under many clients, against a folder of the same radiographs.

    python -m benchmarks --only clients --radiographs FOLDER

The service is a process of its own, as a user starts it; its clients run here.
"""

import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from benchmarks.services import served, simulate
from benchmarks.timing import MOST, Goal, Row, Size, medians
from boneage.io import engine
from boneage.layout import PRETRAINED, Layout
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import Predictor

PORT, SEX = 7978, "male"
LARGE_PX = 10_000
RATE, DELAY_S = 0.8, 1.0
"""What is to be reached: of the folder's throughput, and at most beside a large one."""


def compare(size: Size) -> list[Row]:
    """Seconds a radiograph of the API and of the page, and beside a large upload."""
    import httpx

    with tempfile.TemporaryDirectory() as name:
        files, large = _radiographs(size, Path(name))
        clients, rounds = size.of(20, 2), max(1, size.rounds // 2)
        inputs = [InputRadiograph(path, SEX) for path in files]
        predictor = Predictor(Layout(models=PRETRAINED), at_once=engine.core_count())
        predictor.load()
        arguments = ["--serve", "--no-open-page", "--port", str(PORT)]
        # occlusion maps would be what is measured
        models = ["--models", PRETRAINED, "--map", "exact"]
        models += ["--requests-per-minute", "1000000"]
        with (
            served(*arguments, *models, ready="API at"),
            httpx.Client(
                base_url=f"http://127.0.0.1:{PORT}", timeout=1200, trust_env=False
            ) as client,
        ):
            folder, drawn, alone, api, page = medians(
                [
                    lambda: list(predictor.predict_all(inputs, with_images=False)),
                    lambda: _draw_all(predictor, inputs),
                    lambda: _at_once(lambda p: ask_api(client, p), files, 1),
                    lambda: _at_once(lambda p: ask_api(client, p), files, clients),
                    lambda: _at_once(lambda p: ask_page(client, p), files, clients),
                ],
                rounds,
            )
            without, beside = _answers_beside(client, files, large, clients)
    count, goal = len(files), Goal(MOST, 1 / RATE)
    return [
        Row(
            f"API, {clients} clients, a radiograph",
            *(api / count, "one client", alone / count),
            *("predict.py on the folder", folder / count, goal),
        ),
        Row(
            f"page, {clients} clients, with its picture",
            *(page / count, "", float("nan")),
            *("predict.py --report on the folder", drawn / count, goal),
        ),
        Row(
            f"slowest of {clients} beside a large one",
            *(beside, "", float("nan"), "the same without it", without),
            Goal(MOST, (without + DELAY_S) / without),
        ),
    ]


def _draw_all(predictor: Predictor, inputs: list[InputRadiograph]) -> None:
    from boneage.reporting import report_page

    for predictions in predictor.predict_all(inputs):
        report_page.picture(predictions[0], predictor)


def ask_api(client, path: Path) -> None:
    """Have a radiograph read."""
    files, data = {"file": (path.name, path.read_bytes())}, {"sex": SEX}
    client.post("/api/predict", files=files, data=data).raise_for_status()


def ask_page(client, path: Path) -> None:
    """The same by way of the page, which draws its picture."""
    place = "/gradio_api"
    files = {"files": (path.name, path.read_bytes())}
    sent = client.post(f"{place}/upload", files=files).raise_for_status().json()
    file = {"path": sent[0], "meta": {"_type": "gradio.FileData"}}
    content = json.dumps({"data": [file, SEX, ""]})
    kind = {"Content-Type": "application/json"}
    asked = client.post(f"{place}/call/predict", content=content, headers=kind)
    event = asked.raise_for_status().json()["event_id"]
    answer = client.get(f"{place}/call/predict/{event}").raise_for_status()
    if "event: complete" not in answer.text:
        raise RuntimeError(f"the page answers {answer.text[:200]}")


def _at_once(
    ask: Callable[[Path], None], files: list[Path], clients: int
) -> list[float]:
    """Seconds that each of these clients waited for each answer."""

    def timed(path: Path) -> float:
        start = time.monotonic()
        ask(path)
        return time.monotonic() - start

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(timed, files))


def _answers_beside(
    client, files: list[Path], large: Path, clients: int
) -> tuple[float, float]:
    """Longest seconds to an answer, while no large one is read, and while one is."""

    def ask(path: Path) -> None:
        ask_api(client, path)

    without = max(_at_once(ask, files, clients))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(ask, large)
        beside = max(_at_once(ask, files, clients))
        reading.result()
    return without, beside


def _radiographs(size: Size, folder: Path) -> tuple[list[Path], Path]:
    """Some of the user's radiographs or simulated ones, and a large one."""
    hand = simulate(0, size.of(512, 256))
    large_px = size.of(LARGE_PX, 4200)
    large = folder / "large.png"
    shape = (large_px, large_px)
    cv2.imwrite(str(large), cv2.resize(hand, shape, interpolation=cv2.INTER_CUBIC))
    count = size.of(40, 4)
    if size.radiographs is not None:
        found = sorted(size.radiographs.glob("*.png"))
        return [found[n % len(found)] for n in range(count)], large
    path = folder / "hand.png"
    cv2.imwrite(str(path), np.ascontiguousarray(hand))
    return [path] * count, large
