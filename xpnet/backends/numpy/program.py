"""Recorded calls of NumPy, of which those that are loops over elements are fused, and become C.

The arithmetic is the same to the last bit; gone is what each call costs, and the way through memory
between two that follow each other. Products are made by NumPy's own BLAS. What is left, such as
exponentials and sums, stay calls of NumPy.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from numpy.lib.array_utils import byte_bounds

from xpnet.backends.numpy.calls import Bound, Call
from xpnet.backends.numpy.compiler import LIBRARIES, compiled
from xpnet.backends.numpy.liveness import Memory
from xpnet.backends.numpy.loops import FusedLoop, Span, Statement, may_alias, statement_of
from xpnet.backends.numpy.products import Product, product_of
from xpnet.backends.numpy.source import HEAD, Arguments, write_function
from xpnet.typing import HostArray

Part: TypeAlias = Call | list[FusedLoop | Product]
"""A call of NumPy, or what one function of C does."""


class Program:
    """Calls as C, and what is left of them.

    It must live as long as they are called: C has arrays by their address alone.

    Parameters
    ----------
    calls
        What is called, in this order, again and again.
    live
        Arrays that are live from one round to the next: all that is read between them. What else
        a round begins with is found from the calls.

    Attributes
    ----------
    source
        The C source.
    touched
        What is read or written, one after the other. What loops make and read themselves alone
        is not: it needs no memory.
    addresses
        What its functions read and write, and call, by names.
    places
        The same where it is, once that is done.
    table
        The same as they find it.
    compiler
        What has compiled it, once that is done.
    """

    def __init__(self, calls: Sequence[Call], live: Iterable[HostArray]) -> None:
        arguments = Arguments()
        self._parts = _parts_of(calls)
        live_memory = _live_memory(self._parts, live)
        self.touched = [_touched(one, live_memory) for one in _one_by_one(self._parts)]
        functions = {
            f"f{number}": write_function(f"f{number}", part, arguments, live_memory)
            for number, part in enumerate(self._parts)
            if isinstance(part, list)
        }
        self.source = "\n".join([HEAD, *functions.values()])
        self.compiler = ""
        self._names = list(functions)
        self.addresses, self._memory = arguments.addresses, arguments.memory

    def is_compiled(self) -> bool:
        """Whether this source has been compiled before, so that it takes no time."""
        return self.source in LIBRARIES

    def compile(self, place: Callable[[], Memory]) -> list[Call | Bound]:
        """The calls to make in the place of those before: of C, and those that are left.

        Parameters
        ----------
        place
            Gives where names are, which is asked once there is a library.

        Raises
        ------
        CannotCompile
            If the source cannot be compiled here; `NotNow` if it may be later.
        """
        # Held: a library is unloaded when nobody does.
        self._library = library = compiled(self.source, self._names, self._memory)
        self.compiler = library.compiler
        # Held too: C has its arrays by their address alone.
        self._placed = memory = place()
        self.places = [memory.moved_address(address) for address in self.addresses]
        self.table = table = (ctypes.c_void_p * len(self.places))(*self.places)
        calls: list[Call | Bound] = []
        for number, part in enumerate(self._parts):
            if isinstance(part, list):
                function = library[f"f{number}"]
                function.restype = None
                calls.append(partial(function, table))
            else:
                calls.append(part.moved(memory.moved))
        return calls


def _parts_of(calls: Iterable[Call]) -> list[Part]:
    """Calls that stay, and between them what C does."""
    parts: list[Part] = []
    for call in calls:
        statement = statement_of(call)
        found = product_of(call) if statement is None else statement
        if found is None:
            parts.append(call)
            continue
        if not parts or not isinstance(parts[-1], list):
            parts.append([])
        part: Any = parts[-1]
        if isinstance(found, Statement):
            _fuse(found, part)
        else:
            part.append(found)
    return parts


def _fuse(statement: Statement, part: list[FusedLoop | Product]) -> None:
    """Fuse a statement with the last loop that it can be, or give it one of its own."""
    for one in reversed(part):
        if isinstance(one, Product):
            break
        if one.can_fuse(statement):
            one.add(statement)
            return
        if not one.commutes_with(statement):
            break
    part.append(FusedLoop(statement))


def _live_memory(parts: Iterable[Part], live: Iterable[HostArray]) -> set[Span]:
    """The memory that is read by somebody else than the loop which has just written it."""
    arrays = [*live, *(array for one in _one_by_one(parts) for array in one.arrays)]
    return {byte_bounds(array) for array in arrays}


def _one_by_one(parts: Iterable[Part]) -> Iterator[Call | FusedLoop | Product]:
    for part in parts:
        yield from part if isinstance(part, list) else [part]


def _touched(one: Call | FusedLoop | Product, live: set[Span]) -> list[HostArray]:
    """What is read or written; a loop does not write what nobody else reads."""
    if not isinstance(one, FusedLoop):
        return one.arrays
    targets = [statement.target for statement in one.statements]
    return [*one.arrays, *(x.array for x in targets if may_alias(live, x.spans))]
