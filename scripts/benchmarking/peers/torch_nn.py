"""PyTorch: `torch.nn`, autograd and `torch.optim.SGD`, with data in memory or a DataLoader."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.typing import HostArray

Batches = Callable[[], Iterable[tuple[Any, Any]]]


def run(job: Job, tick: Tick, *, optimizer: Any = ("SGD", {"lr": LEARNING_RATE})) -> HostArray:
    """Tensors in memory, batches by index, operation by operation."""
    return _train(job, tick, batches_by_index(job), optimizer=optimizer)


def run_compiled(job: Job, tick: Tick) -> HostArray:
    """The same with the network and its loss in `torch.compile`."""
    return _train(job, tick, batches_by_index(job), compiled=True)


def run_loader(job: Job, tick: Tick) -> HostArray:
    """The same with a shuffling `DataLoader` of one process."""
    from torch.utils.data import DataLoader, TensorDataset

    images, labels = torch.from_numpy(job.x), torch.from_numpy(job.y)
    loader = DataLoader(TensorDataset(images, labels), batch_size=job.batch_size, shuffle=True)
    place = device_of(job)

    def batches() -> Iterable[tuple[Any, Any]]:
        for x, y in loader:
            yield x.to(place), y.to(place)

    return _train(job, tick, batches)


def device_of(job: Job) -> Any:
    """Where PyTorch works."""
    torch.backends.cuda.matmul.allow_tf32 = job.task.tf32
    return torch.device("cuda" if job.cuda else "cpu")


def batches_by_index(job: Job) -> Batches:
    """Batches gathered on the device from the whole training set."""
    place = device_of(job)
    images, labels = torch.from_numpy(job.x).to(place), torch.from_numpy(job.y).to(place)

    def batches() -> Iterable[tuple[Any, Any]]:
        for rows in torch.randperm(len(labels), device=place).split(job.batch_size):
            yield images[rows], labels[rows]

    return batches


def network_of(job: Job) -> Any:
    """The network with the weights that all peers begin with."""
    layers: list[Any] = []
    for weight, bias in job.weights():
        linear = nn.Linear(*weight.shape)
        linear.weight.data = torch.from_numpy(weight.T.copy())
        linear.bias.data = torch.from_numpy(bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(device_of(job))


def _train(
    job: Job,
    tick: Tick,
    batches: Batches,
    *,
    compiled: bool = False,
    optimizer: Any = ("SGD", {"lr": LEARNING_RATE}),
) -> HostArray:
    torch.manual_seed(0)
    model = network_of(job)
    name, options = optimizer
    optimizer = getattr(torch.optim, name)(model.parameters(), **options)

    def loss_of(x: Any, y: Any) -> Any:
        return cross_entropy(model(x.float() / job.pixel_maximum), y)

    if compiled:
        # Not dynamic: the last batch is smaller, and would make all others slower.
        loss_of = torch.compile(loss_of, dynamic=False)
    for _ in range(job.epochs):
        started = time.perf_counter()
        for x, y in batches():
            optimizer.zero_grad()
            loss_of(x, y).backward()
            optimizer.step()
        if job.cuda:
            torch.cuda.synchronize()
        tick(time.perf_counter() - started)
    with torch.no_grad():
        test_x = torch.from_numpy(job.scaled(job.test_x)).to(device_of(job))
        found: HostArray = model(test_x).argmax(dim=1).cpu().numpy()
    return found
