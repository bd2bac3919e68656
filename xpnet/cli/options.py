"""The options that several commands share."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from xpnet.backends import Backend
from xpnet.cli.help import SectionedOption
from xpnet.cli.types import FILE, FOLDER, Words, expanded
from xpnet.data import DATASETS
from xpnet.distributed.group import ALONE, Group
from xpnet.errors import XpnetError, shown
from xpnet.runs.choices import defaults_of_classes, defaults_of_models
from xpnet.runs.config import RunConfig
from xpnet.runs.options import Option, OptionError, Section, options_of
from xpnet.training.ranks import open_for_rank

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = options_of(RunConfig)


def sizes(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Parse a comma list of positive integers; an empty one is no size at all."""
    if value is None:
        return None
    try:
        sizes = tuple(int(part) for part in value.split(",")) if value.strip() else ()
    except ValueError:
        sizes = (0,)
    if any(not 1 <= size < 2**31 for size in sizes):
        raise click.BadParameter(
            f"{shown(value)} is not a comma list of integers from 1 to 2**31 - 1, such as 128 or "
            f"256,64"
        )
    return sizes


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Parse a comma list of names; what they may be is looked at with the model."""
    if value is None:
        return None
    return tuple(filter(None, (part.strip() for part in value.split(","))))


_OF_KINDS: dict[Any, dict[str, Any]] = {
    int: {"type": int, "metavar": "N"},
    float: {"type": float, "metavar": "X"},
    str: {},
    tuple[int, ...]: {"callback": sizes, "metavar": "N,N,..."},
    tuple[str, ...]: {"callback": _names, "metavar": "NAME,..."},
}
"""How an option of each kind is read, and what the help has in the place of its value."""


def _reading(option: Option) -> dict[str, Any]:
    """How click reads the value of an option."""
    reading = _OF_KINDS[option.kind]
    if option.choices:
        reading = {"type": Words(list(option.choices))}
    elif option.path:
        reading = {"type": {"file": FILE, "folder": FOLDER}[option.path]}
    return reading | ({"metavar": option.metavar} if option.metavar else {})


def run_option(name: str, *, default: str = "") -> Callable[[_F], _F]:
    """One of the options of a run, with its default or another, for a command that has few."""
    option = _OPTIONS[name]
    text = option.explanation
    if option.kind is bool:
        return click.option(_flag(name), is_flag=True, help=text)
    return click.option(
        _flag(name),
        default=default or option.default_in_words or None,
        show_default=True,
        help=text,
        **_reading(option),
    )


def _in_section(option: Option) -> Callable[[_F], _F]:
    """The option of a run as `run_options` has it."""
    default = _default_in_words(option)
    text = option.explanation + (f"  [default: {default}]" if default else "")
    flag, reading = _flag(option.name), {}
    if option.kind is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    else:
        reading = _reading(option)
    return click.option(
        flag, cls=SectionedOption, section=option.section, default=None, help=text, **reading
    )


def _default_in_words(option: Option) -> str:
    """The default for all models but some, and then that of these; empty where there is none."""
    default = option.default_in_words
    if option.of and any(d is not MISSING and d for d in defaults_of_classes(option).values()):
        default = f"that of the {option.of}"
    models: dict[str, list[str]] = {}
    for model, value in defaults_of_models(option).items():
        models.setdefault(option.in_words(value), []).append(model)
    others = [f"{words} with {' and '.join(names)}" for words, names in models.items()]
    return "; ".join(filter(None, [default, *others]))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def run_options(*sections: Section, without: tuple[str, ...] = ()) -> Callable[[_F], _F]:
    """The options of these sections of the help; of all if none is named.

    What is not given is None, so that a file can be asked for it; `RunConfig` checks the range.
    """
    sections = sections or tuple(Section)
    chosen = [
        option
        for option in _OPTIONS.values()
        if option.section in sections and option.name not in without
    ]

    def decorate(command: _F) -> _F:
        for option in reversed(chosen):
            command = _in_section(option)(command)
        return command

    return decorate


def given_options(dataset: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, by the names of `RunConfig`."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if _OPTIONS[name].path:
            given[name] = _whole(given[name])
    return given if dataset is None else {"dataset": full_name(dataset), **given}


def as_arguments(values: Mapping[str, Any]) -> list[str]:
    """Options of a run as words of a command line; the inverse of reading them."""
    words: list[str] = []
    for name, value in values.items():
        if _OPTIONS[name].kind is bool:
            words.append(_flag(name) if value else f"--no-{_flag(name).removeprefix('--')}")
        else:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(f"{_flag(name)}={text}")
    return words


def placed(config: RunConfig) -> RunConfig:
    """The configuration with whole paths, which mean the same from another folder."""
    given = {name: getattr(config, name) for name, option in _OPTIONS.items() if option.path}
    whole: dict[str, Any] = {n: _whole(path) for n, path in given.items() if path is not None}
    return replace(config, dataset=full_name(config.dataset), **whole)


def _whole(path: str | Path) -> str:
    return str(Path(expanded(path)).absolute())


def full_name(dataset: str) -> str:
    """A data set by its name, or by the whole path of its folder or file."""
    # os.path: unlike Path's methods it is silent about names that cannot be.
    folder = expanded(dataset)
    is_path = dataset not in DATASETS and os.path.exists(folder)  # noqa: PTH110
    return str(Path(folder).resolve()) if is_path else dataset


@contextmanager
def usage_errors(flag: str = "") -> Iterator[None]:
    """Values that are not allowed are mistakes of usage, with the name of the option.

    Where the error does not say which one it is of, it is that of `flag`.
    """
    try:
        yield
    except OptionError as error:
        hint = "'DATASET'" if error.name == "dataset" else f"'{_flag(error.name)}'"
        raise click.BadParameter(error.problem, param_hint=hint) from error
    except XpnetError:
        raise
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}" if flag else str(error)) from error


def open_with_options(
    backend: str,
    device: str | None,
    dtype: str,
    *,
    threads: int | None = None,
    steps: str | None = None,
    tf32: bool = False,
    group: Group = ALONE,
) -> Backend:
    """The backend that the options ask for; what means nothing there is a mistake of usage."""
    with usage_errors("--tf32"):
        opened = open_for_rank(group, backend, device, dtype, tf32=tf32)
    if threads is not None:
        with usage_errors("--threads"):
            opened.limit_threads(threads)
    if steps is not None:
        with usage_errors("--steps"):
            opened.choose_steps(steps)
    return opened


def describe_backend(backend: Backend, *, steps: bool = False) -> str:
    """The backend in a few words, and where it was chosen automatically, why.

    With `steps` also how it is going to take training steps.
    """
    why = f" (auto: {backend.reason})" if backend.reason else ""
    tf32 = " with TF32" * backend.tf32
    threads = "" if backend.threads is None else f", threads: {backend.threads}"
    planned = f", {backend.planned_steps()}" if steps else ""
    place = f"{backend.name} on {backend.device_name()}, {backend.dtype_name}"
    return f"{place}{tf32}{threads}{planned}{why}"
