"""The parts of a network by name; and as JSON values, and back, over the fields of dataclasses.

A part is a frozen dataclass of numbers and text: a layer, a loss, a constraint. A field that holds
another part, or a function, says in its metadata how that is written: `written_as`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

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
    forms = _forms(type(part))
    return {
        name: forms[name].describe(value) if name in forms and value is not None else value
        for name, value in vars(part).items()
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


def _forms(kind: type) -> dict[str, Form]:
    if not is_dataclass(kind):
        return {}
    return {f.name: f.metadata[Form] for f in fields(kind) if Form in f.metadata}
