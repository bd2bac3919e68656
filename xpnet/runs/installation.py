"""What is installed here and what it runs on: for reports of faults, and beside measurements."""

import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xpnet.backends import probe_backends, probe_device_sums
from xpnet.backends.numpy.compiler import CannotCompile, usable_compiler
from xpnet.distributed.mpi import probe_mpi
from xpnet.runs.environment import installed_versions
from xpnet.training.ranks import usable_cores

LIBRARIES = (
    *("numpy", "array-api-compat", "click", "tqdm", "safetensors", "pooch", "threadpoolctl"),
    *("cupy-cuda12x", "cupy-cuda13x", "torch", "jax", "jaxlib", "array-api-strict"),
    *("scikit-learn", "scipy", "matplotlib", "pillow", "pyarrow", "onnx", "onnxruntime", "mpi4py"),
)
"""The distributions whose versions are said, if they are installed: those that xpnet uses."""

VARIABLES = (
    *("XPNET_", "OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "NPROC", "NPY_"),
    *("CUDA_", "CUPY_", "NCCL_", "JAX_", "XLA_", "TORCH_", "PYTORCH_", "MPLBACKEND"),
)
"""How the names begin of what, in the environment, chooses devices, threads and kernels."""


def describe_installation() -> dict[str, Any]:
    """Versions, processor, BLAS, compiler and devices, as JSON values.

    Returns
    -------
    dict
        `xpnet`, `python`, `platform`, `processor` and `cores` (those that this process may use);
        `blas`, a list with a row for each library of products that is loaded; `compiler`, with its
        `command` or the `reason` why there is none; `backends`, with `usable`, `version`, `device`
        and `reason` for each, MPI and NCCL; `libraries`, with their versions; and `environment`,
        the variables of it that choose devices, threads and kernels.
    """
    import xpnet

    variables = environment_variables(VARIABLES)  # before libraries that set some
    status = probe_backends() | {"mpi": probe_mpi()} | probe_device_sums()
    return {
        "xpnet": xpnet.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "processor": processor(),
        "cores": usable_cores(),
        "blas": blas_libraries(),
        "compiler": _compiler(),
        "backends": {name: asdict(found) for name, found in status.items()},
        "libraries": installed_versions(LIBRARIES),
        "environment": variables,
    }


def processor() -> str:
    """The processor as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _said_by("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def blas_libraries() -> list[dict[str, Any]]:
    """The libraries of products that this process has loaded: name, version, kernels, threads."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))  # a BLAS is listed once it has been loaded
    kept = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    pools = [pool for pool in threadpool_info() if pool.get("user_api") == "blas"]
    return [{key: pool[key] for key in kept if key in pool} for pool in pools]


def environment_variables(beginnings: tuple[str, ...]) -> dict[str, str]:
    """The variables whose names begin so."""
    return {k: value for k, value in sorted(os.environ.items()) if k.startswith(beginnings)}


def _compiler() -> dict[str, str]:
    """The command, and what the compiler says of itself, or the reason why there is none."""
    try:
        command = usable_compiler()
    except CannotCompile as error:
        return {"reason": str(error)}
    return {"command": " ".join(command), "version": _said_by(*command, "--version")}


def _said_by(*command: str) -> str:
    """The first line that a program prints; empty if it fails."""
    import subprocess

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.strip().splitlines()), "")
