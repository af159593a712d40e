"""Keep TensorFlow's start-up notes off a script's screen; errors still reach it.

TensorFlow's C++ code writes to file descriptor 2, some of it before any setting can
stop it (https://github.com/tensorflow/tensorflow/issues/100442). The descriptor
therefore leads through a filter, a process of its own, so that the last words of a
program that aborts are not lost. Python's own stderr stays the terminal, so progress
bars show.
"""

import contextlib
import logging
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NOTES = [
    r"WARNING: All log messages before absl::InitializeLog\(\)",
    # informational lines, in the two forms that TensorFlow has used
    r"I\d{4} \d\d:\d\d:\d+\.\d+ ",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: I ",
    r"To enable the following instructions: ",
    # libraries that are registered twice, harmlessly, by TensorFlow 2.18 and 2.19
    r".*Unable to register cu\w+ factory",
    r".*computation placer already registered",
]
"""How lines begin that are of no use to a user."""

NO_GPU = r".*failed call to cuInit: "
"""How the line begins that is a note on a machine without GPU, and else an error."""

GPU_DRIVER = Path("/dev/nvidiactl")

PARTIAL_LINE_S = 0.2
"""How long a line may wait for its end before it is shown without one."""

LAST_LINES_S = 2.0
"""How long a script waits at its end for lines still in the filter."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Filter what this process and those it starts write to file descriptor 2.

    Does nothing where Python's stderr is not that descriptor, as within tests, and
    where processes cannot fork.
    """
    # its warnings and errors are worth reading, its notes are not
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    if not hasattr(os, "fork") or not _is_own_stderr():
        yield
        return
    stderr, screen = sys.stderr, os.dup(2)
    reading, writing = os.pipe()
    stderr.flush()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(writing)
        _filter(reading, screen)
        os._exit(0)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = open(screen, "w", buffering=1, errors="backslashreplace")  # noqa: PTH123, SIM115
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        sys.stderr = stderr
        _wait(child)


def is_note(line: bytes) -> bool:
    """Whether a line on file descriptor 2 is of no use to a user."""
    patterns = NOTES if GPU_DRIVER.exists() else [*NOTES, NO_GPU]
    text = line.decode(errors="replace")
    return any(re.match(pattern, text) for pattern in patterns)


def _is_no_retracing(record: logging.LogRecord) -> bool:
    """Drop the advice that a function is traced anew for each network and size."""
    return "triggered tf.function retracing" not in record.getMessage()


def _is_own_stderr() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        # closed, absent, or not a file
        return False


def _filter(reading: int, screen: int) -> None:
    """Pass on all lines but the notes until the last writer is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # whoever reads this program's output must not wait for the filter
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    line = b""
    while True:
        patience = PARTIAL_LINE_S if line else None
        if not select.select([reading], [], [], patience)[0]:
            _show(screen, line)
            line = b""
            continue
        more = os.read(reading, 1 << 16)
        *whole, line = (line + more).split(b"\n")
        for ended in whole:
            _show(screen, ended + b"\n")
        if not more:
            _show(screen, line)
            return


def _show(screen: int, line: bytes) -> None:
    if line and not is_note(line):
        # the terminal may be gone
        with contextlib.suppress(OSError):
            os.write(screen, line)


def _wait(child: int) -> None:
    """Wait for the filter, unless a process that goes on still writes to it."""
    end = time.monotonic() + LAST_LINES_S
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
