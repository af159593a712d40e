"""A simple committee and two tiny runs, trained once for all tests of predictions."""

from pathlib import Path

import numpy as np
import pytest

from boneage.io import radiographs
from boneage.layout import Layout
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.prediction.predictor import Predictor
from tests.conftest import call, pack_hands, with_tiny_backbone
from tests.prediction.tiny_runs import BOTH, HOW, write_committee


@pytest.fixture(scope="package")
def _untraced():
    """Tracing takes seconds for each of these networks, computing none."""
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(before)


@pytest.fixture(scope="package")
def trained(tmp_path_factory, _untraced) -> Layout:
    """A simple committee, and two tiny runs of one split. Never change it."""
    folder = tmp_path_factory.mktemp("trained")
    layout = Layout(folder / "data", folder / "models")
    write_committee(layout.committee)
    pack_hands(layout, 160, how=HOW)
    with with_tiny_backbone() as backbone:
        for seed, loss in enumerate(("mae", "distribution")):
            call(
                layout,
                "al_segmentation/step4_regression_multi_gpu",
                model=backbone,
                weights="none",
                run=f"tiny_{seed}",
                seed=seed,
                loss=loss,
                epochs=3,
                batch_size=8,
                learning_rate=0.02,
                validation_fraction=0.4,
                test_fraction=0.2,
            )
    return layout


@pytest.fixture(scope="package")
def hand(tmp_path_factory) -> Path:
    """A simulated radiograph on black."""
    path = tmp_path_factory.mktemp("radiographs") / "hand.png"
    made = phantoms_radiograph.simulate(np.random.default_rng(8), 100, False, 384)
    radiographs.write(path, made.radiograph)
    return path


@pytest.fixture(scope="package")
def tiny_predictor(trained) -> Predictor:
    return Predictor(trained, BOTH, 2)
