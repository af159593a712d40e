"""What several tests share: scripts as modules, and one tiny cohort made once."""

import contextlib
import dataclasses
import functools
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from boneage.cohort import table
from boneage.cohort.table import Cohort
from boneage.io import hdf5
from boneage.layout import Layout
from boneage.segmentation.hand_images import DEFAULT, Enhancement
from tests.tiny_networks import build as tiny_build

REPOSITORY = Path(__file__).resolve().parents[1]
PHANTOMS = 14
ANNOTATED = 6

pytest_plugins = ["tests.tiny_runs"]


def script(name: str):
    """A numbered script as a module: script("al_segmentation/step1_corase_segment")."""
    path = REPOSITORY / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def grouped(kind: type, **flags):
    """Options of a script from its flags by name, each in the group it belongs to."""
    options, left = _grouped(kind, flags)
    assert not left, f"no such flags: {sorted(left)}"
    return options


def _grouped(kind: type, flags: dict) -> tuple:
    """Options made of those flags that are theirs, and the other flags."""
    hints, values = get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            values[field.name], flags = _grouped(hints[field.name], flags)
        elif field.name in flags:
            values[field.name] = flags[field.name]
            flags = {name: flags[name] for name in flags if name != field.name}
    return kind(**values), flags


def options_of(module, layout: Layout, **flags):
    """Options of a script for a layout; on one core, where they leave a choice."""
    if "processing" in module.Options.__dataclass_fields__:
        flags.setdefault("jobs", 1)
    return grouped(module.Options, data=layout.data, models=layout.models, **flags)


def call(layout: Layout, name: str, **flags):
    """Run a script's main in this process, on one core."""
    module = script(name)
    return module.main(options_of(module, layout, **flags))


def make_cohort(count: int = 40, seed: int = 0) -> Cohort:
    """Ids 1, 3, 5 ... with ages and sexes by chance."""
    rng = np.random.default_rng(seed)
    return Cohort(
        np.arange(count) * 2 + 1,
        rng.integers(1, 229, count).astype(float),
        rng.random(count) < 0.5,
    )


@contextlib.contextmanager
def quick_networks() -> Iterator[None]:
    """Committees of U-Nets of one level, never traced: seconds less for each."""
    import tensorflow as tf

    from boneage.segmentation import unet

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(unet, "build", functools.partial(unet.build, depth=1))
        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(before)


@contextlib.contextmanager
def with_tiny_backbone(name: str = "tiny") -> Iterator[str]:
    """Make `tiny`, or a real name, a small backbone: the same training, in seconds."""
    from boneage.regression import backbones

    record = backbones.Backbone("", 32, {"block1": "block1", "block2": "block2"})
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(backbones.BACKBONES, name, record)
        monkeypatch.setattr(backbones, "build_backbone", tiny_build)
        yield name


@pytest.fixture
def tiny_backbone() -> Iterator[str]:
    """Make `tiny` a backbone for one test."""
    with with_tiny_backbone() as name:
        yield name


def pack_hands(
    layout: Layout,
    count: int = 40,
    size: int = 32,
    how: Enhancement = DEFAULT,
) -> Cohort:
    """A cohort in train.csv and its packed hands: noise, the brighter the older."""
    cohort = make_cohort(count)
    table.write_cohort(layout.train_csv, cohort)
    rng = np.random.default_rng(0)
    with hdf5.create(layout.hands_h5, count, size, how.facts()) as writer:
        for radiograph_id, age in zip(cohort.ids, cohort.bone_age_months, strict=True):
            noise = rng.integers(0, 20, (size, size))
            writer.add(radiograph_id, (noise + age).astype(np.uint8))
    return cohort


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty data and models folder."""
    return Layout(tmp_path / "data", tmp_path / "models")


@pytest.fixture
def ready(layout: Layout, tiny_backbone: str) -> Layout:
    """Forty packed hands, and a backbone that trains in seconds."""
    pack_hands(layout)
    return layout


@pytest.fixture(scope="session")
def made_cohort(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Phantoms of 128 px, some annotated, packed at 32 px. Copy it, never change it."""
    folder = tmp_path_factory.mktemp("cohort")
    layout = Layout(folder / "data", folder / "models")
    call(
        layout,
        "al_segmentation/step0_prepare_cohort",
        count=PHANTOMS,
        annotated=ANNOTATED,
        size_px=128,
    )
    for pool in ("annotated", "unannotated"):
        call(layout, "al_segmentation/step2_image_2_h5", pool=pool, size=32)
    return layout


@pytest.fixture
def cohort_copy(made_cohort: Layout, layout: Layout) -> Layout:
    """A copy of the tiny cohort that the test may change."""
    shutil.copytree(made_cohort.data, layout.data)
    return layout


@pytest.fixture(scope="session")
def trained_committee(made_cohort: Layout, tmp_path_factory) -> Layout:
    """The tiny cohort with two members of two filters, trained for two epochs."""
    folder = tmp_path_factory.mktemp("committee")
    layout = Layout(folder / "data", folder / "models")
    shutil.copytree(made_cohort.data, layout.data)
    with quick_networks():
        call(
            layout,
            "al_segmentation/step2_interactive_segmentation",
            oracle="simulated",
            truth=layout.truth,
            filters=2,
            epochs=2,
            images_per_epoch=8,
            batch_size=4,
            queries=2,
            test_fraction=0.34,
        )
    return layout
