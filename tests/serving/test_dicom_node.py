"""A DICOM node over loopback: takes, refuses, reads, delivers, and loses nothing."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pynetdicom
import pytest
from pynetdicom import evt, sop_class

from boneage.errors import InputError
from boneage.prediction.record import STATEMENT
from boneage.serving import dicom_node, dicom_peers
from boneage.serving.dicom_node import Node, NodeSettings
from boneage.serving.dicom_queue import Queue, key_of
from tests.conftest import REPOSITORY
from tests.scripts.bad_input import DEEP, GREY, IMAGES, PNG, dicom_of
from tests.scripts.test_full_disk import disk, fill  # noqa: F401
from tests.serving import node_stub
from tests.serving.node_stub import TITLE, StubPredictor
from tests.tiny_runs import exit_code

RADIOGRAPH = sop_class.ComputedRadiographyImageStorage
CHEST = {"BodyPartExamined": "CHEST"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def object_of(number: int, image=GREY, **tags) -> pydicom.Dataset:
    known = {
        "PatientID": f"patient-{number}",
        "PatientName": "Doe^Jane",
        "PatientSex": "F",
        "Modality": "CR",
        "BodyPartExamined": "HAND",
        "StudyInstanceUID": f"1.2.3.{number}",
        "SeriesInstanceUID": f"1.2.3.{number}.1",
        "SOPInstanceUID": f"1.2.3.{number}.1.1",
    }
    dataset = pydicom.dcmread(io.BytesIO(dicom_of(image, **(known | tags))))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


@contextlib.contextmanager
def association(port, called=TITLE, calling="SENDER", contexts=(RADIOGRAPH,)):
    entity = pynetdicom.AE(ae_title=calling)
    for context in (sop_class.Verification, *contexts):
        entity.add_requested_context(context)
    made = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield made
    finally:
        if made.is_established:
            made.release()


def store(port, *datasets, **how) -> list[pydicom.Dataset]:
    """Send objects in one association; the answers."""
    with association(port, **how) as made:
        assert made.is_established
        return [made.send_c_store(dataset) for dataset in datasets]


def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.02)


class Running:
    """A node at work in threads of this process."""

    def __init__(self, folder: Path, out: Path | None, **more) -> None:
        self.port, self.out = free_port(), out
        self.queue = Queue(folder)
        self.predictor = StubPredictor()
        chosen = node_stub.settings(self.port, **more)
        self.node = Node(self.predictor, self.queue, chosen, out, None)

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(self.node.listening())
        self.thread = threading.Thread(target=self.node.work)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.node.close()
        self.thread.join()
        self.stack.close()

    def done(self, count: int) -> None:
        until(lambda: len(self.queue._done) == count)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch):
    from boneage.reporting import report_page

    monkeypatch.setattr(
        report_page, "picture", lambda *_: np.zeros((8, 8, 3), np.uint8)
    )


@pytest.fixture
def node(tmp_path):
    with Running(tmp_path / "queue", tmp_path / "out") as running:
        yield running


def sources(out: Path) -> list[str]:
    """UIDs of the radiographs that the captures in a folder are of."""
    return sorted(
        pydicom.dcmread(path, stop_before_pixels=True)
        .SourceImageSequence[0]
        .ReferencedSOPInstanceUID
        for path in out.glob("SC.*")
    )


def test_echo_is_answered(node):
    with association(node.port) as made:
        assert made.send_c_echo().Status == 0x0000


def test_radiograph_becomes_a_page_and_a_report_in_its_study(node):
    (answer,) = store(node.port, object_of(1))
    assert answer.Status == 0x0000
    node.done(1)
    assert sources(node.out) == ["1.2.3.1.1.1"]
    (path,) = node.out.glob("SR.*")
    report = highdicom.sr.srread(path)
    assert report.PatientID == "patient-1"
    assert report.StudyInstanceUID == "1.2.3.1"
    (group,) = report.content.get_image_measurement_groups()
    assert group.get_measurements()[0].value == round(float(GREY.mean()), 1)


def test_four_associations_at_once_lose_nothing(node):
    def send(first):
        return store(node.port, *[object_of(first + n) for n in range(10)])

    with ThreadPoolExecutor(4) as pool:
        answers = [a for many in pool.map(send, range(0, 40, 10)) for a in many]
    assert {answer.Status for answer in answers} == {0x0000}
    node.done(40)
    assert sources(node.out) == sorted(f"1.2.3.{n}.1.1" for n in range(40))
    assert len(list(node.out.glob("SR.*"))) == 40
    assert list(node.queue.incoming.iterdir()) == []
    assert list(node.queue.results.iterdir()) == []


def test_object_sent_twice_is_read_once(node):
    answers = store(node.port, object_of(1), object_of(1))
    node.done(1)
    answers += store(node.port, object_of(1))
    assert [answer.Status for answer in answers] == [0x0000] * 3
    time.sleep(0.3)
    assert sources(node.out) == ["1.2.3.1.1.1"]


@pytest.mark.parametrize(
    ("tags", "status", "words"),
    [
        (CHEST, 0xC100, "no hand: BodyPartExamined CHEST"),
        ({"StudyInstanceUID": None}, 0xC000, "must state its StudyInstanceUID"),
        ({"NumberOfFrames": 3}, 0xC000, "must hold one frame (got 3)"),
        ({"PixelData": None}, 0xC000, "must hold a whole image"),
        ({"Rows": 60_000}, 0xC000, "1 to 10000 px a side"),
    ],
)
def test_what_is_no_radiograph_of_a_hand_is_refused(node, tags, status, words, capsys):
    (answer,) = store(node.port, object_of(1, **tags))
    assert answer.Status == status
    assert words in answer.ErrorComment
    assert len(answer.ErrorComment) <= 64
    assert list(node.queue.incoming.iterdir()) == []
    assert f"refused {status:04X}" in capsys.readouterr().out


def test_other_classes_are_refused_with_their_context(node):
    computed = sop_class.CTImageStorage
    with association(node.port, contexts=[computed]) as made:
        assert [c.abstract_syntax for c in made.rejected_contexts] == [computed]


def test_data_set_of_another_uid_than_the_request_is_refused(tmp_path):
    path = tmp_path / "a.dcm"
    object_of(1).save_as(path)
    with pytest.raises(dicom_node.RefusedObject, match="UIDs") as caught:
        dicom_node.check_object(path, (str(RADIOGRAPH), "1.9"))
    assert caught.value.status == 0xA900


def test_too_large_an_object_is_refused_and_a_huge_one_ends_the_association(tmp_path):
    out = tmp_path / "out"
    with Running(tmp_path / "queue", out, max_object_mb=1) as running:
        large = object_of(1, np.zeros((1200, 1200), np.uint8))
        (answer,) = store(running.port, large)
        assert answer.Status == 0xA700
        huge = object_of(2, np.zeros((3000, 3000), np.uint8))
        with association(running.port) as made:
            assert "Status" not in made.send_c_store(huge)
            until(lambda: made.is_aborted)
        assert store(running.port, object_of(3))[0].Status == 0x0000
        running.done(1)
    assert sources(out) == ["1.2.3.3.1.1"]


def test_only_its_title_and_its_peers_may_connect(tmp_path):
    with Running(tmp_path / "queue", tmp_path / "out", peers=("MODALITY",)) as running:
        with association(running.port, called="OTHER", calling="MODALITY") as made:
            assert made.is_rejected
        with association(running.port, calling="SENDER") as made:
            assert made.is_rejected
        with association(running.port, calling="MODALITY") as made:
            assert made.is_established


def test_unreadable_pixels_are_set_aside_and_said(node, capsys):
    broken = object_of(1, PixelData=DEEP.tobytes()[:100])
    assert store(node.port, broken, object_of(2))[0].Status == 0x0000
    node.done(1)
    (reason,) = node.queue.failed.glob("*.txt")
    assert "cannot be decoded" in reason.read_text()
    assert reason.with_suffix(".dcm").exists()
    assert "set aside: the object cannot be decoded" in capsys.readouterr().out
    assert sources(node.out) == ["1.2.3.2.1.1"]


def test_set_aside_object_may_be_sent_again(node):
    store(node.port, object_of(1, PixelData=DEEP.tobytes()[:100]))
    until(lambda: list(node.queue.failed.glob("*.txt")))
    store(node.port, object_of(1))
    node.done(1)


def test_defect_of_the_program_costs_one_object_alone(node, monkeypatch, capsys):
    def fail(inputs):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(node.predictor, "predict_hands", fail)
    store(node.port, object_of(1))
    until(lambda: list(node.queue.failed.glob("*.txt")))
    monkeypatch.undo()
    from boneage.reporting import report_page

    monkeypatch.setattr(
        report_page, "picture", lambda *_: np.zeros((8, 8, 3), np.uint8)
    )
    store(node.port, object_of(2))
    node.done(1)
    assert "a defect" in capsys.readouterr().out


def test_log_and_names_have_nothing_of_a_patient(node, capsys):
    store(node.port, object_of(1), object_of(2, **CHEST))
    node.done(1)
    names = [path.name for path in node.queue.folder.rglob("*")]
    names += [path.name for path in node.out.iterdir()]
    told = capsys.readouterr().out + " ".join(names)
    for word in ("Doe", "Jane", "patient-", "1.2.3."):
        assert word not in told


class Archive:
    """A node that takes results, or answers with the next of `statuses`."""

    def __init__(self) -> None:
        self.port, self.received, self.statuses = free_port(), [], []

    def receive(self, event):
        status = self.statuses.pop(0) if self.statuses else 0x0000
        if status == 0x0000:
            self.received.append(event.dataset)
        return status

    @contextlib.contextmanager
    def listening(self):
        entity = pynetdicom.AE(ae_title="ARCHIVE")
        entity.add_supported_context(sop_class.SecondaryCaptureImageStorage)
        entity.add_supported_context(sop_class.EnhancedSRStorage)
        server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self.receive)],
        )
        try:
            yield
        finally:
            server.shutdown()

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(dicom_node, "RETRY_S", 0.1)


@pytest.mark.usefixtures("hasty")
def test_results_are_sent_once_the_archive_is_there(tmp_path, capsys):
    archive = Archive()
    with Running(tmp_path / "queue", None, send_to=archive.address) as running:
        store(running.port, object_of(1))
        until(lambda: "no association with ARCHIVE" in capsys.readouterr().out)
        assert len(running.queue.undelivered()) == 1
        with archive.listening():
            running.done(1)
    assert [d.Modality for d in archive.received] == ["OT", "SR"]
    assert archive.received[0].StudyInstanceUID == "1.2.3.1"
    assert STATEMENT in archive.received[0].SeriesDescription


@pytest.mark.usefixtures("hasty")
def test_archive_without_room_is_asked_again_with_the_same_objects(tmp_path):
    archive = Archive()
    archive.statuses = [0x0000, 0xA700]
    with (
        archive.listening(),
        Running(tmp_path / "queue", None, send_to=archive.address) as running,
    ):
        store(running.port, object_of(1))
        running.done(1)
    page, page_again, report = (d.SOPInstanceUID for d in archive.received)
    assert page == page_again != report


@pytest.mark.usefixtures("hasty")
def test_results_that_the_archive_refuses_are_set_aside(tmp_path, capsys):
    archive = Archive()
    archive.statuses = [0xA900]
    with (
        archive.listening(),
        Running(tmp_path / "queue", None, send_to=archive.address) as running,
    ):
        store(running.port, object_of(1))
        until(lambda: list(running.queue.failed.glob("*.txt")))
    assert "refused SC (A900)" in capsys.readouterr().out
    assert len(list((running.queue.failed / key_of("1.2.3.1.1.1")).iterdir())) == 2


# what a kill leaves


def started_queue(folder: Path) -> Queue:
    queue = Queue(folder)
    queue.add(key_of("1"), b"first", lambda path: None)
    return queue


def test_object_half_received_is_forgotten(tmp_path):
    queue = started_queue(tmp_path)
    (queue.incoming / ".abc.7.dcm").write_bytes(b"half")
    again = Queue(tmp_path)
    assert [path.stem for path in again.waiting()] == [key_of("1")]
    assert list(again.incoming.glob(".*")) == []


def test_object_whose_results_are_there_is_not_read_again(tmp_path):
    queue = started_queue(tmp_path)
    (queue.results / key_of("1")).mkdir()
    again = Queue(tmp_path)
    assert again.waiting() == []
    assert [path.name for path in again.undelivered()] == [key_of("1")]


def test_results_half_written_are_made_again(tmp_path):
    queue = started_queue(tmp_path)
    (queue.results / f".{key_of('1')}").mkdir()
    again = Queue(tmp_path)
    assert again.undelivered() == []
    assert len(again.waiting()) == 1


def test_delivered_results_are_not_delivered_again(tmp_path):
    queue = started_queue(tmp_path)
    folder = queue.store_results(key_of("1"), lambda path: None)
    queue.complete(key_of("1"))
    folder.mkdir()
    assert Queue(tmp_path).undelivered() == []
    assert Queue(tmp_path).is_known(key_of("1"))


def test_torn_line_of_the_list_counts_for_nothing(tmp_path):
    queue = started_queue(tmp_path)
    queue.store_results(key_of("1"), lambda path: None)
    queue.done_list.write_text(key_of("1")[:7])
    again = Queue(tmp_path)
    assert not again.is_known(key_of("2"))
    assert len(again.undelivered()) == 1


def test_full_disk_refuses_objects_and_loses_none(disk, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(dicom_node, "RETRY_S", 0.1)
    with Running(disk / "queue", disk / "out") as running:
        filled, read = threading.Event(), running.predictor.predict_hands
        running.predictor.predict_hands = lambda inputs: filled.wait() and read(inputs)
        assert store(running.port, object_of(1))[0].Status == 0x0000
        fill(disk)
        filled.set()
        (answer,) = store(running.port, object_of(2))
        assert answer.Status == 0xA700
        assert "No space left" in answer.ErrorComment
        until(lambda: "cannot write: No space left" in capsys.readouterr().out)
        (disk / "filling").unlink()
        assert store(running.port, object_of(2))[0].Status == 0x0000
        running.done(2)
    assert sources(disk / "out") == ["1.2.3.1.1.1", "1.2.3.2.1.1"]
    shutil.rmtree(disk / "queue")
    shutil.rmtree(disk / "out")


def start_process(port, tmp_path) -> subprocess.Popen:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.serving.node_stub", str(port)),
            *(tmp_path / "queue", tmp_path / "out"),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert f"DICOM node {TITLE}" in process.stdout.readline()
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return process


def send_stubbornly(port, numbers, image=GREY) -> None:
    """Send each object until it is answered with success, as modalities do."""
    for number in numbers:
        while True:
            with association(port) as made:
                if made.is_established:
                    try:
                        answer = made.send_c_store(object_of(number, image))
                    except RuntimeError:
                        continue
                    if answer.get("Status") == 0x0000:
                        break
            time.sleep(0.05)


def check_kills(tmp_path, objects: int, kills: int, seconds: float) -> None:
    port, rng = free_port(), np.random.default_rng(5)
    process = start_process(port, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        sending = [
            pool.submit(send_stubbornly, port, range(first, objects, 4))
            for first in range(4)
        ]
        for _ in range(kills):
            time.sleep(rng.uniform(0.2, seconds))
            process.kill()
            process.wait()
            process = start_process(port, tmp_path)
        for sent in sending:
            sent.result()
    done = tmp_path / "queue" / "done.txt"
    until(lambda: done.exists() and done.read_text().count("\n") >= objects, 120)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    out = tmp_path / "out"
    assert sources(out) == sorted(f"1.2.3.{n}.1.1" for n in range(objects))
    assert len(list(out.glob("SR.*"))) == objects
    keys = done.read_text().split()
    assert (
        sorted(set(keys))
        == sorted(keys)
        == sorted(key_of(f"1.2.3.{n}.1.1") for n in range(objects))
    )


def test_kill_loses_nothing_and_repeats_nothing(tmp_path):
    check_kills(tmp_path, objects=24, kills=1, seconds=0.4)


@pytest.mark.slow
def test_thousand_objects_and_many_kills(tmp_path):
    check_kills(tmp_path, objects=1000, kills=20, seconds=2.0)


def test_second_node_on_the_same_queue_is_refused(tmp_path):
    from boneage.io import locks

    with (
        locks.exclusive(tmp_path / "queue"),
        pytest.raises(InputError, match="another process is at work on it"),
    ):
        dicom_node.run(
            StubPredictor(),
            tmp_path / "queue",
            node_stub.settings(free_port()),
            tmp_path / "out",
            None,
        )


def test_taken_port_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        running = Running(tmp_path / "queue", tmp_path / "out")
        running.node.settings = node_stub.settings(taken.getsockname()[1])
        with (
            pytest.raises(InputError, match="cannot listen at 127"),
            running.node.listening(),
        ):
            pass


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dicom-node", "BONEAGE"], "--dicom-node must be AE:PORT"),
        (["--dicom-node", "BONEAGE:0"], "port from 1 to 65535 (got 0)"),
        (["--dicom-node", f"{'A' * 17}:104"], "AE title of 1 to 16"),
        (["--dicom-node", ":104"], "AE title of 1 to 16"),
        (["--dicom-node", "A:104"], "must have a place for its results"),
        (["--dicom-node", "A:104", "--send-to", "B:1"], "--send-to must be AE@HOST"),
        (
            ["--dicom-node", "A:104", "--send-to", "B@h:99999"],
            "--send-to must have a port",
        ),
        (
            ["--dicom-node", "A:104", "--dicom-out", "o", "--peers", "a\\b"],
            "--peers must have an AE title",
        ),
        (
            ["--dicom-node", "A:104", "--dicom-out", "o", "--max-object-mb", "0"],
            "--max-object-mb must be at least 1 (got 0)",
        ),
        (["--dicom-node", "A:104", "--serve"], "only one of them"),
        (["--dicom-node", "A:104", "--dicom-out", "o", "x.png"], "only one of them"),
        (["x.png", "--send-to", "B@h:1"], "cannot be used without --dicom-node"),
    ],
)
def test_options_that_do_not_fit_are_named(flags, words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict.py", *flags])
    assert exit_code(*flags) == 2
    line = capsys.readouterr().err
    assert re.match(r"error: .*\n\Z", line)
    assert words in line


def test_other_nodes_are_found_by_ipv6_too():
    where = NodeSettings(send_to="A@[::1]:104").receiver()
    assert where == dicom_peers.Address("A", "::1", 104)


def test_object_that_is_no_dicom_is_unreadable(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(PNG)
    with pytest.raises(dicom_node.RefusedObject) as caught:
        dicom_node.check_object(path, ("", ""))
    assert caught.value.status == 0xC000
    assert str(tmp_path) not in str(caught.value)
    assert os.sep not in str(caught.value)


@pytest.mark.parametrize("kind", [name for name in IMAGES if "dicom" in name])
def test_every_kind_of_bad_dicom_file_is_refused_or_read(kind, tmp_path):
    """None has the UIDs that are asked for, and none brings out another error."""
    path = tmp_path / "object.dcm"
    IMAGES[kind].make(path)
    with pytest.raises(dicom_node.RefusedObject) as caught:
        dicom_node.check_object(path, ("", ""))
    assert caught.value.status in (0xC000, 0xA900)
    assert str(tmp_path) not in str(caught.value)
