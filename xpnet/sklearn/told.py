"""The callbacks of an estimator: copies that belong to what is fitted, and go on with it."""

import copy
from contextlib import ExitStack
from dataclasses import dataclass

from xpnet.callbacks.base import Callback, CallbackList
from xpnet.network.network import Network


@dataclass(frozen=True)
class Copies:
    """Callbacks as the parameter of an estimator had them, and the copies that were told."""

    given: tuple[Callback, ...]
    own: tuple[Callback, ...]


class Told:
    """The callbacks that are told of a call: copies of those given, which stay as they are.

    Where a training goes on, so do the copies of the calls before, of those callbacks that are
    still given.

    Parameters
    ----------
    given
        The callbacks of the estimator, checked.
    before
        Those of the calls that the training goes on from; None where it begins, or there were none.
    """

    def __init__(self, given: list[Callback], before: Copies | None) -> None:
        known: dict[int, Callback] = {}
        if before is not None:
            pairs = zip(before.given, before.own, strict=False)
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
        self.copies = Copies(tuple(given), tuple(self.callbacks))

    def start(self, stack: ExitStack, network: Network, *, epochs: int, steps: int) -> None:
        """Tell them that the training begins, and give back what those had that go on."""
        self.callbacks.start(stack, network, epochs=epochs, steps=steps)
        for callback, state in self._saved:
            if state:
                callback.load_state_dict(state)
