"""Network files that are damaged, hostile, or of somebody else's network."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.io import keras_models, radiographs
from boneage.layout import Layout
from boneage.regression import backbones
from boneage.regression.run_folder import Run
from boneage.segmentation.committee import Committee
from boneage.segmentation.committee_folder import commit_epoch
from tests.conftest import REPOSITORY

ADVICE = "train one again"


def network(name: str = "last") -> keras.Model:
    image = keras.Input((4,), name="image")
    return keras.Model(image, keras.layers.Dense(1, name=name)(image))


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "good.keras"
    network().save(path)
    return path


def refused(path: Path, complaint: str) -> str:
    with pytest.raises(InputError, match=complaint) as caught:
        keras_models.load(path, ["last"], ADVICE)
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert message.endswith(ADVICE)
    assert "\n" not in message
    return message


def test_good_network_is_loaded(good):
    assert keras_models.load(good, ["last"], ADVICE).count_params() == 5


class Harm:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_file_is_not_unpickled(tmp_path):
    path = tmp_path / "a.keras"
    path.write_bytes(pickle.dumps(Harm(tmp_path / "harm")))
    refused(path, "cannot be read as a network")
    assert list(tmp_path.iterdir()) == [path]


def test_pickled_weights_in_a_good_network_are_not_unpickled(good, tmp_path):
    path = tmp_path / "a.keras"
    weights = io.BytesIO()
    harm = np.array([Harm(tmp_path / "harm")], dtype=object)
    np.savez(weights, **{"layers/dense/vars": harm})
    with zipfile.ZipFile(good) as before, zipfile.ZipFile(path, "w") as after:
        for name in ("config.json", "metadata.json"):
            after.writestr(name, before.read(name))
        after.writestr("model.weights.npz", weights.getvalue())
    refused(path, "cannot be read as a network")
    assert list(tmp_path.iterdir()) == [path]


def with_lambda(target: str) -> keras.Model:
    image = keras.Input((4,), name="image")
    harmful = keras.layers.Lambda(
        lambda x: (__import__("pathlib").Path(target).touch(), x)[1], output_shape=(4,)
    )
    return keras.Model(image, keras.layers.Dense(1, name="last")(harmful(image)))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_layer_is_refused(tmp_path, suffix):
    target = tmp_path / "harm"
    path = tmp_path / f"a{suffix}"
    with_lambda(str(target)).save(path)
    target.unlink(missing_ok=True)
    refused(path, "cannot be read as a network")
    assert list(tmp_path.iterdir()) == [path]


def test_file_of_old_keras_behind_a_new_name(tmp_path):
    network().save(tmp_path / "a.h5")
    path = (tmp_path / "a.h5").rename(tmp_path / "a.keras")
    refused(path, "no .keras file")


@pytest.mark.parametrize("kept", [0, 100, 0.5, -1])
def test_truncated_file(good, tmp_path, kept):
    content = good.read_bytes()
    path = tmp_path / "a.keras"
    path.write_bytes(content[: int(len(content) * kept) if kept == 0.5 else kept])
    refused(path, "cannot be read as a network")


@pytest.mark.parametrize("seed", range(12))
def test_altered_file_is_refused_or_whole(good, tmp_path, seed):
    """Bytes changed anywhere: never another error, never another architecture."""
    rng = np.random.default_rng(seed)
    content = bytearray(good.read_bytes())
    for place in rng.integers(0, len(content), 20):
        content[place] ^= 1 << int(rng.integers(8))
    path = tmp_path / "a.keras"
    path.write_bytes(content)
    try:
        loaded = keras_models.load(path, ["last"], ADVICE)
    except InputError:
        return
    assert loaded.count_params() == 5


def test_archive_without_a_network(tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "nothing here")
    refused(path, "cannot be read as a network")


def test_missing_file_and_folder(tmp_path):
    refused(tmp_path / "a.keras", "cannot be found")
    (tmp_path / "b.keras").mkdir()
    refused(tmp_path / "b.keras", "cannot be found")


def test_network_without_our_layers(tmp_path):
    path = tmp_path / "a.keras"
    network("another").save(path)
    refused(path, "last")


def test_run_committee_and_weights_refuse_another_network(good, tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.model.write_bytes(good.read_bytes())
    with pytest.raises(InputError, match=r"model\.keras cannot be read as a network"):
        run.load_model()
    commit_epoch(
        tmp_path,
        {"epoch": 1, "members": 1, "clip_limit": 0.03, "committee_hash": "1a2b"},
    )
    (tmp_path / "member_0.keras").write_bytes(good.read_bytes())
    with pytest.raises(
        InputError, match=r"member_0\.keras cannot be read as a network"
    ):
        Committee.load(tmp_path)
    with pytest.raises(InputError, match=r"good\.keras cannot be read as a network"):
        backbones._load_weights(network(), "xception", good)


def test_state_of_a_committee_that_lacks_a_fact(tmp_path):
    commit_epoch(tmp_path, {"epoch": 1, "members": 1, "committee_hash": "1a2b"})
    expected = r"state\.json must have clip_limit \(got none\); run"
    with pytest.raises(InputError, match=expected):
        Committee.load(tmp_path)


def test_members_of_two_sizes(tmp_path):
    from boneage.segmentation import unet

    for member, size in enumerate((16, 32)):
        small = unet.build(size, 2, depth=1)
        small.compile(loss=unet.dice_and_cross_entropy)
        small.save(tmp_path / f"member_{member}.keras")
    commit_epoch(
        tmp_path,
        {"epoch": 1, "members": 2, "clip_limit": 0.03, "committee_hash": "1a2b"},
    )
    with pytest.raises(
        InputError, match=r"member_1\.keras must have the input of member_0\.keras"
    ):
        Committee.load(tmp_path)


@pytest.mark.parametrize(
    ("backend", "keras_json", "words"),
    [
        ("mxnet", None, "KERAS_BACKEND: the backend must be one of"),
        ("", "mxnet", "keras.json: the backend must be one of"),
        ("", "torch", "keras.json: the backend torch must be installed"),
        ("torch", "mxnet", "KERAS_BACKEND: the backend torch must be installed"),
    ],
)
def test_backend_that_is_not_there_is_named(
    tmp_path, monkeypatch, backend, keras_json, words
):
    found = {"torch": None}
    monkeypatch.setattr(
        keras_models.importlib.util, "find_spec", lambda name: found.get(name, name)
    )
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if keras_json:
        (tmp_path / "keras.json").write_text(json.dumps({"backend": keras_json}))
    with pytest.raises(InputError, match=words):
        keras_models.check_backend()


@pytest.mark.parametrize("content", [None, "{}", '{"backend": "jax"}', "no JSON"])
def test_backend_that_is_there(tmp_path, monkeypatch, content):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    keras_models.check_backend()


def test_script_ends_in_one_line_where_keras_has_no_backend(tmp_path):
    script = "al_segmentation/step3_gen_segmentation_result.py"
    command = [sys.executable, script, "--data", tmp_path, "--models", tmp_path]
    (tmp_path / "committee").mkdir()
    commit_epoch(
        tmp_path / "committee",
        {"epoch": 1, "members": 1, "clip_limit": 0.03, "committee_hash": "1a2b"},
    )
    radiographs.write(
        Layout(tmp_path, tmp_path).radiograph(1), np.zeros((80, 80), np.uint8)
    )
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ
        | {"KERAS_BACKEND": "mxnet", "BONEAGE_ENGINE": "keras"}
        | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "error: KERAS_BACKEND: the backend must be one of tensorflow, jax, torch "
        "(got mxnet)"
    )
    assert "Traceback" not in done.stderr
