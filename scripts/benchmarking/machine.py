"""What the figures were measured on."""

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from check_gpu import describe_gpu

from benchmarking.neighbour import neighbour_text
from xpnet.backends import probe_backends
from xpnet.runs.environment import installed_versions
from xpnet.runs.installation import (
    blas_libraries,
    environment_variables,
    processor,
)
from xpnet.training.ranks import usable_cores

DISTRIBUTIONS = (
    *("xpnet", "numpy", "array-api-compat", "torch", "jax", "jaxlib", "scikit-learn", "keras"),
    *("thinc", "threadpoolctl", "onnxruntime", "cupy-cuda12x", "cupy-cuda13x"),
)

SPEED_VARIABLES = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "NPROC", "XLA_FLAGS")
"""How the names begin of what, in the environment, chooses threads and kernels."""


def describe_machine(
    threads: int | None, *, gpu: bool = False, neighbour: str | None = None
) -> dict[str, Any]:
    """Processor, cores, versions, the load before, and the command, as JSON values."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "scripts/benchmark.py", *sys.argv[1:]]),
        "cpu": processor(),
        "cores": usable_cores(),
        "threads": threads,
        "neighbour": None if neighbour is None else neighbour_text(neighbour),
        "load_before": load,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "blas": blas_libraries(),
        "environment": environment_variables(SPEED_VARIABLES),
        "versions": installed_versions(DISTRIBUTIONS),
        "commit": commit(),
    }
    return {**found, "gpu": describe_gpu()} if gpu else found


def commit() -> dict[str, str] | None:
    """Name and date of the commit that this file is of; None where there is no git."""
    shown = ["git", "-C", str(Path(__file__).parent), "show", "-s", "--format=%h %cs"]
    try:
        found = subprocess.run(shown, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    name, _, date = found.stdout.strip().partition(" ")
    return {"name": name, "date": date}


def why_no_cuda() -> str:
    """Why there is no CUDA device for CuPy or PyTorch; empty if there is one."""
    status = probe_backends()["cupy"]
    if status.usable:
        return ""
    try:
        import torch

        if torch.cuda.is_available():
            return ""
    except Exception:  # a broken installation is none
        return status.reason
    return status.reason


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """The machine as rows of a Markdown table."""
    blas = ", ".join(
        f"{pool.get('internal_api')} {pool.get('version')}, {pool.get('architecture', 'no name')}"
        for pool in machine["blas"]
    )
    named = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    variables = ", ".join(f"{name}={value}" for name, value in machine["environment"].items())
    threads = machine["threads"] or "each library's default"
    load = machine["load_before"]
    rows = {
        "processor": f"{machine['cpu']}, {machine['cores']} cores",
        "GPU": machine.get("gpu"),
        "threads": threads,
        "beside": machine.get("neighbour"),
        "BLAS of NumPy": blas or "not known: threadpoolctl is not installed",
        "environment": f"`{variables}`" if variables else None,
        "Python": machine["python"],
        "libraries": named,
        "load before": None if load is None else f"{load:.2f}",
        "date": machine["date"][:10],
        "command": f"`{machine['command']}`",
    }
    table = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    return ["| | |", "|---|---|", *table]
