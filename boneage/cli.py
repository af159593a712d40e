"""One entry for all scripts: typed options become flags and --help."""

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

import tyro

from boneage import parallel, screen
from boneage.errors import InputError, printable
from boneage.io import keras_models
from boneage.layout import Layout

NO_DEFAULT = tyro.conf.arg(help_behavior_hint="")
"""For an option whose default is empty: its help says what happens without it."""
IDS = tyro.conf.arg(help_behavior_hint="", metavar="ID [ID ...]")
"""For ids of radiographs, none by default."""


@dataclass(frozen=True)
class Paths:
    """Folders of the cohort and of what is trained on it."""

    data: Path = Layout.data
    """folder of the cohort"""
    models: Path = Layout.models
    """folder of trained networks, tables and figures"""


@dataclass(frozen=True)
class Processing:
    """Processes, or a Dask cluster, that work on the images."""

    jobs: int = -1
    """number of processes; -1 for one per core"""
    scheduler: Annotated[str, NO_DEFAULT] = ""
    """Dask scheduler to use, tcp://HOST:PORT (docs/SCALING.md)"""


class ScriptOptions:
    """What all scripts can ask of their options.

    A subclass is a frozen dataclass: a field `paths`, a field for each other group of
    settings, and the script's own flags, with a docstring of one line each. The flags
    of a group carry no prefix. The help shows the script's own flags first, then the
    groups in the order of their fields.
    """

    resumes: ClassVar[bool] = True
    """Whether the same command continues an interrupted run."""
    paths: Paths

    @property
    def layout(self) -> Layout:
        """The paths below the two folders."""
        return Layout(self.paths.data, self.paths.models)


class ImageScriptOptions(ScriptOptions):
    """The same for scripts that process images in parallel; also `processing`."""

    processing: Processing

    @property
    def layout(self) -> Layout:
        """The paths below the two folders; absolute ones for other machines."""
        data, models = self.paths.data, self.paths.models
        if self.processing.scheduler:
            return Layout(data.absolute(), models.absolute())
        return Layout(data, models)

    @property
    def workers(self) -> parallel.Workers:
        """Who processes the images."""
        data = self.paths.data.absolute()
        shared = next(path for path in (data, *data.parents) if path.is_dir())
        return parallel.Workers(self.processing.jobs, self.processing.scheduler, shared)


Options = TypeVar("Options")


def run(
    main: Callable[[Options], int | None],
    options: type[Options],
    arguments: list[str] | None = None,
) -> None:
    """Parse the command line, call `main`, and exit with its status.

    The help text is the docstring of main's module. Status 0 is success, 1 is for
    a check that found something, 2 for input that cannot be used (one line on
    stderr), 130 for Ctrl-C, 141 when whoever read the output has left, as `head` does.
    """
    # file names in another encoding cannot be printed, and must not end a run
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _call(main, options, arguments)
    except (InputError, OSError, KeyboardInterrupt) as error:
        # options of a benchmark are no ScriptOptions
        status = exit_status_for(error, getattr(options, "resumes", True))
    sys.exit(status)


def _call(
    main: Callable[[Options], int | None],
    options: type[Options],
    arguments: list[str] | None,
) -> int | None:
    """Parse, call, and print what is left to print while errors are still caught."""
    text = sys.modules[main.__module__].__doc__ or ""
    try:
        parsed = tyro.cli(
            options,
            # tyro joins lines that no blank line parts
            description=text.replace("\nWrites", "\n\nWrites"),
            args=arguments,
            config=(
                tyro.conf.OmitArgPrefixes,
                tyro.conf.DisallowNone,
                tyro.conf.AvoidSubcommands,
                tyro.conf.OmitSubcommandPrefixes,
            ),
        )
        with screen.quiet():
            return main(parsed)
    except (ImportError, ValueError):
        # so Keras ends without its backend, too, wherever it is imported first
        keras_models.check_backend()
        raise
    finally:
        sys.stdout.flush()


def exit_status_for(error: BaseException, resumes: bool = True) -> int | None:
    """Print in one line what ended a script; return its exit status, None for a bug."""
    again = "the same command goes on from here" if resumes else "start it again"
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, BrokenPipeError):
        # or Python fails to flush stdout as it exits, and prints that
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    # a full disk, a read-only folder: the user's to mend, not a defect to trace
    if isinstance(error, OSError):
        print(f"error: {_oserror_line(error, again)}", file=sys.stderr)
        return 2
    if isinstance(error, KeyboardInterrupt):
        print(f"\ninterrupted; {again}", file=sys.stderr)
        return 130
    return None


@contextlib.contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C while the block runs, as containers stop a program.

    Their first process would not hear it at all otherwise.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def flags_given() -> set[str]:
    """Names of the options on the command line, also of those that set the default."""
    flags = (word for word in sys.argv[1:] if word.startswith("--"))
    given = {flag[2:].partition("=")[0].replace("-", "_") for flag in flags}
    return given | {name.removeprefix("no_") for name in given}


def reject_flags(flags: Collection[str] | type, problem: str) -> None:
    """Raise InputError if one of these flags is on the command line.

    flags: names of options, or a settings class, for all of its flags. problem: such
    as "cannot be used with --serve".
    """
    if isinstance(flags, type):
        flags = [option.name for option in fields(flags)]
    for flag in sorted(flags_given() & set(flags)):
        raise InputError(f"--{flag.replace('_', '-')} {problem}")


def _oserror_line(error: OSError, again: str) -> str:
    """Name the file, what is wrong, and what to do, in one line."""
    if error.filename is None:
        return " ".join(str(error).split())
    line = f"{error.filename}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        line += f"; make room, and {again}"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        line += "; make it writable, or choose another --data or --models DIR"
    return line


def summary(*lines: str, wrote: Path | None = None) -> None:
    """Print a script's closing lines; the last one names what was written."""
    for line in lines:
        print(line)
    if wrote is not None:
        print(f"wrote {wrote}")


def list_some(items: list, limit: int = 10) -> str:
    """Join items with commas, the first `limit` of them."""
    shown = ", ".join(printable(str(item)) for item in items[:limit])
    return shown + (f" and {len(items) - limit} more" if len(items) > limit else "")
