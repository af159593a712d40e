"""What several tests share: scripts as modules, and one tiny cohort made once."""

import functools
import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from boneage.cohort import Cohort
from boneage.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[1]
PHANTOMS = 14
ANNOTATED = 6


def script(name: str):
    """A numbered script as a module: script("al_segmentation/step1_corase_segment")."""
    path = REPOSITORY / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def call(layout: Layout, name: str, **options):
    """Run a script's main in this process, on one core."""
    module = script(name)
    if "jobs" in module.Options.__dataclass_fields__:
        options.setdefault("jobs", 1)
    return module.main(module.Options(layout.data, layout.models, **options))


def make_cohort(count: int = 40, seed: int = 0) -> Cohort:
    """Ids 1, 3, 5 ... with ages and sexes by chance."""
    rng = np.random.default_rng(seed)
    return Cohort(
        np.arange(count) * 2 + 1,
        rng.integers(1, 229, count).astype(float),
        rng.random(count) < 0.5,
    )


def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let committees be U-Nets of one level: seconds less to trace."""
    from boneage.segmentation import unet

    monkeypatch.setattr(unet, "build", functools.partial(unet.build, depth=1))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty data and models folder."""
    return Layout(tmp_path / "data", tmp_path / "models")


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
    with pytest.MonkeyPatch.context() as monkeypatch:
        small_networks(monkeypatch)
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
