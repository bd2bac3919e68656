"""The embedded data set: 1,797 handwritten digits of 8 x 8 pixels.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0. This is the test
part of that data set, by 13 writers, which scikit-learn ships as `load_digits`; pixels count the
ink in 4 x 4 blocks and go from 0 to 16. `scripts/make_digits.py` made the file.

The split into 1,438 training and 359 test images is fixed and stratified: of each class, four
fifths and one fifth in an order drawn once.
"""

from xpnet.data.dataset import DatasetWithTest, Split
from xpnet.data.npy import read_npz

PIXEL_MAXIMUM = 16.0


def load_digits() -> DatasetWithTest:
    """The 8 x 8 digits, from the package itself: needs no network and no further library."""
    from importlib.resources import files

    with (files("xpnet.data") / "digits.npz").open("rb") as file:
        arrays = read_npz("digits.npz", file)
    images, labels, is_test = arrays["images"], arrays["labels"], arrays["is_test"]
    train = Split(images[~is_test], labels[~is_test])
    test = Split(images[is_test], labels[is_test])
    return DatasetWithTest(
        "digits",
        train,
        test,
        n_classes=10,
        pixel_maximum=PIXEL_MAXIMUM,
        class_names=tuple("0123456789"),
    )
