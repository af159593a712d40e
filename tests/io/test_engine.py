"""The engine answers as Keras does, for every layer, and without it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from boneage.errors import InputError
from boneage.io import engine
from boneage.layout import PRETRAINED, REPOSITORY
from boneage.segmentation import preprocessing
from tests.io.test_keras_models import with_lambda

ADVICE = "train one again"


def convolutions(image):
    """Odd sizes, so that paddings are uneven; the layers of U-Nets and backbones."""
    x = layers.Rescaling(1 / 127.5, -1.0)(image)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(scale=False, name="bn")(x)
    y = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2)(x)
    y = layers.ReLU(max_value=6.0)(layers.BatchNormalization(name="bn2")(y))
    z = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(y)
    x = layers.Add()([x, y, z])
    a = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    m = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([a, m, layers.Activation("relu")(x)])
    x = layers.Conv2D(8, (1, 3), padding="valid", groups=2, dilation_rate=2)(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    return layers.UpSampling2D(interpolation="bilinear")(x)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, keras.Model]:
    """A network with a network within, two inputs, and weights unlike the first."""
    keras.utils.set_random_seed(1)
    inside = keras.Input((45, 38, 3), name="pixels")
    nested = keras.Model(inside, convolutions(inside), name="backbone")
    image = keras.Input((45, 38, 1), name="image")
    sex = keras.Input((1,), name="is_male")
    features = nested(layers.Concatenate()([image] * 3))
    features = layers.Activation("linear", name="features")(features)
    pooled = layers.GlobalAveragePooling2D()(features)
    joined = layers.Concatenate()([pooled, layers.Multiply()([pooled, sex]), sex])
    logits = layers.Dense(5, name="logits")(joined)
    model = keras.Model([image, sex], layers.Softmax(name="share")(logits))
    rng = np.random.default_rng(0)
    for layer in nested.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.weights])
    path = tmp_path_factory.mktemp("engine") / "a.keras"
    model.save(path)
    return path, model


NAMES = ["features", "logits", "share"]


def test_every_layer_gives_what_keras_gives(written):
    path, model = written
    rng = np.random.default_rng(0)
    fed = {
        "image": rng.uniform(0, 255, (3, 45, 38, 1)).astype(np.float32),
        "is_male": np.array([[1], [0], [1]], np.float32),
    }
    compiled = engine.compile_network(path, NAMES, ADVICE)
    assert compiled.input_names == ("image", "is_male")
    assert compiled.input_shape == (45, 38, 1)
    expected = keras.Model(model.inputs, [model.get_layer(n).output for n in NAMES])
    for found, wanted in zip(
        compiled(fed), expected.predict_on_batch(fed), strict=True
    ):
        assert found.shape == wanted.shape
        assert np.ptp(wanted) > 0.01
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5)
    for found, wanted in zip(
        compiled.weights["logits"], model.get_layer("logits").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_part_that_is_not_asked_for_is_not_computed(written):
    compiled = engine.compile_network(written[0], ["features"], ADVICE)
    assert compiled.input_names == ("image",)
    assert len(compiled({"image": np.zeros((2, 45, 38, 1), np.float32)})) == 1


def test_layer_that_is_not_translated_is_left_to_keras(tmp_path, monkeypatch):
    image = keras.Input((4, 4, 1), name="image")
    path = tmp_path / "a.keras"
    keras.Model(image, layers.Permute((2, 1, 3), name="last")(image)).save(path)
    assert engine.compile_network(path, ["last"], ADVICE) is None
    found = engine.importlib.util.find_spec
    monkeypatch.setattr(
        engine.importlib.util, "find_spec", lambda n: None if n == "keras" else found(n)
    )
    with pytest.raises(InputError, match=r"network \(Permute \(last\)\); train one"):
        engine.compile_network(path, ["last"], ADVICE)


def test_other_files_are_refused(written, tmp_path):
    def refused(path: Path, complaint: str, names=("features",)) -> None:
        with pytest.raises(InputError, match=complaint) as caught:
            engine.compile_network(path, names, ADVICE)
        assert str(caught.value).startswith(f"{path} cannot be ")
        assert str(caught.value).endswith(ADVICE)

    content = written[0].read_bytes()
    refused(tmp_path / "b.keras", "cannot be found")
    for size in (0, 100, len(content) // 2):
        (tmp_path / "c.keras").write_bytes(content[:size])
        refused(tmp_path / "c.keras", "cannot be read as a network")
    refused(written[0], "no such layer: last", ["last"])
    with zipfile.ZipFile(tmp_path / "d.keras", "w") as file:
        file.writestr("config.json", json.dumps({"class_name": "Sequential"}))
        file.writestr("model.weights.h5", b"")
    refused(tmp_path / "d.keras", "a Sequential is no graph of layers")


def test_code_in_a_file_does_not_run(tmp_path, monkeypatch):
    target, path = tmp_path / "harm", tmp_path / "a.keras"
    with_lambda(str(target)).save(path)
    target.unlink(missing_ok=True)
    # left to Keras, whose safe mode refuses it
    assert engine.compile_network(path, ["last"], ADVICE) is None
    assert not target.exists()


def test_engine_is_chosen_by_name(written, monkeypatch):
    monkeypatch.setenv(engine.VARIABLE, "keras")
    assert engine.compile_network(written[0], NAMES, ADVICE) is None
    monkeypatch.setenv(engine.VARIABLE, "onnxruntime")
    assert engine.is_available()
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="cannot be used without onnxruntime and onnx"):
        engine.is_available()
    monkeypatch.delenv(engine.VARIABLE)
    assert not engine.is_available()
    monkeypatch.setenv(engine.VARIABLE, "tensorflow")
    with pytest.raises(InputError, match="must be onnxruntime or keras"):
        engine.is_available()


def test_neither_keras_nor_tensorflow_is_imported(written):
    code = (
        "import sys; from pathlib import Path; from boneage.io import engine\n"
        f"engine.compile_network(Path({str(written[0])!r}), ['features'], '')\n"
        "print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY)},
    ).stdout
    assert printed == "set()\n"


SHIPPED = sorted((PRETRAINED / "regression").glob("*/model.keras"))


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_networks_answer_as_in_keras(path):
    """Months within 0.05, and the maps, which add up to them, within as much."""
    from boneage.explanation.activation_maps import Explainer
    from boneage.phantoms import radiograph
    from boneage.regression.hand_network import CompiledHandNetwork
    from boneage.regression.run_folder import Run

    run = Run(path.parent)
    compiled, in_keras = Explainer(run.open_network()), Explainer(run.load_model())
    assert isinstance(compiled._network, CompiledHandNetwork)
    assert (compiled.grid, compiled.image_size) == (in_keras.grid, in_keras.image_size)
    rng = np.random.default_rng(0)
    size = compiled.image_size
    images = np.stack(
        [
            preprocessing.prepare(
                radiograph.simulate(rng, age, True, size).radiograph, size, 0.0
            )
            for age in (30, 120, 200)
            for _ in range(2)
        ]
    )
    is_male = np.arange(len(images)) % 2 == 0
    found, expected = compiled(images, is_male), in_keras(images, is_male)
    assert np.ptp(expected.predicted_months) > 20
    for name in ("predicted_months", "offsets", "maps"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), atol=0.05
        )


@pytest.mark.slow
def test_shipped_committee_votes_as_in_keras():
    from boneage.phantoms import radiograph
    from boneage.segmentation.committee import Committee
    from boneage.segmentation.compiled_committee import (
        CompiledCommittee,
        open_committee,
    )

    folder = PRETRAINED / "committee"
    compiled, in_keras = open_committee(folder), Committee.load(folder)
    assert isinstance(compiled, CompiledCommittee)
    rng = np.random.default_rng(0)
    size = compiled.size
    hands = [radiograph.simulate(rng, age, True, size).radiograph for age in (40, 180)]
    images = np.stack([preprocessing.prepare(hand, size, 0.03) for hand in hands])
    found, expected = compiled.probabilities(images), in_keras.probabilities(images)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    masks = found.mean(axis=0) > 0.5, expected.mean(axis=0) > 0.5
    overlap = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
    assert overlap >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size", "stride"),
    [
        ("xception", 131, 32),
        ("inception_v3", 139, 16),
        ("inception_resnet_v2", 139, 32),
        ("efficientnet_lite0", 95, 32),
    ],
)
def test_every_backbone_is_compiled(tmp_path, backbone, size, stride):
    from boneage.regression import network

    model = network.build_network(
        *(backbone, size, "none", True, 127.0, 41.0), map_stride=stride
    )
    model.save(tmp_path / "model.keras")
    names = [network.FEATURES, network.LINEAR_UNIT]
    compiled = engine.compile_network(tmp_path / "model.keras", names, ADVICE)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, size, size), np.uint8)
    fed = network.feed_dict(model, images, np.array([True, False]))
    expected = keras.Model(model.inputs, [model.get_layer(n).output for n in names])
    for found, wanted in zip(
        compiled(fed), expected.predict_on_batch(fed), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
