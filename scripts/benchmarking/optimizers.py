"""What an optimizer costs: xpnet's on NumPy over plain gradient descent, and PyTorch's over it."""

from collections.abc import Sequence
from typing import Any

from benchmarking.cases import Case, Task
from benchmarking.peers import Peer
from benchmarking.runner import Measured, Say, Settings, measure
from benchmarking.summary import quartiles, ratios
from xpnet.optimizers import OPTIMIZERS

CASE = Case((128,), 64)
ADAM_LIMIT = 1.35
"""What Adam may take at most, over plain gradient descent."""

TORCH_OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "momentum": ("SGD", {"lr": 0.01, "momentum": 0.9}),
    "nesterov": ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    "rmsprop": ("RMSprop", {"lr": 0.001}),
    "adam": ("Adam", {"lr": 0.001}),
    "adamw": ("AdamW", {"lr": 0.001}),
}
"""The class in `torch.optim`, and its options; PyTorch has no Lion."""


def optimizer_peers() -> list[Peer]:
    """Each optimizer of xpnet on NumPy, and each that PyTorch has."""
    ours = [
        Peer(
            f"xpnet-{name}",
            f"xpnet, {cls.__name__}",
            "benchmarking.peers.xpnet_fit:run",
            options=(("backend", "numpy"), ("optimizer", name)),
        )
        for name, cls in OPTIMIZERS.items()
    ]
    others = [
        Peer(
            f"torch-{name}",
            f"PyTorch, {name}",
            "benchmarking.peers.torch_nn:run",
            options=(("optimizer", options),),
        )
        for name, options in TORCH_OPTIMIZERS.items()
    ]
    return ours + others


def measure_optimizers(task: Task, settings: Settings, say: Say) -> dict[str, Any]:
    """Every optimizer in turn, an epoch at a time."""
    found = {one.peer.name: one for one in measure(optimizer_peers(), task, settings, say)}
    rows = [_row(name, found) for name in OPTIMIZERS]
    adam = next(row for row in rows if row["name"] == "adam")["over_sgd"]
    return {
        "case": str(task.case),
        "rows": rows,
        "adam_over_sgd": adam,
        "holds": adam is not None and adam[1] <= ADAM_LIMIT,
    }


def _row(name: str, found: dict[str, Measured]) -> dict[str, Any]:
    ours, torch = found[f"xpnet-{name}"], found.get(f"torch-{name}")
    return {
        "name": name,
        "seconds": _quartiles(ours),
        "over_sgd": _ratios(ours, found["xpnet-sgd"]),
        "torch_seconds": _quartiles(torch),
        "torch_over_ours": _ratios(torch, ours),
    }


def _quartiles(one: Measured | None) -> list[float] | None:
    return quartiles(one.seconds) if one is not None and not one.failure else None


def _ratios(one: Measured | None, other: Measured) -> list[float] | None:
    if one is None or one.failure or other.failure:
        return None
    return ratios(one.seconds, other.seconds)


def optimizer_lines(result: dict[str, Any]) -> list[str]:
    """The result as Markdown."""
    lines = [
        "| optimizer | seconds an epoch | over plain SGD | PyTorch: seconds | PyTorch over xpnet |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        figures = (row[key] for key in ("seconds", "over_sgd", "torch_seconds", "torch_over_ours"))
        lines.append(f"| {row['name']} | " + " | ".join(map(_spread, figures)) + " |")
    if not result["holds"]:
        lines += ["", f"Adam takes more than {ADAM_LIMIT:g} times as long as plain SGD, or failed."]
    return lines


def _spread(found: Sequence[float] | None) -> str:
    if found is None:
        return ""
    low, median, high = found
    return f"{median:.3g} ({low:.3g} to {high:.3g})"
