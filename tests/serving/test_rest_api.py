"""The HTTP API, over HTTP and against its own description."""

import asyncio
import base64
import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from boneage.errors import InputError
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.record import STATEMENT, RunExplanation
from boneage.serving import reading_lanes, rest_api
from boneage.serving.reading_lanes import Busy, ReadingLanes
from boneage.serving.rest_api import ApiSettings
from tests.conftest import REPOSITORY
from tests.scripts.bad_input import GREY, IMAGES, PNG, dicom_of, png_of
from tests.serving.node_stub import StubPredictor

NO_BYTES = ("a folder", "a link to nothing", "a pipe")
"""Kinds that cannot be sent."""
BYTES = [name for name in IMAGES if name not in NO_BYTES]

MANY = ApiSettings(requests_per_minute=10**6)


def app_of(predictor, limits=MANY):
    return rest_api.build(ReadingLanes(predictor), limits)


@pytest.fixture
def client():
    with TestClient(app_of(StubPredictor())) as client:
        yield client


def send(client, content=PNG, name="hand.png", **form):
    return client.post("/predict", files={"file": (name, content)}, data=form)


schema = schemathesis.openapi.from_asgi("/openapi.json", app_of(StubPredictor()))


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case):
    if isinstance(case.body, dict) and isinstance(case.body.get("file"), str | bytes):
        # random bytes could only be refused
        case.body["file"] = dicom_of(GREY, PatientSex="F")
    # names of further fields may be no text at all, which no form can carry
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


def test_description_in_the_docs_is_that_of_the_api():
    written = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
    assert written == rest_api.description()


def test_radiograph_gives_an_age_an_interval_and_warnings(client):
    answer = send(client, sex="female")
    assert answer.status_code == 200
    record = answer.json()
    months = round(float(GREY.mean()), 1)
    assert record["bone_age_months"] == months
    assert record["lower_months"] == pytest.approx(months - 10)
    assert record["sex"] == "female"
    assert record["file"] == "hand.png"
    assert record["statement"] == STATEMENT
    assert record["warnings"] == []
    assert record["maps_png"] is None


def test_sex_of_a_dicom_file_is_used(client):
    answer = send(client, dicom_of(GREY, PatientSex="M"), "scan.dcm")
    assert answer.json()["sex"] == "male"


def test_chronological_age_gives_the_difference(client):
    record = send(client, sex="male", chronological_age_months="100").json()
    assert record["chronological_age_months"] == 100
    assert record["difference_months"] == round(record["bone_age_months"] - 100, 1)
    assert send(client, sex="male", chronological_age_months="-1").status_code == 422


def test_maps_are_png(monkeypatch):
    predictor = StubPredictor()
    plain = predictor.predict
    shown = RunExplanation(
        np.zeros((512, 512), np.uint8), np.ones((512, 512), np.float32), 5
    )
    predictor.predict = lambda inputs: replace(
        plain(inputs), explanations={"inception_v3": shown}
    )
    with TestClient(app_of(predictor)) as client:
        maps = send(client, sex="male", maps="true").json()["maps_png"]
    content = np.frombuffer(base64.b64decode(maps["inception_v3"]), np.uint8)
    assert cv2.imdecode(content, cv2.IMREAD_COLOR).shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("content", "form", "words"),
    [
        (PNG, {}, "hand.png: the sex must be known (got none)"),
        (b"nothing", {"sex": "male"}, "hand.png must be a radiograph"),
        (b"", {"sex": "male"}, "hand.png must be a radiograph"),
        (PNG[:-20], {"sex": "male"}, "hand.png cannot be decoded"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(client, content, form, words):
    answer = send(client, content, **form)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(words)
    assert tempfile.gettempdir() not in answer.text


@pytest.mark.parametrize("kind", BYTES)
def test_every_kind_of_bad_file_is_answered_as_it_is_read(kind, client, tmp_path):
    path = tmp_path / f"upload{IMAGES[kind].suffix}"
    IMAGES[kind].make(path)
    answer = send(client, path.read_bytes(), path.name, sex="male")
    if isinstance(IMAGES[kind].expected, str):
        assert answer.status_code == 400
        # the header is read before the pixels, for the sex
        words = (IMAGES[kind].expected, "must have a readable DICOM header")
        error = answer.json()["error"]
        assert any(expected in error for expected in words)
        assert "\n" not in error
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("form", [{"sex": "boy"}, {"sex": "male", "maps": "perhaps"}])
def test_form_that_is_no_form_is_refused(client, form):
    assert send(client, **form).status_code == 422


def test_name_of_a_file_is_no_path(client):
    record = send(client, name="../../etc/hand.png", sex="male").json()
    assert record["file"] == "hand.png"


def test_health_is_told(client):
    answer = client.get("/health").json()
    assert (answer["status"], answer["waiting"]) == ("ok", 0)


def test_too_large_an_upload_is_refused(monkeypatch):
    monkeypatch.setattr(rest_api, "LARGEST_UPLOAD_BYTES", 1 << 20)
    with TestClient(app_of(StubPredictor())) as client:
        answer = send(client, bytes(2 << 20), sex="male")
        assert answer.status_code == 413
        assert answer.json()["error"] == "a request must have at most 1 MB"

        def unknown_length():
            start = b'--x\r\nContent-Disposition: form-data; name="file"; '
            yield start + b'filename="a.png"\r\n\r\n'
            for _ in range(40):
                yield bytes(1 << 16)
            yield b"\r\n--x--\r\n"

        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = client.post("/predict", content=unknown_length(), headers=kind)
        assert answer.status_code == 413
        assert client.get("/health").status_code == 200


def test_client_with_too_many_requests_has_to_wait():
    with TestClient(app_of(StubPredictor(), ApiSettings(6))) as client:
        assert send(client, sex="male").status_code == 200
        answer = send(client, sex="male")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
        assert client.get("/health").status_code == 200


def test_limit_of_no_requests_is_refused():
    with pytest.raises(InputError, match="--requests-per-minute must be at least 1"):
        ApiSettings(0).check_api()


# lanes


class Held(StubPredictor):
    """Reads large radiographs only once it is let go."""

    def __init__(self):
        self.go_on, self.order = threading.Event(), []

    def predict(self, inputs):
        if inputs.path.stem.startswith("large"):
            self.go_on.wait(20)
        self.order.append(inputs.path.stem)
        return super().predict(inputs)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_lanes, "LARGE_PX", 10_000)
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(PNG)
    large.write_bytes(png_of(200, 200))
    return small, large


def test_large_radiograph_delays_no_other(pictures):
    small, large = pictures
    predictor = Held()

    async def both():
        lanes = ReadingLanes(predictor)
        waiting = asyncio.create_task(lanes.predict(InputRadiograph(large, "male")))
        await asyncio.sleep(0.1)
        for _ in range(3):
            await lanes.predict(InputRadiograph(small, "male"))
        assert lanes.waiting == 1
        predictor.go_on.set()
        await waiting

    asyncio.run(both())
    assert predictor.order == ["small"] * 3 + ["large"]


@pytest.mark.parametrize("is_shareable", [True, False])
def test_lane_for_each_core_if_the_networks_can_be_shared(
    pictures, monkeypatch, is_shareable
):
    small, _ = pictures
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    together = threading.Barrier(3)

    class Meeting(StubPredictor):
        def predict(self, inputs):
            # returns once three are in it
            together.wait(20 if self.is_shareable else 0.2)
            return super().predict(inputs)

    predictor = Meeting()
    predictor.is_shareable = is_shareable

    async def three():
        lanes = ReadingLanes(predictor)
        inputs = InputRadiograph(small, "male")
        await asyncio.gather(*[lanes.predict(inputs) for _ in range(3)])

    if is_shareable:
        asyncio.run(three())
    else:
        with pytest.raises(threading.BrokenBarrierError):
            asyncio.run(three())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority there")
def test_large_radiograph_is_read_at_low_priority(pictures):
    found = {}

    class Noted(StubPredictor):
        def predict(self, inputs):
            thread = threading.get_native_id()
            found[inputs.path.stem] = os.getpriority(os.PRIO_PROCESS, thread)
            return super().predict(inputs)

    async def both():
        lanes = ReadingLanes(Noted())
        for path in pictures:
            await lanes.predict(InputRadiograph(path, "male"))

    asyncio.run(both())
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert found == {"small": own, "large": min(19, reading_lanes.NICENESS)}


def test_lanes_share_one_predictor(tiny_predictor, hand):
    """Both lanes read at once, with the same networks."""
    inputs = InputRadiograph(hand, "female")
    expected = tiny_predictor.predict(inputs).bone_age_months
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(tiny_predictor.predict, [inputs] * 6))
    assert [a.bone_age_months for a in answers] == pytest.approx([expected] * 6)


def test_too_many_large_radiographs_are_turned_away(pictures, monkeypatch):
    monkeypatch.setattr(reading_lanes, "MOST_LARGE_WAITING", 1)
    _, large = pictures
    predictor = Held()

    async def three():
        lanes = ReadingLanes(predictor)
        tasks = []
        for _ in range(2):
            tasks.append(
                asyncio.create_task(lanes.predict(InputRadiograph(large, "male")))
            )
            await asyncio.sleep(0.1)
        with pytest.raises(Busy):
            await lanes.predict(InputRadiograph(large, "male"))
        predictor.go_on.set()
        await asyncio.gather(*tasks)

    asyncio.run(three())


def test_busy_service_says_when_to_come_back(monkeypatch):
    async def busy(self, radiograph, with_maps):
        raise Busy("too many radiographs wait; try again later")

    monkeypatch.setattr(ReadingLanes, "predict", busy)
    with TestClient(app_of(StubPredictor())) as client:
        answer = send(client, sex="male")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "10"


def test_fifty_clients_all_get_their_answer(client):
    def one(number):
        image = np.full((40, 40), number, np.uint8)
        content = cv2.imencode(".png", image)[1].tobytes()
        return send(client, content, f"{number}.png", sex="male").json()

    began = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(one, range(50)))
    assert [a["file"] for a in answers] == [f"{n}.png" for n in range(50)]
    assert [a["bone_age_months"] for a in answers] == list(range(50))
    assert time.monotonic() - began < 30
