"""A recorded call of NumPy as a value: what is called, what it reads, and where it writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

from xpnet.typing import HostArray

Bound: TypeAlias = Callable[[], Any]
"""A call that is ready to be made, without arguments."""

CallOf: TypeAlias = Callable[[Sequence[HostArray]], Bound]
"""A call that reads arrays which are still to be given."""


class Refused(Exception):  # noqa: N818 - not an error: the step is taken in another way
    """Something that cannot be recorded; the message says what."""


class Kind(Enum):
    """What a call does with its inputs."""

    ELEMENTWISE = "elementwise"
    """A ufunc of the inputs."""
    REDUCE = "reduce"
    """A ufunc along axes of the one input."""
    COPY = "copy"
    """The one input as it is, or in another dtype (`casting`)."""
    WHERE = "where"
    """The first input where the second one is true; the output stays as it is elsewhere."""
    TAKE = "take"
    """Rows of the first input by the indices in the second one (`axis`, `mode`)."""
    CONCATENATE = "concatenate"
    """The inputs one after the other (`axis`)."""
    ARGMAX = "argmax"
    """Where along an `axis` the largest values of the one input are."""
    DOT = "dot"
    """The product of two inputs."""
    BLAS = "blas"
    """A function of BLAS, which has arrays by address: `function` gives it and its arguments, for
    the inputs and the output."""


@dataclass(frozen=True, eq=False)
class Call:
    """A call that a step makes again and again, on the same arrays.

    Attributes
    ----------
    kind
        What it does, from which follows how it is called.
    function
        The function: a ufunc, one of NumPy's, or one of C.
    inputs
        What is read: arrays, and numbers.
    output
        What is written to.
    options
        All else that the function is given, by name.
    """

    kind: Kind
    function: Any
    inputs: tuple[Any, ...]
    output: HostArray
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arrays(self) -> list[HostArray]:
        """All arrays that are read or written."""
        return [x for x in (*self.inputs, self.output) if isinstance(x, np.ndarray)]

    def moved(self, where: Callable[[HostArray], HostArray]) -> "Call":
        """The same call of other arrays."""
        inputs = tuple(where(x) if isinstance(x, np.ndarray) else x for x in self.inputs)
        return Call(self.kind, self.function, inputs, where(self.output), self.options)

    def of_inputs(self, arrays: Sequence[HostArray]) -> "CallOf | None":
        """The call as a function of others in the place of these C-ordered arrays; None where it
        reads none of them."""
        makers = [_maker(x, arrays) for x in self.inputs]
        if all(maker is None for maker in makers):
            return None
        if self.kind is Kind.BLAS:
            raise ValueError("a function of BLAS has what it reads by its address")

        def bound(given: Sequence[HostArray]) -> Bound:
            inputs = [
                x if maker is None else maker(given)
                for x, maker in zip(self.inputs, makers, strict=True)
            ]
            return Call(self.kind, self.function, tuple(inputs), self.output, self.options).bound()

        return bound

    def bound(self) -> Bound:
        """The call, ready to be made with as little around it as can be.

        It must not outlive this one, which holds the arrays that C has by their address.
        """
        return _BINDINGS[self.kind](self)


def _maker(
    x: Any, arrays: Sequence[HostArray]
) -> Callable[[Sequence[HostArray]], HostArray] | None:
    """What makes an operand of other arrays than the one whose memory it has; None if it has none
    of theirs."""
    for which, mine in enumerate(arrays):
        if not isinstance(x, np.ndarray) or not np.may_share_memory(x, mine):
            continue
        offset = start_of(x) - start_of(mine)
        if (offset, x.shape, x.dtype, x.strides) == (0, mine.shape, mine.dtype, mine.strides):
            return itemgetter(which)
        return _view_maker(which, x.shape, x.dtype, offset, x.strides)
    return None


def _view_maker(which: int, *layout: Any) -> Callable[[Sequence[HostArray]], HostArray]:
    shape, dtype, offset, strides = layout
    return lambda given: np.ndarray(shape, dtype, given[which], offset, strides)


def start_of(x: HostArray) -> int:
    """The address of the first element of an array."""
    address: int = x.__array_interface__["data"][0]
    return address


def _elementwise(call: Call) -> Bound:
    return partial(call.function, *call.inputs, out=call.output, **call.options)


def _reduce(call: Call) -> Bound:
    return partial(call.function.reduce, *call.inputs, out=call.output, **call.options)


def _copy(call: Call) -> Bound:
    # By position: a keyword takes longer.
    return partial(np.copyto, call.output, *call.inputs, *call.options.values())


def _where(call: Call) -> Bound:
    source, mask = call.inputs
    return partial(np.copyto, call.output, source, where=mask)


def _take(call: Call) -> Bound:
    source, rows = call.inputs
    return partial(source.take, rows, call.options["axis"], call.output, call.options["mode"])


def _argmax(call: Call) -> Bound:
    return partial(call.inputs[0].argmax, call.options["axis"], call.output)


def _concatenate(call: Call) -> Bound:
    return partial(np.concatenate, call.inputs, call.options["axis"], call.output)


def _dot(call: Call) -> Bound:
    return partial(np.dot, *call.inputs, call.output)


def _blas(call: Call) -> Bound:
    function, arguments = call.function(*call.inputs, call.output)
    return partial(function, *arguments)


_BINDINGS: dict[Kind, Callable[[Call], Bound]] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.REDUCE: _reduce,
    Kind.COPY: _copy,
    Kind.WHERE: _where,
    Kind.TAKE: _take,
    Kind.CONCATENATE: _concatenate,
    Kind.ARGMAX: _argmax,
    Kind.DOT: _dot,
    Kind.BLAS: _blas,
}
