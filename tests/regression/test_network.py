"""The bone-age network, and which of its layers learn."""

import keras
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.regression import backbones, inference
from boneage.regression import network as regression_network
from boneage.regression.devices import OneDevice, chosen_devices
from boneage.regression.label_distribution import MONTHS

SIZE = 32
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE), dtype=np.uint8)
IS_MALE = np.array([True, False, True, False])


def network(**more) -> keras.Model:
    return regression_network.build_network("tiny", SIZE, "none", **more)


def compiled(fine_tune_from: str) -> tuple[keras.Model, list[str]]:
    model = network()
    learning = regression_network.freeze_and_compile(
        model, "tiny", fine_tune_from, keras.optimizers.SGD(0.1), "mean_absolute_error"
    )
    return model, learning


def snapshot(model) -> dict[str, list[np.ndarray]]:
    layers = [*model.get_layer("tiny").layers, model.get_layer("linear_unit")]
    return {
        layer.name: [np.array(w) for w in layer.get_weights()]
        for layer in layers
        if layer.weights
    }


HEAD = {"linear_unit"}
BLOCK2 = HEAD | {"block2"}
BLOCK1 = BLOCK2 | {"block1", "block1_bn"}
ALL = BLOCK1 | {"stem", "stem_bn"}


@pytest.mark.parametrize(
    ("fine_tune_from", "expected"),
    [("head", HEAD), ("block2", BLOCK2), ("block1", BLOCK1), ("all", ALL)],
)
def test_one_step_changes_the_layers_that_learn_and_no_other(
    tiny_backbone, fine_tune_from, expected
):
    model, learning = compiled(fine_tune_from)
    before = snapshot(model)
    months = np.array([[50.0], [90], [130], [170]])
    model.train_on_batch(regression_network.feed_dict(model, IMAGES, IS_MALE), months)
    after = snapshot(model)
    changed = {
        name
        for name in before
        if not all(
            np.array_equal(*pair)
            for pair in zip(before[name], after[name], strict=True)
        )
    }
    assert changed == set(learning) == expected


def test_thawing_again_lets_all_learn(tiny_backbone):
    model, _ = compiled("head")
    learning = regression_network.freeze_and_compile(
        model, "tiny", "all", keras.optimizers.SGD(0.1), "mean_absolute_error"
    )
    assert set(learning) == ALL


@pytest.mark.parametrize("block", ["block9", "", "tiny"])
def test_unknown_block(tiny_backbone, block):
    with pytest.raises(ValueError, match="choose one of all, head, block1, block2"):
        compiled(block)


def test_output_is_linear_float32_months(tiny_backbone):
    model = network(age_mean_months=127.0, age_deviation_months=41.0)
    assert model.output.dtype == "float32"
    assert model.output_shape == (None, 1)
    assert model.get_layer("linear_unit").activation.__name__ == "linear"
    model.get_layer("linear_unit").set_weights([np.zeros((4, 1)), np.array([2.0])])
    months = model.predict_on_batch(
        regression_network.feed_dict(model, IMAGES, IS_MALE)
    )
    expected = np.full((4, 1), 127 + 2 * 41 * regression_network.HEAD_GAIN)
    np.testing.assert_allclose(months, expected, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_same_weights_answer_in_16_bits_as_in_32(tiny_backbone, policy):
    facts = {"age_mean_months": 127.0, "age_deviation_months": 41.0}
    model = network(**facts)
    keras.config.set_dtype_policy(policy)
    try:
        in_16_bits = network(**facts)
    finally:
        keras.config.set_dtype_policy("float32")
    in_16_bits.set_weights(model.get_weights())
    fed = regression_network.feed_dict(model, IMAGES, IS_MALE)
    months, months_16 = (x.predict_on_batch(fed) for x in (model, in_16_bits))
    assert months_16.dtype == np.float32
    assert not np.array_equal(months_16, months)
    # bfloat16 keeps 8 binary digits of what comes to the linear unit, float16 keeps 11
    tolerance = {"mixed_bfloat16": 1 / 64, "mixed_float16": 1 / 512}[policy]
    np.testing.assert_allclose(months_16 - 127, months - 127, atol=41 * tolerance)


def test_answer_is_linear_in_the_pooled_features(tiny_backbone):
    model = network(age_mean_months=100.0, age_deviation_months=40.0)
    features = keras.Model(
        model.inputs, model.get_layer(regression_network.FEATURES).output
    )
    fed = regression_network.feed_dict(model, IMAGES, IS_MALE)
    pooled = features.predict_on_batch(fed).mean(axis=(1, 2))
    kernel, bias = model.get_layer("linear_unit").get_weights()
    expected = 100 + 40 * regression_network.HEAD_GAIN * (pooled @ kernel + bias)
    np.testing.assert_allclose(model.predict_on_batch(fed), expected, rtol=1e-4)


def test_distribution_is_answered_by_its_mean(tiny_backbone):
    model = network(with_distribution=True)
    assert model.output.dtype == "float32"
    assert model.output_shape == (None, 1)
    likely = np.zeros(MONTHS)
    likely[[50, 90]] = 30
    unit = model.get_layer("linear_unit")
    unit.set_weights([np.zeros((4, MONTHS)), likely])
    months = model.predict_on_batch(
        regression_network.feed_dict(model, IMAGES, IS_MALE)
    )
    np.testing.assert_allclose(months, np.full((4, 1), 70), rtol=1e-5)


def test_part_that_learns_ends_in_the_logits(tiny_backbone):
    model = network(with_distribution=True, sex_input=True)
    part = regression_network.logits_model(model)
    assert part.output_shape == (None, MONTHS)
    again = regression_network.months_model(part)
    fed = regression_network.feed_dict(model, IMAGES, IS_MALE)
    said = model.predict_on_batch(fed)
    np.testing.assert_allclose(again.predict_on_batch(fed), said, rtol=1e-6)
    linear = network()
    assert (
        regression_network.logits_model(linear)
        is regression_network.months_model(linear)
        is linear
    )


def test_sex_is_fed_where_the_network_takes_it(tiny_backbone):
    plain, with_sex = network(), network(sex_input=True)
    assert set(regression_network.feed_dict(plain, IMAGES, IS_MALE)) == {"image"}
    fed = regression_network.feed_dict(with_sex, IMAGES, IS_MALE)
    assert fed["is_male"].tolist() == [[1], [0], [1], [0]]
    assert fed["image"].shape == (4, SIZE, SIZE, 1)
    assert fed["image"].max() > 1
    turned = fed | {"is_male": 1 - fed["is_male"]}
    differ = with_sex.predict_on_batch(fed) - with_sex.predict_on_batch(turned)
    assert (np.abs(differ) > 0).all()


def test_momentum_of_all_batch_norms_is_set(tiny_backbone):
    layers = network(batch_norm_momentum=0.9).get_layer("tiny").layers
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    assert [norm.momentum for norm in norms] == [0.9, 0.9]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_every_hand_is_predicted_whatever_the_batches(tiny_backbone, batch_size):
    model = network(sex_input=True)

    class FiveHands:
        cohort = type("Cohort", (), {"is_male": np.resize(IS_MALE, 5)})

        def __len__(self):
            return 5

        def image(self, index, size):
            return IMAGES[index % 4]

    months = inference.predict(model, FiveHands(), SIZE, batch_size)
    fed = regression_network.feed_dict(
        model, IMAGES[[0, 1, 2, 3, 0]], np.resize(IS_MALE, 5)
    )
    np.testing.assert_allclose(months, model.predict_on_batch(fed)[:, 0], rtol=1e-4)


def test_weights_of_another_run_of_the_backbone(tiny_backbone, tmp_path):
    trained = network()
    trained.save(tmp_path / "model.keras")
    again = regression_network.build_network(
        "tiny", SIZE, str(tmp_path / "model.keras"), True
    )
    for one, other in zip(
        trained.get_layer("tiny").get_weights(),
        again.get_layer("tiny").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_weights_that_do_not_fit_or_are_not_there(tiny_backbone, tmp_path):
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="other")
    other.save(tmp_path / "other.keras")
    for name in ("broken.keras", "broken.weights.h5"):
        (tmp_path / name).write_bytes(b"half")
    for name in ("none.keras", "other.keras", "broken.keras", "broken.weights.h5"):
        with pytest.raises(InputError, match=name):
            regression_network.build_network("tiny", SIZE, str(tmp_path / name))


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_image_too_small_for_the_backbone(name):
    with pytest.raises(InputError, match="must be at least 75"):
        backbones.build_backbone(name, 64, "none")


def test_imagenet_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    def failing(**_):
        raise Exception("URL fetch failure on https://...: None -- timed out")

    monkeypatch.setattr(keras.applications, "Xception", failing)
    with pytest.raises(InputError, match="--weights FILE"):
        backbones.build_backbone("xception", 75, "imagenet")


def test_other_errors_of_the_download_are_not_hidden(monkeypatch):
    def failing(**_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(keras.applications, "Xception", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        backbones.build_backbone("xception", 75, "imagenet")


@pytest.mark.parametrize("devices", ["1", "all"])
def test_machine_without_gpus_is_one_device(devices, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    scope = chosen_devices(devices)
    assert isinstance(scope, OneDevice)
    assert scope.replicas == 1


@pytest.mark.parametrize("devices", ["0", "2", "-1", "many", ""])
def test_devices_that_are_not_there(devices, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    with pytest.raises(InputError, match="--devices"):
        chosen_devices(devices)


@pytest.mark.slow
@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_blocks_of_the_real_backbones(name):
    model = regression_network.build_network(name, 75, "none", sex_input=True)
    counts = {}
    for block in ("all", *backbones.BACKBONES[name].blocks, "head"):
        learning = regression_network.freeze_and_compile(
            model, name, block, keras.optimizers.SGD(0.1), "mean_absolute_error"
        )
        counts[block] = len(learning)
        assert learning[-1] == "linear_unit"
        entry = backbones.BACKBONES[name].blocks.get(block)
        if entry:
            frozen = backbones.frozen_layers(model.get_layer(name), block, name)
            assert entry not in frozen
    # each block begins later than the one before
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert len(set(counts.values())) == len(counts)
    assert counts["head"] == 1
    months = model.predict_on_batch(
        regression_network.feed_dict(
            model, np.zeros((1, 75, 75), np.uint8), IS_MALE[:1]
        )
    )
    assert np.isfinite(months).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_stage_of_a_real_backbone_changes_just_its_layers(name):
    model = regression_network.build_network(name, 75, "none")
    network, before = model.get_layer(name), set()
    rng = np.random.default_rng(0)
    fed = regression_network.feed_dict(
        model, rng.integers(0, 256, (4, 75, 75)), IS_MALE
    )
    for start in backbones.transfer_stages(name).values():
        learning = regression_network.freeze_and_compile(
            model, name, start, keras.optimizers.Adam(1e-3), "mean_absolute_error"
        )
        old = {layer.name: layer.get_weights() for layer in network.layers}
        model.train_on_batch(fed, np.array([[10.0], [20], [30], [40]]))
        changed = {
            layer.name
            for layer in network.layers
            if any(
                not np.array_equal(one, other)
                for one, other in zip(old[layer.name], layer.get_weights(), strict=True)
            )
        }
        assert changed == set(learning) - {"linear_unit"}
        assert changed > before or start == "head"
        before = changed


KERAS_BACKBONES = [n for n, b in backbones.BACKBONES.items() if b.application]


@pytest.mark.parametrize("name", KERAS_BACKBONES)
def test_preprocessing_is_that_of_the_imagenet_weights(name):
    record = backbones.BACKBONES[name]
    module = getattr(keras.applications, name)
    grey = np.array([0.0, 100, 255])
    expected = module.preprocess_input(grey.copy())
    np.testing.assert_allclose(
        grey * record.pixel_scale + record.pixel_offset, expected, atol=1e-6
    )
