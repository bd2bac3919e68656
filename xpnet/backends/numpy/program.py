"""Recorded calls of NumPy, of which those that are loops over elements are fused, and become C.

The arithmetic is the same to the last bit; gone is what each call costs, and the way through memory
between two that follow each other. Products are made by NumPy's own BLAS. What is left, such as
exponentials and sums, stay calls of NumPy.
"""

import ctypes
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from numpy.lib.array_utils import byte_bounds

from xpnet.backends.numpy.calls import Bound, Call
from xpnet.backends.numpy.compiler import LIBRARIES, compiled
from xpnet.backends.numpy.loops import FusedLoop, Span, Statement, statement_of
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
    addresses
        What its functions read and write, and call.
    table
        The same as they find it, once that is done.
    compiler
        What has compiled it, once that is done.
    """

    def __init__(self, calls: Sequence[Call], live: Iterable[HostArray]) -> None:
        arguments = Arguments()
        self._parts = _parts_of(calls)
        live_memory = _live_memory(self._parts, live)
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

    def compile(self) -> list[Call | Bound]:
        """The calls to make in the place of those before: of C, and those that are left.

        Raises
        ------
        CannotCompile
            If the source cannot be compiled here; `NotNow` if it may be later.
        """
        # Held: a library is unloaded when nobody does.
        self._library = library = compiled(self.source, self._names, self._memory)
        self.compiler = library.compiler
        self.table = table = (ctypes.c_void_p * len(self.addresses))(*self.addresses)
        calls: list[Call | Bound] = []
        for number, part in enumerate(self._parts):
            if isinstance(part, list):
                function = library[f"f{number}"]
                function.restype = None
                calls.append(partial(function, table))
            else:
                calls.append(part)
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
    arrays = list(live)
    for part in parts:
        for one in part if isinstance(part, list) else [part]:
            arrays += one.arrays
    return {byte_bounds(array) for array in arrays}
