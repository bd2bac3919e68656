"""Data larger than memory: left in its file, and read batch by batch."""

import contextlib
import gc
import io
import os
import re
import subprocess
import sys
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import require

from xpnet import SGD, Callback, DataError, fit, load_dataset, mlp, open_backend, write_idx
from xpnet.data import Dataset, Split, read_idx, read_npy
from xpnet.data.stored import LARGEST_LOADED, StoredArray, stored_array
from xpnet.inputs.batches import batches
from xpnet.inputs.samples import Streamed, place
from xpnet.parity import compare_backends
from xpnet.random import permutation, stream

pytestmark = pytest.mark.libraries

PIXELS = stream(0, "pixels").integers(256, size=(103, 4, 4), dtype=np.uint8)
LABELS = stream(0, "labels").integers(3, size=103).astype(np.uint8)
MODEL = mlp(16, 8, 3, dropout=0.3)
OPTIONS = {"epochs": 2, "batch_size": 8, "optimizer": SGD(0.3), "seed": 3}


@pytest.fixture
def nothing_fits(monkeypatch):
    """Every mapped array counts as larger than memory."""
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)


def mapped(tmp_path, values, name="x.npy"):
    np.save(tmp_path / name, values)
    return np.load(tmp_path / name, mmap_mode="r")


# -- the same training ----------------------------------------------------------------------------


def trained(backend, x, y, test=None, callbacks=()):
    """Everything that comes out of a training and of the network."""
    network = fit(MODEL, (x, y), test=test, backend=backend, callbacks=callbacks, **OPTIONS)
    results = {name: backend.to_numpy(value) for name, value in network.params.items()}
    for key in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        results[key] = np.array(network.history[key])
    results["classes"] = network.predict(x)
    results["probabilities"] = network.predict_proba(x)
    results["confusion"] = network.confusion_matrix(x, y)
    evaluation = network.evaluate(x, y)
    results["evaluation"] = np.array([evaluation.loss, evaluation.errors, evaluation.count])
    return results


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def check_that_streaming_changes_nothing(backend, tmp_path, monkeypatch, dtype):
    """Dropout, a smaller last batch, evaluation in several chunks: equal to the last bit."""
    monkeypatch.setattr("xpnet.backends.Backend.chunk_values", 1)  # the least: 64 rows
    values = PIXELS.astype(dtype) if dtype == "uint8" else (PIXELS / 255).astype(dtype)
    x = mapped(tmp_path, values)
    test = values[:50], LABELS[:50]
    assert isinstance(place(backend, x), Streamed)
    expected = trained(backend, values, LABELS, test)
    assert_equal(trained(backend, x, LABELS, test), expected)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_streamed_training_is_the_resident_training(
    training_backend, tmp_path, nothing_fits, monkeypatch, dtype
):
    check_that_streaming_changes_nothing(training_backend, tmp_path, monkeypatch, dtype)


@pytest.mark.parametrize("dtype", [">i2", "float16", "bool"])
@pytest.mark.parametrize("name", ["numpy", "torch", "array_api_strict"])
def test_dtypes_that_are_converted_on_the_host_are_streamed(
    name, tmp_path, nothing_fits, monkeypatch, dtype
):
    require(name)
    backend = open_backend(name, None, "float64")
    check_that_streaming_changes_nothing(backend, tmp_path, monkeypatch, dtype)


def test_the_test_set_and_one_hot_rows_are_streamed_too(training_backend, tmp_path, nothing_fits):
    x, rows = mapped(tmp_path, PIXELS), np.eye(3)[LABELS]
    expected = trained(training_backend, PIXELS, rows, (PIXELS[:50], rows[:50]))
    y = mapped(tmp_path, rows, "y.npy")
    assert_equal(trained(training_backend, x, y, (x[:50], y[:50])), expected)


def test_several_steps_in_a_call_and_every_step(training_backend, tmp_path, nothing_fits):
    """Whatever `steps_per_call` is, and for a callback that wants to see each step."""

    class Count(Callback):
        def __init__(self, every_step):
            self.every_step = every_step
            self.counts = []

        def on_step(self, state, count):
            self.counts.append(count)

    x = mapped(tmp_path, PIXELS)
    for every_step in (True, False):
        backend = training_backend
        backend.steps_per_call = 5
        counters = Count(every_step), Count(every_step)
        expected = trained(backend, PIXELS, LABELS, callbacks=counters[:1])
        assert_equal(trained(backend, x, LABELS, callbacks=counters[1:]), expected)
        assert counters[0].counts == counters[1].counts
        assert counters[0].counts == 2 * ([1] * 13 if every_step else [4, 4, 4, 1])


def test_large_samples_are_taken_fewer_at_a_time(training_backend, tmp_path, monkeypatch):
    backend = training_backend
    x = mapped(tmp_path, PIXELS)
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    monkeypatch.setattr("xpnet.inputs.batches._GROUP_BYTES", 2 * 8 * 16)
    with backend.scope():
        x, y = place(backend, x), Streamed(backend, LABELS)
        order = np.arange(103)[::-1]
        taken = list(batches(backend, x, y, order, 8, 10))
        assert [rows.shape for _, _, rows in taken] == [(2, 8)] * 6 + [(1, 7)]
        found = [backend.to_numpy(backend.xp.take(x, rows[0, ...], axis=0)) for x, _, rows in taken]
    np.testing.assert_array_equal(found[-1], PIXELS[:7][::-1])
    np.testing.assert_array_equal(found[0], PIXELS[-8:][::-1])


def test_a_parity_of_streamed_data(tmp_path, nothing_fits):
    x = mapped(tmp_path, PIXELS)
    data = Dataset("mapped", Split(x, LABELS), None, n_classes=3)
    report = compare_backends(MODEL, data, ["numpy", "array_api_strict"], **OPTIONS)
    assert report.holds, report


# -- what is streamed -----------------------------------------------------------------------------

VIEWS = {
    "all": lambda x: x,
    "without the class": np.asarray,
    "the first": lambda x: x[:50],
    "the last, without the class": lambda x: np.asarray(x)[30:],
    "every third": lambda x: x[5::3],
    "backwards": lambda x: x[::-1],
    "flat": lambda x: x.reshape(-1, 16),
    "a view of a view": lambda x: np.asarray(x[10:])[10:].reshape(-1, 2, 8)[::2],
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_a_mapping_are_read_from_the_file(tmp_path, nothing_fits, name):
    x = VIEWS[name](mapped(tmp_path, PIXELS))
    stored = stored_array(x)
    assert isinstance(stored, StoredArray)
    assert (stored.shape, stored.dtype) == (x.shape, x.dtype)
    for rows in (slice(None), slice(3, 9), slice(0, 0), slice(8, None, -2), np.array([7, 0, 7])):
        found = stored[rows]
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, x[rows])


def test_memory_in_arrays_is_not_streamed(tmp_path, nothing_fits):
    x = mapped(tmp_path, PIXELS)
    for array in (PIXELS, x[[1, 2]], np.array(x), x + 1, [1, 2], None):
        assert stored_array(array) is None


def test_an_array_of_256_mib_is_loaded_and_a_larger_one_is_not(tmp_path):
    path = tmp_path / "x"
    path.touch()
    os.truncate(path, LARGEST_LOADED + 1024)
    assert LARGEST_LOADED == 256 * 1024**2
    x = np.memmap(path, np.uint8, "r", shape=(LARGEST_LOADED // 1024 + 1, 1024))
    assert stored_array(x[1:]) is None
    assert stored_array(x).shape == x.shape


def test_a_small_mapping_is_an_ordinary_array(tmp_path):
    """The class does not come along."""
    backend = open_backend("numpy", None, "float32")
    assert type(place(backend, mapped(tmp_path, PIXELS))) is np.ndarray
    network = fit(MODEL, (mapped(tmp_path, PIXELS), LABELS), backend="numpy", **OPTIONS)
    assert {type(value) for value in network.params.values()} == {np.ndarray}
    assert type(network.predict(mapped(tmp_path, PIXELS))) is np.ndarray


def test_a_mapping_that_cannot_be_read_row_by_row_is_refused(tmp_path, nothing_fits):
    np.save(tmp_path / "f.npy", np.asfortranarray(PIXELS))
    x = mapped(tmp_path, PIXELS)
    with os.fdopen(os.open(tmp_path / "x.npy", os.O_RDONLY), "rb") as file:
        unnamed = np.memmap(file, np.uint8, "r", 0, (50, 16))
    cases = {
        "ascontiguousarray": np.load(tmp_path / "f.npy", mmap_mode="r"),
        "not in one piece": x[:, :, ::2],
        "mapped copy-on-write": np.load(tmp_path / "x.npy", mmap_mode="c"),
        "the file has no name": unnamed,
    }
    for part, array in cases.items():
        with pytest.raises(DataError, match=rf"{part}.*numpy\.array\(x\)"):
            fit(mlp(16, 3), (array, LABELS[: len(array)]), backend="numpy")


def test_streamed_values_are_checked(tmp_path, nothing_fits, monkeypatch):
    monkeypatch.setattr("xpnet.inputs.samples._CHECKED_VALUES", 64)
    x = (PIXELS / 255).astype(np.float32)
    x[100, 3, 3] = np.nan
    rows = np.eye(3)[LABELS]
    rows[99, 1] = np.inf
    good = mapped(tmp_path, PIXELS, "good.npy")
    for samples, y, match in [
        (mapped(tmp_path, x), LABELS, "training set: inputs must be finite"),
        (good, rows, "one-hot rows must be finite"),
        (good, LABELS + 1, "labels must be from 0 to 2; found labels from 1 to 3"),
        (good, LABELS[1:], "103 inputs need labels"),
        (good[:, 1:], LABELS, r"takes samples of shape \(16,\), got \(3, 4\)"),
        (mapped(tmp_path, PIXELS.astype(complex), "c.npy"), LABELS, "real numbers"),
    ]:
        with pytest.raises(DataError, match=match):
            fit(MODEL, (samples, y), backend="numpy")


def test_a_file_that_becomes_shorter_is_an_error(tmp_path, nothing_fits):
    class Cut(Callback):
        def on_epoch(self, network, record):
            os.truncate(tmp_path / "x.npy", 1000)

    x = mapped(tmp_path, PIXELS)
    for callbacks in ([Cut()], []):  # while it is used, and before
        with pytest.raises(DataError, match=r"x\.npy: truncated: the file has 1,000 bytes"):
            fit(MODEL, (x, LABELS), backend="numpy", callbacks=callbacks, **OPTIONS)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(DataError, match=r"x\.npy: cannot be read"):
        fit(MODEL, (x, LABELS), backend="numpy")


# -- the files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_large_idx_files_are_mapped(tmp_path, nothing_fits, dtype):
    values = PIXELS.astype(dtype)
    write_idx(tmp_path / "x", values)
    write_idx(tmp_path / "x.gz", values)
    found = read_idx(tmp_path / "x")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(stored_array(found)[:], values)
    assert not isinstance(read_idx(tmp_path / "x.gz"), np.memmap)
    for change, part in ((-1, "truncated|can hold"), (1, "trailing bytes")):
        os.truncate(tmp_path / "x", (tmp_path / "x").stat().st_size + change)
        with pytest.raises(DataError, match=part):
            read_idx(tmp_path / "x")
        os.truncate(tmp_path / "x", (tmp_path / "x").stat().st_size - change)


NPY = {
    "C order": PIXELS,
    "Fortran order": np.asfortranarray(PIXELS),
    "big-endian": PIXELS.astype(">f8"),
    "little-endian": PIXELS.astype("<i4"),
    "bool": PIXELS > 100,
    "no axes": np.float32(3),
    "no samples": PIXELS[:0],
}


@pytest.mark.parametrize("name", NPY)
def test_npy_files_are_read(tmp_path, name):
    np.save(tmp_path / "x.npy", NPY[name])
    found = read_npy(tmp_path / "x.npy")
    assert type(found) is np.ndarray
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.dtype == NPY[name].dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, NPY[name])


def test_large_npy_files_are_mapped(tmp_path, nothing_fits):
    np.save(tmp_path / "x.npy", PIXELS)
    found = read_npy(tmp_path / "x.npy")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    np.testing.assert_array_equal(stored_array(found)[:], PIXELS)


def npy_bytes(values):
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def npy_header(*shape):
    file = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def test_npy_files_that_are_wrong_are_refused(tmp_path):
    right = npy_bytes(PIXELS)
    path = tmp_path / "x.npy"
    archive = io.BytesIO()
    np.savez(archive, PIXELS)
    cases = {
        "not a .npy file": [b"", b"\0\0\x08\1", right[:5], archive.getvalue()],
        "damaged": [right[:9], right[:30], right.replace(b"'descr'", b"'desc'  ")],
        "truncated": [right[:-1], right[:128], npy_header(2**30, 2**30)],
        "trailing bytes": [right + b"\0"],
        "found Python objects": [npy_bytes(np.array([{}, None]))],
        "found complex128": [npy_bytes(PIXELS.astype(complex))],
        "found <U": [npy_bytes(PIXELS.astype(str))],
        r"version \(3, 0\)": [right[:6] + b"\3" + right[7:]],
        "no array can have": [
            npy_header(-1, 4),
            npy_header(2**70),
            npy_header(0, 2**70),
            npy_header(0, *[1] * 64),
        ],
    }
    for match, contents in cases.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(DataError, match=match) as info:
                read_npy(path)
            assert str(info.value).startswith(f"{path}: ")
    with pytest.raises(DataError, match="cannot be read"):
        read_npy(tmp_path / "missing.npy")


def as_python_2(content, shape):
    """The same file with integers as Python 2 wrote them; the header is as long as before."""
    old = ", ".join(f"{n}L" for n in shape)
    new = content.replace(str(shape).encode(), f"({old})".encode())
    return new.replace(b" " * len(shape) + b"\n", b"\n", 1)


def test_headers_of_python_2_are_read_without_a_warning(tmp_path):
    """Warnings are errors here, and none may be switched off: threads share their fate."""
    path, content = tmp_path / "x.npy", as_python_2(npy_bytes(PIXELS), PIXELS.shape)
    path.write_bytes(content)
    assert b"(103L, 4L, 4L)" in content
    np.testing.assert_array_equal(read_npy(path), PIXELS)
    with pytest.warns(UserWarning, match="Python 2"):
        np.load(path)


def test_threads_that_read_at_once_are_all_right(tmp_path):
    """Python before 3.13 fails a parse for nothing where others parse; and the filters are shared.

    A collector that runs Python, as tools for tests have one, makes threads change in a parse.
    """
    np.save(tmp_path / "x.npy", PIXELS[:2])
    filters, interval, threshold = (
        list(warnings.filters),
        sys.getswitchinterval(),
        gc.get_threshold(),
    )

    def read(_):
        return [read_npy(tmp_path / "x.npy").tobytes() for _ in range(500)]

    def change_threads(_phase, _info):
        return list(range(50))

    sys.setswitchinterval(1e-6)
    gc.callbacks.append(change_threads)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as threads:
            read_by_each = list(threads.map(read, range(4)))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(change_threads)
        sys.setswitchinterval(interval)
    assert {values for by_one in read_by_each for values in by_one} == {PIXELS[:2].tobytes()}
    assert warnings.filters == filters


def test_a_npy_file_cut_or_damaged_anywhere_is_refused_or_read(tmp_path):
    right, path = npy_bytes(PIXELS[:2]), tmp_path / "x.npy"
    for length in range(len(right)):
        path.write_bytes(right[:length])
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_npy(path)
    for position in range(8 * 128):
        damaged = bytearray(right)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with contextlib.suppress(DataError):
            assert read_npy(path).nbytes == PIXELS[:2].nbytes


# -- folders --------------------------------------------------------------------------------------


def save_folder(folder, dtype=np.uint8, test=True):
    folder.mkdir()
    for part, n in (("train", 103), ("test", 40)):
        if part == "train" or test:
            np.save(folder / f"{part}-images.npy", PIXELS[:n].astype(dtype))
            np.save(folder / f"{part}-labels.npy", LABELS[:n].astype(np.int64))
    return folder


@pytest.mark.parametrize("large", [False, True])
def test_a_folder_of_npy_files(tmp_path, monkeypatch, large):
    if large:
        monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    data = load_dataset(save_folder(tmp_path / "mine"))
    assert str(data) == "<Dataset mine: 103 training and 40 test images of 4 x 4, 3 classes>"
    assert data.pixel_maximum == 255
    assert (stored_array(data.train.images) is not None) == large
    assert (stored_array(data.limited(60).train.images) is not None) == large
    assert stored_array(data.train.labels) is None
    np.testing.assert_array_equal(data.train.images, PIXELS)
    np.testing.assert_array_equal(data.test.labels, LABELS[:40])
    network = fit(MODEL, data.limited(60), backend="numpy", **OPTIONS)
    expected = fit(
        MODEL, (PIXELS[:60], LABELS[:60]), test=(PIXELS[:40], LABELS[:40]), backend="numpy",
        **OPTIONS,
    )  # fmt: skip
    assert network.history["test_loss"] == expected.history["test_loss"]


def test_a_folder_of_npy_files_without_a_test_set(tmp_path):
    assert load_dataset(save_folder(tmp_path / "mine", test=False)).test is None


def test_folders_of_npy_files_that_are_wrong_are_refused(tmp_path):
    folder = save_folder(tmp_path / "mine")
    (folder / "test-labels.npy").unlink()
    with pytest.raises(DataError, match=r"needs both test-images\.npy and test-labels\.npy"):
        load_dataset(folder)
    (folder / "train-labels.npy").unlink()
    with pytest.raises(DataError, match=r"found test-images\.npy, train-images\.npy; expected"):
        load_dataset(folder)
    folder = save_folder(tmp_path / "both")
    write_idx(folder / "t10k-images-idx3-ubyte.gz", PIXELS)
    with pytest.raises(DataError, match="leave one kind of them there"):
        load_dataset(folder)
    wide = load_dataset(save_folder(tmp_path / "wide", dtype=np.int64))
    np.testing.assert_array_equal(wide.train.images, PIXELS)
    assert wide.pixel_maximum == 255


# -- memory ---------------------------------------------------------------------------------------

MEASURE = """
import os, sys
import numpy as np
from xpnet import Callback, fit, mlp

path, n = sys.argv[1], int(sys.argv[2])

def peak():
    with open("/proc/self/status") as file:
        return int(dict(line.split(":", 1) for line in file)["VmHWM"].split()[0])

class Peaks(Callback):
    def on_epoch(self, network, record):
        print(peak())

np.lib.format.open_memmap(path, "w+", np.uint8, (n, 256, 256)).flush()
x, y = np.load(path, mmap_mode="r"), np.arange(n) % 10
print(peak())
network = fit(mlp(256 * 256, 2, 10), (x, y), epochs=2, batch_size=32, backend="numpy",
              callbacks=[Peaks()])
assert network.confusion_matrix(x, y).sum() == n
print(peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_a_few_batches(tmp_path):
    """600 MB in a sparse file, within 150 MB more than the imports take, however many epochs."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "x.npy"), str(600_000_000 // 65536)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    (tmp_path / "x.npy").unlink()
    start, first, second, end = (int(line) // 1024 for line in result.stdout.split())
    assert second - first < 20
    assert end - start < 150


def test_the_order_of_one_epoch_is_in_memory_at_a_time(tmp_path, nothing_fits, monkeypatch):
    """For a file of small samples the order is what takes most."""
    orders, alive = [], []

    def watch(seed, epoch, n):
        alive.append(sum(order() is not None for order in orders))
        order = permutation(seed, epoch, n)
        orders.append(weakref.ref(order))
        return order

    monkeypatch.setattr("xpnet.training.epoch.permutation", watch)
    fit(MODEL, (mapped(tmp_path, PIXELS), LABELS), backend="numpy", **{**OPTIONS, "epochs": 3})
    assert alive == [0, 0, 0]


def test_several_threads_read_the_rows_that_they_want(tmp_path):
    values = np.repeat(np.arange(400, dtype=np.int64)[:, None], 2000, axis=1)
    np.save(tmp_path / "rows.npy", values)
    stored = StoredArray(tmp_path / "rows.npy", 128, 16000, values.shape, values.dtype)

    def is_right(first):
        return np.array_equal(stored[first : first + 5], values[first : first + 5])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_right, [*range(0, 400, 5)] * 10))
