"""How people's programs write tables: each is read as the plain one is."""

import numpy as np
import pytest

from xpnet.data import load_table
from xpnet.data.tables import text as texts
from xpnet.data.tables.columns import as_number
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

pytest.importorskip("pyarrow", reason="tables need pip install 'xpnet[table]'")

N = 60
LABELS = ["ja" if i % 3 else "nein" for i in range(N)]


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def plain(n=N):
    """The rows of a table: a number with a fraction, a whole one, a text, and the class."""
    return [
        (f"{i * 37.25 % 5000:.2f}", str(i % 7), "rgb"[i % 4 % 3], LABELS[i % N]) for i in range(n)
    ]


def text(rows, separator=",", header="size,count,colour,label"):
    lines = [header.replace(",", separator)] if header else []
    return "".join(f"{line}\n" for line in [*lines, *(separator.join(row) for row in rows)])


def with_comma(rows):
    return [(row[0].replace(".", ","), *row[1:]) for row in rows]


PLAIN = text(plain())
SEMICOLONS = text(with_comma(plain()), ";")
SPELLINGS = {
    "sep=; of Excel": f"sep=;\n{SEMICOLONS}",
    "sep=, of Excel": f"sep=,\n{PLAIN}",
    "sep= in quotes": f'"sep=;"\n{SEMICOLONS}',
    "sep= of tabs": "SEP=\t\n" + PLAIN.replace(",", "\t"),
    "sep=; with a mark": f"\ufeffsep=;\r\n{SEMICOLONS}",
    "empty lines first": f"\n\r\n  \n{PLAIN}",
    "empty lines between": PLAIN.replace("\n", "\n\n"),
    "a title": f"Sales of 2024\n\n{PLAIN}",
    "a title in a sheet": f"Sales of 2024,,,\n,,,\n{PLAIN}",
    "comments": f"# made by a program\n# on a day\n{PLAIN}",
    "ends of a Macintosh": PLAIN.replace("\n", "\r"),
    "ends mixed": PLAIN.replace("\n", "\r\n", 20),
    "no end": PLAIN.rstrip("\n"),
    "a name in two lines": PLAIN.replace("colour", '"col\nour"', 1),
    "spaces before quotes": text(
        [(a, b, f'"{c}"', f'"{d}"') for a, b, c, d in plain()],
        ", ",
        'size,"count","colour","label"',
    ),
    "separators at the ends": PLAIN.replace("\n", ",\n"),
    "separators at the ends of rows": PLAIN.replace("\n", ",\n").replace("label,", "label"),
    "rows with names, as R writes them": text(
        [(f'"{i}"', *row) for i, row in enumerate(plain(), start=1)]
    ),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("how", SPELLINGS)
def test_a_table_is_the_same_however_it_is_spelt(tmp_path, how, encoding):
    expected = load_table(write(tmp_path / "plain.csv", PLAIN))
    data = load_table(write(tmp_path / "spelt.csv", SPELLINGS[how], encoding))
    assert data.table.label == expected.table.label
    np.testing.assert_array_equal(data.train.images, expected.train.images)
    np.testing.assert_array_equal(data.train.labels, expected.train.labels)
    np.testing.assert_array_equal(data.test.images, expected.test.images)
    assert any("Sales of 2024" in note for note in data.notes) == how.startswith("a title")


def test_the_header_of_numpy_names_the_columns(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 3))
    rows[:, 2] = rows[:, 2] > 0
    np.savetxt(tmp_path / "x.csv", rows, delimiter=",", header="made by a program\na, b, label")
    data = load_table(tmp_path / "x.csv", test_fraction=0)
    assert data.table.names == ("a", "b", "label")
    assert len(data.train) == 40


def test_a_header_may_begin_as_a_comment_does(tmp_path):
    rows = "".join(f"{i % 7},{'xyz'[i % 3]},{'pq'[i % 2]}\n" for i in range(40))
    data = load_table(write(tmp_path / "x.csv", f"# of rooms,town,label\n{rows}"), test_fraction=0)
    assert data.table.names == ("# of rooms", "town", "label")
    assert len(data.train) == 40


def test_decimal_commas_without_a_header(tmp_path):
    rows = with_comma(plain())
    data = load_table(write(tmp_path / "x.csv", text(rows, ";", "")), label="-1", test_fraction=0)
    assert len(data.train) == N
    assert data.table.names == tuple(f"column {i}" for i in (1, 2, 3, 4))


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "decimal", "number"),
    [
        ("1,234", ".", 1234), ("-1,234,567.5", ".", -1234567.5), ("1,23", ".", None),
        ("1,234,56", ".", None), ("0,123", ".", None), ("1.234,5", ",", 1234.5),
        ("1.234", ",", 1234), ("12,5", ",", 12.5), ("12.5", ",", None), ("0,5", ",", 0.5),
        ("1 234,5", ",", 1234.5), ("1\u202f234.5", ".", 1234.5), ("1'234'567", ".", 1234567),
        ("1'234,567", ".", None), ("\u22121.5", ".", -1.5), ("1e3", ".", 1000), ("", ".", None),
        ("1_000", ".", None), ("\u0661", ".", None), ("030 123 456", ".", None), ("TRUE", ".", 1),
    ],
)  # fmt: skip
def test_how_a_number_may_be_written(written, decimal, number):
    assert as_number(written, decimal) == number


@pytest.mark.parametrize(
    ("separator", "point", "between"),
    [(",", ".", ","), (";", ",", "."), (";", ",", "\u00a0"), (";", ".", "'"), ("\t", ".", ",")],
)
def test_thousands_may_be_set_apart(tmp_path, separator, point, between):
    def spelt(row):
        number = f"{float(row[0]):,.2f}".translate({ord(","): between, ord("."): point})
        return (f'"{number}"' if separator in number else number, *row[1:])

    expected = load_table(write(tmp_path / "plain.csv", PLAIN), label="size")
    rows = text(map(spelt, plain()), separator)
    data = load_table(write(tmp_path / "spelt.csv", rows), label="size")
    assert (data.n_classes, data.table) == (0, expected.table)
    np.testing.assert_array_equal(data.test.labels, expected.test.labels)
    found = load_table(tmp_path / "spelt.csv", label="label")
    assert [type(c).__name__ for c in found.table.columns[:2]] == ["NumberColumn"] * 2


def test_points_for_thousands_are_no_decimal_points(tmp_path):
    """Of 999 and 1.000 the second is the larger one where a comma is before the fractions."""
    rows = [(f"{i:,}".replace(",", "."), f"{i % 9},5", LABELS[i % N]) for i in range(980, 1021)]
    path = write(tmp_path / "x.csv", text(rows, ";", "a,b,label"))
    a = load_table(path, test_fraction=0).table.columns[0]
    assert (a.name, round(a.mean)) == ("a", 1000)


def test_a_few_words_among_many_numbers_are_missing(tmp_path):
    words = ["-", "unknown", "n.a."]
    lines = ["a,y", *(f"{words[i % 3] if i % 5 < 2 else i / 7},{i % 2}" for i in range(200))]
    data = load_table(write(tmp_path / "a.csv", "\n".join(lines)), label="y", test_fraction=0)
    assert [type(c).__name__ for c in data.table.columns] == ["NumberColumn"]
    codes = ["a,y", *(f"{'A' if i % 5 < 2 else i % 9},{i % 2}" for i in range(200))]
    data = load_table(write(tmp_path / "b.csv", "\n".join(codes)), label="y", test_fraction=0)
    assert [type(c).__name__ for c in data.table.columns] == ["CategoryColumn"]


@pytest.mark.parametrize(
    "form", ["{2}.{1}.2024", "2024/{1:02}/{2:02}", "{2:02}.{1:02}.2024 00:00", "2024-{1:02}-{2:02}"]
)
def test_dates_of_one_meaning(tmp_path, form):
    lines = ["a,day,label"] + [
        f"{i % 5},{form.format(0, i % 12 + 1, i % 28 + 1)},{LABELS[i]}" for i in range(N)
    ]
    data = load_table(write(tmp_path / "x.csv", "\n".join(lines)), test_fraction=0)
    day = data.table.columns[1]
    expected = [np.datetime64(f"2024-{i % 12 + 1:02}-{i % 28 + 1:02}", "D") for i in range(N)]
    assert day.kind == "date"
    assert day.mean == pytest.approx(np.asarray(expected).astype(int).mean())


# -- long and short -------------------------------------------------------------------------------


def test_rows_may_be_long(tmp_path):
    """Longer than what is looked at first, and than what is read at once."""
    rng, names = (
        np.random.default_rng(0),
        [f"{'a column of a long name ' * 20}{i}" for i in range(600)],
    )
    values = rng.integers(-9, 9, (8, len(names))).astype(str)
    lines = [",".join([*names, "label"])]
    lines += [",".join([*row, "xy"[i % 2]]) for i, row in enumerate(values)]
    data = load_table(write(tmp_path / "x.csv", "\n".join(lines)), test_fraction=0)
    assert data.train.images.shape[0] == 8
    assert len(data.table.names) == len(names) + 1
    long = "".join(f"{'x' * 1_500_000 if i == 30 else i % 3},{i % 5},{i % 2}\n" for i in range(60))
    data = load_table(write(tmp_path / "y.csv", f"a,b,label\n{long}"), test_fraction=0)
    assert len(data.train) == 60


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_letters(tmp_path, encoding):
    expected = load_table(write(tmp_path / "plain.csv", PLAIN))
    path = write(tmp_path / "x.csv", PLAIN, encoding)
    np.testing.assert_array_equal(load_table(path).train.images, expected.train.images)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="the text is cut off or damaged"):
        load_table(path)


@pytest.mark.parametrize("content", ["a,b,label", "a,b,label\n", "sep=;\na;b;label\n"])
def test_a_header_alone(tmp_path, content):
    with pytest.raises(DataError, match=r"x\.csv: there are no rows in this table"):
        load_table(write(tmp_path / "x.csv", content))


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "_LONGEST_HEAD", 1 << 19)
    with pytest.raises(DataError, match="no table: its first line goes on for more than"):
        load_table(write(tmp_path / "x.csv", "0" * (1 << 20)))
