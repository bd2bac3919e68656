"""From the output of a network to what it predicts, in chunks of bounded memory."""

from collections.abc import Callable, Iterator, Mapping

from xpnet.backends import Backend
from xpnet.data import Preparation
from xpnet.inputs.chunks import chunks
from xpnet.layers import EVALUATION, Layer, softmax
from xpnet.metrics import predicted_classes, predicted_labels
from xpnet.network.evaluation import chunk_rows
from xpnet.typing import Array, Namespace

Head = Callable[[Namespace, Array], Array]


def outputs_in_chunks(
    backend: Backend, model: Layer, arrays: Mapping[str, Array], x: Array, prepare: Preparation
) -> Iterator[tuple[slice, Array]]:
    """The rows of each chunk of samples, and the output of the model for them.

    Of no samples there is one chunk, with an output of no rows.
    """
    xp = backend.xp
    every_row = list(chunks(x.shape[0], chunk_rows(backend, model, x)))
    for rows in every_row or [slice(0, 0)]:
        output, _ = model.forward(xp, arrays, prepare(xp, x[rows, ...]), EVALUATION)
        yield rows, output


def label_probabilities(xp: Namespace, output: Array) -> Array:
    """1 / (1 + exp(-z)) of logits z, with all digits of the small ones too.

    As exp(min(z, 0)) / (1 + exp(-abs(z))): a `Sigmoid` is right to a rounding of 1, and no further.
    """
    return xp.exp(xp.minimum(output, 0.0)) / (1 + xp.exp(-xp.abs(output)))


def log_label_probabilities(xp: Namespace, output: Array) -> Array:
    """The logarithm of `label_probabilities`, min(z, 0) - log(1 + exp(-abs(z))): finite."""
    return xp.minimum(output, 0.0) - xp.log1p(xp.exp(-xp.abs(output)))


PREDICTIONS: dict[str, Head] = {
    "classes": predicted_classes,
    "multilabel": predicted_labels,
    "values": lambda xp, output: output,
}
"""What is predicted, by the kind of targets."""

PROBABILITIES: dict[str, Head] = {
    "classes": softmax,
    "multilabel": label_probabilities,
}
"""The probabilities, by the kind of targets; values have none."""
