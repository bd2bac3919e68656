"""What is summed over the parts of a batch, as one array: so that one message is enough."""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise

from xpnet.backends import Backend
from xpnet.network.state import put, select
from xpnet.training.step import COUNT, THERE, Gradients
from xpnet.typing import Array, Shape, State

SUMS = "part/sums"
"""The entry of a state with all that is summed: the gradients, one parameter after the other, and
behind them the numbers at these places."""

LOSS, WEIGHT, NOT_FINITE, STOP = range(-4, 0)
"""The loss; what the samples count for; how many parts have a loss that is not finite; how many
ranks have been asked to stop."""

Half = Callable[[State, Array, Array, Array], State]


class Packing:
    """Both halves of a step as functions from state to state, with `SUMS` between them.

    Parameters
    ----------
    backend
        Where the arrays live.
    shapes
        The shapes of the parameters.
    """

    def __init__(self, backend: Backend, shapes: Mapping[str, Shape]) -> None:
        self._backend, self._shapes = backend, dict(shapes)
        ends = accumulate((math.prod(shape) for shape in shapes.values()), initial=0)
        self._places = [slice(*ends) for ends in pairwise(ends)]
        self.size = sum(map(math.prod, shapes.values())) + len((LOSS, WEIGHT, NOT_FINITE, STOP))

    def first(self, gradients: Callable[..., Gradients]) -> Half:
        """What puts the gradients of a part into `SUMS`."""
        xp, dtype = self._backend.xp, self._backend.dtype

        def packed(state: State, x: Array, y: Array, rows: Array) -> State:
            of = gradients(state, x, y, rows)
            # A row that stands for no part counts for nothing.
            there = state[THERE]
            diverged = 1 - xp.astype(xp.isfinite(of.loss), dtype)
            last = [of.loss, there * of.weight, there * diverged, 0 * there]
            flat = [of.grads[name] for name in self._shapes] + last
            after = {**state, SUMS: xp.concat([xp.reshape(value, (-1,)) for value in flat])}
            put(after, "buffer/", of.buffers)
            return after

        return packed

    def second(self, update: Callable[[State, Gradients], State]) -> Half:
        """What takes the update by the sums in `SUMS`; samples and rows mean nothing to it."""
        xp = self._backend.xp

        def unpacked(state: State, x: Array, y: Array, rows: Array) -> State:
            sums, n = state[SUMS], self.size
            parts = zip(self._shapes.items(), self._places, strict=True)
            grads = {name: xp.reshape(sums[place], shape) for (name, shape), place in parts}
            loss, weight = (xp.reshape(sums[n + at : n + at + 1], ()) for at in (LOSS, WEIGHT))
            return update(
                state, Gradients(loss, grads, select(state, "buffer/"), state[COUNT], weight)
            )

        return unpacked
