"""The doors of `Network` for weights that it did not save itself: .npz files, PyTorch."""

import os
from collections.abc import Mapping
from typing import Any, Self

from xpnet.backends import Backend
from xpnet.layers import Layer
from xpnet.network import torch_weights
from xpnet.network.torch_weights import IncompatibleKeys
from xpnet.typing import Array


class Foreign:
    """What a `Network` can be made of beside the files that it saves."""

    @classmethod
    def of_parts(
        cls, model: Layer, params: Mapping[str, Array], backend: Backend, **attributes: Any
    ) -> Self:
        """A network of this class of what the constructor of `Network` takes."""
        make: Any = cls
        made: Self = make(model, params, backend, **attributes)
        return made

    @classmethod
    def from_npz(
        cls,
        path: str | os.PathLike[str],
        *,
        model: Layer | None = None,
        backend: str | Backend = "numpy",
        device: str | None = None,
        dtype: str | None = None,
        **attributes: Any,
    ) -> Self:
        """A network of an `.npz` file: what `xpnet.export.to_npz` wrote, to the bit; or arrays.

        Nothing in the file is run (there is no pickle), and nothing is read whose shape does not
        fit. Its history and its loss are not in the file.

        Parameters
        ----------
        path
            The file.
        model
            The layers: needed where the file does not say them (another program wrote it, by
            `numpy.savez`, with arrays called like the parameters and buffers) or some of them are
            not xpnet's own.
        backend, device, dtype
            Where the parameters shall live, and in which precision; as saved if None.
        attributes
            Those of `Network` that the file does not say, or says otherwise: `sample_shape`,
            `pixel_maximum`, `framing`, `input_dtype`, `target_kind` and `loss`.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged or something else, or does not fit the model; the
            message lists every missing, unexpected and mismatched array.
        BackendUnavailable
            If the backend cannot be used.
        """
        from xpnet.network import npz  # late: few need zip files

        return npz.from_npz(
            cls.of_parts,
            path,
            model=model,
            backend=backend,
            device=device,
            dtype=dtype,
            **attributes,
        )

    @classmethod
    def from_torch(
        cls,
        state: Any,
        model: Layer | None = None,
        *,
        backend: str | Backend = "numpy",
        device: str | None = None,
        dtype: str | None = None,
        layers: Mapping[type[Layer], Any] | None = None,
        **attributes: Any,
    ) -> Self:
        """A network with the weights of a PyTorch module.

        Parameters
        ----------
        state
            The module, its `state_dict()` (tensors, or arrays of any library, by name), or a
            safetensors file of it, such as `xpnet.export.save_torch` wrote.
        model
            The layers, called as in the module. A file that xpnet wrote has them.
        backend, device, dtype
            Where the parameters shall live, and in which precision; as given if None.
        layers
            The functions of layers of one's own, as for `xpnet.export.to_torch_state_dict`.
        attributes
            Those of `Network` that the file does not say, or says otherwise: `sample_shape`,
            `pixel_maximum`, `framing`, `input_dtype`, `target_kind` and `loss`.

        Raises
        ------
        CheckpointError
            If it does not fit the model, or the file cannot be read; as `load_state_dict`.
        ExportError
            If a layer of one's own has no function, or one that changes the numbers.
        BackendUnavailable
            If the backend cannot be used.
        """
        return torch_weights.from_torch(
            cls.of_parts,
            state,
            model,
            backend=backend,
            device=device,
            dtype=dtype,
            layers=layers,
            **attributes,
        )

    def load_state_dict(
        self: Any,
        state: Any,
        strict: bool = True,
        *,
        layers: Mapping[type[Layer], Any] | None = None,
    ) -> IncompatibleKeys:
        """Take the weights of a PyTorch module, by its names and in its layouts, all or none.

        `fc1.weight` of a dense layer has the shape (n_out, n_in) there; a batch norm has `weight`,
        `bias`, `running_mean` and `running_var`. `num_batches_tracked` is not looked at, and may
        be left out. The network keeps its backend and dtype.

        Parameters
        ----------
        state
            The module, its `state_dict()`, or a safetensors file of it, as in `from_torch`.
        strict
            Whether the names must be the same. If not, what is missing stays as it is, and what is
            unexpected is left. Shapes must fit always.
        layers
            The functions of layers of one's own, as for `xpnet.export.to_torch_state_dict`.

        Returns
        -------
        keys
            `missing_keys` and `unexpected_keys`.

        Raises
        ------
        CheckpointError
            If names or shapes do not fit, or a value is no finite floating-point number; the
            message lists every missing, unexpected and mismatched array.
        ExportError
            If a layer of one's own has no function, or one that changes the numbers.
        """
        return torch_weights.load_state_dict(self, state, strict=strict, layers=layers)
