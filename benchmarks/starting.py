"""How long the user waits for the first sign of life: help, a check, a first step."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import MOST, Goal, Row, Size, medians

PYTHON_S = 0.5
"""Seconds that help and a check may take beyond Python and its imports of NumPy."""

FIRST_STEP = """
import functools, sys, time
import keras, numpy as np
name, side, ours = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "ours"
x = np.zeros((8, side, side, 1), np.float32)
y = np.zeros((8, 1), np.float32)
start = time.perf_counter()
if ours:
    from boneage.regression import network
    model = network.build_network(name, side, "none")
    network.freeze_and_compile(model, name, "all", keras.optimizers.Adam(), "mae")
else:
    from boneage.regression.backbones import BACKBONES
    application = getattr(keras.applications, BACKBONES[name].application)
    shape = (side, side, 3)
    backbone = application(include_top=False, weights=None, input_shape=shape)
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(1)(pooled))
    model.compile(optimizer="adam", loss="mae")
    x = np.repeat(x, 3, axis=-1)
model.train_on_batch(x, y)
print(time.perf_counter() - start)
"""


def seconds_of(*arguments: str) -> Callable[[], None]:
    """A program of Python, run to its end."""

    def run() -> None:
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False)

    return run


def first_step(name: str, side: int, who: str) -> float:
    """Seconds from building to the end of the first step, without imports."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP, name, str(side), who],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def compare(size: Size) -> list[Row]:
    """Starts of scripts, and the first step of the slowest backbone."""
    scripts = Path(__file__).resolve().parents[1] / "al_segmentation"
    with tempfile.TemporaryDirectory() as name:
        csv = Path(name) / "csv" / "train.csv"
        csv.parent.mkdir()
        csv.write_text("id,boneage,male\n1,120,True\n")
        check = ("step3_check_data.py", "--data", name, "--jobs", "1")
        help_s, check_s, keras_s, python_s = medians(
            [
                seconds_of(str(scripts / "step4_regression_multi_gpu.py"), "--help"),
                seconds_of(str(scripts / check[0]), *check[1:]),
                seconds_of("-c", "import keras"),
                seconds_of("-c", "pass"),
            ],
            size.rounds,
        )
    allowed = Goal(MOST, (python_s + PYTHON_S) / python_s)
    rows = [
        Row(work, taken, "import keras", keras_s, "python", python_s, allowed)
        for work, taken in (("step4 --help", help_s), ("step3_check_data", check_s))
    ]
    backbone = "inception_v3" if size.quick else "inception_resnet_v2"
    side = size.of(128, 75)
    ours_s, plain_s = first_step(backbone, side, "ours"), 0.0
    plain_s = first_step(backbone, side, "keras")
    row = Row(
        f"first step, {backbone}",
        *(ours_s, "the same in plain Keras", plain_s),
        *("the same in plain Keras", plain_s, Goal(MOST, 1.1)),
    )
    return [*rows, row]
