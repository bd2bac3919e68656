"""Tracers: NumPy arrays that record what is computed with them, so that it can be computed again.

What is recorded is a list of calls, each with the arrays that it reads and the array that it
writes. What a call has made stands there by a name (`liveness`), and lives no longer than in any
step. Views need no call: they are views of memory that is written. Whatever these arrays cannot
follow they refuse, with `Refused`; it is never wrong to refuse.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any
from weakref import ref

import numpy as np

from xpnet.backends.numpy.calls import Call, Kind, Refused
from xpnet.backends.numpy.liveness import Names, owner_of, view_of
from xpnet.typing import HostArray


class Recording:
    """The calls of one step, in order.

    Attributes
    ----------
    calls
        What was called so far.
    names
        What stands in these calls for the arrays that they make.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.names = Names()
        self._inputs: dict[int, HostArray] = {}
        self._in_range: set[int] = set()
        # By the `id` of the array that has the memory: the name of what lives, and constants.
        self._named: dict[int, tuple[Any, HostArray]] = {}
        self._constants: dict[int, HostArray] = {}
        self._numbers: dict[Hashable, HostArray] = {}

    def input(self, x: HostArray, *, in_range: bool = False) -> "Tracer":
        """An array whose values may be others at the next replay; its memory stays the same.

        `in_range` says that it holds indices which have been checked to be in range.
        """
        owner = owner_of(x)
        self._inputs[id(owner)] = owner
        if in_range:
            self._in_range.add(id(owner))
        return self.traced(x)

    def traced(self, x: HostArray) -> "Tracer":
        """An array as one whose use is recorded."""
        recorded = x.view(Tracer)
        recorded.recording = self
        return recorded

    def close(self) -> None:
        """Let go of everything but the names."""
        self.calls = []
        self._inputs, self._constants, self._numbers = {}, {}, {}
        self._named, self._in_range = {}, set()

    def are_in_range(self, indices: Any) -> bool:
        """Whether indices are an input that has been checked."""
        return isinstance(indices, Tracer) and id(owner_of(indices)) in self._in_range

    def gather(self, x: HostArray, indices: HostArray) -> "Tracer":
        """Rows by indices that are kept in range, of which either may be a constant."""
        traced = [a if isinstance(a, Tracer) else self.input(a) for a in (x, indices)]
        source, rows = map(self.read, traced)
        return self.taken(source, rows, axis=0, mode="clip")

    def taken(self, source: HostArray, indices: Any, *, axis: Any, mode: str) -> "Tracer":
        """What is at these indices, which are looked at or, where they are in range, clipped: to
        look makes a copy first, and counts negative ones back."""
        result = self.made(source.take(indices, axis))
        target = result.view(np.ndarray)
        self.add(Kind.TAKE, np.take, (source, indices), target, axis=axis, mode=mode)
        return result

    def knows(self, x: HostArray) -> bool:
        """Whether the values of an array are those of an input, or are made by a recorded call."""
        owner = id(owner_of(x))
        return owner in self._inputs or owner in self._named

    def named(self, x: HostArray) -> HostArray:
        """What stands for an array in calls: a view of a name, if calls have made it."""
        owner = owner_of(x)
        if id(owner) not in self._named:
            return x
        _, name = self._named[id(owner)]
        return view_of(x, owner, name)

    def add(
        self, kind: Kind, function: Any, inputs: Sequence[Any], output: HostArray, **options: Any
    ) -> None:
        """Write down a call, of arrays as `read` and `write` gave them."""
        for x in inputs:
            if isinstance(x, np.ndarray) and not self.knows(x):
                self._constants[id(owner_of(x))] = owner_of(x)
        call = Call(kind, function, tuple(inputs), output, options)
        self.calls.append(call.moved(self.named))

    def call_blas(self, function: Any, *, inputs: tuple[HostArray, ...], output: HostArray) -> None:
        """Make, and write down, a call of C, which `function` gives for the arrays."""
        read, target = [self.read(x) for x in inputs], self.write(output)
        self.add(Kind.BLAS, function, read, target)
        blas, arguments = function(*read, target)
        blas(*arguments)

    def finish(self, moves: list[tuple[HostArray, HostArray]]) -> list[Call]:
        """All calls: what was recorded, and then `moves`.

        Each move is of a value (the second) to where the next replay will look for it. What lies
        there already stays.
        """
        moved = [(to, value) for to, value in moves if not _same_memory(to, value)]
        targets = {id(owner_of(to)) for to, _ in moves}
        last = []
        for to, value in moved:
            source = self.named(value)
            if id(owner_of(value)) in targets:  # exchanged: it may be overwritten before it is read
                source = np.ndarray(value.shape, value.dtype, self.names.new(value.nbytes))
                self.calls.append(_copying(value, source))
            last.append(_copying(source, to))
        return [*self.calls, *last]

    def read(self, x: Any) -> Any:
        """What a call is given for an operand."""
        if isinstance(x, Tracer):
            if not self.knows(x):
                raise Refused("an array was made in a way that is not recorded")
            return x.view(np.ndarray)
        return x

    def write(self, x: HostArray) -> HostArray:
        """What a call is given to write to."""
        if not self.knows(x):
            if isinstance(x, Tracer):
                raise Refused("an array was made in a way that is not recorded")
            # A constant, such as zeros to add to: each replay must begin with its first values.
            owner = owner_of(x)
            if id(owner) in self._constants:
                raise Refused("an array is written to that was read before")
            first = _first_values(owner)
            self._name(owner)
            self.add(Kind.COPY, np.copyto, (first,), owner)
        return x.view(np.ndarray)

    def _name(self, owner: HostArray) -> None:
        """Give an array a name, for as long as it lives."""
        key, named = id(owner), self._named
        gone = ref(owner, lambda _: named.pop(key, None))
        named[key] = gone, self.names.new(owner.nbytes)

    def made(self, value: Any) -> "Tracer":
        """The result of a call as an array that is written to again."""
        if isinstance(value, tuple):
            raise Refused("a function gives several arrays")
        array = np.asarray(value)  # a function of arrays without axes gives a scalar
        self._name(owner_of(array))
        return self.traced(array)

    def number(self, number: float, dtype: np.dtype[Any]) -> HostArray:
        """A number as an array, which a ufunc takes in less time; the result is the same."""
        key = (number, math.copysign(1, number), dtype)
        if key not in self._numbers:
            self._numbers[key] = np.asarray(number, dtype)
        return self._numbers[key]


class Tracer(np.ndarray):
    """An array whose use is recorded, in its `recording`."""

    recording: Recording

    def __array_finalize__(self, source: Any) -> None:
        # A view of a tracer, or the result of something with it.
        if isinstance(source, Tracer):
            self.recording = source.recording

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any
    ) -> Any:
        arrays = [x for x in (*inputs, *(out or ())) if isinstance(x, Tracer)]
        recording = arrays[0].recording
        if method not in ("__call__", "reduce") or options.pop("where", True) is not True:
            raise Refused(f"{ufunc.__name__}.{method}, or a ufunc with where")
        operands = [recording.read(x) for x in inputs]
        if method == "__call__":
            operands = _numbers_as_arrays(recording, operands)
        function: Any = ufunc if method == "__call__" else ufunc.reduce
        if out is None:
            result = recording.made(function(*operands, **options))
            target = result.view(np.ndarray)
        else:
            target = recording.write(out[0])
            function(*operands, out=target, **options)
            # `y += x` binds this: an array that was none of ours, and is now written to by us.
            result = recording.traced(out[0])
        kind = Kind.ELEMENTWISE if method == "__call__" else Kind.REDUCE
        recording.add(kind, ufunc, operands, target, **options)
        return result

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function in _OWN:
            return _OWN[function](self.recording, *args, **options)
        if function not in _MADE_OF_OTHERS:
            raise Refused(f"numpy.{function.__name__}")
        # These are written in Python, with methods and ufuncs that come here again.
        return super().__array_function__(function, types, args, options)

    # -- methods that compute without a ufunc ---------------------------------------------------

    def take(self, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
        if out is not None or mode != "raise":
            raise Refused("take with out or mode")
        recording = self.recording
        mode = "clip" if recording.are_in_range(indices) else "raise"
        return recording.taken(recording.read(self), recording.read(indices), axis=axis, mode=mode)

    def argmax(self, axis: Any = None, out: Any = None, **options: Any) -> Any:
        if out is not None or options:
            raise Refused("argmax with out or keepdims")
        source = self.recording.read(self)
        result = self.recording.made(source.argmax(axis))
        self.recording.add(Kind.ARGMAX, np.argmax, (source,), result.view(np.ndarray), axis=axis)
        return result

    def astype(  # type: ignore[override]
        self, dtype: Any, *args: Any, copy: bool = True, **options: Any
    ) -> Any:
        if args or options:
            raise Refused("astype with order, casting or subok")
        source = self.recording.read(self)
        if not copy and source.dtype == dtype:
            return self
        return _copy_of(self.recording, source, source.astype(dtype))

    def copy(self, *args: Any, **options: Any) -> Any:
        source = self.recording.read(self)
        return _copy_of(self.recording, source, source.copy(*args, **options))

    def reshape(self, *shape: Any, **options: Any) -> Any:
        source = self.recording.read(self)
        reshaped = source.reshape(*shape, **options)
        if owner_of(reshaped) is owner_of(source):
            return super().reshape(*shape, **options)
        # What cannot be a view is a copy, in whose memory the old shape is a view.
        result = self.recording.made(reshaped)
        memory = result.view(np.ndarray).reshape(source.shape)
        self.recording.add(Kind.COPY, np.copyto, (source,), memory)
        return result

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if not isinstance(part, Tracer) or not self.recording.knows(part):
            raise Refused("indexing that makes no view")
        return part

    def __setitem__(self, key: Any, value: Any) -> None:
        raise Refused("assignment to elements")


def _refuse(name: str) -> Callable[..., Any]:
    def method(self: Tracer, *args: Any, **options: Any) -> Any:
        raise Refused(f"the method {name} of an array")

    return method


_REFUSED = """
    __bool__ __complex__ __float__ __index__ __int__ argmin argpartition argsort byteswap
    choose clip compress conj conjugate diagonal dot fill flatten item nonzero partition put ravel
    repeat resize round searchsorted setfield sort tobytes tolist trace
"""
for _name in _REFUSED.split():
    setattr(Tracer, _name, _refuse(_name))


def _same_memory(a: HostArray, b: HostArray) -> bool:
    return bool(
        a.__array_interface__["data"] == b.__array_interface__["data"]
        and a.strides == b.strides
        and a.dtype == b.dtype
    )


def _numbers_as_arrays(recording: Recording, operands: list[Any]) -> list[Any]:
    """Python's numbers beside one floating-point array, as arrays of its dtype."""
    floats = {x.dtype for x in operands if isinstance(x, np.ndarray) and x.dtype.kind == "f"}
    if len(floats) != 1:
        return operands
    (dtype,) = floats
    return [recording.number(x, dtype) if type(x) in (int, float) else x for x in operands]


def _first_values(x: HostArray) -> HostArray:
    """The values of an array, now: one, where they are all the same."""
    first = x[(slice(1),) * x.ndim]
    return first.copy() if x.tobytes() == first.tobytes() * x.size else x.copy()


def _copying(source: HostArray, output: HostArray) -> Call:
    return Call(Kind.COPY, np.copyto, (source,), output)


def _copy_of(recording: Recording, source: HostArray, copy: HostArray) -> Tracer:
    result = recording.made(copy)
    target = result.view(np.ndarray)
    recording.add(Kind.COPY, np.copyto, (source,), target, casting="unsafe")
    return result


def _concatenate(recording: Recording, arrays: Any, axis: int = 0) -> Tracer:
    parts = [recording.read(x) for x in arrays]
    result = recording.made(np.concatenate(parts, axis))
    target = result.view(np.ndarray)
    recording.add(Kind.CONCATENATE, np.concatenate, parts, target, axis=axis)
    return result


def _dot(recording: Recording, left: Any, right: Any) -> Tracer:
    left, right = recording.read(left), recording.read(right)
    result = recording.made(np.dot(left, right))
    recording.add(Kind.DOT, np.dot, (left, right), result.view(np.ndarray))
    return result


def _where(recording: Recording, condition: Any, x: Any, y: Any) -> Tracer:
    condition, x, y = (recording.read(value) for value in (condition, x, y))
    result = recording.made(np.where(condition, x, y))
    target = result.view(np.ndarray)
    recording.add(Kind.COPY, np.copyto, (y,), target)
    recording.add(Kind.WHERE, np.copyto, (x, condition), target)
    return result


def _like(make: Callable[..., HostArray]) -> Callable[..., HostArray]:
    def function(recording: Recording, x: Any, *args: Any, **options: Any) -> HostArray:
        if any(isinstance(value, Tracer) for value in (*args, *options.values())):
            raise Refused(f"numpy.{make.__name__} of an array")
        return make(recording.read(x), *args, subok=False, **options)

    return function


_OWN: dict[Any, Callable[..., Any]] = {
    np.concatenate: _concatenate,
    np.dot: _dot,
    np.where: _where,
    np.zeros_like: _like(np.zeros_like),
    np.ones_like: _like(np.ones_like),
    np.full_like: _like(np.full_like),
}

_MADE_OF_OTHERS = {
    np.take, np.reshape, np.sum, np.prod, np.max, np.min, np.mean, np.any, np.all,
    np.argmax, np.expand_dims, np.squeeze, np.swapaxes, np.transpose, np.broadcast_to, np.moveaxis,
    np.matrix_transpose, np.flip,
}  # fmt: skip
