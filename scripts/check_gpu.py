"""Check xpnet on a CUDA GPU, with one command, and write what was found.

    python scripts/check_gpu.py                 # writes gpu-report.json and gpu-report.md
    python scripts/check_gpu.py --out docs/gpu --data-dir DIR

Runs all tests marked `gpu`, the parity of CuPy (and of PyTorch and JAX on CUDA, where they are
installed) with NumPy in float64 and float32, the conformance of CuPy's namespace, training with
CUDA graphs against training without, and several ranks: two on one GPU, and one with NCCL. Exit
code 0 if everything holds, 1 if something does not, 2 if there is no GPU.
"""

import datetime
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from xpnet.backends import Backend, open_backend, probe_device_sums
from xpnet.backends.cupy import CupyBackend
from xpnet.conformance import check_namespace
from xpnet.data import Dataset, load_dataset
from xpnet.distributed import threads
from xpnet.errors import BackendUnavailable, DataError
from xpnet.models import mlp
from xpnet.network import Network
from xpnet.parity import compare_backends
from xpnet.runs.environment import environment
from xpnet.training import fit

GPU_TARGETS = (("cupy", "cuda:0"), ("torch", "cuda:0"), ("jax", "cuda:0"))
"""Backends and devices to check; the first one is required, the others where they are usable."""

REPOSITORY = Path(__file__).resolve().parent.parent


def describe_gpu() -> str:
    """Name, driver and memory of the GPUs, as nvidia-smi tells them."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return "nvidia-smi is not installed"
    query = [command, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return "; ".join((answer.stdout.strip() or answer.stderr.strip()).splitlines())


def usable_targets(targets: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str]]:
    """The targets that can be opened, and why the others cannot.

    Raises
    ------
    BackendUnavailable
        If the first one cannot.
    """
    usable, reasons = [], []
    for number, (name, device) in enumerate(targets):
        try:
            open_backend(name, device)
        except BackendUnavailable as error:
            if number == 0:
                raise
            reasons.append(f"{name} on {device}: {error}")
        else:
            usable.append((name, device))
    return usable, reasons


def run_tests(data_dir: Path | None) -> dict[str, Any]:
    """All tests marked `gpu`, in a process of their own, in which CuPy may not be missing."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    # Most of the time goes into compiling kernels, each in one thread.
    command += ["-n", "auto", "--maxprocesses", "8"]
    settings = {**os.environ, "XPNET_REQUIRE": "cupy"}
    if data_dir is not None:
        settings["XPNET_DATA_DIR"] = str(data_dir.resolve())
    answer = subprocess.run(
        command, cwd=REPOSITORY, env=settings, capture_output=True, text=True, check=False
    )
    counts = dict.fromkeys(("passed", "failed", "skipped", "error"), 0)
    for number, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", answer.stdout):
        counts[kind] = int(number)
    return {
        **counts,
        "holds": answer.returncode == 0 and counts["passed"] > 0,
        "output": (answer.stdout + answer.stderr)[-8000:],
    }


def data_sets(data_dir: Path | None) -> tuple[list[Dataset], list[str]]:
    """The digits, and MNIST where it is."""
    try:
        mnist = load_dataset("mnist", data_dir=data_dir).limited(20_000)
    except DataError as error:
        return [load_dataset("digits")], [f"MNIST: {str(error).splitlines()[0]}"]
    return [load_dataset("digits"), mnist], []


def run_parity(
    targets: Sequence[tuple[str, str]], data: Dataset, dtype: str, epochs: int
) -> dict[str, Any]:
    """The same network on NumPy and on every target."""
    opened: list[Backend] = [open_backend("numpy", None, dtype)]
    opened += [open_backend(name, device, dtype) for name, device in targets]
    pixels = data.image_shape[0] * data.image_shape[1]
    model = mlp(pixels, 128, data.n_classes, dropout=0.2)
    # A backend that fails in the middle is a failure in the report.
    report = compare_backends(model, data, opened, dtype=dtype, epochs=epochs)
    return {
        **report.to_dict(),
        "data": data.describe(),
        "network": f"{pixels}-128-{data.n_classes}, relu, dropout 0.2, batch 64, {epochs} epochs",
        "table": str(report),
    }


def run_graphs(device: str | None, data: Dataset, dtype: str, epochs: int) -> dict[str, Any]:
    """The same training of CuPy with graphs and without, and with each kernel by itself.

    With the kernels put together the bits must be the same with graphs and without. The times are
    those of graphs, and of CuPy's own kernels one by one.
    """
    data = data.limited(6_400)  # without graphs, steps that are put together take long
    pixels = data.image_shape[0] * data.image_shape[1]
    model = mlp(pixels, 128, data.n_classes, dropout=0.2)
    # The last batch, one in an epoch, is recorded in the third.
    epochs = max(epochs, 4)
    networks, seconds = {}, {}
    backend = CupyBackend(device, dtype)
    for fuse, capture in ((False, False), (True, False), (True, True)):
        backend.fuse, backend.capture = fuse, capture
        network = fit(model, data, epochs=epochs, backend=backend)
        networks[fuse, capture] = network
        # What is slower in the first epochs is compiled or recorded there.
        seconds[fuse, capture] = min(record.train_seconds or 0.0 for record in network.history)
    return {
        "data": data.describe(),
        "network": f"{pixels}-128-{data.n_classes}, relu, dropout 0.2, batch 64, {epochs} epochs",
        "dtype": dtype,
        "recorded": backend.graphs.launches > 0,
        "reason": backend.graphs.reason,
        "holds": same_bits(networks[True, True], networks[True, False]),
        "seconds_with_graphs": seconds[True, True],
        "seconds_without": seconds[False, False],
    }


def run_ranks(device: str | None, data: Dataset, dtype: str, epochs: int) -> dict[str, Any]:
    """Two ranks that share the GPU, with sums on the host, against one; and NCCL with one rank.

    Of exact sums the bits must be the same: of one rank, with NCCL where that can be used, and of
    two.
    """
    data = data.limited(3_200)
    model = mlp(data.image_shape[0] * data.image_shape[1], 64, data.n_classes, dropout=0.2)
    options: dict[str, Any] = {"epochs": epochs, "batch_size": 128}

    def on_ranks(size: int, **more: Any) -> Network:
        return threads(size).run(
            lambda group: fit(
                model, data, backend=CupyBackend(device, dtype), group=group, **options, **more
            )
        )[0]

    alone = fit(model, data, backend=CupyBackend(device, dtype), **options)
    two, exact_one, exact_two = (
        on_ranks(2),
        *(on_ranks(size, reduction="exact", shards=4) for size in (1, 2)),
    )
    losses = [network.history[-1].train_loss or math.nan for network in (alone, two)]
    difference = abs(losses[1] - losses[0]) / losses[0]
    nccl = probe_device_sums()["nccl"]
    used = getattr(exact_one.backend, "sums", "")
    close = difference < (1e-11 if dtype == "float64" else 1e-3)
    same = same_bits(exact_one, exact_two)
    return {
        "data": data.describe(),
        "dtype": dtype,
        "difference": difference,
        "same_bytes": same,
        "nccl": used or nccl.reason or "it could be used, and was not",
        "steps": two.backend.taken_steps(),
        "holds": close and same and bool(used) == nccl.usable,
    }


def describe_ranks(ranks: dict[str, Any]) -> list[str]:
    """A part of the page: what came of several ranks."""
    of_bytes = "the same" if ranks["same_bytes"] else "OTHER"
    return [
        "",
        f"## Ranks in {ranks['dtype']}, {ranks['data']}",
        "",
        f"{'Holds' if ranks['holds'] else 'FAILS'}. Two ranks on the GPU against one: the loss "
        f"differs by {ranks['difference']:.1e} of itself ({ranks['steps']}). Exact sums of one "
        f"rank ({ranks['nccl']}) and of two: {of_bytes} bytes.",
    ]


def same_bits(a: Network, b: Network) -> bool:
    """Whether two networks have the same parameters and losses, to the last bit."""
    losses = [[record.train_loss for record in network.history] for network in (a, b)]
    return losses[0] == losses[1] and all(
        a.backend.to_numpy(value).tobytes() == b.backend.to_numpy(b.params[name]).tobytes()
        for name, value in a.params.items()
    )


def describe_graphs(graphs: dict[str, Any]) -> list[str]:
    """A part of the page: whether there were graphs, and what they did."""
    lines = ["", f"## CUDA graphs in {graphs['dtype']}, {graphs['data']}", ""]
    if not graphs["recorded"]:
        return [*lines, f"NOT RECORDED: {graphs['reason']}"]
    return [
        *lines,
        f"{graphs['network']}. {'The same bits' if graphs['holds'] else 'OTHER BITS'} as without. "
        f"Seconds an epoch: {graphs['seconds_with_graphs']:.4f} with kernels put together and "
        f"graphs, {graphs['seconds_without']:.4f} with each of CuPy's kernels by itself.",
    ]


def to_markdown(report: dict[str, Any]) -> str:
    """The report as a page for `docs/gpu/`."""
    tests = report["tests"]
    lines = [
        f"# GPU check of {report['date']}: {'everything holds' if report['holds'] else 'FAILS'}",
        "",
        "Made by `python scripts/check_gpu.py`.",
        "",
        "| | |",
        "|---|---|",
        f"| GPU, driver, memory | {report['gpu']} |",
        f"| platform | {report['platform']}, Python {report['python']} |",
    ]
    for target in report["targets"]:
        versions = ", ".join(f"{k} {v}" for k, v in target["versions"].items())
        lines.append(f"| {target['backend']} | {target['device']}; {versions} |")
    lines += [f"| not checked | {reason} |" for reason in report["not_checked"]]
    lines += [
        "",
        "## Tests marked `gpu`",
        "",
        f"{tests['passed']} passed, {tests['failed']} failed, {tests['error']} errors, "
        f"{tests['skipped']} skipped.",
    ]
    if not tests["holds"]:
        lines += ["", "```text", tests["output"].strip(), "```"]
    for parity in report["parity"]:
        lines += [
            "",
            f"## Parity in {parity['dtype']}, {parity['data']}",
            "",
            f"{parity['network']}. {'Holds' if parity['holds'] else 'FAILS'}.",
            "",
            "```text",
            parity["table"],
            "```",
        ]
    for graphs in report["graphs"]:
        lines += describe_graphs(graphs)
    for ranks in report["ranks"]:
        lines += describe_ranks(ranks)
    for conformance in report["conformance"]:
        lines += ["", f"## Conformance in {conformance['dtype']}", "", "```text"]
        lines += [conformance["table"], "```"]
    return "\n".join(lines) + "\n"


def check(
    targets: Sequence[tuple[str, str]],
    *,
    data_dir: Path | None = None,
    epochs: int = 3,
    with_tests: bool = True,
) -> dict[str, Any]:
    """Everything, as one report of JSON values.

    Raises
    ------
    BackendUnavailable
        If the first target cannot be used.
    """
    # JAX would take three quarters of the GPU's memory from the others.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    open_backend(*targets[0])
    tests = run_tests(data_dir) if with_tests else None
    usable, not_checked = usable_targets(targets)
    data, missing = data_sets(data_dir)
    not_checked += missing
    no_tests = {"passed": 0, "failed": 0, "skipped": 0, "error": 0, "holds": True, "output": ""}
    if tests is None:
        tests = no_tests
        not_checked.append("the tests marked gpu")
    parity = [
        run_parity(usable, one, dtype, epochs) for one in data for dtype in ("float64", "float32")
    ]
    graphs = [
        run_graphs(device, one, dtype, epochs)
        for name, device in usable[:1]
        if name == "cupy"
        for one in data
        for dtype in ("float64", "float32")
    ]
    ranks = [
        run_ranks(device, data[0], dtype, epochs)
        for name, device in usable[:1]
        if name == "cupy"
        for dtype in ("float64", "float32")
    ]
    conformance = []
    for dtype in ("float64", "float32"):
        found = check_namespace(usable[0][0], dtype=dtype)
        conformance.append({**found.to_dict(), "table": str(found)})
    holds = [tests["holds"], *(p["holds"] for p in parity), *(c["conforms"] for c in conformance)]
    holds += [part["holds"] for part in (*graphs, *ranks)]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "holds": all(holds),
        "gpu": describe_gpu(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "targets": [environment(open_backend(name, device)) for name, device in usable],
        "not_checked": not_checked,
        "tests": tests,
        "parity": parity,
        "graphs": graphs,
        "ranks": ranks,
        "conformance": conformance,
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Folder for gpu-report.json and gpu-report.md.",
)
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Where MNIST is."
)
@click.option("--epochs", type=click.IntRange(min=1), default=3, show_default=True)
def main(out: Path, data_dir: Path | None, epochs: int) -> None:
    """Check xpnet on a CUDA GPU and write a report."""
    try:
        report = check(GPU_TARGETS, data_dir=data_dir, epochs=epochs)
    except BackendUnavailable as error:
        click.echo(f"there is no GPU to check: {error}", err=True)
        raise SystemExit(2) from error
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu-report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    page = to_markdown(report)
    (out / "gpu-report.md").write_text(page, encoding="utf-8")
    click.echo(page)
    if not report["holds"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
