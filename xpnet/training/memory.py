"""Memory that is used up, and what to do then."""

from collections.abc import Iterator
from contextlib import contextmanager

from xpnet.backends import Backend
from xpnet.errors import OutOfMemory, XpnetError, one_line


@contextmanager
def telling_of_memory(backend: Backend, batch_size: int) -> Iterator[None]:
    """Turn the library's error for memory that is used up into one that says what to do."""
    try:
        yield
    except Exception as error:
        if isinstance(error, XpnetError) or not backend.out_of_memory(error):
            raise
        what = one_line(error, 300) or type(error).__name__
        narrower = "dtype='float32', " if backend.dtype_name == "float64" else ""
        raise OutOfMemory(
            f"not enough memory on {backend.device_name()}: {what}. Take a smaller batch_size "
            f"(it is {batch_size}), {narrower}or smaller layers; or, if it is the samples, leave "
            f"them in their file: of a numpy.memmap of more than 256 MiB only batches are read"
        ) from error
