"""PyTorch, as an array library: no autograd."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
from array_api_compat import is_torch_array

from xpnet.backends import torch_convolution
from xpnet.backends.base import GPU_CHUNK_VALUES, Backend, Status, with_overrides
from xpnet.backends.shared import SharedSetting
from xpnet.checks import positive_integer
from xpnet.errors import BackendUnavailable, shown
from xpnet.typing import Array, HostArray


class TorchBackend(Backend):
    """PyTorch on the CPU, on CUDA or on Apple's GPU (`mps`)."""

    name = "torch"
    distribution = "torch"
    extra = "torch"

    @classmethod
    def probe(cls) -> Status:
        return cls.probe_import()

    @classmethod
    def not_installed(cls) -> str:
        return (
            f"{super().not_installed()} (on Linux some 3 GB to download, with CUDA; 200 MB for the "
            f"CPU alone: https://pytorch.org/get-started/locally/)"
        )

    @classmethod
    def owns(cls, x: Any) -> bool:
        return is_torch_array(x)

    @classmethod
    def device_of(cls, x: Array) -> str:
        return str(x.device)

    @classmethod
    def devices_meant(cls, device: str | None) -> Sequence[str]:
        if device != "cuda" or not cls.probe().usable:
            return ()
        import torch

        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]

    def open(self, device: str | None) -> None:
        try:
            import torch
            from array_api_compat import torch as xp
        except Exception as error:
            raise BackendUnavailable(self.import_failure(error)) from error
        self.xp, self._torch = xp, torch
        try:
            place = torch.device("cpu" if device is None else device)
            one = torch.zeros(1, dtype=self.dtype, device=place)
            one.cpu()  # fails on devices that hold no data
            self.device = one.device
            self.xp = with_overrides(
                xp, subtract_product=_subtract_product, erf=torch.special.erf,
                **torch_convolution.OVERRIDES.get(self.device.type, {}),
            )  # fmt: skip
            if self.device.type != "cpu":
                self.chunk_values = GPU_CHUNK_VALUES
        except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BackendUnavailable(
                f"the torch backend cannot use device {shown(device)} with {self.dtype_name}: "
                f"{first_line} (device='cpu' always works)"
            ) from error

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool | None = None) -> Array:
        if isinstance(x, np.ndarray) and not x.flags.writeable:
            # torch would let the tensor write to a read-only array, and warns of it. (Not that
            # warning switched off for a moment: other threads would see it.)
            x, copy = np.array(x), None
        return self.xp.asarray(x, dtype=dtype, device=self.device, copy=copy)

    def to_numpy(self, x: Array) -> HostArray:
        x = x.detach().cpu().resolve_neg()  # a view with signs that are still to be changed
        # NumPy has no bfloat16; its values are float32 values.
        return np.asarray((x.float() if x.dtype == self._torch.bfloat16 else x).numpy())

    def synchronize(self, *arrays: Array) -> None:
        if self.device.type == "cuda":
            self._torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            self._torch.mps.synchronize()

    def limit_threads(self, threads: int) -> None:
        if self.device.type != "cpu":
            super().limit_threads(threads)
        self.threads = positive_integer("threads", threads)

    def product_threads(self) -> int | None:
        return int(self._torch.get_num_threads()) if self.device.type == "cpu" else None

    def out_of_memory(self, error: BaseException) -> bool:
        # On a CPU torch has no class for it, and on Apple's GPU neither.
        words = ("out of memory", "not enough memory", "can't allocate memory")
        said = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
        known = isinstance(error, self._torch.cuda.OutOfMemoryError)
        return said or known or super().out_of_memory(error)

    def compile(
        self, function: Callable[..., Any], *, consumes: bool = False, pure: bool = False
    ) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            # In a loop of one's own the caller's autocast may have been entered after the scope.
            with self._without_autocast():
                return function(*args, **options)

        return run

    @contextmanager
    def scope(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self._torch.is_inference_mode_enabled():
                # Its arrays could never take part in the caller's own autograd, nor be trained on.
                stack.enter_context(self._torch.inference_mode(False))
            stack.enter_context(self._torch.no_grad())
            stack.enter_context(self._without_autocast())
            stack.enter_context(_THREADS.held(self.threads))
            stack.enter_context(_TF32.held(self.tf32 or None))
            if self.device.type == "cuda":
                # Convolutions would be made in TF32, unless told otherwise, and their gradients
                # added up in any order.
                chosen = {"allow_tf32": self.tf32, "deterministic": True}
                stack.enter_context(_CUDNN.held(chosen))
            yield

    def _without_autocast(self) -> AbstractContextManager[Any]:
        """Products in the dtype of their arrays, whatever the caller has set for his own."""
        kind = self.device.type
        with suppress(RuntimeError):  # a kind of device that has none
            if self._torch.is_autocast_enabled(kind):
                off: AbstractContextManager[Any] = self._torch.autocast(kind, enabled=False)
                return off
        return nullcontext()

    def has_tf32(self) -> bool:
        cuda = self._torch.cuda
        return bool(
            self.device.type == "cuda"
            and self._torch.version.hip is None
            and cuda.get_device_capability(self.device) >= (8, 0)
        )

    def device_name(self) -> str:
        if self.device.type == "cuda":
            return f"{self.device} ({self._torch.cuda.get_device_name(self.device)})"
        return str(self.device)

    def peak_memory(self) -> int | None:
        if self.device.type == "cuda":
            return int(self._torch.cuda.max_memory_allocated(self.device))
        return None


def _get_threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


# OpenMP has a number for each thread, which a new thread has from the last call of all.
_THREADS = SharedSetting(_get_threads, _set_threads, per_thread=True)


def _get_tf32() -> dict[str, Any]:
    import torch

    switch, found = torch.backends.cuda.matmul, {}
    for name in ("allow_tf32", "fp32_precision"):
        # The second is new in torch 2.9; the first cannot be read if only that has been set.
        with suppress(AttributeError, RuntimeError):
            found[name] = getattr(switch, name)
    return found


def _set_tf32(values: dict[str, Any] | bool) -> None:
    import torch

    if isinstance(values, bool):
        old = "allow_tf32" in _get_tf32()
        values = {"allow_tf32": True} if old else {"fp32_precision": "tf32"}
    for name, value in values.items():
        setattr(torch.backends.cuda.matmul, name, value)


_TF32 = SharedSetting(_get_tf32, _set_tf32)


def _get_cudnn() -> dict[str, bool]:
    import torch

    switch, found = torch.backends.cudnn, {}
    for name in ("allow_tf32", "deterministic"):
        # The first cannot be read if only the newer `fp32_precision` has been set.
        with suppress(AttributeError, RuntimeError):
            found[name] = bool(getattr(switch, name))
    return found


def _set_cudnn(values: dict[str, bool]) -> None:
    import torch

    for name, value in values.items():
        setattr(torch.backends.cudnn, name, value)


_CUDNN = SharedSetting(_get_cudnn, _set_cudnn)


def _subtract_product(c: Array, a: Array, b: Array) -> Array:
    """Consumes `c`: `xpnet.operations.subtract_product`, in one pass over c."""
    return c.addmm_(a, b, alpha=-1)
