"""Measure what serves others: results in DICOM, the DICOM node, the page's HTTP API.

    python -m benchmarks.services
    python -m benchmarks.services --objects 200 --side-px 299

Reads simulated hands with the pretrained models. The node and the API run as processes
of their own, as a user starts them; their clients run here, over loopback.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
import tyro
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from boneage.layout import PRETRAINED, REPOSITORY, Layout
from boneage.phantoms import radiograph as phantoms_radiograph

NODE_PORT = 11_177
START_S = 300


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    objects: int = 60
    """radiographs that the node gets, over four associations"""
    side_px: int = 512
    """side of the simulated radiographs; their hands are simulated at most at 1400"""
    rounds: int = 5
    """repetitions of the single measurements; the middle one is told"""
    only: tuple[str, ...] = ("dicom-out", "folder", "node")
    """what is measured"""


def main(options: Options) -> None:
    """Measure, and print a line for each figure."""
    with tempfile.TemporaryDirectory() as folder:
        hands = [simulate(n, options.side_px) for n in range(4)]
        if "dicom-out" in options.only:
            measure_dicom_out(Path(folder), hands[0], options.rounds)
        if "folder" in options.only:
            measure_folder(Path(folder), hands, options.rounds)
        if "node" in options.only:
            measure_node(Path(folder), hands, options.objects)


def simulate(seed: int, side_px: int) -> np.ndarray:
    """A hand on black, (row, column) uint8."""
    rng = np.random.default_rng(seed)
    made = phantoms_radiograph.simulate(rng, 60 + 30 * seed, True, min(side_px, 1400))
    size = (side_px, side_px)
    return cv2.resize(made.radiograph, size, interpolation=cv2.INTER_CUBIC)


def dicom_of(image: np.ndarray, number: int) -> pydicom.Dataset:
    """A radiograph of a study of its own."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.StudyInstanceUID = f"2.25.1000{number}"
    dataset.SeriesInstanceUID = f"2.25.2000{number}"
    dataset.SOPInstanceUID = f"2.25.3000{number}"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientID, dataset.PatientSex = f"simulated {number}", "M"
    dataset.Modality, dataset.BodyPartExamined = "CR", "HAND"
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * image.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = image.tobytes()
    return dataset


def measure_dicom_out(folder: Path, hand: np.ndarray, rounds: int) -> None:
    """Time the page, and what the two DICOM objects add to it."""
    from boneage.prediction.inputs import resolve_input
    from boneage.prediction.predictor import Predictor
    from boneage.reporting import dicom_output, report_page

    path = folder / "hand.dcm"
    dicom_of(hand, 0).save_as(path, enforce_file_format=True)
    predictor = Predictor(Layout(models=PRETRAINED))
    prediction = predictor.predict(resolve_input(path, None))
    times: dict[str, list[float]] = {"page": [], "page and objects": [], "writing": []}
    for _ in range(rounds + 1):
        start = time.process_time()
        report_page.picture(prediction, predictor)
        page = time.process_time()
        source = dicom_output.read_source(path)
        result = dicom_output.build(source, prediction, predictor)
        built = time.process_time()
        result.write(folder / "results")
        written = time.process_time()
        for name, seconds in zip(
            times, (page - start, built - page, written - built), strict=True
        ):
            times[name].append(seconds)
    # the first round imports
    middle = {name: float(np.median(found[1:])) for name, found in times.items()}
    objects = middle["page and objects"] - middle["page"] + middle["writing"]
    print(
        f"DICOM out, processor time: page {middle['page']:.2f} s, the two objects "
        f"without the page {objects:.2f} s"
    )


def measure_folder(folder: Path, hands: list[np.ndarray], rounds: int) -> None:
    """Radiographs a second of predict.py on a folder, without its start."""
    place = folder / "hands"
    place.mkdir()
    counts = (4, 4 + 4 * rounds)
    seconds = []
    for count in counts:
        for number in range(count):
            path = place / f"{number}.png"
            cv2.imwrite(str(path), hands[number % len(hands)])
        start = time.monotonic()
        subprocess.run(
            [
                *(sys.executable, REPOSITORY / "predict.py", place, "--sex", "male"),
                *("--models", PRETRAINED, "--csv", folder / "ages.csv"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        seconds.append(time.monotonic() - start)
    rate = (counts[1] - counts[0]) / (seconds[1] - seconds[0])
    print(f"predict.py on a folder: {rate:.2f} radiographs a second beyond its start")


@contextmanager
def served(*arguments: str | Path, ready: str) -> Iterator[subprocess.Popen]:
    """Run predict.py until the block ends; `ready` is in its line when it serves."""
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "predict.py", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    if process.stdout is None:
        raise OSError("predict.py has no output")
    limit = threading.Timer(START_S, process.kill)
    limit.start()
    for line in process.stdout:
        if ready in line:
            break
    limit.cancel()
    threading.Thread(target=process.stdout.read, daemon=True).start()
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def measure_node(folder: Path, hands: list[np.ndarray], objects: int) -> None:
    """Send objects over four associations; time until the last result is there."""
    import pynetdicom

    def send(numbers: range) -> list[int]:
        entity = pynetdicom.AE(ae_title="SENDER")
        entity.add_requested_context(ComputedRadiographyImageStorage)
        made = entity.associate("127.0.0.1", NODE_PORT, ae_title="BONEAGE")
        statuses = [
            made.send_c_store(dicom_of(hands[n % len(hands)], n)).get("Status", -1)
            for n in numbers
        ]
        made.release()
        return statuses

    out, data = folder / "node", folder / "data"
    arguments = ["--dicom-node", f"BONEAGE:{NODE_PORT}", "--dicom-out", out]
    models = ["--data", data, "--models", PRETRAINED]
    with served(*arguments, *models, ready="Ctrl-C stops") as process:
        # the first reading compiles
        send(range(10**6, 10**6 + 2))
        wait_for(out, 2, START_S)
        start, cpu_start = time.monotonic(), processor_s(process.pid)
        with ThreadPoolExecutor(4) as pool:
            parts = [range(first, objects, 4) for first in range(4)]
            statuses = [s for many in pool.map(send, parts) for s in many]
        received = time.monotonic() - start
        wait_for(out, objects + 2, 60 * 60)
        seconds = time.monotonic() - start
        cpu = processor_s(process.pid) - cpu_start
    lost = objects + 2 - len(list(out.glob("SR.*")))
    side = hands[0].shape[0]
    print(
        f"DICOM node, {objects} objects of {side} x {side} px over 4 associations: "
        f"received in {received:.1f} s, delivered in {seconds:.1f} s, "
        f"{objects / seconds:.2f} a second; processor time {cpu / objects:.2f} s an "
        f"object; refused {sum(s != 0 for s in statuses)}, lost {lost}"
    )
    shutil.rmtree(data)


def processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def wait_for(out: Path, count: int, seconds: float) -> None:
    """Wait until a folder has so many reports."""
    end = time.monotonic() + seconds
    while len(list(out.glob("SR.*"))) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"{out} has too few results after {seconds:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
