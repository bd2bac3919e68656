"""xpnet, through the public `fit`: the seconds are those of its history."""

import math

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet import SGD, Callback, EpochRecord, Network, fit, open_backend
from xpnet.optimizers import OPTIMIZERS
from xpnet.typing import HostArray


class Report(Callback):
    """Reports each epoch, and holds the training until the next one is asked for."""

    every_step = False

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        self.tick(record.train_seconds or math.nan, record.eval_seconds)


def run(job: Job, tick: Tick, *, backend: str, optimizer: str = "sgd") -> HostArray:
    """Train on one of xpnet's backends: plain SGD, or an optimizer as it is by default."""
    device = "cuda:0" if job.cuda else None
    network = fit(
        job.model,
        job.data,
        epochs=job.epochs,
        batch_size=job.batch_size,
        optimizer=SGD(LEARNING_RATE) if optimizer == "sgd" else OPTIMIZERS[optimizer](),
        backend=open_backend(backend, device, tf32=job.task.tf32),
        callbacks=[Report(tick)],
    )
    assert job.data.test is not None
    return network.predict(job.data.test.images)
