"""What an option of a run is: a field of `RunConfig`, with all that is known of it beside it."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from xpnet.checks import LARGEST, finite_number
from xpnet.errors import readable, shown
from xpnet.suggestions import did_you_mean

_T = TypeVar("_T")
_C = TypeVar("_C", bound=type)

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


class Section(StrEnum):
    """What options are about: the sections of `xpnet train --help`."""

    DATA = "Data"
    NETWORK = "Network"
    TRAINING = "Training"
    OPTIMIZER = "Optimizer"
    SCHEDULE = "Schedule"
    EARLY_STOPPING = "Early stopping"
    FINE_TUNING = "Fine-tuning"
    ENSEMBLES = "Ensembles and averages"
    COMPUTING = "Computing"
    RANKS = "More than one process"
    RUN_FOLDER = "Run folder"


def option(default: _T, help: str, **about: Any) -> _T:
    """A field of `RunConfig`: the command line, files, errors and the docstring are made from it.

    Parameters
    ----------
    default
        Its value where none is given.
    help
        What it means, in a sentence; `{range}` in it becomes the range in words.
    about
        Attributes of `Option`, such as `section=Section.TRAINING, at_least=1`. What is handed on to
        a class has the range that is said there: `**range_of(Optimizer, "ema")`, of `xpnet.fields`.
    """
    # None, and not the default: that may be given as well, where the model has another.
    left_out: Any = None if about.get("by_model") else default
    return field(default=left_out, metadata={"default": default, "help": help, **about})


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a run, as its field says.

    Attributes
    ----------
    name, help
        Those of the field.
    default
        The value where none is given, and no model has another.
    by_model
        Whether one may have another: what is not given is None until it is known which.
    kind
        The type that the field is annotated with, without None: `bool`, `int`, `float`, `str`,
        `tuple[int, ...]` for sizes of layers, or `tuple[str, ...]` for names. None is
        allowed where it is the default, and where that is a matter of the model.
    section
        Where the help has it; None for an argument of a command, which the command itself has.
    choices
        The words that a `str` is one of; any text if empty.
    above, at_least, below, at_most
        The ends of the range of a `float`, as far as there are any; of an `int` the second and the
        last, without which it may be as large as an index.
    problem
        Says of a value in the range what else is wrong with it, to be read after the name; nothing
        if it is allowed.
    of
        The option that chooses whose this is, `"model"`, `"optimizer"` or `"schedule"`, if any: it
        is passed to what is chosen, as its argument of the same name, but for `schedule_` before
        it. None becomes the default there, and where there is no such argument it is refused.
    path
        Whether a `str` is a path: to a `"file"`, or a folder in its place, or to a `"folder"` that
        is there. It is written down as a whole path.
    metavar
        What the help has in the place of a value, where that does not follow from the kind.
    names
        What `tuple[str, ...]` has the names of, for messages.
    may_change
        Whether a run may go on with another value than it was begun with.
    """

    name: str
    kind: Any
    default: Any
    help: str
    section: Section | None
    by_model: bool = False
    choices: Collection[str] = ()
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    problem: Callable[[Any], str] | None = None
    of: str = ""
    path: Literal["", "file", "folder"] = ""
    metavar: str = ""
    names: str = "layers, such as fc1"
    may_change: bool = False

    def __post_init__(self) -> None:
        if self.section not in (None, *Section):
            raise TypeError(f"{self.name}: the section must be one of Section, or None")
        means = {
            "choices": self.kind is str,
            "path": self.kind is str and not self.choices,
            "at_least": self.kind in (int, float),
            "at_most": self.kind in (int, float),
            "above": self.kind is float,
            "below": self.kind is float,
        }
        given = {name for name in means if getattr(self, name) not in (None, "", ())}
        for name in given:
            if not means[name]:
                raise TypeError(f"{self.name}: {name} means nothing for an option of this type")
        if "{range}" in self.help and not given - {"choices", "path"}:
            raise TypeError(f"{self.name}: the help has a {{range}}, and there is none")

    @property
    def argument(self) -> str:
        """What the class that is chosen calls it; see `of`."""
        return self.name.removeprefix(f"{self.of}_")

    @property
    def explanation(self) -> str:
        """The help, with the range in words."""
        return self.help.replace("{range}", self._range())

    def _range(self) -> str:
        if self.above is not None:
            ends = {"above": self.above, "below": self.below, "at most": self.at_most}
            return " and ".join(f"{w} {_digits(end)}" for w, end in ends.items() if end is not None)
        low = None if self.at_least is None else _digits(self.at_least)
        if self.below is not None:
            high = f"below {_digits(self.below)}"
            return high if low is None else f"from {low} to {high}"
        if self.at_most is None:
            return f"{low} or more"
        high = _digits(self.at_most)
        return f"{high} or less" if low is None else f"from {low} to {high}"

    @property
    def default_in_words(self) -> str:
        """The default as the help has it; empty where there is none, and for what is off."""
        return self.in_words(self.default)

    def in_words(self, value: Any) -> str:
        """A value as the help has it; empty for None, and for what is on or off."""
        if self.kind is bool or value is None:
            return ""
        return ",".join(map(_digits, value if isinstance(value, tuple) else (value,)))

    def check(self, value: Any) -> Any:
        """The value in the option's own type, such as 1.0 for a learning rate of 1.

        Raises
        ------
        OptionError
            If the value is of another type or out of its range.
        """
        if value is None and (self.by_model or self.default is None):
            return None
        checked = _choice(self, value) if self.choices else _CHECKS[self.kind](self, value)
        problem = "" if self.problem is None else self.problem(checked)
        if problem:
            raise OptionError(self.name, problem)
        return checked


def _digits(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choice(option: Option, value: Any) -> str:
    if not isinstance(value, str) or value not in option.choices:
        near = did_you_mean(value, option.choices)
        allowed = ", ".join(option.choices)
        raise OptionError(option.name, f"must be one of {allowed}; got {shown(value)}{near}")
    return value


def _number(option: Option, value: Any) -> float:
    ends = {end: getattr(option, end) for end in ("above", "at_least", "below", "at_most")}
    try:
        return finite_number(option.name, value, **ends)
    except ValueError as error:
        raise OptionError(option.name, str(error).removeprefix(f"{option.name} ")) from error


def _integer(option: Option, value: Any) -> int:
    smallest = option.at_least
    largest = LARGEST if option.at_most is None else option.at_most
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and value > largest:
        raise OptionError(option.name, f"must be {largest} at the most, got {shown(value)}")
    if not whole or (smallest is not None and value < smallest):
        upwards = "" if smallest is None else f" from {smallest} upwards"
        raise OptionError(option.name, f"must be an integer{upwards}, got {shown(value)}")
    return value


def _flag(option: Option, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OptionError(option.name, f"must be true or false, got {shown(value)}")
    return value


def _text(option: Option, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OptionError(option.name, f"must be a text that is not empty, got {shown(value)}")
    return value


def _names(option: Option, value: Any) -> tuple[str, ...]:
    fits = isinstance(value, list | tuple) and all(isinstance(n, str) and n for n in value)
    if not fits:
        raise OptionError(
            option.name, f"must be a list of names of {option.names}; got {shown(value)}"
        )
    return tuple(value)


def _sizes(option: Option, value: Any) -> tuple[int, ...]:
    fits = isinstance(value, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= _LARGEST_SIZE for n in value
    )
    if not fits:
        raise OptionError(
            option.name,
            f"must be a list of integers from 1 to 2**31 - 1, such as 256, 64; got {shown(value)}",
        )
    return tuple(value)


_CHECKS: dict[Any, Callable[[Option, Any], Any]] = {
    bool: _flag,
    int: _integer,
    float: _number,
    str: _text,
    tuple[int, ...]: _sizes,
    tuple[str, ...]: _names,
}


def options_of(config: type) -> Mapping[str, Option]:
    """The options of `RunConfig` by their names, in their order.

    Raises
    ------
    TypeError
        If a field is not one that `option` makes, or it is annotated with another type.
    """
    return _found(config)


@cache
def _found(config: type) -> Mapping[str, Option]:
    types = get_type_hints(config)
    found = {}
    for one in fields(config):
        kind = _without_none(types[one.name])
        if kind not in _CHECKS or "help" not in one.metadata:
            raise TypeError(
                f"{config.__name__}.{one.name}: a field is made by option(), and annotated with "
                f"bool, int, float, str, tuple[int, ...] or tuple[str, ...], got {kind}"
            )
        found[one.name] = Option(name=one.name, kind=kind, **one.metadata)
    return found


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        others = [one for one in get_args(kind) if one is not NoneType]
        return others[0] if len(others) == 1 else kind
    return kind


def with_parameters(config: _C) -> _C:
    """Has the docstring of `RunConfig` end with its options."""
    lines = ["", "Parameters", "----------"]
    for one in options_of(config).values():
        lines += [one.name, f"    {one.explanation}"]
        if one.choices:
            lines.append(f"    One of {', '.join(one.choices)}.")
    if config.__doc__:  # Python's -OO leaves out all of them
        config.__doc__ = "\n".join([inspect.cleandoc(config.__doc__), *lines, ""])
    return config
