"""Checks of arguments that several modules share."""

import math
import operator
from numbers import Real
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


def real_number(name: str, value: Any) -> float:
    """Check that an argument is a finite real number, NumPy's included.

    Raises
    ------
    ValueError
        If it is not; the message has the argument's name and value.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def positive_number(name: str, value: Any) -> float:
    """Check that an argument is a positive, finite real number; errors as in `real_number`."""
    number = real_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be a positive number, got {value!r}")
    return number
