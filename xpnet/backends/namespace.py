"""Any importable array-API namespace, with nothing known of it but the standard."""

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from types import ModuleType
from typing import Any

import numpy as np

from xpnet.backends.base import Backend, Status
from xpnet.errors import BackendUnavailable, one_line
from xpnet.suggestions import did_you_mean
from xpnet.typing import Array, DType, HostArray

_KNOWN = (
    "numpy", "cupy", "torch", "jax.numpy", "dask.array", "array_api_strict", "sparse", "ndonnx",
)  # fmt: skip
"""Modules that are array-API namespaces, for a name that is written wrong."""


class NamespaceBackend(Backend):
    """A namespace by the name of its module, such as `dask.array`, on its default device.

    The module of array-api-compat for it is taken where there is one. It cannot be chosen with
    `backend="..."`; it is what `xpnet.conformance` tests libraries with.

    Parameters
    ----------
    module
        The name of the module.
    dtype
        The floating-point dtype.

    Raises
    ------
    BackendUnavailable
        If the module cannot be imported, or has no arrays.
    """

    name = "namespace"

    def __init__(self, module: str, dtype: str = "float64") -> None:
        self.module = module
        self.name = module  # type: ignore[misc]
        super().__init__(None, dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return NamespaceBackend, (self.module, self.dtype_name)

    @classmethod
    def probe(cls) -> Status:
        return Status(usable=True)

    @classmethod
    def owns(cls, x: Any) -> bool:
        return False

    def open(self, device: str | None) -> None:
        try:
            found = import_module(self.module)
        except Exception as error:
            raise BackendUnavailable(
                f"the namespace {self.module!r} cannot be imported: {error}; "
                f"{_how_to_name(self.module)}"
            ) from error
        self.xp = _compatible(self.module) or found
        self.through = self.xp.__name__
        missing = [name for name in ("asarray", self.dtype_name) if not hasattr(self.xp, name)]
        if missing:
            raise BackendUnavailable(
                f"{self.module!r} is no array-API namespace: it has no {' and no '.join(missing)}"
            )
        self.device = None
        try:
            self._array_type = type(self.xp.asarray([0.0]))
        except Exception as error:
            raise BackendUnavailable(
                f"{self.module!r} makes no array: asarray([0.0]) raised {type(error).__name__}: "
                f"{one_line(error)}"
            ) from error

    def holds(self, x: Any) -> bool:
        return isinstance(x, self._array_type)

    def asarray(self, x: Any, dtype: DType = None, *, copy: bool | None = None) -> Array:
        # Of asarray's options, those that are not needed are not tested: they come elsewhere.
        return self.xp.asarray(x) if dtype is None else self.xp.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> HostArray:
        # Libraries that refuse NumPy's own way (sparse, ndonnx) have a method for it.
        for method in ("todense", "unwrap_numpy"):
            if hasattr(x, method):
                return np.asarray(getattr(x, method)())
        if not hasattr(x, "__array__") and hasattr(x, "__dlpack__"):
            return np.from_dlpack(x)
        return np.asarray(x)

    @property
    def index_dtype(self) -> DType:
        return self.xp.int64

    def found_version(self) -> str:
        """The version of the library, as far as it can be found out."""
        package = self.module.partition(".")[0]
        distributions = packages_distributions().get(package, [package])
        try:
            return version(distributions[0])
        except PackageNotFoundError:
            return "of unknown version"


def _how_to_name(module: str) -> str:
    """What to do about the name of a module that cannot be imported."""
    if module.endswith(".py") or "/" in module or "\\" in module:
        name = re.split(r"[/\\]", module.removesuffix(".py"))[-1]
        return f"give the name of a module, such as {name or 'array_api_strict'}, and not its file"
    return (
        "install its package, or give the name of another module, such as array_api_strict"
        + did_you_mean(module, _KNOWN)
    )


def _compatible(module: str) -> ModuleType | None:
    try:
        return import_module(f"array_api_compat.{module}")
    except ImportError:
        return None
