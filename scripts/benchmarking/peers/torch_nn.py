"""PyTorch: `torch.nn`, autograd and `torch.optim.SGD`, with data in memory or a DataLoader."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU
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
    torch.backends.cudnn.allow_tf32 = job.task.tf32
    return torch.device("cuda" if job.cuda else "cpu")


def batches_by_index(job: Job) -> Batches:
    """Batches gathered on the device from the whole training set."""
    place = device_of(job)
    images, labels = torch.from_numpy(job.x).to(place), torch.from_numpy(job.y).to(place)

    def batches() -> Iterable[tuple[Any, Any]]:
        for rows in torch.randperm(len(labels), device=place).split(job.batch_size):
            yield images[rows], labels[rows]

    return batches


class ChannelsLast(nn.Module):  # type: ignore[misc, unused-ignore]
    """Grey pictures (B, H, W) with their channel, as PyTorch's shape (B, 1, H, W)."""

    def forward(self, x: Any) -> Any:
        """In the memory format in which PyTorch's convolutions are fastest on a CPU."""
        return x[:, None].contiguous(memory_format=torch.channels_last)


def network_of(job: Job, given: dict[str, HostArray]) -> Any:
    """The network with these parameters; of pictures with channels last."""
    arrays = {name: torch.from_numpy(array) for name, array in given.items()}
    modules: list[Any] = []
    pictures: Any = None
    for name, layer in job.model.layers.items():
        own = {key: arrays[f"{name}.{key}"] for key in layer.parameter_shapes()}
        if isinstance(layer, Dense):
            modules.append(_linear(**own, pictures=pictures))
            pictures = None
        elif isinstance(layer, Flatten):
            pictures = layer.shape
            modules.append(nn.Flatten())
        else:
            modules.append(_MODULES[type(layer)](layer, own))
    if len(job.x.shape) == 3:
        modules.insert(0, ChannelsLast())
    return nn.Sequential(*modules).to(device_of(job), memory_format=torch.channels_last)


def _linear(weight: Any, bias: Any, pictures: Any) -> Any:
    """A dense layer; of pictures its inputs are in PyTorch's order, with channels first."""
    linear = nn.Linear(*weight.shape)
    if pictures is not None:
        weight = weight.reshape(*pictures, -1).permute(2, 0, 1, 3).reshape(weight.shape)
    linear.weight.data, linear.bias.data = weight.T.contiguous(), bias
    return linear


def _convolution(layer: Conv2D, own: dict[str, Any]) -> Any:
    module = nn.Conv2d(
        layer.n_in, layer.n_out, layer.kernel, padding=layer.padding, bias=layer.bias
    )
    module.weight.data = own["weight"].permute(3, 2, 0, 1).contiguous()
    if module.bias is not None:
        module.bias.data = own["bias"]
    return module


_MODULES: dict[type, Callable[[Any, dict[str, Any]], Any]] = {
    ReLU: lambda layer, own: nn.ReLU(),
    MaxPool2D: lambda layer, own: nn.MaxPool2d(layer.size),
    BatchNorm: lambda layer, own: nn.BatchNorm2d(layer.n_features, layer.epsilon, layer.momentum),
    Conv2D: _convolution,
}
"""What makes the module of a layer, with its arrays by name."""


def _train(
    job: Job,
    tick: Tick,
    batches: Batches,
    *,
    compiled: bool = False,
    optimizer: Any = ("SGD", {"lr": LEARNING_RATE}),
) -> HostArray:
    torch.manual_seed(0)
    model = network_of(job, job.arrays())
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
    model.eval()
    with torch.no_grad():
        test_x = torch.from_numpy(job.scaled(job.test_x)).to(device_of(job))
        parts = [model(part).argmax(dim=1) for part in test_x.split(1000)]
        found: HostArray = torch.cat(parts).cpu().numpy()
    return found
