"""An ensemble from one training: the networks at the ends of its cycles."""

from typing import Any

import numpy as np

from xpnet.callbacks.base import Callback
from xpnet.checks import positive_integer
from xpnet.errors import counted
from xpnet.history import EpochRecord
from xpnet.network.ensemble import Ensemble
from xpnet.network.network import Network
from xpnet.saving.tensors import check_arrays


class SnapshotEnsemble(Callback):
    """Keeps the network at the end of each of some equal parts of a training, for an ensemble.

    With a learning rate that falls to nothing in each part and then begins anew, as that of
    `xpnet.schedules.Cosine(cycles=N)`, each of these networks is in a minimum of its own. What
    `fit` returns is the last of them, and `ensemble` all together.

    Parameters
    ----------
    members
        How many, a positive integer that divides the number of epochs.

    Attributes
    ----------
    networks
        Those that were kept so far.

    Raises
    ------
    ValueError
        If the number is not allowed; by `fit`, if it does not divide the number of epochs.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft and Weinberger, "Snapshot ensembles: train 1, get M for free",
    ICLR 2017, https://arxiv.org/abs/1704.00109

    Examples
    --------
    >>> from xpnet import SGD, SnapshotEnsemble, fit, load_dataset, mlp
    >>> from xpnet.schedules import Cosine
    >>> kept = SnapshotEnsemble(3)
    >>> network = fit(
    ...     mlp(64, 16, 10), load_dataset("digits"), epochs=6, backend="numpy",
    ...     optimizer=SGD(0.3, schedule=Cosine(cycles=3)), callbacks=[kept],
    ... )
    >>> len(kept.ensemble.members)
    3
    """

    every_step = False

    def __init__(self, members: int) -> None:
        self.members = positive_integer("members", members)
        self.networks: list[Network] = []

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        if epochs % self.members:
            raise ValueError(
                f"SnapshotEnsemble: {counted(epochs, 'epoch')} cannot be divided into "
                f"{counted(self.members, 'equal part')} of whole epochs: take a multiple of "
                f"{self.members}"
            )
        self._every, self._network = epochs // self.members, network
        self.networks = []

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        if record.epoch % self._every == 0:
            self.networks.append(network.copy())

    @property
    def ensemble(self) -> Ensemble:
        """The networks that were kept so far, together; its history is that of the training.

        Raises
        ------
        ValueError
            If there is none.
        """
        together = Ensemble(self.networks)
        together.history = self.networks[-1].history[:]
        return together

    def state_dict(self) -> dict[str, Any]:
        return {
            f"{i}/{name}": network.backend.to_numpy(value)
            for i, network in enumerate(self.networks, start=1)
            for name, value in network.state_arrays().items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        network, arrays = (
            self._network,
            {k: v for k, v in state.items() if isinstance(v, np.ndarray)},
        )
        count = len(network.history) // self._every
        shapes = {
            f"{i}/{name}": tuple(value.shape)
            for i in range(1, count + 1)
            for name, value in network.state_arrays().items()
        }
        check_arrays("the networks of SnapshotEnsemble", arrays, shapes)
        self.networks = []
        for i in range(1, count + 1):
            kept = network.copy()
            own = {n: arrays[f"{i}/{n}"] for n in network.state_arrays()}
            kept.set_arrays({n: network.backend.asarray(v, copy=True) for n, v in own.items()})
            kept.history = network.history[: i * self._every]
            self.networks.append(kept)
