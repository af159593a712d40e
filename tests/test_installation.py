"""Installed or from a checkout: which code and which data are used."""

import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import numpy as np
import pytest

from boneage import web
from boneage.errors import InputError
from boneage.io import radiographs
from boneage.phantoms import radiograph as phantoms
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
DEFAULTS = "from boneage.layout import Layout, PRETRAINED as p; print(Layout.data, p)"


@pytest.fixture
def clone(tmp_path) -> Path:
    """A second checkout: the library and a script of each folder."""
    folder = tmp_path / "clone"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("boneage", "al_segmentation", "paced_transfer"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    shutil.copy(REPOSITORY / "predict.py", folder)
    return folder


@pytest.mark.parametrize(
    "script",
    [
        "al_segmentation/step3_check_data.py",
        "paced_transfer/step6_visualize.py",
        "predict.py",
    ],
)
def test_script_uses_the_code_and_data_of_its_own_checkout(clone, tmp_path, script):
    shown = subprocess.run(
        [sys.executable, clone / script, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        # another checkout is the one installed
        env={"PYTHONPATH": str(REPOSITORY), "COLUMNS": "300"},
    ).stdout
    assert f"(default: {clone / 'data'})" in shown
    assert str(REPOSITORY) not in shown


def test_installed_package_uses_the_working_folder_and_its_own_models(tmp_path):
    installed = tmp_path / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "boneage", installed / "boneage", ignore=ignored)
    shown = subprocess.run(
        [sys.executable, "-c", DEFAULTS],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
    ).stdout.split()
    assert shown == ["data", str(installed / "boneage" / "pretrained")]


def test_every_folder_of_the_library_is_packaged():
    folders = {
        path.parent.relative_to(REPOSITORY).as_posix().replace("/", ".")
        for path in (REPOSITORY / "boneage").rglob("*.py")
    }
    packages = PROJECT["tool"]["setuptools"]["packages"]
    assert packages == sorted(folders | {"boneage.pretrained"})


def test_files_that_are_no_code_are_packaged():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    places = PROJECT["tool"]["setuptools"]["package-dir"]
    packaged = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in (REPOSITORY / places.get(package, package.replace(".", "/"))).glob(
            pattern
        )
    }
    folders = (REPOSITORY / "boneage", REPOSITORY / "models" / "pretrained")
    needed = {
        path
        for folder in folders
        for path in folder.rglob("*.*")
        if path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    }
    assert needed <= packaged


def test_requirements_name_no_version_of_their_own():
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["-e .[all]"]


def test_constraints_pin_what_the_project_needs():
    extras = PROJECT["project"]["optional-dependencies"]
    needed = list(PROJECT["project"]["dependencies"])
    needed += [name for extra in ("train", "dask", "jax") for name in extras[extra]]
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for requirement in needed:
        name = requirement.split(">")[0].split("[")[0]
        assert name in pins, name


def test_page_without_its_packages_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r'pip install "boneage\[annotate\]"'):
        web.check_installed("gradio")


@pytest.mark.slow
def test_wheel_in_an_empty_environment_predicts(tmp_path):
    """As a user gets it: built, installed, called outside the checkout."""

    def run(*command) -> str:
        return subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        ).stdout

    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "dist", REPOSITORY)
    venv.create(tmp_path / "env", with_pip=True)
    (wheel,) = (tmp_path / "dist").glob("boneage-*.whl")
    binaries = tmp_path / "env" / "bin"
    run(binaries / "pip", "install", "-q", wheel)
    made = phantoms.simulate(np.random.default_rng(8), 100, False, 384)
    radiographs.write(tmp_path / "hand.png", made.radiograph)
    said = run(binaries / "boneage-predict", "hand.png", "--sex", "female")
    assert "hand.png: " in said
    assert "boneage/pretrained" in said
    assert "--remove" in run(binaries / "boneage-calibrate", "--help")
    code = "from boneage import predict_bone_age; print(predict_bone_age.__name__)"
    assert run(binaries / "python", "-c", code) == "predict_bone_age\n"
