"""The documentation: links lead somewhere, names exist, the notebook runs."""

import ast
import functools
import importlib.util
import itertools
import re
import subprocess
from pathlib import Path

import pytest

from boneage.annotator.actions import SECTIONS
from tests.conftest import REPOSITORY

PAGES = sorted(
    REPOSITORY / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
)
NOTEBOOK = REPOSITORY / "docs" / "predict_a_bone_age.ipynb"
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    text = CODE.sub("", page.read_text())
    words = (re.sub(r"[^\w\- ]", "", title).lower() for title in HEADING.findall(text))
    return {title.strip().replace(" ", "-") for title in words}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for match in LINK.finditer(CODE.sub("", page.read_text())):
        link = match[1] or match[2]
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_name_what_exists(page):
    text = page.read_text()
    for script in re.findall(r"python ((?:\w+/)*\w+\.py)\b", text):
        assert (REPOSITORY / script).is_file(), script
    for module in re.findall(
        r"python -m ((?:benchmarks|docs|experiments|tests)[\w.]*)", text
    ):
        assert importlib.util.find_spec(module), module
    for path in re.findall(
        r"`((?:boneage|tests|experiments|benchmarks)/[\w./]+)`", text
    ):
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_of_commands_exist(page):
    """Every --flag of a command on a page is an option of one of the programs."""
    known = options_of_all_programs()
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
        for command in block.replace("\\\n", " ").splitlines():
            call = re.search(r"\b(python |boneage-).*", command)
            if call:
                for flag in re.findall(r"(?<!\w)--([a-z][\w-]*)", call[0]):
                    assert flag.removeprefix("no-").replace("-", "_") in known, command


def test_guide_lists_every_key_of_the_annotator():
    guide = (REPOSITORY / "docs" / "guide" / "annotating.md").read_text()
    for action in itertools.chain.from_iterable(SECTIONS.values()):
        key = action.keys[0].upper() if action.keys else ""
        assert f"| {key} | {action.label} | {action.help} |" in guide


def test_contributing_lists_every_module():
    """The tree names the modules of each folder, and no other file."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    house = re.search(r"^boneage/.*?^data/", text, re.MULTILINE | re.DOTALL)[0]
    listed = {}
    for folder, names in re.findall(r"^  (\w+)/(.*?)(?=^  \w|^\w)", house, re.M | re.S):
        listed[folder] = set(re.findall(r"\w+\.(?:py|js|css|html)\b", names))
    for folder, names in listed.items():
        kinds = {".py", ".js", ".css", ".html"}
        paths = (REPOSITORY / "boneage" / folder).iterdir()
        there = {path.name for path in paths if path.suffix in kinds}
        assert names == there - {"__init__.py"}, folder
    packages = {path.parent.name for path in REPOSITORY.glob("boneage/*/__init__.py")}
    assert set(listed) == packages


@functools.cache
def options_of_all_programs() -> set[str]:
    """Annotated fields of classes, and names given to tyro: options are these."""
    names = set()
    programs = ("al_segmentation", "boneage", "benchmarks", "experiments")
    programs = (*programs, "paced_transfer", "tests")
    paths = [path for name in programs for path in (REPOSITORY / name).rglob("*.py")]
    for path in [*paths, *REPOSITORY.glob("*.py"), *REPOSITORY.glob("docs/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            is_name = isinstance(node, ast.keyword) and node.arg == "name"
            if is_name and isinstance(node.value, ast.Constant):
                names.add(str(node.value.value).replace("-", "_"))
    return names


@pytest.mark.slow
def test_notebook_runs(monkeypatch):
    # the kernel is a process of its own, and shall import this checkout
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"^\d+ months$", text, re.MULTILINE)
    assert "90% interval" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_notebook_is_stored_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)
