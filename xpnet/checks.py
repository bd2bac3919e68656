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
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan
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
    raise ValueError(f"{name} must be {allowed}, got {value!r}")
