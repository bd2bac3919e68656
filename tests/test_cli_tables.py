"""Tables on the command line: trained on, predicted, evaluated."""

import csv
import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import xp

import xpnet
from xpnet.data import load_digits

pytest.importorskip("pyarrow", reason="tables need pip install 'xpnet[table]'")

pytestmark = pytest.mark.libraries

QUICK = ["--epochs", "2", "--hidden", "8", "--backend", "numpy", "--steps", "called", "--quiet"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch, request):
    """Drawing takes longer than training, and is looked at where it matters."""
    if "pictures" not in request.keywords:
        monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *arguments: True)


def write_shop(name, n=80, seed=0, *, leave_out=(), end=""):
    """A table whose number decides what is bought; the price follows from it."""
    rng = np.random.default_rng(seed)
    size, colour = rng.normal(size=n).round(4), rng.choice(["red", "blue"], n)
    columns = {
        "nr": np.arange(1, n + 1),
        "size": size,
        "colour": colour,
        "price": (100 + 20 * size).round(2),
        "buys": np.where(size > 0, "yes", "no"),
    }
    kept = {name: values for name, values in columns.items() if name not in leave_out}
    lines = [",".join(kept), *(",".join(map(str, row)) for row in zip(*kept.values(), strict=True))]
    Path(name).write_text("\n".join(lines) + "\n" + end, encoding="utf-8")
    return columns


def answers(output):
    return list(csv.DictReader(io.StringIO(output)))


def test_classes_are_trained_predicted_and_evaluated():
    write_shop("shop.csv")
    said = xp("train", "shop.csv", "--label", "buys", *QUICK[:-1], "--out", "run").output
    assert "shop: 64 training and 16 test rows of 3 columns, 2 classes of buys" in said
    assert "16 of 80 rows, drawn at random, kept for the test" in said
    assert "left out, a number for each row: 'nr'" in said
    assert re.search(r"test accuracy \d+\.\d\d % \(\d+ errors in 16\) after 2 epochs", said)
    write_shop("new.csv", 5, seed=1, leave_out=("buys",))
    found = xp("predict", "run", "new.csv")
    table = answers(found.stdout)
    assert list(table[0]) == ["nr", "buys", "probability no", "probability yes"]
    network = xpnet.load("run")
    frame = {"size": [], "colour": [], "price": []}
    with Path("new.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            frame["size"].append(float(row["size"]))
            frame["colour"].append(row["colour"])
            frame["price"].append(float(row["price"]))
    expected = network.predict_table(frame)
    assert [row["buys"] for row in table] == expected.predictions.tolist()
    probabilities = [[float(row[f"probability {c}"]) for c in ("no", "yes")] for row in table]
    np.testing.assert_allclose(probabilities, expected.probabilities, rtol=1e-6)
    # The part that was kept is the same again; of another table all rows are evaluated.
    kept = xp("evaluate", "run").stdout
    accuracy = re.search(r"accuracy \d+\.\d\d", said.splitlines()[-1])[0].replace("accuracy", "")
    assert f"accuracy{accuracy.rjust(6)}" in kept.replace("accuracy  ", "accuracy ")
    write_shop("other.csv", 30, seed=2)
    assert "in 30)" in xp("evaluate", "run", "other.csv").stdout


@pytest.mark.pictures
def test_values_are_trained_with_adam_and_the_squared_error():
    write_shop("shop.csv")
    said = xp("train", "shop.csv", "--label", "price", *QUICK[:-1], "--out", "run").output
    assert "steps:   Adam(0.001)" in said
    assert "values of price" in said
    assert re.search(r"test root mean squared error .*, R² -?\d\.\d+ \(16 rows\) after", said)
    network = xpnet.load("run")
    assert network.loss == xpnet.mean_squared_error
    assert not Path("run/confusion.png").exists()
    write_shop("new.csv", 5, seed=1, leave_out=("price",))
    values = [float(row["price"]) for row in answers(xp("predict", "run", "new.csv").stdout)]
    assert all(0 < value < 200 for value in values)
    write_shop("other.csv", 30, seed=2)
    found = xp("evaluate", "run", "other.csv").stdout
    assert "(30 rows)" in found
    assert "root mean squared error" in xp("evaluate", "run").stdout
    xp("train", "shop.csv", "--label", "price", *QUICK, "--out", "b", "--optimizer", "momentum",
       "--learning-rate", "0.01")  # fmt: skip
    assert 'optimizer = "momentum"' in Path("b/config.toml").read_text(encoding="utf-8")
    smoothed = xp("train", "shop.csv", "--label", "price", "--label-smoothing", "0.1", code=2)
    assert "--label-smoothing" in smoothed.output


def test_predictions_are_written_to_a_file():
    write_shop("shop.csv")
    xp("train", "shop.csv", "--label", "buys", *QUICK, "--out", "run")
    write_shop("new.csv", 5, seed=1, leave_out=("buys", "nr"))
    on_screen = xp("predict", "run", "new.csv").stdout
    assert (
        "5 predictions: new-answers.csv"
        in xp("predict", "run", "new.csv", "--out", "new-answers.csv").output
    )
    assert Path("new-answers.csv").read_text(encoding="utf-8") == on_screen
    from pyarrow import parquet

    xp("predict", "run", "new.csv", "--out", "a.parquet")
    frame = parquet.read_table("a.parquet").to_pydict()
    assert frame["buys"] == [row["buys"] for row in answers(on_screen)]
    assert isinstance(frame["probability yes"][0], float)
    assert (
        "by the name of the file"
        in xp("predict", "run", "new.csv", "--out", "a.xlsx", code=1).output
    )
    before = Path("new.csv").read_bytes()
    assert (
        "is read by this command"
        in xp("predict", "run", "new.csv", "--out", "./new.csv", code=2).output
    )
    assert Path("new.csv").read_bytes() == before


def test_the_numbers_of_rows_are_written_as_they_are_there():
    """Also those that no float holds, that are texts, or missing."""
    write_shop("shop.csv", leave_out=("price",))
    xp("train", "shop.csv", "--label", "buys", *QUICK, "--out", "run")
    for numbers in (["1234567890123456789", "7"], ["A17", "007"], ["", "3"], ["007", "8"]):
        rows = "".join(f"{number},1.5,red\n" for number in numbers)
        Path("new.csv").write_text(f"nr,size,colour\n{rows}", encoding="utf-8")
        assert [row["nr"] for row in answers(xp("predict", "run", "new.csv").stdout)] == numbers
    from pyarrow import parquet, table

    parquet.write_table(table({"nr": [2**62 + 1, None], "size": [1.0, 2], "colour": ["red"] * 2}),
                        "new.parquet")  # fmt: skip
    found = answers(xp("predict", "run", "new.parquet").stdout)
    assert [row["nr"] for row in found] == [str(2**62 + 1), ""]


def test_what_is_asked_about_is_not_written_over():
    write_shop("shop.csv")
    xp("train", "shop.csv", "--label", "buys", *QUICK, "--out", "run")
    before = Path("shop.csv").read_bytes()
    os.link("shop.csv", "other name.csv")
    for out in ("shop.csv", "./shop.csv", "other name.csv"):
        said = xp("predict", "run", "shop.csv", "--out", out, code=2).output
        assert "is read by this command; give another name" in said
    assert Path("shop.csv").read_bytes() == before


def test_what_is_odd_in_a_table_to_predict_is_said():
    write_shop("shop.csv")
    xp("train", "shop.csv", "--label", "buys", *QUICK, "--out", "run")
    write_shop("new.csv", 3, leave_out=("buys",), end="9,?,green,100\n")
    found = xp("predict", "run", "new.csv")
    assert len(answers(found.stdout)) == 4
    assert "1 missing in 'size'" in found.stderr
    assert "1 in 'colour' of categories that the training table had not: 'green'" in found.stderr
    write_shop("fewer.csv", 3, leave_out=("size", "buys"))
    missing = xp("predict", "run", "fewer.csv", code=1).output
    assert "fewer.csv: of the columns that the network was trained on are not here" in missing
    assert "this is none" in xp("evaluate", "run", "digits", code=1).output
    missing = xp("evaluate", "run", "fewer.csv", code=1).output
    assert "there is no column 'buys'" in missing


def test_a_table_that_has_changed_is_not_evaluated_as_the_same():
    write_shop("shop.csv")
    xp("train", "shop.csv", "--label", "buys", *QUICK, "--out", "run")
    write_shop("shop.csv", seed=7)
    assert (
        "is another one than that which the network was trained on"
        in xp("evaluate", "run", code=1).output
    )


def test_a_table_for_the_test_and_a_part_for_validation():
    write_shop("shop.csv")
    write_shop("more.csv", 30, seed=3)
    said = xp("train", "shop.csv", "--label", "buys", "--test", "more.csv", "--validation", "0.25",
              *QUICK[:-1], "--out", "run").output  # fmt: skip
    assert "60 training and 30 test rows" in said
    assert "20 of 80 rows, drawn at random, kept for the validation" in said
    records = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
    assert records[-1]["validation_accuracy"] is not None
    xp("train", "--resume", "run", "--epochs", "3", "--quiet")
    assert "in 30)" in xp("evaluate", "run").stdout


def test_a_training_that_begins_with_a_network_prepares_tables_as_it_did():
    write_shop("shop.csv")
    write_shop("more.csv", 60, seed=3)
    xp("train", "shop.csv", "--label", "buys", *QUICK, "--out", "a")
    xp("train", "more.csv", "--label", "buys", *QUICK, "--start", "a", "--out", "b")
    a, b = xpnet.load("a"), xpnet.load("b")
    assert b.table == a.table
    xp("train", "--resume", "b", "--epochs", "3", "--quiet")
    assert xpnet.load("b").table == a.table
    xp("evaluate", "b")


def test_a_table_without_names():
    write_shop("shop.csv")
    lines = Path("shop.csv").read_text(encoding="utf-8").splitlines()[1:]
    turned = [",".join(reversed(line.split(","))) for line in lines]
    Path("plain.csv").write_text("\n".join(turned), encoding="utf-8")
    xp("train", "plain.csv", "--label", "1", *QUICK, "--out", "run")
    rest = [line.partition(",")[2] for line in turned]
    Path("new.csv").write_text("\n".join(rest), encoding="utf-8")
    labelled = answers(xp("predict", "run", "plain.csv").stdout)
    assert answers(xp("predict", "run", "new.csv").stdout) == labelled


def test_a_network_for_pictures_answers_tables_of_pixels():
    data = load_digits()
    xp("train", *QUICK, "--limit", "200", "--out", "run")
    images, labels = data.test.images[:20], data.test.labels[:20]
    rows = images.reshape(20, -1).tolist()
    names = ",".join(f"pixel{i}" for i in range(64))
    Path("test.csv").write_text(
        "\n".join([names, *(",".join(map(str, row)) for row in rows)]), encoding="utf-8"
    )
    Path("labelled.csv").write_text(
        "\n".join(
            ",".join(map(str, [label, *row])) for label, row in zip(labels, rows, strict=True)
        ),
        encoding="utf-8",
    )
    table = answers(xp("predict", "run", "test.csv").stdout)
    network = xpnet.load("run")
    assert [int(row["label"]) for row in table] == network.predict(images).tolist()
    assert answers(xp("predict", "run", "labelled.csv").stdout) == table
    found = xp("evaluate", "run", "labelled.csv", "--split", "train").stdout
    assert str(network.evaluate(images, labels)) in found
    write_shop("shop.csv")
    assert "expected a table of pictures (8 x 8)" in xp("predict", "run", "shop.csv", code=1).output


def test_a_network_for_pictures_is_evaluated_on_all_of_a_table():
    data = load_digits()
    for name, split in (("train", data.train), ("test", data.test)):
        rows = np.c_[split.labels, split.images.reshape(len(split), -1)]
        np.savetxt(f"digits_{name}.csv", rows, fmt="%d", delimiter=",")
    xp("train", "digits_train.csv", *QUICK, "--out", "run")
    for dataset in ("digits_test.csv", "digits"):
        assert "errors in 359)" in xp("evaluate", "run", dataset).stdout
    assert "has no test set: take --split train" in xp("evaluate", "run", code=1).output


def test_a_table_is_evaluated_in_an_archive_and_no_other_data_is():
    write_shop("shop.csv")
    xp("train", "shop.csv", "--label", "buys", *QUICK, "--out", "run")
    with zipfile.ZipFile("new.zip", "w") as archive:
        archive.write("shop.csv", "folder/shop.csv")
    assert "errors in 80)" in xp("evaluate", "run", "new.zip").stdout
    np.savez("arrays.npz", x=np.zeros((4, 8, 8)), y=np.arange(4))
    for dataset in ("digits", "arrays.npz"):
        said = xp("evaluate", "run", dataset, code=1).output
        assert f"{dataset}: the network was trained on a table, and this is none" in said


def test_options_of_tables_are_for_tables():
    assert "this is said of tables" in xp("train", "digits", "--label", "x", code=1).output
    assert "no data set 'x.csv'" in xp("train", "x.csv", "--label", "x", code=1).output
    write_shop("shop.csv")
    assert "there is no column 'bys'" in xp("train", "shop.csv", "--label", "bys", code=1).output


def test_backends_are_not_compared_by_values():
    pytest.importorskip("array_api_strict")
    write_shop("shop.csv")
    parity = xp("parity", "shop.csv", "--label", "price", "--backends", "numpy,array_api_strict",
                "--epochs", "1", code=2)  # fmt: skip
    assert "has numbers to predict" in parity.output
