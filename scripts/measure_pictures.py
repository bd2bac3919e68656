"""Measure how many digits a network knows in photographs of them, and draw some.

    xpnet train mnist --out runs/first
    python scripts/measure_pictures.py runs/first --sheet docs/images/photographs.png

The photographs are made of MNIST's test pictures by `tests/photographs.py`; its conditions are the
rows of the table in docs/predicting.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import Network, load, load_dataset
from xpnet.cli.predicting import said
from xpnet.data import Split, fit_picture, prepare_picture, read_picture
from xpnet.data.prepared import brightness
from xpnet.figures import save_figure
from xpnet.sheets import plot_answers

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import photographs

ON_THE_SHEET = [
    "a quarter, off the middle", "the whole picture", "a lamp beside it", "a shadow with an edge",
    "on dark paper", "a pale pencil", "squared paper", "a thick pen", "turned to the left",
]  # fmt: skip


def main() -> None:
    """Print the table, and draw the sheet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="a run folder, or the file of a network")
    parser.add_argument("--data-dir", type=Path, help="where MNIST is")
    parser.add_argument("--count", type=int, default=200, help="digits in each condition")
    parser.add_argument("--only", action="append", choices=photographs.CONDITIONS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="a PNG file for some of the pictures")
    options = parser.parse_args()
    network = load(options.run)
    test = load_dataset("mnist", data_dir=options.data_dir).test
    rng = np.random.default_rng(options.seed)
    rows = rng.choice(len(test), options.count, replace=False)
    known = (network.predict(test.images[rows]) == test.labels[rows]).mean()
    print(f"{options.count} digits, of which the network knows {100 * known:.1f} % as they are")
    print("| condition | prepared | as it is |")
    print("|---|---|---|")
    for name in options.only or photographs.CONDITIONS:
        prepared, plain = measured(network, test, rows, name, options.seed)
        print(f"| {name} | {prepared:.1f} % | {plain:.1f} % |", flush=True)
    if options.sheet is not None:
        draw(network, test, rows, options.sheet, options.seed)


def measured(network: Network, test: Split, rows: Any, name: str, seed: int) -> tuple[float, float]:
    """How many per cent are known as they are prepared, and as the whole picture is fitted."""
    prepared, plain, clear = [], [], []
    for path in taken(test, rows, name, seed):
        grey = read_picture(path)
        found = prepare_picture(grey, (28, 28), network.framing)
        prepared.append(found.sample)
        clear.append(found.problem is None)
        invert = photographs.CONDITIONS[name][0].paper > 128
        plain.append(fit_picture(brightness(grey), (28, 28), invert=invert))
    labels = test.labels[rows]
    right = (network.predict(np.stack(prepared)) == labels) & np.array(clear)
    return 100 * float(right.mean()), 100 * float(
        np.mean(network.predict(np.stack(plain)) == labels)
    )


def taken(test: Split, rows: Any, name: str, seed: int) -> Iterator[Path]:
    """The photographs of a condition as files, one at a time."""
    with tempfile.TemporaryDirectory() as folder:
        for content in contents(test, rows, name, seed):
            path = Path(folder, "a.jpg")
            path.write_bytes(content)
            yield path


def contents(test: Split, rows: Any, name: str, seed: int) -> Iterator[bytes]:
    """The photographs of a condition as JPEG."""
    scene, off_centre = photographs.CONDITIONS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    for row in rows:
        varied = photographs.varied(scene, rng, off_centre=off_centre)
        picture = photographs.photograph(test.images[row], varied, rng)
        yield photographs.as_jpeg(picture, varied.quality)


def draw(network: Network, test: Split, rows: Any, path: Path, seed: int) -> None:
    """A sheet with one picture of each of some conditions."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for row, name in zip(rows, ON_THE_SHEET, strict=False):
            (content,) = contents(test, [row], name, seed)
            paths.append(Path(folder, f"{name}.jpg"))
            paths[-1].write_bytes(content)
        answers = network.predict_pictures(paths)
        words = [answer.problem or said(network, answer) for answer in answers]
        save_figure(plot_answers(answers, words), path)


if __name__ == "__main__":
    main()
