"""Training on JAX: one device, two, and two processes that may die."""

import inspect
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib

import numpy as np
import pandas as pd
import pytest

from boneage.errors import InputError
from boneage.layout import Layout
from boneage.regression import multi_host
from boneage.regression.run_folder import Run
from boneage.regression.settings import TrainingSettings
from tests.conftest import REPOSITORY, pack_hands

SETTINGS = "model='tiny', weights='none', epochs=3, learning_rate=0.02, patience=9"

# 32 hands to train on: with 6 a step the last two of each epoch's order are left over
TRAIN = f"""
import sys
sys.path.insert(0, "tests")
import pathlib
from tests.conftest import call, tiny_build
from boneage.io.files import InputError
from boneage.layout import Layout
from boneage.regression import backbones
from boneage.regression.settings import TrainingSettings
import boneage.cli
backbones.BACKBONES["tiny"] = backbones.Backbone("", 32, {{}})
backbones.build_backbone = tiny_build
data, models, script, more = sys.argv[1:]
options = dict({SETTINGS}, batch_norm_momentum=0.5, image_size=32) | eval(more)
def main(_):
    layout = Layout(pathlib.Path(data), pathlib.Path(models))
    call(layout, f"al_segmentation/step4_regression_{{script}}", **options)
boneage.cli.run(main, boneage.cli.Paths, [])
"""


def train(layout, more: dict, devices: int = 1, script="multi_gpu") -> subprocess.Popen:
    """One training, in a process of its own; `devices`: logical CPUs it sees."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    backend = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    folders = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, layout.data, layout.models, script, repr(more)],
        cwd=REPOSITORY,
        env=os.environ | backend | {"PYTHONPATH": folders},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen, seconds: float = 300) -> str:
    said = process.communicate(timeout=seconds)[0]
    assert process.returncode == 0, said[-3000:]
    return said


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    """Forty packed hands, and the run of one device with six hands a step."""
    pytest.importorskip("jax")
    folder = tmp_path_factory.mktemp("hands")
    layout = Layout(folder / "data", folder / "models")
    pack_hands(layout)
    said = finished(train(layout, {"run": "one", "batch_size": 6}))
    assert "on CPU:0 by JAX" in said
    return layout


def same_as_one(layout: Layout, name: str) -> None:
    one, other = (Run(layout.regression / run) for run in ("one", name))
    expected, found = (pd.read_csv(run.history) for run in (one, other))
    assert found.epoch.tolist() == [1, 2, 3]
    # sums in another order; months, on losses of 20 to 60
    for column in ("loss", "validation_loss", "validation_mae"):
        np.testing.assert_allclose(found[column], expected[column], atol=0.02)
    for a, b in zip(*(run.load_model().weights for run in (one, other)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=2e-3)
    months = [run.read_predictions().predicted_months for run in (one, other)]
    assert np.ptp(months[0]) > 0.1
    np.testing.assert_allclose(*months, atol=0.05)
    assert not list(other.folder.glob("last_*"))


@pytest.mark.slow
def test_two_devices_train_as_one(hands):
    # the devices share six hands a step; the panel is seen by one of them
    more = {"run": "two", "batch_size": 3, "devices": "2", "panel": 3}
    said = finished(train(hands, more, devices=2, script="with_cam"))
    assert "on 2 CPUs by JAX" in said
    same_as_one(hands, "two")
    assert Run(hands.regression / "two").cam_history.exists()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_two(layout: Layout, **more) -> list[subprocess.Popen]:
    shared = {"cluster": f"127.0.0.1:{free_port()}", "processes": 2, "batch_size": 3}
    return [train(layout, shared | more | {"index": index}) for index in (0, 1)]


@pytest.mark.slow
def test_two_processes_train_as_one(hands):
    first, second = start_two(hands, run="both")
    assert "wrote" in finished(first)
    assert "process 1 is done; process 0 predicts and writes" in finished(second)
    same_as_one(hands, "both")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_killed_process_ends_the_other(hands, victim):
    name = f"killed_{victim}"
    endless = {"run": name, "epochs": 9999, "patience": 9999}
    both = start_two(hands, checkpoint_minutes=0.0, **endless)
    run = Run(hands.regression / name)
    try:
        end = time.monotonic() + 200
        while not list(run.folder.glob("last_*.keras")):
            assert time.monotonic() < end
            time.sleep(0.1)
        both[victim].send_signal(signal.SIGKILL)
        said = both[1 - victim].communicate(timeout=3 * multi_host.HEARTBEAT_S)[0]
    finally:
        for process in both:
            process.kill()
            process.wait()
    # by its own words where the broken connection is seen first, else by JAX's
    lost = {multi_host.LOST: " is gone; start all", -signal.SIGABRT: "task died"}
    assert both[1 - victim].returncode in lost, said[-2500:]
    assert lost[both[1 - victim].returncode] in said
    before = max(int(p.stem[5:]) for p in run.folder.glob("last_*.keras"))
    first, second = start_two(hands, run=name, epochs=9999, patience=1)
    both = [first, second]
    try:
        said = first.communicate(timeout=300)[0]
        assert f"resuming after epoch {before}" in said
    finally:
        for process in both:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            ValueError("UNKNOWN: Gloo AllGather failed: reset by peer"),
            3,
            "is gone; start all",
        ),
        (RuntimeError("INTERNAL: NCCL operation failed"), 3, "is gone; start all"),
        (InputError("7.png cannot be found"), 2, "error: 7.png cannot be found"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("a defect"), 1, "ValueError: a defect"),
    ],
)
def test_error_ends_a_process_at_once(error, status, line, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(multi_host.os, "_exit", ended.append)
    together = multi_host.Cluster(TrainingSettings(cluster="a:1", processes=2))
    together.__exit__(type(error), error, None)
    assert ended == [status]
    assert line in capsys.readouterr().err


def test_end_without_an_error_waits_for_the_others(monkeypatch):
    monkeypatch.setattr(multi_host.os, "_exit", lambda status: pytest.fail("left"))
    multi_host.Cluster(TrainingSettings()).__exit__(None, None, None)


RATES = """
import keras, numpy as np
from boneage.regression.learning_rate import RateByStep
x = np.arange(12, dtype="float32").reshape(6, 2)
kernels = []
for rates in ([0.1, 0.0, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.0]):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    first = model.get_weights()[0].copy()
    model.fit(x, x[:, :1], batch_size=2, shuffle=False, verbose=0,
        callbacks=[RateByStep(rates.__getitem__, 0)])
    kernels.append(np.abs(model.get_weights()[0] - first).max())
assert kernels[2] == 0 and 0 < kernels[0] != kernels[1] > 0, kernels
"""


@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_rate_is_that_of_the_step_on_every_backend(backend):
    pytest.importorskip(backend)
    done = subprocess.run(
        [sys.executable, "-c", RATES],
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"processes": 2}, "got --cluster none, --processes 2"),
        ({"cluster": "a:1"}, "got --cluster a:1, --processes 1"),
        ({"cluster": "a", "processes": 2}, r"--cluster must be HOST:PORT \(got a\)"),
        (
            {"cluster": "a:1", "processes": 2, "index": 2},
            r"--index must be 0 to 1 \(got 2\)",
        ),
    ],
)
def test_cluster_that_makes_no_sense(more, complaint):
    with pytest.raises(InputError, match=complaint):
        TrainingSettings(**more).check()


def test_cluster_on_another_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(InputError, match="KERAS_BACKEND must be jax with --cluster"):
        multi_host.process_group(TrainingSettings(cluster="a:1", processes=2))


def test_cluster_without_jax(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(InputError, match=r'pip install "jax\[cuda12\]"'):
        multi_host.process_group(TrainingSettings(cluster="a:1", processes=2))


def test_oldest_jax_that_may_be_installed_meets_the_others_as_we_ask_it_to():
    """`initialize` knows shutdown_timeout_seconds from 0.9 on."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    (bound,) = project["project"]["optional-dependencies"]["jax"]
    assert bound.startswith("jax[cpu]>=0.9,")


def test_process_meets_the_others_with_arguments_that_jax_knows(monkeypatch):
    jax = pytest.importorskip("jax")
    known = inspect.signature(jax.distributed.initialize)
    given = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *a, **k: given.append(known.bind(*a, **k))
    )
    multi_host.Cluster(TrainingSettings(cluster="a:1", processes=2)).__enter__()
    assert given[0].arguments["heartbeat_timeout_seconds"] == multi_host.HEARTBEAT_S
