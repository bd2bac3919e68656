"""Kinds of targets and weights of samples, from training to prediction, on every backend."""

import numpy as np
import pytest

import xpnet
from xpnet import (
    SGD,
    BinaryCrossEntropy,
    CheckpointError,
    DataError,
    Huber,
    MeanAbsoluteError,
    SoftmaxCrossEntropy,
    fit,
    losses,
    mean_squared_error,
    mlp,
    softmax_cross_entropy,
)
from xpnet.random import permutation, stream
from xpnet.saving import tensors

N = 70
X = stream(0, "x").normal(size=(N, 5))
TRUTH = X @ stream(0, "truth").normal(size=(5, 3))
TARGETS = {
    "classes": TRUTH.argmax(axis=1),
    "multilabel": (TRUTH > 0.5).astype(int),
    "values": np.tanh(TRUTH) + 0.1 * stream(0, "noise").normal(size=(N, 3)),
}
WEIGHTS = stream(0, "weights").uniform(0, 3, size=N)
MODEL = mlp(5, 8, 3)
OPTIONS = {"epochs": 3, "batch_size": 16, "optimizer": SGD(0.2), "seed": 4}

LOSSES = {
    "smoothed": ("classes", SoftmaxCrossEntropy(label_smoothing=0.1)),
    "class weights": ("classes", SoftmaxCrossEntropy(class_weight={2: 4.0})),
    "several labels": ("multilabel", losses.binary_cross_entropy),
    "positive weights": ("multilabel", BinaryCrossEntropy(0.1, positive_weight=(1, 2, 3))),
    "squared": ("values", mean_squared_error),
    "absolute": ("values", MeanAbsoluteError()),
    "huber": ("values", Huber(0.3)),
}
each_loss = pytest.mark.parametrize("case", LOSSES)


def train(case, backend="numpy", dtype=None, weights=None, **changes):
    kind, loss = LOSSES[case]
    options = {**OPTIONS, **changes}
    return fit(MODEL, (X, TARGETS[kind]), test=(X[:20], TARGETS[kind][:20]), loss=loss,
               backend=backend, dtype=dtype, sample_weight=weights, **options)  # fmt: skip


# -- training -------------------------------------------------------------------------------------


def torch_criterion(torch, case):
    """The loss of each sample, by torch's own functions."""
    functional = torch.nn.functional
    weight = torch.tensor([1.0, 1, 4], dtype=torch.float64)
    positive = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    entropy = functional.binary_cross_entropy_with_logits
    return {
        "smoothed": lambda z, y: functional.cross_entropy(
            z, y, label_smoothing=0.1, reduction="none"
        ),
        "class weights": lambda z, y: functional.cross_entropy(
            z, y, weight=weight, reduction="none"
        ),
        "several labels": lambda z, y: entropy(z, y, reduction="none").mean(dim=1),
        "positive weights": lambda z, y: entropy(
            z, 0.9 * y + 0.05, pos_weight=positive, reduction="none"
        ).mean(dim=1),
        "squared": lambda z, y: ((z - y) ** 2).mean(dim=1),
        "absolute": lambda z, y: (z - y).abs().mean(dim=1),
        "huber": lambda z, y: functional.huber_loss(z, y, delta=0.3, reduction="none").mean(dim=1),
    }[case]


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@each_loss
def test_equals_a_loop_written_in_torch(case, weighted):
    torch = pytest.importorskip("torch")
    params = MODEL.init(xpnet.random.derive(4, "initialization"))
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    net = net.double()
    with torch.no_grad():
        for layer, name in ((net[0], "fc1"), (net[2], "fc2")):
            layer.weight.copy_(torch.tensor(params[f"{name}.weight"]).T)
            layer.bias.copy_(torch.tensor(params[f"{name}.bias"]))
    kind, _ = LOSSES[case]
    x, y = torch.tensor(X), torch.tensor(TARGETS[kind])
    y = y if kind == "classes" else y.double()
    w = torch.tensor(WEIGHTS if weighted else np.ones(N))
    each = torch_criterion(torch, case)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    expected, on_test = [], []
    for epoch in (1, 2, 3):
        for rows in torch.split(torch.tensor(permutation(4, epoch, N)), 16):
            optimizer.zero_grad()
            (w[rows] * each(net(x[rows]), y[rows])).mean().backward()
            optimizer.step()
        expected.append((w * each(net(x), y)).mean().item())
        on_test.append(each(net(x[:20]), y[:20]).mean().item())
    network = train(case, dtype="float64", weights=WEIGHTS if weighted else None)
    np.testing.assert_allclose(network.history["train_loss"], expected, rtol=1e-12)
    # The test set has no weights.
    np.testing.assert_allclose(network.history["test_loss"], on_test, rtol=1e-12)


@pytest.mark.parametrize(
    ("case", "weights"),
    [(case, WEIGHTS) for case in LOSSES]
    + [(case, None) for case in ("smoothed", "several labels", "squared")],
    ids=[f"{case}-weighted" for case in LOSSES] + ["smoothed", "several labels", "squared"],
)
def test_every_backend_gives_the_same_run(training_backend, case, weights):
    """Each loss with weights, and one of each kind of targets without."""
    expected = train(case, dtype="float64", weights=weights)
    network = train(case, training_backend, weights=weights)
    for key in ("train_loss", "test_loss"):
        np.testing.assert_allclose(network.history[key], expected.history[key], rtol=1e-10)
    for key in ("train_accuracy", "test_accuracy"):
        assert network.history[key] == expected.history[key]
    assert network.target_kind == expected.target_kind == LOSSES[case][0]
    found = training_backend.to_numpy(network.predict(training_backend.asarray(X)))
    np.testing.assert_allclose(found, expected.predict(X), rtol=1e-10)


def test_weights_live_on_any_library(training_backend):
    backend = training_backend
    weights = backend.asarray(WEIGHTS)
    expected = train("smoothed", dtype="float64", weights=WEIGHTS)
    for given in (weights, WEIGHTS.tolist(), WEIGHTS.astype(np.longdouble)):
        network = train("smoothed", dtype="float64", weights=given)
        assert network.history["train_loss"] == expected.history["train_loss"]
    whole = np.round(WEIGHTS).astype(np.int32)
    network = train("smoothed", backend, weights=whole)
    expected = train("smoothed", backend, weights=whole.astype(float))
    assert network.history["train_loss"] == expected.history["train_loss"]


def test_weights_of_1_are_no_weights():
    expected = train("class weights", dtype="float64")
    network = train("class weights", dtype="float64", weights=np.ones(N))
    for name, value in expected.params.items():
        np.testing.assert_allclose(network.params[name], value, rtol=1e-12)


def test_a_sample_of_weight_0_does_not_count():
    """Whatever its target is: full batches, so that the division is by the same number."""
    weights = np.where(np.arange(N) < 40, 1.0, 0.0)
    options = {**OPTIONS, "batch_size": N, "backend": "numpy", "sample_weight": weights}
    y = TARGETS["classes"]
    expected = fit(MODEL, (X, y), **options)
    other = fit(MODEL, (X, np.where(np.arange(N) < 40, y, 0)), **options)
    for name, value in expected.params.items():
        np.testing.assert_array_equal(other.params[name], value)


@pytest.mark.parametrize("case", ["smoothed", "several labels", "squared"])
def test_streamed_samples_have_targets_and_weights_too(
    training_backend, tmp_path, monkeypatch, case
):
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    monkeypatch.setattr("xpnet.backends.Backend.chunk_values", 1)  # chunks of 64 rows
    mapped = {}
    kind, loss = LOSSES[case]
    for name, values in (("x", X), ("y", TARGETS[kind]), ("w", WEIGHTS)):
        np.save(tmp_path / f"{name}.npy", values)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    expected = fit(
        MODEL, (X, TARGETS[kind]), loss=loss, sample_weight=WEIGHTS, backend=training_backend,
        **OPTIONS,
    )  # fmt: skip
    network = fit(
        MODEL, (mapped["x"], mapped["y"]), loss=loss, sample_weight=mapped["w"],
        backend=training_backend, **OPTIONS,
    )  # fmt: skip
    assert network.history["train_loss"] == expected.history["train_loss"]
    assert network.history["train_accuracy"] == expected.history["train_accuracy"]
    found = network.report(mapped["x"], mapped["y"])
    assert str(found) == str(network.report(X, TARGETS[kind]))


def test_one_hot_rows_are_looked_at_in_parts(training_backend, tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.inputs.samples._CHECKED_VALUES", 30)  # ten rows
    y = np.eye(3)[TARGETS["classes"]]
    y[5] = y[41] = 0  # no label
    y[7] = [0.25, 0.5, 0.25]
    assert fit(MODEL, (X, y), backend=training_backend, **OPTIONS).target_kind == "classes"
    y[41] = [0.5, 0.75, -0.25]
    with pytest.raises(DataError, match=r"training set: .* row 41 has -0\.25 \(for real numbers"):
        fit(MODEL, (X, training_backend.asarray(y)), backend=training_backend, **OPTIONS)
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    for name, values in (("x", X), ("y", y)):
        np.save(tmp_path / f"{name}.npy", values)
    stored = tuple(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    with pytest.raises(DataError, match=r"row 41 has -0\.25"):
        fit(MODEL, stored, backend=training_backend, **OPTIONS)


def test_rows_of_zeros_are_no_samples_in_full_batches():
    """They count as samples only in the mean: twice the rate makes up for twice as many."""
    y = np.eye(3)[TARGETS["classes"]]
    options = {**OPTIONS, "batch_size": 2 * N, "backend": "numpy", "dtype": "float64"}
    expected = fit(MODEL, (X, y), **options)
    padded = np.concatenate([X, X + 1]), np.concatenate([y, np.zeros_like(y)])
    found = fit(MODEL, padded, **{**options, "optimizer": SGD(0.4)})
    for name, value in expected.params.items():
        np.testing.assert_allclose(found.params[name], value, rtol=1e-10)


def test_one_output_takes_one_number_for_each_sample(tmp_path, monkeypatch):
    """And not (N, N) differences of (N,) and (N, 1)."""
    model, y = mlp(5, 4, 1), TARGETS["values"][:, 0]
    runs = {}
    for loss in (mean_squared_error, lambda xp, o, t, need_grad=True: mean_squared_error(xp, o, t)):
        for name, target in (("(N,)", y), ("(N, 1)", y[:, None])):
            network = fit(model, (X, target), loss=loss, backend="numpy", **OPTIONS)
            runs[loss, name] = network.history["train_loss"]
            assert network.predict(X).shape == target.shape
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    for name, values in (("x", X), ("y", y)):
        np.save(tmp_path / f"{name}.npy", values)
    stored = tuple(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    network = fit(model, stored, loss=mean_squared_error, backend="numpy", **OPTIONS)
    runs["streamed"] = network.history["train_loss"]
    assert len(set(map(tuple, runs.values()))) == 1
    binary = fit(
        model, (X, TARGETS["multilabel"][:, 0] == 1), loss=losses.binary_cross_entropy,
        backend="numpy", **OPTIONS,
    )  # fmt: skip
    assert binary.history[-1].train_accuracy > 0.8
    assert binary.predict(X).shape == binary.predict_proba(X).shape == (N,)


def test_the_kind_of_a_plain_function():
    def loss(xp, output, target, *, weight=None, need_grad=True):
        rows = target if target.ndim == 2 else losses.one_hot(xp, target, 3, output.dtype)
        return mean_squared_error(xp, output, rows, weight=weight, need_grad=need_grad)

    def kind(y):
        network = fit(MODEL, (X, y), loss=loss, backend="numpy", **OPTIONS)
        assert (network.history[-1].train_accuracy is None) == (network.target_kind == "values")
        return network.target_kind

    assert kind(TARGETS["classes"]) == "classes"
    assert kind(np.eye(3)[TARGETS["classes"]]) == "values"
    assert kind(TARGETS["multilabel"]) == "values"
    loss.target_kind = "classes"
    assert kind(np.eye(3)[TARGETS["classes"]]) == "classes"
    loss.target_kind = "multilabel"
    assert kind(TARGETS["multilabel"]) == "multilabel"
    loss.target_kind = "names"
    with pytest.raises(ValueError, match="target_kind must be one of classes, multilabel, values"):
        kind(TARGETS["multilabel"])


def test_a_step_with_weights_reads_nothing_on_the_host():
    from xpnet.conformance.recording import Recorder, RecordingBackend
    from xpnet.inputs import Weighted
    from xpnet.training import initial_state, make_step

    backend = RecordingBackend(Recorder())
    for kind, loss in LOSSES.values():
        y = backend.asarray(TARGETS[kind] if kind == "classes" else TARGETS[kind].astype(float))
        x, w, rows = (backend.asarray(a) for a in (X, WEIGHTS, np.arange(9)))
        state = initial_state(backend, MODEL, SGD(0.1), 0)
        step = make_step(backend, MODEL, loss, SGD(0.1))
        for target in (y, Weighted(y, w)):
            state = step(state, x, target, rows)
        assert int(state["step"].value) == 2


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (softmax_cross_entropy, TARGETS["values"][:, 0], "for real numbers as targets take a loss"),
        (
            mean_squared_error,
            TARGETS["values"][:, :2],
            r"values of shape \(70, 3\), got shape",
        ),
        (mean_squared_error, TARGETS["classes"], r"\(70, 3\), got shape \(70,\) \(if these are cl"),
        (mean_squared_error, TARGETS["values"][:9], r"got shape \(9, 3\)"),
        (mean_squared_error, np.full((N, 3), np.nan), "values must be finite in float32"),
        (mean_squared_error, np.full((N, 3), 1e60), "too large values"),
        (mean_squared_error, np.full((N, 3), "x"), "array of real numbers"),
        (losses.binary_cross_entropy, TARGETS["classes"], "one label is right for each sample"),
        (
            losses.binary_cross_entropy,
            2 * TARGETS["multilabel"],
            "from 0 .no. to 1 .yes.; found 0 ",
        ),
        (losses.binary_cross_entropy, -0.5 * TARGETS["values"] ** 2, "from 0 .no. to 1"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss, y, message):
    with pytest.raises(DataError, match=message):
        fit(MODEL, (X, y), loss=loss, backend="numpy", **OPTIONS)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"70 inputs need sample weights of shape \(70,\), got shape \(3,\)"),
        (np.ones((N, 1)), r"got shape \(70, 1\)"),
        (1.0, r"got shape \(\)"),
        (np.where(np.arange(N) == 3, np.inf, 1.0), "there are NaN or infinities"),
        (np.where(np.arange(N) == 3, -2.0, 1.0), "not negative, and not all 0; found -2"),
        (np.zeros(N), "all are 0"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, message):
    with pytest.raises(DataError, match=message):
        train("smoothed", weights=weights)


def test_a_loss_that_takes_no_weights_is_refused_early():
    def loss(xp, output, target, need_grad=True):
        raise AssertionError("not reached")

    with pytest.raises(TypeError, match=r"takes weight=\.\.\., and .*loss.* does not"):
        fit(MODEL, (X, TARGETS["classes"]), loss=loss, sample_weight=WEIGHTS, **OPTIONS)
    with pytest.raises(TypeError, match=r"loss must be one such as Huber\(\)"):
        fit(MODEL, (X, TARGETS["values"]), loss=Huber, **OPTIONS)


def test_a_loss_that_does_not_fit_the_network_is_refused_early():
    with pytest.raises(ValueError, match="has 2 numbers, but the network has 3 outputs"):
        fit(MODEL, (X, TARGETS["classes"]), loss=SoftmaxCrossEntropy(class_weight=(1, 2)))


@pytest.mark.parametrize("y", [np.arange(N) % 2, np.zeros(N, int), np.ones((N, 1))], ids=str)
def test_a_softmax_of_one_output_is_refused(y, training_backend):
    """It is 1, and the loss 0, so nothing would be learnt, and nothing said."""
    model, message = mlp(5, 4, 1), r"2 outputs for two classes, or take BinaryCrossEntropy\(\)"
    for loss in (softmax_cross_entropy, SoftmaxCrossEntropy(0.1)):
        with pytest.raises(ValueError, match=message):
            fit(model, (X, y), loss=loss, backend=training_backend)
        with pytest.raises(ValueError, match=message):
            xpnet.make_step(training_backend, model, loss, SGD(0.1))
    network = fit(model, (X, y), loss=losses.binary_cross_entropy, **{**OPTIONS, "epochs": 1})
    assert network.history[-1].train_loss > 0
    with pytest.raises(ValueError, match=message):
        network.evaluate(X, y, loss=softmax_cross_entropy)
    with pytest.raises(ValueError, match=message):
        xpnet.Network(model, network.params, network.backend).evaluate(X, y)


# -- the network ----------------------------------------------------------------------------------


def test_predictions_of_each_kind(backend):
    expected = {kind: train(case, dtype="float64") for case, (kind, _) in LOSSES.items()}
    x = backend.asarray(X, dtype=backend.dtype)
    for kind, network in expected.items():
        params = {k: np.asarray(v) for k, v in network.params.items()}
        z = np.maximum(X @ params["fc1.weight"] + params["fc1.bias"], 0)
        z = z @ params["fc2.weight"] + params["fc2.bias"]
        found = backend.to_numpy(network.predict(x))
        if kind == "values":
            np.testing.assert_allclose(found, z, rtol=1e-12)
            with pytest.raises(ValueError, match="gives values, not probabilities"):
                network.predict_proba(x)
        elif kind == "multilabel":
            np.testing.assert_array_equal(found, z > 0)
            p = backend.to_numpy(network.predict_proba(x))
            np.testing.assert_allclose(p, 1 / (1 + np.exp(-z)), rtol=1e-12)
        else:
            np.testing.assert_array_equal(found, z.argmax(axis=1))
            p = backend.to_numpy(network.predict_proba(x))
            np.testing.assert_allclose(p.sum(axis=1), np.ones(N), rtol=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
@each_loss
def test_evaluate_gives_what_the_history_has(case, weights):
    kind, _ = LOSSES[case]
    network = train(case, weights=weights)
    found = network.evaluate(X, TARGETS[kind], sample_weight=weights)
    last = network.history[-1]
    assert (found.loss, found.accuracy) == (last.train_loss, last.train_accuracy)
    entries = {"classes": N, "multilabel": 3 * N, "values": None}[kind]
    predicted = network.predict(X)
    if entries is None:
        assert found.errors is None
        assert str(found) == f"loss {found.loss:.4f} (70 samples)"
        assert "accuracy" not in str(network.history)
    else:
        assert found.errors == (predicted != TARGETS[kind]).sum()
        assert found.accuracy == (entries - found.errors) / entries
        assert str(found).endswith(f"errors in {entries})")
    if kind == "values":
        other = network.evaluate(X, TARGETS[kind], loss=mean_squared_error)
        assert other.loss == pytest.approx(((predicted - TARGETS[kind]) ** 2).mean(), rel=1e-5)


@each_loss
def test_a_saved_network_keeps_kind_and_loss(case, tmp_path):
    network = train(case)
    network.save(tmp_path / "n.safetensors")
    for again in (xpnet.load(tmp_path / "n.safetensors"), network.copy()):
        assert again.target_kind == network.target_kind
        assert again.loss == network.loss
        np.testing.assert_array_equal(again.predict(X), network.predict(X))
        y = TARGETS[network.target_kind]
        assert again.evaluate(X, y) == network.evaluate(X, y)
        assert again.history["train_accuracy"] == network.history["train_accuracy"]


def test_a_network_trained_with_a_function_is_evaluated_with_the_usual_loss(tmp_path):
    def loss(xp, output, target, *, need_grad=True):
        value, gradient = mean_squared_error(xp, output, target)
        return 2 * value, 2 * gradient

    y = TARGETS["values"]
    network = fit(MODEL, (X, y), loss=loss, backend="numpy", **OPTIONS)
    assert network.evaluate(X, y).loss == network.history[-1].train_loss
    network.save(tmp_path / "n.safetensors")
    again = xpnet.load(tmp_path / "n.safetensors")
    assert again.loss is None
    assert again.target_kind == "values"
    assert again.evaluate(X, y).loss == pytest.approx(network.evaluate(X, y).loss / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_kind": "numbers"}, "one of classes, multilabel, values, found 'numbers'"),
        ({"loss": {"loss": "hinge", "options": {}}}, "loss must be one of softmax_cross_entropy"),
        ({"loss": {"loss": "huber", "options": {"delta": -1}}}, "delta must be positive"),
        ({"loss": {"loss": "huber", "options": {"beta": 1}}}, "beta"),
        ({"loss": "huber"}, "does not describe a network"),
    ],
)
def test_files_of_other_versions(tmp_path, changes, message):
    network, path = train("smoothed"), tmp_path / "n.safetensors"
    network.save(path)
    arrays, metadata = tensors.read_tensors(path)
    old = {k: v for k, v in metadata.items() if k not in ("target_kind", "loss")}
    tensors.write_tensors(path, arrays, old)
    again = xpnet.load(path)
    assert (again.target_kind, again.loss) == ("classes", None)
    tensors.write_tensors(path, arrays, {**metadata, **changes})
    with pytest.raises(CheckpointError, match=message):
        xpnet.load(path)


def test_a_network_of_an_unknown_kind():
    network = train("squared")
    with pytest.raises(ValueError, match="target_kind must be one of"):
        xpnet.Network(MODEL, network.params, network.backend, target_kind="numbers")
    with pytest.raises(ValueError, match="'values', which are not classes; take report"):
        network.confusion_matrix(X, TARGETS["classes"])


# -- the report -----------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("xpnet.backends.Backend.chunk_values", 1)  # the least: 64 rows


def by_sklearn(report, y, predicted):
    sk = pytest.importorskip("sklearn.metrics")
    names = [row.name for row in report.classes]
    expected = sk.classification_report(
        y, predicted, labels=range(len(names)), target_names=names, output_dict=True,
        zero_division=0,
    )  # fmt: skip
    for row in (*report.classes, report.macro, report.weighted):
        wanted = expected.get(row.name) or expected[f"{row.name} avg"]
        found = (row.precision, row.recall, row.f1, row.support)
        np.testing.assert_allclose(found, list(wanted.values()), rtol=1e-12)
    f1 = sk.f1_score(y, predicted, average="micro", zero_division=0)
    assert report.micro.f1 == pytest.approx(f1, rel=1e-12)


def test_a_report_on_classes_equals_sklearn(training_backend, small_chunks):
    sk = pytest.importorskip("sklearn.metrics")
    y = TARGETS["classes"]
    network = train("smoothed", training_backend)
    names = ["ant", "bee", "chinchilla"]
    p = training_backend.to_numpy(network.predict_proba(training_backend.asarray(X)))
    for given in (y, np.eye(3)[y]):
        report = network.report(X, given, names=names, top_k=2, n_bins=5)
        by_sklearn(report, y, p.argmax(axis=1))
        assert report.accuracy == sk.accuracy_score(y, p.argmax(axis=1))
        assert report.log_loss == pytest.approx(sk.log_loss(y, p), rel=1e-10)
        assert report.top_k_accuracy == pytest.approx(sk.top_k_accuracy_score(y, p, k=2))
        error = xpnet.metrics.expected_calibration_error(np, p, y, n_bins=5)
        assert report.calibration_error == pytest.approx(float(error), rel=1e-10)
    assert report.count == N
    assert (report.k, report.exact_match) == (2, None)
    assert report.to_dict()["classes"][2]["name"] == "chinchilla"
    lines = str(report).splitlines()
    assert lines[0] == "            precision  recall      f1  support"
    assert lines[3].startswith(f"chinchilla     {report.classes[2].precision:.4f}")
    assert f"top-2 accuracy {report.top_k_accuracy:.4f}, log-loss" in lines[-1]
    assert lines[-1].endswith("(70 samples)")
    # Of fewer classes than k all are looked at.
    assert network.report(X, y).k == 3
    with pytest.raises(ValueError, match="one for each of 3 classes"):
        network.report(X, y, names=["a"])
    with pytest.raises(ValueError, match="report: top_k must be a positive integer"):
        network.report(X, y, top_k=0)


def test_a_report_on_labels_equals_sklearn(training_backend, small_chunks):
    sk = pytest.importorskip("sklearn.metrics")
    y = TARGETS["multilabel"]
    network = train("several labels", training_backend)
    p = training_backend.to_numpy(network.predict_proba(training_backend.asarray(X)))
    report = network.report(X, y)
    by_sklearn(report, y, (p > 0.5).astype(int))
    assert report.accuracy == pytest.approx((y == (p > 0.5)).mean(), rel=1e-14)
    assert report.exact_match == pytest.approx(sk.accuracy_score(y, p > 0.5), rel=1e-14)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert report.log_loss == pytest.approx(expected, rel=1e-10)
    assert report.k is report.top_k_accuracy is report.calibration_error is None
    assert "all labels right" in str(report)


def test_a_report_on_values_equals_sklearn(training_backend, small_chunks):
    sk = pytest.importorskip("sklearn.metrics")
    network = train("squared", training_backend)
    found = training_backend.to_numpy(network.predict(training_backend.asarray(X)))
    # Far from 0, and a column that does not vary.
    for y in (TARGETS["values"], TARGETS["values"] + 1e6, TARGETS["values"] * [1, 0, 1]):
        report = network.report(X, y)
        assert report.mean_squared_error == pytest.approx(sk.mean_squared_error(y, found))
        assert report.mean_absolute_error == pytest.approx(sk.mean_absolute_error(y, found))
        root = np.sqrt(sk.mean_squared_error(y, found))
        assert report.root_mean_squared_error == pytest.approx(root)
        assert report.r2 == pytest.approx(sk.r2_score(y, found), rel=1e-7)
    assert report.to_dict()["count"] == N
    assert "R²" in str(report)


def test_curves_of_a_training_on_values():
    pytest.importorskip("matplotlib")
    from xpnet.plots import plot_curves

    figure = plot_curves(train("squared").history)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "mean loss"
    assert len(axes.lines) == 2
    assert len(plot_curves(train("several labels").history).axes) == 2
