"""A trained network: a model together with its parameters."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import checkpoint
from xpnet.backends import Backend, open_backend
from xpnet.data.preparation import prepare
from xpnet.errors import CheckpointError
from xpnet.layers import EVALUATION, Layer, softmax
from xpnet.losses import Loss, softmax_cross_entropy
from xpnet.metrics import class_labels, confusion_matrix, predicted_classes
from xpnet.model import build_layer, describe_layer
from xpnet.training.evaluation import Evaluation, chunk_rows, chunks, make_evaluator
from xpnet.training.history import History
from xpnet.training.samples import home_of, load_inputs, load_targets
from xpnet.training.step import load_array, select
from xpnet.typing import Array, HostArray, Shape


class Network:
    """A model with its parameters, ready to predict. `fit` returns one, `load` reads one.

    Attributes
    ----------
    model
        The layers.
    backend
        Where the parameters live.
    params
        The parameters by name, such as `fc1.weight`.
    history
        The epochs of its training.
    sample_shape
        The shape of one sample as it was trained on, such as (28, 28); None if not known.
    pixel_maximum
        What integer inputs are divided by. Floating-point inputs are taken as they are.
    """

    def __init__(
        self,
        model: Layer,
        params: Mapping[str, Array],
        backend: Backend,
        *,
        history: History | None = None,
        sample_shape: Shape | None = None,
        pixel_maximum: float = 255.0,
    ) -> None:
        self.model = model
        self.params = dict(params)
        self.backend = backend
        self.history = history if history is not None else History()
        self.sample_shape = sample_shape
        self.pixel_maximum = float(pixel_maximum)

    # -- prediction -----------------------------------------------------------------------------

    def predict(self, x: Any) -> Array:
        """The most probable class of each sample.

        Parameters
        ----------
        x
            Samples as in training, shape (N, ...): an array of any backend's library, on any of
            its devices, or nested lists. Integers are divided by `pixel_maximum`.

        Returns
        -------
        classes
            Integers, shape (N,), of the kind and on the device of `x` (NumPy for lists).

        Raises
        ------
        DataError
            If the shape does not fit, or a value is not finite.
        """
        return self._map(x, predicted_classes)

    def predict_proba(self, x: Any) -> Array:
        """The probability of each class for each sample: the softmax of the network's output.

        Parameters and errors as in `predict`; returns shape (N, C), in the network's dtype.
        """
        return self._map(x, softmax)

    def evaluate(self, x: Any, y: Any, *, loss: Loss = softmax_cross_entropy) -> Evaluation:
        """Loss, accuracy and number of errors on samples with known labels.

        Parameters
        ----------
        x, y
            Samples, and their labels (N,) or one-hot rows (N, C), on any backend; the work is
            done where the network's parameters live.
        loss
            The loss to report.

        Raises
        ------
        DataError
            If shapes or labels do not fit the network.
        """
        backend = self.backend
        with backend.scope():
            x = load_inputs(backend, "evaluate", x, self.model)
            y = load_targets(backend, "evaluate", y, x, self.model)
            evaluate = make_evaluator(backend, self.model, loss, pixel_maximum=self.pixel_maximum)
            return evaluate(self.params, x, y)

    def confusion_matrix(self, x: Any, y: Any) -> HostArray:
        """How often each class was taken for each, as a NumPy array of integers (C, C).

        Entry (i, j) counts the samples of class i that were predicted as class j.
        """
        backend = self.backend
        with backend.scope():
            x = load_inputs(backend, "confusion_matrix", x, self.model)
            y = load_targets(backend, "confusion_matrix", y, x, self.model)
            output = self.model.output_shape(self.model.input_shape() or tuple(x.shape[1:]))
            if output is None:
                raise ValueError("a confusion matrix needs a model of known output shape")
            n_classes = output[-1]
            counts = np.zeros((n_classes, n_classes), dtype=np.int64)
            # In parts: the one-hot rows of all samples at once could take more memory than they.
            for rows, predicted in self._parts(backend, x, predicted_classes):
                labels = class_labels(backend.xp, y[rows, ...])
                part = confusion_matrix(backend.xp, labels, predicted, n_classes)
                counts += backend.to_numpy(part)
            return counts

    def _map(self, x: Any, head: Any) -> Array:
        """Apply `head(xp, output)` to the network's output, chunk by chunk, where `x` lives."""
        backend = home_of(self.backend, x)
        with backend.scope():
            x = load_inputs(backend, "predict", x, self.model, allow_none=True)
            parts = [part for _, part in self._parts(backend, x, head)]
            return parts[0] if len(parts) == 1 else backend.xp.concat(parts, axis=0)

    def _parts(self, backend: Backend, x: Array, head: Any) -> Iterator[tuple[slice, Array]]:
        """The rows of each chunk, and `head(xp, output)` of them."""
        xp, params = backend.xp, self._params_on(backend)
        every_row = chunks(x.shape[0], chunk_rows(self.model, x))
        for rows in list(every_row) or [slice(0, 0)]:
            batch = prepare(
                xp,
                x[rows, ...],
                maximum=self.pixel_maximum,
                dtype=backend.dtype,
                shape=self.model.input_shape(),
            )
            output, _ = self.model.forward(xp, params, batch, EVALUATION)
            yield rows, head(xp, output)

    def _params_on(self, backend: Backend) -> dict[str, Array]:
        if backend is self.backend:
            return self.params
        return {
            name: backend.asarray(self.backend.to_numpy(value))
            for name, value in self.params.items()
        }

    # -- arrays ---------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """The arrays that make the network, by their names in a state and in a file."""
        return {f"param/{name}": value for name, value in self.params.items()}

    def set_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Take the arrays of the network from a state, or from what `arrays` gave."""
        self.params = select(arrays, "param/")

    def copy(self) -> "Network":
        """The same network with parameters of its own, as a callback may want to keep it."""
        with self.backend.scope():
            params = {
                name: self.backend.asarray(value, copy=True) for name, value in self.params.items()
            }
        return Network(
            self.model,
            params,
            self.backend,
            history=self.history[:],
            sample_shape=self.sample_shape,
            pixel_maximum=self.pixel_maximum,
        )

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> "Network":
        return self.copy()

    # -- files ----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as a safetensors file, which `load` reads on any backend.

        Raises
        ------
        OSError
            If the file cannot be written; an existing file is then still whole.
        """
        arrays = {name: self.backend.to_numpy(value) for name, value in self.arrays().items()}
        metadata = {
            "model": describe_layer(self.model),
            "dtype": self.backend.dtype_name,
            "sample_shape": self.sample_shape,
            "pixel_maximum": self.pixel_maximum,
            # Without the seconds: the same run shall give the same bytes.
            "history": [
                replace(record, train_seconds=None, eval_seconds=None).to_dict()
                for record in self.history
            ],
        }
        checkpoint.write_checkpoint(path, arrays, metadata)

    def __repr__(self) -> str:
        return f"<Network on {self.backend.name} {self.backend.device_name()}: {self.model!r}>"


def load(
    path: str | os.PathLike[str],
    *,
    model: Layer | None = None,
    backend: str | Backend = "numpy",
    device: str | None = None,
    dtype: str | None = None,
) -> Network:
    """Read a network that `Network.save` wrote, on this or any other backend.

    Parameters
    ----------
    path
        The file, or a run folder that holds a `model.safetensors`.
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
    path = Path(path, "model.safetensors") if os.path.isdir(path) else Path(path)  # noqa: PTH112
    arrays, metadata = checkpoint.read_checkpoint(path)
    if "training" in metadata:
        raise CheckpointError(
            f"{path}: this is the checkpoint of a training: give it to fit(..., resume=...), or "
            f"load the network that was saved beside it"
        )
    try:
        if model is None:
            model = build_layer(metadata["model"])
        shape = metadata["sample_shape"]
        sample_shape = None if shape is None else tuple(int(n) for n in shape)
        pixel_maximum = float(metadata["pixel_maximum"])
        history = History.from_dicts(metadata["history"])
        saved_dtype = str(metadata["dtype"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: the metadata does not describe a network: {error}"
        ) from error
    shapes = {f"param/{name}": shape for name, shape in model.parameter_shapes().items()}
    checkpoint.check_arrays(path, arrays, shapes)
    opened = open_backend(backend, device, dtype or saved_dtype)
    with opened.scope():
        params = {
            name: load_array(opened, np.asarray(value))
            for name, value in select(arrays, "param/").items()
        }
    return Network(
        model,
        params,
        opened,
        history=history,
        sample_shape=sample_shape,
        pixel_maximum=pixel_maximum,
    )
