"""Checks of arguments that several modules share."""

import math
import operator
from collections.abc import Collection
from numbers import Real
from typing import Any

import numpy as np

from xpnet.errors import shown

LARGEST = 2**63 - 1
"""No number of things, and no axis of an array, is larger."""

MOST_THREADS = 1024
"""More threads of the CPU are asked for by mistake: libraries end the process where they fail."""


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
    if not 1 <= number <= LARGEST:
        size = " below 2**63" if number > 1 else ""
        raise ValueError(f"{name} must be a positive integer{size}, got {shown(value)}")
    return number


def true_or_false(name: str, value: Any) -> bool:
    """Check that an argument is True or False, NumPy's Booleans included.

    Raises
    ------
    ValueError
        If it is not; the message has the argument's name and value.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def is_one_of(words: Collection[str], value: Any) -> bool:
    """Whether an argument is one of some words; what cannot be compared with them is not."""
    return isinstance(value, str) and value in words


def takes_argument(function: Any, name: str, *, unsaid: bool) -> bool:
    """Whether a function can be called with an argument of this name.

    `unsaid` is the answer where it has no signature, as some functions of extensions.
    """
    import inspect  # late: it takes longer to import than all layers

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return unsaid
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def as_float(value: Any) -> float:
    """A real number as a float: infinite where it is too large for one, NaN if it is no number."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    try:
        return float(value) if is_number else math.nan
    except OverflowError:  # an integer of 400 digits
        return math.inf if value > 0 else -math.inf


def finite_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """Check that an argument is a finite number in a range, NumPy's numbers included.

    Parameters
    ----------
    name
        The argument as the message shall call it.
    value
        What was given.
    above, at_least, below, at_most
        The ends of the range, as far as there are any.

    Raises
    ------
    ValueError
        If it is not; the message has the range and the value.
    """
    number = as_float(value)
    inside = (
        math.isfinite(number)
        and (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (below is None or number < below)
        and (at_most is None or number <= at_most)
    )
    if inside:
        return number
    if above == 0 and below is None and at_most is None:
        allowed = "positive and finite"
    else:
        ends = (("above", above), ("at least", at_least), ("below", below), ("at most", at_most))
        words = [f"{word} {end:g}" for word, end in ends if end is not None]
        if below is None and at_most is None:
            words.append("finite")
        allowed = " and ".join(words)
    raise ValueError(f"{name} must be {allowed}, got {shown(value)}")
