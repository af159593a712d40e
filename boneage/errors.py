"""Errors that a user can mend: one line that names the input and the remedy."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path


class InputError(Exception):
    """What the user gave cannot be used; one line names it and the remedy."""

    def __init__(self, message: str) -> None:
        """Join the lines of `message`, and escape what cannot be printed."""
        super().__init__(printable(re.sub(r"\s*\n\s*", " ", message)))


def printable(text: str | Path) -> str:
    r"""Escape bytes of a file name that are no text: `Jos\xe9.png`.

    A name in another encoding than the system's cannot be printed or written to a
    table, and one such name must not cost a whole run.
    """
    # how Python keeps such a byte: U+DC80 plus its lower seven bits
    return re.sub(
        "[\udc80-\udcff]", lambda m: f"\\x{ord(m[0]) - 0xDC00:02x}", str(text)
    )


@contextlib.contextmanager
def refuse_damaged(subject: str | Path, problem: str, advice: str) -> Iterator[None]:
    """Turn whatever a parser raises for a damaged file into an InputError.

    Everything is caught here, and here alone: pydicom, its decoders, Keras, zipfile,
    h5py and openpyxl document no exceptions for damaged files, and fuzzing finds one
    more (struct.error, RecursionError, KeyError ...) wherever a list of them ends.

    Args:
        subject: the file, or what else the message begins with.
        problem: what is wrong, as in "cannot be decoded"; the parser's words follow.
        advice: what to do about it.

    Raises:
        InputError: the block raised an exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{subject} {problem} ({reason}); {advice}") from error


def check_minimum(minimum: float, **numbers: float) -> None:
    """Raise InputError for a number below `minimum`, named as the user's flag."""
    for name, number in numbers.items():
        if number < minimum:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} must be at least {minimum:g} (got {number:g})")
