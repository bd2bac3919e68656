"""What xpnet asks of a namespace, found by watching it work on NumPy.

`record` runs the examples and a short training with arrays and a namespace that write down every
function and every operator with its first arguments of each kind. The list is therefore that of
what the code calls; nobody keeps it by hand.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from array_api_compat import numpy as numpy_namespace

from xpnet.backends.base import Backend, Status
from xpnet.backends.numpy import NumpyBackend
from xpnet.conformance import examples
from xpnet.data import load_digits
from xpnet.models import mlp
from xpnet.network import Network
from xpnet.training import fit
from xpnet.typing import Array, DType, HostArray

_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
IN_PLACE = frozenset(f"x {symbol}= y" for symbol in _BINARY.values())
"""The operators that are to write to their first argument."""

_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_UNARY = {"neg": "-x", "pos": "+x", "invert": "~x", "abs": "abs(x)"}


@dataclass(frozen=True)
class Request:
    """One thing that was asked of the namespace: a function or an operator with its arguments.

    Attributes
    ----------
    name
        `matmul`, or for an operator `x + y`, `x[...]`, `x.T`.
    asked
        The request with dtypes and shapes, as a person would write the call.
    run
        Repeats it with the namespace and the arguments of another library.
    arguments, options
        Positional and keyword arguments, arrays as NumPy arrays.
    result
        What NumPy answered.
    """

    name: str
    asked: str
    run: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any


class Device:
    """Stands for the device of an array, whatever that is in the library that the call is for."""


_DEVICE = Device()


class Recorder:
    """Keeps the first request of each kind: name, and dtype and number of axes of the arguments."""

    def __init__(self) -> None:
        self.requests: dict[tuple[Any, ...], Request] = {}
        self.dtypes: set[str] = set()

    def call(self, name: str, run: Callable[..., Any], arguments: Any, options: Any) -> Any:
        """Do what was asked with NumPy, and write it down if it is the first of its kind."""
        arguments, options = _plain(arguments), _plain(options)
        kind = (name, _kind(arguments), _kind(options))
        first = kind not in self.requests
        kept = _copied((arguments, options)) if first else None
        result = run(numpy_namespace, *_on_numpy(arguments), **_on_numpy(options))
        if kept is not None:
            asked = _asked(name, *kept)
            self.requests[kind] = Request(name, asked, run, kept[0], kept[1], _copied(result))
        return _recorded(self, result)


class RecordedArray:
    """A NumPy array that tells a recorder what is done with it."""

    def __init__(self, recorder: Recorder, value: HostArray) -> None:
        self._recorder = recorder
        self.value = value

    dtype = property(lambda self: self.value.dtype)
    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    device = property(lambda self: _DEVICE)
    __hash__ = None  # type: ignore[assignment]

    def _host_read(self, *arguments: Any, **options: Any) -> Any:  # only `to_numpy` may
        raise TypeError("an array was read on the host, which would make a device wait")

    __bool__ = __float__ = __int__ = __index__ = __len__ = __iter__ = _host_read
    __array__ = item = tolist = _host_read

    @property
    def T(self) -> "RecordedArray":  # noqa: N802 - the standard's name
        result: RecordedArray = self._recorder.call("x.T", lambda xp, x: x.T, (self,), {})
        return result

    def __getitem__(self, key: Any) -> Any:
        if getattr(getattr(key, "dtype", None), "kind", "") == "b":
            self._host_read()  # the number of true elements would have to be known
        return self._recorder.call("x[...]", lambda xp, x, key: x[key], (self, key), {})


def _operator(name: str, symbol: str, *, reflected: bool = False) -> Callable[..., Any]:
    def method(self: RecordedArray, other: Any) -> Any:
        pair = (other, self) if reflected else (self, other)
        return self._recorder.call(f"x {symbol} y", run, pair, {})

    def run(xp: Any, x: Any, y: Any) -> Any:
        return _OPERATORS[name](x, y)

    return method


def _in_place(name: str, symbol: str) -> Callable[..., Any]:
    def run(xp: Any, x: Any, y: Any) -> Any:
        return _OPERATORS[f"i{name}"](x, y)

    def method(self: RecordedArray, other: Any) -> Any:
        return self._recorder.call(f"x {symbol}= y", run, (self, other), {})

    return method


def _unary(name: str, symbol: str) -> Callable[..., Any]:
    def method(self: RecordedArray) -> Any:
        return self._recorder.call(symbol, lambda xp, x: _OPERATORS[name](x), (self,), {})

    return method


def _operators() -> dict[str, Callable[..., Any]]:
    names = [*_BINARY, *_COMPARISONS, *_UNARY, *(f"i{name}" for name in _BINARY)]
    trailing = {"and", "or"}  # operator.and_, operator.or_
    return {n: getattr(operator, f"{n}_" if n in trailing else n) for n in names}


_OPERATORS = _operators()
for _name, _symbol in _BINARY.items():
    setattr(RecordedArray, f"__{_name}__", _operator(_name, _symbol))
    setattr(RecordedArray, f"__r{_name}__", _operator(_name, _symbol, reflected=True))
    setattr(RecordedArray, f"__i{_name}__", _in_place(_name, _symbol))
for _name, _symbol in _COMPARISONS.items():
    setattr(RecordedArray, f"__{_name}__", _operator(_name, _symbol))
for _name, _symbol in _UNARY.items():
    setattr(RecordedArray, f"__{_name}__", _unary(_name, _symbol))


class RecordingNamespace:
    """NumPy's namespace, telling a recorder which functions are called."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        value = getattr(numpy_namespace, name)
        if is_dtype(value):
            self._recorder.dtypes.add(name)
        if isinstance(value, type) or not callable(value):
            return value

        def run(xp: Any, *arguments: Any, **options: Any) -> Any:
            return getattr(xp, name)(*arguments, **options)

        def function(*arguments: Any, **options: Any) -> Any:
            return self._recorder.call(name, run, arguments, options)

        return function


class RecordingBackend(NumpyBackend):
    """The NumPy backend, with arrays and a namespace that are watched."""

    name = "recording"
    repeat = Backend.repeat  # steps as they are written

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        super().__init__(None, "float64")
        self.xp = RecordingNamespace(recorder)

    @classmethod
    def probe(cls) -> Status:
        return Status(usable=True)

    @classmethod
    def owns(cls, x: Any) -> bool:
        return isinstance(x, RecordedArray)

    def holds(self, x: Any) -> bool:
        return self.owns(x)

    def asarray(self, x: Any, dtype: DType = None, *, copy: bool | None = None) -> Array:
        x = x.value if isinstance(x, RecordedArray) else x
        return RecordedArray(self._recorder, np.array(x, dtype=dtype))

    def to_numpy(self, x: Array) -> HostArray:
        return np.asarray(x.value if isinstance(x, RecordedArray) else x)

    @property
    def index_dtype(self) -> DType:
        return self.xp.int64


@cache
def _watch() -> Recorder:
    """Run everything once, watched."""
    recorder = Recorder()
    backend = RecordingBackend(recorder)
    # First, since the first call of each kind is the one that is kept.
    examples.run_edges(backend)
    for example in examples.LAYER_EXAMPLES:
        examples.run_layer(backend, example)
    for case in examples.LOSS_EXAMPLES:
        examples.run_loss(backend, case)
    for optimizer in examples.OPTIMIZER_EXAMPLES.values():
        examples.run_optimizer(backend, optimizer)
    examples.run_metrics(backend)
    run_training(backend)
    # Floating-point samples, and labels that live there already, are checked there.
    x, y = backend.asarray(np.eye(2)), backend.asarray(np.arange(2))
    fit(mlp(2, 2), (x, y), epochs=1, optimizer=examples.SCHEDULED, backend=backend)
    return recorder


def record() -> tuple[Request, ...]:
    """Everything that xpnet asks of a namespace: functions, then operators."""
    requests = _watch().requests.values()
    return tuple(sorted(requests, key=lambda one: (not one.name.isidentifier(), one.asked)))


def run_training(backend: Any) -> Network:
    """Three epochs of a small network with dropout on 60 digits, with an evaluation after each."""
    data = load_digits().limited(60)
    return fit(mlp(64, 16, 10, dropout=0.2), data, epochs=3, batch_size=25, backend=backend)


def needed_functions() -> list[str]:
    """The names of the namespace's functions that xpnet calls; `asarray` brings data there."""
    return sorted({"asarray", *(one.name for one in record() if one.name.isidentifier())})


def needed_dtypes() -> list[str]:
    """The names of the data types that xpnet uses; samples may be of others."""
    return sorted({*_watch().dtypes, "bool", "float32", "float64", "uint8"})


def needed_operators() -> list[str]:
    """The operators, indexing and attributes of arrays that xpnet uses."""
    return sorted({one.name for one in record() if not one.name.isidentifier()})


# -- arguments: taken apart, copied, described, and given to another library ----------------------


def map_values(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to everything inside tuples, lists and dictionaries."""
    if isinstance(value, tuple | list):
        return type(value)(map_values(function, item) for item in value)
    if isinstance(value, dict):
        return {key: map_values(function, item) for key, item in value.items()}
    return function(value)


def _plain(value: Any) -> Any:
    return map_values(lambda v: v.value if isinstance(v, RecordedArray) else v, value)


def _copied(value: Any) -> Any:
    return map_values(lambda v: v.copy() if isinstance(v, np.ndarray | np.generic) else v, value)


def _on_numpy(value: Any) -> Any:
    return map_values(lambda v: None if isinstance(v, Device) else v, value)


def _recorded(recorder: Recorder, value: Any) -> Any:
    def wrap(v: Any) -> Any:
        if isinstance(v, np.ndarray | np.generic):
            return RecordedArray(recorder, np.asarray(v))
        return v

    return map_values(wrap, value)


def is_dtype(value: Any) -> bool:
    """Whether an argument is a data type of NumPy."""
    return isinstance(value, np.dtype) or (
        isinstance(value, type) and issubclass(value, np.generic)
    )


def _kind(value: Any) -> Any:
    """What tells calls of the same name apart; hashable."""
    if isinstance(value, dict):
        return tuple((key, _kind(item)) for key, item in value.items())
    if isinstance(value, tuple | list):
        return tuple(map(_kind, value))
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.name, value.ndim
    if is_dtype(value):
        return np.dtype(value).name
    if isinstance(value, slice):
        return "slice"
    if isinstance(value, str | bool | None | type(...)):
        return value
    return type(value).__name__


def _asked(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """The call as a person would write it."""

    def text(value: Any) -> str:
        if isinstance(value, np.ndarray | np.generic):
            return f"{value.dtype.name}[{', '.join(map(str, value.shape))}]"
        if isinstance(value, tuple | list):
            return "(" + ", ".join(map(text, value)) + ")"
        if isinstance(value, slice):
            return f"{'' if value.start is None else value.start}:" + (
                "" if value.stop is None else str(value.stop)
            )
        if value is ...:
            return "..."
        if isinstance(value, Device):
            return "device"
        return np.dtype(value).name if is_dtype(value) else repr(value)

    if name.isidentifier():
        parts = [text(a) for a in arguments] + [f"{k}={text(v)}" for k, v in options.items()]
        return f"{name}({', '.join(parts)})"
    x, *rest = map(text, arguments)
    if name == "x[...]":
        return f"{x}[{rest[0].strip('()')}]"
    return name.replace("x", x, 1).replace(" y", f" {rest[0]}" if rest else "")
