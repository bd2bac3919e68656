"""CuPy, on a CUDA GPU: products by cuBLAS, groups of training steps as CUDA graphs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from array_api_compat import is_cupy_array

from xpnet.backends.base import (
    GPU_CHUNK_VALUES,
    Backend,
    Status,
    with_overrides,
)
from xpnet.backends.cupy.cublas import Handles, Products, find_handles
from xpnet.backends.cupy.dropout import make_fused_mask
from xpnet.backends.cupy.fused_step import FusedStep, Tracing
from xpnet.backends.cupy.fusion import Fuser
from xpnet.backends.cupy.graph import GraphRunner, GraphUse
from xpnet.backends.cupy.nccl import NcclSums, connect, probe
from xpnet.backends.cupy.stream import CupyStream
from xpnet.backends.cupy.windows import make_window_functions
from xpnet.backends.devices import device_index
from xpnet.backends.steps import CALLED, RECORDED
from xpnet.backends.sums import Ranks
from xpnet.errors import BackendUnavailable, counted, one_line
from xpnet.streams import log_warning
from xpnet.typing import Array, HostArray

_DISTRIBUTIONS = ("cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x", "cupy")


class CupyBackend(Backend):
    """CuPy on a CUDA GPU: `cuda` (the first one), `cuda:0`, `cuda:1`, ...

    float32 products are made in full float32 unless `tf32` is asked for. What a training step
    computes with small arrays is fused into few kernels, and groups of steps are recorded as
    CUDA graphs.

    Attributes
    ----------
    fuse
        Whether kernels are fused: as `steps` are chosen, where they are recorded. Set it to False
        to have each of CuPy's by itself, or to True to have the same bits with `steps="called"`.
    capture
        Whether `steps` are recorded. To set it chooses them, and leaves `fuse` as it is.
    graphs
        How often graphs were recorded and started, and if not, why.
    sums
        What added up the gradients of several ranks on their GPUs, as in `taken_steps`.
    """

    name = "cupy"
    distribution = "cupy"
    needs_gpu = True
    extra = "cuda12"
    steps_per_call: ClassVar[int] = 16
    offered_steps: ClassVar[tuple[str, ...]] = (RECORDED, CALLED)
    chunk_values = GPU_CHUNK_VALUES
    set_by_hand = (*Backend.set_by_hand, "fuse")
    fuse: bool = True

    @classmethod
    def installed_version(cls) -> str | None:
        """The version of whichever wheel of CuPy is installed; None if there is none."""
        from importlib.metadata import PackageNotFoundError, version

        for distribution in _DISTRIBUTIONS:
            try:
                return version(distribution)
            except PackageNotFoundError:
                continue
        return None

    @classmethod
    def not_installed(cls) -> str:
        return (
            "CuPy is not installed: pip install 'xpnet[cuda12]' (or 'xpnet[cuda13]', "
            "for a driver of CUDA 13)"
        )

    @classmethod
    def probe(cls) -> Status:
        status = cls.probe_import()
        if not status.usable:
            return status
        import cupy

        reason = why_no_gpu(cupy.cuda.runtime)
        if reason:
            return Status(usable=False, version=status.version, reason=reason)
        return Status(usable=True, version=status.version, device=f"cuda:0 ({_gpu_name(cupy, 0)})")

    @classmethod
    def owns(cls, x: Any) -> bool:
        return is_cupy_array(x)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return f"cuda:{x.device.id}"

    def open(self, device: str | None) -> None:
        status = self.probe()
        if not status.usable:
            raise BackendUnavailable(status.reason)
        import cupy
        from array_api_compat import cupy as xp

        self._cupy = cupy
        self.xp = xp
        self.graphs = GraphUse()
        self.sums = ""
        self._handles: Handles | None = None
        count = cupy.cuda.runtime.getDeviceCount()
        self.device = cupy.cuda.Device(device_index("cupy", device, count, ("cuda",)))
        with self.device:
            self._eager = with_overrides(
                xp,
                keep_mask=make_fused_mask(cupy),
                erf=_erf,
                concat=_make_concat(cupy, xp),
                **self._find_products(),
                **make_window_functions(cupy),
            )
        self._tracing = Tracing()
        self._kernels: dict[str, Any] = {}
        self.xp = self._tracing.namespace(self._eager)

    def _find_products(self) -> dict[str, Callable[..., Any]]:
        """The products by cuBLAS, as overrides; none where they do not work, but CuPy's own do."""
        ones = self._cupy.ones
        try:
            handles = find_handles()
            products = Products(self._cupy, handles, tf32=self.tf32)
            # Missing CUDA libraries show at the first product, not at import.
            square = ones((2, 2), dtype=self.dtype)
            if float(products.matmul(square, square)[0, 0]) != 2:
                raise RuntimeError("it gives wrong results")
        except Exception as error:
            why = f"cuBLAS cannot be called: {type(error).__name__}: {one_line(error)}"
        else:
            self._handles = handles
            return {"matmul": products.matmul, "subtract_product": products.subtract_product}
        try:
            square = ones((2, 2), dtype=self.dtype)
            float((square @ square)[0, 0])
        except Exception as error:
            raise BackendUnavailable(why_not_working(error)) from error
        if self.tf32:
            raise BackendUnavailable(f"tf32 cannot be switched on, since {why}; leave it out")
        self.graphs.reason = why
        return {}

    def repeat(self, step: Callable[..., Any], *, pure: bool = True) -> Callable[..., Any]:
        """Groups of steps as CUDA graphs of few kernels; see `cuda.graph` and `cuda.fusion`."""
        plain = step
        if pure and self.fuse:
            step = FusedStep(step, self._tracing, self._fuser)
        if self.steps == CALLED:
            return super().repeat(step)
        handles = self._handles
        if handles is None:
            # CuPy's own products refuse to be recorded.
            log_warning("steps are started one by one: %s", self.graphs.reason)
            return super().repeat(plain)
        cupy, device = self._cupy, self.device
        return GraphRunner(
            step, lambda: CupyStream(cupy, device, handles), self.graphs, fallback=plain
        )

    def repeat_in_turn(
        self, first: Callable[..., Any], second: Callable[..., Any], *, pure: bool = True
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        before, after = super().repeat_in_turn(first, second, pure=pure)
        if isinstance(before, GraphRunner) and isinstance(after, GraphRunner):
            before.share_state(after)
        return before, after

    def choose_steps(self, steps: str) -> None:
        super().choose_steps(steps)
        # To note what a step does takes longer than to do it, where it is not recorded.
        self.fuse = steps == RECORDED

    @property
    def capture(self) -> bool:
        return self.steps == RECORDED

    @capture.setter
    def capture(self, capture: bool) -> None:
        self.steps = RECORDED if capture else CALLED

    def planned_steps(self) -> str:
        if self.steps == RECORDED and self._handles is None:
            return f"steps {CALLED} ({self.graphs.reason})"
        return super().planned_steps()

    def taken_steps(self) -> str:
        use = self.graphs
        graphs = (
            f"{counted(use.captures, 'CUDA graph')} {RECORDED}, and started "
            f"{counted(use.launches, 'time')}"
        )
        reason = f" ({use.reason})" if use.reason else ""
        sums = f", added up by {self.sums}" if self.sums else ""
        return (graphs if use.captures else f"all steps {CALLED}") + reason + sums

    def _fuser(self) -> Fuser:
        return Fuser(self._cupy, self._eager, self.device, self._kernels)

    def to_numpy(self, x: Array) -> HostArray:
        host: HostArray = self._cupy.asnumpy(x)
        return host

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool | None = None) -> Array:
        with self.device:
            return self.xp.asarray(x, dtype=dtype, copy=copy)

    def synchronize(self, *arrays: Array) -> None:
        self.device.synchronize()

    @classmethod
    def devices_meant(cls, device: str | None) -> Sequence[str]:
        if device not in (None, "cuda") or not cls.probe().usable:
            return ()
        import cupy

        return [f"cuda:{index}" for index in range(cupy.cuda.runtime.getDeviceCount())]

    def device_sums(self, ranks: Ranks) -> NcclSums | None:
        sums = connect(self._cupy, self.device, ranks)
        self.sums = "" if sums is None else sums.name
        return sums

    @classmethod
    def probe_device_sums(cls) -> dict[str, Status]:
        status = cls.probe()
        if status.usable:
            import cupy

            return {"nccl": probe(cupy)}
        why = "CuPy, which calls NCCL, cannot be used: see cupy"
        return {"nccl": Status(usable=False, reason=why)}

    def scope(self) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = self.device
        return device

    def device_name(self) -> str:
        return f"cuda:{self.device.id} ({_gpu_name(self._cupy, self.device.id)})"

    def has_tf32(self) -> bool:
        return int(self.device.compute_capability) >= 80

    def peak_memory(self) -> int | None:
        # The pool keeps what it has got from CUDA, so what it holds is the peak.
        with self.device:
            pool = self._cupy.get_default_memory_pool()
            return int(pool.total_bytes()) + self.graphs.most_bytes


def _make_concat(cupy: Any, xp: Any) -> Callable[..., Array]:
    """`concat` that can be recorded.

    Of more than 8 arrays CuPy's own brings the addresses from the host, at the time of recording
    and never again.
    """

    def concat(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Array:
        first = arrays[0]
        if axis is None or len(arrays) <= 8 or any(x.dtype != first.dtype for x in arrays):
            result: Array = xp.concat(arrays, axis=axis)
            return result
        axis %= first.ndim
        n = sum(x.shape[axis] for x in arrays)
        result = cupy.empty((*first.shape[:axis], n, *first.shape[axis + 1 :]), dtype=first.dtype)
        at, before = 0, (slice(None),) * axis
        for x in arrays:
            result[(*before, slice(at, at + x.shape[axis]), ...)] = x
            at += x.shape[axis]
        return result

    return concat


def _erf(x: Array) -> Array:
    """`xpnet.operations.erf` in one kernel."""
    from cupyx.scipy.special import erf  # late: few networks need it

    return erf(x)


def why_no_gpu(runtime: Any) -> str:
    """Why CUDA finds no device, with the fix, in one sentence; empty if it finds one.

    CUDA itself says "driver version is insufficient" even where there is no driver; its version
    number, 0, tells the two apart.

    Parameters
    ----------
    runtime
        `cupy.cuda.runtime`, or anything with its `driverGetVersion`, `runtimeGetVersion`,
        `getDeviceCount` and `CUDARuntimeError`.
    """
    try:
        if runtime.getDeviceCount() > 0:
            return ""
        status = 100
    except runtime.CUDARuntimeError as error:
        status = error.status
    driver = runtime.driverGetVersion()
    if driver == 0:
        return (
            "no NVIDIA driver is loaded: install the driver of your GPU, "
            "or take the numpy backend where there is none"
        )
    if status == 35:
        return (
            f"the NVIDIA driver is too old for this CuPy: it supports CUDA {_cuda(driver)}, CuPy "
            f"was built for CUDA {_cuda(runtime.runtimeGetVersion())}; update the driver, or "
            f"install the CuPy of its CUDA version, such as 'xpnet[cuda12]'"
        )
    if status == 100:
        return (
            "no CUDA device is visible: the driver is there, so check that CUDA_VISIBLE_DEVICES "
            "does not hide the GPU and that nvidia-smi lists one"
        )
    return (
        f"CUDA cannot be used (error {status} when counting devices): check that nvidia-smi "
        f"lists a GPU"
    )


def why_not_working(error: BaseException) -> str:
    """Why the first product on the GPU failed, with the fix, in one sentence."""
    text = one_line(error) or type(error).__name__
    missing = isinstance(error, ImportError) or "NotFound" in type(error).__name__
    if missing or ("lib" in text and "cannot open shared object" in text):
        return (
            f"the CUDA libraries that CuPy needs are missing ({text[:200]}): "
            f"pip install 'xpnet[cuda12]' (or 'xpnet[cuda13]'), which brings them"
        )
    if "OutOfMemory" in type(error).__name__:
        return f"the GPU has no free memory ({text[:200]}): end other programs that use it"
    return f"CuPy finds the GPU but a first product on it failed: {text[:300]}"


def _cuda(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpu_name(cupy: Any, index: int) -> str:
    name = cupy.cuda.runtime.getDeviceProperties(index)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)
