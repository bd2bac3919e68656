"""The command `info`: what a report of a fault has to say of the machine."""

import json
from collections.abc import Iterator
from typing import Any

import click

from xpnet.cli.streams import show
from xpnet.runs.installation import describe_installation


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info(as_json: bool) -> None:
    """Show versions, processor, BLAS, compiler and devices, for a report of a fault."""
    found = describe_installation()
    show(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for name in ("xpnet", "python", "platform"):
        yield _line(name, found[name])
    yield _line("processor", f"{found['processor']}, {found['cores']} cores usable")
    for blas in found["blas"] or [{}]:
        yield _line("BLAS", ", ".join(str(value) for value in blas.values()) or "not known")
    compiler = found["compiler"]
    yield _line(
        "compiler", compiler.get("version") or compiler.get("reason") or compiler["command"]
    )
    for name, status in found["backends"].items():
        state = f"{status['version'] or ''} {status['device'] or ''}".strip() or "usable"
        yield _line(name, state if status["usable"] else f"not usable: {status['reason']}")
    yield _line("libraries", ", ".join(f"{k} {value}" for k, value in found["libraries"].items()))
    for name, value in found["environment"].items():
        yield _line("environment", f"{name}={value}")


def _line(name: str, value: str) -> str:
    return f"{name:<17} {value}"
