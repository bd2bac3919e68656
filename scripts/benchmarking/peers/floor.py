"""The floor: the matrix products of training and nothing else."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarking.cases import Job
from benchmarking.peers import Tick

Product = tuple[Any, Any, Any]
"""Left, right and where the result goes."""


def products(sizes: tuple[int, ...], batch: int, make: Callable[..., Any]) -> list[Product]:
    """The products of one step, on arrays made once by `make(shape)`.

    Forward A W for each layer; backward A^T dZ for each weight, and dZ W^T for the input of each
    layer but the lowest: 3 L - 1 products for L layers, of 6 B n_in n_out operations a layer less
    2 B n_in n_out for the lowest.
    """
    pairs = list(itertools.pairwise(sizes))
    activations = [make((batch, size)) for size in sizes]
    deltas = [make((batch, size)) for size in sizes]
    weights = [make(pair) for pair in pairs]
    gradients = [make(pair) for pair in pairs]
    found: list[Product] = []
    for i, weight in enumerate(weights):
        found.append((activations[i], weight, activations[i + 1]))
    for i in reversed(range(len(weights))):
        found.append((activations[i].T, deltas[i + 1], gradients[i]))
        if i:
            found.append((deltas[i + 1], weights[i].T, deltas[i]))
    return found


def epoch_of_products(
    samples: int, sizes: tuple[int, ...], batch: int, make: Callable[..., Any]
) -> list[tuple[int, list[Product]]]:
    """How often the products of which batch size are made: whole batches, then the rest."""
    whole, rest = divmod(samples, batch)
    counted = [(whole, products(sizes, batch, make))]
    if rest:
        counted.append((1, products(sizes, rest, make)))
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

    counted = epoch_of_products(len(job.x), job.sizes, job.batch_size, make)
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
    counted = epoch_of_products(len(job.x), job.sizes, job.batch_size, make)
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
