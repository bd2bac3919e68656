"""What each number of a sample counts for in the score of a class: the gradient by the input."""

import math
from functools import partial
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.data import taken_shape
from xpnet.errors import DataError, shown
from xpnet.inputs.chunks import chunks
from xpnet.inputs.containers import plain
from xpnet.inputs.labels import encode
from xpnet.inputs.samples import home_of, load_inputs, source_of
from xpnet.layers import EVALUATION, Layer
from xpnet.layers.container import wanted_shape
from xpnet.losses import one_hot
from xpnet.metrics import predicted_classes
from xpnet.network.evaluation import chunk_rows
from xpnet.network.tabular import samples_of
from xpnet.typing import Array, HostArray

_CACHES = 8
"""A backward pass keeps what the layers gave, and is given so many times fewer samples."""


class Salient:
    """How a `Network` is asked what it looks at."""

    model: Layer
    target_kind: str
    classes: HostArray | None

    def saliency(self: Any, x: Any, classes: Any = None) -> Array:
        """The derivative of the score of a class by each number of each sample.

        Where it is large a small change of a pixel changes the score much: up where it is above
        zero, and down below. The score is the output of the network for the class, a logit if it
        was trained with `softmax_cross_entropy`, and goes back down by the layers' own backward
        pass, as they are in evaluation.

        Parameters
        ----------
        x
            Samples as for `predict`, shape (N, ...). Of integers and Booleans it is the derivative
            by what the layers are given, which is `x / pixel_maximum`.
        classes
            The classes whose scores are meant, each for its sample, shape (N,), or one for all: as
            the labels were in training; of several labels, and of values, numbers of outputs. If
            None, what is predicted: the class, or label, with the highest score. A network with one
            output that tells two classes apart has its output as the score of the second, and the
            negative as that of the first.

        Returns
        -------
        gradients
            Of the shape of `x`, in the network's dtype; of the kind and on the device of `x` (NumPy
            for lists).

        Raises
        ------
        DataError
            If samples do not fit, as in `predict`, or there is no such class.
        ValueError
            If the network gives several values, and it is not said which is meant.

        References
        ----------
        Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image
        classification models and saliency maps", 2014, https://arxiv.org/abs/1312.6034
        """
        x = samples_of(self.table, "saliency", x)
        backend = home_of(self.backend, x)
        with backend.scope():
            x = load_inputs(backend, "saliency", x, self.model, allow_none=True)
            numbers = None if classes is None else self._outputs_meant(backend, classes, x)
            gradients = partial(self._gradients, backend, self._arrays_on(backend))
            rows = max(1, chunk_rows(backend, self.model, x) // _CACHES)
            parts = [
                gradients(x[part, ...], None if numbers is None else numbers[part])
                for part in chunks(x.shape[0], rows)
            ]
            if not parts:
                return backend.asarray(np.zeros(tuple(x.shape)), backend.dtype)
            return parts[0] if len(parts) == 1 else backend.xp.concat(parts, axis=0)

    def _gradients(
        self: Any, backend: Backend, arrays: dict[str, Array], x: Array, numbers: HostArray | None
    ) -> Array:
        """The derivatives for some samples; by the scores of what is predicted, if None."""
        xp, shape = backend.xp, tuple(x.shape)
        output, cache = self.model.forward(xp, arrays, self.preparation(xp, x), EVALUATION)
        if output.ndim != 2:
            raise ValueError(
                f"saliency: the network gives outputs of shape {tuple(output.shape[1:])}, which "
                f"are no scores of classes"
            )
        dy = self._scores(backend, output, numbers)
        return xp.reshape(self.model.input_gradient(xp, arrays, cache, dy), shape)

    def _scores(self: Any, backend: Backend, output: Array, numbers: HostArray | None) -> Array:
        """The derivatives of the scores that are meant by the outputs: rows of 0 and 1, or -1."""
        xp, n_outputs = backend.xp, output.shape[1]
        if n_outputs == 1 and self.target_kind == "multilabel":
            if numbers is None:
                one = xp.ones_like(output)
                return xp.where(output > 0, one, -one)
            return backend.asarray(2.0 * numbers[:, None] - 1.0, backend.dtype)
        if numbers is not None:
            meant = backend.asarray(numbers, backend.index_dtype)
        elif n_outputs > 1 and self.target_kind == "values":
            raise ValueError(
                f"saliency: the network gives {n_outputs} values: say which is meant, as by "
                f"classes=0"
            )
        else:
            meant = predicted_classes(xp, output)
        return one_hot(xp, meant, n_outputs, backend.dtype)

    def _outputs_meant(self: Any, backend: Backend, classes: Any, x: Array) -> HostArray:
        """The number of an output for each sample; of two classes with one output 0 and 1."""
        what, count = "saliency: classes", x.shape[0]
        given = np.full((count,), classes) if np.ndim(classes) == 0 else classes
        output = self.model.output_shape(taken_shape(wanted_shape(self.model), tuple(x.shape[1:])))
        kind = "classes" if self.target_kind == "values" else self.target_kind
        given = encode(what, backend, plain(what, given, labels=True), kind, output, self.classes)
        source, numbers = source_of(backend, given, what)
        with source.scope():
            numbers = source.to_numpy(numbers)
        of_two = output == (1,) and kind == "multilabel"
        ends = 2 if of_two else math.prod(output or ())
        fits = numbers.shape == (count,)
        if not (fits and np.isin(numbers, np.arange(ends)).all()):
            raise DataError(
                f"{what} must be one for all samples, or one for each of the {count}, from 0 to "
                f"{ends - 1}; got {shown(classes)}"
            )
        return numbers.astype(np.int64)
