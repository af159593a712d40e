"""Reading radiographs with the pretrained models: compiled, and with Keras."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import pytorch_views
from benchmarks.timing import MOST, Goal, Row, Size, medians
from boneage.io import engine, radiographs
from boneage.layout import PRETRAINED, REPOSITORY, Layout
from boneage.prediction.inputs import InputRadiograph
from boneage.prediction.predictor import VIEW_COUNT, Predictor
from boneage.regression.hand_network import FEATURES, LINEAR_UNIT
from boneage.regression.run_folder import Run
from boneage.segmentation.compiled_committee import open_committee

MODELS = Layout(models=PRETRAINED)
RUN = Run(MODELS.regression / "inception_v3")
SEX = "male"


@contextlib.contextmanager
def engine_named(name: str) -> Iterator[None]:
    """Networks that are opened within the block are of this engine."""
    before = os.environ.get(engine.VARIABLE)
    os.environ[engine.VARIABLE] = name
    try:
        yield
    finally:
        del os.environ[engine.VARIABLE]
        if before is not None:
            os.environ[engine.VARIABLE] = before


def compare(size: Size) -> list[Row]:
    """Seconds of a forward pass, of a start, and of a radiograph in a folder."""
    return [*_networks(size), *_in_pytorch(size), *_whole(size)]


def _in_pytorch(size: Size) -> list[Row]:
    """Views of a hand by Inception v3, against PyTorch's with timm, in two precisions.

    The same work a call; weights play no part in the time.
    """
    if not pytorch_views.is_installed():
        print("reading: no PyTorch and timm to compare with, see pytorch_views.py")
        return []
    with engine_named(engine.ONNX_RUNTIME):
        network = RUN.open_network()
    side = network.image_size
    views = np.zeros((VIEW_COUNT, side, side), np.uint8)
    sexes = np.ones(VIEW_COUNT, bool)
    rows = []
    for precision in ("float32", "bfloat16"):
        with pytorch_views.forward_passes(precision, VIEW_COUNT, side) as rival:
            ours, theirs = medians([lambda: network(views, sexes), rival], size.rounds)
        name = f"PyTorch with timm, channels last, {precision}"
        rows.append(
            Row(
                "Inception v3, a view, in 32 bits",
                *(ours / VIEW_COUNT, name, theirs / VIEW_COUNT, "ours"),
                ours / VIEW_COUNT,
            )
        )
    return rows


def _networks(size: Size) -> list[Row]:
    rng = np.random.default_rng(0)
    opened = {}
    for name in (engine.ONNX_RUNTIME, engine.KERAS):
        with engine_named(name):
            opened[name] = RUN.open_network(), open_committee(MODELS.committee)
    side = opened[engine.KERAS][0].image_size
    views = rng.integers(0, 256, (VIEW_COUNT, side, side), np.uint8)
    sexes = np.ones(VIEW_COUNT, bool)
    small = opened[engine.KERAS][1].size
    images = rng.integers(0, 256, (size.of(16, 2), small, small), np.uint8)
    small_images = images[..., np.newaxis].astype(np.float32)
    members = opened[engine.ONNX_RUNTIME][1].members
    bare = engine.CompiledNetwork(RUN.model, [FEATURES, LINEAR_UNIT])
    fed = {
        "image": views[..., np.newaxis].astype(np.float32),
        "is_male": np.ones((VIEW_COUNT, 1), np.float32),
    }
    times = medians(
        [
            *[lambda of=of: of[0](views, sexes) for of in opened.values()],
            lambda: bare(fed),
            *[lambda of=of: of[1].probabilities(images) for of in opened.values()],
            lambda: [member({"image": small_images}) for member in members],
        ],
        size.rounds,
    )
    ours, in_keras, floor, voted, voted_in_keras, voting_floor = times
    count = len(members) * len(images)
    return [
        Row(
            "Inception v3 at 203 px, a view",
            *(ours / VIEW_COUNT, "predict_on_batch of Keras", in_keras / VIEW_COUNT),
            *("the bare session", floor / VIEW_COUNT, Goal(MOST, 1.05)),
        ),
        Row(
            "committee, image and member",
            *(voted / count, "predict_on_batch of Keras", voted_in_keras / count),
            *("the bare sessions", voting_floor / count, Goal(MOST, 1.05)),
        ),
    ]


def _whole(size: Size) -> list[Row]:
    """A program that reads one radiograph, and radiographs of a folder."""
    with tempfile.TemporaryDirectory() as name:
        paths = _radiographs(size, Path(name))
        predict = [str(REPOSITORY / "predict.py"), str(paths[0]), "--sex", SEX]

        def program(chosen: str) -> None:
            environment = os.environ | {engine.VARIABLE: chosen}
            command = [sys.executable, *predict]
            subprocess.run(command, env=environment, capture_output=True, check=True)

        start, start_in_keras, imports = medians(
            [
                lambda: program(engine.ONNX_RUNTIME),
                lambda: program(engine.KERAS),
                lambda: subprocess.run(
                    [sys.executable, "-c", "import cv2, onnxruntime, pandas"],
                    check=True,
                ),
            ],
            size.rounds,
        )
        inputs = [InputRadiograph(path, SEX) for path in paths]
        asked = {}
        for chosen in (engine.ONNX_RUNTIME, engine.KERAS):
            with engine_named(chosen):
                asked[chosen] = Predictor(MODELS, at_once=engine.core_count())
                asked[chosen].load()
        network = asked[engine.ONNX_RUNTIME].candidates[0].run.open_network(1)
        side = network.image_size
        views = np.zeros((VIEW_COUNT, side, side), np.uint8)
        whole, in_keras, passes = medians(
            [
                *[
                    lambda of=of: list(of.predict_all(inputs, with_images=False))
                    for of in asked.values()
                ],
                lambda: [network(views, np.ones(VIEW_COUNT, bool)) for _ in inputs],
            ],
            size.rounds,
        )
    count, cores = len(inputs), engine.core_count()
    return [
        Row(
            "predict.py of one radiograph, from cold",
            *(start, "the same with Keras", start_in_keras),
            *("importing OpenCV, ONNX Runtime, pandas", imports),
        ),
        Row(
            f"a radiograph of a folder, {cores} at once",
            *(whole / count, "one after the other in Keras", in_keras / count),
            *("six views on all cores", passes / count / cores),
        ),
    ]


def _radiographs(size: Size, folder: Path) -> list[Path]:
    """Some of the user's radiographs, or one that is simulated, several times."""
    count = size.of(24, 2)
    if size.radiographs is not None:
        return sorted(size.radiographs.glob("*.png"))[:count]
    path = folder / "hand.png"
    radiographs.write(path, size.full_size())
    return [path] * count
