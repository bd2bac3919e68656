"""Numbers of layers, losses and optimizers, which may vanish in the dtype of a training."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet.fields import rules_of
from xpnet.layers import Layer
from xpnet.layers.container import inner_layers


def check_numbers(dtype: str, *parts: Any) -> None:
    """Check that what layers, losses or optimizers are made of are numbers in a dtype.

    The rules of their fields say which must become neither 0 nor infinite (`Rule.in_dtype`): what
    is divided by, such as the epsilon of a batch norm, and what a training would do nothing
    without.

    Parameters
    ----------
    dtype
        `"float32"` or `"float64"`.
    parts
        Models, with all layers inside of them, losses and optimizers.

    Raises
    ------
    ValueError
        If one is not; the message names the layer, the number, and what is allowed.
    """
    for part in parts:
        for where, owner in _owners(part):
            for name in names_in_dtype(type(owner)):
                for value in _numbers(getattr(owner, name)):
                    problem = problem_in(dtype, value)
                    if problem:
                        how = "" if problem_in("float64", value) else ", or give dtype='float64'"
                        kind = type(owner).__name__
                        raise ValueError(f"{where}{kind}: {name} {problem}{how}")


def names_in_dtype(kind: type) -> list[str]:
    """The fields of a class that must hold numbers in the dtype of a training."""
    return [name for name, rule in rules_of(kind).items() if rule.in_dtype]


def problem_in(dtype: str, value: float) -> str:
    """What is wrong with a number in a dtype, to be read after its name; nothing of 0 itself."""
    limits = np.finfo(dtype)
    # Smaller ones, which are not normal, XLA takes for 0 and NumPy does not.
    smallest, largest = float(limits.smallest_normal), float(limits.max)
    if 0 < abs(value) < smallest:
        return (
            f"must be {smallest:.3g} or more in {dtype}, where some libraries take {value!r} for 0"
        )
    if abs(value) > largest:
        return f"must be {largest:.3g} or less in {dtype}, where {value!r} is infinite"
    return ""


def _owners(part: Any) -> Iterator[tuple[str, Any]]:
    """Whatever may have numbers, and how a message says where it is."""
    if not isinstance(part, Layer):
        yield "", part
        return
    for name, layer in _layers(part, ""):
        yield _where(name), layer
    for name, constraint in part.constraints().items():
        yield _where(name.rpartition(".")[0]), constraint


def _layers(layer: Layer, name: str) -> Iterator[tuple[str, Layer]]:
    yield name, layer
    for inner, part in inner_layers(layer).items():
        yield from _layers(part, f"{name}.{inner}" if name else inner)


def _where(name: str) -> str:
    return name and f"layer {name!r}: "


def _numbers(value: Any) -> Iterator[float]:
    """A number, those of a tuple, and of pairs of a class and a number the latter."""
    if isinstance(value, tuple):
        for item in value:
            yield item[1] if isinstance(item, tuple) else item
    elif value is not None:
        yield value
