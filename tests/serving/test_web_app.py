"""The page and the API, over HTTP."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boneage.errors import InputError
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.record import STATEMENT
from boneage.web import WebSettings
from tests.conftest import REPOSITORY
from tests.serving.node_stub import StubPredictor
from tests.test_web import basic, fetch


def upload(address, path: Path) -> str:
    """Send a file; its place on the server."""
    boundary = "x7x7x7"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; '
        f'filename="{path.name}"\r\nContent-Type: image/png\r\n\r\n'
    ).encode()
    body += path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    status, answer = fetch(
        f"{address}/gradio_api/upload", body, **{"Content-Type": kind}
    )
    assert status == 200, answer
    return json.loads(answer)[0]


def ask(address, place: str, sex: str, age: str = "") -> tuple[str, list]:
    """Call the endpoint as the README says; the last event and its data."""
    file = {"path": place, "meta": {"_type": "gradio.FileData"}}
    status, answer = fetch(
        f"{address}/gradio_api/call/predict",
        json.dumps({"data": [file, sex, age]}).encode(),
        **{"Content-Type": "application/json"},
    )
    if status != 200:
        return "refused", []
    event = json.loads(answer)["event_id"]
    text = fetch(f"{address}/gradio_api/call/predict/{event}")[1].decode()
    *_, name, data = [line for line in text.splitlines() if line]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.fixture(scope="module")
def predictor():
    return StubPredictor()


@pytest.fixture(scope="module")
def served(predictor):
    from boneage.serving import web_app

    with web_app.serving(predictor, WebSettings(open_page=False)) as address:
        yield address.rstrip("/")


def test_page_answers_over_http(served, predictor, hand):
    assert served.startswith("http://127.0.0.1:")
    event, (words, report, record) = ask(served, upload(served, hand), "female")
    assert event == "complete"
    expected = predictor.predict(InputRadiograph(hand, "female"))
    assert record["bone_age_months"] == round(expected.bone_age_months, 1)
    assert record["file"] == "hand.png"
    assert record["statement"] == STATEMENT
    assert "For research, not for diagnosis." in words
    status, png = fetch(report["url"])
    assert status == 200
    assert png.startswith(b"\x89PNG")


def test_page_takes_the_chronological_age(served, predictor, hand):
    event, (words, _, record) = ask(served, upload(served, hand), "female", "8y3m")
    assert event == "complete"
    assert record["chronological_age_months"] == 99
    assert "chronological age 99 months (8 y 3 m), difference" in words
    event, why = ask(served, upload(served, hand), "female", "eight")
    assert event == "error"
    assert "years and months such as 8y3m" in str(why)


def test_page_offers_to_send_nothing_to_a_website(served):
    parts = json.loads(fetch(f"{served}/config")[1])["components"]
    offered = [part["props"].get("buttons") or [] for part in parts]
    assert ["fullscreen", "download"] in offered
    assert not any("share" in buttons for buttons in offered)


def test_page_says_what_is_wrong(served, hand, tmp_path):
    event, why = ask(served, upload(served, hand), "as the DICOM file says")
    assert event == "error"
    assert "the sex must be known" in str(why)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    event, why = ask(served, upload(served, broken), "male")
    assert event == "error"
    assert "broken.png must be a radiograph" in str(why)
    assert "/" not in str(why).replace("image", "")


def test_page_gives_out_and_reads_no_other_file(served, hand, tmp_path):
    for path in (hand, REPOSITORY / "README.md", "README.md", "../README.md"):
        assert fetch(f"{served}/gradio_api/file={path}")[0] >= 400
        event, why = ask(served, str(path), "male")
        assert event in ("error", "refused"), why
    # a list of files is no radiograph, whatever it names
    table = tmp_path / "table.csv"
    table.write_text(f"file,sex\n{hand},F\n")
    assert ask(served, upload(served, table), "male")[0] == "error"


def test_upload_is_bounded(served, predictor, tmp_path, monkeypatch):
    from boneage.serving import web_app

    large = tmp_path / "large.png"
    large.write_bytes(bytes(300_000))
    monkeypatch.setattr(web_app, "LARGEST_UPLOAD", "100kb")
    with (
        web_app.serving(predictor, WebSettings(open_page=False)) as address,
        pytest.raises(AssertionError),
    ):
        upload(address.rstrip("/"), large)


def test_password_is_asked_for(predictor):
    from boneage.serving import web_app

    settings = WebSettings(auth=("ann:secret",), open_page=False)
    with web_app.serving(predictor, settings) as address:
        assert fetch(f"{address.rstrip('/')}/config")[0] == 401
        forged = json.dumps({"data": [None, "male"]}).encode()
        status, _ = fetch(
            f"{address.rstrip('/')}/gradio_api/call/predict",
            forged,
            **{"Content-Type": "application/json"},
        )
        assert status == 401
    with (
        pytest.raises(InputError, match="--auth NAME:PASSWORD"),
        web_app.serving(predictor, WebSettings(host="0.0.0.0")),
    ):
        pass


def post(address, path: Path, sex: str, **headers: str) -> tuple[int, dict]:
    """Send a file to the API as any program may."""
    body = (
        f'--x7\r\nContent-Disposition: form-data; name="sex"\r\n\r\n{sex}\r\n--x7\r\n'
        f'Content-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    ).encode()
    body += path.read_bytes() + b"\r\n--x7--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x7"}
    status, answer = fetch(f"{address}/api/predict", body, **(kind | headers))
    return status, json.loads(answer or b"{}")


def test_api_is_served_beside_the_page(served, predictor, hand):
    status, record = post(served, hand, "female")
    assert status == 200
    expected = predictor.predict(InputRadiograph(hand, "female"))
    assert record["bone_age_months"] == expected.bone_age_months
    assert post(served, REPOSITORY / "README.md", "male")[0] == 400
    assert json.loads(fetch(f"{served}/api/health")[1])["status"] == "ok"
    described = json.loads(fetch(f"{served}/api/openapi.json")[1])
    assert set(described["paths"]) == {"/health", "/predict"}


def test_api_asks_for_the_password_and_health_does_not(predictor, hand):
    from boneage.serving import web_app

    settings = WebSettings(auth=("ann:secret",), open_page=False)
    with web_app.serving(predictor, settings) as address:
        address = address.rstrip("/")
        assert post(address, hand, "male")[0] == 401
        known = basic("ann:secret")
        assert post(address, hand, "male", Authorization=known)[0] == 200
        assert fetch(f"{address}/api/health")[0] == 200
        assert fetch(f"{address}/api/health/../openapi.json")[0] == 401


def test_page_and_api_answer_fifty_clients(served, hand):
    def one(number):
        if number % 2:
            return post(served, hand, "male")[0] == 200
        return ask(served, upload(served, hand), "male")[0] == "complete"

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(one, range(50)))
    assert fetch(f"{served}/config")[0] == 200
