"""JAX: the whole training step is compiled, because a single operation takes 50-300 us."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import is_jax_array

from xpnet.backends.base import GPU_CHUNK_VALUES, Backend, Status, with_overrides
from xpnet.backends.devices import device_index
from xpnet.backends.steps import COMPILED
from xpnet.errors import BackendUnavailable, shown
from xpnet.typing import Array, HostArray, State


class JaxBackend(Backend):
    """JAX on the CPU, or on a GPU or TPU where JAX finds one.

    float64 is enabled, and float32 products are made in full float32 unless `tf32` is asked for
    (JAX would use TF32 on recent GPUs), for this backend's work only: the configuration of the
    process stays as it is.
    """

    name = "jax"
    distribution = "jax"
    parts = ("jaxlib",)
    extra = "jax"
    namespace = "jax.numpy"
    steps_per_call = 512
    offered_steps = (COMPILED,)

    @classmethod
    def probe(cls) -> Status:
        # No look at jax.devices(): that would start a GPU and claim most of its memory.
        return cls.probe_import()

    @classmethod
    def owns(cls, x: Any) -> bool:
        return is_jax_array(x)

    @classmethod
    def device_of(cls, x: Array) -> str:
        import jax

        # An array sharded over several devices is gathered on the first of them.
        device = min(x.devices(), key=lambda device: device.id)
        return f"{device.platform}:{jax.devices(device.platform).index(device)}"

    @classmethod
    def devices_meant(cls, device: str | None) -> Sequence[str]:
        if device not in ("cuda", "gpu", "rocm", "tpu") or not cls.probe().usable:
            return ()
        import jax

        try:
            count = len(jax.devices(_platform(device)))
        except RuntimeError:
            return ()
        return [f"{device}:{index}" for index in range(count)]

    def open(self, device: str | None) -> None:
        try:
            import jax
            import jax.numpy as xp
        except Exception as error:
            raise BackendUnavailable(self.import_failure(error)) from error
        self._jax = jax
        # Rows of a batch are in range; JAX's default looks whether they are, and fills with NaN.
        self.xp = with_overrides(xp, take=partial(xp.take, mode="clip"), erf=jax.lax.erf)
        kind = "cpu" if device is None else device.partition(":")[0]
        platform = _platform(kind)
        try:
            devices = jax.devices(platform)
        except RuntimeError as error:
            raise BackendUnavailable(
                f"the jax backend has no device {shown(device)}: jax finds no {shown(platform)} "
                f"platform (device='cpu' always works; a GPU needs pip install 'jax[cuda12]')"
            ) from error
        self.device = devices[device_index("jax", device, len(devices), (kind,))]
        if self.device.platform != "cpu":
            self.chunk_values = GPU_CHUNK_VALUES

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool | None = None) -> Array:
        with self.scope():
            return self._jax.device_put(self.xp.asarray(x, dtype=dtype, copy=copy), self.device)

    def to_numpy(self, x: Array) -> HostArray:
        # NumPy has no bfloat16 and no smaller ones, and other libraries do not know those that
        # ml_dtypes brings it.
        brought = self.xp.issubdtype(x.dtype, self.xp.floating) and np.dtype(x.dtype).kind == "V"
        return np.asarray(x, dtype=np.float32 if brought else None)

    def synchronize(self, *arrays: Array) -> None:
        # JAX has no barrier for a device: it waits for arrays.
        self._jax.block_until_ready(arrays)

    def compile(
        self, function: Callable[..., Any], *, consumes: bool = False, pure: bool = False
    ) -> Callable[..., Any]:
        return self._jax.jit(function, donate_argnums=(0,) if consumes else ())

    def repeat(self, step: Callable[..., Any], *, pure: bool = True) -> Callable[..., Any]:
        def run(state: State, x: Array, y: Array, groups: Array) -> State:
            def body(state: State, rows: Array) -> tuple[State, None]:
                return step(state, x, y, rows), None

            return self._jax.lax.scan(body, state, groups)[0]

        return self.compile(run, consumes=True)

    def scope(self) -> AbstractContextManager[Any]:
        stack = ExitStack()
        if self.dtype_name == "float64":
            stack.enter_context(self._jax.enable_x64(True))
        precision = "tensorfloat32" if self.tf32 else "highest"
        stack.enter_context(self._jax.default_matmul_precision(precision))
        stack.enter_context(self._jax.default_device(self.device))
        return stack

    def out_of_memory(self, error: BaseException) -> bool:
        # The class, XlaRuntimeError, is that of all failures of a device; its text begins with a
        # word for the kind.
        exhausted = isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
        return exhausted or super().out_of_memory(error)

    def has_tf32(self) -> bool:
        # "9.0" on an NVIDIA GPU; other devices have no such number, or one with letters.
        major, _, _ = str(getattr(self.device, "compute_capability", "")).partition(".")
        return self.device.platform == "gpu" and major.isdecimal() and int(major) >= 8

    def device_name(self) -> str:
        return f"{self.device.platform}:{self.device.id} ({self.device.device_kind})"

    def peak_memory(self) -> int | None:
        statistics = self.device.memory_stats() or {}
        peak = statistics.get("peak_bytes_in_use")
        return None if peak is None else int(peak)


def _platform(kind: str) -> str:
    """JAX's name for a kind of device."""
    return {"cuda": "gpu"}.get(kind, kind)
