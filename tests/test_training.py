"""fit, evaluate, predict, save and load: whole networks on every backend."""

import copy
from itertools import chain

import numpy as np
import pytest
from conftest import require

import xpnet
from xpnet import (
    SGD,
    Callback,
    Conv2D,
    DataError,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    ReLU,
    Sequential,
    TrainingDiverged,
    Weighted,
    fit,
    initial_state,
    load,
    load_dataset,
    make_step,
    mlp,
    open_backend,
    softmax_cross_entropy,
)
from xpnet.conformance.recording import Recorder, RecordingBackend
from xpnet.inputs.batches import grouped_batches
from xpnet.inputs.chunks import chunks
from xpnet.network.evaluation import ChunkSizes, chunk_rows
from xpnet.random import permutation, stream

pytestmark = pytest.mark.numerics

DIGITS = load_dataset("digits").limited(300)
MODEL = mlp(64, 16, 10)
OPTIONS = {"epochs": 3, "batch_size": 64, "optimizer": SGD(0.2), "seed": 5}


def blobs(n=90, n_features=4, n_classes=3):
    """Three well separated clouds of points."""
    rng = stream(0, "blobs")
    y = rng.integers(n_classes, size=n)
    return rng.normal(size=(n, n_features)) + 4 * np.eye(n_classes, n_features)[y], y


@pytest.fixture(scope="module")
def reference():
    return fit(MODEL, DIGITS, backend="numpy", dtype="float64", **OPTIONS)


# -- the training itself ----------------------------------------------------------------------


def test_equals_a_loop_written_in_torch(reference):
    """The same initial weights and batches through torch's own layers, loss, autograd and SGD."""
    torch = pytest.importorskip("torch")
    params = MODEL.init(xpnet.random.derive(5, "initialization"))
    net = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    net = net.double()
    with torch.no_grad():
        for layer, name in ((net[0], "fc1"), (net[2], "fc2")):
            layer.weight.copy_(torch.tensor(params[f"{name}.weight"]).T)
            layer.bias.copy_(torch.tensor(params[f"{name}.bias"]))
    x = torch.tensor(DIGITS.train.images.reshape(-1, 64) / 16)
    y = torch.tensor(DIGITS.train.labels.astype(np.int64))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    criterion = torch.nn.CrossEntropyLoss()
    losses = []
    for epoch in (1, 2, 3):
        for rows in torch.split(torch.tensor(permutation(5, epoch, 300)), 64):
            optimizer.zero_grad()
            criterion(net(x[rows]), y[rows]).backward()
            optimizer.step()
        losses.append(criterion(net(x), y).item())
    np.testing.assert_allclose(reference.history["train_loss"], losses, rtol=1e-12)
    np.testing.assert_allclose(
        reference.params["fc1.weight"], net[0].weight.detach().numpy().T, rtol=1e-9, atol=1e-13
    )


def test_a_penalty_is_minimised_beside_the_loss(training_backend):
    """A penalty of squares is the optimizer's l2, and its value is added to that of the loss."""
    backend = training_backend
    x, y = backend.asarray(blobs()[0]), backend.asarray(blobs()[1], dtype=backend.index_dtype)
    model, weights = mlp(4, 5, 3), []

    def squares(xp, params, weight):
        weights.append(weight)
        parts = {name: value for name, value in params.items() if value.ndim == 2}
        total = sum(xp.sum(value * value) for value in parts.values())
        return 0.15 * total, {name: 0.3 * value for name, value in parts.items()}

    with backend.scope():
        rows = backend.asarray(np.arange(40), dtype=backend.index_dtype)
        found = []
        for optimizer, penalty in ((SGD(0.1, l2=0.3), None), (SGD(0.1), squares)):
            state = initial_state(backend, model, optimizer, 0)
            before = {name: backend.to_numpy(value).copy() for name, value in state.items()}
            step = make_step(backend, model, softmax_cross_entropy, optimizer, penalty=penalty)
            after = step(state, x, y, rows)
            found.append({name: backend.to_numpy(value) for name, value in after.items()})
        weight = backend.asarray(np.arange(90.0), dtype=backend.dtype)
        step(initial_state(backend, model, optimizer, 0), x, Weighted(y, weight), rows)
    for name in model.parameter_shapes():
        np.testing.assert_allclose(*(f[f"param/{name}"] for f in found), rtol=1e-12)
    total = sum((before[f"param/{name}.weight"] ** 2).sum() for name in ("fc1", "fc2"))
    assert found[1]["loss"] - found[0]["loss"] == pytest.approx(0.15 * total, rel=1e-9)
    assert weights[0] == 40
    if backend.name != "jax":  # which traces its arrays
        assert float(backend.to_numpy(weights[-1])) == sum(range(40))


def test_every_backend_gives_the_same_run(training_backend, reference):
    network = fit(MODEL, DIGITS, backend=training_backend, **OPTIONS)
    np.testing.assert_allclose(
        network.history["train_loss"], reference.history["train_loss"], rtol=1e-9
    )
    for key in ("train_accuracy", "test_accuracy"):
        assert network.history[key] == reference.history[key]
    images = DIGITS.test.images
    predicted = training_backend.to_numpy(network.predict(training_backend.asarray(images)))
    np.testing.assert_array_equal(predicted, reference.predict(images))


def test_float32_starts_out_the_same(training_backend, reference):
    backend = type(training_backend)(
        type(training_backend).device_of(training_backend.asarray(1.0)), "float32"
    )
    network = fit(MODEL, DIGITS, backend=backend, **{**OPTIONS, "epochs": 1})
    assert network.history[0].train_loss == pytest.approx(reference.history[0].train_loss, rel=1e-5)
    assert all(value.dtype == backend.dtype for value in network.params.values())


def test_a_seed_repeats_to_the_last_bit(reference):
    again = fit(MODEL, DIGITS, backend="numpy", dtype="float64", **OPTIONS)
    for name, value in reference.params.items():
        np.testing.assert_array_equal(again.params[name], value)
    other = fit(MODEL, DIGITS, backend="numpy", dtype="float64", **{**OPTIONS, "seed": 6})
    assert other.history["train_loss"] != reference.history["train_loss"]


def test_a_seed_gives_the_same_file(tmp_path):
    for name in ("one", "other"):
        network = fit(MODEL, DIGITS, backend="numpy", **OPTIONS)
        network.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert load(tmp_path / "one").history[0].train_seconds is None
    assert str(load(tmp_path / "one").history[0]) in str(network.history[0])


def test_every_sample_is_seen_once_an_epoch():
    """The tail batch included, and every epoch in another order."""
    seen = []

    def watch(xp, output, target, *, need_grad=True):
        if need_grad:
            seen.append(target.tolist())
        return softmax_cross_entropy(xp, output, target, need_grad=need_grad)

    x = np.eye(10)
    fit(mlp(10, 10), (x, np.arange(10)), epochs=2, batch_size=4, loss=watch, backend="numpy")
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("batch_size", [300, 10_000])
def test_full_batch_gradient_descent(batch_size):
    """One step an epoch, equal to the gradient of the whole set computed by hand."""
    x, y = blobs()
    model = mlp(4, 3)
    network = fit(
        model, (x, y), epochs=1, batch_size=batch_size, backend="numpy", dtype="float64",
        optimizer=SGD(0.5),
    )  # fmt: skip
    p = model.init(xpnet.random.derive(0, "initialization"))
    z = x @ p["fc1.weight"]
    q = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    dz = (q - np.eye(3)[y]) / len(y)
    np.testing.assert_allclose(
        network.params["fc1.weight"], p["fc1.weight"] - 0.5 * x.T @ dz, rtol=1e-12
    )
    np.testing.assert_allclose(network.params["fc1.bias"], -0.5 * dz.sum(axis=0), rtol=1e-12)


def test_one_hot_labels_give_the_same_run(training_backend):
    x, y = blobs()
    options = {"epochs": 2, "backend": training_backend, "batch_size": 16}
    by_label = fit(mlp(4, 5, 3), (x, y), test=(x, y), **options)
    by_rows = fit(mlp(4, 5, 3), (x, np.eye(3)[y]), test=(x, np.eye(3)[y]), **options)
    assert by_label.history["train_loss"] == by_rows.history["train_loss"]
    assert by_label.history["test_accuracy"] == by_rows.history["test_accuracy"]


def test_data_is_not_written_to_and_may_be_read_only(training_backend):
    x, y = blobs()
    x.flags.writeable = y.flags.writeable = False
    fit(mlp(4, 3), (x, y), epochs=1, backend=training_backend)


def test_auto_stays_where_the_data_lives(other_backend):
    x, y = blobs()
    source = open_backend(other_backend, None, "float32")
    network = fit(mlp(4, 3), (source.asarray(x), source.asarray(y)), epochs=1)
    assert network.backend.name == other_backend
    assert network.backend.reason == "the training samples live there"


def test_lists_are_data_too():
    network = fit(mlp(2, 2), ([[0.0, 1.0], [1.0, 0.0]], [0, 1]), epochs=1, backend="numpy")
    assert network.predict([[0.0, 1.0]]).shape == (1,)


def test_uint8_is_pixels_and_other_integers_are_numbers():
    pixels = stream(0, "pixels").integers(256, size=(20, 4), dtype=np.uint8)
    y = np.arange(20) % 2
    options = {"epochs": 1, "backend": "numpy", "dtype": "float64"}
    as_pixels = fit(mlp(4, 2), (pixels, y), **options)
    as_floats = fit(mlp(4, 2), (pixels / 255, y), **options)
    as_numbers = fit(mlp(4, 2), (pixels.astype(int) // 64, y), **options)
    assert as_pixels.history["train_loss"] == pytest.approx(as_floats.history["train_loss"])
    assert as_pixels.pixel_maximum == 255
    assert as_numbers.pixel_maximum == 1


# -- the compiled step ------------------------------------------------------------------------


def test_a_changed_learning_rate_is_seen_by_a_compiled_step(training_backend):
    """A Python number would be frozen when the step is compiled."""
    backend = training_backend
    with backend.scope():
        x, y = blobs()
        x, y = backend.asarray(x), backend.asarray(y, dtype=backend.index_dtype)
        rows = backend.asarray(np.arange(90), dtype=backend.index_dtype)
        model = mlp(4, 3)
        step = make_step(backend, model, softmax_cross_entropy, SGD(0.1), pixel_maximum=1.0)
        state = step(initial_state(backend, model, SGD(0.1), 0), x, y, rows)
        before = np.array(backend.to_numpy(state["param/fc1.weight"]))
        state["learning_rate"] = backend.asarray(0.0, dtype=backend.dtype)
        state = step(state, x, y, rows)
        np.testing.assert_array_equal(backend.to_numpy(state["param/fc1.weight"]), before)


def test_the_tail_batch_compiles_once_more():
    jax = pytest.importorskip("jax")
    traces = []

    def watch(xp, output, target, *, need_grad=True):
        if need_grad:
            assert isinstance(output, jax.core.Tracer)
            traces.append(output.shape[0])
        return softmax_cross_entropy(xp, output, target, need_grad=need_grad)

    x, y = blobs()
    fit(mlp(4, 3), (x, y), epochs=4, batch_size=40, loss=watch, backend="jax")
    assert traces == [40, 10]


def test_a_training_step_reads_nothing_on_the_host():
    """On arrays that refuse float(), bool(), item(), iteration and boolean masks."""
    recorder = Recorder()
    backend = RecordingBackend(recorder)
    model = mlp(64, 16, 10, dropout=0.3)
    x = backend.asarray(DIGITS.train.images[:50])
    y = backend.asarray(DIGITS.train.labels[:50].astype(np.int64))
    rows = backend.asarray(np.arange(20))
    state = initial_state(backend, model, SGD(0.1), 0)
    step = make_step(backend, model, softmax_cross_entropy, SGD(0.1), pixel_maximum=16)
    backend.to_numpy = backend.asarray = None  # nor does anything go there or come from there
    recorder.requests.clear()
    for _ in range(2):
        state = step(state, x, y, rows)
    asked = {request.name for request in recorder.requests.values()}
    assert {"matmul", "take", "exp", "x -= y"} <= asked
    assert not asked & {"nonzero", "clip", "asarray", "unique_values", "from_dlpack"}
    assert int(state["step"].value) == 2


@pytest.mark.parametrize(
    "read",
    [
        float, int, bool, len, list,
        lambda x: x.item(), lambda x: x.tolist(), lambda x: x[x > 0], lambda x: [0, 1][x],
    ],
)  # fmt: skip
def test_the_arrays_that_refuse_host_reads_do(read):
    backend = RecordingBackend(Recorder())
    with pytest.raises(TypeError, match="read on the host"):
        read(backend.asarray(np.ones(1)))


def run_steps(backend, model, n, seed=3, state=None, compiled=True):
    """n full-batch steps on the blobs, from the start or from a state."""
    x, y = blobs()
    x, y = backend.asarray(x), backend.asarray(y, dtype=backend.index_dtype)
    rows = backend.asarray(np.arange(90), dtype=backend.index_dtype)
    state = initial_state(backend, model, SGD(0.1), seed) if state is None else state
    compile_it = backend.compile
    if not compiled:
        backend.compile = lambda function, consumes=False: function
    step = make_step(backend, model, softmax_cross_entropy, SGD(0.1), seed=seed)
    backend.compile = compile_it
    for _ in range(n):
        state = step(state, x, y, rows)
    return state


def test_the_compiled_step_equals_the_eager_step():
    require("jax")
    backend = open_backend("jax", None, "float64")
    model = mlp(4, 8, 3, dropout=0.3)
    with backend.scope():
        compiled = run_steps(backend, model, 5)
        eager = run_steps(backend, model, 5, compiled=False)
    assert set(compiled) == set(eager)
    for name in eager:
        np.testing.assert_allclose(compiled[name], eager[name], rtol=1e-12, atol=1e-15)


def test_a_resumed_run_draws_the_same_masks(training_backend):
    """The masks follow from the seed and the step in the state, not from what ran before."""
    backend = training_backend
    model = mlp(4, 8, 3, dropout=0.5)
    with backend.scope():
        whole = run_steps(backend, model, 6)
        half = run_steps(backend, model, 3)
        host = {name: np.array(backend.to_numpy(value)) for name, value in half.items()}
        again = {name: backend.asarray(value, copy=True) for name, value in host.items()}
        resumed = run_steps(backend, model, 3, state=again)
        other = run_steps(backend, model, 6, seed=4)
    for name in whole:
        np.testing.assert_array_equal(
            backend.to_numpy(resumed[name]), backend.to_numpy(whole[name])
        )
    assert not np.array_equal(
        backend.to_numpy(other["param/fc1.weight"]), backend.to_numpy(whole["param/fc1.weight"])
    )


def test_fit_is_the_custom_loop():
    """The seed reaches the weights, the shuffles and the masks."""
    model, backend = mlp(4, 8, 3, dropout=0.5), open_backend("numpy", None, "float64")
    x, y = blobs()
    network = fit(model, (x, y), epochs=2, batch_size=40, seed=7, backend=backend)
    state = initial_state(backend, model, SGD(), 7)
    step = make_step(backend, model, softmax_cross_entropy, SGD(), seed=7)
    for epoch in (1, 2):
        order = permutation(7, epoch, 90)
        for rows in (order[:40], order[40:80], order[80:]):
            state = step(state, x, y, rows)
    for name, value in network.params.items():
        np.testing.assert_array_equal(value, state[f"param/{name}"])


def test_the_masks_follow_from_the_seed():
    """The same weights and batches, another seed of the step: another result."""
    model, backend = mlp(4, 8, 3, dropout=0.5), open_backend("numpy", None, "float64")
    x, y = blobs()
    results = []
    for seed in (7, 7, 8):
        step = make_step(backend, model, softmax_cross_entropy, SGD(), seed=seed)
        state = step(initial_state(backend, model, SGD(), 0), x, y, np.arange(90))
        results.append(state["param/fc2.weight"])
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_the_loss_of_a_step_is_in_its_state(training_backend):
    """The mean over the batch, before the update: what a custom loop reports."""
    backend = training_backend
    model = mlp(4, 3)
    x, y = blobs()
    with backend.scope():
        state = run_steps(backend, model, 1)
    p = model.init(xpnet.random.derive(3, "initialization"))
    expected, _ = softmax_cross_entropy(np, x @ p["fc1.weight"], y)
    assert float(backend.to_numpy(state["loss"])) == pytest.approx(float(expected), rel=1e-12)
    assert int(backend.to_numpy(state["step"])) == 1


def test_dropout_changes_neither_the_weights_nor_the_shuffle():
    """The streams are derived by purpose."""
    seen = {}

    class Watch(Callback):
        def __init__(self, name):
            self.name = name

        def on_start(self, network, *, epochs, steps):
            seen[self.name] = {k: np.array(v) for k, v in network.params.items()}

    def spy(order):
        def loss(xp, output, target, *, need_grad=True):
            if need_grad:
                order.extend(target.tolist())
            return softmax_cross_entropy(xp, output, target, need_grad=need_grad)

        return loss

    x, y = np.eye(10), np.arange(10)
    orders = {0.0: [], 0.5: []}
    for rate, order in orders.items():
        fit(
            mlp(10, 6, 10, dropout=rate), (x, y), epochs=2, batch_size=4, backend="numpy",
            loss=spy(order), callbacks=[Watch(rate)],
        )  # fmt: skip
    assert orders[0.0] == orders[0.5]
    for name in seen[0.0]:
        np.testing.assert_array_equal(seen[0.0][name], seen[0.5][name])


# -- prediction and evaluation ----------------------------------------------------------------


def test_predictions_live_where_the_samples_do(training_backend, reference):
    backend = training_backend
    x = backend.asarray(DIGITS.test.images)
    expected = reference.predict(DIGITS.test.images)
    classes, probabilities = reference.predict(x), reference.predict_proba(x)
    for array in (classes, probabilities):
        assert type(array) is type(x)
        assert type(backend).device_of(array) == type(backend).device_of(x)
    np.testing.assert_array_equal(backend.to_numpy(classes), expected)
    p = backend.to_numpy(probabilities)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(p.argmax(axis=1), expected)


def test_no_samples_have_no_predictions(training_backend, reference):
    x = training_backend.asarray(np.zeros((0, 64)))
    assert reference.predict(x).shape == (0,)
    assert reference.predict_proba(x).shape == (0, 10)


def test_pixels_images_and_rows_are_the_same_to_a_network(reference):
    images = DIGITS.test.images
    expected = reference.predict_proba(images)
    for x in (images.reshape(-1, 64), images / 16.0, (images / 16.0).tolist()):
        np.testing.assert_allclose(reference.predict_proba(x), expected, rtol=1e-12)


def test_evaluation_in_chunks_is_evaluation_at_once(reference, monkeypatch):
    x, y = DIGITS.test.images, DIGITS.test.labels
    whole = reference.evaluate(x, y)
    monkeypatch.setattr("xpnet.backends.Backend.chunk_values", 1)  # the least: 64 rows
    pieces = reference.evaluate(x, y)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-13)
    assert pieces.errors == whole.errors
    assert whole.count == 359
    assert whole.accuracy == (359 - whole.errors) / 359
    p = reference.predict_proba(x)
    assert whole.loss == pytest.approx(-np.log(p[np.arange(359), y]).mean(), rel=1e-12)
    assert whole.errors == (reference.predict(x) != y).sum()
    assert str(whole.errors) in str(whole)


@pytest.mark.parametrize(("values", "rows"), [(1, 1), (10_000, 10), (40_000, 40), (200_000, 200)])
def test_chunks_count_the_pictures_inside_of_a_network(values, rows):
    """10 x 10 pixels of 10 filters are more than the pixels, and than any axis of a parameter."""
    model = Sequential(
        part=Sequential(conv=Conv2D(1, 10, 3), act=ReLU()),
        pool=GlobalAveragePool2D(),
        fc=Dense(10, 2),
    )
    backend = open_backend("numpy")
    backend.chunk_values = values
    x = np.zeros((3, 10, 10))
    assert chunk_rows(backend, model, x) == rows
    assert chunk_rows(backend, mlp(100, 10), x) == max(64, values // 100)


def test_confusion_matrix_equals_sklearn(reference):
    sk = pytest.importorskip("sklearn.metrics")
    x, y = DIGITS.test.images, DIGITS.test.labels
    expected = sk.confusion_matrix(y, reference.predict(x))
    np.testing.assert_array_equal(reference.confusion_matrix(x, y), expected)


@pytest.mark.parametrize(("count", "rows"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 3)])
def test_chunks_cover_everything_once(count, rows):
    pieces = [list(range(count))[piece] for piece in chunks(count, rows)]
    assert list(chain(*pieces)) == list(range(count))
    assert all(len(piece) == rows for piece in pieces[:-1])


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (9, [9]), (10, [3, 3, 3, 1]), (11, [3, 3, 3, 2])]
)
def test_many_samples_are_chunks_of_one_size_of_which_two_threads_have_as_many(count, sizes):
    pieces = ChunkSizes(at_once=9, most=4).chunks(count)
    assert [len(range(count)[piece]) for piece in pieces] == sizes
    assert [row for piece in pieces for row in range(count)[piece]] == list(range(count))


@pytest.mark.parametrize(
    ("count", "batch_size", "group", "shapes"),
    [
        (10, 3, 1, [(1, 3), (1, 3), (1, 3), (1, 1)]),
        (9, 3, 2, [(2, 3), (1, 3)]),
        (21, 3, 6, [(6, 3), (1, 3)]),
        (30, 3, 4, [(3, 3), (3, 3), (3, 3), (1, 3)]),
        (6, 3, 16, [(2, 3)]),
        (23, 3, 3, [(3, 3), (3, 3), (1, 3), (1, 2)]),
        (2, 3, 4, [(1, 2)]),
    ],
)
def test_grouped_batches_are_the_order_in_pieces(count, batch_size, group, shapes):
    order = np.arange(count)[::-1]
    groups = list(grouped_batches(np, order, batch_size, group))
    assert [rows.shape for rows in groups] == shapes
    np.testing.assert_array_equal(np.concatenate([rows.ravel() for rows in groups]), order)


def test_steps_taken_together_are_the_steps(training_backend):
    """A callback that wants each step sees the same training as one that does not."""

    class Count(Callback):
        def __init__(self, every_step):
            self.every_step = every_step
            self.counts = []

        def on_step(self, state, count):
            self.counts.append(count)

    counters = Count(True), Count(False)
    x, y = blobs()
    networks = [
        fit(
            mlp(4, 8, 3, dropout=0.2),
            (x, y),
            epochs=2,
            batch_size=2,
            backend=training_backend,
            callbacks=[counter],
        )
        for counter in counters
    ]
    assert counters[0].counts == [1] * 90
    assert sum(counters[1].counts) == 90
    # As many as a call takes at best, or some fewer, so that few are left over.
    most = min(45, training_backend.steps_per_call)
    assert most // 2 < max(counters[1].counts) <= most
    for name, value in networks[0].params.items():
        np.testing.assert_allclose(
            training_backend.to_numpy(networks[1].params[name]),
            training_backend.to_numpy(value),
            rtol=1e-12,
        )


# -- saving and loading -----------------------------------------------------------------------


def test_saved_on_one_backend_loaded_on_any_other(training_backend, reference, tmp_path):
    network = fit(MODEL, DIGITS, backend=training_backend, **OPTIONS)
    network.save(tmp_path / "model.safetensors")
    for name in ("numpy", training_backend.name):
        loaded = load(tmp_path, backend=name)
        assert loaded.backend.dtype_name == "float64"
        assert loaded.model == MODEL
        assert loaded.sample_shape == (8, 8)
        assert loaded.pixel_maximum == 16
        assert loaded.history["train_loss"] == network.history["train_loss"]
        for key, value in network.params.items():
            np.testing.assert_array_equal(
                loaded.backend.to_numpy(loaded.params[key]), training_backend.to_numpy(value)
            )


def test_loading_in_another_dtype(reference, tmp_path):
    reference.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors", dtype="float32")
    assert loaded.params["fc1.weight"].dtype == np.float32
    images = DIGITS.test.images
    np.testing.assert_allclose(
        loaded.predict_proba(images), reference.predict_proba(images), atol=1e-5
    )


def test_loading_into_another_model_lists_what_differs(reference, tmp_path):
    reference.save(tmp_path / "model.safetensors")
    with pytest.raises(xpnet.CheckpointError) as error:
        load(tmp_path, model=Sequential(fc1=Dense(64, 10), out=Dense(10, 10)))
    for part in ("missing: param/out.bias", "unexpected: param/fc2.bias", "fc1.weight has shape"):
        assert part in str(error.value)


def test_a_copy_has_parameters_of_its_own(training_backend):
    network = fit(mlp(4, 3), (X, Y), epochs=1, backend=training_backend)
    for twin in (network.copy(), copy.deepcopy(network)):
        assert twin.history["train_loss"] == network.history["train_loss"]
        before = np.array(training_backend.to_numpy(twin.params["fc1.bias"]))
        with training_backend.scope():
            twin.params["fc1.bias"] += 1.0
        np.testing.assert_array_equal(training_backend.to_numpy(network.params["fc1.bias"]), before)
        assert twin.predict(X).shape == (90,)


def test_a_bare_layer_is_a_model_too(tmp_path):
    network = fit(Dense(4, 3), (X, Y), epochs=1, backend="numpy")
    network.save(tmp_path / "model.safetensors")
    assert load(tmp_path).model == Dense(4, 3)


# -- unusual but right input ------------------------------------------------------------------

ODD_ARRAYS = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "reversed": lambda a: a[::-1].copy()[::-1],
    "Fortran order": np.asfortranarray,
    "every other column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "read-only": lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
}


@pytest.mark.parametrize("name", ODD_ARRAYS)
def test_arrays_of_any_layout_are_taken(training_backend, name):
    change = ODD_ARRAYS[name]
    options = {"epochs": 1, "backend": training_backend}
    expected = fit(mlp(4, 3), (X, Y), **options)
    network = fit(mlp(4, 3), (change(X), change(Y)), **options)
    assert network.history["train_loss"] == expected.history["train_loss"]
    np.testing.assert_array_equal(network.predict(change(X)), expected.predict(X))


@pytest.mark.parametrize("dtype", ["float16", "float32", "longdouble", "int8", "uint16", "bool"])
def test_arrays_of_any_real_dtype_are_taken(training_backend, dtype):
    x = (X > 0).astype(dtype)
    options = {"epochs": 1, "backend": training_backend}
    expected = fit(mlp(4, 3), (x.astype(float), Y), **options)
    network = fit(mlp(4, 3), (x, Y), **options)
    assert network.history["train_loss"] == expected.history["train_loss"]
    np.testing.assert_array_equal(network.predict(x), expected.predict(x.astype(float)))


def test_bfloat16_of_torch_is_taken():
    torch = pytest.importorskip("torch")
    x = torch.tensor(X).to(torch.bfloat16)
    network = fit(mlp(4, 3), (x, Y), epochs=1, backend="numpy")
    expected = fit(mlp(4, 3), (x.to(torch.float32), Y), epochs=1, backend="numpy")
    assert network.history["train_loss"] == expected.history["train_loss"]


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_bfloat16_of_jax_is_taken(backend):
    jax, _ = pytest.importorskip("jax"), pytest.importorskip(backend)
    x = jax.numpy.asarray(X).astype(jax.numpy.bfloat16)
    expected = fit(mlp(4, 3), (np.asarray(x, dtype=np.float32), Y), epochs=1, backend=backend)
    for taken in (x, np.asarray(x)):  # the latter of a dtype that NumPy does not have by itself
        network = fit(mlp(4, 3), (taken, Y), epochs=1, backend=backend)
        assert network.history["train_loss"] == expected.history["train_loss"]
        assert network.predict(taken).shape == (90,)


def test_a_view_of_a_tensor_with_its_signs_to_be_changed_is_taken():
    torch = pytest.importorskip("torch")
    x = torch._neg_view(torch.tensor(X))
    network = fit(mlp(4, 3), (x, Y), epochs=1, backend="numpy")
    expected = fit(mlp(4, 3), (-X, Y), epochs=1, backend="numpy")
    assert network.history["train_loss"] == expected.history["train_loss"]


def test_tensors_that_want_gradients_are_taken():
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, requires_grad=True)
    network = fit(mlp(4, 3), (x, torch.tensor(Y)), epochs=1)
    assert network.predict(x).shape == (90,)
    assert not network.params["fc1.weight"].requires_grad


def test_numpy_integers_are_sizes():
    network = fit(
        Sequential(fc=Dense(np.int64(4), np.int32(3))), (X, Y), epochs=np.int64(1),
        batch_size=np.int16(7), backend="numpy",
    )  # fmt: skip
    assert network.model == Sequential(fc=Dense(4, 3))


# -- wrong input ------------------------------------------------------------------------------

X, Y = blobs()
BAD_NUMBERS = X.copy()
BAD_NUMBERS[3, 1] = np.nan


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:-1], "90 inputs need labels of shape"),
        (X[:, :3], Y, r"takes samples of shape \(4,\), got \(3,\)"),
        (X[:, 0], Y, "inputs need a first axis for the samples"),
        (BAD_NUMBERS, Y, "there are NaN, infinite or too large values"),
        (X * 1e300, Y, "must be finite in float32"),
        (X, np.where(np.eye(3)[Y] > 0, np.nan, 0), "one-hot rows must be finite"),
        (X, np.where(np.arange(90)[:, None] < 88, 1, -1) * np.eye(3)[Y], "but row 88 has -1 "),
        (X, 2 * np.eye(3, dtype=np.int8)[Y] - 1, "one-hot rows have a 1 .*, but row 0 has -1 "),
        (X, np.where(Y == 2, 2**32 + 2, Y), "found labels from 0 to 4294967298"),
        (X, Y.astype(np.uint64) * np.uint64(2**63), "labels must be from 0 to 2"),
        (X * np.inf, Y, "there are NaN, infinite or too large values"),
        (X, Y + 1, "labels must be from 0 to 2; found labels from 1 to 3"),
        (X, Y - 1, "labels must be from 0 to 2; found labels from -1 to 1"),
        (X, Y.astype(float), "labels must be integers from 0"),
        (X, np.eye(4)[Y], "one-hot rows have 4 columns, the network 3 outputs"),
        (X, Y[:, None, None], "need labels of shape"),
        (X.astype(str), Y, "expected an array of real numbers, got one of dtype <U"),
        (X.astype(str).astype(object), Y, "expected an array of real numbers, got .* dtype object"),
        (X.astype(complex), Y, "expected an array of real numbers, got one of dtype complex"),
        ([[1.0, 2.0], [3.0]], [0, 1], "expected an array or nested lists of numbers"),
        (X[:0], Y[:0], "there are no samples"),
    ],
)
def test_fit_refuses_data(x, y, message):
    with pytest.raises(DataError, match=f"training set: .*{message}|{message}"):
        fit(mlp(4, 3), (x, y), backend="numpy", epochs=1)
    with pytest.raises(DataError, match=f"test set: .*{message}|{message}"):
        fit(mlp(4, 3), (X, Y), test=(x, y), backend="numpy", epochs=1)


def test_train_and_test_pixels_must_be_alike():
    pixels = np.zeros((90, 4), dtype=np.uint8)
    with pytest.raises(DataError, match="dtype float64, the test set uint8"):
        fit(mlp(4, 3), (X, Y), test=(pixels, Y), backend="numpy")
    with pytest.raises(DataError, match="dtype uint8, the test set float64"):
        fit(mlp(4, 3), (pixels, Y), test=(X, Y), backend="numpy")


def test_a_wrong_number_of_pixels_behind_flatten_is_refused():
    model = Sequential(flat=Flatten(), fc=Dense(5, 3))
    with pytest.raises(DataError, match="Dense\\(5, 3\\) takes samples of shape"):
        fit(model, (X.reshape(90, 2, 2), Y), backend="numpy")


@pytest.mark.parametrize("data", [X, None, (X,), (X, Y, Y), "mnist"])
def test_fit_refuses_what_is_no_pair(data):
    with pytest.raises(DataError, match=r"must be a pair \(x, y\) or a Dataset"):
        fit(mlp(4, 3), data, backend="numpy")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be a positive integer, got 0"),
        ({"epochs": 1.5}, ValueError, "epochs must be a positive integer, got 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer, got 0"),
        ({"batch_size": True}, ValueError, "batch_size must be a positive integer"),
        ({"seed": -1}, ValueError, "seed must be non-negative"),
        ({"seed": None}, TypeError, "seed must be a non-negative integer"),
        ({"backend": "numpi"}, ValueError, "backend must be 'auto' or one of"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of"),
        ({"device": 1}, ValueError, "device must be a name such as"),
        ({"device": ""}, ValueError, "device must be a name such as"),
        ({"optimizer": "sgd"}, TypeError, "optimizer must be one such as SGD"),
        ({"optimizer": SGD}, TypeError, "optimizer must be one such as SGD"),
        (
            {"optimizer": SGD(1e-60)},
            ValueError,
            "SGD: learning_rate must be 1.18e-38 or more in float32",
        ),
        ({"loss": "ce"}, TypeError, "loss must be a function"),
        ({"callbacks": Callback()}, TypeError, "callbacks must be a list"),
        ({"callbacks": [print]}, TypeError, "callbacks must be instances of Callback"),
    ],
)
def test_fit_refuses_options(options, error, message):
    with pytest.raises(error, match=message):
        fit(mlp(4, 3), (X, Y), **{"backend": "numpy", **options})


def test_fit_refuses_what_is_no_model():
    with pytest.raises(TypeError, match="model must be a layer"):
        fit([Dense(4, 3)], (X, Y))


@pytest.mark.parametrize("learning_rate", [0, -1, float("nan"), float("inf")])
def test_sgd_refuses_learning_rates(learning_rate):
    with pytest.raises(ValueError, match="learning_rate must be positive and finite"):
        SGD(learning_rate)


def test_a_loss_that_is_not_finite_stops_the_training():
    seen = []

    class Watch(Callback):
        def on_epoch(self, network, record):
            seen.append(record.epoch)

        def on_end(self, network):
            seen.append("end")

    message = r"in epoch 1 \(steps 1 to 3\) with learning rate 1e\+30"
    with pytest.raises(TrainingDiverged, match=message):
        fit(
            mlp(4, 8, 3), (X, Y), batch_size=40, optimizer=SGD(1e30), backend="numpy",
            callbacks=[Watch()],
        )  # fmt: skip
    assert seen == ["end"]


@pytest.mark.parametrize("rate", [10.0**k for k in range(1, 8)])
def test_weights_that_are_no_numbers_never_pass_for_trained(rate):
    """A NaN must come through every layer to the loss, and not be cut off by a ReLU."""
    model = mlp(4, *[16] * 5, 3)
    try:
        network = fit(model, (X, Y), epochs=2, optimizer=SGD(rate), seed=1, backend="numpy")
    except TrainingDiverged:
        return
    assert all(np.isfinite(value).all() for value in network.params.values())


def test_a_test_loss_that_is_not_finite_loses_no_network(tmp_path):
    network = fit(mlp(4, 8, 3), (X, Y), test=(X / abs(X) * 3e38, Y), epochs=1, backend="numpy")
    assert not np.isfinite(network.history[0].test_loss)
    network.save(tmp_path / "model.safetensors")
    assert load(tmp_path).history[0].test_loss is None


def test_callbacks_are_told_everything():
    calls = []

    class Watch(Callback):
        def on_start(self, network, *, epochs, steps):
            calls.append(("start", epochs, steps, len(network.history)))

        def on_step(self, state, count):
            calls.append("step")

        def on_epoch(self, network, record):
            calls.append(("epoch", record.epoch, network.history[-1] is record))

        def on_end(self, network):
            calls.append(("end", len(network.history)))

    fit(mlp(4, 3), (X, Y), epochs=2, batch_size=50, backend="numpy", callbacks=[Watch()])
    assert calls == [
        ("start", 2, 2, 0), "step", "step", ("epoch", 1, True), "step", "step", ("epoch", 2, True),
        ("end", 2),
    ]  # fmt: skip


def test_every_callback_that_was_started_is_ended():
    calls = []

    class Watch(Callback):
        def __init__(self, name, fails=""):
            self.name, self.fails = name, fails

        def on_start(self, network, *, epochs, steps):
            calls.append(f"start {self.name}")
            if self.fails == "start":
                raise RuntimeError("start")

        def on_end(self, network):
            calls.append(f"end {self.name}")
            if self.fails == "end":
                raise RuntimeError("end")

    watches = [Watch("a"), Watch("b", "start"), Watch("c")]
    with pytest.raises(RuntimeError, match="start"):
        fit(mlp(4, 3), (X, Y), epochs=1, backend="numpy", callbacks=watches)
    assert calls == ["start a", "start b", "end b", "end a"]
    calls.clear()
    watches = [Watch("a"), Watch("b", "end")]
    with pytest.raises(RuntimeError, match="end"):
        fit(mlp(4, 3), (X, Y), epochs=1, backend="numpy", callbacks=watches)
    assert calls == ["start a", "start b", "end b", "end a"]


def test_callbacks_end_when_the_training_is_interrupted():
    ended = []

    class Interrupt(Callback):
        def on_step(self, state, count):
            raise KeyboardInterrupt

        def on_end(self, network):
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        fit(mlp(4, 3), (X, Y), backend="numpy", callbacks=[Interrupt()])
    assert ended == [True]


def test_history():
    network = fit(mlp(4, 3), (X, Y), epochs=3, backend="numpy")
    history = network.history
    assert len(history) == 3
    assert history["epoch"] == [1, 2, 3]
    assert history["test_loss"] == [None, None, None]
    assert history[-1].learning_rate == 0.1
    assert [record.epoch for record in history[1:]] == [2, 3]
    assert len(str(history).splitlines()) == 3
    with pytest.raises(KeyError, match="a history has epoch, train_loss"):
        history["loss"]


@pytest.mark.gpu
def test_peak_memory_of_the_gpu():
    require("cupy")
    network = fit(MODEL, DIGITS, backend="cupy", **OPTIONS)
    assert network.backend.peak_memory() > 0
