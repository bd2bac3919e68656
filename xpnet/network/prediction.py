"""From the output of a network to what it predicts, in chunks of bounded memory."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from xpnet.backends import Backend
from xpnet.data import Preparation
from xpnet.layers import EVALUATION, Layer, softmax
from xpnet.losses import LossFunction
from xpnet.metrics import predicted_classes, predicted_labels
from xpnet.network.evaluation import ChunkSizes, Evaluator, make_evaluator
from xpnet.purity import is_pure
from xpnet.typing import Array, Namespace

Head = Callable[[Namespace, Array], Array]

MOST_HEADS = 8
"""For so many heads a forward pass keeps what its backend has made of it."""


class Forward:
    """The forward pass of a model, with something done with its output, on one backend.

    It keeps what the backend has made of it, to be faster the next time: recordings with NumPy,
    compiled functions with JAX. Threads may share it.

    Parameters
    ----------
    backend, model, prepare
        Where it is computed, of which layers, and how samples become what they take.
    once
        Whether it is not worth while to keep anything.

    Attributes
    ----------
    floating
        Of the kinds of arrays that are known to be as the network takes them (`kind_of`), whether
        they are floating-point, and so may have values that are not finite.
    """

    def __init__(
        self, backend: Backend, model: Layer, prepare: Preparation, *, once: bool = False
    ) -> None:
        self.floating: dict[Any, bool] = {}
        self._made_of = (backend, model, prepare)
        self._pure, self._once = is_pure(model), once
        self._functions: dict[Head, Callable[..., Array]] = {}
        self._evaluator: tuple[LossFunction, str, Evaluator] | None = None
        self._sizes = ChunkSizes.remembered(backend, model)

    def is_of(self, *parts: Any) -> bool:
        """Whether it is made of this backend, model and preparation, as they are."""
        backend, model, prepare = self._made_of
        return parts[0] is backend and parts[1] is model and parts[2] is prepare

    def __call__(
        self,
        head: Head,
        arrays: Mapping[str, Array],
        x: Array,
        check: Callable[[Array], None] | None = None,
    ) -> Array:
        """`head(xp, output)` for all samples.

        Parameters
        ----------
        head
            What is done with the output of the network, (B, ...) of a chunk.
        arrays
            The parameters and the buffers of the model by name.
        x
            The samples; `Streamed` ones are read chunk by chunk.
        check
            Is called with each chunk, and raises what is wrong with it.
        """
        function = self._function(head)

        def answer(chunk: Array) -> Array:
            if check is not None:
                check(chunk)
            return function(arrays, chunk)

        backend, _, _ = self._made_of
        sizes = self._sizes(x)
        if x.shape[0] <= sizes.at_once and backend.owns(x):  # which is no `Streamed` one
            return answer(x)
        parts = backend.map(
            lambda rows: answer(x[rows, ...]), sizes.chunks(x.shape[0]), pure=self._pure
        )
        return parts[0] if len(parts) == 1 else backend.xp.concat(parts, axis=0)

    def in_chunks(
        self, head: Head, arrays: Mapping[str, Array], x: Array
    ) -> Iterator[tuple[slice, Array]]:
        """The rows of each chunk, and what `head` gives for it, one after the other."""
        function = self._function(head)
        return (
            (rows, function(arrays, x[rows, ...])) for rows in self._sizes(x).chunks(x.shape[0])
        )

    def evaluator(self, loss: LossFunction, kind: str) -> Evaluator:
        """What evaluates the model by a loss, for targets of a kind: that of the last time for the
        same."""
        kept = self._evaluator
        if kept is None or kept[0] is not loss or kept[1] != kind:
            backend, model, prepare = self._made_of
            evaluate = make_evaluator(
                backend, model, loss, pixel_maximum=prepare.maximum, kind=kind
            )
            kept = self._evaluator = loss, kind, evaluate
        return kept[2]

    def _function(self, head: Head) -> Callable[..., Array]:
        function = self._functions.get(head)
        if function is not None:
            return function
        backend, model, prepare = self._made_of
        xp = backend.xp

        def forward(arrays: Mapping[str, Array], x: Array) -> Array:
            output, _ = model.forward(xp, arrays, prepare(xp, x), EVALUATION)
            return head(xp, output)

        # A layer of one's own may read values, which what JAX compiles has not.
        if self._once or not self._pure or len(self._functions) >= MOST_HEADS:
            return forward
        return self._functions.setdefault(head, backend.compile(forward, pure=True))


def kind_of(x: Array) -> Any:
    """All of an array by which is decided whether a network takes it, but its values."""
    return type(x), x.dtype, tuple(x.shape[1:])


def output_itself(xp: Namespace, output: Array) -> Array:
    """The output as it is."""
    return output


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
    "values": output_itself,
}
"""What is predicted, by the kind of targets."""

PROBABILITIES: dict[str, Head] = {
    "classes": softmax,
    "multilabel": label_probabilities,
}
"""The probabilities, by the kind of targets; values have none."""
