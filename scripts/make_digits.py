"""Make `xpnet/data/digits.npz` from the digits that scikit-learn ships.

Run once, and again only if the file is to change: `python scripts/make_digits.py`. The source and
the licence are named in `xpnet/data/digits.py`.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from xpnet.random import stream

TARGET = Path(__file__).parent.parent / "xpnet" / "data" / "digits.npz"
TEST_FRACTION = 0.2


def main() -> None:
    """Write the images, the labels and the fixed stratified split."""
    digits = load_digits()
    images = digits.images.astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        n_test = round(TEST_FRACTION * len(members))
        is_test[stream(0, "digits", label).permutation(members)[:n_test]] = True
    np.savez_compressed(TARGET, images=images, labels=labels, is_test=is_test)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes, {(~is_test).sum()} + {is_test.sum()} images")


if __name__ == "__main__":
    main()
