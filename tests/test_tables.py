"""Tables in memory: how columns are prepared, beside scikit-learn; what networks say of others."""

import json

import numpy as np
import pytest

from xpnet import fit, load, mlp
from xpnet.data import TablePreparation, table_dataset
from xpnet.data.tables.arrow import table_of
from xpnet.errors import CheckpointError, DataError, DataWarning
from xpnet.losses import binary_cross_entropy, mean_squared_error

pytest.importorskip("pyarrow", reason="tables need pip install 'xpnet[table]'")

pytestmark = pytest.mark.libraries


def people(n=60, seed=0):
    """A table with numbers, categories and some that are missing; and a label of two classes."""
    rng = np.random.default_rng(seed)
    age, town = rng.normal(40, 12, n), rng.choice(["Bonn", "Kiel", "Ulm"], n).astype(object)
    pay = np.where(town == "Ulm", 3.0, 1.0) * age + rng.normal(0, 5, n)
    age[::7], town[::9] = np.nan, None
    rich = np.where(pay > np.median(pay), "rich", "poor").astype(object)
    return {"age": age, "town": town, "pay": pay, "member": rng.random(n) > 0.5, "class": rich}


def some(table, rows):
    return {name: values[rows] for name, values in table.items()}


def without(table, *names):
    return {name: values for name, values in table.items() if name not in names}


def trained(data, loss=None, epochs=3, outputs=None, **options):
    model = mlp(data.table.width, 8, outputs or data.n_outputs)
    if loss is not None:
        options["loss"] = loss
    elif data.target_kind == "values":
        options["loss"] = mean_squared_error
    return fit(model, data, epochs=epochs, backend="numpy", **options)


def test_columns_are_prepared_as_by_scikit_learn():
    compose = pytest.importorskip("sklearn.compose")
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    pd = pytest.importorskip("pandas")
    table = people()
    frame = pd.DataFrame(table)
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="~"), OneHotEncoder(sparse_output=False)
    )
    transformer = compose.ColumnTransformer(
        [("n", numbers, ["age"]), ("t", texts, ["town"]), ("m", numbers, ["pay", "member"])]
    )
    frame["town"] = frame["town"].where(frame["town"].notna(), np.nan)
    expected = transformer.fit_transform(frame.astype({"member": float}))
    data = table_dataset(table, test=None)
    np.testing.assert_allclose(data.train.images, expected, rtol=1e-5, atol=1e-6)
    assert data.table.width == 7
    assert [data.class_names[i] for i in data.train.labels] == table["class"].tolist()


def test_rare_categories_are_one_as_by_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    counts = np.arange(1, 201)  # no two categories are equally frequent
    names = np.repeat([f"c{i:03d}" for i in counts], counts)
    table = {"c": names, "y": np.arange(len(names)) % 2}
    data = table_dataset(table, label="y", test=None)
    encoder = preprocessing.OneHotEncoder(
        max_categories=129, sparse_output=False, handle_unknown="infrequent_if_exist"
    )
    expected = encoder.fit_transform(names[:, None])
    np.testing.assert_array_equal(data.train.images, expected)
    new = {"c": np.asarray(["c200", "c001", "never"], dtype=object)}
    rows, _ = data.table.rows("new", {"c": data_column(new)})
    np.testing.assert_array_equal(rows, encoder.transform(new["c"][:, None]))
    assert "the 128 most frequent are told apart" in " ".join(data.notes)


def data_column(table):
    from xpnet.data.tables.arrow import table_of

    return table_of(table, "new")["c"]


def test_means_are_those_of_the_rows_that_are_trained_on():
    table = {"a": np.arange(100.0) ** 2, "y": np.arange(100) % 2}
    data = table_dataset(table, label="y", test=0.25, validation=0.2, seed=3)
    parts = {name: len(getattr(data, name)) for name in ("train", "validation", "test")}
    assert parts == {"train": 60, "validation": 15, "test": 25}
    column = data.table.columns[0]
    back = data.train.images[:, 0].astype(float) * column.scale + column.mean
    assert set(np.sqrt(np.abs(back)).round().astype(int)) < set(range(100))
    assert data.train.images.mean() == pytest.approx(0, abs=1e-6)
    assert data.train.images.std() == pytest.approx(1, abs=1e-6)
    assert abs(data.test.images.mean()) > 1e-3
    # Another seed draws another part for validation, and the same for the test.
    other = table_dataset(table, label="y", test=0.25, validation=0.2, seed=4)
    same = other.test.images * other.table.columns[0].scale + other.table.columns[0].mean
    mine = data.test.images * column.scale + column.mean
    np.testing.assert_allclose(same, mine, rtol=1e-4)
    assert not np.array_equal(other.train.images, data.train.images)


def test_the_part_for_validation_is_what_fit_keeps():
    table = people()
    data = table_dataset(table, validation=0.2, seed=5)
    network = trained(data)
    assert network.history[-1].validation_loss is not None
    assert len(data.validation) == round(0.2 * (len(data.train) + len(data.validation)))


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["b", "a"] * 6, "text", ("a", "b")),
        ([True, False] * 6, "truth", (False, True)),
        ([3, 5, 9] * 4, "number", (3, 5, 9)),
        ([3.0, 5.0, 9.0] * 4, "number", (3, 5, 9)),
        ([0.5, 1.5] * 6, "number", None),
        (list(range(0, 240, 10)), "number", None),
    ],
)
def test_what_a_label_is(values, kind, classes):
    table = {"a": np.sqrt(np.arange(len(values))), "y": values}
    data = table_dataset(table, label="y", test=None)
    assert (data.table.label.kind, data.table.label.classes) == (kind, classes)
    assert data.target_kind == ("values" if classes is None else "classes")
    assert data.n_outputs == (1 if classes is None else len(classes))
    if classes is not None:
        assert [classes[i] for i in data.train.labels] == values


def test_a_few_whole_numbers_may_be_values():
    table = {"a": np.sqrt(np.arange(12)), "y": [3, 5, 9] * 4}
    data = table_dataset(table, label="y", test=None, target_kind="values")
    np.testing.assert_allclose(data.train.labels.std(), 1, rtol=1e-6)
    assert repr(data) == "<Dataset table: 12 training and 0 test rows of 1 column, values of y>"


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (np.ones(30), "the same in all rows"),
        (["x"] * 30, "the same in all rows"),
        ([None] * 30, "without any value"),
        (np.arange(1, 31), "a number for each row"),
        ([f"name {i}" for i in range(30)], "texts that differ from row to row"),
        (np.full(30, np.inf), "without any finite value"),
    ],
)
def test_columns_without_information_are_left_out(column, why):
    table = {"odd": column, "a": np.sqrt(np.arange(30)), "y": np.arange(30) % 2}
    data = table_dataset(table, label="y", test=None)
    assert data.table.left_out == (("odd", why),)
    assert f"left out, {why}: 'odd'" in data.notes


def test_years_in_their_order_number_no_rows():
    table = {"year": np.arange(1950, 1990), "y": np.arange(40) % 2}
    assert table_dataset(table, label="y", test=None).table.left_out == ()


def test_dates_are_days():
    dates = np.arange("2024-01-01", "2024-02-10", dtype="datetime64[D]")
    table = {"when": dates, "y": np.arange(40) % 2}
    data = table_dataset(table, label="y", test=None)
    expected = (np.arange(40) - 19.5) / np.arange(40).std()
    np.testing.assert_allclose(data.train.images[:, 0], expected, rtol=1e-5)
    rows, said = data.table.rows("new", columns({"when": ["2024-01-01", "2024-01-02 12:00"]}))
    np.testing.assert_allclose(rows[:, 0], (np.asarray([0, 1.5]) - 19.5) / np.arange(40).std())
    assert said == []


def columns(table):
    from xpnet.data.tables.arrow import table_of

    return table_of(table, "new")


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "dict"])
def test_a_frame_of_any_library(library):
    table = people()
    frame = as_frame(library, table)
    data = table_dataset(frame, label="class")
    expected = table_dataset(table, label="class")
    np.testing.assert_array_equal(data.train.images, expected.train.images)
    assert data.table == expected.table
    network = trained(data)
    new = as_frame(library, without(some(people(seed=1), slice(0, 9)), "class"))
    with pytest.warns(DataWarning, match="missing in 'age'"):
        probabilities = network.predict_proba(new)
    with pytest.warns(DataWarning, match="predict: .* missing in 'age'"):
        predicted = network.predict(new)
    names = np.asarray(["poor", "rich"])
    assert predicted.tolist() == names[probabilities.argmax(axis=1)].tolist()


def as_frame(library, table):
    if library == "dict":
        return table
    module = pytest.importorskip(library)
    if library == "pyarrow":
        return module.table(clean(table))
    return module.DataFrame(clean(table) if library == "polars" else table)


def clean(table):
    """NaN as None, which Arrow and Polars tell apart."""
    return {
        name: [None if v != v else v for v in values.tolist()] for name, values in table.items()
    }


def test_numbers_that_are_said_to_be_categories():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"floor": pd.Categorical([3, 1, 2, 1] * 5), "y": [0, 1, 1, 0] * 5})
    data = table_dataset(frame, label="y", test=None)
    assert data.table.columns[0].categories == ("1", "2", "3")
    rows, said = data.table.rows("new", columns({"floor": [2, 3]}))
    assert rows.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert said == []


def test_a_network_takes_the_columns_by_their_names():
    table = people()
    network = trained(table_dataset(table, test=None))
    turned = {name: table[name] for name in reversed(table)}
    both = network.predict_table(table), network.predict_table({**turned, "extra": table["pay"]})
    np.testing.assert_array_equal(both[0].probabilities, both[1].probabilities)
    assert "'extra'" in both[1].notes[-1]
    with pytest.raises(DataError, match="not here: 'town', 'member'; found 'age', 'pay'"):
        network.predict(without(table, "town", "member", "class"))


def test_categories_that_are_new_are_said():
    network = trained(table_dataset({"c": ["a", "b"] * 9, "y": [0, 1] * 9}, label="y", test=None))
    with pytest.warns(DataWarning, match="2 in 'c' of categories .*: 'neu', 'x'"):
        network.predict_proba({"c": ["a", "x", "neu"]})
    with pytest.warns(DataWarning, match="predict: 1 in 'c' of .*: 'x'; not looked at, .*'d'"):
        network.predict({"c": ["x"], "d": [1]})
    answers = network.predict_table({"c": ["x"]})
    outputs = network.predict_proba(np.zeros((1, 2), dtype=np.float32))
    np.testing.assert_allclose(answers.probabilities, outputs, rtol=1e-6)


def test_values_come_in_the_units_of_the_label():
    rng = np.random.default_rng(0)
    a = rng.normal(size=400)
    table = {"a": a, "price": 5000 + 1000 * a}
    data = table_dataset(table, label="price")
    network = trained(data, epochs=20)
    new = {"a": [-1.0, 0.0, 1.0]}
    np.testing.assert_allclose(network.predict(new), [4000, 5000, 6000], atol=100)
    with pytest.raises(ValueError, match="gives values"):
        network.predict_proba(new)
    # Errors are those of scikit-learn's functions on what was predicted.
    metrics = pytest.importorskip("sklearn.metrics")
    report = network.report(table)
    predicted = network.predict(without(table, "price"))
    assert report.r2 == pytest.approx(metrics.r2_score(table["price"], predicted), abs=1e-5)
    mean_square = metrics.mean_squared_error(table["price"], predicted)
    assert report.root_mean_squared_error == pytest.approx(mean_square**0.5, rel=1e-4)
    absolute = metrics.mean_absolute_error(table["price"], predicted)
    assert report.mean_absolute_error == pytest.approx(absolute, rel=1e-4)


def test_tables_are_evaluated_with_the_label_in_them_or_beside():
    table = people()
    data = table_dataset(table, test=None)
    network = trained(data)
    expected = network.evaluate(data.train.images, data.train.labels)
    x, y = without(table, "class"), table["class"].tolist()
    with pytest.warns(DataWarning, match="evaluate: .*missing in 'age'"):
        assert network.evaluate(table) == expected
    with pytest.warns(DataWarning, match="evaluate"):
        assert network.evaluate(x, y) == expected
    with pytest.warns(DataWarning, match="confusion_matrix"):
        counts = network.confusion_matrix(table)
    with pytest.warns(DataWarning, match="report"):
        report = network.report(x, y)
    assert counts.sum() - counts.trace() == expected.errors
    assert [row.name for row in report.classes] == ["poor", "rich"]
    with pytest.raises(DataError, match="there is no column 'class', the label"):
        network.evaluate(x)
    with pytest.raises(DataError, match="give the targets as well"):
        network.evaluate(data.train.images)
    with pytest.raises(DataError, match="values that the training table had not: 'middle'"):
        network.evaluate(x, ["middle"] * len(y))


def test_two_classes_may_have_one_output():
    data = table_dataset(people(), test=None)
    network = trained(data, binary_cross_entropy, outputs=1)
    answers = network.predict_table(people(seed=2))
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1, rtol=1e-6)
    assert set(answers.predictions.tolist()) <= {"poor", "rich"}


def test_a_network_that_does_not_fit_its_table():
    data = table_dataset(people(), test=None)
    with pytest.raises(ValueError, match="2 classes to predict, and a network of 7 inputs and 3"):
        trained(data, outputs=3)


def test_the_preparation_is_saved_with_the_network(tmp_path):
    table = people()
    network = trained(table_dataset(table, test=None))
    network.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.table == network.table
    expected, found = network.predict_table(table), again.predict_table(table)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert again.copy().table == network.table


def test_a_training_that_begins_with_a_network_takes_its_preparation():
    network = trained(table_dataset(people(), test=None))
    other = people(seed=4)
    otherwise = table_dataset(other, test=None)
    with pytest.warns(DataWarning, match=r"table=network\.table"):
        trained(otherwise, start=network)
    data = table_dataset(other, test=None, table=network.table)
    assert trained(data, start=network).table == network.table
    trained(otherwise, start=network, fresh=("fc1",))


def test_a_description_is_json_and_back():
    table = people()
    table |= {"row": np.arange(1, 61), "when": np.datetime64("2020-01-01") + np.arange(60) % 7}
    described = table_dataset(table, test=None).table
    assert TablePreparation.from_dict(json.loads(json.dumps(described.to_dict()))) == described


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("columns",), []),
        (("columns",), {}),
        (("columns", 0, "scale"), 0.0),
        (("columns", 0, "mean"), None),
        (("columns", 0, "fill"), "x"),
        (("columns", 0, "kind"), "text"),
        (("columns", 0, "name"), "town"),
        (("columns", 1, "categories"), ["b", "a"]),
        (("columns", 1, "categories"), ["Bonn", "Kiel"]),
        (("columns", 1, "missing"), 1),
        (("label", "classes"), ["rich", "poor"]),
        (("label", "classes"), [0, 1]),
        (("label", "classes"), None),
        (("label", "name"), "age"),
        (("label", "scale"), -1.0),
        (("left_out",), [["x"]]),
    ],
)
def test_a_description_in_a_file_is_not_believed(tmp_path, path, value):
    from forging import forge

    trained(table_dataset(people(), test=None), epochs=1).save(tmp_path / "whole.safetensors")

    def change(metadata, arrays):
        inner = metadata["table"]
        for key in path[:-1]:
            inner = inner[key]
        assert path[-1] in inner or isinstance(inner, list)
        inner[path[-1]] = value

    forge(tmp_path / "whole.safetensors", tmp_path / "forged.safetensors", change)
    with pytest.raises(CheckpointError, match="does not describe a network"):
        load(tmp_path / "forged.safetensors")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"a": [1.0, 2], "y": [1, 1]}, {}, "the same in all 2 rows: there is nothing to learn"),
        ({"a": [1.0, 2], "y": [None, None]}, {}, "missing in all 2 rows"),
        ({"a": [1.0, 2], "y": [0.5, np.inf]}, {}, "infinite in some rows"),
        ({"y": [0, 1]}, {}, "no column is left to learn from beside the label 'y'"),
        ({"a": [], "y": []}, {}, "there are no rows"),
        ({"a": [1.0, 2], "z": [0, 1]}, {}, "which column is to be predicted.*there are 'a', 'z'"),
        (
            {"a": [1.0, 2], "z": [0, 1]},
            {"label": "y"},
            "there is no column 'y'; there are 'a', 'z'",
        ),
        ({"a": [[1], [2]], "y": [0, 1]}, {}, "column 'a' is of the type list<"),
        ({"a": [1, 2, 3], "y": [0, 1]}, {}, "cannot be read as a table"),
        ({"a": [1.0] * 99, "y": [f"k{i}" for i in range(99)]}, {}, "too many to be classes"),
        ({"a": [1.0, 2], "y": ["a", "b"]}, {"target_kind": "values"}, "and 'a' is none"),
        ({"a": [1.0, 2], "y": ["a", "b"]}, {"test": 0.5}, "keep none, with a fraction of 0"),
        (np.zeros((3, 3)), {}, "cannot be read as a table"),
    ],
)
def test_what_is_no_table_to_learn_from(table, options, message):
    with pytest.raises(DataError, match=message):
        table_dataset(table, **{"test": None, **options})


def test_what_a_frame_of_pandas_may_be():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({0: [1.5, 2, 3, 4] * 5, 1: list("pq") * 10})
    assert table_dataset(frame, label=1).table.label.name == "1"
    with pytest.raises(DataError, match=r"a table has columns by their names"):
        table_dataset(frame[0], label=1)
    frame[2] = pandas.cut(frame[0], 3)  # intervals
    with pytest.raises(DataError, match=r"column '2' is of the type .*interval.*: leave it out"):
        table_dataset(frame, label=1)
    with pytest.raises(DataError, match=r"each of numbers, texts, Booleans or dates alone"):
        table_dataset(pandas.DataFrame({"a": [1, "x"], "label": [0, 1]}), label="label")


def test_a_boolean_is_true_or_false():
    data = table_dataset({"b": [True, False] * 9, "y": [0, 1] * 9}, label="y", test=None)
    rows, said = data.table.rows("x", table_of({"b": [1, 7, 0]}, "x"))
    assert said == ["'b' is of Booleans, and '7' is none", "1 missing in 'b'"]
    np.testing.assert_allclose(rows[:, 0], [1, 0, -1], atol=1e-6)


def test_fractions_have_their_range():
    for options in ({"test": 1.0}, {"test": -0.1}, {"validation": 1.5}):
        with pytest.raises(ValueError, match="from 0 to below 1"):
            table_dataset(people(), **options)


def test_a_number_too_far_out_is_refused_and_named():
    network = trained(table_dataset({"a": [1.0, 2.0] * 9, "y": [0, 1] * 9}, test=None))
    with pytest.raises(DataError, match="column 'a': 1e\\+300 in row 2 is too far from the mean"):
        network.predict({"a": [1.0, 1e300]})


def test_numbers_near_the_largest_are_standardised():
    data = table_dataset({"a": [1e308, -1e308] * 9, "y": [0, 1] * 9}, test=None)
    np.testing.assert_allclose(data.train.images[:2, 0], [1, -1], rtol=1e-6)


def test_rows_without_a_label_are_left_out_and_said():
    table = {"a": np.sqrt(np.arange(20)), "y": [0, 1, None, 1] * 5}
    data = table_dataset(table, test=None)
    assert len(data.train) == 15
    assert "left out, without the label 'y': 5 rows" in data.notes


def test_the_label_may_be_what_the_table_for_the_test_has_not():
    table = people()
    named = {"outcome": table["class"], **without(table, "class")}
    data = table_dataset(named, test=without(table, "class"))
    assert data.table.label.name == "outcome"
    assert data.test is None
    assert any("nothing is tested by it" in note for note in data.notes)
