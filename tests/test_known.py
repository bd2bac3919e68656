"""The data sets that are known by name: their rows, where they are found, their classes."""

import gzip
import hashlib
import re
import shutil
import string
import tarfile
import typing
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import xpnet
from xpnet.cli import main
from xpnet.data import DATASETS, Dataset, Split, load_dataset, load_digits, write_idx
from xpnet.data.known import FILES, KNOWN
from xpnet.errors import DataError
from xpnet.export import to_npz

pytestmark = pytest.mark.libraries

RNG = np.random.default_rng(0)
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Nothing is downloaded, and nothing is found but below `tmp_path`."""
    import pooch

    def no_download(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(pooch, "retrieve", no_download)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
    for name, row in KNOWN.items():
        monkeypatch.setitem(KNOWN, name, replace(row, places=()))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def arrays_of(row, n=40):
    """Images and labels, as they are seen: every class is there, and no image is symmetric."""
    classes = len(row.class_names)
    n = max(n, 2 * classes)
    x = RNG.integers(0, 256, (2, n, 28, 28)).astype(np.uint8)
    y = np.stack([RNG.permutation(np.arange(n) % classes) for _ in range(2)])
    return x[0], y[0], x[1], y[1]


def published(row, folder, suffix=".gz"):
    """Write the files as they are published: of EMNIST turned, of QMNIST with eight columns."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = arrays_of(row)
    for name, array in zip(row.files, arrays, strict=True):
        if "images" in name:
            array = np.swapaxes(array, 1, 2) if row.name.startswith("emnist") else array
        elif row.name == "qmnist":
            array = np.c_[array, RNG.integers(0, 9999, (len(array), 7))].astype(np.int32)
        else:
            array = (array + (row.name == "emnist-letters")).astype(np.uint8)
        write_idx(folder / f"{name}{suffix}", np.ascontiguousarray(array))
    return arrays


def check(data, row, arrays):
    assert (data.name, data.class_names, data.n_classes) == (
        row.name, row.class_names, len(row.class_names),
    )  # fmt: skip
    found = (data.train.images, data.train.labels, data.test.images, data.test.labels)
    for array, expected in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(array, expected)


PLACES = KNOWN["fashion-mnist"].places
UNKNOWN_CONTENT = [name for name, row in KNOWN.items() if not row.sha256]


def test_the_names():
    assert list(DATASETS) == [
        "digits", "mnist", "fashion-mnist", "kmnist", "qmnist", "emnist-balanced",
        "emnist-letters", "emnist-digits", "emnist-byclass", "emnist-bymerge", "emnist-mnist",
    ]  # fmt: skip


def test_type_checkers_know_the_names():
    known, _ = typing.get_overloads(load_dataset)
    assert typing.get_args(typing.get_type_hints(known)["name"]) == tuple(DATASETS)


def test_the_classes_are_those_of_the_publishers():
    digits = tuple(string.digits)
    for name in ("mnist", "qmnist", "emnist-digits", "emnist-mnist"):
        assert KNOWN[name].class_names == digits
    assert KNOWN["fashion-mnist"].class_names == FASHION
    assert KNOWN["emnist-letters"].class_names == tuple(string.ascii_lowercase)
    by_class = tuple(sorted(string.digits + string.ascii_letters))
    assert KNOWN["emnist-byclass"].class_names == by_class
    # Of these small letters are written as the capital ones (G. Cohen et al., table II).
    merged = tuple(c for c in by_class if c not in set("cijklmopsuvwxyz"))
    assert KNOWN["emnist-balanced"].class_names == KNOWN["emnist-bymerge"].class_names == merged
    assert len(merged) == 47
    assert len(KNOWN["kmnist"].class_names) == 10


def test_the_rows_are_complete():
    for row in KNOWN.values():
        assert len(row.files) == 4
        assert (len(row.md5) == 4) == (row.archive is None) == bool(row.mirrors)
        for checksum in (*row.md5, *(row.archive or ())[1:]):
            assert re.fullmatch("[0-9a-f]{32}", checksum)
        assert len(row.sha256) in (0, 4)
        assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in row.sha256)
        assert all(m.startswith("http") and m.endswith("/") for m in row.mirrors)


# -- where they are found -------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNKNOWN_CONTENT)
def test_found_in_the_folder_that_is_given(places, name):
    row = KNOWN[name]
    arrays = published(row, places)
    check(load_dataset(name, data_dir=places), row, arrays)
    data = load_dataset(places)  # by the path, with what the names of the files say
    known = row.files != FILES  # the names of MNIST's say nothing
    assert (data.class_names == row.class_names) is known
    np.testing.assert_array_equal(data.train.images, arrays[0])


@pytest.mark.parametrize("name", UNKNOWN_CONTENT)
def test_found_in_folders_of_its_name(places, monkeypatch, name):
    row = KNOWN[name]
    folder = f"{row.folders[0].upper()}/raw"
    arrays = published(row, places / folder, suffix="")
    published(KNOWN["mnist"], places / "MNIST/raw")
    check(load_dataset(name, data_dir=places), row, arrays)
    monkeypatch.setenv("XPNET_DATA_DIR", str(places))
    check(load_dataset(name), row, arrays)
    shutil.move(places / folder, places.parent / "cache" / "xpnet" / row.name / "raw")
    monkeypatch.delenv("XPNET_DATA_DIR")
    check(load_dataset(name), row, arrays)


@pytest.mark.parametrize("form", ["npz", "zip", "tar.gz", "dotted", "folders like files"])
def test_found_in_other_forms(places, tmp_path, form):
    row = KNOWN["kmnist"]
    arrays = published(row, tmp_path / "files", suffix="")
    if form == "npz":
        names = ("x_train", "y_train", "x_test", "y_test")
        np.savez(places / "kmnist.npz", **dict(zip(names, arrays, strict=True)))
    elif form == "zip":
        with zipfile.ZipFile(places / "KMNIST.zip", "w") as file:
            for name in FILES:
                file.write(tmp_path / "files" / name, name)
    elif form == "tar.gz":
        with tarfile.open(places / "kmnist.tar.gz", "w:gz") as file:
            file.add(tmp_path / "files", "kmnist")
    for name in FILES:
        dotted = name.replace("-idx", ".idx")
        if form == "dotted":
            shutil.copy(tmp_path / "files" / name, places / dotted)
        elif form == "folders like files":
            (places / "kmnist" / dotted).mkdir(parents=True)
            shutil.copy(tmp_path / "files" / name, places / "kmnist" / dotted / dotted)
    check(load_dataset("kmnist", data_dir=places), row, arrays)


def test_the_parts_of_emnist_come_from_one_archive(places, tmp_path):
    arrays = {}
    for name in ("emnist-letters", "emnist-digits", "emnist-balanced"):
        arrays[name] = published(KNOWN[name], tmp_path / "gzip")
    with zipfile.ZipFile(places / "gzip.zip", "w") as file:
        for path in (tmp_path / "gzip").iterdir():
            file.write(path, f"gzip/{path.name}")
    for name, expected in arrays.items():
        check(load_dataset(name, data_dir=places), KNOWN[name], expected)
    with pytest.raises(DataError, match=r"holds 3 data sets .*its name, such as emnist-letters"):
        load_dataset(places / "gzip.zip")
    with pytest.raises(DataError, match="emnist-byclass is not here"):
        load_dataset("emnist-byclass", data_dir=places)


def test_tables_of_emnist_are_turned_as_well(places):
    row = KNOWN["emnist-letters"]
    x, y, *_ = arrays_of(row)
    table = np.c_[y + 1, np.swapaxes(x, 1, 2).reshape(len(x), -1)]
    np.savetxt(places / "emnist-letters-train.csv", table, fmt="%d", delimiter=",")
    data = load_dataset(places)
    np.testing.assert_array_equal(data.train.images, x)
    np.testing.assert_array_equal(data.train.labels, y)
    assert (data.n_classes, data.class_names) == (26, row.class_names)


def test_found_where_a_package_has_it(tmp_path, monkeypatch):
    arrays = published(KNOWN["fashion-mnist"], tmp_path / "usr" / "fashion-mnist")
    sums = sums_of(tmp_path / "usr" / "fashion-mnist")
    row = replace(
        KNOWN["fashion-mnist"], sha256=sums, places=(str(tmp_path / "usr" / "fashion-mnist"),)
    )
    monkeypatch.setitem(KNOWN, "fashion-mnist", row)
    check(load_dataset("fashion-mnist"), row, arrays)


def test_debian_s_folder_is_looked_into():
    assert "/usr/share/datasets/fashion-mnist" in PLACES


def sums_of(folder):
    return tuple(
        hashlib.sha256(gzip.decompress((folder / f"{name}.gz").read_bytes())).hexdigest()
        for name in FILES
    )


def test_another_known_data_set_is_passed_over(places, tmp_path, monkeypatch):
    """Four of them have the same names of files."""
    both = {}
    for name in ("mnist", "fashion-mnist"):
        both[name] = published(KNOWN[name], tmp_path / name)
        row = replace(KNOWN[name], sha256=sums_of(tmp_path / name))
        monkeypatch.setitem(KNOWN, name, row)
    shutil.copytree(tmp_path / "mnist", places, dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"fashion-mnist is not here .*data holds mnist\.\)"):
        load_dataset("fashion-mnist", data_dir=places)
    with pytest.raises(DataError, match=r"kmnist is not here .*data holds mnist\.\)"):
        load_dataset("kmnist", data_dir=places)
    shutil.copytree(tmp_path / "fashion-mnist", places / "fashion")
    check(load_dataset("mnist", data_dir=places), KNOWN["mnist"], both["mnist"])
    found = load_dataset("fashion-mnist", data_dir=places)
    check(found, KNOWN["fashion-mnist"], both["fashion-mnist"])
    # By its content it is known without its name, too.
    assert load_dataset(places / "fashion").class_names == FASHION


def test_content_that_is_not_known_is_refused(places):
    published(KNOWN["fashion-mnist"], places)
    with pytest.raises(DataError, match="not that of fashion-mnist: expected SHA-256 c59f468a2f"):
        load_dataset("fashion-mnist", data_dir=places)


@pytest.mark.parametrize("name", ["kmnist", "emnist-letters"])
def test_labels_of_more_classes_are_not_those_of_the_name(places, name):
    row = KNOWN[name]
    labels = published(row, places)[1]
    write_idx(places / f"{row.files[1]}.gz", np.full(len(labels), 99, np.uint8))
    with pytest.raises(DataError, match=rf"labels go up to 9[89], and {name} has \d\d classes"):
        load_dataset(name, data_dir=places)


# -- downloading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kmnist", "qmnist", "emnist-letters"])
def test_downloaded_with_the_published_checksums(places, tmp_path, monkeypatch, name):
    import pooch

    row, asked = KNOWN[name], []
    arrays = published(row, tmp_path / "server")
    with zipfile.ZipFile(tmp_path / "server" / "gzip.zip", "w") as file:
        for path in (tmp_path / "server").glob("*.gz"):
            file.write(path, f"gzip/{path.name}")

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash))
        path.mkdir(parents=True, exist_ok=True)
        return shutil.copy(tmp_path / "server" / fname, path)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    check(load_dataset(name), row, arrays)
    if name.startswith("emnist"):
        assert asked == [
            ("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
             "md5:58c8d27c78d21e728a6bc7b3cc06412e"),
        ]  # fmt: skip
    else:
        assert [url.rpartition("/")[2] for url, _ in asked] == [f"{file}.gz" for file in row.files]
        assert [known for _, known in asked] == [f"md5:{md5}" for md5 in row.md5]
    asked.clear()
    check(load_dataset(name), row, arrays)
    assert asked == []


def test_what_is_missing_is_said(places):
    with pytest.raises(DataError) as info:
        load_dataset("emnist-letters", data_dir=places)
    message = str(info.value)
    for part in ("emnist-letters is not here", "no network", str(places), "gzip.zip",
                 "emnist-letters-train-images-idx3-ubyte", "--data-dir"):  # fmt: skip
        assert part in message


# -- the names of classes -------------------------------------------------------------------------

DATA = replace(load_digits().limited(200), class_names=tuple(f"digit {i}" for i in range(10)))
QUICK = {"epochs": 1, "backend": "numpy"}


def test_a_network_keeps_the_names_of_its_classes(tmp_path):
    network = xpnet.fit(xpnet.mlp(64, 10), DATA, **QUICK)
    assert network.class_names == DATA.class_names
    network.save(tmp_path / "n.safetensors")
    to_npz(network, tmp_path / "n.npz")
    for again in (
        xpnet.load(tmp_path / "n.safetensors", backend="numpy"),
        xpnet.Network.from_npz(tmp_path / "n.npz"),
        network.copy(),
    ):
        assert again.class_names == DATA.class_names
        report = again.report(DATA.test.images, DATA.test.labels)
        assert [row.name for row in report.classes] == list(DATA.class_names)
        assert again.predict(DATA.test.images).dtype.kind in "iu"
    own = xpnet.fit(xpnet.mlp(64, 10), replace(DATA, class_names=None), start=network, **QUICK)
    assert own.class_names == DATA.class_names


def test_names_change_nothing_of_a_training():
    networks = [
        xpnet.fit(xpnet.mlp(64, 10), replace(DATA, class_names=names), **QUICK)
        for names in (None, DATA.class_names)
    ]
    for name, value in networks[0].params.items():
        np.testing.assert_array_equal(value, networks[1].params[name])


def test_a_network_with_other_outputs_has_no_names():
    assert xpnet.fit(xpnet.mlp(64, 12), DATA, **QUICK).class_names is None


@pytest.mark.parametrize("names", [("a",), "abcdefghij", tuple(range(10)), ()])
def test_names_that_do_not_fit_are_refused(names):
    network = xpnet.fit(xpnet.mlp(64, 10), DATA, **QUICK)
    with pytest.raises(ValueError, match="class_names must be"):
        xpnet.Network(network.model, network.params, network.backend, class_names=names)


@pytest.mark.parametrize("names", [("a", "b"), ("a",) * 10])
def test_names_of_a_data_set_that_do_not_fit_are_refused(names):
    with pytest.raises(DataError, match="class_names must be one for each of 10 classes"):
        replace(DATA, class_names=names)


def test_classes_are_found_by_their_names():
    x = np.zeros((3, 2, 2), dtype=np.uint8)
    own = Dataset("own", Split(x, [0, 1, 1]), Split(x, [1, 0, 0]), 2, class_names=("dog", "cat"))
    data = own.numbered_by(("cat", "cow", "dog"))
    assert data.train.labels.tolist() == [2, 0, 0]
    assert data.test.labels.tolist() == [0, 2, 2]
    assert (data.n_classes, data.class_names) == (3, ("cat", "cow", "dog"))
    assert own.numbered_by(None) is own
    some = replace(own, class_names=("3", "1")).numbered_by(None)
    assert (some.train.labels.tolist(), some.n_classes) == ([3, 1, 1], 4)
    with pytest.raises(DataError, match="not trained on: dog; the network knows cat, cow"):
        own.numbered_by(("cat", "cow"))


def test_the_command_line_shows_the_names(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    data = load_digits()
    kinds = ("even", "odd")
    for part, split in (("train", data.train), ("test", data.test)):
        for i in range(60):
            path = tmp_path / "own" / part / kinds[split.labels[i] % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(15 * split.images[i]).save(path)
    command = ["train", "own", "--backend", "numpy", "--epochs", "40", "--hidden", "", "--out", "r"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    answer = CliRunner().invoke(main, ["predict", "r", str(path)])
    assert re.search(r": (even|odd)  \(\d", answer.output)
    # The test pictures alone, of which a class may be missing.
    shutil.rmtree(tmp_path / "own" / "train")
    result = CliRunner().invoke(main, ["evaluate", "r", "own/test", "--split", "train"])
    assert result.exit_code == 0, result.output
    for folder in ("even", "odd"):
        (tmp_path / "own" / "test" / folder).rename(tmp_path / "own" / "test" / f"not {folder}")
    result = CliRunner().invoke(main, ["evaluate", "r", "own/test", "--split", "train"])
    assert result.exit_code == 1
    assert "not trained on: not even, not odd; the network knows even, odd" in result.output
