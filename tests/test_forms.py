"""The forms in which people have training data: each gives what MNIST's own files would give."""

import gzip
import io
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

import xpnet
from xpnet.cli import main
from xpnet.data import load_dataset, load_digits
from xpnet.data.forms import places
from xpnet.data.forms.pixels import labels_of, pictures_of, scale_of
from xpnet.data.forms.roles import Role, role_of
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DIGITS = load_digits()
X = (DIGITS.train.images[:300].astype(int) * 255 // 16).astype(np.uint8)
X_TEST = (DIGITS.test.images[:100].astype(int) * 255 // 16).astype(np.uint8)
Y, Y_TEST = DIGITS.train.labels[:300].astype(np.uint8), DIGITS.test.labels[:100].astype(np.uint8)
ARRAYS = (X, Y, X_TEST, Y_TEST)
OPTIONS = {"epochs": 2, "backend": "numpy", "batch_size": 32}


def idx_bytes(array):
    file = io.BytesIO()
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    file.write(head + array.tobytes())
    return file.getvalue()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_files(folder, rename=lambda name: name, pack=lambda content: content):
    for name, array in zip(FILES, ARRAYS, strict=True):
        write(folder / rename(name), pack(idx_bytes(array)))
    return folder


def is_the_same(data):
    for split, x, y in ((data.train, X, Y), (data.test, X_TEST, Y_TEST)):
        np.testing.assert_array_equal(split.images, x)
        np.testing.assert_array_equal(split.labels, y)
    assert (data.n_classes, data.pixel_maximum, data.train.images.dtype) == (10, 255, "uint8")
    assert data.notes[0].startswith("found ")
    return data


# -- names ----------------------------------------------------------------------------------------

RENAMINGS = {
    "as published": str,
    "dotted": lambda name: name.replace("-idx", ".idx"),
    "capitals": str.upper,
    "underscores": lambda name: name.replace("-", "_"),
    "second download": lambda name: f"{name}(1)",
    "second download with a space": lambda name: f"{name} (2)",
    "copy": lambda name: f"{name} - Copy",
    "short": lambda name: name.split("-idx")[0],
    "ending": lambda name: name.split("-idx")[0] + ".idx",
    "test": lambda name: name.replace("t10k", "test"),
    "prefix": lambda name: f"my-digits-{name}",
    "folders like files": lambda name: f"{name}/{name.replace('-idx', '.idx')}",
    "root of a library": lambda name: f"MNIST/raw/{name}",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("how", RENAMINGS)
def test_idx_files_in_every_spelling(tmp_path, how, packed):
    rename = RENAMINGS[how]
    if packed:
        write_files(tmp_path / "d", lambda name: f"{rename(name)}.gz", gzip.compress)
    else:
        write_files(tmp_path / "d", rename)
    data = is_the_same(load_dataset(tmp_path / "d"))
    assert data.name == "d"
    assert "IDX files" in data.notes[0]
    assert rename(FILES[0]) in data.notes[0]


def test_second_downloads_of_wget(tmp_path):
    is_the_same(load_dataset(write_files(tmp_path, lambda name: f"{name}.gz.1", gzip.compress)))


def test_the_usual_spelling_is_taken_where_there_are_several(tmp_path):
    write_files(tmp_path)
    for array, name in zip(ARRAYS, FILES, strict=True):
        write(tmp_path / f"{name} (1).gz", gzip.compress(idx_bytes(array[:1])))
        write(tmp_path / name.replace("-idx", ".idx") / name, idx_bytes(array[:2]))
    is_the_same(load_dataset(tmp_path))


def test_one_of_the_files_stands_for_all(tmp_path):
    write_files(tmp_path)
    write(tmp_path / "other.csv", b"a,b\n1,2\n")
    assert is_the_same(load_dataset(tmp_path / FILES[0])).name == tmp_path.name


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("x_train", Role("train", "x")),
        ("Y_TEST", Role("test", "y")),
        ("trainX", Role("train", "x")),
        ("ytest", Role("test", "y")),
        ("val_images", Role("validation", "x")),
        ("labels", Role("", "y")),
        ("train_data_labels", Role("train", "y")),
        ("kmnist-train-imgs.npz", Role("train", "x", ("kmnist",))),
        ("qmnist-test-labels-idx2-int.gz", Role("test", "y", ("qmnist",))),
        ("sample_submission", None),
        ("x_y", None),
        ("train", None),
        ("exam", None),
    ],
)
def test_what_a_name_says(name, role):
    assert role_of(name) == role


# -- arrays of NumPy ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("trainX", "trainY", "testX", "testY"),
        ("X_train", "y_train", "X_val", "y_val"),
        ("arr_0", "arr_1", "arr_2", "arr_3"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_in_one_file(tmp_path, names, save):
    save(tmp_path / "d.npz", **dict(zip(names, ARRAYS, strict=True)))
    assert is_the_same(load_dataset(tmp_path / "d.npz")).name == "d"
    is_the_same(load_dataset(tmp_path))


def test_arrays_in_a_file_each(tmp_path):
    for name, array in zip(("x_train", "y_train", "x_test", "y_test"), ARRAYS, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    is_the_same(load_dataset(tmp_path))
    is_the_same(load_dataset(tmp_path / "y_test.npy"))


def test_a_file_for_each_part_or_role(tmp_path):
    for folder in ("parts", "roles"):
        (tmp_path / folder).mkdir()
    np.savez(tmp_path / "parts" / "digits_train.npz", images=X, labels=Y)
    np.savez(tmp_path / "parts" / "digits_test.npz", images=X_TEST, labels=Y_TEST)
    for name, array in zip(
        ("train-imgs", "train-labels", "test-imgs", "test-labels"), ARRAYS, strict=True
    ):
        np.savez(tmp_path / "roles" / f"kmnist-{name}.npz", array)
    is_the_same(load_dataset(tmp_path / "parts"))
    assert is_the_same(load_dataset(tmp_path / "roles")).class_names[:3] == ("o", "ki", "su")


def test_shapes_of_pictures_and_labels(tmp_path):
    for x, y in ((X[..., None], Y[:, None]), (X[:, None], np.eye(10)[Y]), (X.reshape(300, 64), Y)):
        np.savez(tmp_path / "d.npz", x=x, y=y.astype(float))
        data = load_dataset(tmp_path / "d.npz")
        np.testing.assert_array_equal(data.train.images, X)
        np.testing.assert_array_equal(data.train.labels, Y)
    for shape in ((5, 8, 8, 3), (5, 3, 8), (5, 63), (5, 4)):
        assert pictures_of(np.zeros(shape)).shape == shape
    assert labels_of(np.full((4, 8), 7, dtype=np.int32)).tolist() == [7] * 4  # QMNIST's
    assert labels_of(np.array([0.5, 1])).dtype == float


def test_labels_that_are_text_are_names_of_classes(tmp_path):
    names = np.array(["nil", "one", "two", "tre", "four", "five", "six", "sev", "egt", "nine"])
    np.savez(tmp_path / "d.npz", x_train=X, y_train=names[Y], x_test=X_TEST, y_test=names[Y_TEST])
    data = load_dataset(tmp_path / "d.npz")
    assert data.class_names == tuple(sorted(names.tolist()))
    assert [data.class_names[i] for i in data.test.labels] == names[Y_TEST].tolist()
    np.savez(tmp_path / "d.npz", x_train=X[:9], y_train=names[Y[:9]], x_test=X, y_test=names[Y])
    with pytest.raises(DataError, match="found classes that the training set has not"):
        load_dataset(tmp_path / "d.npz")


# -- the scale ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint64", "float32", "float64"])
def test_pixels_in_wider_types_train_as_bytes_do(tmp_path, dtype):
    for name, array in zip(FILES, ARRAYS, strict=True):
        kind = dtype if "images" in name else "int64"
        role = name.split("-idx")[0].replace("t10k", "test")
        np.save(tmp_path / f"{role}.npy", array.astype(kind))
    data = is_the_same(load_dataset(tmp_path))
    assert f"pixels of {dtype} from 0 to 255 are divided by 255" in data.notes


@pytest.mark.parametrize(
    ("dtype", "low", "high", "maximum"),
    [
        ("bool", 0, 1, 1),
        ("uint8", 0, 16, 255),
        ("int64", 0, 1, 1),
        ("int64", 0, 16, 255),
        ("int16", 0, 256, 65535),
        ("int32", 0, 65536, None),
        ("int64", -1, 255, None),
        ("int8", -128, 127, 127),
        ("float32", 0, 1, 1),
        ("float32", 0, 254.5, 255),
        ("float64", -0.5, 255, 1),
        ("float64", 0, 65535, 65535),
        ("float64", 0, 16, 1),
        ("float64", 0, 1000, 1),
        ("float64", 0, 1e9, 1),
    ],
)
def test_what_pixels_are_divided_by(dtype, low, high, maximum):
    assert scale_of(np.dtype(dtype), low, high) == maximum


@pytest.mark.parametrize(
    ("train", "test"), [("float32", "float64"), ("uint8", "int64"), ("int32", "uint8")]
)
def test_parts_in_different_types_have_one_scale(tmp_path, train, test):
    np.savez(tmp_path / "d.npz", x_train=X.astype(train), y_train=Y, x_test=X_TEST.astype(test),
             y_test=Y_TEST)  # fmt: skip
    is_the_same(load_dataset(tmp_path / "d.npz"))


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_parts_in_different_scales_are_refused(tmp_path, dtype):
    train = (X > 127).astype(dtype)
    np.savez(tmp_path / "d.npz", x_train=train, y_train=Y, x_test=X.astype(dtype), y_test=Y)
    with pytest.raises(DataError, match=r"go from 0 to 1, and those for the test to 255: write"):
        load_dataset(tmp_path / "d.npz")


@pytest.mark.parametrize(("low", "high"), [(0, 100), (-128, 127), (0, 1e6)])
def test_floats_that_are_not_divided_and_far_from_one_are_said(tmp_path, low, high):
    images = (low + X / 255 * (high - low)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=images, y_train=Y)
    said = f"pixels of float32 from {low:g} to {high:g} are taken as they are: networks train well"
    assert any(note.startswith(said) for note in load_dataset(tmp_path / "d.npz").notes)
    np.savez(tmp_path / "e.npz", x_train=X.astype(np.float32) / 64 - 2, y_train=Y)
    assert len(load_dataset(tmp_path / "e.npz").notes) == 1


def test_samples_are_no_text(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=X.astype(str), y_train=Y)
    with pytest.raises(DataError, match=r"x_train: samples are numbers, .*; found text"):
        load_dataset(tmp_path / "d.npz")


def test_what_is_no_pixel_is_refused_and_what_is_dark_is_said(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=X.astype(int) * 1000, y_train=Y)
    with pytest.raises(DataError, match=r"from 0 to 255000 are no pixels, .* write them as uint8"):
        load_dataset(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", x_train=X.astype(int) // 16, y_train=Y)
    assert "if 15 is white, give a Dataset with pixel_maximum=15" in str(
        load_dataset(tmp_path / "d.npz").notes
    )


# -- pictures -------------------------------------------------------------------------------------


def pictures(folder, parts, endings=(".png",), mode="L"):
    image = pytest.importorskip("PIL.Image")
    for part, x, y in parts:
        for i, (pixels, label) in enumerate(zip(x, y, strict=True)):
            path = folder / part / str(label) / f"{i}{endings[i % len(endings)]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).convert(mode).save(path)
    return folder


def counted(split):
    """The samples whatever their order."""
    rows = np.c_[split.images.reshape(len(split), -1), split.labels]
    return sorted(rows.astype(int).tolist())


@pytest.mark.parametrize("names", [("training", "testing"), ("train", "val"), ("Train", "TEST")])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_pictures_in_a_folder_for_each_class(tmp_path, names, mode):
    parts = [(names[0], X[:60], Y[:60]), (names[1], X_TEST[:30], Y_TEST[:30])]
    folder = pictures(tmp_path / "d", parts, (".png", ".BMP", ".tif"), mode)
    write(folder / "readme.md", b"pictures")
    data = load_dataset(folder)
    assert data.class_names == tuple("0123456789")
    assert counted(data.train) == sorted(np.c_[X[:60].reshape(60, -1), Y[:60]].astype(int).tolist())
    assert len(data.test) == 30
    assert "pictures in a folder for each of 10 classes" in data.notes[0]
    assert data.train.labels[:8].tolist() != sorted(data.train.labels[:8].tolist())


def test_pictures_without_parts_and_of_several_sizes(tmp_path):
    image = pytest.importorskip("PIL.Image")
    folder = pictures(
        tmp_path / "d", [("cats and dogs", X[:20], np.array(["dog", "cat"])[Y[:20] % 2])]
    )
    data = load_dataset(folder)
    assert (data.test, data.class_names, data.image_shape) == (None, ("cat", "dog"), (8, 8))
    image.fromarray(np.full((200, 100), 9, np.uint8)).save(folder / "cats and dogs/cat/large.png")
    data = load_dataset(folder)
    assert data.image_shape == (8, 8)
    assert "pictures of 2 sizes are fitted to 8 x 8 pixels" in data.notes
    assert any((sample == 9).all() for sample in data.train.images)
    (folder / "cats and dogs/cat/large.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"large\.png: cannot be read as a picture"):
        load_dataset(folder)


def test_a_list_of_the_pictures_is_no_table_to_train_on(tmp_path):
    parts = [("train", X[:9], Y[:9]), ("val", X[:4], Y[:4]), ("test", X[:6], Y[:6])]
    folder = pictures(tmp_path, parts)
    write(folder / "labels.csv", b"file,label\n0.png,3\n")
    data = load_dataset(folder)
    assert (len(data.train), len(data.test)) == (9, 6)
    assert "left out: the validation set" in data.notes


def parts_of(*names):
    return [(name, X[:20], Y[:20]) for name in names]


def test_pictures_of_two_data_sets_are_not_guessed_at(tmp_path):
    for name in ("images", "annotations"):
        pictures(tmp_path / name, parts_of("train", "test"))
    with pytest.raises(DataError, match=r"pictures of 2 data sets.*\(annotations, images\)"):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path / "images").n_classes == 10


def test_pictures_that_are_not_taken_are_counted(tmp_path):
    pictures(tmp_path, parts_of("train", "val", "test"))
    picture = next((tmp_path / "test").rglob("*.png"))
    for place in ("overview.png", "train/3/more/a.png", "test/b.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(picture, tmp_path / place)
    data = load_dataset(tmp_path)
    assert "left out: the validation set" in data.notes
    assert "left out: 3 pictures in no folder of a class" in data.notes


def test_a_class_of_the_test_alone_is_refused(tmp_path):
    folder = pictures(tmp_path, [("train", X[:9], Y[:9]), ("test", X[:1], ["other"])])
    with pytest.raises(DataError, match=r"test set has folders of classes .* has not: other"):
        load_dataset(folder)


def test_deep_pictures_are_made_grey_of_8_bits(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for label in "ab":
        (tmp_path / label).mkdir()
        image.fromarray(X[0].astype(np.uint16) * 257).save(tmp_path / label / "deep.png")
        clear = np.dstack([np.zeros_like(X[0])] * 3 + [X[0]])
        image.fromarray(clear, "RGBA").save(tmp_path / label / "clear.png")
    data = load_dataset(tmp_path)
    for pixels in data.train.images:
        assert (np.abs(pixels.astype(int) - X[0]) <= 1).all() or (
            np.abs(255 - pixels.astype(int) - X[0]) <= 1
        ).all()


# -- archives -------------------------------------------------------------------------------------


def pack(path, folder):
    name = path.name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for one in sorted(folder.rglob("*")):
                file.write(one, f"d/{one.relative_to(folder)}")
    else:
        how = {"gz": "gz", "bz2": "bz2", "xz": "xz", "tar": ""}[name.rpartition(".")[2]]
        with tarfile.open(path, f"w:{how}") as file:
            file.add(folder, "d")
    return path


def npz(folder):
    folder.mkdir()
    np.savez(folder / "a.npz", x_train=X, y_train=Y, x_test=X_TEST, y_test=Y_TEST)


def csv(folder):
    folder.mkdir()
    for part, x, y in (("train", X, Y), ("test", X_TEST, Y_TEST)):
        table = np.c_[y, x.reshape(len(x), -1)]
        np.savetxt(folder / f"{part}.csv", table, fmt="%d", delimiter=",")


def npy(folder):
    folder.mkdir()
    for name, array in zip(("x_train", "y_train", "x_test", "y_test"), ARRAYS, strict=True):
        with gzip.open(folder / f"{name}.npy.gz", "wb") as file:
            np.save(file, array)


WRITERS = {
    "idx": write_files,
    "idx.gz": lambda folder: write_files(folder, lambda n: f"{n}.gz", gzip.compress),
    "npz": npz,
    "npy.gz": npy,
    "csv": csv,
}


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
@pytest.mark.parametrize("form", WRITERS)
def test_archives_of_each_form(tmp_path, monkeypatch, form, ending):
    WRITERS[form](tmp_path / "d")
    path = pack(tmp_path / f"my.data{ending}", tmp_path / "d")
    shutil.rmtree(tmp_path / "d")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert is_the_same(load_dataset(path)).name == "my.data"
    is_the_same(load_dataset(tmp_path))  # the only archive there
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_archives_of_pictures(tmp_path, ending):
    folder = pictures(tmp_path / "p", [("train", X[:40], Y[:40]), ("test", X[:20], Y[:20])])
    plain, packed = load_dataset(folder), load_dataset(pack(tmp_path / f"p{ending}", folder))
    assert counted(plain.train) == counted(packed.train)
    assert counted(plain.test) == counted(packed.test)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "C:\\x", "..\\x"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_out_of_an_archive_is_refused(tmp_path, name, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, b"a")
    else:
        with tarfile.open(path, "w") as file:
            member = tarfile.TarInfo(name)
            member.size = 1
            file.addfile(member, io.BytesIO(b"a"))
    with pytest.raises(DataError, match="leads out of the archive"):
        load_dataset(path)


def test_links_in_an_archive_are_not_followed(tmp_path):
    write_files(tmp_path / "d")
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for name in FILES:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "d" / name)
            file.addfile(member)
    with pytest.raises(DataError, match="an archive without files"):
        load_dataset(tmp_path / "a.tar")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_fills_the_memory_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(places, "_SMALL_UNPACKED", 1 << 16)
    write(tmp_path / "d" / "x_train.npy", bytes(1 << 20))
    with pytest.raises(DataError, match="made to fill the memory"):
        load_dataset(pack(tmp_path / f"a.{kind}", tmp_path / "d"))


def test_a_gzipped_file_that_fills_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "_SMALL_UNPACKED", 1 << 16)
    write(tmp_path / "y_train.npy.gz", gzip.compress(bytes(1 << 20)))
    write(tmp_path / "x_train.npy.gz", gzip.compress(bytes(1 << 20)))
    with pytest.raises(DataError, match="made to fill the memory"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz"])
def test_an_archive_that_is_cut_off_is_said_to_be(tmp_path, ending):
    path = pack(tmp_path / f"a{ending}", write_files(tmp_path / "d"))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="damaged or cut off"):
        load_dataset(path)


# -- what is no training data ---------------------------------------------------------------------

HTML = b"\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
WRONG = {
    "html": (HTML, "an HTML page, saved in the place of the file"),
    "gzipped html": (gzip.compress(HTML), "an HTML page.*gzipped"),
    "pointer": (POINTER, "a Git LFS pointer.*git lfs pull"),
    "empty": (b"", "an empty file"),
    "pickle": (pickle.dumps([1]), r"a pickle.*never is.*numpy\.savez"),
    "gzipped pickle": (gzip.compress(pickle.dumps(X[:2])), r"a pickle.*numpy\.savez"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5.*h5py"),
    "matlab": (b"MATLAB 5.0 MAT-file", "MATLAB.*scipy"),
    "network": (struct.pack("<Q", 30) + b'{"__metadata__":{}}', "a saved network"),
    "7z": (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    "gzipped twice": (gzip.compress(gzip.compress(idx_bytes(Y))), "gzipped twice: unpack it"),
    "old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel.*save its sheet as CSV"),
    "rar": (b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    "picture": (b"\x89PNG\r\n\x1a\n", "a picture"),
}


@pytest.mark.parametrize("name", ["data.bin", "mnist.pkl", "train-images-idx3-ubyte.gz", "a.npz"])
@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_no_training_data_is_called_what_it_is(tmp_path, case, name):
    content, match = WRONG[case]
    write(tmp_path / name, content)
    with pytest.raises(DataError, match=f"(?s){match}") as info:
        load_dataset(tmp_path / name)
    assert name in str(info.value)


@pytest.mark.parametrize("case", WRONG)
def test_one_wrong_file_among_others_is_named(tmp_path, case):
    content, match = WRONG[case]
    write_files(tmp_path, lambda name: f"{name}.gz", gzip.compress)
    write(tmp_path / f"{FILES[1]}.gz", content)
    with pytest.raises(DataError, match=f"(?s){match}") as info:
        load_dataset(tmp_path)
    assert f"{FILES[1]}.gz: expected an IDX file" in str(info.value)


class Trap:
    def __reduce__(self):
        return pytest.fail, ("the pickle was opened",)


@pytest.mark.parametrize("protocol", range(6))
def test_no_pickle_is_opened(tmp_path, protocol):
    write(tmp_path / "a.pkl", pickle.dumps(Trap(), protocol))
    write(tmp_path / "b.pkl.gz", gzip.compress(pickle.dumps(Trap(), protocol)))
    objects = np.array([Trap(), 1], dtype=object)
    np.save(tmp_path / "x_train.npy", objects, allow_pickle=True)
    np.save(tmp_path / "y_train.npy", Y[:2])
    np.savez(tmp_path / "c.npz", x_train=objects, y_train=Y[:2])
    for name in ("a.pkl", "b.pkl.gz", "x_train.npy", "c.npz"):
        with pytest.raises(DataError, match="pickle"):
            load_dataset(tmp_path / name)


def test_what_an_archive_is_that_holds_no_data(tmp_path):
    for name, inside, match in (
        ("a.ods", "content.xml", "LibreOffice: save its sheet as CSV"),
        ("a.xlsx", "xl/workbook.xml", "Excel: save its sheet as CSV"),
        ("a.pt", "a/data.pkl", "a file of PyTorch.*weights_only"),
        ("a.zip", "inner.zip", "archives: unpack them"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inside, b"x")
        with pytest.raises(DataError, match=f"no training data: .*{match}"):
            load_dataset(tmp_path / name)
    (tmp_path / "processed").mkdir()
    shutil.copy(tmp_path / "a.pt", tmp_path / "processed" / "training.pt")
    with pytest.raises(DataError, match=r"found training\.pt \(a file of PyTorch"):
        load_dataset(tmp_path / "processed")


def test_a_table_is_called_by_its_name_and_not_by_its_folder(tmp_path):
    pytest.importorskip("pyarrow")
    write(tmp_path / "labels.data", b"1.5,2,p\n2.5,3,q\n" * 20)
    assert load_dataset(tmp_path / "labels.data", label="-1").name == "labels"


def test_a_cut_off_gzip_is_called_that(tmp_path):
    write_files(tmp_path, lambda name: f"{name}.gz", gzip.compress)
    path = tmp_path / f"{FILES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="gzip stream is damaged or cut off"):
        load_dataset(tmp_path)


def test_several_data_sets_are_not_guessed_at(tmp_path):
    write_files(tmp_path / "a" / "one")
    write_files(tmp_path / "a" / "two")
    with pytest.raises(DataError, match=r"holds 2 data sets \(one, two\): give the folder of one"):
        load_dataset(tmp_path / "a")
    write_files(tmp_path / "b")
    npz(tmp_path / "c")
    shutil.copy(tmp_path / "c" / "a.npz", tmp_path / "b")
    with pytest.raises(DataError, match=r"found IDX files and arrays of \.npz: leave one kind"):
        load_dataset(tmp_path / "b")
    is_the_same(load_dataset(tmp_path / "b" / "a.npz"))
    is_the_same(load_dataset(tmp_path / "b" / FILES[0]))


def test_what_is_wanted_is_said(tmp_path):
    with pytest.raises(DataError, match="found an empty folder; expected the IDX files") as info:
        load_dataset(tmp_path)
    for wanted in (".npz", ".csv", ".parquet", "pictures in a folder for each class", ".tar.gz"):
        assert wanted in str(info.value)
    write(tmp_path / "a.png", b"")
    with pytest.raises(DataError, match="pictures need a folder for each of two or more classes"):
        load_dataset(tmp_path)
    np.savez(tmp_path / "w.npz", weight=X)
    with pytest.raises(DataError, match=r"a \.npz file with the arrays weight, whose names"):
        load_dataset(tmp_path / "w.npz")
    with pytest.raises(DataError, match=r"no data set 'nowhere\.csv': .*the path of a file"):
        load_dataset("nowhere.csv")


def test_files_of_systems_are_no_data(tmp_path):
    write_files(tmp_path / "d")
    for name in (".DS_Store", f"._{FILES[0]}", "__MACOSX/._a", "Thumbs.db", ".git/x_train.npy"):
        write(tmp_path / "d" / name, b"litter")
    is_the_same(load_dataset(tmp_path / "d"))
    is_the_same(load_dataset(pack(tmp_path / "d.zip", tmp_path / "d")))


# -- training -------------------------------------------------------------------------------------


def test_each_form_trains_the_same_network(tmp_path):
    expected = xpnet.fit(xpnet.mlp(64, 16, 10), (X, Y), test=(X_TEST, Y_TEST), **OPTIONS)
    for form, writer in WRITERS.items():
        writer(tmp_path / form)
        network = xpnet.fit(xpnet.mlp(64, 16, 10), load_dataset(tmp_path / form), **OPTIONS)
        for name, value in network.params.items():
            np.testing.assert_array_equal(value, expected.params[name])


def test_the_command_says_what_it_took(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Drawing takes longer than all else here.
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *arguments: True)
    pack(tmp_path / "mine.zip", write_files(tmp_path / "d"))
    quick = ["--epochs", "1", "--hidden", "4", "--backend", "numpy"]
    told = CliRunner().invoke(main, ["train", "mine.zip", *quick])
    assert told.exit_code == 0, told.output
    assert "data:    found IDX files: d/train-images-idx3-ubyte, " in told.output
    assert "data:    mine: 300 training and 100 test images of 8 x 8, 10 classes" in told.output
    again = CliRunner().invoke(main, ["evaluate", "runs/mine-1", "--backend", "numpy"])
    assert again.exit_code == 0, again.output
    assert "mine test set" in again.output
    wrong = CliRunner().invoke(main, ["train", "runs/mine-1", *quick])
    assert wrong.exit_code == 1
    assert "the folder of a run: a saved network and no data" in wrong.output
