"""The floor: the matrix products of training and nothing else."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarking.cases import Job
from benchmarking.networks import matrix_products
from benchmarking.peers import Tick

Product = tuple[Any, Any, Any]
"""Left, right and where the result goes."""

Layer = tuple[int, int, int]
"""Rows of a sample, numbers that come into each, and that go out of it."""

LARGEST = 2**18
"""A MiB of float32, which stays in a processor's cache; of one sample, where that takes more."""


def products(
    layers: Sequence[Layer], batch: int, make: Callable[..., Any], largest: int = LARGEST
) -> list[Product]:
    """The products of one step, on arrays made once by `make(shape)`.

    Forward X W for each layer; backward X^T dY for each weight, and dY W^T for the input of each
    layer but the lowest: 3 L - 1 products for L layers, of 6 B n_in n_out operations for each row
    of a layer, less 2 B n_in n_out for the lowest.

    Parameters
    ----------
    layers
        From `matrix_products`.
    batch
        How many samples.
    make
        What makes an array of a shape.
    largest
        How many numbers the columns of a convolution may have: it is made in pieces of so many
        samples, all on the same arrays. That they are made of pictures is not measured.
    """
    forward: list[Product] = []
    backward: list[list[Product]] = []
    y: Any = None
    dy: Any = None
    for rows, n_in, n_out in layers:
        piece = batch if rows == 1 else min(batch, max(1, largest // (rows * n_in)))
        x, dx = y, dy
        if x is None or rows > 1 or x.shape != (batch, n_in):  # there is work in between
            x, dx = make((piece * rows, n_in)), make((piece * rows, n_in))
        y, dy = make((piece * rows, n_out)), make((piece * rows, n_out))
        weight, dweight = make((n_in, n_out)), make((n_in, n_out))
        lengths = [rows * min(piece, batch - first) for first in range(0, batch, piece)]
        forward += [(x[:n], weight, y[:n]) for n in lengths]
        backward.append([])
        for n in lengths:
            backward[-1].append((x[:n].T, dy[:n], dweight))
            if len(backward) > 1:
                backward[-1].append((dy[:n], weight.T, dx[:n]))
    return [*forward, *(product for layer in reversed(backward) for product in layer)]


def epoch_of_products(
    samples: int,
    layers: Sequence[Layer],
    batch: int,
    make: Callable[..., Any],
    largest: int = LARGEST,
) -> list[tuple[int, list[Product]]]:
    """How often the products of which batch size are made: whole batches, then the rest."""
    whole, rest = divmod(samples, batch)
    counted = [(whole, products(layers, batch, make, largest))]
    if rest:
        counted.append((1, products(layers, rest, make, largest)))
    return counted


def all_products(counted: list[tuple[int, list[Product]]]) -> Iterator[Product]:
    """The products of an epoch, in order."""
    for times, step in counted:
        for _ in range(times):
            yield from step


def run(job: Job, tick: Tick) -> None:
    """Measure the products; nothing is learnt."""
    if job.cuda:
        _run_cuda(job, tick)
        return
    rng = np.random.default_rng(0)

    def make(shape: tuple[int, int]) -> Any:
        # Small, so that products of products stay finite.
        return 0.01 * rng.standard_normal(shape, dtype=np.float32)

    layers = matrix_products(job.model, job.x.shape[1:])
    counted = epoch_of_products(len(job.x), layers, job.batch_size, make)
    matmul = np.matmul
    for _ in range(job.epochs):
        started = time.perf_counter()
        for left, right, out in all_products(counted):
            matmul(left, right, out=out)
        tick(time.perf_counter() - started)


def _run_cuda(job: Job, tick: Tick) -> None:
    """The same on a GPU, timed there by events.

    By PyTorch in CUDA graphs, since small products take less time than their start from Python;
    by CuPy, which cannot have products in a graph, where there is no PyTorch.
    """
    try:
        make, event, elapsed, prepare = _torch_tools(job.task.tf32)
    except ImportError:
        make, event, elapsed, prepare = _cupy_tools()
    layers = matrix_products(job.model, job.x.shape[1:])
    # In one piece: what a GPU is given at once should be much.
    counted = epoch_of_products(len(job.x), layers, job.batch_size, make, 2**40)
    play = [(times, prepare(step)) for times, step in counted]
    for _ in range(job.epochs):
        start, stop = event(), event()
        start.record()
        for times, products_of_step in play:
            for _ in range(times):
                products_of_step()
        stop.record()
        stop.synchronize()
        tick(elapsed(start, stop) / 1000)


def _cupy_tools() -> tuple[Any, ...]:
    import cupy

    def make(shape: tuple[int, int]) -> Any:
        return cupy.full(shape, 0.01, dtype=cupy.float32)

    def prepare(step: list[Product]) -> Callable[[], None]:
        def play() -> None:
            for left, right, out in step:
                cupy.matmul(left, right, out=out)

        return play

    return make, cupy.cuda.Event, cupy.cuda.get_elapsed_time, prepare


def _torch_tools(tf32: bool) -> tuple[Any, ...]:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = tf32

    def make(shape: tuple[int, int]) -> Any:
        return torch.full(shape, 0.01, device="cuda")

    def event() -> Any:
        return torch.cuda.Event(enable_timing=True)

    def prepare(step: list[Product]) -> Callable[[], None]:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # cuBLAS wants to be warm before it is captured
            for left, right, out in step:
                torch.matmul(left, right, out=out)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            for left, right, out in step:
                torch.matmul(left, right, out=out)
        play: Callable[[], None] = graph.replay
        return play

    return make, event, lambda start, stop: start.elapsed_time(stop), prepare
