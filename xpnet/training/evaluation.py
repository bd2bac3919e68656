"""Loss, accuracy and predictions over many samples, in chunks of bounded memory."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xpnet.backends import Backend
from xpnet.data.preparation import prepare
from xpnet.layers import EVALUATION, Layer
from xpnet.losses import Loss
from xpnet.metrics import count_correct
from xpnet.typing import Array, Params

_CHUNK_VALUES = 2_000_000
"""About how many numbers the widest array of a chunk holds: 8 MB in float32."""

Evaluator = Callable[[Params, Array, Array], "Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """How a network does on a set of samples.

    Attributes
    ----------
    loss
        The mean loss.
    accuracy
        The fraction of samples whose class is predicted rightly.
    errors
        The number of the others.
    count
        The number of samples.
    """

    loss: float
    accuracy: float
    errors: int
    count: int

    def __str__(self) -> str:
        return (
            f"loss {self.loss:.4f}, accuracy {100 * self.accuracy:.2f} % "
            f"({self.errors:,} errors in {self.count:,})"
        )


def make_evaluator(
    backend: Backend, model: Layer, loss: Loss, *, pixel_maximum: float
) -> Evaluator:
    """The function `evaluate(params, x, y) -> Evaluation` over all samples of x and y.

    `params` has the parameters and the buffers of the model by name, as `Network.arrays` has.
    The sums stay on the device and are read once.
    """
    xp, dtype, shape = backend.xp, backend.dtype, model.input_shape()

    def chunk(params: Params, x: Array, y: Array) -> tuple[Array, Array]:
        x = prepare(xp, x, maximum=pixel_maximum, dtype=dtype, shape=shape)
        output, _ = model.forward(xp, params, x, EVALUATION)
        mean, _ = loss(xp, output, y, need_grad=False)
        return mean * x.shape[0], count_correct(xp, output, y)

    chunk = backend.compile(chunk)

    def evaluate(params: Params, x: Array, y: Array) -> Evaluation:
        count = x.shape[0]
        sums = [
            chunk(params, x[rows, ...], y[rows, ...])
            for rows in chunks(count, chunk_rows(model, x))
        ]
        total = float(backend.to_numpy(sum(loss_sum for loss_sum, _ in sums)))
        correct = int(backend.to_numpy(sum(n_correct for _, n_correct in sums)))
        return Evaluation(total / count, correct / count, count - correct, count)

    return evaluate


def chunk_rows(model: Layer, x: Array) -> int:
    """How many samples make a chunk, so that the widest array stays at a few megabytes."""
    widths = [math.prod(x.shape[1:]), *(s[-1] for s in model.parameter_shapes().values())]
    return max(64, _CHUNK_VALUES // max(widths))


def chunks(count: int, rows: int) -> Iterator[slice]:
    """Slices of `rows` samples that together are all `count`; the last may be shorter."""
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
