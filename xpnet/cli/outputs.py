"""The files that commands are told to write, looked at before the work and not after it."""

import os
from collections.abc import Iterable
from pathlib import Path

import click

from xpnet.drawing import figure_class
from xpnet.files import is_device, is_same_as_any


def check_place(file: Path) -> None:
    """Find out that there is a place for a file.

    Raises
    ------
    click.UsageError
        If it is a folder, or its folder is not there.
    """
    # os.path: unlike Path's methods it is silent about names that cannot be.
    if os.path.isdir(file):  # noqa: PTH112
        raise click.UsageError(f"{file}: is a folder")
    if not os.path.isdir(file.absolute().parent):  # noqa: PTH112
        raise click.UsageError(f"{file}: the folder is not there")


def check_not_read(file: Path, read: Iterable[Path]) -> None:
    """Refuse to write over what the command reads.

    Raises
    ------
    click.UsageError
        If the file is one of these, be it by another name.
    """
    if is_same_as_any(file, read) and not is_device(file):
        raise click.UsageError(f"{file}: is read by this command; give another name")


def check_drawing(file: Path, option: str) -> None:
    """Find out that something can be drawn, and that the file is called a picture.

    Raises
    ------
    click.BadParameter
        If the name is that of another form than PNG, or matplotlib is not installed.
    """
    if file.suffix.lower() not in (".png", ""):
        raise click.BadParameter(
            f"{file}: what is drawn is written as PNG: give a name that ends in .png",
            param_hint=f"'{option}'",
        )
    try:
        figure_class()
    except ImportError as error:
        raise click.BadParameter(str(error), param_hint=f"'{option}'") from error
