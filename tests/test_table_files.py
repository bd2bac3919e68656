"""Tables in files: how they are written is seen, whatever it is; and pictures in tables."""

import gzip
import io

import numpy as np
import pytest

from xpnet import load_dataset
from xpnet.data import is_table, load_digits, load_table, table_dataset
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

arrow = pytest.importorskip("pyarrow", reason="tables need pip install 'xpnet[table]'")

NAMES = ["Größe", "count", "colour", "buys"]


def rows(n=60):
    rng = np.random.default_rng(0)
    return [
        (
            round(float(rng.normal()), 3),
            int(rng.integers(5)),
            str(rng.choice(["rot", "grün", "blau"])),
            "ja" if rng.random() > 0.5 else "nein",
        )
        for _ in range(n)
    ]


def text(separator=",", point=".", *, header=True, quote="", end="\n"):
    def field(value):
        if isinstance(value, float):
            return str(value).replace(".", point)
        return f"{quote}{value}{quote}" if isinstance(value, str) else str(value)

    lines = [NAMES] * header + rows()
    return "".join(separator.join(map(field, line)) + end for line in lines)


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


WRITTEN = {
    "commas": text().encode(),
    "semicolons and decimal commas": text(";", ",").encode(),
    "tabs": text("\t").encode(),
    "bars": text("|").encode(),
    "spaces": text("  ").encode(),
    "quotes": text(quote='"').encode(),
    "spaces behind commas": text(", ").encode(),
    "carriage returns": text(end="\r\n").encode(),
    "latin-1": text().encode("latin-1"),
    "utf-16": text().encode("utf-16"),
    "utf-16 without a mark": text().encode("utf-16-le"),
    "utf-8 with a mark": text().encode("utf-8-sig"),
    "gzipped": gzip.compress(text().encode()),
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_table_is_the_same_however_it_is_written(tmp_path, how):
    columns = dict(zip(NAMES, zip(*rows(), strict=True), strict=True))
    expected = table_dataset(columns, label="buys")
    data = load_table(write(tmp_path / "shop.csv", WRITTEN[how]), label="buys")
    np.testing.assert_array_equal(data.train.images, expected.train.images)
    np.testing.assert_array_equal(data.train.labels, expected.train.labels)
    assert data.table == expected.table
    assert data.name == "shop"
    assert data.class_names == ("ja", "nein")


def test_a_table_without_names_has_numbers(tmp_path):
    path = write(tmp_path / "shop.data", text(header=False))
    for label in ("4", "-1"):
        data = load_table(path, label=label)
        assert data.table.label.name == "column 4"
        assert len(data.train) + len(data.test) == 60
    with pytest.raises(
        DataError, match="the number of the column, from 1 to 4, or -1 for the last"
    ):
        load_table(path, label="5")


@pytest.mark.parametrize(
    ("first", "header"),
    [
        ("1.5,2,ja", False),
        ("a,b,c", True),
        (",a,b", True),
        ("0,1,2", True),  # as pandas numbers columns without names
        ("1stFlrSF,2ndFlrSF,Sale", True),
    ],
)
def test_whether_there_is_a_header_is_seen(tmp_path, first, header):
    lines = [first, *(f"{i % 5}.25,{i % 7},{'ja' if i % 3 else 'nein'}" for i in range(40))]
    data = load_table(write(tmp_path / "a.csv", "\n".join(lines)), label="-1" if not header else
                      first.split(",")[2])  # fmt: skip
    assert len(data.train) + len(data.test) == 40 + (not header)
    assert data.table.label.name == (first.split(",")[2] if header else "column 3")


def test_texts_alone_without_a_header(tmp_path):
    lines = [f"{'xyz'[i % 3]},{'ab'[i % 2]},{'pe'[i % 5 > 2]}" for i in range(40)]
    data = load_table(write(tmp_path / "mushrooms.data", "\n".join(lines)), label="1")
    assert data.class_names == ("x", "y", "z")


def test_strange_words_among_numbers_are_missing(tmp_path):
    lines = ["a,y", *(f"{'unknown' if i < 3 else i / 7},{i % 2}" for i in range(200))]
    data = load_table(write(tmp_path / "a.csv", "\n".join(lines)), label="y", test_fraction=0)
    assert [type(c).__name__ for c in data.table.columns] == ["NumberColumn"]
    assert any(note.startswith("3 missing in 'a'") for note in data.notes)


ARFF = """% a comment
@RELATION 'shop'
@attribute 'Größe' real
@attribute count integer
@attribute colour {rot, 'grün', blau}
@attribute buys {ja, nein}
@DATA
"""


def test_arff(tmp_path):
    columns = dict(zip(NAMES, zip(*rows(), strict=True), strict=True))
    body = text(header=False, quote="'").replace("-0.132", "?")
    path = write(tmp_path / "shop.arff", ARFF + body + "%\n%\n")
    data = load_table(path, test_fraction=0)
    expected = table_dataset(columns, label="buys", test=None)
    np.testing.assert_array_equal(data.train.labels, expected.train.labels)
    assert [c.name for c in data.table.columns] == NAMES[:3]
    assert data.table.columns[1:] == expected.table.columns[1:]
    assert "label: 'buys' (the last column)" in data.notes


def test_arff_is_read_as_scipy_reads_it(tmp_path):
    scipy_arff = pytest.importorskip("scipy.io.arff")
    head = ARFF.replace("Größe", "size").replace("'grün'", "gruen")
    body = text(header=False).replace("grün", "gruen")
    expected, _ = scipy_arff.loadarff(io.StringIO(head + body))
    data = load_table(write(tmp_path / "shop.arff", head + body), test_fraction=0)
    column = data.table.columns[0]
    back = data.train.images[:, 0] * column.scale + column.mean
    np.testing.assert_allclose(back, expected["size"], rtol=1e-5, atol=1e-6)
    assert [data.class_names[i].encode() for i in data.train.labels] == expected["buys"].tolist()


@pytest.mark.parametrize("content", ["@relation x\n@data\n1,2\n", "a,b\n1,2\n", ""])
def test_what_is_no_arff(tmp_path, content):
    with pytest.raises(DataError, match="not an ARFF file"):
        load_table(write(tmp_path / "x.arff", content))


SPARSE = """@relation x
@attribute a real
@attribute 'b c' {none, 'o, n\\'e', many}
@attribute d integer
@attribute class {p, q}
@data
"""


def test_sparse_arff_is_as_the_dense_one(tmp_path):
    """Weka's book: of what a row does not name, a number is 0 and a category is the first."""
    rows = [
        (i % 7 - 1.5, ("none", r"'o, n\'e'", "many")[i % 3], i % 4, "pq"[i % 2]) for i in range(60)
    ]
    omitted = (0, "none", 0, "p")
    sparse = "".join(
        "{" + ", ".join(f"{i} {v}" for i, v in enumerate(row) if v != omitted[i]) + "}\n"
        for row in rows
    )
    dense = "".join(",".join(map(str, row)) + "\n" for row in rows)
    expected = load_table(write(tmp_path / "dense.arff", SPARSE + dense))
    for encoding in ("utf-8", "utf-16"):
        data = load_table(write(tmp_path / "sparse.arff", (SPARSE + sparse).encode(encoding)))
        assert data.table == expected.table
        np.testing.assert_array_equal(data.train.images, expected.train.images)
        np.testing.assert_array_equal(data.test.labels, expected.test.labels)
    categories = data.table.columns[1].categories
    assert categories == ("many", "none", "o, n'e")


def test_sparse_arff_of_pixels(tmp_path):
    images, labels = digits()
    head = "".join(f"@attribute pixel{i} real\n" for i in range(64))
    head += f"@attribute class {{{','.join(map(str, range(10)))}}}\n@data\n"
    rows = (
        ",".join(f"{i} {v}" for i, v in enumerate([*image.reshape(-1).tolist(), label]) if v)
        for image, label in zip(images, labels.tolist(), strict=True)
    )
    data = load_table(write(tmp_path / "x.arff", head + "".join(f"{{{row}}}\n" for row in rows)))
    np.testing.assert_array_equal(data.train.images, images)
    np.testing.assert_array_equal(data.train.labels, labels)


@pytest.mark.parametrize("row", ["{0 1, 9 2}", "{0 1, x 2}", "0,none,0,p", "{0 1"])
@pytest.mark.parametrize("place", [0, 70])
def test_rows_that_are_no_sparse_arff(tmp_path, row, place):
    rows = ["{0 1, 3 q}", "{0 2}"] * 60
    rows[place + 1] = row
    with pytest.raises(DataError, match=r"cannot be read as .*a row"):
        load_table(write(tmp_path / "x.arff", SPARSE + "\n".join(rows)))


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow", ".parquet.gz"])
def test_files_of_arrow(tmp_path, ending):
    columns = dict(zip(NAMES, map(list, zip(*rows(), strict=True)), strict=True))
    frame, path = arrow.table(columns), tmp_path / f"shop{ending}"
    if ".parquet" in ending:
        from pyarrow import parquet

        sink = io.BytesIO()
        parquet.write_table(frame, sink)
        content = sink.getvalue()
        write(path, gzip.compress(content) if ending.endswith(".gz") else content)
    elif ending == ".feather":
        from pyarrow import feather

        feather.write_feather(frame, path)
    else:
        with path.open("wb") as file, arrow.ipc.new_stream(file, frame.schema) as stream:
            stream.write_table(frame)
    assert is_table(path)
    data = load_dataset(path, label="buys")
    expected = table_dataset(columns, label="buys")
    np.testing.assert_array_equal(data.train.images, expected.train.images)
    assert data.table == expected.table


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow"])
def test_damaged_files_of_arrow(tmp_path, ending):
    with pytest.raises(DataError, match="file, or a damaged one"):
        load_table(write(tmp_path / f"x{ending}", b"PAR1 but no more of it"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "there are no rows in this file of 0 bytes"),
        ("a,b,y\n", "there are no rows"),
        ("<!DOCTYPE html>\n<html>", "found an HTML page"),
        (b"%PDF-1.4\x00\x01", "found a file that is no text"),
        ("a,a,y\n1,2,3\n", "of these there are several: 'a'"),
        (gzip.compress(text().encode())[:-20], "the gzip stream is damaged"),
    ],
    ids=["empty", "a head alone", "html", "pdf", "a name twice", "cut off"],  # gzip has the time
)
def test_what_is_no_table(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        load_table(write(tmp_path / "x.csv", content), label="y")


def test_a_gzipped_file_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.data.tables.text._SMALL", 1 << 18)
    monkeypatch.setattr("xpnet.data.tables.text._HEAD", 1 << 12)
    content = "a,b,y\n" + "1.5,2,x\n" * 200_000
    with pytest.raises(DataError, match="unpacks to more than 100 times its"):
        load_table(write(tmp_path / "x.csv.gz", gzip.compress(content.encode())), label="y")


def test_rows_of_different_length(tmp_path):
    with pytest.raises(DataError, match="row 62 has 2 fields where the first has 4: '1,2'"):
        load_table(write(tmp_path / "x.csv", text() + "1,2\n"), label="buys")


def test_a_file_that_is_not_there(tmp_path):
    assert not is_table(tmp_path / "x.csv")
    with pytest.raises(DataError, match="No such file"):
        load_table(tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"label: this is said of tables, and 'digits' is none"):
        load_dataset("digits", label="y")


def test_a_folder_with_tables_for_training_and_test(tmp_path):
    write(tmp_path / "train.csv", text())
    write(tmp_path / "test.csv", text())
    write(tmp_path / "sample_submission.csv", "id,buys\n1,ja\n")
    data = load_dataset(tmp_path, label="buys")
    assert (len(data.train), len(data.test)) == (60, 60)
    assert data.name == tmp_path.name
    write(tmp_path / "more_train.csv", text())
    with pytest.raises(DataError, match="expected one table with train in its name"):
        load_dataset(tmp_path, label="buys")


def test_the_label_is_what_the_other_table_has_not(tmp_path):
    write(tmp_path / "train.csv", text())
    lines = text().splitlines()
    write(tmp_path / "test.csv", "\n".join(line.rpartition(",")[0] for line in lines))
    data = load_dataset(tmp_path)
    assert data.table.label.name == "buys"
    assert len(data.test) == 12  # a fifth of the rows, since the other table tests nothing


def test_a_parquet_file_that_fills_the_memory(tmp_path, monkeypatch):
    from pyarrow import parquet

    table = arrow.table({"a": np.zeros(100_000), "label": np.arange(100_000) % 2})
    parquet.write_table(table, tmp_path / "x.parquet")
    monkeypatch.setattr("xpnet.data.tables.reading._SMALL", 1 << 16)
    monkeypatch.setattr("xpnet.data.tables.reading._MOST_EXPANSION", 2)
    with pytest.raises(DataError, match="100,000 rows of 2 columns, 1,600,000 bytes in memory"):
        load_dataset(tmp_path / "x.parquet")


# -- pixels ---------------------------------------------------------------------------------------


def digits(n=120):
    data = load_digits()
    return data.train.images[:n], data.train.labels[:n]


def pixel_table(images, labels, *, header, where=0, name="label"):
    pixels = images.reshape(len(images), -1).astype(object)
    table = np.insert(pixels, where, labels, axis=1) if labels is not None else pixels
    names = [f"pixel{i}" for i in range(pixels.shape[1])]
    if labels is not None:
        names.insert(where, name)
    lines = [",".join(map(str, row)) for row in table.tolist()]
    return "\n".join([",".join(names)] * header + lines) + "\n"


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("where", [0, 64])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_pixels(tmp_path, header, where, ending):
    images, labels = digits()
    content = pixel_table(images, labels, header=header, where=where).encode()
    path = write(tmp_path / f"d{ending}", gzip.compress(content) if "gz" in ending else content)
    data = load_dataset(path)
    np.testing.assert_array_equal(data.train.images, images)
    np.testing.assert_array_equal(data.train.labels, labels)
    assert data.train.images.dtype == np.uint8
    assert (data.pixel_maximum, data.n_classes, data.test, data.table) == (16.0, 10, None, None)


def test_pixels_are_read_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    images, labels = digits()
    path = write(tmp_path / "d.csv", pixel_table(images, labels, header=True))
    np.testing.assert_array_equal(load_dataset(path).train.images, images)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'xpnet\[table\]'"):
        load_dataset(write(tmp_path / "shop.csv", text()), label="buys")


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("header", [True, False])
def test_pixels_for_training_and_test(tmp_path, labelled, header):
    images, labels = digits()
    write(tmp_path / "mnist_train.csv", pixel_table(images[:80], labels[:80], header=header))
    tests = pixel_table(images[80:], labels[80:] if labelled else None, header=header)
    write(tmp_path / "mnist_test.csv", tests)
    data = load_dataset(tmp_path)
    np.testing.assert_array_equal(data.train.images, images[:80])
    if labelled:
        np.testing.assert_array_equal(data.test.labels, labels[80:])
        np.testing.assert_array_equal(data.test.images, images[80:])
    else:
        assert data.test is None
        assert "the test table has no labels, so nothing is tested by it" in data.notes


def test_the_label_of_pixels_by_its_name_and_as_text(tmp_path):
    images, labels = digits()
    letters = np.asarray(list("ABCDEFGHIJ"))[labels]
    path = write(tmp_path / "d.csv", pixel_table(images, letters, header=True, name="letter"))
    data = load_dataset(path, label="letter", test_fraction=0.25)
    assert data.class_names == tuple("ABCDEFGHIJ")
    assert (len(data.train), len(data.test), data.n_classes) == (90, 30, 10)
    path = write(tmp_path / "e.csv", pixel_table(images, labels + 1, header=True))
    data = load_dataset(path)
    assert data.class_names == tuple(map(str, range(1, 11)))
    np.testing.assert_array_equal(data.train.labels, labels)


def test_pixels_with_holes(tmp_path):
    """A picture without a label is left out; without a pixel they are columns as any others."""
    images, labels = digits()
    lines = pixel_table(images, labels, header=True).splitlines()
    first, _, rest = lines[100].partition(",")
    path = write(tmp_path / "d.csv", "\n".join([*lines[:100], f",{rest}", *lines[101:]]))
    data = load_dataset(path, test=path)
    np.testing.assert_array_equal(data.train.images, np.delete(images, 99, axis=0))
    np.testing.assert_array_equal(data.test.labels, np.delete(labels, 99))
    assert "left out, without the label label: 1 row" in data.notes
    assert "test: left out, without the label label: 1 row" in data.notes
    hole = f"{first},{rest.replace('0', '', 1)}"
    data = load_dataset(write(path, "\n".join([*lines[:100], hole, *lines[101:]])))
    assert data.table is not None
    assert any(note.startswith("no pixels, as the first rows are") for note in data.notes)
    write(path, "\n".join([lines[0], *(f",{line.partition(',')[2]}" for line in lines[1:])]))
    with pytest.raises(DataError, match="the label label is missing in all rows"):
        load_dataset(path)


def test_few_columns_of_numbers_are_no_pixels(tmp_path):
    lines = ["a,b,c,d,y", *(f"{i % 5},{i % 3},{i % 7},{i % 11},{i % 2}" for i in range(50))]
    assert load_table(write(tmp_path / "a.csv", "\n".join(lines))).table is not None


def test_pixels_in_parquet(tmp_path):
    from pyarrow import parquet

    images, labels = digits()
    columns = {f"pixel{i}": images.reshape(len(images), -1)[:, i] for i in range(64)}
    parquet.write_table(arrow.table({"label": labels, **columns}), tmp_path / "d.parquet")
    data = load_dataset(tmp_path / "d.parquet")
    np.testing.assert_array_equal(data.train.images, images)
    np.testing.assert_array_equal(data.train.labels, labels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_in_parquet(tmp_path, mode):
    from pyarrow import parquet

    Image = pytest.importorskip("PIL.Image")
    images, labels = digits(40)
    names = [f"class {i}" for i in range(10)]
    told = f'{{"info": {{"features": {{"label": {{"names": {names}}}}}}}}}'.replace("'", '"')
    schema = arrow.schema(
        [
            ("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])),
            ("label", arrow.int64()),
        ],
        metadata={"huggingface": told},
    )
    contents = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image * 15).convert(mode).save(stream, "PNG")
        contents.append({"bytes": stream.getvalue(), "path": None})
    for part, rows in (("train", slice(0, 30)), ("test", slice(30, 40))):
        columns = {"image": contents[rows], "label": labels[rows].tolist()}
        frame = arrow.table(columns, schema=schema)
        parquet.write_table(frame, tmp_path / f"{part}-00000-of-00001.parquet")
    data = load_dataset(tmp_path)
    expected = images * 15 if mode == "L" else np.repeat(images[..., None] * 15, 3, axis=-1)
    np.testing.assert_array_equal(data.train.images, expected[:30])
    np.testing.assert_array_equal(data.test.labels, labels[30:])
    assert (data.class_names, data.n_classes) == (tuple(names), 10)


def test_pictures_that_cannot_be_read(tmp_path):
    from pyarrow import parquet

    pytest.importorskip("PIL.Image")
    frame = arrow.table({"image": [b"no picture"], "label": [1]})
    parquet.write_table(frame, tmp_path / "d.parquet")
    with pytest.raises(DataError, match="the picture in row 1: cannot be read as a picture"):
        load_dataset(tmp_path / "d.parquet")
