"""The configuration of a run as a TOML file, for `xpnet train --config`."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xpnet.errors import one_line, reason_of, shown
from xpnet.runs.config import RunConfig
from xpnet.runs.options import OptionError, options_of
from xpnet.runs.toml_text import decode, parse, place_of
from xpnet.suggestions import did_you_mean

CONFIG = "config.toml"
"""What the file is called in a run folder."""

_LARGEST = 1 << 20
"""Bytes of a file that is read: far more than all options take."""


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a TOML file, by the names of `RunConfig`.

    Parameters
    ----------
    path
        The file. Its keys are the names of options, with `-` or `_` between their words.

    Returns
    -------
    options
        Those that the file has, each checked by itself; `RunConfig(**options)` checks whether they
        go together.

    Raises
    ------
    OptionError
        Of the option `config`, if the file cannot be read, is no TOML, or a key or a value is not
        allowed. The message has the file, the line and the column, and the key or the rule.
    """
    return _read(path)[0]


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Callable[[str], str]]:
    """The options in a file, and what says where in the file one of them stands."""
    known = options_of(RunConfig)
    options: dict[str, Any] = {}
    keys: dict[str, str] = {}
    text, values = _parse(path)
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            names = list(map(_key, known))
            end = f"{did_you_mean(key, names)}{place_of(key, text)}"
            raise OptionError(
                "config",
                f"{path}: there is no option {shown(key)}; there are {', '.join(names)}{end}",
            )
        if name in options:
            at = place_of(key, text)
            raise OptionError("config", f"{path}: {key} is given twice, with - and with _{at}")
        keys[name] = key
        try:
            options[name] = known[name].check(value)
        except OptionError as error:
            problem = f"{path}: {key} {error.problem}{place_of(key, text)}"
            raise OptionError("config", problem) from error
    return options, lambda name: place_of(keys[name], text)


def _parse(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise OptionError("config", f"{path}: there is no such file") from error
    except OSError as error:
        problem = f"{path}: cannot be read: {reason_of(error)}"
        raise OptionError("config", problem) from error
    except ValueError as error:  # a name that no file can have
        raise OptionError("config", f"{shown(str(path))}: cannot be read: {error}") from error
    if len(content) > _LARGEST:
        raise OptionError(
            "config", f"{path}: larger than {_LARGEST:,} bytes, which no file of options is"
        )
    try:
        text = decode(content)
        return text, parse(text)
    except ValueError as error:
        raise OptionError("config", f"{path}: not valid TOML: {one_line(error)}") from error


def write_config(config: RunConfig) -> str:
    """A configuration as the text of a TOML file; options that are None are left out.

    Raises
    ------
    OptionError
        If a text is not valid Unicode, as the name of a folder may be.
    """
    lines = [f"# {_HEAD}\n"]
    for name, value in config.to_dict().items():
        if value is not None:
            lines.append(f"{_key(name)} = {_value(name, value)}\n")
    return "".join(lines)


_HEAD = "All options of a run. xpnet train --config THIS-FILE repeats it."


def _key(name: str) -> str:
    return name.replace("_", "-")


def _value(name: str, value: Any) -> str:
    """A value of an option in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        assert math.isfinite(value), name
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(name, item) for item in value)}]"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise OptionError(name, f"must be valid Unicode, got {shown(value)}") from error
    # As in JSON, but for one control character that TOML wants to be written otherwise as well.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_options(values: Mapping[str, Any], path: str | os.PathLike[str] | None) -> RunConfig:
    """The configuration that a file and other options describe together; the others win.

    Parameters
    ----------
    values
        Options by the names of `RunConfig`.
    path
        The file; None for none.

    Raises
    ------
    OptionError
        As `read_config` and `RunConfig`. Where what is wrong stands in the file, it is named.
    """
    if path is None:
        return RunConfig(**values)
    stored, where = _read(path)
    try:
        return RunConfig(**{**stored, **values})
    except OptionError as error:
        if error.name in stored and error.name not in values:
            problem = f"{path}: {_key(error.name)} {error.problem}{where(error.name)}"
            raise OptionError("config", problem) from error
        raise
