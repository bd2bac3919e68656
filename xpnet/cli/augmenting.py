"""The command that shows what augmentation does: augment."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.augment import AUGMENTATIONS, augmentations_from
from xpnet.cli.options import given_options, run_option, usage_errors
from xpnet.cli.outputs import check_drawing, check_place
from xpnet.cli.streams import tell
from xpnet.cli.types import FILE
from xpnet.data import Dataset, load_dataset
from xpnet.errors import DataError, counted, readable
from xpnet.runs.config import RunConfig
from xpnet.typing import HostArray

_TIMES = 5


@click.command()
@click.argument("dataset")
@run_option("augment")
@click.option(
    "--out", type=FILE, default="augment.png", show_default=True, help="The picture to write."
)
@click.option(
    "--count",
    type=click.IntRange(1, 40),
    default=10,
    metavar="N",
    show_default=True,
    help="Pictures in a row.",
)
@run_option("label")
@run_option("seed")
@run_option("data_dir")
def augment(
    dataset: str,
    augment: tuple[str, ...] | None,
    out: Path,
    count: int,
    label: str | None,
    seed: int,
    data_dir: Path | None,
) -> None:
    """Draw training pictures of DATASET as they are, and augmented.

    With --augment a row is a step of a training, else one of the augmentations there are.
    """
    check_drawing(out, "--out")
    check_place(out)
    given = {"augment": augment, "label": label, "seed": seed, "data_dir": data_dir}
    with usage_errors():
        config = RunConfig.from_dict(given_options(dataset, given))
    data = load_dataset(config.dataset, data_dir=config.data_dir, **config.table_options())
    if len(data.image_shape) not in (2, 3):
        raise DataError(f"{data.name} has no pictures")
    drawn = _draw(data, config, out, count)
    tell(f"{counted(drawn, 'picture')} of {readable(data.name)}, augmented: {readable(str(out))}")


def _draw(data: Dataset, config: RunConfig, out: Path, count: int) -> int:
    """Draw so many pictures, or as many as there are: how many these were."""
    from xpnet.augmented import augmented, plot_augmented  # late: it takes matplotlib
    from xpnet.figures import save_figure

    pictures = np.asarray(data.train.images[:count])
    options: dict[str, Any] = {"seed": config.seed, "pixel_maximum": data.pixel_maximum}
    rows: list[tuple[str, HostArray]] = [("original", augmented(pictures, [], **options))]
    if config.augment is None:
        rows += [
            (name, augmented(pictures, kind(), **options)) for name, kind in AUGMENTATIONS.items()
        ]
        title = data.name
    else:
        chosen = augmentations_from(config.augment)
        rows += [
            (f"step {step}", augmented(pictures, chosen, step=step, **options))
            for step in range(1, _TIMES + 1)
        ]
        title = f"{data.name}: {', '.join(config.augment)}"
    save_figure(plot_augmented(rows, title=title), out)
    return len(pictures)
