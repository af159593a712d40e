"""Errors of the user's making."""

import re


class InputError(Exception):
    """What the user gave cannot be used; one line names it and says what to do."""

    def __init__(self, message: str) -> None:
        """What a library says inside `message` may have several lines."""
        super().__init__(re.sub(r"\s*\n\s*", " ", message))


def check_minimum(least: float, **numbers: float) -> None:
    """Raise InputError for a number below `least`, named as the user's flag."""
    for name, number in numbers.items():
        if number < least:
            raise InputError(f"--{name.replace('_', '-')} {number}: at least {least}")
