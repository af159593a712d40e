"""A DICOM node: takes radiographs of hands, reads them, delivers the results.

It answers C-ECHO, and C-STORE of the classes in `RADIOGRAPH_CLASSES`. What it takes is
on disk before it answers with success (`dicom_queue`); reading and delivering follow.
Results go to a folder, to another node, or to both.

Statuses (PS3.4 B.2.3): A700, too large or no room; A900, the data set is not what the
request named; C000, no single grey image with UIDs; C100, no radiograph of a hand by
its header. That the pixels show no hand is known only after success was answered: the
results then say so and give no age.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from boneage import parallel
from boneage.cli import NO_DEFAULT, ends_on_sigterm
from boneage.errors import InputError, check_minimum, refuse_damaged
from boneage.io import dicom, locks, radiographs
from boneage.io.files import atomic_write
from boneage.prediction.inputs import HAND_PARTS, Sex, resolve_input
from boneage.reporting import dicom_output
from boneage.reporting.dicom_output import RADIOGRAPH_CLASSES
from boneage.serving.dicom_peers import (
    NO_ROOM,
    SUCCESS,
    Address,
    NotDelivered,
    check_title,
    make_address,
    send,
)
from boneage.serving.dicom_queue import Queue, key_of, sync_file

if TYPE_CHECKING:
    from pynetdicom.events import Event

    from boneage.prediction.predictor import Predictor

MISMATCH, UNREADABLE, NO_HAND = 0xA900, 0xC000, 0xC100
VERIFICATION = "1.2.840.10008.1.1"
"""Class of C-ECHO."""
MOST_ASSOCIATIONS = 10
"""At a time; a further one is refused, and senders try again."""
PDU_BYTES = 1 << 17
COMMENT_CHARACTERS = 64
"""Of the comment that a refusal may carry (PS3.7 annex C)."""
DRAWING_AHEAD = 2
"""Readings whose pages may wait: each is some megabytes."""
IDLE_S, RETRY_S, LONGEST_RETRY_S = 0.2, 5.0, 300.0


@dataclass(frozen=True)
class NodeSettings:
    """A DICOM node, and where its results go."""

    dicom_node: Annotated[str, NO_DEFAULT] = ""
    """AE:PORT of a DICOM node to run, BONEAGE:11112, instead of reading files"""
    node_host: str = "127.0.0.1"
    """address that the node listens on; DICOM has no password and no encryption"""
    peers: Annotated[tuple[str, ...], NO_DEFAULT] = ()
    """AE titles that may send to the node; default: all"""
    send_to: Annotated[str, NO_DEFAULT] = ""
    """AE@HOST:PORT of the DICOM node that the results are sent to"""
    max_object_mb: int = 256
    """size of the largest object that the node takes, in megabytes"""

    def check_node(self, dicom_out: Path | None) -> None:
        """Raise InputError where the node cannot run, or its results have no place."""
        self.listening()
        self.receiver()
        for title in self.peers:
            check_title("--peers", title)
        check_minimum(1, max_object_mb=self.max_object_mb)
        if dicom_out is None and not self.send_to:
            raise InputError(
                "--dicom-node must have a place for its results (got none); give "
                "--dicom-out DIR or --send-to AE@HOST:PORT"
            )
        dicom_output.check_installed("--dicom-node", "pynetdicom", "highdicom")

    def listening(self) -> Address:
        """The node's own address."""
        match = re.fullmatch(r"(.*):(\d{1,5})", self.dicom_node)
        if match is None:
            raise InputError(
                f"--dicom-node must be AE:PORT, such as BONEAGE:11112 (got "
                f"{self.dicom_node})"
            )
        return make_address("--dicom-node", match[1], self.node_host, match[2])

    def receiver(self) -> Address | None:
        """The node that gets the results; None if they are not sent."""
        if not self.send_to:
            return None
        match = re.fullmatch(r"([^@]*)@(.+):(\d{1,5})", self.send_to)
        if match is None:
            raise InputError(
                "--send-to must be AE@HOST:PORT, such as ARCHIVE@10.0.0.5:104 (got "
                f"{self.send_to})"
            )
        return make_address("--send-to", match[1], match[2].strip("[]"), match[3])


def run(
    predictor: Predictor,
    queue_folder: Path,
    settings: NodeSettings,
    dicom_out: Path | None,
    sex: Sex | None,
) -> None:
    """Receive, read and deliver until Ctrl-C or SIGTERM.

    predictor: its networks are loaded. sex: of radiographs that state none.

    Raises:
        InputError: another process uses the queue, or the port is taken.
    """
    with locks.exclusive(queue_folder):
        node = Node(predictor, Queue(queue_folder), settings, dicom_out, sex)
        with node.listening() as address:
            say(f"DICOM node {address.ae_title} at {address.host}:{address.port}")
            say(f"queue {queue_folder}: {node.queue_line()}; Ctrl-C stops")
            try:
                with ends_on_sigterm():
                    node.work()
            except KeyboardInterrupt:
                say("stopped; what waits is read at the next start")
            finally:
                node.close()


def say(line: str) -> None:
    """Print a line with the time; no line has anything of a patient."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", flush=True)


@dataclass
class Node:
    """Threads of pynetdicom receive, others read, one draws, one delivers."""

    predictor: Predictor
    queue: Queue
    settings: NodeSettings
    dicom_out: Path | None
    sex: Sex | None
    arrived: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    received_bytes: dict[int, int] = field(default_factory=dict)
    drawer: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "drawing")
    )
    courier: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "delivering")
    )

    def queue_line(self) -> str:
        """How much waits."""
        waiting, ready = len(self.queue.waiting()), len(self.queue.undelivered())
        return f"{waiting} to read, {ready} to deliver"

    # receiving, in pynetdicom's threads

    @contextmanager
    def listening(self) -> Iterator[Address]:
        """Accept associations while the block runs.

        Raises:
            InputError: the port cannot be opened.
        """
        import pynetdicom
        from pynetdicom import evt

        address = self.settings.listening()
        entity = pynetdicom.AE(ae_title=address.ae_title)
        entity.maximum_associations = MOST_ASSOCIATIONS
        entity.maximum_pdu_size = PDU_BYTES
        entity.require_called_aet = True
        entity.require_calling_aet = list(self.settings.peers)
        entity.add_supported_context(VERIFICATION)
        for uid in RADIOGRAPH_CLASSES:
            entity.add_supported_context(uid, _transfer_syntaxes())
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self.receive),
            (evt.EVT_PDU_RECV, self.count_bytes),
            (evt.EVT_CONN_CLOSE, self.forget_bytes),
        ]
        try:
            entity.start_server(
                (address.host, address.port), block=False, evt_handlers=handlers
            )
        except OSError as refused:
            raise InputError(
                f"--dicom-node cannot listen at {address.host}:{address.port} "
                f"({refused.strerror}); choose another port or --node-host"
            ) from None
        try:
            yield address
        finally:
            entity.shutdown()

    def count_bytes(self, event: Event) -> None:
        """End an association that sends twice what is taken: memory is bounded."""
        key = id(event.assoc)
        data = getattr(event.pdu, "presentation_data_value_items", None)
        if data is None:
            return
        size = sum(len(item.presentation_data_value) for item in data)
        # bit 2 of the first byte: the last fragment of a message (PS3.8 E.2)
        is_last = any(item.presentation_data_value[0] & 2 for item in data)
        self.received_bytes[key] = self.received_bytes.get(key, 0) + size
        if self.received_bytes[key] > 2 * self.settings.max_object_mb << 20:
            say("refused: an object of more than twice the largest size; aborted")
            event.assoc.abort()
        if is_last:
            self.received_bytes[key] = 0

    def forget_bytes(self, event: Event) -> None:
        """An association is over."""
        self.received_bytes.pop(id(event.assoc), None)

    def receive(self, event: Event) -> Any:
        """Answer a C-STORE request: the status, with a comment where it is refused."""
        # pynetdicom's type covers the requests of all services
        request: Any = event.request
        if request.DataSet.getbuffer().nbytes > self.settings.max_object_mb << 20:
            limit = f"{self.settings.max_object_mb} MB"
            return _refused(NO_ROOM, f"object of more than {limit}")
        key = key_of(str(request.AffectedSOPInstanceUID))
        asked = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        try:
            is_new = self.queue.add(
                key, event.encoded_dataset(), lambda path: check_object(path, asked)
            )
        except RefusedObject as error:
            return _refused(error.status, str(error))
        except OSError as error:
            return _refused(NO_ROOM, f"queue not writable ({error.strerror})")
        say(f"{key[:8]}: {'received' if is_new else 'received before'}")
        self.arrived.set()
        return SUCCESS

    # reading, a radiograph a core

    def work(self) -> None:
        """Read what waits, again and again; a defect of the program ends it."""
        drawing: deque[Future] = deque()
        delivering = self.courier.submit(self.deliver_all)
        taken: set[str] = set()
        while not self.stopping.is_set():
            if delivering.done():
                delivering.result()
            while drawing and (drawing[0].done() or len(drawing) >= DRAWING_AHEAD):
                drawing.popleft().result()
            waiting = [path for path in self.queue.waiting() if path.stem not in taken]
            if not waiting:
                self.arrived.wait(IDLE_S)
                self.arrived.clear()
                continue
            taken &= {path.stem for path in self.queue.waiting()}
            threads = self.predictor.at_once if self.predictor.is_shareable else 1
            for path, read in parallel.imap_threads(self.read, waiting, threads):
                if self.stopping.is_set():
                    break
                taken.add(path.stem)
                while len(drawing) >= DRAWING_AHEAD:
                    drawing.popleft().result()
                if read is None:
                    # it may be sent again
                    taken.discard(path.stem)
                else:
                    drawing.append(self.drawer.submit(self.store, path.stem, *read))

    def read(self, path: Path) -> tuple[Any, Any] | None:
        """Source and predictions of an object; None if it was set aside."""
        try:
            source = dicom_output.read_source(path)
            inputs = resolve_input(path, "")
            if inputs.sex == "unknown" and self.sex is not None:
                inputs = resolve_input(path, self.sex)
            with _no_defect_stops_the_node():
                return source, list(self.predictor.predict_hands(inputs))
        except InputError as error:
            reason = str(error).replace(str(path), "the object")
            self.set_aside(path.stem, reason)
            return None

    def store(self, key: str, source: Any, predictions: list[Any]) -> None:
        """Draw pages, make reports and keep them."""
        try:
            with _no_defect_stops_the_node():
                results = [
                    dicom_output.build(source, prediction, self.predictor)
                    for prediction in predictions
                ]
        except InputError as error:
            self.set_aside(key, str(error))
            return

        def write(folder: Path) -> None:
            for result in results:
                result.write(folder)

        if self.until_done(lambda: self.queue.store_results(key, write)):
            say(f"{key[:8]}: read" + (", no age" if predictions[0].refusal else ""))

    def set_aside(self, key: str, reason: str) -> None:
        """Move an object or its results aside, and say why."""
        if self.until_done(lambda: self.queue.set_aside(key, reason)):
            say(f"{key[:8]}: set aside: {reason}")

    def until_done(self, step: Callable[[], object]) -> bool:
        """Try a step of the queue until the disk has room; False if the node stops."""
        while True:
            try:
                step()
                return True
            except OSError as error:
                say(f"cannot write: {error.strerror}; trying again")
                if self.stopping.wait(RETRY_S):
                    return False

    # delivering

    def deliver_all(self) -> None:
        """Deliver what is ready until the node stops."""
        pause = RETRY_S
        while not self.stopping.is_set():
            for folder in self.queue.undelivered():
                if self.stopping.is_set():
                    return
                try:
                    self.deliver(folder)
                    pause = RETRY_S
                except NotDelivered as error:
                    say(f"{folder.name[:8]}: not delivered: {error}; trying again")
                    self.stopping.wait(pause)
                    pause = min(2 * pause, LONGEST_RETRY_S)
                    break
                except InputError as error:
                    self.set_aside(folder.name, str(error))
            self.stopping.wait(IDLE_S)

    def deliver(self, folder: Path) -> None:
        """Copy and send one object's results, then note that it is done.

        Raises:
            NotDelivered: later it may work.
            InputError: the other node does not want them.
        """
        paths = sorted(folder.iterdir())
        try:
            if self.dicom_out is not None:
                for path in paths:
                    with atomic_write(self.dicom_out / path.name) as temporary:
                        shutil.copyfile(path, temporary)
                        sync_file(temporary)
            receiver = self.settings.receiver()
            if receiver is not None:
                send(paths, receiver, self.settings.listening().ae_title)
            self.queue.complete(folder.name)
        except OSError as error:
            raise NotDelivered(str(error.strerror)) from error
        say(f"{folder.name[:8]}: delivered")

    def close(self) -> None:
        """Stop the threads once they have ended what they are at."""
        self.stopping.set()
        self.drawer.shutdown(cancel_futures=True)
        self.courier.shutdown(cancel_futures=True)


def _no_defect_stops_the_node() -> AbstractContextManager[None]:
    """Set an object aside that brings out a defect; the reason is kept beside it."""
    return refuse_damaged("the object", "cannot be answered", "see the failed folder")


class RefusedObject(Exception):
    """An object that the node does not take."""

    def __init__(self, status: int, words: str) -> None:
        """status: of the answer. words: its comment."""
        super().__init__(words)
        self.status = status


def check_object(path: Path, asked: tuple[str, str]) -> None:
    """Raise RefusedObject unless a file is one grey image of a hand by its header.

    asked: class and instance UID that the request named.
    """
    try:
        source = dicom_output.read_source(path)
        dicom.check_frame(path, radiographs.LONGEST_SIDE_PX)
        part = dicom.read_facts(path).body_part.upper()
    except InputError as error:
        words = str(error).replace(f"{path}: ", "").replace(f"{path} ", "object ")
        raise RefusedObject(UNREADABLE, words) from error
    if (source.SOPClassUID, source.SOPInstanceUID) != asked:
        raise RefusedObject(MISMATCH, "UIDs of data set and request differ")
    if part and not any(word in part for word in HAND_PARTS):
        raise RefusedObject(NO_HAND, f"no hand: BodyPartExamined {part}")


def _refused(status: int, words: str) -> Any:
    """A status with its comment; the log has both."""
    from pydicom import Dataset

    plain = words.encode("ascii", "replace").decode().replace("\\", "/")
    say(f"refused {status:04X}: {plain}")
    answer = Dataset()
    answer.Status, answer.ErrorComment = status, plain[:COMMENT_CHARACTERS]
    return answer


def _transfer_syntaxes() -> list[Any]:
    """Encodings that `radiographs.read` decodes."""
    from pydicom import uid

    return [
        *(uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.RLELossless),
        *(uid.JPEGLosslessSV1, uid.JPEGLossless, uid.JPEGLSLossless),
        *(uid.JPEG2000Lossless, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit),
        *(uid.JPEGLSNearLossless, uid.JPEG2000),
    ]
