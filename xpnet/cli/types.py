"""What the arguments of commands may be: click's own types, a little kinder."""

import os
from pathlib import Path
from typing import Any

import click

from xpnet.suggestions import did_you_mean


class UserPath(click.Path):
    """A path whose leading `~` is the user's home.

    A shell replaces one that stands alone, and leaves that of `--out=~/run` and of quoted text.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(expanded(value), param, ctx)


class Words(click.Choice[str]):
    """A choice that asks whether a word was meant that is near."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        message = super().get_invalid_choice_message(value, ctx)
        near = did_you_mean(value, self.choices)
        return message.removesuffix(".") + near if near else message


FILE = UserPath(readable=False, path_type=Path)
"""A file or folder that may or may not be there: who reads it says what is wrong with it, and what
is written need not be readable."""

FOLDER = UserPath(exists=True, file_okay=False, path_type=Path)
"""A folder that is there."""


def expanded(path: str | os.PathLike[str]) -> str:
    """A path with the user's home in the place of a leading `~`, if it has one."""
    # Unlike Path.expanduser it is silent where there is no such user.
    return os.path.expanduser(path)  # noqa: PTH111
