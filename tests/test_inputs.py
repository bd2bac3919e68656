"""What `fit` and a network take beside arrays of numbers, and what they make of it."""

import copy
import datetime
import functools
import json
import pickle
import warnings

import numpy as np
import pytest

import xpnet
from xpnet import (
    SGD,
    CheckpointError,
    DataError,
    Dataset,
    DataWarning,
    Dense,
    Sequential,
    Sigmoid,
    Softmax,
    Split,
    binary_cross_entropy,
    fit,
    losses,
    mean_squared_error,
    mlp,
)
from xpnet.inputs.containers import plain
from xpnet.inputs.scale import find_pixel_maximum
from xpnet.layers import Residual
from xpnet.layers.frozen import Frozen
from xpnet.random import stream
from xpnet.saving import tensors

pytestmark = pytest.mark.libraries

N = 60
X = stream(1, "x").normal(size=(N, 4))
Y = (X[:, 0] > 0).astype(int)
TEXT = np.array(["no", "yes"])[Y]
OPTIONS = {"epochs": 2, "batch_size": 16, "optimizer": SGD(0.3), "backend": "numpy"}
MODEL = mlp(4, 6, 2)


def train(x=X, y=Y, model=MODEL, **options):
    return fit(model, (x, y), **{**OPTIONS, **options})


def same(network, other):
    for name, value in other.params.items():
        np.testing.assert_array_equal(network.params[name], value)


# -- containers -------------------------------------------------------------------------------


def pandas_frame(pd, missing=False):
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["b"] = frame["b"] > 0
    frame["c"] = Y
    frame["d"] = pd.array([None if missing and i == 7 else i % 3 for i in range(N)], dtype="Int64")
    return frame


def polars_frame(pl, missing=False):
    column = [None if missing and i == 7 else i % 3 for i in range(N)]
    return pl.DataFrame({"a": X[:, 0], "b": X[:, 1] > 0, "c": Y, "d": column})


FRAMES = {"pandas": pandas_frame, "polars": polars_frame}
MIXED = np.column_stack([X[:, 0], X[:, 1] > 0, Y, np.arange(N) % 3])


@pytest.mark.parametrize("library", FRAMES)
def test_frames_of_mixed_dtypes_are_their_numbers(library):
    frame = FRAMES[library](pytest.importorskip(library))
    expected = train(MIXED)
    network = train(frame, test=(frame, Y), validation=(frame, Y))
    same(network, expected)
    np.testing.assert_array_equal(network.predict(frame), expected.predict(MIXED))
    assert network.evaluate(frame, frame["c"]) == expected.evaluate(MIXED, Y)
    weights = train(MIXED, sample_weight=np.arange(N) % 3)
    same(train(frame, frame["c"], sample_weight=frame["d"]), weights)


@pytest.mark.parametrize("library", FRAMES)
def test_a_missing_value_is_refused_with_its_column(library):
    frame = FRAMES[library](pytest.importorskip(library), missing=True)
    network = train(MIXED)
    message = r"inputs: column 'd': 1 of 60 values is missing or NaN \(the first in row 7\)"
    for call in (lambda: train(frame), lambda: network.predict(frame)):
        with pytest.raises(DataError, match=message):
            call()
    for call in (
        lambda: train(MIXED, frame["d"]),
        lambda: train(MIXED, test=(MIXED, frame["d"])),
        lambda: train(MIXED, sample_weight=frame["d"]),
        lambda: network.report(MIXED, frame["d"]),
    ):
        with pytest.raises(DataError, match="1 of 60 values is missing"):
            call()


def test_nan_in_a_frame_is_refused_with_its_column():
    pd = pytest.importorskip("pandas")
    for dtype in ("float64", "Float64"):
        frame = pd.DataFrame(X, columns=list("abcd")).astype(dtype)
        same(train(frame), train())
        frame.loc[3, "c"] = np.nan
        with pytest.raises(DataError, match=r"column 'c': 1 of 60 values .* row 3"):
            train(frame)


def test_columns_that_are_no_numbers_are_refused():
    pd = pytest.importorskip("pandas")
    frame = pandas_frame(pd)
    frame["when"] = pd.Timestamp("2020-01-01")
    with pytest.raises(DataError, match="column 'when': expected real numbers, got datetime64"):
        train(frame)
    for values in (TEXT, pd.Categorical(TEXT)):
        frame["when"] = values
        with pytest.raises(
            DataError, match=r"column 'when': .*: make numbers of it, as with one-h"
        ):
            train(frame)
    pl = pytest.importorskip("polars")
    with pytest.raises(DataError, match=r"column 'a': .* \(list|ndarray|Series\)"):
        train(pl.DataFrame({"a": X.tolist()}))
    with pytest.raises(DataError, match=r"give x.collect\(\)"):
        train(polars_frame(pl).lazy())


def test_integers_of_128_bits_are_numbers():
    pl = pytest.importorskip("polars")
    if not hasattr(pl, "Int128"):
        pytest.skip("this version of Polars has no Int128")
    series = pl.Series([1, 2, 2**70], dtype=pl.Int128)
    wide = pl.DataFrame({"a": series, "b": series})
    for frame in (wide, wide.with_columns(c=pl.lit(0.5))):
        values = plain("x", frame)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values[:, 0], [1, 2, 2.0**70])


def test_a_multi_index_is_refused_as_labels():
    pd = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="a MultiIndex has tuples: give"):
        plain("y", pd.MultiIndex.from_arrays([[1, 2], ["a", "b"]]), labels=True)


def test_booleans_beside_bytes_are_no_pixels():
    pd = pytest.importorskip("pandas")
    columns = {"a": Y.astype(np.uint8), "b": X[:, 1] > 0}
    network = train(pd.DataFrame(columns), model=mlp(2, 2))
    assert network.pixel_maximum == 1
    same(network, train(np.column_stack([Y, X[:, 1] > 0]).astype(float), model=mlp(2, 2)))


@pytest.mark.parametrize("large", [False, True])
def test_a_sparse_matrix_is_made_dense(large, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse")
    if large:
        monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
        monkeypatch.setattr("xpnet.backends.Backend.chunk_values", 1)  # chunks of 64 rows
        monkeypatch.setattr("xpnet.inputs.samples._CHECKED_VALUES", 40)
    dense = np.where(X > 0.5, X, 0)
    expected = train(dense)
    for kind in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        x = kind(dense)
        network = train(x, test=(x, Y))
        same(network, expected)
        np.testing.assert_array_equal(network.predict(x), expected.predict(dense))
    same(train(dense, sparse.csr_array(np.eye(2)[Y])), train(dense, np.eye(2)[Y]))
    x.data[0] = np.nan
    with pytest.raises(DataError, match="inputs must be finite"):
        train(x)


def test_sparse_arrays_of_other_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(DataError, match=r"sparse arrays of torch are not taken: give x.to_dense"):
        train(torch.tensor(X).to_sparse())


def test_matrices_and_objects_are_arrays():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrices = np.matrix(X), np.matrix(Y).T
    same(train(*matrices), train())
    same(train(X.astype(object), Y.astype(object)), train())
    bools = np.array([[True, 1.5, 2, 3]] * N, dtype=object)
    same(train(bools), train(bools.astype(float)))
    for odd in (None, "1", 1j, b"1"):
        bools[2, 1] = odd
        with pytest.raises(DataError, match="expected an array of real numbers"):
            train(bools)


# -- masks ------------------------------------------------------------------------------------


def masked(values):
    values = np.ma.array(values, dtype=np.asarray(values).dtype)
    values[3] = np.ma.masked
    return values


def test_what_is_masked_is_refused_everywhere():
    network, weight = train(), np.ones(N)
    x = masked(X)
    rows = [*X[:5], x[3], *X[6:]]
    doors = [
        lambda: train(x),
        lambda: train(rows),
        lambda: train([*X[:-1].tolist(), [1.0, 2.0, np.ma.masked, 3.0]]),
        lambda: train(y=masked(Y)),
        lambda: train(y=masked(TEXT)),
        lambda: train(y=masked(X[:, 0]), model=mlp(4, 1), loss=mean_squared_error),
        lambda: train(sample_weight=masked(weight)),
        lambda: train(test=(x, Y)),
        lambda: train(validation=(X, masked(Y))),
        lambda: network.predict(x),
        lambda: network.predict_proba(x),
        lambda: network.evaluate(x, Y),
        lambda: network.evaluate(X, Y, sample_weight=masked(weight)),
        lambda: network.report(X, masked(Y)),
        lambda: network.confusion_matrix(X, masked(Y)),
        lambda: Split(x, Y),
        lambda: Split(X, masked(Y)),
        lambda: xpnet.write_idx("never.idx", x.astype("f4")),
    ]
    for door in doors:
        with pytest.raises(
            DataError, match=r"values? (is|are) masked, and a network knows no mask"
        ):
            door()
    same(train(np.ma.array(X), np.ma.array(Y, mask=False)), network)


def test_estimators_refuse_what_is_masked():
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPClassifier, MLPRegressor

    options = {"solver": "lbfgs", "max_iter": 5, "tol": 10.0, "random_state": 0}
    model = MLPClassifier((2,), **options).fit(X, Y)
    x = masked(X)
    doors = [
        lambda: MLPClassifier().fit(x, Y),
        lambda: MLPClassifier().fit(X, masked(Y)),
        lambda: MLPClassifier().fit(X, Y, masked(np.ones(N))),
        lambda: MLPClassifier().fit(X, Y, validation_data=(x, Y)),
        lambda: MLPClassifier().partial_fit(X, masked(Y), classes=[0, 1]),
        lambda: MLPRegressor().fit(X, masked(X[:, 0])),
        lambda: model.predict(x),
        lambda: model.predict_proba(x),
        lambda: model.score(x, Y),
        lambda: model.score(X, masked(Y)),
        lambda: model.score(X, Y, masked(np.ones(N))),
    ]
    for door in doors:
        with pytest.raises(DataError, match=r"values? (is|are) masked"):
            door()
    again = MLPClassifier((2,), **options).fit(np.ma.array(X), np.ma.array(Y))
    assert again.score(np.ma.array(X), Y) == model.score(X, Y)


# -- labels -----------------------------------------------------------------------------------


def labels_of_every_kind():
    yield TEXT
    yield TEXT.tolist()
    yield TEXT.astype(object)
    yield TEXT.astype("<U9")
    yield TEXT[:, None]
    try:
        import pandas as pd
        import polars as pl
    except ImportError:
        return
    yield pd.Series(TEXT)
    yield pd.Series(TEXT, dtype="string")
    yield pd.Series(pd.Categorical(TEXT, ["yes", "no"]), index=range(5, N + 5))
    yield pd.DataFrame({"y": TEXT})
    yield pl.Series(TEXT)
    yield pl.Series(TEXT.tolist(), dtype=pl.Categorical)
    yield pl.Series(TEXT.tolist(), dtype=pl.Enum(["yes", "no"]))


def test_labels_of_text_are_classes_in_their_order():
    expected = train(test=(X[:9], Y[:9]))
    for given in labels_of_every_kind():
        network = train(y=given, test=(X[:9], TEXT[:9]))
        same(network, expected)
        assert network.history["test_accuracy"] == expected.history["test_accuracy"]
        assert network.classes.tolist() == ["no", "yes"]
        np.testing.assert_array_equal(
            network.predict(X), np.array(["no", "yes"])[expected.predict(X)]
        )
        assert network.evaluate(X, given) == expected.evaluate(X, Y)
        found = network.confusion_matrix(X, given)
        np.testing.assert_array_equal(found, expected.confusion_matrix(X, Y))
    report = network.report(X, TEXT)
    assert [row.name for row in report.classes] == ["no", "yes"]
    assert report.accuracy == expected.report(X, Y).accuracy
    assert network.report(X, TEXT, names=["a", "b"]).classes[0].name == "a"
    for y, classes in ((Y, None), (TEXT, ["no", "yes"])):
        split = train(y=y, validation=0.2)
        same(split, train(validation=0.2))
        assert (None if split.classes is None else split.classes.tolist()) == classes
    # Of one class alone it can be judged as well; rows of probabilities are in the same order.
    assert network.evaluate(X[Y == 1], TEXT[Y == 1]).count == Y.sum()
    assert network.evaluate(X, np.eye(2)[Y]) == expected.evaluate(X, np.eye(2)[Y])


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_booleans_are_classes_that_are_predicted(training_backend, shape):
    backend = training_backend
    y = backend.asarray(Y.reshape(shape) == 1)
    expected = train(backend=backend)
    network = train(y=y, backend=backend, test=(X, Y))
    assert network.history["train_loss"] == expected.history["train_loss"]
    found = network.predict(backend.asarray(X))
    assert backend.xp.isdtype(found.dtype, "bool")
    np.testing.assert_array_equal(backend.to_numpy(found), expected.predict(X) == 1)
    assert network.classes.tolist() == [False, True]
    assert network.evaluate(X, Y) == network.evaluate(X, y)


def test_text_is_predicted_on_the_host(training_backend):
    network = train(y=TEXT, backend=training_backend)
    found = network.predict(training_backend.asarray(X))
    assert isinstance(found, np.ndarray)
    assert set(found) <= {"no", "yes"}


def test_balanced_weights_of_text():
    expected = xpnet.balanced_class_weight(Y, 2)
    for labels in (TEXT, TEXT.tolist(), TEXT.astype(object)):
        assert xpnet.balanced_class_weight(labels, 2) == expected
    with pytest.raises(ValueError, match="class 2 has no sample"):
        xpnet.balanced_class_weight(TEXT, 3)
    with pytest.raises(ValueError, match=r"labels must be integers from 0 to 1 .*found label 'a'"):
        xpnet.balanced_class_weight([0, 1, "a"], 2)


def test_a_column_of_labels_is_labels():
    same(train(y=Y[:, None], test=(X, Y[:, None])), train(test=(X, Y)))
    same(train(y=Y[:, None].tolist()), train())


@pytest.mark.parametrize("labels", [TEXT, Y == 1], ids=["text", "Boolean"])
def test_one_output_tells_two_classes_apart(labels):
    options = {"model": mlp(4, 6, 1), "loss": binary_cross_entropy}
    expected, network = train(y=Y, **options), train(y=labels, **options)
    same(network, expected)
    np.testing.assert_array_equal(network.predict(X), network.classes[expected.predict(X)])
    assert network.predict_proba(X).shape == (N,)
    np.testing.assert_array_equal(network.predict_proba(X), expected.predict_proba(X))
    assert network.evaluate(X, labels) == expected.evaluate(X, Y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["a", "b", "c"])[np.arange(N) % 3], r"3 classes \('a', 'b', 'c'\), .* for 2: "),
        (np.full(N, "a"), r"1 class \('a'\), but the network has outputs for 2"),
        (["a", *Y[1:].tolist()], "with \\d .int.: make text of all, as with"),
        (["a", None, *TEXT[2:].tolist()], "with None .*: fill in what is missing"),
        (["a", np.nan, *TEXT[2:].tolist()], "with nan .*: fill in what is missing"),
        (TEXT.astype("S"), r"make text of all, as with astype\(str\)"),
        (np.array([TEXT, TEXT]).T, r"got one of dtype <U3 and shape \(60, 2\)"),
        (np.array(["2020-01-01"] * N, dtype="M8[D]"), "array of real numbers, got .*datetime64"),
        (X[:, :1], r"dtype float64 \(for whole numbers give y.astype\(int\)"),
    ],
)
def test_labels_that_make_no_sense_are_refused(y, message):
    with pytest.raises(DataError, match=message):
        train(y=y)


def test_labels_must_be_those_of_the_training():
    text, numbers, three = train(y=TEXT), train(), train(y=np.arange(N) % 3, model=mlp(4, 3))
    other = np.where(np.arange(N) == 4, "maybe", TEXT)
    message = "found labels that are not among .*: 'maybe'; the network knows 'no', 'yes'"
    for call in (
        lambda: train(y=TEXT, test=(X, other)),
        lambda: train(y=TEXT, validation=(X, other)),
        lambda: text.evaluate(X, other),
        lambda: text.confusion_matrix(X, other),
        lambda: text.report(X, other),
    ):
        with pytest.raises(DataError, match=message):
            call()
    with pytest.raises(DataError, match=r"trained on labels that are text \('no', 'yes'\), and th"):
        text.evaluate(X, Y)
    with pytest.raises(DataError, match=r"the labels are text .* trained on are numbers from 0"):
        numbers.evaluate(X, TEXT)
    with pytest.raises(
        DataError, match=r"2 classes .False, True., but the network has outputs for"
    ):
        train(y=Y == 1, model=three.model)
    with pytest.raises(DataError, match=r"take softmax_cross_entropy as the loss"):
        train(y=TEXT, model=mlp(4, 1), loss=mean_squared_error)
    with pytest.raises(DataError, match=r"take softmax_cross_entropy as the loss"):
        train(y=TEXT, loss=binary_cross_entropy)


@pytest.mark.parametrize("labels", [TEXT, Y == 1], ids=["text", "Boolean"])
def test_classes_are_kept(labels, tmp_path):
    network = train(y=labels)
    path = tmp_path / "n.safetensors"
    network.save(path)
    for again in (
        xpnet.load(path), network.copy(), copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
    ):  # fmt: skip
        np.testing.assert_array_equal(again.classes, network.classes)
        assert again.predict(X).dtype == network.predict(X).dtype
        np.testing.assert_array_equal(again.predict(X), network.predict(X))
        assert again.evaluate(X, labels) == network.evaluate(X, labels)


@pytest.mark.parametrize(
    "classes", [["b", "a"], ["a", "a"], ["a"], ["a", "b", "c"], [0, 1], [True, False], "ab", {}, 1]
)
def test_files_with_classes_that_cannot_be_are_refused(classes, tmp_path):
    path = tmp_path / "n.safetensors"
    network = train(y=TEXT)
    network.save(path)
    arrays, metadata = tensors.read_tensors(path)
    tensors.write_tensors(path, arrays, {**metadata, "classes": classes})
    with pytest.raises(CheckpointError, match="classes must be"):
        xpnet.load(path)
    with pytest.raises(ValueError, match="classes must be"):
        xpnet.Network(network.model, network.params, network.backend, classes=classes)


def test_a_training_goes_on_with_the_same_classes_alone(tmp_path):
    keep = xpnet.Checkpoint(tmp_path)
    train(y=TEXT, callbacks=[keep], stop_after=1)
    with pytest.raises(CheckpointError, match=r"classes was \['no', 'yes'\], and is None"):
        train(callbacks=[xpnet.Checkpoint(tmp_path)], resume=tmp_path)
    network = train(y=TEXT, callbacks=[xpnet.Checkpoint(tmp_path)], resume=tmp_path)
    same(network, train(y=TEXT))


def test_an_exported_network_carries_its_classes(tmp_path):
    from xpnet.export import to_npz

    network = train(y=TEXT)
    to_npz(network, tmp_path / "n.npz")
    with np.load(tmp_path / "n.npz") as file:
        described = json.loads(str(file["xpnet"]))
    assert (described["classes"], described["target_shape"]) == (["no", "yes"], [])
    pytest.importorskip("onnx")
    from xpnet.export import build_onnx

    properties = {p.key: p.value for p in build_onnx(network).metadata_props}
    assert json.loads(properties["classes"]) == ["no", "yes"]
    assert "classes" not in {p.key for p in build_onnx(train()).metadata_props}


def test_the_network_of_an_estimator_predicts_its_labels():
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPClassifier, MLPRegressor

    options = {"solver": "lbfgs", "max_iter": 5, "tol": 10.0, "random_state": 0}
    three = np.array(["c", "a", "b"])[np.arange(N) % 3]
    for y in (TEXT, Y == 1, three, Y):
        model = MLPClassifier((3,), **options).fit(X, y)
        np.testing.assert_array_equal(model.to_network().predict(X), model.predict(X))
    model = MLPRegressor(hidden_layer_sizes=(3,), **options).fit(X, X[:, 0])
    np.testing.assert_allclose(model.to_network().predict(X), model.predict(X))
    assert model.to_network().predict(X).shape == (N,)


# -- the axes of predictions ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "y"),
    [(mean_squared_error, X[:, 0]), (losses.huber, X[:, 0]), (binary_cross_entropy, Y)],
)
def test_predictions_have_the_axes_of_the_targets(loss, y, training_backend, tmp_path):
    model, backend = mlp(4, 6, 1), training_backend
    flat = train(y=y, model=model, loss=loss, backend=backend)
    column = train(y=y[:, None], model=model, loss=loss, backend=backend)
    x = backend.asarray(X)
    assert flat.predict(x).shape == (N,)
    assert column.predict(x).shape == (N, 1)
    np.testing.assert_array_equal(flat.predict(X), column.predict(X)[:, 0])
    assert flat.predict(X[:0]).shape == (0,)
    assert flat.evaluate(X, y) == flat.evaluate(X, y[:, None]) == column.evaluate(X, y)
    if loss is binary_cross_entropy:
        assert flat.predict_proba(X).shape == (N,)
    path = tmp_path / "n.safetensors"
    flat.save(path)
    for again in (xpnet.load(path), flat.copy(), pickle.loads(pickle.dumps(flat))):
        assert again.predict(X).shape == (N,)
    arrays, metadata = tensors.read_tensors(path)
    del metadata["target_shape"], metadata["classes"]
    tensors.write_tensors(path, arrays, metadata)
    assert xpnet.load(path).predict(X).shape == (N, 1)


# -- the scale of samples ---------------------------------------------------------------------


def test_bytes_of_0_and_1_are_flags():
    flags = (X > 0).astype(np.uint8)
    with pytest.warns(DataWarning, match="samples are uint8, but the largest is 1") as told:
        network = train(flags, test=(flags, Y))
    assert len(told) == 1
    assert told[0].filename == __file__
    assert network.pixel_maximum == 1
    same(network, train(flags.astype(float)))
    np.testing.assert_array_equal(network.predict(flags), network.predict(flags == 1))
    data = Dataset("flags", Split(flags, Y), None, n_classes=2)
    with pytest.warns(DataWarning, match="divided by pixel_maximum=255, but the largest is 1"):
        assert fit(MODEL, data, **OPTIONS).pixel_maximum == 255
    fit(MODEL, Dataset("flags", Split(flags, Y), None, 2, pixel_maximum=1), **OPTIONS)


PIXELS = np.vstack([stream(0, "p").integers(255, size=(N - 1, 4)), [[0, 255, 1, 2]]])


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "int64"])
def test_pixels_in_wider_integers_are_pixels(dtype):
    bytes_of, wide = PIXELS.astype(np.uint8), PIXELS.astype(dtype)
    network = train(wide, test=(wide, Y), epochs=2)
    assert network.pixel_maximum == 255
    same(network, train(bytes_of, test=(bytes_of, Y), epochs=2))
    np.testing.assert_array_equal(network.predict_proba(wide), network.predict_proba(bytes_of))
    again = train(wide // 2, epochs=1, start=network)  # whose samples go up to 127
    assert again.pixel_maximum == 255
    with pytest.raises(DataError, match="integers that are pixels are divided"):
        train(wide, test=(wide / 255, Y))


def test_pixels_of_16_bits_are_pixels():
    wide = PIXELS.astype(np.uint16) * 257
    network = train(wide, epochs=1)
    assert network.pixel_maximum == 65535
    np.testing.assert_allclose(
        network.predict_proba(wide), network.predict_proba(PIXELS / 255), atol=1e-6
    )


@pytest.mark.parametrize(
    ("high", "picture", "maximum"),
    [(255, 0, 255), (254, 0, 1), (254, 1, 255), (100, 1, 1), (16, 1, 1), (300, 1, 1),
     (65535, 0, 65535), (40000, 0, 1), (40000, 1, 65535), (65536, 1, 1)],
)  # fmt: skip
def test_which_integers_are_pixels(high, picture, maximum):
    x = np.minimum(PIXELS.astype(np.int64) * 1000, high)
    found = find_pixel_maximum(
        xpnet.open_backend("numpy"), x.reshape(N, 2, 2) if picture else x, None, stacklevel=1
    )
    assert found == maximum


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_that_are_not_bytes_are_warned_of(dtype):
    with pytest.warns(DataWarning, match=r"go up to 255 as pixels do: .* so give x / 255") as told:
        train(PIXELS.astype(dtype), epochs=1)
    assert len(told) == 1
    with pytest.warns(DataWarning, match="go up to 65535"):
        train(PIXELS * 257.0, epochs=1)


def test_the_scale_is_found_on_every_backend(backend):
    def found(x):
        return find_pixel_maximum(backend, backend.asarray(x), None, stacklevel=1)

    assert found(PIXELS.astype(np.uint8)) == 255
    assert found(X) == found(X > 0) == found(Y) == 1
    with pytest.warns(DataWarning, match="the largest is 1"):
        assert found(Y.astype(np.uint8)) == 1
    assert found(PIXELS) == 255
    with pytest.warns(DataWarning, match="up to 255"):
        assert found(PIXELS.astype(backend.dtype_name)) == 1


def test_other_scales_are_nothing_to_warn_of():
    for x in (PIXELS.astype(np.uint8), PIXELS / 255, PIXELS - 1.0, np.minimum(PIXELS, 254), X * 90):
        train(x, epochs=1)
    data = Dataset("wide", Split(PIXELS.astype(np.int16), Y), None, n_classes=2)
    fit(MODEL, data, **OPTIONS)


def test_samples_in_a_file_are_not_read_whole_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    monkeypatch.setattr("xpnet.inputs.scale._SAMPLED_ROWS", 7)
    from xpnet.data.stored import StoredArray

    read, rows_of = [], StoredArray.__getitem__

    def counting(self, rows):
        values = rows_of(self, rows)
        read.append(len(values))
        return values

    monkeypatch.setattr(StoredArray, "__getitem__", counting)
    options = {"epochs": 1, "train_metrics": "none"}
    np.save(tmp_path / "pixels.npy", PIXELS.astype(np.uint8))
    train(np.load(tmp_path / "pixels.npy", mmap_mode="r"), **options)
    assert sum(read) == N + 7
    np.save(tmp_path / "flags.npy", (X > 0).astype(np.uint8))
    with pytest.warns(DataWarning, match="the largest is 1"):
        network = train(np.load(tmp_path / "flags.npy", mmap_mode="r"), **options)
    assert network.pixel_maximum == 1


def test_booleans_and_integers_of_one_network_are_alike(training_backend):
    flags = X > 0
    pixels = train(PIXELS.astype(np.uint8), backend=training_backend)
    found = [pixels.predict_proba(flags.astype(t)) for t in ("bool", "uint8", "int64")]
    trained = train(flags, backend=training_backend)
    found += [trained.predict_proba(flags.astype(t)) for t in ("bool", "uint8", "int64")]
    for other in (1, 2, 4, 5):
        np.testing.assert_array_equal(found[other], found[other // 3 * 3])
    with pytest.warns(DataWarning):
        network = train(flags.astype(np.uint8), test=(flags, Y))
    assert network.history[-1].test_accuracy == network.history[-1].train_accuracy
    data = Dataset("flags", Split(flags, Y), None, n_classes=2)
    assert data.pixel_maximum == 1
    same(fit(MODEL, data, **OPTIONS), train(flags))


# -- what is given in a wrong way -------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (((X, Y), (X[:9], Y[:9])), r"data must be a pair \(x, y\), got a pair of pairs: .*test=\("),
        (([X, Y], [X[:9], Y[:9]]), r"fit\(model, \(x, y\), test=\(x_test, y_test\)\)"),
        (((X, X), (X[:9], X[:9])), r"got a pair of pairs"),
        (((X, Y), (X, Y), (X, Y)), r"got tuple of 3: give .* validation=.* test="),
        ((X, X[:9], Y, Y[:9]), r"must be a pair \(x, y\) or a Dataset, got tuple of 4"),
    ],
)
def test_several_sets_as_data_are_refused_with_advice(data, message):
    with pytest.raises(DataError, match=message):
        fit(MODEL, data, **OPTIONS)


def test_two_samples_are_no_two_sets():
    for x, y in (([[0.0, 1, 2, 3], [3.0, 2, 1, 0]], [0, 1]), ([X[0], X[1]], [[1, 0], [0, 1]])):
        assert fit(MODEL, (x, y), **OPTIONS).history[-1].train_loss > 0
        assert fit(MODEL, (tuple(x), tuple(y)), **OPTIONS).history[-1].train_loss > 0


@pytest.mark.parametrize("end", [Softmax(), Sigmoid(), Sequential(a=Dense(2, 2), b=Softmax())])
@pytest.mark.parametrize("loss", [losses.softmax_cross_entropy, binary_cross_entropy])
def test_a_model_that_ends_in_probabilities_is_refused(end, loss):
    y = np.eye(2)[Y]
    for model in (
        Sequential(fc=Dense(4, 2), end=end),
        Sequential(fc=Dense(4, 2), end=end, drop=xpnet.Dropout(0.1)),
        Sequential(fc=Dense(4, 2), inner=Sequential(end=end)),
    ):
        message = r"the model ends in (Softmax|Sigmoid)\(\), but .* to its output itself: leave th"
        with pytest.raises(ValueError, match=message):
            train(y=y, model=model, loss=loss)
        with pytest.raises(ValueError, match=message):
            xpnet.make_step(xpnet.open_backend("numpy"), model, loss, SGD(0.1))
        network = train(y=y, model=model, loss=mean_squared_error)  # which takes probabilities
        with pytest.raises(ValueError, match=message):
            network.evaluate(X, y, loss=loss)
        with pytest.raises(ValueError, match=message):
            train(y=y, model=model, loss=functools.partial(functools.partial(loss)))
        with pytest.raises(ValueError, match=message):
            train(y=y, model=model, loss=loss.__call__)
        frozen = Sequential(inner=model, frozen=Frozen(Sequential(end=end)))
        with pytest.raises(ValueError, match=message):
            train(y=y, model=frozen, loss=loss)
    for around in (None, end):  # a sum of the like is no probability
        residual = Sequential(fc=Dense(4, 2), end=Residual(end, around))
        assert train(y=y, model=residual, loss=loss).history[-1].train_loss > 0
    inside = Sequential(fc=Dense(4, 2), gate=end, out=Dense(2, 2))
    assert train(y=y, model=inside, loss=loss).history[-1].train_loss > 0


def test_a_function_may_say_that_it_takes_logits():
    def loss(xp, output, target, *, need_grad=True):
        return mean_squared_error(xp, output, target, need_grad=need_grad)

    model = Sequential(fc=Dense(4, 1), end=Sigmoid())
    train(y=X[:, 0], model=model, loss=loss)
    loss.applies = "the logistic function"
    with pytest.raises(ValueError, match="but loss applies the logistic function"):
        train(y=X[:, 0], model=model, loss=loss)


def test_a_partial_says_what_its_loss_says():
    """The kind of the targets, too: else one-hot rows would be values."""
    partial = functools.partial(losses.softmax_cross_entropy)
    network = train(y=np.eye(2)[Y], loss=partial)
    same(network, train(y=np.eye(2)[Y]))
    assert network.target_kind == "classes"
    partial.applies = None  # what it says itself goes first
    assert train(model=Sequential(fc=Dense(4, 2), end=Softmax()), loss=partial).history


WRONG = {
    "generator": lambda x: (row for row in x),
    "set": lambda x: {1, 2},
    "mapping": lambda x: {"a": 1},
    "text": lambda x: "abc",
    "dates": lambda x: [datetime.datetime(2020, 1, 1)] * len(x),
    "NumPy's dates": lambda x: np.full(len(x), "2020-01-01", "M8[D]"),
    "complex": lambda x: x * 1j,
    "records": lambda x: np.zeros(len(x), [("a", float)]),
    "ragged": lambda x: [[1.0, 2.0], [3.0]],
    "an object": lambda x: object(),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("which", ["training", "validation", "test"])
def test_what_is_no_array_is_refused_by_the_name_of_its_set(wrong, which):
    for number, part in enumerate(["inputs", "targets", "sample weights"]):
        parts = [X, Y, np.ones(N)]
        parts[number] = wrong(parts[number])
        options = {which: tuple(parts)} if which != "training" else {"sample_weight": parts[2]}
        data = tuple(parts[:2]) if which == "training" else (X, Y)
        with pytest.raises(DataError, match=f"^{which} set: {part}: expected ") as caught:
            fit(MODEL, data, **options, **OPTIONS)
        assert "\n" not in str(caught.value)


def test_the_command_line_says_the_label(tmp_path):
    image = pytest.importorskip("PIL.Image")
    from click.testing import CliRunner

    from xpnet.cli import main

    x = np.zeros((N, 4, 4), dtype=np.uint8)
    x[Y == 1] = 250
    network = fit(mlp(16, 8, 2), (x, TEXT), **{**OPTIONS, "epochs": 20})
    network.save(tmp_path / "model.safetensors")
    for row in (int(Y.argmin()), int(Y.argmax())):
        image.fromarray(x[row]).save(tmp_path / "a.png")
        run = ["predict", str(tmp_path / "model.safetensors"), str(tmp_path / "a.png")]
        result = CliRunner().invoke(main, run, catch_exceptions=False)
        assert result.output.split(": ")[-1].split()[0] == network.predict(x[row : row + 1])[0]
