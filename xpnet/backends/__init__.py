"""Backends: which array library does the work, on which device, in which dtype.

To add one, write a file like `array_api_strict.py` here and name its class in `_BACKENDS`.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from xpnet.backends.base import DTYPES, Backend, Status
from xpnet.backends.numpy import NumpyBackend
from xpnet.checks import is_one_of
from xpnet.errors import BackendUnavailable, shown
from xpnet.suggestions import did_you_mean

__all__ = [
    "BACKENDS",
    "DTYPES",
    "Backend",
    "Status",
    "backend_class",
    "backend_of",
    "backend_of_namespace",
    "devices_meant",
    "open_backend",
    "probe_backends",
]

# A row for each; all else that is to be known of a backend, its class says.
_BACKENDS = {
    "numpy": "NumpyBackend",
    "cupy": "CupyBackend",
    "torch": "TorchBackend",
    "jax": "JaxBackend",
    "array_api_strict": "ArrayApiStrictBackend",
}
BACKENDS = tuple(_BACKENDS)
"""The names of the backends."""

Backend.fallback = NumpyBackend


def open_backend(
    name: str | Backend = "auto",
    device: str | None = None,
    dtype: str | None = None,
    *,
    threads: int | None = None,
    steps: str | None = None,
    tf32: bool = False,
) -> Backend:
    """Open an array library on a device.

    Parameters
    ----------
    name
        One of `BACKENDS`, or `"auto"`: CuPy where a CUDA device is usable, else NumPy; the
        backend's `reason` says why. An opened backend is returned as it is.
    device
        A device of that library, such as `"cpu"` or `"cuda:1"`; its default if None.
    dtype
        The floating-point dtype of parameters and activations, `"float32"` (if None) or
        `"float64"`.
    threads
        How many threads of the CPU make a matrix product, for NumPy and torch on the CPU. If None,
        the library decides, and on a busy machine `fit` may take one for NumPy, since waiting for
        threads that find no core can take a hundred times as long as the work.
    steps
        How training steps are taken, wherever they can be taken so. With NumPy `"compiled"` (if
        None), `"recorded"` or `"called"`, from the fastest to the one that is done as it is
        written; the results have the same bits. With CuPy `"recorded"` (if None) or `"called"`.
        With JAX they are `"compiled"`, with the others `"called"`.
    tf32
        Whether float32 products may be made in TF32, which is faster on recent NVIDIA GPUs and
        has about three decimal digits.

    Raises
    ------
    BackendUnavailable
        If the library is missing or the device cannot be used; one sentence with the fix.
    ValueError
        If the name or the dtype is none of those allowed, the backend has no number of threads,
        or no such steps, `tf32` means nothing there, or an opened backend is given together with a
        device, threads, or what it was not opened with.
    """
    if device is not None and not (isinstance(device, str) and device):
        raise ValueError(f"device must be a name such as 'cpu' or 'cuda:1', got {shown(device)}")
    if isinstance(name, Backend):
        other = dtype not in (None, name.dtype_name) or (tf32 and not name.tf32)
        other = other or steps not in (None, name.steps)
        if device is not None or threads is not None or other:
            raise ValueError(
                f"{name!r} is open already: give device={device!r}, dtype={dtype!r}, "
                f"threads={threads!r}, steps={steps!r} and tf32={tf32!r} to open_backend instead"
            )
        return name
    dtype = "float32" if dtype is None else dtype
    if is_one_of(("auto",), name):
        backend = _open_automatically(device, dtype, tf32)
    else:
        backend = backend_class(name)(device, dtype, tf32)
    if threads is not None:
        backend.limit_threads(threads)
    if steps is not None:
        backend.choose_steps(steps)
    return backend


def devices_meant(name: str, device: str | None = None) -> Sequence[str]:
    """The devices of which each of several processes takes one; see `Backend.devices_meant`.

    Parameters
    ----------
    name, device
        As in `open_backend`, for the name of a backend.
    """
    if is_one_of(("auto",), name):
        name = "cupy"  # whose devices are none where it is not taken
    return backend_class(name).devices_meant(device)


def probe_backends() -> dict[str, Status]:
    """Whether each backend is usable, with version, device and reason."""
    return {name: backend_class(name).probe() for name in BACKENDS}


def probe_device_sums() -> dict[str, Status]:
    """Whether what adds up arrays of several ranks on their devices can be used, by its name."""
    classes = map(backend_class, BACKENDS)
    return {name: status for cls in classes for name, status in cls.probe_device_sums().items()}


def backend_of(x: Any, dtype: str = "float32") -> Backend:
    """The backend of the library and device that an array lives on.

    Raises
    ------
    TypeError
        If `x` is not an array of one of the libraries.
    """
    for name in BACKENDS:
        backend = backend_class(name)
        if backend.owns(x):
            return backend(backend.device_of(x), dtype)
    raise TypeError(
        f"expected an array of {', '.join(BACKENDS)}, got {type(x).__module__}.{type(x).__name__}"
    )


def backend_class(name: str) -> type[Backend]:
    """The class of a backend, whose library is not imported.

    Raises
    ------
    ValueError
        If there is no backend of this name.
    """
    if not is_one_of(_BACKENDS, name):
        near = did_you_mean(name, BACKENDS)
        raise ValueError(
            f"backend must be 'auto' or one of {', '.join(BACKENDS)}; got {shown(name)}{near}"
        )
    cls: type[Backend] = getattr(import_module(f"xpnet.backends.{name}"), _BACKENDS[name])
    return cls


def backend_of_namespace(module: str) -> type[Backend] | None:
    """The class of the backend whose namespace is this module, such as `jax.numpy`, if any."""
    classes = map(backend_class, BACKENDS)
    return next((kind for kind in classes if (kind.namespace or kind.name) == module), None)


def _open_automatically(device: str | None, dtype: str, tf32: bool) -> Backend:
    status = backend_class("cupy").probe()
    if status.usable and device != "cpu":
        backend = open_backend("cupy", device, dtype, tf32=tf32)
        backend.reason = "a CUDA device is usable"
        return backend
    if device not in (None, "cpu"):
        raise BackendUnavailable(
            f"device {shown(device)} needs a GPU backend, and CuPy cannot be used: {status.reason}"
        )
    backend = open_backend("numpy", device, dtype, tf32=tf32)
    why_not, _, _ = status.reason.partition(":")
    backend.reason = why_not or "device 'cpu' was asked for"
    return backend
