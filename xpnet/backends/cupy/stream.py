"""A stream of CuPy, with memory of its own, whose work is recorded as CUDA graphs."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from xpnet.backends.cupy.cublas import Handles
from xpnet.typing import Array


class CupyStream:
    """`xpnet.backends.cupy.graph.GraphStream` by CuPy.

    Blocks of memory that are given back while work is recorded can be had again from the pool of
    that stream, while the graph goes on writing there. So stream and pool serve the graphs alone,
    and what has to last comes from the caller's pool.

    Parameters
    ----------
    cupy
        The module.
    device
        The device, which has to be the current one when the stream is used.
    handles
        The handles of cuBLAS, of which that of this stream is released in the end.
    """

    def __init__(self, cupy: Any, device: Any, handles: Handles) -> None:
        self._cupy = cupy
        self._device = device
        self._handles = handles
        # Only a stream that does not wait for the default stream can be recorded beside it.
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.cuda.MemoryPool()
        self._before = cupy.cuda.Event(disable_timing=True)
        self._after = cupy.cuda.Event(disable_timing=True)
        self._outer: Any = None

    @contextmanager
    def inside(self) -> Iterator[None]:
        cuda = self._cupy.cuda
        caller = cuda.get_current_stream()
        self._before.record(caller)
        self._stream.wait_event(self._before)
        self._outer = cuda.get_allocator()
        try:
            with cuda.using_allocator(self._pool.malloc), self._stream:
                yield
        finally:
            self._outer = None
            self._after.record(self._stream)
            caller.wait_event(self._after)

    def place(self, x: Array) -> Hashable:
        return (x.data.ptr, x.shape, x.strides, x.dtype.str)

    def lasting(self, x: Array) -> Array:
        outer = self._outer
        with nullcontext() if outer is None else self._cupy.cuda.using_allocator(outer):
            return self._cupy.empty_like(x)

    def temporary(self, x: Array) -> Array:
        return x.copy()

    def copy(self, target: Array, source: Array) -> None:
        self._cupy.copyto(target, source)

    def begin(self) -> None:
        self._stream.begin_capture()

    def end(self) -> Any:
        graph = self._stream.end_capture()
        graph.upload(self._stream)
        return graph

    def abort(self) -> None:
        # It ends the recording also where it raises, as it does if something invalid was recorded.
        with suppress(Exception):
            self._stream.end_capture()

    def launch(self, graph: Any) -> None:
        graph.launch(self._stream)

    def wait(self) -> None:
        self._stream.synchronize()

    def close(self) -> int:
        with self._device:
            self._handles.release(self._device.id, self._stream.ptr)
            held = int(self._pool.total_bytes())
            self._pool.free_all_blocks()
        del self._stream, self._pool
        return held
