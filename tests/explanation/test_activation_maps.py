"""The maps add up to the prediction, lie where they look, and their history resumes."""

import h5py
import numpy as np
import pytest

from boneage.errors import InputError
from boneage.explanation import activation_maps
from boneage.explanation.activation_maps import Grid
from boneage.explanation.panel import append_panel, read_panel


@pytest.fixture
def hands():
    """Three hands' worth of noise, (3, 96, 96) uint8, and sexes."""
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
    return images, np.array([True, False, True])


def make_network(backbone, size, sex_input, with_distribution=False):
    """A network whose linear unit and sex terms are far from their first zeros."""
    import keras

    from boneage.regression import network

    keras.utils.set_random_seed(0)
    model = network.build_network(
        *(backbone, size, "none", sex_input, 127.0, 41.0),
        with_distribution=with_distribution,
    )
    head = model.get_layer("linear_unit")
    rng = np.random.default_rng(1)
    kernel, intercept = head.get_weights()
    # of many logits each counts for less, and none of them may win by itself
    shift = 1 if with_distribution else 8
    head.set_weights(
        [rng.normal(0, 8, kernel.shape), rng.normal(0, shift, intercept.shape)]
    )
    return model


@pytest.mark.parametrize("with_distribution", [False, True])
@pytest.mark.parametrize("sex_input", [False, True])
@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("xception", 96),
        # more than one cell needs more than 96 px there
        pytest.param("inception_v3", 139, marks=pytest.mark.slow),
        pytest.param("inception_resnet_v2", 139, marks=pytest.mark.slow),
    ],
)
def test_mean_of_the_map_and_offset_are_the_prediction(
    backbone, size, sex_input, with_distribution
):
    from boneage.regression import network

    model = make_network(backbone, size, sex_input, with_distribution)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, size, size), dtype=np.uint8)
    is_male = np.array([True, False, True])
    maps, offsets, predicted = activation_maps.Explainer(model)(images, is_male, 2)
    assert maps.dtype == np.float32
    assert maps.shape[0] == 3
    assert min(maps.shape[1:]) > 1
    assert maps.std() > 0.01
    expected = model.predict_on_batch(network.feed_dict(model, images, is_male))[:, 0]
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + offsets, expected, atol=1e-3)
    np.testing.assert_allclose(predicted, expected, atol=1e-3)


def test_maps_survive_saving_and_loading(tmp_path, hands):
    import keras

    model = make_network("xception", 96, True)
    before = activation_maps.Explainer(model)(*hands)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    after = activation_maps.Explainer(loaded)(*hands)
    np.testing.assert_allclose(after.maps, before.maps, atol=1e-3)
    np.testing.assert_allclose(after.offsets, before.offsets, atol=1e-3)


def test_explainer_sees_weights_changed_after_it_was_made(hands):
    model = make_network("xception", 96, False)
    explainer = activation_maps.Explainer(model)
    head = model.get_layer("linear_unit")
    kernel, intercept = head.get_weights()
    before = explainer(*hands)
    head.set_weights([kernel * 2, intercept])
    np.testing.assert_allclose(explainer(*hands).maps, 2 * before.maps, rtol=1e-4)


def test_sexes_have_maps_of_their_own(hands):
    explainer = activation_maps.Explainer(make_network("xception", 96, True))
    images = hands[0]
    male, female = (explainer(images, np.full(3, sex)) for sex in (True, False))
    assert not np.allclose(male.maps, female.maps, atol=0.01)


@pytest.mark.parametrize(
    ("backbone", "size", "grid"),
    [
        # worked out by hand along the published architectures
        ("xception", 299, Grid(7.0, 32.0, 299)),
        ("inception_v3", 299, Grid(37.0, 32.0, 299)),
        pytest.param(
            "inception_resnet_v2", 299, Grid(37.0, 32.0, 299), marks=pytest.mark.slow
        ),
    ],
)
def test_cells_lie_where_the_convolutions_centre(backbone, size, grid):
    from boneage.regression import backbones

    model = backbones.build_backbone(backbone, size, "none")
    assert activation_maps.find_grid(model.get_config(), size) == grid


def test_upsampling_puts_cells_in_their_place():
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = 8
    shown = Grid(first_px=20, step_px=40, image_px=128).upsample(values, 256)
    # the cell's centre, pixel (60, 100) of 128, is between pixels 120, 121 and 200, 201
    peak = np.argwhere(shown > 7.7).mean(axis=0)
    np.testing.assert_allclose(peak, [120.5, 200.5], atol=0.6)
    assert shown.min() == 0
    assert shown.max() <= 8


def test_upsampling_a_constant_changes_nothing():
    shown = Grid(7, 32, 299).upsample(np.full((10, 10), 3.5, np.float32))
    np.testing.assert_allclose(shown, np.full((512, 512), 3.5), rtol=1e-6)


def test_deviations_have_no_mean():
    maps = np.array([[[1.0, 3], [5, 7]]], np.float32)
    assert activation_maps.centred_maps(maps).tolist() == [[[-3, -1], [1, 3]]]


# --- the panel ---------------------------------------------------------------------

IDS = np.array([11, 12])


def append(path, epoch, value=0.0, ids=IDS, shape=(2, 3, 3)):
    maps = np.full(shape, value, np.float32)
    append_panel(path, epoch, ids, maps, np.full(len(ids), value))


def test_panel_grows_by_an_epoch(tmp_path):
    path = tmp_path / "cam_history.h5"
    append(path, 1, 1.0)
    append(path, 2, 2.0)
    panel = read_panel(path)
    assert panel.epochs.tolist() == [1, 2]
    assert panel.ids.tolist() == [11, 12]
    assert panel.maps.shape == (2, 2, 3, 3)
    assert panel.maps.dtype == np.float32
    assert panel.predicted_months.tolist() == [[1, 1], [2, 2]]
    assert list(tmp_path.iterdir()) == [path]


def test_resumed_run_redoes_its_later_epochs(tmp_path):
    path = tmp_path / "cam_history.h5"
    for epoch in (1, 2, 3):
        append(path, epoch, epoch)
    append(path, 2, 20.0)
    panel = read_panel(path)
    assert panel.epochs.tolist() == [1, 2]
    assert panel.predicted_months[:, 0].tolist() == [1, 20]


def test_run_started_again_drops_all_epochs(tmp_path):
    path = tmp_path / "cam_history.h5"
    append(path, 5)
    append(path, 1)
    assert read_panel(path).epochs.tolist() == [1]


@pytest.mark.parametrize("other", [{"ids": IDS + 1}, {"shape": (2, 4, 4)}])
def test_other_panels_are_refused(tmp_path, other):
    path = tmp_path / "cam_history.h5"
    append(path, 1)
    with pytest.raises(
        InputError, match=r"cam_history\.h5 cannot continue with another"
    ):
        append(path, 2, **other)
    assert read_panel(path).epochs.tolist() == [1]


def test_missing_or_damaged_panel_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cam_history\.h5 cannot be found"):
        read_panel(tmp_path / "cam_history.h5")
    (tmp_path / "bad.h5").write_text("no HDF5")
    with pytest.raises(InputError, match=r"bad\.h5 cannot be read"):
        read_panel(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "half.h5", "w") as file:
        file["epoch"] = [1]
    with pytest.raises(InputError, match=r"half\.h5 cannot be read"):
        read_panel(tmp_path / "half.h5")
