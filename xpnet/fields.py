"""What the fields of a frozen dataclass may hold: said in their metadata, and checked in one place.

A layer, a loss, an optimizer says beside a field what its values must be, such as
`epsilon: float = field(default=1e-5, metadata=number(above=0))`, and derives from `Checked`, which
looks at all of them when an instance is made, and keeps Python's own numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from xpnet.checks import finite_number


@dataclass(frozen=True)
class Rule:
    """What a field may hold.

    Attributes
    ----------
    check
        `(name, value) -> value`: the value as it is kept, or a ValueError or TypeError that begins
        with the name.
    in_dtype
        Whether what it holds must be numbers in the dtype of a training as well.
    optional
        Whether it may be None, which is not checked.
    ends
        The ends of the range of a number, as far as there are any: `above`, `at_least`, `below` and
        `at_most`.
    """

    check: Callable[[str, Any], Any]
    in_dtype: bool
    optional: bool
    ends: Mapping[str, float] = field(default_factory=dict)


def checked_by(
    check: Callable[[str, Any], Any], *, in_dtype: bool = False, optional: bool = False
) -> dict[Any, Rule]:
    """The metadata of a field whose values a function checks.

    Parameters
    ----------
    check
        `(name, value) -> value`: gives the value as the field shall hold it, such as a tuple for a
        list, or raises a ValueError or TypeError whose message begins with the name, which is
        `"LayerNorm: epsilon"`.
    in_dtype
        Whether a number must be one in the dtype of a training as well, and neither 0 nor infinite
        there, as 1e-50 and 1e39 are in float32; one that is given as 0 may stay so. It is looked at
        before a training begins, and when a network is made. The field holds a number, or a tuple
        of numbers or of pairs of which the second is one.
    optional
        Whether None is allowed.
    """
    return {Rule: Rule(check, in_dtype, optional)}


def number(
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    in_dtype: bool | None = None,
    optional: bool = False,
) -> dict[Any, Rule]:
    """The metadata of a field that holds a finite number, kept as a float.

    Parameters
    ----------
    above, at_least, below, at_most
        The ends of the range, as far as there are any.
    in_dtype
        See `checked_by`. If None, a number that must be above 0 must be so in the dtype too.
    optional
        Whether None is allowed.

    Examples
    --------
    >>> from dataclasses import dataclass, field
    >>> from xpnet import Layer
    >>> from xpnet.fields import number
    >>> @dataclass(frozen=True)
    ... class Scaled(Layer):
    ...     scale: float = field(default=1.0, metadata=number(above=0))
    >>> Scaled(2)
    Scaled(scale=2.0)
    >>> Scaled(0)
    Traceback (most recent call last):
    ValueError: Scaled: scale must be positive and finite, got 0
    """
    given = {"above": above, "at_least": at_least, "below": below, "at_most": at_most}
    ends: dict[str, Any] = {word: end for word, end in given.items() if end is not None}
    in_dtype = above == 0 if in_dtype is None else in_dtype
    return {Rule: Rule(partial(finite_number, **ends), in_dtype, optional, ends)}


class Checked:
    """A base of dataclasses: the values of their fields are checked when an instance is made.

    A subclass with a `__post_init__` of its own calls this one.
    """

    def __post_init__(self) -> None:
        check_fields(self, f"{type(self).__name__}: ")
        # A class that stands beside this one among the bases, and behind it.
        after = getattr(super(), "__post_init__", None)
        if after is not None:
            after()


def check_fields(part: Any, prefix: str) -> None:
    """Check the fields of a dataclass by their rules, and keep what the rules make of the values.

    Parameters
    ----------
    part
        The instance, just made.
    prefix
        What a message has before the name of a field.

    Raises
    ------
    ValueError, TypeError
        If one is not allowed.
    """
    for name, rule in rules_of(type(part)).items():
        value = getattr(part, name)
        if value is not None or not rule.optional:
            object.__setattr__(part, name, rule.check(f"{prefix}{name}", value))


def range_of(kind: type, name: str) -> Mapping[str, float]:
    """The ends of the range of a field that `number` made, for what hands its value on to it."""
    return rules_of(kind)[name].ends


def rules_of(kind: type) -> dict[str, Rule]:
    """The rules of the fields of a dataclass, by name; none of another class.

    A field that a subclass has with another default, and without a rule, keeps that of its base.
    """
    return {
        one.name: one.metadata[Rule]
        for base in reversed(kind.__mro__)
        for one in vars(base).get("__dataclass_fields__", {}).values()
        if Rule in one.metadata
    }
