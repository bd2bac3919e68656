"""What is said while it is measured, and what is shown and written of it."""

import sys
from pathlib import Path
from typing import Any

import click

from benchmarking.machine import machine_lines
from benchmarking.report import write_report


def progress(text: str) -> None:
    """Says what is going on, on a terminal only."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def save_picture(figure: Any, path: Path) -> None:
    """Write a picture."""
    figure.savefig(path)
    click.echo(f"wrote {path}")


def show_lines(name: str, report: dict[str, Any], lines: list[str], out: Path | None) -> None:
    """Print a report below the machine that it is of, and write its files."""
    page = "\n".join([*machine_lines(report["machine"]), "", *lines]) + "\n"
    click.echo(page)
    if out is not None:
        write_report(out, name, report, page)
