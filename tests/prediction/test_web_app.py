"""The page and the API, over HTTP."""

import json
from pathlib import Path

import pytest

from boneage.errors import InputError
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.record import STATEMENT
from boneage.web import WebSettings
from tests.conftest import REPOSITORY
from tests.test_web import fetch


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


def ask(address, place: str, sex: str) -> tuple[str, list]:
    """Call the endpoint as the README says; the last event and its data."""
    file = {"path": place, "meta": {"_type": "gradio.FileData"}}
    status, answer = fetch(
        f"{address}/gradio_api/call/predict",
        json.dumps({"data": [file, sex]}).encode(),
        **{"Content-Type": "application/json"},
    )
    if status != 200:
        return "refused", []
    event = json.loads(answer)["event_id"]
    text = fetch(f"{address}/gradio_api/call/predict/{event}")[1].decode()
    *_, name, data = [line for line in text.splitlines() if line]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.fixture(scope="module")
def served(tiny_predictor):
    from boneage.prediction import web_app

    with web_app.serving(tiny_predictor, WebSettings(open_page=False)) as address:
        yield address.rstrip("/")


def test_page_answers_over_http(served, tiny_predictor, hand):
    assert served.startswith("http://127.0.0.1:")
    event, (words, report, record) = ask(served, upload(served, hand), "female")
    assert event == "complete"
    expected = tiny_predictor.predict(InputRadiograph(hand, "female"))
    assert record["bone_age_months"] == round(expected.bone_age_months, 1)
    assert record["file"] == "hand.png"
    assert record["statement"] == STATEMENT
    assert "For research, not for diagnosis." in words
    status, png = fetch(report["url"])
    assert status == 200
    assert png.startswith(b"\x89PNG")


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


def test_upload_is_bounded(served, tiny_predictor, tmp_path, monkeypatch):
    from boneage.prediction import web_app

    large = tmp_path / "large.png"
    large.write_bytes(bytes(300_000))
    monkeypatch.setattr(web_app, "LARGEST_UPLOAD", "100kb")
    with (
        web_app.serving(tiny_predictor, WebSettings(open_page=False)) as address,
        pytest.raises(AssertionError),
    ):
        upload(address.rstrip("/"), large)


def test_password_is_asked_for(tiny_predictor):
    from boneage.prediction import web_app

    settings = WebSettings(auth=("ann:secret",), open_page=False)
    with web_app.serving(tiny_predictor, settings) as address:
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
        web_app.serving(tiny_predictor, WebSettings(host="0.0.0.0")),
    ):
        pass
