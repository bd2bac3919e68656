"""What the options of a run may be: one table for the command line and for files."""

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.backends import BACKENDS, DTYPES
from xpnet.backends.steps import STEPS
from xpnet.checks import LARGEST, MOST_THREADS, finite_number
from xpnet.errors import readable, shown
from xpnet.history import UNMEASURED
from xpnet.initializers import INITIALIZERS
from xpnet.layers import ACTIVATIONS
from xpnet.layers.dropout import rate_problem
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import SCHEDULES
from xpnet.suggestions import did_you_mean

_LARGEST_SIZE = 2**31 - 1


class OptionError(ValueError):
    """An option that is not allowed.

    Attributes
    ----------
    name
        The option, as `RunConfig` calls it.
    problem
        What is wrong with it, to be read after its name.
    """

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, readable(problem)
        super().__init__(f"{name} {self.problem}")


CHOICES: dict[str, tuple[str, ...]] = {
    "activation": tuple(ACTIVATIONS),
    "init": tuple(INITIALIZERS),
    "optimizer": tuple(OPTIMIZERS),
    "schedule": tuple(SCHEDULES),
    "backend": ("auto", *BACKENDS),
    "dtype": tuple(DTYPES),
    "steps": STEPS,
    "train_metrics": tuple(UNMEASURED),
}
"""The options that are one of some words."""

NUMBERS: dict[str, dict[str, float]] = {
    "dropout": {"at_least": 0, "below": 1},
    "learning_rate": {"above": 0},
    "momentum": {"at_least": 0, "below": 1},
    "weight_decay": {"at_least": 0},
    "l2": {"at_least": 0},
    "clip_norm": {"above": 0},
    "clip_value": {"above": 0},
    "ema": {"at_least": 0, "below": 1},
    "label_smoothing": {"at_least": 0, "below": 1},
    "warmup": {"at_least": 0},
    "schedule_factor": {"above": 0},
    "schedule_final": {"at_least": 0, "at_most": 1},
    "validation": {"above": 0, "below": 1},
}
"""The options that are numbers, with the ends of their ranges; see `finite_number`."""

INTEGERS: dict[str, int] = {
    "epochs": 1,
    "batch_size": 1,
    "limit": 1,
    "patience": 1,
    "schedule_every": 1,
    "schedule_patience": 0,
    "seed": 0,
    "threads": 1,
    "checkpoint_every": 1,
}
"""The options that are integers, with the smallest that is allowed."""

_LARGEST_OF = {
    "seed": 2**128 - 1,  # as much as a SeedSequence draws itself
    "threads": MOST_THREADS,
}
"""The largest that is allowed, where it is not that of an index."""

FLAGS = ("batch_norm", "drop_last", "tf32", "tensorboard")
"""The options that are on or off."""

TEXTS = ("dataset", "device", "data_dir", "start")

NAMES = ("freeze", "fresh")
"""The options that are names of layers."""


def check_option(name: str, value: Any) -> Any:
    """The value of an option in its own type, such as 1.0 for a learning rate of 1.

    Raises
    ------
    OptionError
        If the value is of another type or out of its range.
    """
    kinds: list[tuple[Mapping[str, Any], Callable[[str, Any], Any]]] = [
        (CHOICES, _choice),
        (NUMBERS, _number),
        (INTEGERS, _integer),
        (dict.fromkeys(FLAGS), _flag),
        (dict.fromkeys(TEXTS), _text),
        (dict.fromkeys(NAMES), _names),
        ({"hidden": None}, _sizes),
    ]
    check = next(check for names, check in kinds if name in names)
    return check(name, value)


def _choice(name: str, value: Any) -> str:
    # A value that has no hash is in no dictionary, but in no tuple either.
    if not isinstance(value, str) or value not in CHOICES[name]:
        near = did_you_mean(value, CHOICES[name])
        allowed = ", ".join(CHOICES[name])
        raise OptionError(name, f"must be one of {allowed}; got {shown(value)}{near}")
    return value


def _number(name: str, value: Any) -> float:
    try:
        number = finite_number(name, value, **NUMBERS[name])
    except ValueError as error:
        raise OptionError(name, str(error).removeprefix(f"{name} ")) from error
    problem = rate_problem(number) if name == "dropout" else ""
    if problem:
        raise OptionError(name, problem)
    return number


def _integer(name: str, value: Any) -> int:
    smallest, largest = INTEGERS[name], _LARGEST_OF.get(name, LARGEST)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and value > largest:
        raise OptionError(name, f"must be {largest} at the most, got {shown(value)}")
    if not whole or value < smallest:
        raise OptionError(name, f"must be an integer from {smallest} upwards, got {shown(value)}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionError(name, f"must be true or false, got {shown(value)}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OptionError(name, f"must be a text that is not empty, got {shown(value)}")
    return value


def _names(name: str, value: Any) -> tuple[str, ...]:
    fits = isinstance(value, list | tuple) and all(isinstance(n, str) and n for n in value)
    if not fits:
        raise OptionError(
            name, f"must be a list of names of layers, such as fc1; got {shown(value)}"
        )
    return tuple(value)


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    fits = isinstance(value, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _LARGEST_SIZE for n in value
    )
    if not fits:
        raise OptionError(
            name,
            f"must be a list of integers from 1 to 2**31 - 1, such as 256, 64; got {shown(value)}",
        )
    return tuple(value)
