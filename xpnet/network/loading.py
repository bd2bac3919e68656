"""Networks read from the files that `Network.save` writes."""

import os
import re
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from xpnet.backends import Backend, open_backend
from xpnet.errors import CheckpointError, counted, one_line
from xpnet.layers import Layer, build_layer
from xpnet.network.ensemble import (
    Ensemble,
    member_folder,
    member_folders,
    member_number,
    network_kind,
)
from xpnet.network.metadata import check_together, read_metadata
from xpnet.network.network import Network
from xpnet.network.state import load_array, select
from xpnet.saving import tensors


def load(
    path: str | os.PathLike[str],
    *,
    model: Layer | None = None,
    backend: str | Backend = "numpy",
    device: str | None = None,
    dtype: str | None = None,
) -> Network:
    """Read a network that `Network.save` wrote, on this or any other backend.

    A file is not believed: what it says is checked, and its arrays are compared with the model,
    before memory is taken for it.

    Parameters
    ----------
    path
        The file, or a run folder that holds a `model.safetensors`; or one that holds the run
        folders of members, which then are an `Ensemble`.
    model
        The layers, needed only where some of them are not xpnet's own.
    backend, device
        Where the parameters shall live.
    dtype
        Their dtype; as saved if None.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of a later version, or does not fit the model; the
        message lists every missing, unexpected and mismatched array.
    BackendUnavailable
        If the backend cannot be used.
    """
    # os.path rather than Path, whose is_dir raises for names that cannot be.
    if os.path.isdir(path):  # noqa: PTH112
        folder, path = path, Path(path, "model.safetensors")
        members = [] if os.path.lexists(path) else member_folders(folder)
        if members:
            _check_all_there(folder, members)
            return _ensemble(folder, members, model, backend, device, dtype)
    path = Path(path)
    try:
        arrays, metadata = tensors.read_tensors(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_other_way(path)}") from error
    if "training" in metadata:
        raise CheckpointError(
            f"{path}: this is the checkpoint of a training: give it to fit(..., resume=...), or "
            f"load the network that was saved beside it"
        )
    try:
        if model is None:
            model = build_layer(metadata["model"])
        saved_dtype, details = read_metadata(metadata, model)
        shapes = {f"param/{name}": shape for name, shape in model.parameter_shapes().items()}
        shapes |= {f"buffer/{name}": value.shape for name, value in model.buffers().items()}
        tensors.check_arrays(path, arrays, shapes, dtype=saved_dtype)
        check_together(model, saved_dtype, details)
    except CheckpointError:
        raise
    except tensors.WRONG_VALUES as error:
        raise CheckpointError(
            f"{path}: the metadata does not describe a network: {one_line(error)}"
        ) from error
    opened = open_backend(backend, device, dtype or saved_dtype)
    with opened.scope():
        loaded = {name: load_array(opened, np.asarray(value)) for name, value in arrays.items()}
    made = network_kind(model).of_parts(
        model,
        select(loaded, "param/"),
        opened,
        buffers=select(loaded, "buffer/"),
        **details,
    )
    if isinstance(made, Ensemble):
        try:
            made.take_histories(metadata.get("histories"))
        except tensors.WRONG_VALUES as error:
            raise CheckpointError(
                f"{path}: the histories are not those of members: {one_line(error)}"
            ) from error
    return made


def _check_all_there(folder: str | os.PathLike[str], members: Sequence[Path]) -> None:
    """Check that none of an ensemble is missing, whose answers would be taken for those of all."""
    numbers = {member_number(path) for path in members}
    asked = _members_asked(Path(folder, "config.toml"))
    count = max(numbers) if asked is None else asked
    # The first few alone: the largest number may be that of a folder called member-999999999.
    lacking = islice((i for i in range(1, count + 1) if i not in numbers), 4)
    missing = ", ".join(member_folder(folder, i).name for i in lacking)
    if missing:
        train = f"xpnet train --resume {shlex.quote(one_line(folder))}"
        how = "number those that are there from 1 on" if asked is None else f"train it with {train}"
        raise CheckpointError(
            f"{folder}: of the {count:,} members of this ensemble there is no {missing}: bring it "
            f"back, or {how}"
        )
    if max(numbers) > count:
        raise CheckpointError(
            f"{folder}: holds {members[-1].name}, and by its config.toml this ensemble has "
            f"{counted(count, 'member')}: move what is more to another place"
        )


def _members_asked(config: Path) -> int | None:
    """How many members the configuration of a run asks for; None if that is not known."""
    try:
        if not config.is_file():  # a pipe would be waited for
            return None
        with config.open("rb") as file:
            text = file.read(1 << 20)
    except OSError:
        return None
    # Not tomllib: what else is in the file, damaged or not, means nothing here.
    found = re.search(
        rb"^members[ \t]*=[ \t]*([1-9][0-9]{0,8})[ \t\r]*(?:#.*)?$", text, re.MULTILINE
    )
    return None if found is None else int(found[1])


def _ensemble(
    folder: str | os.PathLike[str],
    members: Sequence[Path],
    model: Layer | None,
    backend: str | Backend,
    device: str | None,
    dtype: str | None,
) -> Ensemble:
    """The networks of the run folders of members, together."""
    networks: list[Network] = []
    for member in members:
        if networks:
            backend, device = networks[0].backend, None
            dtype = networks[0].backend.dtype_name
        networks.append(load(member, model=model, backend=backend, device=device, dtype=dtype))
    try:
        return Ensemble(networks)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {one_line(error)}") from error


def _other_way(path: Path) -> str:
    """How a file that is no saved network is read, if it seems to be one of the exports'."""
    name = path.name.lower()
    for ending, read in ((".npz", "from_npz"), (".torch.safetensors", "from_torch")):
        if name.endswith(ending) and os.path.isfile(path):  # noqa: PTH113
            return (
                f"; files that end in {ending} are read by Network.{read}, and made a network by "
                f"xpnet export {shlex.quote(one_line(path))} model.safetensors"
            )
    return ""
