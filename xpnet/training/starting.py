"""What a training begins with: the parameters of a network, and which layers stay as they are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.errors import DataWarning, one_line, shown
from xpnet.inputs.sets import Given
from xpnet.layers import Layer
from xpnet.layers.frozen import check_layer_names, freeze_layers
from xpnet.network.network import Network
from xpnet.random import Seed, derive
from xpnet.saving.snapshot import Snapshot
from xpnet.streams import warn
from xpnet.typing import HostArray

Names = Collection[str]


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes
    ----------
    model
        The layers that steps are taken with, some of them frozen: their arrays have the names that
        they have in the model that is trained.
    arrays
        The parameters and buffers by name, on the host; None for those that the model begins with.
    described
        What a result depends on of this, as JSON values: None where there is none of it.
    """

    model: Layer
    arrays: Mapping[str, HostArray] | None
    described: Mapping[str, Any]

    def described_for(self, saved: Snapshot | None) -> dict[str, Any]:
        """`described`; of a training that goes on, without the network that it was begun with.

        Its parameters are those of the snapshot, so that the network need not be there any more.
        """
        described = dict(self.described)
        if saved is not None and described["start"] is None:
            described["start"] = saved.training.get("start")
        return described


def start_from(
    model: Layer,
    seed: Seed,
    dtype: str,
    start: Network | None,
    *,
    freeze: Names | None = None,
    fresh: Names | None = None,
    resumed: bool = False,
) -> Start:
    """The parameters of a network, and frozen layers; `resumed` if a training goes on.

    Raises
    ------
    TypeError
        If the network is none, or names of layers are no texts.
    ValueError
        If there is no layer of a name, the network does not fit the model, its numbers do not fit
        the dtype, or nothing is left to train.
    """
    if start is not None and not isinstance(start, Network):
        how = "its to_network()" if hasattr(start, "to_network") else "load(file)"
        raise TypeError(f"start must be a trained Network, got {shown(start)}: give {how}")
    if fresh is not None:
        check_layer_names("fresh", model, fresh)
        if start is None and not resumed:
            raise ValueError(
                "fresh says which layers do not begin as those of a network: give start=network "
                "as well, or leave it out, since all begin anew"
            )
    freeze = () if freeze is None else freeze
    frozen = freeze_layers(model, freeze)
    described: dict[str, Any] = {"start": None, "freeze": sorted(set(freeze)) or None}
    if start is None and not freeze:
        return Start(frozen, None, described)
    arrays = {**model.init(derive(seed, "initialization")), **model.buffers()}
    if start is not None:
        taken = _taken(model, arrays, start, fresh, dtype)
        arrays |= taken
        described["start"] = _checksum(taken, dtype)
    return Start(frozen, arrays, described)


def read_as_by(given: Given, start: Network | None, model: Layer, fresh: Names | None) -> Given:
    """Samples as the network took them: its white pixel, if none is known, and its classes.

    The classes are those of the last layer, unless that begins anew.
    """
    if not isinstance(start, Network):
        return given
    exact = (start.input_dtype or "").startswith(("uint", "int"))
    if exact and start.pixel_maximum != 1 and given.pixel_maximum is None:
        given = replace(given, pixel_maximum=start.pixel_maximum)
    last = next(reversed(model.parameter_shapes()), "")
    if not any(last.startswith(f"{name}.") for name in fresh or ()):
        names = given.class_names or start.class_names
        given = replace(given, classes=start.classes, class_names=names)
    return given


def warn_of_other_table(
    given: Given, start: Network | None, model: Layer, fresh: Names | None, *, stacklevel: int
) -> None:
    """Warn where a network is not given the columns of a table as it was trained on them.

    Parameters
    ----------
    given, start, model, fresh
        As for `read_as_by`: nothing is wrong where the first layer begins anew.
    stacklevel
        Which caller the warning is shown at, as in `warnings.warn`.

    Warns
    -----
    DataWarning
        If the rows of a table are prepared in another way than those that it was trained on.
    """
    if not isinstance(start, Network) or start.table is None or given.dataset is None:
        return
    first = next(iter(model.parameter_shapes()), "")
    anew = any(first.startswith(f"{name}.") for name in fresh or ())
    if given.dataset.table not in (None, start.table) and not anew:
        warn(
            "the table is prepared by means and categories of its own, and the network of "
            "start was trained on others: prepare it in the same way, as by table_dataset(..., "
            "table=network.table)",
            DataWarning,
            stacklevel=stacklevel + 1,
        )


def _taken(
    model: Layer,
    arrays: Mapping[str, HostArray],
    start: Network,
    fresh: Names | None,
    dtype: str,
) -> dict[str, HostArray]:
    """The arrays of a network that a model is to begin with."""
    anew = tuple(f"{layer}." for layer in fresh or ())
    wanted = {name for name in arrays if not (anew and name.startswith(anew))}
    given = start.arrays
    missing = [name for name in arrays if name in wanted and name not in given]
    other = [
        name
        for name in arrays
        if name in wanted and name in given and tuple(given[name].shape) != arrays[name].shape
    ]
    # Who names layers that begin anew has another model, which need not have all of the network.
    unused = [name for name in given if name not in arrays] if fresh is None else []
    if missing or other or unused:
        differing = [
            f"{name} is {_shape(given[name])} there and {_shape(arrays[name])} in the model"
            for name in other
        ]
        problems = [one_line("; ".join(differing))] if differing else []
        problems += [f"it has no {one_line(', '.join(missing))}"] if missing else []
        problems += [f"the model has no {one_line(', '.join(unused))}"] if unused else []
        layers = dict.fromkeys(name.rpartition(".")[0] for name in (*other, *missing))
        how = f"fresh={shown(tuple(filter(None, layers)))}"
        raise ValueError(
            f"start: the network does not fit the model: {'; '.join(problems)}. Train a model with "
            f"its layers, such as network.model; or, if that is meant, {how}: layers named there "
            f"begin anew, and what the model has not is left out"
        )
    taken = {name: np.asarray(start.backend.to_numpy(given[name])) for name in sorted(wanted)}
    for name, value in taken.items():
        with np.errstate(over="ignore"):
            if not np.isfinite(value.astype(dtype)).all():
                raise ValueError(
                    f"start: {name} of the network holds numbers that are not finite in {dtype}"
                )
    return taken


def _shape(array: Any) -> str:
    return " x ".join(map(str, array.shape)) or "one number"


def _checksum(arrays: Mapping[str, HostArray], dtype: str) -> str:
    """The first digits of the SHA-256 of names and values, the same on every platform."""
    import hashlib

    kind, digest = np.dtype(dtype).newbyteorder("<"), hashlib.sha256()
    for name, value in arrays.items():
        digest.update(f"{name} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value, dtype=kind).tobytes())
    return digest.hexdigest()[:16]
