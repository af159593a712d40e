"""Tiny committees and runs, trained once for all tests of predictions, and calls."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from boneage import cli
from boneage.io import radiographs
from boneage.io.files import write_json
from boneage.layout import Layout
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.prediction import reliability
from boneage.prediction.predictor import Predictor
from boneage.regression.run_folder import Run
from boneage.segmentation.hand_images import Enhancement
from tests.conftest import (
    call,
    options_of,
    pack_hands,
    quick_networks,
    script,
    with_tiny_backbone,
)

HOW = Enhancement(fill_square=True)


BOTH = ("tiny_0", "tiny_1")


def write_committee(folder: Path, levels: tuple[int, int] = (25, 32)) -> None:
    """A committee that knows bright from dark: enough for phantoms on black."""
    import keras

    for number, level in enumerate(levels):
        image = keras.Input((64, 64, 1), name="image")
        scaled = keras.layers.Rescaling(0.2, -0.2 * level, name="features")(image)
        kernel = keras.layers.Conv2D(1, 1, use_bias=False, name="mask_logits")
        member = keras.Model(image, kernel(scaled))
        kernel.set_weights([np.ones((1, 1, 1, 1))])
        folder.mkdir(parents=True, exist_ok=True)
        member.save(folder / f"member_{number}.keras")
    write_json(
        folder / "state.json",
        {
            "epoch": 1,
            "members": len(levels),
            "clip_limit": 0.0,
            "committee_hash": "1a2b",
        },
    )


def predict(layout, *paths, **options):
    module = script("predict")
    return module.main(options_of(module, layout, radiographs=paths, **options))


def to_ship(layout, names, out, **more):
    """Options of ship.py for runs of these names or folders."""
    facts = {"training_data": "noise", "terms": "none"} | more
    return options_of(script("ship"), layout, runs=tuple(names), out=out, **facts)


def exit_code(*arguments) -> int:
    module = script("predict")
    with pytest.raises(SystemExit) as caught:
        cli.run(module.main, module.Options, [str(a) for a in arguments])
    return caught.value.code


def copy_runs(trained, layout, **changed) -> Layout:
    """The trained runs with other facts in tiny_1's config."""
    shutil.copytree(trained.models, layout.models)
    run = Run(layout.regression / "tiny_1")
    run.config.write_text(json.dumps(run.read_config() | changed))
    return layout


def refuse_all(monkeypatch):
    """Every mask is refused, whatever it shows."""
    verdict = reliability.Verdict(["a doubt"], "likely not a hand (a test)")
    monkeypatch.setattr(reliability, "check_mask", lambda *_: verdict)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Layout:
    """A simple committee, and two tiny runs of one split. Never change it."""
    folder = tmp_path_factory.mktemp("trained")
    layout = Layout(folder / "data", folder / "models")
    # tracing takes seconds for each of these networks, computing none
    with quick_networks(), with_tiny_backbone() as backbone:
        write_committee(layout.committee)
        pack_hands(layout, 160, how=HOW)
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


@pytest.fixture(scope="session")
def hand(tmp_path_factory) -> Path:
    """A simulated radiograph on black."""
    path = tmp_path_factory.mktemp("radiographs") / "hand.png"
    made = phantoms_radiograph.simulate(np.random.default_rng(8), 100, False, 384)
    radiographs.write(path, made.radiograph)
    return path


@pytest.fixture(scope="session")
def tiny_predictor(trained) -> Predictor:
    return Predictor(trained, BOTH, 2)
