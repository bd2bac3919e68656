"""The command line: a thin shell over the Python API.

To add a command, write a function in one of the files here and name it in `COMMANDS`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

import click

from xpnet.cli.streams import (
    drop_what_cannot_be_written,
    occupy_descriptors,
    some_standard_error,
    tell,
    warnings_in_a_line,
)
from xpnet.errors import (
    AddressError,
    BackendUnavailable,
    GroupError,
    OutOfMemory,
    TrainingDiverged,
    XpnetError,
    one_line,
    reason_of,
    shortened,
)
from xpnet.suggestions import did_you_mean

_CODES = {
    BackendUnavailable: 2,
    AddressError: 2,
    TrainingDiverged: 3,
    OutOfMemory: 4,
    GroupError: 6,
}
"""The exit codes of errors other than 1, of which the documentation has a table."""

TYPED, GROUP = "xpnet.typed", "xpnet.group"
"""Entries of click's `meta`: what was typed, and the ranks of which this process is one."""

COMMANDS = {
    "train": ("training", "Train a network on DATASET, and write a run folder."),
    "evaluate": ("networks", "Measure the network of RUN on DATASET."),
    "predict": ("predicting", "Say what the network of RUN sees in each PICTURE."),
    "draw": ("drawing", "Serve a page to draw on, where the network of RUN answers."),
    "augment": ("augmenting", "Draw pictures of DATASET as they are, and augmented."),
    "plot": ("networks", "Draw the pictures of RUN again."),
    "export": ("exporting", "Write the network of RUN as ONNX, as .npz, or for PyTorch."),
    "backends": ("libraries", "Show which array libraries are usable here."),
    "info": ("information", "Show versions and devices, for a report of a fault."),
    "parity": ("libraries", "Train the same network on several backends and compare."),
    "conformance": ("libraries", "Find out whether a namespace can train a network."),
}
"""The file of each command, and what it does in a line: `xpnet --help` imports none of them."""


class _Commands(click.Group):
    """Imports commands when they are asked for, and turns xpnet's errors into exit codes.

    An error is one message, without a traceback for a mistake.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        occupy_descriptors()
        alone = kwargs.get("standalone_mode", True)  # and not called by another program
        try:
            with ExitStack() as stack:
                if alone:
                    stack.enter_context(some_standard_error())
                    stack.enter_context(warnings_in_a_line())
                return super().main(*args, **kwargs)
        except OSError as error:  # of click's own words, such as --help
            if not alone:
                raise
            tell(f"error: output: {reason_of(error)}", err=True)
            raise SystemExit(1) from None
        finally:
            drop_what_cannot_be_written()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"xpnet.cli.{module}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Before click does, whose words about it are those of its version.
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = did_you_mean(args[0], COMMANDS) or f"; there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"No such command {args[0]!r}{near}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def make_context(
        self, info_name: str | None, args: list[str], *others: Any, **options: Any
    ) -> click.Context:
        typed = list(args)  # which click takes apart
        with _short_mistakes():
            context = super().make_context(info_name, args, *others, **options)
        context.meta[TYPED] = typed
        return context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _short_mistakes():
                return super().invoke(ctx)
        except XpnetError as error:
            code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 1)
            _end(ctx, error, f"error: {shortened(str(error))}", code)
        except KeyboardInterrupt as error:
            _end(ctx, error, f"interrupted{': ' * bool(error.args)}{shortened(str(error))}", 130)
        except BrokenPipeError:
            raise  # click ends quietly where the reader of a pipe has gone
        except OSError as error:
            message = f"error: {error.filename or 'output'}: {reason_of(error)}"
            _end(ctx, error, shortened(message), 1)
        except MemoryError as error:
            message = f"error: not enough memory ({one_line(error)}): use smaller layers"
            _end(ctx, error, message, _CODES[OutOfMemory])


def _end(context: click.Context, error: BaseException, message: str, code: int) -> NoReturn:
    """End with a message and a code: of several ranks that fail alike rank 0 says it."""
    group = context.meta.get(GROUP)
    if group is not None and group.size > 1:
        if error is not group.error:
            group.abort(code)
            message = f"{group.name}: {message}"
        elif group.rank > 0:
            context.exit(code)
    tell(message, err=True)
    context.exit(code)


@contextmanager
def _short_mistakes() -> Iterator[None]:
    """Have click show what was typed wrong in a form that is safe for a terminal, and not long."""
    try:
        yield
    except click.ClickException as error:
        # click does not let one set the message, which some of its errors put together later.
        vars(error)["format_message"] = partial(shortened, error.format_message())
        vars(error)["show"] = partial(_if_heard, error.show)
        raise


def _if_heard(show: Callable[..., None], *args: Any) -> None:
    """Show a mistake where standard error takes it; the exit code says that there was one."""
    from xpnet.distributed.launch import launched_rank  # late: it loads NumPy

    if launched_rank() > 0:
        return  # of several ranks, which were all typed the same
    with suppress(Exception):
        show(*args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(package_name="xpnet")
def main() -> None:
    """Train neural networks wherever your arrays live: NumPy, CuPy, PyTorch, JAX.

    Start with: xpnet train
    """
