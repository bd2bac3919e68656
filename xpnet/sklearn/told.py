"""The callbacks of an estimator: copies that belong to what is fitted, and go on with it."""

import copy
from contextlib import ExitStack
from dataclasses import dataclass

from xpnet.backends import Backend
from xpnet.callbacks.base import Callback, CallbackList, overrides
from xpnet.history import EpochRecord
from xpnet.network.network import Network
from xpnet.network.state import put
from xpnet.sklearn.progress import network_copy
from xpnet.typing import State


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
        self.hooks = self.callbacks.step_hooks()

    def start(
        self, stack: ExitStack, network: Network, state: State, *, epochs: int, steps: int
    ) -> None:
        """Tell them that the training begins, and give back what those had that go on.

        The network, which is the one that they are told of, has the arrays of `state` then.
        """
        self._network = network
        if self.callbacks:
            network.set_arrays(state)
        self.callbacks.start(stack, network, epochs=epochs, steps=steps)
        for callback, own in self._saved:
            if own:
                callback.load_state_dict(own)

    def epoch(self, state: State, record: EpochRecord) -> bool:
        """Tell them of an epoch; whether one asks to end the training with it."""
        if not self.callbacks:
            return False
        self._network.set_arrays(state)
        self._network.history.append(record)
        return self.callbacks.epoch(self._network, record)

    def finish(self, backend: Backend, result: State) -> bool:
        """Let them change what the training has come to; False if none of them wants to."""
        if not any(overrides(callback, "on_finish") for callback in self.callbacks):
            return False
        network = self._network
        # Copies: what is written to these must not change the state.
        network.set_arrays(network_copy(backend, result))
        self.callbacks.finish(network)
        put(result, "", network.state_arrays())
        put(result, "ema/", network.params)
        return True
