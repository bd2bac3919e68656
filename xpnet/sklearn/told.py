"""The callbacks of an estimator: copies that belong to what is fitted, and go on with it."""

import copy
from contextlib import ExitStack
from typing import Any

from xpnet.callbacks.base import Callback, CallbackList
from xpnet.network.network import Network


class Told:
    """The callbacks that are told of a call, which are kept as `callbacks_` of the estimator.

    They are copies of its parameter, which stays as it was given. Where a training goes on, so do
    the copies of the calls before, of those callbacks that the parameter still has.

    Parameters
    ----------
    estimator
        Whose attributes `callbacks_` and `_callbacks_given` are read and written.
    given
        Its callbacks, checked.
    first
        Whether the training begins.
    """

    def __init__(self, estimator: Any, given: list[Callback], *, first: bool) -> None:
        known: dict[int, Callback] = {}
        if not first:
            before = vars(estimator).get("_callbacks_given", [])
            pairs = zip(before, getattr(estimator, "callbacks_", ()), strict=False)
            known = {id(callback): own for callback, own in pairs}
        # Of each its state now, since `on_start` begins anew.
        self._saved = [
            (known[id(callback)], known[id(callback)].state_dict())
            for callback in given
            if id(callback) in known
        ]
        new = [callback for callback in given if id(callback) not in known]
        # In one call: what two of them have in common, their copies have in common.
        known |= dict(zip(map(id, new), copy.deepcopy(new), strict=True))
        self.callbacks = CallbackList(known[id(callback)] for callback in given)
        estimator._callbacks_given, estimator.callbacks_ = list(given), list(self.callbacks)

    def start(self, stack: ExitStack, network: Network, *, epochs: int, steps: int) -> None:
        """Tell them that the training begins, and give back what those had that go on."""
        self.callbacks.start(stack, network, epochs=epochs, steps=steps)
        for callback, state in self._saved:
            if state:
                callback.load_state_dict(state)
