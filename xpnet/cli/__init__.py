"""The command line: a thin shell over the Python API.

To add a command, write a function in one of the files here and name it in `COMMANDS`.
"""

from typing import Any

import click

from xpnet.cli.exporting import export
from xpnet.cli.libraries import backends, conformance, parity
from xpnet.cli.networks import evaluate, plot, predict
from xpnet.cli.training import train
from xpnet.errors import BackendUnavailable, OutOfMemory, TrainingDiverged, XpnetError

_CODES = {BackendUnavailable: 2, TrainingDiverged: 3, OutOfMemory: 4}
"""The exit codes of errors other than 1, of which the documentation has a table."""

COMMANDS = (train, evaluate, predict, plot, export, backends, parity, conformance)


class _Commands(click.Group):
    """Turns xpnet's errors into one message and an exit code: no traceback for a mistake."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except XpnetError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1))
        except KeyboardInterrupt as error:
            click.echo(f"interrupted{': ' * bool(error.args)}{error}", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            raise  # click ends quietly where the reader of a pipe has gone
        except OSError as error:
            click.echo(f"error: {error.filename or 'output'}: {error.strerror or error}", err=True)
            ctx.exit(1)
        except MemoryError as error:
            click.echo(f"error: not enough memory ({error}): use smaller layers", err=True)
            ctx.exit(_CODES[OutOfMemory])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="xpnet")
def main() -> None:
    """Train neural networks wherever your arrays live: NumPy, CuPy, PyTorch, JAX.

    Start with: xpnet train
    """


for _command in COMMANDS:
    main.add_command(_command)
