"""What is measured: networks and batch sizes, and the data that all peers train on."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from benchmarking.networks import NETWORKS
from xpnet.data import Dataset, Split, load_dataset
from xpnet.layers import Sequential
from xpnet.models import mlp
from xpnet.random import stream
from xpnet.typing import HostArray, Shape

LEARNING_RATE = 0.1
SYNTHETIC_SAMPLES = 6_000
TABLES = ("iris", "breast_cancer", "table_of_digits")
"""Small tables that scikit-learn ships."""


@dataclass(frozen=True)
class Case:
    """A network, and the batch size.

    Attributes
    ----------
    hidden
        The sizes of the hidden layers of a dense network; none of a network by name.
    batch_size
        How many samples a step takes.
    network
        One of `NETWORKS`; None for a dense network.
    """

    hidden: tuple[int, ...]
    batch_size: int
    network: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Case":
        """A case as it is written on the command line, such as `800,800@128` or `lenet5@64`.

        Raises
        ------
        ValueError
            If the text is not of that form.
        """
        network, _, batch_size = text.partition("@")
        try:
            if network in NETWORKS:
                case = cls((), int(batch_size), network)
            else:
                case = cls(tuple(int(size) for size in network.split(",")), int(batch_size))
        except ValueError:
            case = None
        if case is None or min((*case.hidden, case.batch_size)) < 1:
            raise ValueError(
                f"{text!r} is not a case: give the hidden sizes, @ and the batch size, all "
                f"positive integers, such as 128@64 or 800,800@128; or one of "
                f"{', '.join(NETWORKS)} in place of the sizes, such as lenet5@64"
            )
        return case

    @property
    def tolerance(self) -> float:
        """How many points of test accuracy peers may be apart, of 10,000 samples.

        Plain descent moves a deep network by up to 7 points from one epoch to the next.
        """
        return 0.5 if len(self.hidden) <= 2 else 5.0

    def model(self, shape: Shape, n_classes: int) -> Sequential:
        """The network for samples of a shape: for a dense one, (D,)."""
        if self.network is not None:
            return NETWORKS[self.network](shape, n_classes)
        return mlp(math.prod(shape), *self.hidden, n_classes)

    def __str__(self) -> str:
        return f"{self.network or ','.join(map(str, self.hidden))}@{self.batch_size}"


CPU_CASES = (Case((128,), 64), Case((128,), 512), Case((800, 800), 128))
GPU_CASES = (
    *CPU_CASES,
    Case((2500, 2000, 1500, 1000, 500), 512),
    Case((), 64, "lenet5"),
    Case((), 512, "small_cnn"),
)


@dataclass(frozen=True)
class Task:
    """All that a worker is told: the same for every peer of a case, in JSON values.

    Attributes
    ----------
    case
        The network and the batch size.
    dataset, data_dir, limit
        `mnist`, `digits`, `synthetic` or one of `TABLES`; where to look for it; how many samples
        to take of each split, all of them if None.
    epochs
        How many are trained, with the first one, which warms up.
    device
        `cpu` or `cuda`.
    tf32
        Whether float32 products may be made in TF32.
    """

    case: Case
    dataset: str = "mnist"
    data_dir: str | None = None
    limit: int | None = None
    epochs: int = 8
    device: str = "cpu"
    tf32: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The task as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Task":
        """The inverse of `to_dict`."""
        case = values["case"]
        return cls(**{**values, "case": Case(**{**case, "hidden": tuple(case["hidden"])})})

    def load(self) -> "Job":
        """The task with its data.

        Raises
        ------
        DataError
            If the data set is not there.
        """
        data = self._data()
        assert data.test is not None
        return Job(self, replace(data, test=data.test.first(self.limit)))

    def _data(self) -> Dataset:
        if self.dataset == "synthetic":
            return synthetic(self.limit or SYNTHETIC_SAMPLES)
        if self.dataset in TABLES:
            return small_table(self.dataset)
        return load_dataset(self.dataset, data_dir=self.data_dir).limited(self.limit)

    def on(self, case: Case) -> "Task":
        """The same task for another network and batch size."""
        return replace(self, case=case)


class Job:
    """A task with its data, in the forms that peers want them.

    Attributes
    ----------
    task, data
        What to train, and on what.
    x, y, test_x, test_y
        Pixels, uint8 of shape (N, D), or (N, height, width) of a network for pictures, and int64
        labels of shape (N,), of both splits. Of a table features, float64.
    model
        The network, of xpnet's layers, after which each peer builds its own.
    sizes
        The sizes of the layers of a dense network, from the number of pixels to that of the
        classes; none of another.
    """

    def __init__(self, task: Task, data: Dataset) -> None:
        assert data.test is not None
        self.task = task
        self.data = data
        dense = task.case.network is None
        (self.x, self.y), (self.test_x, self.test_y) = (
            _samples(split, flat=dense) for split in (data.train, data.test)
        )
        self.model = task.case.model(self.x.shape[1:], data.n_classes)
        width = self.x.shape[1]
        self.sizes = (width, *task.case.hidden, data.n_classes) if dense else ()
        self.batch_size = min(task.case.batch_size, len(self.x))
        self.epochs = task.epochs
        self.cuda = task.device == "cuda"
        self.pixel_maximum = data.pixel_maximum

    def scaled(self, pixels: HostArray) -> HostArray:
        """Pixels as float32 in [0, 1], for libraries that take nothing else."""
        return pixels.astype(np.float32) / np.float32(self.pixel_maximum)

    def arrays(self) -> dict[str, HostArray]:
        """Parameters by name, float32, the same for every peer.

        Weights are He-normal, (n_in, n_out) or (height, width, n_in, n_out), biases zero, and what
        batch norm scales by one.
        """
        rng = stream(0, "benchmark weights")

        def drawn(name: str, shape: Shape) -> HostArray:
            if name.endswith(".weight"):
                return math.sqrt(2 / math.prod(shape[:-1])) * rng.standard_normal(shape)
            return np.full(shape, float(name.endswith(".scale")))

        shapes = self.model.parameter_shapes()
        return {name: drawn(name, shape).astype(np.float32) for name, shape in shapes.items()}

    def weights(self) -> list[tuple[HostArray, HostArray]]:
        """Weights and biases of a dense network, layer by layer."""
        arrays = list(self.arrays().values())
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    def order(self, epoch: int) -> HostArray:
        """All row numbers in the order of an epoch; takes the time that shuffling takes."""
        return np.random.default_rng(epoch).permutation(len(self.x))

    def accuracy(self, predicted: HostArray) -> float:
        """The fraction of test samples whose class was predicted."""
        return float((np.asarray(predicted) == self.test_y).mean())


def synthetic(samples: int) -> Dataset:
    """Noisy pictures of ten patterns, 28 x 28: data of MNIST's shape that needs no files."""
    rng = stream(0, "benchmark data")
    patterns = rng.integers(128, size=(10, 28, 28), dtype=np.uint8)

    def split(n: int) -> Split:
        labels = rng.integers(10, size=n)
        images = rng.integers(128, size=(n, 28, 28), dtype=np.uint8)
        # By class, and in place: a measurement of memory would meet every temporary array.
        for digit, pattern in enumerate(patterns):
            np.add(images, pattern, out=images, where=(labels == digit)[:, None, None])
        return Split(images, labels)

    return Dataset("synthetic", split(samples), split(1_000))


def small_table(name: str) -> Dataset:
    """A table of scikit-learn's with each feature standardised; a quarter of it is for the test."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    x, y = getattr(datasets, f"load_{name.removeprefix('table_of_')}")(return_X_y=True)
    deviation = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    x, test_x, y, test_y = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    return Dataset(name, Split(x, y), Split(test_x, test_y), n_classes=int(y.max()) + 1)


def _samples(split: Split, *, flat: bool) -> tuple[HostArray, HostArray]:
    images = split.images.reshape(len(split), -1) if flat else split.images
    return images, split.labels.astype(np.int64)
