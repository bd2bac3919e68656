"""The command for the page to draw on: draw."""

from pathlib import Path

import click

from xpnet.cli.asking import asked
from xpnet.cli.options import run_option
from xpnet.cli.streams import show
from xpnet.cli.types import FILE
from xpnet.errors import DataError, readable
from xpnet.network import load


@click.command()
@click.argument("run", type=FILE)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Where the page is.  [default: a port that is free]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="HOST",
    show_default=True,
    help="An address of this machine; with any but a loopback one others can open the page.",
)
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@run_option("backend")
@run_option("device")
def draw(
    run: Path, port: int, host: str, no_browser: bool, backend: str, device: str | None
) -> None:
    """Serve a page to draw on, where the network of RUN answers while you draw.

    The page shows the probabilities, what the network sees, and what its layers come to. RUN is a
    run folder or a model.safetensors file, of a network for pictures. Ctrl-C ends it.
    """
    from xpnet.page import serve  # late: the other commands start sooner

    network = load(run, backend=backend, device=device)
    name = readable(str(run))
    try:
        with asked(run):
            serve(
                network,
                title=str(run),
                host=host,
                port=port,
                browser=not no_browser,
                say=lambda line: show(f"{name}: {line}"),
            )
    except DataError as error:
        raise DataError(f"{run}: {error}") from error
