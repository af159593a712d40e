"""The annotator over HTTP: what it answers, and what it refuses."""

import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.active_learning import query_folder
from boneage.annotator import actions, api, page, run_lengths, server
from boneage.annotator.queue import AnnotationQueue
from boneage.annotator.round import CLOSE, AnnotationRound
from boneage.io import radiographs
from boneage.web import WebSettings
from tests.annotator.test_page import PORTRAIT, QUIET, SQUARE, lay_out
from tests.test_web import basic, fetch


@pytest.fixture(autouse=True)
def _no_farewell(monkeypatch):
    monkeypatch.setattr(server, "FAREWELL_S", 0)


@pytest.fixture
def served(layout):
    """The address of a page that nobody has opened yet."""
    lay_out(layout, PORTRAIT, SQUARE)
    annotation_round = AnnotationRound(layout, (CLOSE,))
    queries = query_folder.waiting_queries(layout)
    annotation_round.publish(AnnotationQueue(layout, queries))
    with server.serving(annotation_round, QUIET) as address:
        yield f"{address}api"


def asked(address: str, data: bytes | None = None) -> dict:
    status, content = fetch(address, data)
    return json.loads(content) | {"http": status} if content else {"http": status}


def test_everything_the_page_needs_is_answered(served, layout):
    state = asked(f"{served}/state?page=a")
    assert state["round"] == 1
    assert state["next"] == [PORTRAIT, SQUARE]
    assert {item["status"] for item in state["items"]} == {"waiting"}
    facts = asked(f"{served}/open/{PORTRAIT}?round=1&page=a")
    assert facts["place"] == "1 of 2, round 3"
    assert facts["facts"] == "radiograph 7, vote entropy 0.650"
    assert not facts["elsewhere"]
    # another page is sent elsewhere
    assert asked(f"{served}/state?page=b")["next"] == [SQUARE, PORTRAIT]
    shape = (facts["height"], facts["width"])
    proposal = radiographs.read(layout.proposal(PORTRAIT))
    start = fetch(f"{served}/start/{PORTRAIT}?round=1")[1]
    np.testing.assert_array_equal(run_lengths.decode(start, shape), proposal)
    for kind in (
        *("radiograph", "equalized", "disagreement", "second"),
        "thumbnail",
    ):
        content = fetch(f"{served}/picture/{PORTRAIT}/{kind}?v=1")[1]
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image.ndim == {"radiograph": 2, "equalized": 2}.get(kind, 3)
        assert kind == "thumbnail" or image.shape[:2] == shape
    save = f"{served}/save/{PORTRAIT}?round=1&page=a&version={facts['version']}"
    done = asked(f"{save}&seconds=2.5", start)
    assert done["message"] == "Radiograph 7 saved."
    assert done["state"]["next"] == [SQUARE]
    assert done["state"]["accepted"] == 1
    assert done["state"]["seconds"] == 2.5
    np.testing.assert_array_equal(radiographs.read(layout.answer(PORTRAIT)), proposal)
    # the version is another now: another mask only on purpose
    assert asked(save, start)["http"] == 200
    proposal[60:80] = 0
    other = run_lengths.encode(proposal)
    assert asked(save, other)["http"] == 409
    assert asked(f"{save}&confirm=overwrite", other)["http"] == 200


def test_a_closed_page_leaves_its_radiograph_to_others(served):
    fetch(f"{served}/open/{PORTRAIT}?round=1&page=a")
    fetch(f"{served}/disconnect?page=a", b"")
    assert asked(f"{served}/state?page=b")["next"] == [PORTRAIT, SQUARE]


def test_requests_that_no_page_makes_change_nothing(served, layout):
    facts = asked(f"{served}/open/{PORTRAIT}?round=1")
    start = fetch(f"{served}/start/{PORTRAIT}?round=1")[1]
    version = facts["version"]
    for path, data, wanted in (
        (f"save/{PORTRAIT}?round=1&version={version}", b"", 400),
        (f"save/{PORTRAIT}?round=1&version={version}", b"x", 400),
        (f"save/{PORTRAIT}?round=1&version={version}", start[:-4], 400),
        (f"save/{PORTRAIT}?round=1&version=forged", start, 409),
        (f"save/{PORTRAIT}?round=1", start, 409),
        (f"save/{PORTRAIT}?round=2&version={version}", start, 410),
        (f"save/{PORTRAIT}?version={version}", start, 400),
        (f"save/999?round=1&version={version}", start, 404),
        (f"save/-7?round=1&version={version}", start, 404),
        (f"save/7x?round=1&version={version}", start, 404),
        (f"flag/{PORTRAIT}?round=1&version=forged", b"", 409),
        (f"correct/{PORTRAIT}/no_tool?round=1", start, 404),
        (f"correct/{PORTRAIT}/to_edge?round=1&row=1", start, 400),
        (f"correct/{PORTRAIT}/to_edge?round=1&row=-1&column=0", start, 400),
        (f"correct/{PORTRAIT}/to_edge?round=1&row=0&column=9999", start, 400),
        ("decide/go_on?round=1", b"", 404),
        ("decide/close?round=0", b"", 410),
        (f"save/{PORTRAIT}?round=1", None, 405),
    ):
        status, content = fetch(f"{served}/{path}", data)
        assert status == wanted, path
        assert b"Traceback" not in content
    assert not layout.answer(PORTRAIT).exists()
    assert not layout.unusable.exists()
    assert asked(f"{served}/state")["round"] == 1


def test_no_other_file_is_given_out(served, layout, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("classified")
    root = served.removesuffix("/api")
    for path in (
        secret,
        layout.query(PORTRAIT),
        layout.queries,
        f"../../..{secret}",
        f"..%2f..%2f..{secret}",
        "README.md",
        "../README.md",
        "boneage/layout.py",
        f"file://{secret}",
        "/proc/self/environ",
        Path(tempfile.gettempdir()),
    ):
        for route in ("", "api/", "api/picture/", f"api/picture/{PORTRAIT}/", "file="):
            status, content = fetch(f"{root}/{route}{path}")
            assert status >= 400, f"{route}{path}"
            assert b"classified" not in content


def test_fifty_at_once_are_served(served):
    root = served.removesuffix("api")
    files = [f"{root}{name}" for name in page.FILES]
    paths = (root, *files, f"{served}/picture/{PORTRAIT}/radiograph")
    with ThreadPoolExecutor(50) as clients:
        for path in paths:
            answers = list(clients.map(fetch, [path] * 50))
            assert {status for status, _ in answers} == {200}
            assert len({content for _, content in answers}) == 1


def test_upload_beyond_all_drawings_is_refused(served, monkeypatch):
    monkeypatch.setattr(run_lengths, "LARGEST_BYTES", 1 << 16)
    save = f"{served}/save/{PORTRAIT}?round=1&version=x"
    assert asked(save, bytes(1 << 15))["http"] == 400
    assert asked(save, bytes(1 << 18))["http"] == 413
    assert asked(f"{served}/state")["http"] == 200


def test_a_full_disk_is_told_and_nothing_is_lost(served, layout, monkeypatch):
    def full(path, image):
        raise OSError(28, "No space left on device", str(path))

    facts = asked(f"{served}/open/{PORTRAIT}?round=1")
    start = fetch(f"{served}/start/{PORTRAIT}?round=1")[1]
    save = f"{served}/save/{PORTRAIT}?round=1&version={facts['version']}"
    with monkeypatch.context() as patched:
        patched.setattr(radiographs, "write", full)
        answer = asked(save, start)
        assert answer["http"] == 507
        assert answer["message"] == "Nothing is saved: No space left on device."
    assert asked(save, start)["http"] == 200


def test_page_listens_on_this_machine_alone(served):
    port = int(served.removesuffix("/api").rpartition(":")[2])
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("no table of listening sockets on this system")
    rows = [row.split() for row in listening.read_text().splitlines()[1:]]
    addresses = [row[1] for row in rows if row[3] == "0A"]
    assert [a for a in addresses if int(a[9:], 16) == port] == [f"0100007F:{port:04X}"]


def test_with_a_password_nothing_is_shown_without_it(layout):
    lay_out(layout, PORTRAIT)
    annotation_round = AnnotationRound(layout, (CLOSE,))
    queries = query_folder.waiting_queries(layout)
    annotation_round.publish(AnnotationQueue(layout, queries))
    settings = WebSettings(auth=("ann:pa:ss",), open_page=False)
    with server.serving(annotation_round, settings) as address:
        for path in (
            "",
            *page.FILES,
            "api/state",
            f"api/picture/{PORTRAIT}/radiograph",
        ):
            assert fetch(f"{address}{path}") == (401, b"")
            assert fetch(f"{address}{path}", Authorization=basic("ann:pa"))[0] == 401
            right = basic("ann:pa:ss")
            assert fetch(f"{address}{path}", Authorization=right)[0] == 200


def test_every_action_has_a_key_of_its_own():
    for decisions in ({"go_on", "finish", "leave"}, {"close"}):
        keys = [
            key
            for part in actions.SECTIONS.values()
            for action in part
            if part is not actions.DECISIONS or action.name in {*decisions, "skipped"}
            for key in action.keys
        ]
        assert len(keys) == len({*keys})


def test_every_correction_of_the_table_is_answered():
    answered = {*api.CORRECTIONS, "clear"}  # the page clears by itself
    assert {action.name for action in actions.CORRECTIONS} == answered


def test_script_imports_only_those_before_it():
    scripts = [name for name in page.FILES if name.endswith(".js")]
    assert {path.name for path in page.HERE.glob("*.js")} == {*scripts}
    for index, name in enumerate(scripts):
        text = (page.HERE / name).read_text(encoding="utf-8")
        assert {*re.findall(r'from "\./(.*)"', text)} <= {*scripts[:index]}, name
