"""The command that writes a network for other programs, and reads what it wrote: export."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from xpnet.backends import DTYPES, open_backend
from xpnet.cli.outputs import check_place
from xpnet.cli.streams import tell
from xpnet.cli.types import FILE, Words
from xpnet.dtype_limits import check_numbers
from xpnet.errors import ExportError, RunError, counted, readable
from xpnet.export import INPUT_DTYPES, save_torch, to_npz, to_onnx, torch_code
from xpnet.export.layers import checked_dtype, host_arrays
from xpnet.files import is_device, is_same_as_any, write_atomically, writing
from xpnet.network import Network, load
from xpnet.suggestions import did_you_mean

ENDINGS = {
    "onnx": ".onnx",
    "npz": ".npz",
    "torch": ".torch.safetensors",
    "torch-code": ".py",
    "xpnet": ".safetensors",
}
"""The formats, and how their files usually end: the first that fits is meant."""


@click.command()
@click.argument("run", type=FILE)
@click.argument("file", type=FILE)
@click.option(
    "--format",
    "kind",
    type=Words(list(ENDINGS)),
    help="What to write; if not given, what the ending of FILE says.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there already.")
@click.option("--dtype", type=Words(DTYPES), help="Precision; the network's if not given.")
@click.option("--probabilities", is_flag=True, help="ONNX: give probabilities and not logits.")
@click.option(
    "--input-dtype",
    type=Words(INPUT_DTYPES),
    help="ONNX: dtype of the input; that of the training samples if not given.",
)
@click.option("--opset", type=int, help="ONNX: version of the operators, from 9; 17 if not given.")
def export(
    run: Path, file: Path, kind: str | None, force: bool, dtype: str | None, **options: Any
) -> None:
    """Write the network of RUN as FILE, for use without xpnet, or for xpnet again.

    FILE ends in .onnx (ONNX), .npz (NumPy), .torch.safetensors (a state dict for PyTorch), .py (the
    PyTorch module to load that into) or .safetensors (xpnet's own, for the other commands). RUN is
    a run folder, a model.safetensors file, or an .npz or .torch.safetensors file of this command.
    """
    kind = kind or _format_to_write(file)
    # Options that were not given are None, and False where they are flags.
    given = {name: value for name, value in options.items() if value not in (None, False)}
    if given and kind != "onnx":
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{names}: for ONNX files only, and {file} is not one ({kind})")
    _check_file(run, file, force)
    network = _read(run)
    try:
        with writing(file):
            WRITERS[kind](network, file, dtype=dtype, **given)
    except ImportError as error:
        raise ExportError(str(error)) from error
    except ExportError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not is_device(file):  # such as /dev/stdout, where the line would be in the file
        tell(f"{readable(str(file))}: {kind}, {counted(file.stat().st_size, 'byte')}")


def _read(run: Path) -> Network:
    """The network of a run folder, or of a file in one of the formats that can be read."""
    kind = None if os.path.isdir(run) else _format_of(run)  # noqa: PTH112 - silent, as below
    if kind == "npz":
        return Network.from_npz(run)
    if kind == "torch":
        return Network.from_torch(run)
    if kind in ("onnx", "torch-code"):
        raise click.UsageError(
            f"{run}: networks are not read from {ENDINGS[kind]} files: give a run folder, or a "
            f"file that ends in .safetensors, .torch.safetensors or .npz"
        )
    return load(run)


def _write_network(network: Network, path: Path, *, dtype: str | None = None) -> None:
    dtype = checked_dtype(network, dtype)
    check_numbers(dtype, network.model)
    arrays = host_arrays(network, dtype)
    converted = network.copy()
    converted.backend = open_backend("numpy", None, dtype)
    converted.preparation = replace(network.preparation, dtype=dtype)
    converted.params = {name: arrays[name] for name in network.params}
    converted.buffers = {name: arrays[name] for name in network.buffers}
    converted.save(path)


def _write_code(network: Network, path: Path, **options: Any) -> None:
    write_atomically(path, torch_code(network, **options).encode())


WRITERS: dict[str, Callable[..., None]] = {
    "onnx": to_onnx,
    "npz": to_npz,
    "torch": save_torch,
    "torch-code": _write_code,
    "xpnet": _write_network,
}
"""What writes a file of each format."""


def _format_of(file: Path) -> str | None:
    name = file.name.lower()
    return next((kind for kind, ending in ENDINGS.items() if name.endswith(ending)), None)


def _format_to_write(file: Path) -> str:
    kind = _format_of(file)
    if kind is not None:
        return kind
    wanted = ", ".join(ENDINGS.values())
    hint = did_you_mean(file.suffix, ENDINGS.values())
    if file.suffix.lower() in (".pt", ".pth"):
        hint = "; such files can run code when they are read, and xpnet writes none"
    raise click.UsageError(
        f"{file}: the ending says nothing of the format: take one of {wanted}, or give --format"
        f"{hint}"
    )


def _check_file(run: Path, file: Path, force: bool) -> None:
    """Find out before the work, and not after it, that the file cannot be written."""
    check_place(file)
    if not os.path.lexists(file) or is_device(file):
        return
    sources = [run, *(run / name for name in ("model.safetensors", "checkpoint.safetensors"))]
    if is_same_as_any(file, sources):
        raise click.UsageError(f"{file}: is the network itself; give another name")
    if not force:
        raise RunError(f"{file}: is there already; give another name, or --force to replace it")
