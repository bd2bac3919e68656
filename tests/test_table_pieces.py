"""Tables that lie in several files, or in folders for training and test, as programs write them."""

import io
import tarfile

import numpy as np
import pytest

from xpnet.data import load_dataset, load_table
from xpnet.data.tables.folders import tables_among
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

arrow = pytest.importorskip("pyarrow", reason="tables need pip install 'xpnet[table]'")

N = 40


def columns(start=0, n=N):
    rows = range(start, start + n)
    return {"a": [i * 1.5 for i in rows], "label": ["xy"[i % 2] for i in rows]}


def write(path, table):
    from pyarrow import ipc, parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.table(table) if isinstance(table, dict) else table
    if path.suffix == ".arrow":
        with arrow.OSFile(str(path), "wb") as file, ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    else:
        parquet.write_table(table, path)


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
        ("train-00000-of-00002-0123456789abcdef.parquet", "train-00001-of-00002-ab12cd34.parquet"),
        ("part-00000-1b-c000.snappy.parquet", "part-00001-1b-c000.snappy.parquet"),
        ("part.0.parquet", "part.1.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet"),
        ("train/data-00000-of-00002.arrow", "train/data-00001-of-00002.arrow"),
    ],
)
def test_pieces_are_one_table(tmp_path, names):
    whole = {name: values + columns(N)[name] for name, values in columns().items()}
    write(tmp_path / "whole.parquet", whole)
    expected = load_table(tmp_path / "whole.parquet")
    for i, name in enumerate(names):
        write(tmp_path / "d" / name, columns(i * N))
    (tmp_path / "d" / "README.md").write_text("about it")
    data = load_dataset(tmp_path / "d")
    assert (data.name, data.table) == ("d", expected.table)
    np.testing.assert_array_equal(data.train.images, expected.train.images)
    np.testing.assert_array_equal(data.test.labels, expected.test.labels)
    assert "2 pieces of one table" in data.notes
    one = load_dataset(tmp_path / "d" / names[0])
    assert len(one.train) + len(one.test) == N
    assert ("left out: the other pieces of this table" in one.notes) == ("-of-" in names[0])


def test_folders_for_training_and_test(tmp_path):
    for part, n in (("train", 30), ("test", 10), ("validation", 8)):
        write(tmp_path / "d" / part / "data-00000-of-00001.arrow", columns(n=n))
        (tmp_path / "d" / part / "state.json").write_text("{}")
    with tarfile.open(tmp_path / "d.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "d", "d")
    for path in (tmp_path / "d", tmp_path / "d.tar.gz"):
        data = load_dataset(path)
        assert (len(data.train), len(data.test)) == (30, 10)
        assert "left out: the validation set" in data.notes
        assert "train/data-00000-of-00001.arrow, test/data" in data.notes[0]


def test_a_table_in_an_archive_leaves_nothing_behind(tmp_path, monkeypatch):
    import tempfile
    import zipfile

    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (tmp_path / "d.csv").write_text("a,label\n" + "1,x\n2,y\n" * 20)
    for name, content in (("good.zip", "a,label\n" + "1,x\n2,y\n" * 20), ("bad.zip", "a,b\n1\n")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("folder/d.csv", content)
    assert load_dataset(tmp_path / "good.zip").table is not None
    with pytest.raises(DataError, match=r"bad\.zip/folder/d\.csv: row 2 has 1 field where"):
        load_dataset(tmp_path / "bad.zip")
    assert list(scratch.iterdir()) == []
    scratch.rmdir()
    assert load_dataset(tmp_path / "d.csv").table is not None  # for which none is wanted
    with pytest.raises(DataError, match=r"temporary folder, and there can be none .*unpack it"):
        load_dataset(tmp_path / "good.zip")


def test_pieces_of_pictures(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 5, 4), dtype=np.uint8)
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    for i, rows in enumerate((slice(0, 4), slice(4, 9))):
        pictures = []
        for image in pixels[rows]:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            pictures.append({"bytes": file.getvalue(), "path": None})
        labels = np.arange(9)[rows] % 3
        table = arrow.table({"image": arrow.array(pictures, kind), "label": labels})
        write(tmp_path / f"train-0000{i}-of-00002.parquet", table)
    data = load_dataset(tmp_path)
    np.testing.assert_array_equal(data.train.images, pixels)
    np.testing.assert_array_equal(data.train.labels, np.arange(9) % 3)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"b": [1.5], "label": ["x"]}, r"has the columns 'b', 'label', and the first piece .* 'a'"),
        ({"a": ["much"], "label": ["x"]}, "does not fit the other pieces"),
        (None, "is one of 2 pieces of a table, of which 1 are there"),
    ],
)
def test_pieces_that_make_no_table(tmp_path, second, message):
    write(tmp_path / "train-00000-of-00002.parquet", columns())
    if second is not None:
        write(tmp_path / "train-00001-of-00002.parquet", second)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_whole_numbers_may_be_in_one_piece(tmp_path):
    write(tmp_path / "part-0.parquet", columns())
    write(tmp_path / "part-1.parquet", {"a": [1, 2], "label": ["x", "y"]})
    data = load_dataset(tmp_path, test_fraction=0)
    assert len(data.train) == N + 2


@pytest.mark.parametrize(
    ("names", "train", "test", "left_out"),
    [
        ("train.csv test.csv sample_submission.csv", "train.csv", "test.csv", ""),
        ("x.csv test.csv", "x.csv", "test.csv", ""),
        ("test.csv", "test.csv", "", ""),
        ("train.csv valid.csv", "train.csv", "valid.csv", ""),
        ("train.csv val.csv test.csv", "train.csv", "test.csv", "the validation set"),
        ("train.csv train.csv.gz train.parquet", "train.csv", "", ""),
        ("2023.parquet 2024.parquet", "2023.parquet 2024.parquet", "", ""),
        ("train/a.csv test/b.csv", "train/a.csv", "test/b.csv", ""),
    ],
)
def test_what_the_tables_of_a_folder_are_for(names, train, test, left_out):
    found = tables_among("folder", names.split())
    assert found.train == tuple(train.split())
    assert found.test == tuple(test.split())
    assert found.left_out == left_out


@pytest.mark.parametrize("names", ["a.csv b.csv", "train.csv train_2.csv", "part-0.csv part-1.csv"])
def test_several_tables_are_not_guessed_at(names):
    first, second = names.split()
    with pytest.raises(
        DataError, match=f"one table with train in its name, found {first}, {second}"
    ):
        tables_among("folder", names.split())
