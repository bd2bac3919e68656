"""Loss, accuracy and predictions over many samples, in chunks of bounded memory."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from xpnet.backends import Backend
from xpnet.data import Preparation, taken_shape
from xpnet.distributed.group import ALONE, Group
from xpnet.errors import counted
from xpnet.inputs.chunks import chunks
from xpnet.inputs.weighted import Weighted, rows_of
from xpnet.layers import EVALUATION, Layer
from xpnet.layers.container import wanted_shape
from xpnet.losses import LossFunction, target_kind
from xpnet.metrics import count_correct, count_correct_labels
from xpnet.network.output import loaded_loss
from xpnet.purity import is_pure
from xpnet.typing import Array, Params, Shape

FEWEST_ROWS = 64
"""So many samples are in a chunk at least, however wide their rows are."""

MOST_SHAPES = 64
"""For so many shapes of samples it is kept in which chunks they go through a network."""

Evaluator = Callable[[Params, Array, Array], "Evaluation"]


@dataclass(frozen=True)
class Evaluation:
    """How a network does on a set of samples.

    Attributes
    ----------
    loss
        The mean loss, with the weights of classes and samples where there are any.
    accuracy
        The fraction of samples whose class is predicted rightly; of several labels, the fraction
        of entries; None for values. Weights do not count here.
    errors
        The number of the others; None for values.
    count
        The number of samples.
    n_labels
        How many labels a sample has that hold or not; 1 where it has a class.
    """

    loss: float
    accuracy: float | None
    errors: int | None
    count: int
    n_labels: int = 1

    def __str__(self) -> str:
        if self.accuracy is None or self.errors is None:
            return f"loss {self.loss:.4f} ({counted(self.count, 'sample')})"
        return (
            f"loss {self.loss:.4f}, accuracy {100 * self.accuracy:.2f} % "
            f"({counted(self.errors, 'error')} in {self.count * self.n_labels:,})"
        )


def make_evaluator(
    backend: Backend,
    model: Layer,
    loss: LossFunction,
    *,
    pixel_maximum: float = 1.0,
    kind: str | None = None,
    group: Group = ALONE,
    pure: bool | None = None,
) -> Evaluator:
    """The function `evaluate(params, x, y) -> Evaluation` over all samples of x and y.

    `params` has the parameters and the buffers of the model by name, as `Network.arrays` has.
    The sums stay on the device and are read once. `y` may be a pair `Weighted(targets, weights)`.
    `kind` is the kind of the targets, by which is decided what an error is; that of the loss if
    None, and classes for a function that does not say. Of several ranks, which all call it, each
    takes some of the chunks; their sums are added in the order of the chunks, as on one. `pure` is
    as in `Backend.compile`; None for what `is_pure` says.
    """
    xp = backend.xp
    prepare = Preparation(pixel_maximum, backend.dtype_name, wanted_shape(model))
    kind = kind or target_kind(loss) or "classes"
    count_right = {"classes": count_correct, "multilabel": count_correct_labels}.get(kind)
    pure = is_pure(model, loss) if pure is None else pure
    loss = loaded_loss(backend, model, loss)

    def chunk(params: Params, x: Array, y: Array) -> tuple[Array, Array | None]:
        output, _ = model.forward(xp, params, prepare(xp, x), EVALUATION)
        if isinstance(y, Weighted):
            mean, _ = loss(xp, output, y.target, weight=y.weight, need_grad=False)
            y = y.target
        else:
            mean, _ = loss(xp, output, y, need_grad=False)
        right = None if count_right is None else count_right(xp, output, y)
        return mean * x.shape[0], right

    chunk = backend.compile(chunk, pure=pure)
    sizes = ChunkSizes.remembered(backend, model)

    def evaluate(params: Params, x: Array, y: Array) -> Evaluation:
        count = x.shape[0]
        all_rows = sizes(x).chunks(count)
        sums = backend.map(
            lambda rows: chunk(params, x[rows, ...], rows_of(y, (rows, ...))),
            all_rows[group.rank :: group.size],
            pure=pure,
        )
        if group.size > 1:
            sums = _of_all_ranks(backend, group, sums, len(all_rows))
        total = float(backend.to_numpy(sum(loss_sum for loss_sum, _ in sums)))
        if count_right is None:
            return Evaluation(total / count, None, None, count)
        target = y.target if isinstance(y, Weighted) else y
        n_labels = target.shape[1] if kind == "multilabel" else 1
        entries = count * n_labels
        right = int(backend.to_numpy(sum(n_right for _, n_right in sums)))
        return Evaluation(total / count, right / entries, entries - right, count, n_labels)

    return evaluate


def _of_all_ranks(
    backend: Backend, group: Group, sums: list[tuple[Array, Array | None]], n_chunks: int
) -> list[tuple[Array, Array | None]]:
    """The sums of all chunks, in their order, of those of each rank."""

    def bring(values: Iterable[Array | None], to: Callable[[Array], Array]) -> tuple[Any, ...]:
        return tuple(None if value is None else to(value) for value in values)

    each = group.gather([bring(pair, backend.to_numpy) for pair in sums])
    in_order = (each[number % group.size][number // group.size] for number in range(n_chunks))
    return [bring(pair, backend.asarray) for pair in in_order]


@dataclass(frozen=True)
class ChunkSizes:
    """How many samples go through a network together.

    Attributes
    ----------
    at_once
        So many are one chunk, whose products are shared by threads: to give each thread chunks of
        its own takes longer than they do.
    most
        The most in a chunk of those that are more.
    """

    at_once: int
    most: int

    @classmethod
    def of(cls, backend: Backend, model: Layer, x: Array) -> "ChunkSizes":
        """Those for samples of such a shape: a chunk stays in the cache of a core."""
        return cls(chunk_rows(backend, model, x), chunk_rows(backend, model, x, cached=True))

    @classmethod
    def remembered(cls, backend: Backend, model: Layer) -> "Callable[[Array], ChunkSizes]":
        """`of` for one model, that is worked out once for each shape: it takes as long as a small
        network does."""
        known: dict[tuple[Shape, int], ChunkSizes] = {}

        def sizes(x: Array) -> ChunkSizes:
            key = tuple(x.shape[1:]), backend.chunk_values
            found = known.get(key)
            if found is None:
                if len(known) >= MOST_SHAPES:
                    known.clear()
                found = known[key] = cls.of(backend, model, x)
            return found

        return sizes

    def chunks(self, count: int) -> list[slice]:
        """Chunks of one size, but for the last, and as many for each of two threads.

        Of no samples there is one, without rows.
        """
        if count <= self.at_once:
            return [slice(0, count)]
        pairs = math.ceil(count / (2 * self.most))
        return list(chunks(count, math.ceil(count / (2 * pairs))))


def chunk_rows(backend: Backend, model: Layer, x: Array, *, cached: bool = False) -> int:
    """How many samples make a chunk, so that the widest array holds `Backend.chunk_values`; of
    those that are to stay in a core's cache, `Backend.cached_values`.

    At least `FEWEST_ROWS`, unless pictures inside of the network are so large that these would be
    more than `Backend.chunk_values`: a product of pixels is no smaller for fewer pictures.
    """
    values = backend.cached_values if cached else backend.chunk_values
    shape = tuple(x.shape[1:])
    pictures = max(_picture_sizes(model, taken_shape(wanted_shape(model), shape)), default=0)
    widths = [pictures, math.prod(shape), *(s[-1] for s in model.parameter_shapes().values())]
    fewest = max(1, min(FEWEST_ROWS, backend.chunk_values // pictures)) if pictures else FEWEST_ROWS
    return max(fewest, values // max(1, *widths))


def _picture_sizes(layer: Layer, shape: Shape | None) -> Iterator[int]:
    """How many numbers the outputs hold that have several axes, where their shapes are known."""
    if hasattr(layer, "inner_shapes"):
        for _, inner, inner_shape in layer.inner_shapes(shape):
            yield from _picture_sizes(inner, inner_shape)
    elif shape is not None and None not in shape:
        output = layer.output_shape(shape)
        if output is not None and len(output) > 1 and None not in output:
            yield math.prod(output)
