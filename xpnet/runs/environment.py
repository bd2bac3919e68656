"""What a run was made with: for its summary."""

import platform
import sys
from collections.abc import Iterable
from typing import Any

from xpnet.backends import Backend


def environment(backend: Backend) -> dict[str, Any]:
    """What a run was made with: backend, device, and the versions of what matters to it."""
    libraries = ("xpnet", "numpy", "array-api-compat", "safetensors", "matplotlib")
    names = (*libraries, *backend.parts)
    versions: dict[str, str | None] = {**dict.fromkeys(names), **installed_versions(names)}
    versions[backend.distribution] = backend.installed_version()
    return {
        "backend": backend.name,
        "device": backend.device_name(),
        "dtype": backend.dtype_name,
        "backend_reason": backend.reason,
        "threads": backend.threads,
        "steps": backend.steps,
        "taken_steps": backend.taken_steps(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
    }


def peak_host_memory() -> int | None:
    """Most bytes of main memory that the process has held so far; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """The versions of those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
