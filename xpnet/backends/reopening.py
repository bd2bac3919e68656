"""Backends in pickles: how to open one again, and what to do where that cannot be done."""

from xpnet.backends.base import Backend
from xpnet.errors import BackendUnavailable
from xpnet.streams import log


def reopened(
    kind: type[Backend], device: str | None, dtype: str, tf32: bool, threads: int | None
) -> Backend:
    """A backend as it was opened in another process, or NumPy where that is not to be had.

    Parameters
    ----------
    kind
        Its class.
    device, dtype, tf32, threads
        As `open_backend` takes them. TF32 is left out where the device has none.
    """
    try:
        try:
            backend = kind(device, dtype, tf32)
        except ValueError:
            backend = kind(device, dtype)
    except BackendUnavailable as error:
        from xpnet.backends.numpy import NumpyBackend  # late: NumPy's own file imports the base

        log(
            "warning",
            "what was pickled on the %s backend, device %r, is now on numpy: %s",
            kind.name, device, error,
        )  # fmt: skip
        backend = NumpyBackend(None, dtype)
        backend.reason = f"{kind.name} cannot be used: {error}"
        return backend
    if threads is not None:
        backend.limit_threads(threads)
    return backend
