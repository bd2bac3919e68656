"""What is measured: networks and batch sizes, and the data that all peers train on."""

import itertools
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from xpnet.data import Dataset, Split, load_dataset
from xpnet.random import stream
from xpnet.typing import HostArray

LEARNING_RATE = 0.1
SYNTHETIC_SAMPLES = 6_000
TABLES = ("iris", "breast_cancer", "table_of_digits")
"""Small tables that scikit-learn ships."""


@dataclass(frozen=True)
class Case:
    """The sizes of the hidden layers, and the batch size."""

    hidden: tuple[int, ...]
    batch_size: int

    @classmethod
    def parse(cls, text: str) -> "Case":
        """A case as it is written on the command line, such as `800,800@128`.

        Raises
        ------
        ValueError
            If the text is not of that form.
        """
        hidden, _, batch_size = text.partition("@")
        try:
            case = cls(tuple(int(size) for size in hidden.split(",")), int(batch_size))
        except ValueError:
            case = None
        if case is None or min(*case.hidden, case.batch_size) < 1:
            raise ValueError(
                f"{text!r} is not a case: give the hidden sizes, @ and the batch size, "
                f"all positive integers, such as 128@64 or 800,800@128"
            )
        return case

    @property
    def tolerance(self) -> float:
        """How many points of test accuracy peers may be apart, of 10,000 samples.

        Plain descent moves a deep network by up to 7 points from one epoch to the next.
        """
        return 0.5 if len(self.hidden) <= 2 else 5.0

    def __str__(self) -> str:
        return f"{','.join(map(str, self.hidden))}@{self.batch_size}"


CPU_CASES = (Case((128,), 64), Case((128,), 512), Case((800, 800), 128))
GPU_CASES = (*CPU_CASES, Case((2500, 2000, 1500, 1000, 500), 512))


@dataclass(frozen=True)
class Task:
    """All that a worker is told: the same for every peer of a case, in JSON values.

    Attributes
    ----------
    case
        The network and the batch size.
    dataset, data_dir, limit
        `mnist`, `digits`, `synthetic` or one of `TABLES`; where to look for it; how many training
        samples to take, all of them if None.
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
        case = Case(tuple(values["case"]["hidden"]), values["case"]["batch_size"])
        return cls(**{**values, "case": case})

    def load(self) -> "Job":
        """The task with its data.

        Raises
        ------
        DataError
            If the data set is not there.
        """
        if self.dataset == "synthetic":
            return Job(self, synthetic(self.limit or SYNTHETIC_SAMPLES))
        if self.dataset in TABLES:
            return Job(self, small_table(self.dataset))
        return Job(self, load_dataset(self.dataset, data_dir=self.data_dir).limited(self.limit))

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
        Pixels, uint8 of shape (N, D), and int64 labels of shape (N,), of both splits. Of a table
        features, float64.
    sizes
        The sizes of the layers, from the number of pixels to that of the classes.
    """

    def __init__(self, task: Task, data: Dataset) -> None:
        assert data.test is not None
        self.task = task
        self.data = data
        self.x, self.y = _rows(data.train)
        self.test_x, self.test_y = _rows(data.test)
        self.sizes = (self.x.shape[1], *task.case.hidden, data.n_classes)
        self.batch_size = min(task.case.batch_size, len(self.x))
        self.epochs = task.epochs
        self.cuda = task.device == "cuda"
        self.pixel_maximum = data.pixel_maximum

    def scaled(self, pixels: HostArray) -> HostArray:
        """Pixels as float32 in [0, 1], for libraries that take nothing else."""
        return pixels.astype(np.float32) / np.float32(self.pixel_maximum)

    def weights(self) -> list[tuple[HostArray, HostArray]]:
        """He-normal weights (n_in, n_out) and biases of zero, float32, the same for every peer."""
        rng = stream(0, "benchmark weights")
        return [
            (
                (math.sqrt(2 / n_in) * rng.standard_normal((n_in, n_out))).astype(np.float32),
                np.zeros(n_out, np.float32),
            )
            for n_in, n_out in itertools.pairwise(self.sizes)
        ]

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


def _rows(split: Split) -> tuple[HostArray, HostArray]:
    return split.images.reshape(len(split), -1), split.labels.astype(np.int64)
