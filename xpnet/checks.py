"""Checks of arguments that several modules share."""

import operator
from typing import Any


def positive_integer(name: str, value: Any) -> int:
    """Check that an argument is a positive integer, NumPy's integers included.

    Raises
    ------
    ValueError
        If it is not; the message has the argument's name and value.
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return number
