"""The networks by name, each made for samples of a shape."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xpnet.checks import is_one_of, positive_integer
from xpnet.errors import shown
from xpnet.layers import Sequential
from xpnet.models.lenet import lenet5
from xpnet.models.mlp import mlp
from xpnet.models.resnet import resnet8
from xpnet.models.small_cnn import small_cnn
from xpnet.suggestions import did_you_mean
from xpnet.typing import Shape


def _mlp(
    shape: Shape, n_outputs: int, *, hidden: Sequence[int] = (128,), **options: Any
) -> Sequential:
    return mlp(math.prod(shape), *hidden, n_outputs, **options)


_BUILDERS: Mapping[str, tuple[Callable[..., Sequential], tuple[Callable[..., Any], ...]]] = {
    "mlp": (_mlp, (_mlp, mlp)),
    "lenet5": (lenet5, (lenet5,)),
    "small_cnn": (small_cnn, (small_cnn,)),
    "resnet8": (resnet8, (resnet8,)),
}
"""What makes each, as `builder(shape, n_outputs, **options)`, and the functions whose keyword-only
arguments are its options."""

MODELS: tuple[str, ...] = tuple(_BUILDERS)
"""The names of the networks that `build_model` makes, the first of them the default."""


def model_options(name: str) -> dict[str, Any]:
    """The options of a network, by name with their defaults.

    Examples
    --------
    >>> sorted(model_options("resnet8"))
    ['activation', 'init_weight']
    """
    return {
        option: parameter.default
        for function in _BUILDERS[name][1]
        for option, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def build_model(name: str, shape: Shape, n_outputs: int, **options: Any) -> Sequential:
    """A network by name, for samples of a shape.

    Parameters
    ----------
    name
        One of `MODELS`: `"mlp"`, `"lenet5"`, `"small_cnn"` or `"resnet8"`.
    shape
        The shape of one sample, such as (28, 28) or (32, 32, 3).
    n_outputs
        The number of classes, or of values.
    options
        Those of the function of that name, such as `activation=Tanh()`; of an `mlp` the sizes of
        the hidden layers, as `hidden=(128,)`.

    Raises
    ------
    ValueError
        If there is no such network, it has no such option, or cannot take samples of the shape.

    Examples
    --------
    >>> build_model("lenet5", (28, 28), 10).parameter_count
    61706
    """
    if not is_one_of(_BUILDERS, name):
        near = did_you_mean(name, MODELS)
        raise ValueError(f"a model is one of {', '.join(MODELS)}; got {shown(name)}{near}")
    known = model_options(name)
    for option in options:
        if option not in known:
            near = did_you_mean(option, known)
            raise ValueError(
                f"{name} has no option {shown(option)}: it takes {', '.join(known)}{near}"
            )
    shape = tuple(positive_integer("shape of a sample", n) for n in shape)
    return _BUILDERS[name][0](shape, positive_integer("n_outputs", n_outputs), **options)
