"""The house's rules, read off the syntax trees and the tree of files."""

import ast
import functools
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from boneage.layout import Layout
from tests.conftest import REPOSITORY

SCRIPT_LINES = 90
LIBRARY_LINES = 450

# the users' own names for the steps
SEED_SCRIPTS = (
    "al_segmentation/step1_corase_segment.py",
    "al_segmentation/step2_interactive_segmentation.py",
    "al_segmentation/step2_image_2_h5.py",
    "al_segmentation/step3_check_data.py",
    "al_segmentation/step3_gen_segmentation_result.py",
    "al_segmentation/step3_gen_segmentation_with_enhance.py",
    "al_segmentation/step4_regression_multi_gpu.py",
    "al_segmentation/step4_regression_with_cam.py",
    "al_segmentation/step5_statiscal_data.py",
    "al_segmentation/step6_cam.py",
    "paced_transfer/step1_ptl_gen.py",
    "paced_transfer/step2_conventional_transfer.py",
    "paced_transfer/step5_cam_inference.py",
    "paced_transfer/step6_visualize.py",
)
BROAD_EXCEPT = {
    ("boneage/errors.py", "refuse_damaged"),
    ("boneage/regression/backbones.py", "_with_imagenet_weights"),
}
GROUND = {"io", "cohort"}
MAY_IMPORT = {
    "": {"io"},
    "io": set(),
    "cohort": {"io"},
    "phantoms": GROUND,
    "segmentation": GROUND,
    "active_learning": GROUND | {"segmentation"},
    "annotator": GROUND | {"active_learning", "segmentation"},
    "regression": GROUND,
    "evaluation": GROUND | {"regression"},
    "explanation": GROUND | {"evaluation", "regression"},
    "transfer": GROUND | {"explanation", "evaluation", "regression"},
    "prediction": GROUND | {"segmentation", "explanation", "evaluation", "regression"},
    "reporting": GROUND
    | {"prediction", "segmentation", "explanation", "evaluation", "regression"},
    "serving": GROUND | {"reporting", "prediction", "explanation"},
}
"""Package -> the packages it may import; "" for single modules of the library."""
PACKAGES = tuple(name for name in MAY_IMPORT if name)
LAZY = {"boneage/__init__.py": {"prediction"}}
"""What a module imports only inside a function that asks for it."""


def named(pattern: str) -> list[str]:
    return sorted(
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob(pattern)
    )


SCRIPTS = [
    *named("al_segmentation/[!b]*.py"),
    *named("paced_transfer/[!b]*.py"),
    *named("*.py"),
]
LIBRARY = named("boneage/**/*.py")
PAGE_SCRIPTS = named("boneage/**/*.js")
TESTS = named("tests/**/*.py")
SOURCE = [
    *SCRIPTS,
    *LIBRARY,
    *TESTS,
    *named("benchmarks/*.py"),
    *named("experiments/*.py"),
]
DOCS = [*named("*.md"), *named("docs/**/*.md"), *named("docs/*.py")]
TEXTS = [*SOURCE, *DOCS, *named("*.sh"), *named("*.toml")]


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse((REPOSITORY / name).read_text())


@functools.cache
def imported(name: str) -> set[str]:
    """Full names of all modules a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def lines(name: str) -> list[str]:
    return (REPOSITORY / name).read_text().splitlines()


@pytest.mark.parametrize("name", SEED_SCRIPTS)
def test_every_script_of_the_seed_document_is_there(name):
    assert name in SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_short(name):
    assert len(lines(name)) <= SCRIPT_LINES


@pytest.mark.parametrize("name", [*LIBRARY, *PAGE_SCRIPTS])
def test_module_is_not_long(name):
    assert len(lines(name)) <= LIBRARY_LINES


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_says_what_it_reads_and_writes_and_how_to_run_it(name):
    text = ast.get_docstring(tree(name))
    assert text
    assert re.search(r"^Reads   \S", text, re.MULTILINE)
    assert re.search(r"^Writes  \S", text, re.MULTILINE)
    assert re.search(rf"^    python {re.escape(name)}\b", text, re.MULTILINE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_importing_a_script_does_nothing(name):
    docstring, *body = tree(name).body
    assert isinstance(docstring, ast.Expr)
    guard = body.pop()
    assert ast.unparse(guard) == (
        "if __name__ == '__main__':\n    cli.run(main, Options)"
    )
    harmless = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
    for node in body:
        is_constant = isinstance(node, ast.Assign) and not any(
            isinstance(part, ast.Call) for part in ast.walk(node)
        )
        assert isinstance(node, harmless) or is_constant, ast.unparse(node)


@pytest.mark.parametrize("name", [*SCRIPTS, *LIBRARY])
def test_nothing_imports_a_script(name):
    scripts = {Path(script).stem for script in SCRIPTS}
    folders = {"al_segmentation", "paced_transfer"}
    for module in imported(name):
        assert not scripts & set(module.split("."))
        assert module.split(".")[0] not in folders


@pytest.mark.parametrize("name", LIBRARY)
def test_imports_run_one_way(name):
    parts = Path(name).parts
    own = parts[1] if parts[1] in PACKAGES else ""
    others = {
        module.split(".")[1]
        for module in imported(name)
        if module.startswith("boneage.") and module.split(".")[1] in PACKAGES
    }
    assert others - {own} <= MAY_IMPORT[own] | LAZY.get(name, set())


@pytest.mark.parametrize("name", LAZY)
def test_lazy_imports_stand_in_functions(name):
    checked_only = ast.parse("if TYPE_CHECKING: pass").body[0].test
    for node in tree(name).body:
        if isinstance(node, ast.If) and ast.dump(node.test) == ast.dump(checked_only):
            continue
        if not isinstance(node, ast.FunctionDef):
            assert "boneage" not in ast.unparse(node)


@pytest.mark.parametrize("name", LIBRARY)
def test_only_scripts_know_the_simulation(name):
    if not name.startswith("boneage/phantoms/"):
        assert not {m for m in imported(name) if m.startswith("boneage.phantoms")}


@pytest.mark.parametrize("name", [n for n in SOURCE if n not in TESTS])
def test_assert_stands_in_tests_only(name):
    found = [node.lineno for node in ast.walk(tree(name)) if type(node) is ast.Assert]
    assert found == []


@pytest.mark.parametrize("name", SOURCE)
def test_no_exception_is_caught_broadly(name):
    broad = set()
    for function in ast.walk(tree(name)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                if re.search(r"\b(Base)?Exception\b|everything", caught):
                    broad.add((name, function.name))
    assert broad <= BROAD_EXCEPT


@pytest.mark.parametrize("name", TEXTS)
def test_no_path_of_one_machine(name):
    # not part of a longer path: data/home/x is a folder like any other
    machine = re.compile(r"(?<![\w.>}\])-])/(work|tmp|home|root)\b")
    found = [line for line in lines(name) if machine.search(line)]
    assert found == []


@pytest.mark.parametrize("name", TEXTS)
def test_misspelt_words_live_in_two_file_names_only(name):
    for word, file_name in (("corase", "step1_corase"), ("statiscal", "5_statiscal")):
        for line in lines(name):
            if name != "tests/test_house.py":
                assert word not in line.replace(file_name, ""), line


def test_only_layout_knows_where_the_data_lies():
    folders = {"boneage-training-dataset", "segmented_hand_al", "segment_all", "csv"}
    folders |= {"gt", "truth", "committee", "regression", "statistics", "segmentation"}
    folders |= {"paced", "conventional", "transfer"}
    for name in [*SCRIPTS, *LIBRARY]:
        for node in ast.walk(tree(name)):
            if name != "boneage/layout.py" and isinstance(node, ast.BinOp):
                part = node.right.value if isinstance(node.right, ast.Constant) else ""
                assert part not in folders, f"{name}:{node.lineno}"


def test_every_path_of_the_layout_names_its_writer():
    known = {Path(name).name for name in (*SCRIPTS, *SEED_SCRIPTS)}
    for name, member in vars(Layout).items():
        if isinstance(member, property):
            for script in re.findall(r"(?:step\w+|ship)\.py", member.__doc__):
                assert script in known, f"{name}: {script}"


def test_flags_offer_what_the_tables_hold():
    from boneage.active_learning import acquisition
    from boneage.active_learning.settings import CommitteeSettings
    from boneage.regression import backbones, losses
    from boneage.regression.settings import TrainingSettings
    from boneage.segmentation import committee

    asked = get_type_hints(CommitteeSettings)
    assert get_args(asked["measure"]) == acquisition.NAMES
    assert set(get_args(asked["optimizer"])) == set(committee.OPTIMIZERS)
    trained = get_type_hints(TrainingSettings)
    assert get_args(trained["model"]) == tuple(backbones.BACKBONES)
    assert set(get_args(trained["loss"])) == set(losses.LOSSES)
