"""Who is measured. To add a peer, write a file here and name its function in `PEERS`.

A peer is a function `run(job, tick) -> predicted classes of the test samples, or None`. It trains
for `job.epochs` epochs and calls `tick(seconds)` after each, which blocks until the next epoch is
asked for. What is timed is an epoch as a user has it: shuffling, gathering, conversion of the
pixels, forward, backward, update, and waiting for a device. One that measures something else may
return a dictionary of JSON values, which are part of its result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

from xpnet.typing import HostArray


class Tick(Protocol):
    """Reports an epoch, and waits until the next one is asked for."""

    def __call__(self, seconds: float, eval_seconds: float | None = None) -> None: ...


Found = HostArray | dict[str, Any] | None


@dataclass(frozen=True)
class Peer:
    """Who is measured.

    Attributes
    ----------
    name, label
        As on the command line, and as in tables and pictures.
    function
        `module:function`, imported in the worker alone.
    devices
        Where it can run.
    options
        Arguments by name that the function is given as well.
    distributions
        The installed packages whose versions matter.
    ranks
        How many ranks of MPI it runs on; None for a process that MPI has not started.
    threads
        Threads of its libraries, where that is not as for the others.
    environment
        Variables that it has beside those of the others.
    dense
        Whether it knows dense networks alone.
    """

    name: str
    label: str
    function: str
    devices: tuple[str, ...] = ("cpu",)
    options: tuple[tuple[str, Any], ...] = ()
    distributions: tuple[str, ...] = ()
    ranks: int | None = None
    threads: int | None = None
    environment: tuple[tuple[str, str], ...] = ()
    dense: bool = False

    def load(self) -> Callable[..., Found]:
        """The function of this peer."""
        module, _, function = self.function.partition(":")
        loaded: Callable[..., Found] = getattr(import_module(module), function)
        return loaded


_BOTH = ("cpu", "cuda")
_HERE = "benchmarking.peers"


def _xpnet(backend: str, label: str, devices: tuple[str, ...]) -> Peer:
    return Peer(
        f"xpnet-{backend}",
        f"xpnet, {label}",
        f"{_HERE}.xpnet_fit:run",
        devices,
        (("backend", backend),),
        (backend,),
    )


_UNCOMPILED = replace(
    _xpnet("numpy", "NumPy without a compiler", ("cpu",)),
    name="xpnet-numpy-uncompiled",
    environment=(("XPNET_CC", ""),),
)


_ALL = (
    Peer("floor", "floor: the matrix products", f"{_HERE}.floor:run", _BOTH),
    _xpnet("numpy", "NumPy", ("cpu",)),
    _UNCOMPILED,
    _xpnet("cupy", "CuPy", ("cuda",)),
    _xpnet("torch", "PyTorch", _BOTH),
    _xpnet("jax", "JAX", _BOTH),
    Peer("numpy", "NumPy, straightforward", f"{_HERE}.plain_step:run_numpy", dense=True),
    Peer("cupy", "CuPy, straightforward", f"{_HERE}.plain_step:run_cupy", ("cuda",), dense=True),
    Peer("torch", "PyTorch, eager", f"{_HERE}.torch_nn:run", _BOTH, (), ("torch",)),
    Peer("torch-loader", "PyTorch, DataLoader", f"{_HERE}.torch_nn:run_loader", _BOTH),
    Peer("torch-compile", "PyTorch, compiled", f"{_HERE}.torch_nn:run_compiled", _BOTH),
    Peer("jax-step", "JAX, jit of a step", f"{_HERE}.jax_jit:run_steps", _BOTH, (), ("jax",)),
    Peer("jax-epoch", "JAX, jit of an epoch", f"{_HERE}.jax_jit:run_epochs", _BOTH),
    Peer(
        "sklearn",
        "scikit-learn",
        f"{_HERE}.sklearn_mlp:run",
        distributions=("scikit-learn",),
        dense=True,
    ),
    Peer(
        "xpnet-sklearn",
        "xpnet, MLPClassifier",
        f"{_HERE}.sklearn_mlp:run",
        options=(("module", "xpnet.sklearn"),),
        distributions=("scikit-learn",),
        dense=True,
    ),
    Peer("keras", "Keras on JAX", f"{_HERE}.keras_fit:run", _BOTH, (), ("keras",), dense=True),
    Peer(
        "thinc",
        "Thinc on NumPy",
        f"{_HERE}.thinc_chain:run",
        distributions=("thinc",),
        dense=True,
    ),
)
PEERS = {peer.name: peer for peer in _ALL}
"""The peers by name."""


def select_peers(names: str | None, device: str) -> list[Peer]:
    """The peers of a comma list, the floor always first; all that run on the device if None.

    A name with a colon is a peer of one's own, `module:function`.

    Raises
    ------
    ValueError
        If a name is not known, or its peer does not run on the device.
    """
    usable = {name: peer for name, peer in PEERS.items() if device in peer.devices}
    if names is None:
        return list(usable.values())
    chosen = [usable["floor"]]
    for name in filter(None, (part.strip() for part in names.split(","))):
        if ":" in name:
            chosen.append(Peer(name, name, name, _BOTH))
        elif name in usable:
            chosen.append(usable[name])
        else:
            raise ValueError(
                f"{name!r} is not a peer on {device}: give some of {', '.join(usable)}, "
                f"or module:function for one of your own"
            )
    return list(dict.fromkeys(chosen))
