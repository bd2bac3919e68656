"""The options that the commands of the benchmark share, and what is made of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmarking.cases import Case, Task
from benchmarking.machine import why_no_cuda
from benchmarking.neighbour import NEIGHBOURS, why_no_neighbour
from benchmarking.peers import Peer, select_peers
from benchmarking.predict import PICTURE_ROWS, ROWS, Asked, select_answerers
from benchmarking.runner import Settings

_F = TypeVar("_F", bound=Callable[..., Any])

out_option = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write files here."
)
case_option = click.option(
    "--case", "case_texts", multiple=True, help="Such as 128@64 or lenet5@64; may be repeated."
)
gpu_option = click.option("--gpu", is_flag=True, help="On CUDA, timed there.")

neighbour_option = click.option(
    "--neighbour",
    type=click.Choice(NEIGHBOURS),
    help="Beside a process that streams through memory; or with all threads on one core.",
)


def with_neighbour(settings: Settings, neighbour: str | None) -> Settings:
    """The settings with what is to run beside, if it can be had here."""
    if neighbour is not None and (reason := why_no_neighbour(neighbour)):
        raise click.UsageError(f"--neighbour {neighbour}: {reason}")
    return replace(settings, neighbour=neighbour)


def in_turn(repeats: int, *, pause: float = 0.3, timeout: float = 600.0) -> Callable[[_F], _F]:
    """The options of peers that are asked in turn for an epoch each, given on as `settings`."""

    def decorate(run: _F) -> _F:
        @click.option(
            "--repeats",
            type=click.IntRange(min=1),
            default=repeats,
            show_default=True,
            help="Measured epochs of each.",
        )
        @click.option("--threads", type=click.IntRange(min=1), help="Threads of each library.")
        @click.option(
            "--pause",
            type=click.FloatRange(min=0),
            default=pause,
            show_default=True,
            help="Seconds before each epoch.",
        )
        @click.option(
            "--timeout",
            type=click.FloatRange(min=1),
            default=timeout,
            show_default=True,
            help="Seconds that an epoch, or the start, may take.",
        )
        @wraps(run)
        def command(
            *, repeats: int, threads: int | None, pause: float, timeout: float, **options: Any
        ) -> Any:
            return run(settings=Settings(repeats, threads, pause, timeout), **options)

        return command  # type: ignore[return-value]

    return decorate


def data_options(command: _F) -> _F:
    """The options of what is trained on."""
    for one in (
        click.option("--limit", type=click.IntRange(min=1), help="Samples to take of each split."),
        click.option(
            "--data-dir", type=click.Path(file_okay=False), help="Where to look for it first."
        ),
        click.option(
            "--dataset",
            type=click.Choice(["mnist", "digits", "synthetic"]),
            default="mnist",
            show_default=True,
        ),
    ):
        command = one(command)
    return command


def parse_cases(texts: tuple[str, ...], *, dense: bool = False) -> list[Case]:
    """The cases that are asked for, of dense networks alone if so."""
    try:
        cases = [Case.parse(text) for text in texts]
    except ValueError as error:
        raise click.UsageError(f"--case: {error}") from error
    for case in cases:
        if dense and case.network is not None:
            raise click.UsageError(f"--case: {case} is no dense network: give hidden sizes")
    return cases


def check_peers(names: str | None, *, gpu: bool) -> list[Peer]:
    """The peers that are asked for, or all that run on the device."""
    try:
        return select_peers(names, "cuda" if gpu else "cpu")
    except ValueError as error:
        raise click.UsageError(f"--peers: {error}") from error


def check_answerers(names: str | None, *, gpu: bool) -> list[Asked]:
    """Those that are asked for, or all that predict on the device."""
    try:
        return select_answerers(names, "cuda" if gpu else "cpu")
    except ValueError as error:
        raise click.UsageError(f"--peers: {error}") from error


def parse_rows(text: str | None, model: str | None) -> tuple[int, ...]:
    """The numbers of rows that a network, by name, is asked for."""
    if text is None:
        return ROWS if model is None else PICTURE_ROWS
    try:
        rows = tuple(int(part) for part in text.split(","))
    except ValueError:
        rows = ()
    if not rows or min(rows) < 1:
        raise click.UsageError(f"--rows: {text!r} are not numbers of rows, such as 1,64,1000")
    return rows


def make_task(
    case: Case, settings: Settings, *, gpu: bool = False, tf32: bool = False, **data: Any
) -> Task:
    """What the workers are told; without a CUDA device that is asked for, the exit code is 2."""
    if gpu and (reason := why_no_cuda()):
        click.echo(f"there is no CUDA device to measure on: {reason}", err=True)
        raise SystemExit(2)
    device = "cuda" if gpu else "cpu"
    epochs = settings.warm_up + settings.repeats
    return Task(case, epochs=epochs, device=device, tf32=tf32, **data)
