"""Several networks that answer together: by the mean of what each predicts."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from xpnet.backends import Backend
from xpnet.errors import counted, shown
from xpnet.history import History
from xpnet.layers import Layer, Mixture
from xpnet.network.network import Network
from xpnet.network.state import load_array
from xpnet.typing import Array

_MEMBER = "member-"

_SAME = (
    "target_kind", "outputs", "classes", "class_names", "target_shape", "sample_shape",
    "pixel_maximum", "table",
)  # fmt: skip
"""What members must have in common, as far as each knows it."""


class Ensemble(Network):
    """Networks that answer together: the probabilities are the mean of theirs, values likewise.

    It is a `Network`, whose model is a `Mixture` of those of the members, with parameters called
    `m1.fc1.weight` and so on. So it predicts, evaluates, reports, is copied, saved, loaded by
    `xpnet.load` and exported as any other. Its arrays are those of the members, not copies.

    Parameters
    ----------
    networks
        The members, at least one: trained networks, whose layers may differ, for samples of the
        same shape and the same classes. Ensembles may be among them, each counting as one. Those on
        another backend or in another dtype than the first are copied to where that is.

    Attributes
    ----------
    members
        The networks, in their order.

    Raises
    ------
    TypeError
        If one is not a `Network`.
    ValueError
        If there is none, or they do not go together; the message says what differs.

    References
    ----------
    Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation
    using deep ensembles", 2017, https://arxiv.org/abs/1612.01474

    Examples
    --------
    >>> from xpnet import Ensemble, fit, load_dataset, mlp
    >>> data = load_dataset("digits")
    >>> networks = [
    ...     fit(mlp(64, 16, 10), data, epochs=2, seed=seed, backend="numpy") for seed in range(3)
    ... ]
    >>> Ensemble(networks).predict_proba(data.test.images).shape
    (359, 10)
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        members = _checked(networks)
        first = members[0]
        model = Mixture(*(network.model for network in members), target_kind=first.target_kind)
        params: dict[str, Array] = {}
        buffers: dict[str, Array] = {}
        for name, network in zip(model, members, strict=True):
            for of, arrays in ((params, network.params), (buffers, network.buffers)):
                of |= {f"{name}.{k}": x for k, x in _placed(network, arrays, first.backend).items()}
        losses = [network.loss for network in members]
        super().__init__(
            model,
            params,
            first.backend,
            buffers=buffers,
            sample_shape=_known(members, "sample_shape"),
            pixel_maximum=first.pixel_maximum,
            framing=_known(members, "framing"),
            table=_known(members, "table"),
            input_dtype=_known(members, "input_dtype"),
            target_kind=first.target_kind,
            target_shape=_known(members, "target_shape"),
            classes=_known(members, "classes"),
            class_names=_known(members, "class_names"),
            loss=first.loss if all(loss == first.loss for loss in losses) else None,
        )
        self._histories = [network.history for network in members]

    @classmethod
    def of_parts(
        cls, model: Layer, params: Mapping[str, Array], backend: Backend, **attributes: Any
    ) -> Self:
        if not isinstance(model, Mixture):
            raise ValueError(f"the model of an ensemble is a Mixture, got {shown(model)}")
        made = object.__new__(cls)
        Network.__init__(made, model, params, backend, **attributes)
        made._histories = [History() for _ in model]
        return made

    @property
    def members(self) -> tuple[Network, ...]:
        model = self.model
        assert isinstance(model, Mixture)
        pairs = zip(model.layers.items(), self._histories, strict=True)
        return tuple(self._member(name, layer, history) for (name, layer), history in pairs)

    def _member(self, name: str, layer: Layer, history: History) -> Network:
        kind = network_kind(layer)
        return kind.of_parts(
            layer,
            _inside(name, self.params),
            self.backend,
            buffers=_inside(name, self.buffers),
            history=history,
            sample_shape=self.sample_shape,
            pixel_maximum=self.pixel_maximum,
            framing=self.framing,
            table=self.table,
            input_dtype=self.input_dtype,
            target_kind=self.target_kind,
            target_shape=self.target_shape,
            classes=self.classes,
            class_names=self.class_names,
            loss=self.loss,
        )

    def metadata(self) -> dict[str, Any]:
        histories = [member.metadata()["history"] for member in self.members]
        return {**super().metadata(), "histories": histories}

    def take_histories(self, rows: Any) -> None:
        """Have the histories of the members from JSON values; none if None.

        Raises
        ------
        ValueError, TypeError
            If there is not one for each, or one is none.
        """
        if rows is None:
            return
        histories = [History.from_dicts(part) for part in rows]
        if len(histories) != len(self._histories):
            raise ValueError(
                f"there are {len(histories)} histories of {len(self._histories)} members"
            )
        self._histories = histories

    def summary(self) -> str:
        """A table of the layers of all members; see `Container.summary`."""
        model = self.model
        assert isinstance(model, Mixture)
        return model.summary(self.sample_shape)

    def __repr__(self) -> str:
        model = self.model
        assert isinstance(model, Mixture)
        members = ", ".join(map(repr, model.layers.values()))
        place = f"{self.backend.name} {self.backend.device_name()}"
        return f"<Ensemble of {len(model)} on {place}: {members}>"


def network_kind(model: Layer) -> type[Network]:
    """The class of the networks of a model: ensembles, where it is a `Mixture`."""
    return Ensemble if type(model) is Mixture else Network


def member_folder(folder: str | os.PathLike[str], number: int) -> Path:
    """What the run folder of a member is called, by its number from 1."""
    return Path(folder) / f"{_MEMBER}{number}"


def member_folders(folder: str | os.PathLike[str]) -> list[Path]:
    """The run folders of the members that a folder holds, in the order of their numbers."""
    try:
        names = [path.name for path in Path(folder).iterdir()]
    except OSError:
        return []
    numbers = (re.fullmatch(rf"{_MEMBER}([1-9][0-9]{{0,8}})", name) for name in names)
    return [member_folder(folder, number) for number in sorted(int(n[1]) for n in numbers if n)]


def member_number(folder: Path) -> int:
    """The number of a member whose run folder it is, as of `member_folders`."""
    return int(folder.name.removeprefix(_MEMBER))


def _inside(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of one member, by the names that they have there."""
    start = f"{name}."
    return {key.removeprefix(start): x for key, x in arrays.items() if key.startswith(start)}


def _placed(network: Network, arrays: Mapping[str, Array], backend: Backend) -> dict[str, Array]:
    """Arrays of a network, on another backend if that is another one."""
    if all(backend.holds(x) and x.dtype == backend.dtype for x in arrays.values()):
        return dict(arrays)
    with backend.scope():
        host = {name: network.backend.to_numpy(value) for name, value in arrays.items()}
        return {name: load_array(backend, value) for name, value in host.items()}


def _checked(networks: Any) -> list[Network]:
    """Networks that go together."""
    if isinstance(networks, Network):
        raise TypeError("Ensemble: give a list of networks, such as Ensemble([network, other])")
    if not isinstance(networks, Iterable):
        raise TypeError(f"Ensemble: give a list of networks, got {shown(networks)}")
    members = list(networks)
    if not members:
        raise ValueError("Ensemble: give at least one network")
    for network in members:
        if not isinstance(network, Network):
            how = ": give its to_network()" if hasattr(network, "to_network") else ""
            raise TypeError(
                f"Ensemble: members must be trained networks, got {shown(network)}{how}"
            )
    about = [_about(network) for network in members]
    problems = []
    for what in _SAME:
        known = [(i, said[what]) for i, said in enumerate(about, start=1) if said[what] is not None]
        other = next((pair for pair in known if pair[1] != known[0][1]), None)
        if other is not None:
            (i, one), (j, two) = known[0], other
            problems.append(
                f"{what} of network {i}: {shown(one, 80)}, of network {j}: {shown(two, 80)}"
            )
    if problems:
        raise ValueError(
            f"Ensemble: the {counted(len(members), 'network')} cannot answer together: "
            f"{'; '.join(problems)}"
        )
    return members


def _about(network: Network) -> dict[str, Any]:
    """What has to be the same of all members; None for what is not known."""
    model = network.model
    return {
        "target_kind": network.target_kind,
        "outputs": model.output_shape(model.input_shape()),
        "classes": None if network.classes is None else network.classes.tolist(),
        "class_names": network.class_names,
        "target_shape": network.target_shape,
        "sample_shape": network.sample_shape,
        "pixel_maximum": network.pixel_maximum,
        "table": network.table,
    }


def _known(members: list[Network], name: str) -> Any:
    """What the first member says that knows it."""
    values = (getattr(network, name) for network in members)
    return next((value for value in values if value is not None), None)
