"""NumPy, on the CPU: always there, and the reference for the others."""

from contextlib import AbstractContextManager
from typing import Any

from array_api_compat import is_numpy_array
from array_api_compat import numpy as xp

from xpnet.backends.base import Backend, Status, quiet_numpy, with_overrides
from xpnet.backends.openblas import find_subtract_product
from xpnet.errors import BackendUnavailable


class NumpyBackend(Backend):
    """NumPy on the CPU."""

    name = "numpy"
    distribution = "numpy"

    @classmethod
    def probe(cls) -> Status:
        return Status(usable=True, version=xp.__version__, device="cpu")

    @classmethod
    def owns(cls, x: Any) -> bool:
        return is_numpy_array(x)

    def open(self, device: str | None) -> None:
        if device not in (None, "cpu"):
            raise BackendUnavailable(
                f"the numpy backend has no device {device!r}: it runs on 'cpu'; "
                f"for a CUDA GPU take backend='cupy' (or 'torch', or 'jax')"
            )
        subtract_product = find_subtract_product()
        if subtract_product is None:
            self.xp = xp
        else:
            self.xp = with_overrides(xp, subtract_product=subtract_product)
        self.device = "cpu"

    def scope(self) -> AbstractContextManager[Any]:
        return quiet_numpy()
