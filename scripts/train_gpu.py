"""Train a larger network on a GPU, and say how fast it went.

    python scripts/train_gpu.py                          # CuPy, 784-2500-2000-1500-1000-500-10
    python scripts/train_gpu.py --hidden 4096,4096 --batch-size 4096 --tf32
    python scripts/train_gpu.py --backend torch --device cuda:0
    mpiexec -n 2 python scripts/train_gpu.py             # a rank for each GPU
    python scripts/train_gpu.py --backend numpy --hidden 128 --epochs 1   # to compare with a CPU

The network 784-2500-2000-1500-1000-500-10 is that of Ciresan, Meier, Gambardella and Schmidhuber,
"Deep, Big, Simple Neural Nets for Handwritten Digit Recognition", 2010,
https://arxiv.org/abs/1003.0358 (without its deformations of the images).
"""

import math
import statistics
from pathlib import Path

import click

from xpnet.backends import BACKENDS, DTYPES, Backend
from xpnet.callbacks import Callback, ProgressBar
from xpnet.cli.options import open_with_options, run_option
from xpnet.cli.ranks import describe_ranks
from xpnet.data import Dataset, load_dataset
from xpnet.distributed import mpi_group
from xpnet.distributed.group import ALONE, agreed, ending_all
from xpnet.distributed.launch import launched_size
from xpnet.distributed.reduction import Reduction
from xpnet.errors import BackendUnavailable, DataError, GroupError, XpnetError
from xpnet.history import EpochRecord
from xpnet.network import Network
from xpnet.runs.config import RunConfig


class Throughput(Callback):
    """Prints samples and floating-point operations a second, of all ranks, after each epoch."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        rate = self.samples / (record.train_seconds or math.nan)
        flops = rate * flops_per_sample(network)
        click.echo(f"           {rate:12,.0f} samples/s  {flops / 1e12:8.3f} TFLOP/s")


def flops_per_sample(network: Network) -> int:
    """Operations of the matrix products of one sample's training: 2 forward, 4 backward a weight.

    The gradient with respect to the input of the lowest layer is not computed.
    """
    weights = [math.prod(s) for s in network.model.parameter_shapes().values() if len(s) == 2]
    return 6 * sum(weights) - 2 * weights[0]


def describe_memory(backend: Backend) -> str:
    """The peak of the device's memory, or that there is none to measure."""
    peak = backend.peak_memory()
    return "not measured on this device" if peak is None else f"{peak / 2**20:,.0f} MiB at most"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--backend", type=click.Choice(BACKENDS), default="cupy", show_default=True)
@click.option("--device", help="Such as cuda:0; the backend's default if not given.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True)
@run_option("tf32")
@click.option("--dataset", default="mnist", show_default=True, help="mnist, digits or a folder.")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Where to look for it first.")
@run_option("hidden", default="2500,2000,1500,1000,500")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=512, show_default=True)
@click.option("--learning-rate", type=float, default=0.1, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", type=click.Path(), help="Write the trained network to this file.")
def main(
    backend: str,
    device: str | None,
    dtype: str,
    tf32: bool,
    dataset: str,
    data_dir: str | None,
    hidden: tuple[int, ...],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    out: str | None,
) -> None:
    """Train a larger network, by default with CuPy on a CUDA GPU, and report its speed."""
    try:
        group = ALONE if launched_size() is None else mpi_group()
    except GroupError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(6) from error

    def say(text: str) -> None:
        if group.rank == 0:
            click.echo(text)

    def check() -> tuple[Backend, RunConfig, Dataset]:
        opened = open_with_options(backend, device, dtype, tf32=tf32, group=group)
        if out is not None and not Path(out).absolute().parent.is_dir():
            raise DataError(f"--out {out}: the folder is not there")
        config = RunConfig(
            dataset=dataset,
            hidden=hidden,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
        )
        return opened, config, load_dataset(dataset, data_dir=data_dir)

    try:
        with ending_all(group):
            opened, config, data = agreed(group, check)
            devices = ", ".join(dict.fromkeys(group.gather(opened.device_name())))
            say(f"device:  {devices}, {opened.name} {opened.installed_version()}")
            if group.size > 1:
                say(f"ranks:   {describe_ranks(Reduction(group), batch_size)}")
            say(f"data:    {data.describe()}")
            in_tf32 = " with TF32" * tf32
            say(f"model:   {config.describe(data)}, batch {batch_size}, {dtype}{in_tf32}")
            callbacks = (ProgressBar(), Throughput(len(data.train)))
            network = config.fit(data, opened, callbacks, group=group)
            if out is not None and group.rank == 0:
                network.save(out)
    except (XpnetError, ValueError, OSError, MemoryError) as error:
        no_gpu = isinstance(error, BackendUnavailable)
        if group.rank == 0 or error is not group.error:
            what = f"no GPU to train on with the {backend} backend" if no_gpu else "error"
            click.echo(f"{what}: {error}", err=True)
            if no_gpu:
                click.echo("on a CPU: --backend numpy --hidden 128", err=True)
        raise SystemExit(2 if no_gpu else 1) from error
    seconds = [record.train_seconds or 0.0 for record in network.history]
    # The first epoch compiles kernels.
    steady = seconds[1:] or seconds
    say(
        f"epochs:  first {seconds[0]:.3f} s, then {statistics.median(steady):.3f} s "
        f"({min(steady):.3f} to {max(steady):.3f})"
    )
    say(f"taken:   {opened.taken_steps()}")
    say(f"memory:  {describe_memory(opened)}")
    say(f"result:  {network.history[-1]}")


if __name__ == "__main__":
    main()
