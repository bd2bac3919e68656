"""What a backend is: all that differs between array libraries, and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

import numpy as np
from array_api_compat import device as device_of

from xpnet.backends.steps import CALLED, STEPS
from xpnet.backends.sums import DeviceSums, Ranks
from xpnet.checks import is_one_of
from xpnet.errors import BackendUnavailable, one_line, shown
from xpnet.streams import log_warning
from xpnet.suggestions import did_you_mean
from xpnet.typing import Array, DType, HostArray, Namespace, State

T = TypeVar("T")
R = TypeVar("R")

DTYPES = ("float32", "float64")

GPU_CHUNK_VALUES = 32_000_000
"""`Backend.chunk_values` of a GPU: 128 MB in float32."""


def with_overrides(xp: Namespace, **overrides: Callable[..., Any]) -> Namespace:
    """A namespace with functions of its own, or with others in the place of its own.

    For what a library does in a better way than by the standard's functions; see
    `xpnet.operations`. A plain copy: looking up a name costs nothing more than before. What the
    namespace makes only when it is asked for, it is asked for. It may be a module, a class, or an
    object that has no dictionary.
    """

    class Overridden(SimpleNamespace):
        def __getattr__(self, name: str) -> Any:
            return getattr(xp, name)

    # By `getattr`: what a class has in its dictionary cannot be called yet, as a class method.
    own = {name: getattr(xp, name) for name in getattr(xp, "__dict__", ())}
    return Overridden(**{**own, **overrides})


def one_by_one(step: Callable[..., Any]) -> Callable[..., Any]:
    """What `Backend.repeat` returns where each step is taken by itself."""

    def run(state: State, x: Array, y: Array, groups: Array) -> State:
        for i in range(groups.shape[0]):
            state = step(state, x, y, groups[i, ...])
        return state

    return run


@dataclass(frozen=True)
class Status:
    """Whether a backend can be used here, found out without allocating anything.

    Attributes
    ----------
    usable
        Whether the backend can be opened.
    version
        The version of the array library; None if it is not installed.
    device
        The device that is used where none is named; None if there is none.
    reason
        Why the backend cannot be used, and the fix, in one sentence; empty if it can.
    """

    usable: bool
    version: str | None = None
    device: str | None = None
    reason: str = ""


def quiet_numpy() -> AbstractContextManager[Any]:
    """NumPy without warnings of overflow: a loss that is not finite is an error of its own."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Backend:
    """An array library, opened on one device for one floating-point dtype.

    Subclasses are one small file each. They say what the library is (`distribution`, `extra`, and
    what else has to be said of it), check it (`probe`), and open it (`open` sets `xp` and
    `device`), and override what their library does in its own way.

    Attributes
    ----------
    name
        The name that selects the backend, as in `backend="numpy"`.
    distribution, parts
        The package of the library, and packages that it is made of: their versions are what a run
        was made with.
    extra
        The extra of xpnet that installs it.
    namespace
        The module of the array namespace, where it is not called as the backend.
    needs_gpu
        Whether it works on a GPU alone.
    tested_on
        The devices on which the tests of xpnet run it; its default if None.
    xp
        The array namespace.
    device
        The device object of the library.
    dtype
        The floating-point dtype object, `xp.float32` or `xp.float64`.
    dtype_name
        Its name, the same in every library.
    steps_per_call
        How many training steps are best taken in one call of what `repeat` returns.
    offered_steps
        The ways in which training steps can be taken, of `steps.STEPS`; the first is the default.
    steps
        The way that is taken wherever it can be.
    chunk_values
        About how many numbers the widest array may hold where many samples are evaluated in chunks:
        8 MB in float32, what the caches of a CPU hold; fewer with NumPy, which makes several such
        arrays; more on a GPU, which has to be kept busy.
    cached_values
        The same of samples that are more than that: with NumPy what the cache of one core holds,
        since several take chunks at once. As `chunk_values` unless it says otherwise.
    reason
        Why this backend was chosen, where the choice was automatic; else empty.
    threads
        How many threads of the CPU make a product, where that was chosen; else None.
    tf32
        Whether float32 products may be made in TF32.
    set_by_hand
        Attributes that a program may set afterwards, which pickles and copies keep.
    fallback
        The backend that takes the place of one that a pickle names and that cannot be had here.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None
    namespace: ClassVar[str | None] = None
    needs_gpu: ClassVar[bool] = False
    tested_on: ClassVar[tuple[str | None, ...]] = (None,)
    steps_per_call: ClassVar[int] = 1
    offered_steps: ClassVar[tuple[str, ...]] = (CALLED,)
    chunk_values: int = 2_000_000
    set_by_hand: ClassVar[tuple[str, ...]] = ("chunk_values",)
    fallback: ClassVar["type[Backend] | None"] = None

    xp: Namespace
    device: Any

    def __init__(self, device: str | None, dtype: str, tf32: bool = False) -> None:
        if not is_one_of(DTYPES, dtype):
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {shown(dtype)}")
        if tf32 and dtype != "float32":
            raise ValueError(f"tf32 is a way to multiply in float32: it means nothing in {dtype}")
        self.dtype_name = dtype
        self.reason = ""
        self.threads: int | None = None
        self.tf32 = tf32
        self.steps = self.offered_steps[0]
        self.open(device)
        if tf32 and not self.has_tf32():
            raise ValueError(
                f"tf32 means nothing on {self.device_name()} with {self.name}: it needs an NVIDIA "
                f"GPU of compute capability 8.0 or more, and cupy, torch or jax"
            )

    @property
    def cached_values(self) -> int:
        return self.chunk_values

    # -- what every backend defines -------------------------------------------------------------

    @classmethod
    def probe(cls) -> Status:
        """Find out cheaply, and without ever raising, whether the backend can be used."""
        raise NotImplementedError

    def open(self, device: str | None) -> None:
        """Import the library and set `xp` and `device`.

        Raises
        ------
        BackendUnavailable
            If the library or the device cannot be used.
        """
        raise NotImplementedError

    @classmethod
    def owns(cls, x: Any) -> bool:
        """Whether `x` is an array of this library; must not import the library to find out."""
        raise NotImplementedError

    # -- what some override ---------------------------------------------------------------------

    @classmethod
    def device_of(cls, x: Array) -> str | None:
        """The device that an array of this library lives on, as `open` takes it."""
        return None

    def asarray(self, x: Any, dtype: DType = None, *, copy: bool | None = None) -> Array:
        """Bring host data to the device. The only way for data to get there."""
        return self.xp.asarray(x, dtype=dtype, device=self.device, copy=copy)

    def to_numpy(self, x: Array) -> HostArray:
        """Bring an array of this library to the host; waits until it has been computed."""
        return np.asarray(x)

    def synchronize(self, *arrays: Array) -> None:
        """Wait until these arrays have been computed (where a device works by itself)."""

    def compile(
        self, function: Callable[..., Any], *, consumes: bool = False, pure: bool = False
    ) -> Callable[..., Any]:
        """Make a function of arrays faster, if the library has a way to; else return it as is.

        Parameters
        ----------
        function
            Its first argument is a mapping of arrays. All others are arrays, None, or tuples of
            these, and so is what it gives.
        consumes
            Whether the arrays of the first argument may be overwritten.
        pure
            Whether it is known to depend on its arguments alone, and the arrays of the first one
            to be the same from call to call: then NumPy records it.
        """
        return function

    def map(self, function: Callable[[T], R], items: Sequence[T], *, pure: bool = False) -> list[R]:
        """What `function` gives for each of the items, in their order.

        Where it is `pure`, known to depend on its argument alone, the items may be taken by several
        threads of the CPU at once.
        """
        return [function(item) for item in items]

    def are_finite(self, x: Array) -> bool:
        """Whether all values of a floating-point array are finite in the dtype of the backend."""
        with np.errstate(over="ignore"):
            values = self.xp.astype(x, self.dtype, copy=False)
            return bool(self.to_numpy(self.xp.all(self.xp.isfinite(values))))

    def repeat(self, step: Callable[..., Any], *, pure: bool = True) -> Callable[..., Any]:
        """Several training steps in one call, for a library that can take them at once.

        Parameters
        ----------
        step
            What `make_step` returned: `step(state, x, y, rows) -> state`.
        pure
            Whether it is known to depend on its arguments alone. NumPy records steps only then; JAX
            and CuPy cannot do without.

        Returns
        -------
        run
            `run(state, x, y, groups) -> state`, where `groups` (k, B) has the rows of k steps.
            `x` and `y` may be other arrays in each call: samples are streamed where they are many.
            Where it holds on to them between calls, as what is recorded does, it has a method
            `forget()`, which lets go of all samples; the next call is as good as before.
        """
        return one_by_one(step)

    def repeat_in_turn(
        self, first: Callable[..., Any], second: Callable[..., Any], *, pure: bool = True
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Both halves of a step that is interrupted in its middle, each as `repeat` makes a step.

        They are called in turn, each with the state that the other has given. What is changed of
        that between them is arrays in its entries.
        """
        return self.repeat(first, pure=pure), self.repeat(second, pure=pure)

    def choose_steps(self, steps: str) -> None:
        """Choose how training steps are taken, wherever they can be taken so.

        Raises
        ------
        ValueError
            If it is none of `offered_steps`.
        """
        if not is_one_of(STEPS, steps):
            near = did_you_mean(steps, STEPS)
            raise ValueError(f"steps must be one of {', '.join(STEPS)}; got {shown(steps)}{near}")
        if steps not in self.offered_steps:
            raise ValueError(
                f"the {self.name} backend has no steps that are {steps}, they are "
                f"{' or '.join(self.offered_steps)}: leave steps out (numpy has {', '.join(STEPS)})"
            )
        self.steps = steps

    def planned_steps(self) -> str:
        """How the next steps are going to be taken, in a few words: what is known beforehand."""
        return f"steps {self.steps}"

    def taken_steps(self) -> str:
        """How the steps were taken that `repeat` has taken so far, in a few words."""
        return f"all steps {self.steps}"

    def limit_threads(self, threads: int) -> None:
        """Choose how many threads of the CPU make a product, in all work of this backend.

        Raises
        ------
        ValueError
            If it is not a positive integer, or the library cannot be told.
        """
        raise ValueError(
            f"the {self.name} backend has no number of threads to choose; leave threads out "
            f"(numpy and torch on the CPU have one)"
        )

    def settle_threads(self, run: Callable[..., Any], rows: int, inner: int, columns: int) -> None:
        """Between training steps: take one thread where other work makes many slower than one, and
        many again where they are faster again.

        `run` is what takes the steps, as `repeat` has made it; `rows`, `inner` and `columns` are
        the sizes of the training's largest product. Nothing happens where the number has been
        chosen by hand, or the library has no such trouble.
        """

    @classmethod
    def devices_meant(cls, device: str | None) -> Sequence[str]:
        """The devices that are meant by a kind of them, such as `"cuda"`, or by None.

        Several processes on a machine have one each, and share them where there are fewer. Empty
        where all processes take the same, and where no device of the kind can be used.
        """
        return ()

    def device_sums(self, ranks: Ranks) -> DeviceSums | None:
        """What adds up arrays of all ranks where they are; None, on all, for sums on the host.

        All ranks call it, each with a backend of this class.
        """
        return None

    @classmethod
    def probe_device_sums(cls) -> dict[str, Status]:
        """Whether what `device_sums` takes can be used, by its name."""
        return {}

    def scope(self) -> AbstractContextManager[Any]:
        """The context in which all work of this backend is done."""
        return nullcontext()

    def product_threads(self) -> int | None:
        """How many threads of the CPU make a product now; None where that is not the library's way.

        Another number may change the last digits of a product.
        """
        return None

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that the memory of the device, or of the host, is used up."""
        return isinstance(error, MemoryError)

    def has_tf32(self) -> bool:
        """Whether the device can multiply in TF32, and the library be told to."""
        return False

    def device_name(self) -> str:
        """The device as a person would name it."""
        return str(self.device)

    def peak_memory(self) -> int | None:
        """Most bytes of device memory held so far; None where the device is the host."""
        return None

    def holds(self, x: Any) -> bool:
        """Whether `x` is an array of this library on this device."""
        return self.owns(x) and device_of(x) == self.device

    # -- what is the same for all ---------------------------------------------------------------

    @classmethod
    def probe_import(cls) -> Status:
        """Whether the library, whose module is called as the backend, can be imported."""
        found = cls.installed_version()
        if found is None:
            return Status(usable=False, reason=cls.not_installed())
        try:
            __import__(cls.name)
        except Exception as error:
            return Status(usable=False, version=found, reason=cls.import_failure(error))
        return Status(usable=True, version=found, device="cpu")

    @classmethod
    def import_failure(cls, error: BaseException) -> str:
        """The sentence for a library that cannot be imported, whatever it raised."""
        if cls.installed_version() is None:
            return cls.not_installed()
        reason = one_line(error) or type(error).__name__
        return f"{cls.distribution} is installed but cannot be imported: {reason}; reinstall it"

    @property
    def dtype(self) -> DType:
        return getattr(self.xp, self.dtype_name)

    @property
    def index_dtype(self) -> DType:
        """The library's dtype for indices and labels."""
        with self.scope():
            info = self.xp.__array_namespace_info__()
            return info.default_dtypes(device=self.device)["indexing"]

    @classmethod
    def installed_version(cls) -> str | None:
        """The version of the installed library, without importing it; None if there is none."""
        # Imported late: it is a tenth of the time that `import xpnet` may take.
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(cls.distribution)
        except PackageNotFoundError:
            return None

    @classmethod
    def not_installed(cls) -> str:
        """The sentence for a library that is not installed."""
        return f"{cls.distribution} is not installed: pip install 'xpnet[{cls.extra}]'"

    def __reduce__(self) -> tuple[Any, ...]:
        with self.scope():
            device = self.device_of(self.asarray(0.0))
        own = {name: getattr(self, name) for name in self.set_by_hand}
        return reopened, (
            type(self), device, self.dtype_name, self.tf32, self.threads, self.steps, own,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<{self.name} on {self.device_name()}, {self.dtype_name}>"


def reopened(
    kind: type[Backend],
    device: str | None,
    dtype: str,
    tf32: bool,
    threads: int | None,
    steps: str | None = None,
    own: Mapping[str, Any] | None = None,
) -> Backend:
    """A backend from a pickle: as it was opened there, or its `fallback` if that is not to be had.

    Parameters
    ----------
    kind
        Its class.
    device, dtype, tf32, threads, steps
        As `open_backend` takes them. TF32 is left out where the device has none.
    own
        What was set by hand, by the names of `set_by_hand`; of another backend it says nothing.
    """
    try:
        try:
            backend = kind(device, dtype, tf32)
        except ValueError:
            backend = kind(device, dtype)
    except BackendUnavailable as error:
        if kind.fallback is None:
            raise
        log_warning(
            "what was pickled on the %s backend, device %r, is now on %s: %s",
            kind.name, device, kind.fallback.name, error,
        )  # fmt: skip
        backend = kind.fallback(None, dtype)
        backend.reason = f"{kind.name} cannot be used: {error}"
        return backend
    if threads is not None:
        backend.limit_threads(threads)
    if steps is not None:
        backend.choose_steps(steps)
    for name, value in (own or {}).items():
        setattr(backend, name, value)
    return backend
