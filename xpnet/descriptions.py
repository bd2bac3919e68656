"""The parts of a network by name; and as JSON values, and back, over the fields of dataclasses.

A part is a frozen dataclass of numbers and text: a layer, a loss, a constraint. A field that holds
another part, or a function, says in its metadata how that is written: `written_as`.
"""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Form:
    """How what a field holds is written as JSON values, and read; None is None either way."""

    describe: Callable[[Any], Any]
    build: Callable[[Any], Any]


def written_as(describe: Callable[[Any], Any], build: Callable[[Any], Any]) -> dict[Any, Form]:
    """The metadata of a field whose values are no JSON values, but can be written as such.

    Parameters
    ----------
    describe
        Makes JSON values of what the field holds.
    build
        Makes what the field holds of JSON values.
    """
    return {Form: Form(describe, build)}


def describe_fields(part: Any) -> dict[str, Any]:
    """What a part is made with, by name, as JSON values: its fields, or attributes if it has none.

    Parameters
    ----------
    part
        A dataclass; of any other object all attributes are taken as they are.
    """
    kind = type(part)
    forms, names = _forms(kind), _arguments(kind)
    if "__dataclass_fields__" not in vars(kind):  # its constructor may be one of its own
        names = [*dict.fromkeys([*names, *getattr(part, "__dict__", ())])]
    values = {name: getattr(part, name) for name in names}
    return {
        name: forms[name].describe(value) if name in forms and value is not None else value
        for name, value in values.items()
    }


def build_from_fields(kind: type[T], options: Mapping[str, Any]) -> T:
    """The inverse of `describe_fields`; what is not described is as the class has it by default.

    Raises
    ------
    TypeError, ValueError
        If there is no such option, or it is not allowed.
    """
    forms = _forms(kind)
    return kind(
        **{
            name: forms[name].build(value) if name in forms and value is not None else value
            for name, value in options.items()
        }
    )


def as_json_values(value: Any) -> Any:
    """What a class of one's own is made with as JSON values, whatever it is: else as text.

    Only to be compared, and read by people: what became text is not made again of it.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): as_json_values(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json_values(one) for one in value]
    if isinstance(value, set | frozenset):  # whose order is another in each process
        return sorted((as_json_values(one) for one in value), key=repr)
    if isinstance(value, float) and not math.isfinite(value):
        return as_text(value)
    return value if isinstance(value, bool | int | float | str | None) else as_text(value)


def as_text(x: Any) -> str:
    """Any object as text that is the same in the next process."""
    text = f"{x.__module__}.{x.__qualname__}" if hasattr(x, "__qualname__") else repr(x)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def same_description(one: Any, other: Any) -> bool:
    """Whether two descriptions, as JSON values, are the same: 1 is 1.0, and true is neither."""
    pairs = [(one, other)]  # and no recursion: files may have more levels than the stack
    while pairs:
        x, y = pairs.pop()
        if isinstance(x, dict) and isinstance(y, dict):
            if x.keys() != y.keys():
                return False
            pairs += [(value, y[name]) for name, value in x.items()]
        elif isinstance(x, list) and isinstance(y, list):
            if len(x) != len(y):
                return False
            pairs += zip(x, y, strict=True)
        elif isinstance(x, bool) != isinstance(y, bool) or x != y:
            return False
    return True


def same_in_words(one: str, other: str) -> bool:
    """Whether two texts such as those of `repr` are the same, the numbers in them by value."""
    return one == other or _pieces(one) == _pieces(other)


_PIECES = re.compile(
    r"""
    '(?:[^'\\]|\\.)*(?:'|\Z) | "(?:[^"\\]|\\.)*(?:"|\Z)  # a text: the numbers in it are none
    | [^\W\d][\w.]*                                      # a name
    | (?P<number>[0-9][0-9A-Za-z.]*(?:(?<=[eE])[+-][0-9]+)?)
    | .
    """,
    re.VERBOSE | re.DOTALL,
)

_MOST_DIGITS = 1000  # of a longer one Python makes no integer


def _pieces(text: str) -> list[Any]:
    """A text in parts, of which numbers are numbers."""
    pieces: list[Any] = []
    for match in _PIECES.finditer(text):
        piece = match[0]
        pieces.append(piece)
        if match["number"] and len(piece) <= _MOST_DIGITS:
            with suppress(ValueError):
                pieces[-1] = int(piece) if piece.isdecimal() else float(piece)
    return pieces


def named_classes(namespace: Mapping[str, Any], base: type[T]) -> dict[str, type[T]]:
    """The classes of a package that say what they are called, by that `name`, in its order.

    Parameters
    ----------
    namespace
        The names of the package: its `globals()`.
    base
        What the classes are made of. Between it and them there may be others, without a name.
    """
    found = [x for x in namespace.values() if isinstance(x, type) and issubclass(x, base)]
    return {vars(kind)["name"]: kind for kind in found if "name" in vars(kind)}


def _arguments(kind: type) -> list[str]:
    """The fields that a dataclass is made with; none of another class."""
    return [f.name for f in fields(kind) if f.init] if is_dataclass(kind) else []


def _forms(kind: type) -> dict[str, Form]:
    if not is_dataclass(kind):
        return {}
    return {f.name: f.metadata[Form] for f in fields(kind) if Form in f.metadata}
