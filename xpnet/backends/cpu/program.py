"""Recorded calls of NumPy made fewer: those that are loops over elements become functions of C.

The arithmetic is the same to the last bit; gone is what each call costs, and the way through memory
between two that follow each other. What is no such loop, and the products, stay NumPy's calls.
"""

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from xpnet.backends.cpu.compiler import compiled
from xpnet.backends.cpu.loops import Nest, Statement, nests_of, statement_of
from xpnet.backends.cpu.recording import Call
from xpnet.backends.cpu.source import HEAD, Arguments, write_function
from xpnet.typing import HostArray


class Program:
    """Calls as C, and what is left of them.

    Parameters
    ----------
    calls
        What is called, in this order, again and again.
    seen
        Arrays that somebody looks at between one round and the next, or that calls have by their
        address alone. What others hold is of interest to the calls only.

    Attributes
    ----------
    source
        The C source.
    arrays
        What the functions have by their address alone: it must live as long as the calls.
    """

    def __init__(self, calls: Sequence[Call], seen: Iterable[HostArray]) -> None:
        arguments = Arguments()
        self._parts: list[Call | list[Nest]] = []
        found = [(call, statement_of(call)) for call in calls]
        for is_loop, group in groupby(found, lambda pair: pair[1] is not None):
            if is_loop:
                self._parts.append(nests_of(s for _, s in group if s is not None))
            else:
                self._parts += [call for call, _ in group]
        looks = _Looks(self._parts, seen)
        functions = [
            write_function(f"f{number}", part, arguments, looks.need)
            for number, part in enumerate(self._parts)
            if isinstance(part, list)
        ]
        self.source = "\n".join([HEAD, *functions])
        self.arrays = arguments.arrays

    def compile(self) -> list[Call]:
        """The calls to make in the place of those before.

        Raises
        ------
        CannotCompile
            If the source cannot be compiled here.
        """
        library = compiled(self.source)
        addresses = [x.__array_interface__["data"][0] for x in self.arrays]
        table = (ctypes.c_void_p * len(addresses))(*addresses)
        calls: list[Call] = []
        for number, part in enumerate(self._parts):
            if isinstance(part, list):
                function = getattr(library, f"f{number}")
                function.restype = None
                calls.append(partial(function, table))
            else:
                calls.append(part)
        return calls


class _Looks:
    """Who looks at which memory."""

    def __init__(self, parts: Iterable[Call | list[Nest]], seen: Iterable[HostArray]) -> None:
        self._lookers: dict[tuple[int, int], set[int]] = {}
        for array in seen:
            self._note(array, 0)
        for part in parts:
            if not isinstance(part, list):
                for array in _arrays_in(part):
                    self._note(array, 0)
                continue
            for nest in part:
                for x in (x for s in nest.statements for x in s.reads):
                    for array in x.arrays:
                        self._note(array, id(nest))

    def _note(self, array: HostArray, who: int) -> None:
        self._lookers.setdefault(byte_bounds(array), set()).add(who)

    def need(self, nest: Nest, statement: Statement) -> bool:
        """Whether anybody but the loop itself looks at what a statement of it writes."""
        low, high = byte_bounds(statement.target.array)
        return any(
            begin < high and low < end and who != {id(nest)}
            for (begin, end), who in self._lookers.items()
        )


def _arrays_in(value: Any) -> Iterator[HostArray]:
    """The arrays that a call is made with."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, partial):
        yield from _arrays_in([getattr(value.func, "__self__", None), value.args, value.keywords])
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _arrays_in(part)
