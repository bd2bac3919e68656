"""The mini-batches of an epoch, from samples on the device or from samples in a file."""

from collections.abc import Iterator

import numpy as np

from xpnet.backends import Backend
from xpnet.checks import positive_integer
from xpnet.errors import counted
from xpnet.inputs.chunks import chunks
from xpnet.inputs.samples import Streamed
from xpnet.inputs.weighted import rows_of
from xpnet.layers import Layer
from xpnet.layers.container import smallest_batch
from xpnet.random import Seed, permutation
from xpnet.typing import Array, HostArray, Namespace, Shape

VARYING_GROUP = 16
"""The most batches at a time where epochs have different numbers of them, so that few sizes of
groups occur: a compiler works anew for each."""

_GROUP_BYTES = 16 * 2**20
"""About how many bytes of samples are read from a file at once, where a batch is not larger."""


def batches(
    backend: Backend,
    x: Array,
    y: Array,
    order: HostArray,
    batch_size: int,
    group: int,
    *,
    skip: int = 0,
) -> Iterator[tuple[Array, Array, Array]]:
    """The steps of an epoch, some at a time: `(x, y, rows)` as what `repeat` returned takes them.

    Parameters
    ----------
    backend
        Where the steps are taken.
    x, y
        Samples and targets (or `Weighted`), all of them on the device, or `Streamed`. The first are
        handed on as they are. Of the others the rows of each group are brought to the device, and
        `rows` counts in these.
    order
        The order of the samples, on the host.
    batch_size, group
        As in `grouped_batches`. Where samples are large, fewer batches of streamed ones are taken
        at a time.
    skip
        How many steps to leave out: those that were taken before a break.
    """
    xp, index = backend.xp, backend.index_dtype
    if not isinstance(x, Streamed):
        groups = grouped_batches(xp, backend.asarray(order, dtype=index), batch_size, group)
        for rows in _after(groups, skip) if skip else groups:
            yield x, y, rows
        return
    group = max(1, min(group, _GROUP_BYTES // (batch_size * x.row_bytes)))
    groups = grouped_batches(np, order, batch_size, group)
    for rows in _after(groups, skip) if skip else groups:
        flat = rows.reshape(-1)
        local = np.arange(flat.size).reshape(rows.shape)
        yield x[flat], rows_of(y, flat), backend.asarray(local, dtype=index)


def grouped_batches(xp: Namespace, order: Array, batch_size: int, group: int) -> Iterator[Array]:
    """The batches of an epoch, up to `group` of them at a time: arrays of rows (k, batch_size).

    Only two sizes of k occur, of which one is 1, because a compiler works anew for each. The last
    batch (1, ...) is smaller where the size does not divide the number of samples.
    """
    count = order.shape[0]
    batch_size = max(1, min(batch_size, count))  # no library has axes of any size, if empty ones
    n_whole = count // batch_size
    # Of the sizes from half of `group` on, the one that leaves the fewest batches single.
    sizes = range(min(group, max(n_whole, 1)), group // 2, -1)
    group = min(sizes, key=lambda size: n_whole % size, default=max(n_whole, 1))
    n_grouped = n_whole // group * group
    whole = xp.reshape(order[: n_whole * batch_size], (n_whole, batch_size))
    for first in range(0, n_grouped, group):
        yield whole[first : first + group, :]
    for first in range(n_grouped, n_whole):
        yield whole[first : first + 1, :]
    if n_whole * batch_size < count:
        yield order[None, n_whole * batch_size :]


def _after(groups: Iterator[Array], skip: int) -> Iterator[Array]:
    """What is left of the groups without the first `skip` batches."""
    for rows in groups:
        count = rows.shape[0]
        if skip < count:
            yield rows[skip:, :] if skip else rows
        skip = max(0, skip - count)


def counting(order: HostArray, batch_size: int, counts: HostArray | None) -> HostArray:
    """The order of an epoch without the batches in which no sample counts.

    The loss of such a batch has no gradient, but a step on it would still decay parameters and
    means of gradients, and go on along a velocity. All other batches are as they were.

    Parameters
    ----------
    order, batch_size
        As in `batches`.
    counts
        Whether each sample counts, its weight not being 0, by its row number; None if all do.
    """
    if counts is None:
        return order
    whole = order.shape[0] // batch_size * batch_size
    rows = order[:whole].reshape(-1, batch_size)
    rest = order[whole:]
    return np.concatenate([
        rows[counts[rows].any(axis=1)].reshape(-1), rest if counts[rest].any() else rest[:0]
    ])  # fmt: skip


def shuffled_batches(
    backend: Backend,
    n_samples: int,
    batch_size: int,
    *,
    seed: Seed,
    epoch: int,
    drop_last: bool = False,
) -> Iterator[Array]:
    """The mini-batches of an epoch, in the order in which `fit` takes them: for a loop of your own.

    Parameters
    ----------
    backend
        Where the training set is.
    n_samples, batch_size
        Positive integers.
    seed
        The seed of the run.
    epoch
        The number of the epoch, from 1; each has an order of its own.
    drop_last
        Whether a last batch that would be smaller is left out.

    Yields
    ------
    rows
        Row numbers, shape (batch_size,), on the device, as `step(state, x, y, rows)` takes them;
        the last batch is smaller where the size does not divide, if it is not left out.

    Examples
    --------
    >>> from xpnet import open_backend, shuffled_batches
    >>> backend = open_backend("numpy")
    >>> [rows.tolist() for rows in shuffled_batches(backend, 5, 2, seed=0, epoch=1)]
    [[1, 0], [2, 3], [4]]
    """
    n_samples = positive_integer("n_samples", n_samples)
    batch_size = positive_integer("batch_size", batch_size)
    order = backend.asarray(permutation(seed, epoch, n_samples), dtype=backend.index_dtype)
    visited = visited_samples(n_samples, batch_size, drop_last=drop_last)
    return (order[rows] for rows in chunks(visited, batch_size))


def visited_samples(n_samples: int, batch_size: int, *, drop_last: bool) -> int:
    """How many samples an epoch takes steps on: all, or those of whole batches."""
    return n_samples // batch_size * batch_size if drop_last else n_samples


def check_batch_size(
    model: Layer,
    n_samples: int,
    batch_size: int,
    *,
    drop_last: bool | None = None,
    shape: Shape | None = None,
) -> None:
    """Check that an epoch has batches, and none that is too small for a layer of the model.

    `drop_last` is None where a last batch cannot be left out; `shape` is that of one sample as the
    model takes it.

    Raises
    ------
    ValueError
        If one is, or there is no whole batch and no other is wanted.
    """
    if drop_last and batch_size > n_samples:
        raise ValueError(
            f"drop_last=True leaves nothing to train on, for {counted(n_samples, 'sample')} make "
            f"no batch of batch_size {batch_size}: take a batch size up to {n_samples}, or "
            "drop_last=False"
        )
    last = batch_size if drop_last else n_samples % batch_size or batch_size
    needed = smallest_batch(model, shape)
    if last < needed:
        how = "drop_last=True" if drop_last is False and last < batch_size else "leave samples out"
        raise ValueError(
            f"batch_size {batch_size} leaves {last} of {counted(n_samples, 'sample')} for the last "
            f"batch, but the model needs {needed} or more (batch norm takes the "
            f"variance of a batch): take another batch size, or {how}"
        )
