"""The networks by name, each made for samples of a shape."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

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


class _Named(NamedTuple):
    """A network by name.

    Attributes
    ----------
    build
        What makes it, as `build(shape, n_outputs, **options)`.
    functions
        Those whose keyword-only arguments are its options.
    training
        How it is trained where nothing is said of it: options of a run by the names of `RunConfig`,
        as far as they are others than for any network. Those of an optimizer or a schedule are of
        the one that is named beside them, and not of another that is chosen.
    """

    build: Callable[..., Sequential]
    functions: tuple[Callable[..., Any], ...]
    training: Mapping[str, Any] = MappingProxyType({})


_NAMED: Mapping[str, _Named] = {
    "mlp": _Named(_mlp, (_mlp, mlp)),
    "lenet5": _Named(
        lenet5,
        (lenet5,),
        {"optimizer": "nesterov", "learning_rate": 0.02, "l2": 5e-4, "schedule": "cosine"},
    ),
    # Three epochs, and not twenty: each takes minutes on a CPU.
    "small_cnn": _Named(
        small_cnn, (small_cnn,), {"epochs": 3, "optimizer": "adam", "schedule": "cosine"}
    ),
    "resnet8": _Named(resnet8, (resnet8,)),
}

MODELS: tuple[str, ...] = tuple(_NAMED)
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
        for function in _NAMED[name].functions
        for option, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def training_options(name: str) -> dict[str, Any]:
    """The options with which `xpnet train` trains a network where nothing is said of them.

    Parameters
    ----------
    name
        One of `MODELS`.

    Returns
    -------
    options
        Those of a run in which the network differs from others, by the names of
        `xpnet.runs.config.RunConfig`; none for an `"mlp"`.

    Examples
    --------
    >>> training_options("lenet5")["schedule"]
    'cosine'
    """
    return dict(_NAMED[name].training)


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
    if not is_one_of(_NAMED, name):
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
    return _NAMED[name].build(shape, positive_integer("n_outputs", n_outputs), **options)
