"""NumPy, on the CPU: always there, and the reference for the others."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
from array_api_compat import is_numpy_array
from array_api_compat import numpy as xp

from xpnet.backends.base import Backend, Status, one_by_one, quiet_numpy, with_overrides
from xpnet.backends.numpy.compiler import CannotCompile, usable_compiler
from xpnet.backends.numpy.functions import FUNCTIONS
from xpnet.backends.numpy.openblas import find_subtract_product
from xpnet.backends.numpy.recorded import RecordedFunction
from xpnet.backends.numpy.replay import Replayer, rehearsal_of
from xpnet.backends.numpy.threads import (
    BLAS_THREADS,
    SHARED_PRODUCT,
    Trials,
    blas_threads,
    in_threads,
    is_fast_again,
    is_too_slow,
    product_of,
    slowdown,
)
from xpnet.backends.steps import CALLED, COMPILED, RECORDED, STEPS, StepCounts
from xpnet.checks import positive_integer
from xpnet.errors import BackendUnavailable, shown
from xpnet.streams import log_warning
from xpnet.typing import DType, HostArray

T = TypeVar("T")
R = TypeVar("R")

_CACHED = 250_000  # 1 MB in float32

_INDEX: DType = xp.__array_namespace_info__().default_dtypes()["indexing"]


class NumpyBackend(Backend):
    """NumPy on the CPU.

    Attributes
    ----------
    step_counts
        How many training steps were called, recorded and compiled, and by which compiler.
    """

    name = "numpy"
    distribution = "numpy"
    steps_per_call = 16
    offered_steps = STEPS
    chunk_values = 1_000_000

    @classmethod
    def probe(cls) -> Status:
        return Status(usable=True, version=xp.__version__, device="cpu")

    @classmethod
    def owns(cls, x: Any) -> bool:
        return type(x) is np.ndarray or is_numpy_array(x)

    @property
    def cached_values(self) -> int:
        return min(self.chunk_values, _CACHED)

    @property
    def index_dtype(self) -> DType:
        return _INDEX

    def holds(self, x: Any) -> bool:
        return self.owns(x)  # there is one device

    def open(self, device: str | None) -> None:
        if device not in (None, "cpu"):
            raise BackendUnavailable(
                f"the numpy backend has no device {shown(device)}: it runs on 'cpu'; "
                f"for a CUDA GPU take backend='cupy' (or 'torch', or 'jax')"
            )
        functions = dict(FUNCTIONS)
        subtract_product = find_subtract_product()
        if subtract_product is not None:
            functions["subtract_product"] = subtract_product
        self.xp = with_overrides(xp, **functions)
        self.device = "cpu"
        self.step_counts = StepCounts()
        self._largest = float(np.finfo(self.dtype_name).max)
        self._trials = Trials()
        self._settles = True  # the number of threads, which nobody has chosen
        self._all_threads = 1

    def compile(
        self, function: Callable[..., Any], *, consumes: bool = False, pure: bool = False
    ) -> Callable[..., Any]:
        if consumes or not pure or self.steps == CALLED:
            return function
        return RecordedFunction(function, compiles=self.steps == COMPILED)

    def map(self, function: Callable[[T], R], items: Sequence[T], *, pure: bool = False) -> list[R]:
        """In as many threads as products have, each with products of one thread: small ones wait
        longer for each other's parts than they take."""
        n_threads = min(len(items), blas_threads()) if pure and len(items) > 1 else 1
        if n_threads == 1:
            return super().map(function, items)

        def in_scope(item: T) -> R:
            with quiet_numpy():  # which each thread has its own of
                return function(item)

        with BLAS_THREADS.held(1):
            return in_threads(in_scope, items, n_threads)

    def are_finite(self, x: HostArray) -> bool:
        """By one product with itself, where that shows it."""
        plain = type(x) is np.ndarray and x.dtype.char in "fd" and x.flags.c_contiguous
        # Unlike `dot`, it warns of nothing; to hold that off takes longer than one row.
        if plain and np.vdot(x, x) < self._largest:
            return True
        return super().are_finite(x)

    def repeat(self, step: Callable[..., Any], *, pure: bool = True) -> Callable[..., Any]:
        counts = self.step_counts
        if self.steps != CALLED and pure:
            return Replayer(step, counts, compiles=self.steps == COMPILED)
        if self.steps != CALLED:
            counts.reason = "not recorded: they are not known to be pure"
        return counts.counting(super().repeat(step))

    def repeat_in_turn(
        self, first: Callable[..., Any], second: Callable[..., Any], *, pure: bool = True
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        if self.steps == CALLED or not pure:
            return self.repeat(first, pure=pure), one_by_one(second)
        recorded = Replayer.in_turn(
            (first, second), self.step_counts, compiles=self.steps == COMPILED
        )
        return recorded[0], recorded[1]

    def planned_steps(self) -> str:
        if self.steps != COMPILED:
            return super().planned_steps()
        try:
            command = usable_compiler()
        except CannotCompile as error:
            return f"steps {RECORDED} ({error})"
        return f"steps to be {COMPILED} by {shlex.join(command)}"

    def taken_steps(self) -> str:
        return str(self.step_counts)

    def limit_threads(self, threads: int) -> None:
        self.threads = positive_integer("threads", threads)
        self._settles = False

    def settle_threads(self, run: Callable[..., Any], rows: int, inner: int, columns: int) -> None:
        shared = rows * inner * columns >= SHARED_PRODUCT
        if not self._settles or not shared or not self._trials.due():
            return
        if self.threads is None:
            self._all_threads = blas_threads()
        threads = self._all_threads
        if threads == 1:
            return
        with rehearsal_of(run) as step:
            slower = slowdown(step or product_of(rows, inner, columns), threads)
        if self.threads is None and is_too_slow(slower):
            self._take_threads(1)
            log_warning(
                "other work keeps the cores busy: 1 thread is used, as %d take %.1f times as long "
                "(threads=%d insists)",
                threads, slower, threads,
            )  # fmt: skip
        elif self.threads is not None and is_fast_again(slower):
            self._take_threads(None)
            log_warning("the cores are free again: %d threads are used", threads)

    def _take_threads(self, threads: int | None) -> None:
        self.threads = threads
        # From here to the end of the scope.
        BLAS_THREADS.change(self._all_threads if threads is None else threads)

    def product_threads(self) -> int | None:
        return blas_threads()

    def scope(self) -> AbstractContextManager[Any]:
        return _Scope(self.threads)


class _Scope:
    """NumPy without warnings, and with so many threads."""

    def __init__(self, threads: int | None) -> None:
        self._quiet, self._held = quiet_numpy(), BLAS_THREADS.held(threads)

    def __enter__(self) -> None:
        self._held.__enter__()
        self._quiet.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._quiet.__exit__(*error)
        self._held.__exit__(*error)
