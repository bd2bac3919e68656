"""What a network gives for samples, which an estimator takes as they are."""

from collections.abc import Iterator, Mapping
from typing import Any

from xpnet.backends import Backend
from xpnet.data import Preparation
from xpnet.layers import Sequential
from xpnet.network.prediction import Forward, Head
from xpnet.typing import Array


def outputs_of(
    work: Backend, model: Sequential, arrays: Mapping[str, Array], x: Any, head: Head
) -> Iterator[Array]:
    """`head(xp, output)` for samples on the backend, in chunks of bounded memory."""
    as_it_is = Preparation(1.0, work.dtype_name, model.input_shape())
    for _, found in Forward(work, model, as_it_is, once=True).in_chunks(head, arrays, x):
        yield found
