"""The data sets, how they are found, and how they are prepared for a network."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import shutil
import socket
import struct
import sys
import threading
from dataclasses import replace

import array_api_strict
import numpy as np
import pytest

from xpnet.data import (
    Dataset,
    Preparation,
    Split,
    check_labels,
    flatten,
    load_dataset,
    load_digits,
    load_folder,
    load_mnist,
    normalize,
    write_idx,
)
from xpnet.data.forms import array_files
from xpnet.data.known import KNOWN
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


# -- digits ---------------------------------------------------------------------------------------


def rows(images, labels):
    """Samples as sorted rows of bytes, to compare data sets whatever their order."""
    table = np.column_stack([np.reshape(images, (len(labels), -1)), labels])
    return sorted(table.astype(np.uint8).tolist())


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    expected, found = datasets.load_digits(), load_digits()
    assert rows(expected.images, expected.target) == rows(
        np.concatenate([found.train.images, found.test.images]),
        np.concatenate([found.train.labels, found.test.labels]),
    )


def test_digits_have_a_fixed_stratified_split():
    data = load_digits()
    assert (len(data.train), len(data.test), data.n_classes) == (1438, 359, 10)
    assert (data.image_shape, data.train.images.dtype, data.pixel_maximum) == ((8, 8), "uint8", 16)
    assert data.train.images.max() == 16
    in_train, in_test = np.bincount(data.train.labels), np.bincount(data.test.labels)
    assert np.all(np.abs(in_test - (in_train + in_test) / 5) <= 0.5)
    assert hashlib.sha256(data.test.images.tobytes()).hexdigest() == (
        "fa9c894c9545adfa8f42c1fd48567037bcc65fed961db096913da639c165018b"
    )


@pytest.mark.usefixtures("no_network")
def test_digits_need_no_network():
    assert len(load_dataset("digits").train) == 1438


# -- a data set checks itself ---------------------------------------------------------------------


def dataset(images, labels, test=None, n_classes=3):
    return Dataset("shapes", Split(images, labels), test and Split(*test), n_classes=n_classes)


IMAGES = np.zeros((4, 2, 3), dtype=np.uint8)
CLASSES = np.array([0, 1, 2, 1], dtype=np.uint8)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((IMAGES, CLASSES[:3]), ["training set", "4 images", "3 labels"]),
        ((IMAGES[:0], CLASSES[:0]), ["training set", "no images", "(0, 2, 3)"]),
        ((IMAGES[:, :, :0], CLASSES), ["training set", "no images", "(4, 2, 0)"]),
        ((IMAGES[:, 0, 0], CLASSES), ["training set", "(N, height, width)", "(4,)"]),
        ((IMAGES, CLASSES[:, None]), ["training set", "(N,)", "(4, 1)"]),
        ((IMAGES, CLASSES.astype(float)), ["training set", "integers", "float64"]),
        ((IMAGES, CLASSES > 0), ["training set", "integers", "bool"]),
        ((IMAGES, CLASSES + 1), ["training set", "0 to 2", "found 3 at position 2"]),
        ((IMAGES, CLASSES - np.int16(1)), ["training set", "0 to 2", "found -1 at position 0"]),
        ((IMAGES, CLASSES, (IMAGES, CLASSES[:1])), ["test set", "4 images", "1 label"]),
        ((IMAGES, CLASSES, (IMAGES, CLASSES + 1)), ["test set", "found 3 at position 2"]),
        ((IMAGES, CLASSES, (IMAGES[:, :, :2], CLASSES)), ["(2, 3)", "(2, 2)"]),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(arguments, parts):
    with pytest.raises(DataError, match=r"^shapes: ") as info:
        dataset(*arguments)
    assert all(part in str(info.value) for part in parts)


def test_labels_from_0_to_the_last_class_pass():
    check_labels("labels", np.array([0, 9, 4]), 10)


def test_limiting_takes_the_first_training_samples_and_leaves_the_test_set():
    data = load_digits()
    few = data.limited(7)
    np.testing.assert_array_equal(few.train.images, data.train.images[:7])
    np.testing.assert_array_equal(few.train.labels, data.train.labels[:7])
    assert few.test is data.test
    assert (few.n_classes, few.pixel_maximum, few.name) == (10, 16, "digits")
    assert [len(data.limited(n).train) for n in (None, 1, 10**6)] == [1438, 1, 1438]


@pytest.mark.parametrize("n", [0, -1])
def test_limiting_to_no_samples_is_refused(n):
    with pytest.raises(DataError, match=f"at least 1, got {n}"):
        load_digits().limited(n)


def test_a_data_set_says_what_it_is():
    test = (IMAGES, CLASSES)
    assert repr(dataset(*test, test)) == (
        "<Dataset shapes: 4 training and 4 test images of 2 x 3, 3 classes>"
    )
    assert "4 training and 0 test images" in repr(dataset(*test))


# -- a folder of IDX files ------------------------------------------------------------------------


def write(folder, train=(IMAGES, CLASSES), test=(IMAGES[:2], CLASSES[:2]), suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for names, arrays in ((TRAIN, train), (TEST, test)):
        for name, values in zip(names, arrays or (), strict=False):
            write_idx(folder / f"{name}{suffix}", values)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_is_a_data_set(tmp_path, suffix):
    images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    folder = write(tmp_path / "shapes", train=(images, CLASSES), suffix=suffix)
    data = load_dataset(folder)
    assert (data.name, data.n_classes, data.pixel_maximum) == ("shapes", 3, 255)
    np.testing.assert_array_equal(data.train.images, images)
    np.testing.assert_array_equal(data.train.labels, CLASSES)
    np.testing.assert_array_equal(data.test.images, IMAGES[:2])
    np.testing.assert_array_equal(data.test.labels, CLASSES[:2])


def test_a_folder_without_test_files_is_a_data_set_without_a_test_set(tmp_path):
    assert load_folder(write(tmp_path, test=None)).test is None


def test_a_folder_may_mix_plain_and_gz(tmp_path):
    write(tmp_path, test=None)
    write(tmp_path, train=None, suffix=".gz")
    assert len(load_folder(tmp_path).test) == 2


@pytest.mark.parametrize(
    ("dtype", "high", "found"),
    [
        ("uint8", 3, ("uint8", 255)),
        ("int16", 200, ("uint8", 255)),
        ("int16", 300, ("int16", 65535)),
        ("int32", 65535, ("int32", 65535)),
        ("float32", 255, ("uint8", 255)),
        ("float32", 1, ("float32", 255)),
        ("float64", 30, ("float64", 255)),
    ],
)
def test_pixels_of_a_folder_are_brought_to_one_scale(tmp_path, dtype, high, found):
    images = IMAGES.astype(dtype)
    images[1, 0, 2] = high
    data = load_folder(write(tmp_path, train=(images, CLASSES), test=None))
    assert (data.train.images.dtype, data.pixel_maximum) in (found, (found[0], 1))
    assert data.train.images[1, 0, 2] == high


NEGATIVE = CLASSES.astype(np.int8) - 1
FOLDERS = {
    "length": ({"train": (IMAGES, CLASSES[:3])}, "training set: 4 images but 3 labels"),
    "test length": ({"test": (IMAGES, CLASSES[:3])}, "test set: 4 images but 3 labels"),
    "empty": ({"train": (IMAGES[:0], CLASSES[:0])}, "training set: there are no images"),
    "empty test": ({"test": (IMAGES[:0], CLASSES[:0])}, "test set: there are no images"),
    "negative": ({"train": (IMAGES, NEGATIVE)}, "from 0 to 1, found -1 at position 0"),
    "all negative": ({"train": (IMAGES, NEGATIVE - 9)}, "training set: .* found -10 at position 0"),
    "out of range": ({"test": (IMAGES, CLASSES + 1)}, "test set: .* 0 to 2, found 3 at position 2"),
    "float": ({"train": (IMAGES, CLASSES.astype("f4"))}, "must be integers, found float32"),
    "float test": ({"test": (IMAGES, CLASSES.astype("f8"))}, "must be integers, found float64"),
    "test shape": ({"test": (IMAGES[:, :1], CLASSES)}, r"shape \(2, 3\), test images \(1, 3\)"),
    "scalars": ({"train": (IMAGES[0, 0, 0], CLASSES[0])}, r"found \(\) and \(\)"),
    "swapped": ({"train": (CLASSES, IMAGES)}, r"found \(4,\) and \(4, 2, 3\)"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_does_not_fit_together_is_refused(tmp_path, case):
    arrays, match = FOLDERS[case]
    write(tmp_path, **arrays)
    with pytest.raises(DataError, match=match) as info:
        load_folder(tmp_path)
    for name in TRAIN + TEST:
        assert str(tmp_path / name) in str(info.value)


def test_a_damaged_file_in_a_folder_is_named(tmp_path):
    path = write(tmp_path) / TEST[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="truncated") as info:
        load_folder(tmp_path)
    assert str(path) in str(info.value)


@pytest.mark.parametrize("name", TEST)
def test_half_a_test_set_is_refused(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(DataError, match="a test set needs both") as info:
        load_folder(tmp_path)
    assert all(part in str(info.value) for part in (str(tmp_path), *TEST))


def test_a_folder_without_the_files_is_refused_with_what_is_there(tmp_path):
    def message(folder):
        with pytest.raises(DataError) as info:
            load_folder(folder)
        assert all(part in str(info.value) for part in (str(folder), *TRAIN, ".gz"))
        return str(info.value)

    assert "found no such folder" in message(tmp_path / "missing")
    assert "found an empty folder" in message(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes\.txt: expected a table, found an empty file"):
        load_folder(tmp_path / "notes.txt")
    assert "found notes.txt" in message(tmp_path)
    (write(tmp_path) / TRAIN[1]).unlink()
    assert f"notes.txt, {TEST[0]}, {TEST[1]}, {TRAIN[0]}" in message(tmp_path)
    for i in range(10):
        (tmp_path / f"a{i}").touch()
    assert "a7 and 6 more" in message(tmp_path)


def test_a_folder_that_may_not_be_read_is_refused(tmp_path):
    folder = write(tmp_path / "closed")
    folder.chmod(0)
    try:
        if os.access(folder, os.R_OK):
            pytest.skip("this user (root?) may read every folder")
        with pytest.raises(DataError, match="a folder that cannot be read"):
            load_folder(folder)
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("name", ["mnits", "no/such/folder", "x" * 1000])
def test_an_unknown_data_set_is_refused_with_those_that_are_known(name):
    with pytest.raises(DataError, match=r"one of digits, mnist, fashion-mnist, .*the path") as info:
        load_dataset(name)
    assert repr(name)[:100] in str(info.value)
    assert len(str(info.value)) < 600


# -- where MNIST is looked for --------------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders to look in, none of them made; no network; small files that pass for MNIST's."""
    import pooch

    def no_download(*args, **kwargs):
        raise AssertionError("pooch.retrieve was called")

    monkeypatch.setattr(pooch, "retrieve", no_download)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("XPNET_DATA_DIR", str(tmp_path / "environment"))
    (tmp_path / "given").mkdir()  # the others need not be there
    reference = write(tmp_path / "reference")
    digests = [hashlib.sha256((reference / n).read_bytes()).hexdigest() for n in TRAIN + TEST]
    monkeypatch.setitem(KNOWN, "mnist", replace(KNOWN["mnist"], sha256=tuple(digests)))
    roots = [tmp_path / "given", tmp_path / "environment", tmp_path / "cache" / "xpnet"]
    return [folder for root in roots for folder in (root, root / "mnist")]


def reading(monkeypatch):
    """The list to which every IDX file that is read is added."""
    paths = []

    def read(path):
        paths.append(path)
        return read_idx(path)

    read_idx = array_files.read_idx
    monkeypatch.setattr(array_files, "read_idx", read)
    return paths


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("first", range(6))
def test_mnist_is_read_from_the_first_folder_that_has_it(places, monkeypatch, first, suffix):
    for folder in places[first:]:
        write(folder, suffix=suffix)
    paths = reading(monkeypatch)
    data = load_mnist(places[0])
    assert paths == [places[first] / f"{name}{suffix}" for name in TRAIN + TEST]
    assert (data.name, len(data.train), len(data.test), data.n_classes) == ("mnist", 4, 2, 10)


def test_mnist_is_not_put_together_from_two_folders(places, monkeypatch):
    write(places[0], test=None)
    write(places[2], train=None)
    write(places[4])
    paths = reading(monkeypatch)
    load_mnist(places[0])
    assert {path.parent for path in paths} == {places[4]}


@pytest.mark.parametrize("value", [None, ""])
def test_the_environment_variable_may_be_unset_or_empty(places, monkeypatch, tmp_path, value):
    if value is None:
        monkeypatch.delenv("XPNET_DATA_DIR")
    else:
        monkeypatch.setenv("XPNET_DATA_DIR", value)
    monkeypatch.chdir(write(tmp_path / "here"))  # not looked into
    write(places[4])
    paths = reading(monkeypatch)
    load_dataset("mnist")
    assert {path.parent for path in paths} == {places[4]}


@pytest.mark.parametrize("name", TRAIN + TEST)
def test_other_content_than_mnist_is_refused(places, name):
    path = write(places[0]) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not that of mnist") as info:
        load_mnist(places[0])
    message = str(info.value)
    assert str(path) in message
    assert f"expected SHA-256 {KNOWN['mnist'].sha256[(TRAIN + TEST).index(name)]}" in message
    assert f"found {hashlib.sha256(content).hexdigest()}" in message


def test_a_folder_that_may_not_be_entered_is_passed_over(places):
    write(places[4])
    write(places[0]).chmod(0)
    try:
        if os.access(places[0], os.X_OK):
            pytest.skip("this user (root?) may enter every folder")
        assert len(load_mnist(places[0]).train) == 4
    finally:
        places[0].chmod(0o700)


def not_found(places, download=True):
    """The message where MNIST is nowhere: checked to name folders, files and the way to go on."""
    with pytest.raises(DataError) as info:
        load_mnist(places[0], download=download)
    message = str(info.value)
    assert all(str(folder) in message for folder in places)
    assert all(name in message for name in (*TRAIN, *TEST, ".gz", "--data-dir", "XPNET_DATA_DIR"))
    assert message.endswith("go on with the embedded data set: digits")
    return message


def test_nothing_is_downloaded_where_that_is_switched_off(places):
    assert "downloading is switched off" in not_found(places, download=False)


# -- where MNIST is downloaded from ---------------------------------------------------------------


def test_offline_every_mirror_is_tried_and_the_error_says_how_to_go_on(places, monkeypatch):
    import pooch
    import requests

    tried = []

    def offline(url, **options):
        tried.append(url)
        raise requests.exceptions.ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    message = not_found(places)
    assert "downloading failed" in message
    assert "no route to host" in message
    # Mirrors and checksums as they are published.
    assert tried == [
        f"https://{host}/train-images-idx3-ubyte.gz"
        for host in (
            "ossci-datasets.s3.amazonaws.com/mnist",
            "storage.googleapis.com/cvdf-datasets/mnist",
        )
    ]
    assert all(url.rpartition("/")[0] in message for url in tried)


def test_the_second_mirror_is_asked_where_the_first_fails(places, monkeypatch):
    import pooch

    source = write(places[5].parent / "source", suffix=".gz")

    def retrieve(url, known_hash, fname, path):
        if "ossci" in url:
            raise OSError("gone")
        assert url == f"https://storage.googleapis.com/cvdf-datasets/mnist/{fname}"
        assert (
            known_hash
            == f"md5:{KNOWN['mnist'].md5[(TRAIN + TEST).index(fname.removesuffix('.gz'))]}"
        )
        assert path == places[5]
        places[5].mkdir(parents=True, exist_ok=True)
        return shutil.copy(source / fname, places[5])

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert len(load_mnist(places[0]).train) == 4


@pytest.fixture
def server(tmp_path):
    """A mirror on this machine: its address, its folder, and what it was asked for."""
    folder, asked = write(tmp_path / "www" / "good", suffix=".gz"), []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=folder.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder.parent, asked
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("broken", ["missing", "wrong", "closed"])
def test_files_are_downloaded_checked_and_kept(places, server, monkeypatch, broken):
    import pooch

    address, folder, asked = server
    monkeypatch.undo()  # pooch itself is wanted here
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XPNET_DATA_DIR", "")
    monkeypatch.setattr(pooch, "os_cache", lambda name: places[4])
    good = {path.name: path.read_bytes() for path in (folder / "good").iterdir()}
    if broken == "closed":  # standard error, to which pooch tells what it does
        stream = io.StringIO()
        stream.close()
        monkeypatch.setattr(sys, "stderr", stream)
        (handler,) = pooch.get_logger().handlers
        monkeypatch.setattr(handler, "stream", stream)
        monkeypatch.setattr(handler, "level", handler.level)
    if broken == "wrong":
        (folder / "wrong").mkdir()
        for name in good:
            (folder / "wrong" / name).write_bytes(gzip.compress(b"something else"))
    contents = [good[f"{name}.gz"] for name in TRAIN + TEST]
    row = replace(
        KNOWN["mnist"],
        sha256=tuple(hashlib.sha256(gzip.decompress(c)).hexdigest() for c in contents),
        md5=tuple(hashlib.md5(content).hexdigest() for content in contents),
        mirrors=(f"{address}/{broken}/", f"{address}/good/"),
    )
    monkeypatch.setitem(KNOWN, "mnist", row)

    assert len(load_mnist().train) == 4
    assert {path.name: path.read_bytes() for path in places[5].iterdir()} == good
    asked.clear()
    assert len(load_mnist().train) == 4  # from the cache
    assert asked == []


# -- MNIST ----------------------------------------------------------------------------------------


@pytest.mark.mnist
def test_mnist_is_mnist(mnist_dir, no_network):
    data = load_dataset("mnist", data_dir=mnist_dir)
    assert (data.train.images.shape, data.test.images.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert data.train.images.dtype == np.uint8
    # The counts, mean and standard deviation that are quoted everywhere.
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(data.train.labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert np.bincount(data.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982),
        *(892, 958, 1028, 974, 1009),
    ]
    assert data.train.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.train.images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.mnist
def test_mnist_as_a_folder_is_the_same(mnist_dir):
    data = load_folder(mnist_dir)
    assert (data.n_classes, data.pixel_maximum) == (10, 255)
    np.testing.assert_array_equal(data.train.labels, load_mnist(mnist_dir).train.labels)


# -- preparation ----------------------------------------------------------------------------------


@pytest.fixture(params=[np, array_api_strict], ids=["numpy", "array_api_strict"])
def xp(request):
    return request.param


def host(x):
    return x if isinstance(x, np.ndarray) else np.from_dlpack(x)


def given(xp, values):
    """The values as an array of `xp`; a NumPy array is read-only, to catch writing."""
    x = xp.asarray(np.array(values))
    if xp is np:
        x.flags.writeable = False
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("source", "maximum"), [("uint8", 255), ("uint8", 16), ("int16", 32767)])
def test_integers_are_divided_by_the_maximum(xp, source, maximum, dtype):
    values = np.linspace(0, maximum, 17).astype(source)
    letter = {"float32": "f", "float64": "d"}[dtype]
    expected = [struct.unpack(letter, struct.pack(letter, int(v) / maximum))[0] for v in values]
    x = given(xp, values)
    for found in (
        normalize(xp, x, float(maximum), getattr(xp, dtype)),
        Preparation(float(maximum), dtype, None)(xp, x),
    ):
        assert found.dtype == getattr(xp, dtype)
        # Multiplied by 1 / maximum, which may round once more than the division does.
        np.testing.assert_allclose(host(found), expected, rtol=np.finfo(dtype).eps)
        assert host(found)[[0, -1]].tolist() == [0, 1]
    np.testing.assert_array_equal(host(x), values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_floating_point_values_are_taken_as_they_are(xp, source, dtype):
    values = np.array([[-3.5, 0.0, 0.25], [1.0, 255.0, 1e6]], dtype=source)
    x = given(xp, values)
    found = Preparation(255.0, dtype, (3,))(xp, x)
    assert found.dtype == getattr(xp, dtype)
    assert host(found).tolist() == values.tolist()
    np.testing.assert_array_equal(host(x), values)


def test_flattening_goes_row_by_row(xp):
    found = flatten(xp, given(xp, np.arange(24, dtype=np.uint8).reshape(2, 3, 4)))
    assert host(found).tolist() == [list(range(12)), list(range(12, 24))]


@pytest.mark.parametrize("source", ["uint8", "float64"])
@pytest.mark.parametrize(
    ("sample", "shape", "expected"),
    [
        ((3, 4), (12,), (12,)),
        ((2, 2, 3), (12,), (12,)),
        ((12,), (12,), (12,)),
        ((3, 4), (3, 4), (3, 4)),
        ((3, 4), None, (3, 4)),
    ],
)
def test_samples_are_flattened_only_where_rows_are_wanted(xp, source, sample, shape, expected):
    x = given(xp, np.zeros((5, *sample), dtype=source))
    found = Preparation(255.0, "float64", shape)(xp, x)
    assert found.shape == (5, *expected)


@pytest.mark.parametrize("maximum", [0, -1, float("nan"), float("inf")])
def test_a_scale_of_pixels_must_be_positive_and_finite(maximum):
    split = Split(np.zeros((2, 2, 2), dtype=np.uint8), np.arange(2))
    with pytest.raises(DataError, match="pixel_maximum must be positive and finite"):
        Dataset("bad", split, None, n_classes=2, pixel_maximum=maximum)


def test_a_scale_of_pixels_may_be_a_numpy_number():
    split = Split(np.full((2, 2, 2), 7, dtype=np.uint8), np.arange(2))
    data = Dataset("good", split, None, n_classes=2, pixel_maximum=split.images.max())
    assert type(data.pixel_maximum) is float


def test_lists_make_a_split():
    split = Split([[[0, 1], [2, 3]]], [0])
    assert split.images.shape == (1, 2, 2)
    with pytest.raises(DataError, match="images must be host arrays"):
        Split([[[0, 1], [2]]], [0])


def test_splits_must_be_integers_both_or_neither():
    pixels, labels = np.zeros((2, 2, 2), dtype=np.uint8), np.arange(2)
    with pytest.raises(DataError, match="training images are uint8, test images float64"):
        Dataset("mixed", Split(pixels, labels), Split(pixels / 255, labels), n_classes=2)
