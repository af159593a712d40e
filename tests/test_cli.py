"""The one entry of all scripts: exit codes, one line of error, and the help text."""

import ast
import errno
import inspect
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from boneage import cli
from boneage.errors import InputError
from tests.conftest import REPOSITORY, script

SCRIPTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("al_segmentation", "paced_transfer", ".")
    for path in (REPOSITORY / folder).glob("[!b]*.py")
)

NAMES = {"U-Nets", "Dask"}
"""Words that begin with a capital anywhere."""

FLAGS = json.loads(Path(__file__).with_name("flags.json").read_text())
"""Flags and defaults that users rely on, by script."""

HELP_AND_MODULES = """
import json, runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    heavy = {"keras", "tensorflow", "matplotlib", "pandas", "skimage", "joblib"}
    loaded = sorted(heavy & set(sys.modules))
    print(json.dumps([end.code, loaded]), file=sys.stderr)
"""


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Options of a script that does nothing."""

    paths: cli.Paths
    number: int = 3
    """How many."""


def status_of(outcome, arguments=()):
    """Exit status of a script whose main returns or raises `outcome`."""

    def main(options):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with pytest.raises(SystemExit) as caught:
        cli.run(main, Options, list(arguments))
    return caught.value.code or 0


@pytest.mark.parametrize("status", [0, 1])
def test_status_of_main_is_the_exit_status(status):
    assert status_of(status) == status


def test_sigterm_ends_a_service_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), cli.ends_on_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_main_that_returns_nothing_has_succeeded():
    assert status_of(None) == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("7.png cannot be found"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "7.png"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_error_is_one_line_on_stderr(capsys, error, status):
    assert status_of(error) == status
    printed = capsys.readouterr()
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


def test_error_names_the_file_and_the_reason(capsys):
    status_of(OSError(errno.EROFS, "Read-only file system", "a/7.png"))
    line = capsys.readouterr().err
    assert "a/7.png" in line
    assert "Read-only file system" in line


def test_error_without_a_number_keeps_its_words(capsys):
    status_of(OSError("Can't synchronously write data"))
    assert "Can't synchronously write data" in capsys.readouterr().err


def test_message_of_several_lines_becomes_one(capsys):
    status_of(InputError("a.keras: not readable (one\n\n  two)"))
    assert capsys.readouterr().err == "error: a.keras: not readable (one two)\n"


@pytest.mark.parametrize("name", ["predict.py", "ship.py"])
def test_reader_of_the_output_may_leave(name):
    """As in `script --help | head`; the second help text fits into one buffer."""
    command = [sys.executable, str(REPOSITORY / name), "--help"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, env=environment
    )
    os.close(writing)
    assert ended.returncode == 141
    assert ended.stderr == b""


def test_defect_keeps_its_traceback():
    def main(options):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(main, Options, [])


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--number", "three"]])
def test_wrong_flag_is_refused(capsys, arguments):
    assert status_of(0, arguments) == 2


def test_flags_reach_main(tmp_path):
    seen = []

    def main(options):
        seen.append(options)

    with pytest.raises(SystemExit):
        cli.run(main, Options, ["--number", "5", "--data", str(tmp_path)])
    assert seen[0].number == 5
    assert seen[0].layout.train_csv == tmp_path / "csv" / "train.csv"


def test_default_folders_do_not_depend_on_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout = Options(cli.Paths()).layout
    assert layout.data == REPOSITORY / "data"
    assert layout.models == REPOSITORY / "models"


def test_last_line_names_what_was_written(tmp_path, capsys):
    cli.summary("3 of 3", wrote=tmp_path)
    assert capsys.readouterr().out == f"3 of 3\nwrote {tmp_path}\n"


def test_long_lists_are_cut():
    assert cli.list_some([1, 2, 3]) == "1, 2, 3"
    assert cli.list_some(list(range(5)), 2) == "0, 1 and 3 more"


@pytest.mark.parametrize("path", SCRIPTS)
def test_help_tells_what_is_read_and_written_without_loading_a_network(path):
    done = subprocess.run(
        [sys.executable, "-c", HELP_AND_MODULES, REPOSITORY / path],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={"COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    code, loaded = json.loads(done.stderr.splitlines()[-1])
    assert code in (0, None)
    assert loaded == []
    for word in ("Reads", "Writes", f"python {path}", "--data"):
        assert word in done.stdout
    # an empty default tells nothing; the help says what happens without the option
    assert not re.search(r"\(default: (''|\[\])?\)", done.stdout)


def options_in(kind: type) -> Iterator[tuple[type, Field]]:
    """All options of a script with the class that has them, groups first."""
    hints = get_type_hints(kind)
    for option in fields(kind):
        if is_dataclass(hints[option.name]):
            yield from options_in(hints[option.name])
        else:
            yield kind, option


def flag_of(kind: type, option: Field) -> str:
    """The flag's name: the field's, unless its annotation has another."""
    annotation = get_type_hints(kind, include_extras=True)[option.name]
    named = [
        extra.name
        for extra in getattr(annotation, "__metadata__", ())
        if getattr(extra, "name", None)
    ]
    return "--" + (named or [option.name])[0].replace("_", "-")


def default_of(option: Field) -> str:
    """The default as text, without the folder of this checkout."""
    value = option.default
    if option.default_factory is not MISSING:
        value = option.default_factory()
    if isinstance(value, tuple | dict):
        value = " ".join(map(str, value))
    return str(value).replace(f"{REPOSITORY}/", "")


def help_of(kind: type, name: str) -> str:
    """The docstring below an option, which may be of a class that `kind` extends."""
    for owner in kind.__mro__:
        if name in inspect.get_annotations(owner):
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body
            for node, after in itertools.pairwise(body):
                if isinstance(node, ast.AnnAssign) and node.target.id == name:
                    assert isinstance(after, ast.Expr), f"{owner}.{name}: no help"
                    return ast.literal_eval(after.value)
    raise AssertionError(f"{kind}.{name}: no help")


@pytest.mark.parametrize("path", FLAGS)
def test_flags_keep_their_names_and_defaults(path):
    offered = {
        flag_of(kind, option): default_of(option)
        for kind, option in options_in(script(path.removesuffix(".py")).Options)
    }
    kept = {flag: offered.get(flag) for flag in FLAGS[path]}
    assert kept == FLAGS[path]


@pytest.mark.parametrize("path", SCRIPTS)
def test_no_flag_belongs_to_two_groups(path):
    options = options_in(script(path.removesuffix(".py")).Options)
    flags = [flag_of(kind, option) for kind, option in options]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("path", SCRIPTS)
def test_help_of_an_option_is_one_line_that_stands_alone(path):
    for kind, option in options_in(script(path.removesuffix(".py")).Options):
        text = help_of(kind, option.name)
        assert "\n" not in text, text
        assert not text.endswith(".") or text.endswith("..."), text
        first = text.split()[0].strip(":,")
        assert first.islower() or first.upper() == first or first in NAMES, text
        assert not text.startswith("of "), text


@pytest.mark.parametrize(
    "path", ["predict.py", "al_segmentation/step1_corase_segment.py"]
)
def test_help_shows_the_rare_groups_last(path, capsys):
    module = script(path.removesuffix(".py"))
    with pytest.raises(SystemExit):
        cli.run(module.main, module.Options, ["--help"])
    shown = capsys.readouterr().out
    rare = "page options" if path == "predict.py" else "processing options"
    groups = ("show this help message", "paths options", rare)
    places = [shown.index(group) for group in groups]
    assert places == sorted(places)
