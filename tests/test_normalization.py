"""Batch norm and layer norm, and the buffers of a network in all that happens to it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from conftest import require

import xpnet
from xpnet import (
    SGD,
    Adam,
    BatchNorm,
    CheckpointError,
    Dense,
    Flatten,
    Layer,
    LayerNorm,
    MaxPool2D,
    Reshape,
    Sequential,
    Tanh,
    fit,
    mlp,
)
from xpnet.backends import open_backend
from xpnet.backends.cupy.graph import GraphRunner, GraphUse
from xpnet.distributed import threads
from xpnet.layers import EVALUATION, Context
from xpnet.layers.frozen import freeze_layers
from xpnet.losses import softmax_cross_entropy
from xpnet.parity import compare_backends
from xpnet.random import derive, permutation, stream
from xpnet.training.step import initial_state, make_step

pytestmark = pytest.mark.numerics

TRAINING = Context(training=True)
DIGITS = xpnet.load_dataset("digits").limited(300)
MODEL = Sequential(fc1=Dense(64, 16, bias=False), bn1=BatchNorm(16), act1=Tanh(), fc2=Dense(16, 10))
OPTIONS = {"epochs": 3, "batch_size": 64, "optimizer": SGD(0.2), "seed": 5}


class OtherSGD(SGD):
    """Takes the way of optimizers that want to see the gradients."""

    def update(self, *arguments):
        return super().update(*arguments)


def trained(backend="numpy", model=MODEL, **options):
    return xpnet.fit(model, DIGITS, backend=backend, dtype="float64", **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def reference():
    return trained()


def host(network):
    return {name: network.backend.to_numpy(value) for name, value in network.arrays.items()}


# -- the layers against torch -----------------------------------------------------------------


def test_batch_norm_equals_torch_in_training_and_evaluation():
    """Several batches, of different sizes: outputs, gradients, running statistics."""
    torch = pytest.importorskip("torch")
    layer = BatchNorm(5, momentum=0.3, epsilon=1e-3)
    theirs = torch.nn.BatchNorm1d(5, eps=1e-3, momentum=0.3).double()
    params = {name: stream(0, name).normal(size=5) for name in ("scale", "bias")}
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(params["scale"]))
        theirs.bias.copy_(torch.tensor(params["bias"]))
    buffers = layer.buffers()
    for i, count in enumerate((7, 2, 31)):
        x = 3 + 2 * stream(0, "x", i).normal(size=(count, 5))
        dy = stream(0, "dy", i).normal(size=x.shape)
        for training in (True, False):
            theirs.train(training)
            theirs.zero_grad()
            leaf = torch.tensor(x, requires_grad=True)
            expected = theirs(leaf)
            expected.backward(torch.tensor(dy))
            ctx = Context(training=training)
            y, cache = layer.forward(np, {**params, **buffers}, x, ctx)
            dx, grads = layer.backward(np, params, cache, dy)
            if training:
                buffers = layer.update_buffers(np, buffers, cache)
            close = {"rtol": 1e-11, "atol": 1e-13}
            np.testing.assert_allclose(y, expected.detach().numpy(), **close)
            np.testing.assert_allclose(dx, leaf.grad.numpy(), **close)
            np.testing.assert_allclose(grads["scale"], theirs.weight.grad.numpy(), **close)
            np.testing.assert_allclose(grads["bias"], theirs.bias.grad.numpy(), **close)
            np.testing.assert_allclose(buffers["mean"], theirs.running_mean.numpy(), **close)
            np.testing.assert_allclose(buffers["variance"], theirs.running_var.numpy(), **close)


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 3)], ids=["sequences", "pictures"])
def test_batch_norm_of_more_axes_equals_torch(shape):
    """Of all elements of a channel: also the unbiased variance, and a batch of one picture."""
    torch = pytest.importorskip("torch")
    layer = BatchNorm(3, momentum=0.3, epsilon=1e-3)
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    theirs = kind(3, eps=1e-3, momentum=0.3).double()
    params = {name: stream(0, name).normal(size=3) for name in ("scale", "bias")}
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(params["scale"]))
        theirs.bias.copy_(torch.tensor(params["bias"]))
    buffers = layer.buffers()
    for i, count in enumerate((6, 1, 4)):
        x = 3 + 2 * stream(0, "x", i).normal(size=(count, *shape))
        dy = stream(0, "dy", i).normal(size=x.shape)
        for training in (True, False):
            theirs.train(training)
            theirs.zero_grad()
            leaf = torch.tensor(x, requires_grad=True)
            expected = theirs(leaf.movedim(-1, 1)).movedim(1, -1)
            expected.backward(torch.tensor(dy))
            y, cache = layer.forward(np, {**params, **buffers}, x, Context(training=training))
            dx, grads = layer.backward(np, params, cache, dy)
            if training:
                buffers = layer.update_buffers(np, buffers, cache)
            for found, wanted in (
                (y, expected.detach()), (dx, leaf.grad), (grads["scale"], theirs.weight.grad),
                (grads["bias"], theirs.bias.grad), (buffers["mean"], theirs.running_mean),
                (buffers["variance"], theirs.running_var),
            ):  # fmt: skip
                np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("layer", [BatchNorm(3), LayerNorm(3)], ids=repr)
def test_pixels_are_rows(backend, layer):
    """A picture is what its pixels are as samples: to the bit, on every library."""
    x, dy = stream(0, "x").normal(size=(2, 4, 2, 5, 3))
    arrays = {n: backend.asarray(v) for n, v in {**layer.init(0), **layer.buffers()}.items()}
    found = []
    for shape in (x.shape, (-1, 3)):
        here, up = (backend.asarray(v.reshape(shape)) for v in (x, dy))
        y, cache = layer.forward(backend.xp, arrays, here, TRAINING)
        dx, grads = layer.backward(backend.xp, arrays, cache, up)
        found.append([backend.to_numpy(v).reshape(-1) for v in (y, dx, *grads.values())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layer_norm_of_pictures_equals_torch():
    torch = pytest.importorskip("torch")
    layer, theirs = LayerNorm(6, epsilon=1e-3), torch.nn.LayerNorm(6, eps=1e-3).double()
    x, dy = stream(0, "x").normal(size=(2, 4, 3, 5, 6))
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf)
    expected.backward(torch.tensor(dy))
    params = layer.init(0)
    y, cache = layer.forward(np, params, x, TRAINING)
    dx, grads = layer.backward(np, params, cache, dy)
    for actual, wanted in (
        (y, expected.detach()), (dx, leaf.grad), (grads["scale"], theirs.weight.grad),
        (grads["bias"], theirs.bias.grad),
    ):  # fmt: skip
        np.testing.assert_allclose(actual, wanted.numpy(), rtol=1e-11, atol=1e-13)


def test_layer_norm_equals_torch():
    torch = pytest.importorskip("torch")
    layer, theirs = LayerNorm(6, epsilon=1e-3), torch.nn.LayerNorm(6, eps=1e-3).double()
    params = {name: stream(0, name).normal(size=6) for name in ("scale", "bias")}
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(params["scale"]))
        theirs.bias.copy_(torch.tensor(params["bias"]))
    x, dy = 3 + stream(0, "x").normal(size=(4, 6)), stream(0, "dy").normal(size=(4, 6))
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf)
    expected.backward(torch.tensor(dy))
    y, cache = layer.forward(np, params, x, TRAINING)
    dx, grads = layer.backward(np, params, cache, dy)
    for actual, wanted in (
        (y, expected.detach()),
        (dx, leaf.grad),
        (grads["scale"], theirs.weight.grad),
        (grads["bias"], theirs.bias.grad),
    ):
        np.testing.assert_allclose(actual, wanted.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("layer", [BatchNorm(3), LayerNorm(3)])
def test_equal_numbers_have_no_variance_and_no_trouble(backend, layer):
    x = backend.asarray(np.full((4, 3), 7.0))
    params = {n: backend.asarray(v) for n, v in {**layer.init(0), **layer.buffers()}.items()}
    y, cache = layer.forward(backend.xp, params, x, TRAINING)
    dx, _ = layer.backward(backend.xp, params, cache, x)
    assert not backend.to_numpy(y).any()
    assert np.isfinite(backend.to_numpy(dx)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNorm(0), "BatchNorm: n_features must be a positive integer, got 0"),
        (lambda: BatchNorm(3, momentum=0), "momentum must be positive and finite, got 0"),
        (lambda: BatchNorm(3, momentum=1.5), "BatchNorm: momentum must be at most 1, got 1.5"),
        (lambda: BatchNorm(3, epsilon=0), "BatchNorm: epsilon must be positive and finite"),
        (lambda: LayerNorm(2.0), "LayerNorm: n_features must be a positive integer"),
        (lambda: LayerNorm(3, epsilon="1"), "LayerNorm: epsilon must be positive and finite"),
        (lambda: Sequential(fc=Dense(3, 4), bn=BatchNorm(3)), r"bn: BatchNorm\(3\) takes samples"),
        (lambda: Sequential(fc=Dense(3, 4), ln=LayerNorm(3)), r"ln: LayerNorm\(3\) takes samples"),
        (
            lambda: BatchNorm(3).output_shape((3, 28, 28)),
            r"BatchNorm\(3\) takes samples of shape \(3,\), or of more axes of which the last has "
            r"3, but is given shape \(3, 28, 28\)",
        ),
        (lambda: LayerNorm(3).output_shape(()), r"LayerNorm\(3\) takes samples of shape"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_batch_of_one_is_refused():
    layer = BatchNorm(3)
    params, x = {**layer.init(0), **layer.buffers()}, np.ones((1, 3))
    with pytest.raises(ValueError, match="a batch of one sample has no variance"):
        layer.forward(np, params, x, TRAINING)
    y, _ = layer.forward(np, params, x, EVALUATION)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5))


@pytest.mark.parametrize("batch_size", [1, 23, 299])
def test_a_training_with_a_batch_of_one_is_refused_before_its_first_step(batch_size):
    """torch says so in the last step of the first epoch."""
    with pytest.raises(ValueError, match=f"batch_size {batch_size} leaves 1 of 300 samples"):
        trained(batch_size=batch_size, callbacks=[NoStep()])
    trained(model=mlp(64, 8, 10), batch_size=batch_size, epochs=1)


class NoStep(xpnet.Callback):
    def on_step(self, state, count):
        raise AssertionError("a step was taken")


# -- samples of weight 0 --------------------------------------------------------------------------

WEIGHTS = np.where(stream(0, "there").uniform(size=300) < 0.3, 0.0, 1.0)


def test_samples_that_are_not_there_are_in_no_statistic(backend):
    """Against torch: statistics of the others, gradients of all, and the running statistics."""
    torch = pytest.importorskip("torch")
    layer, rng = BatchNorm(4), stream(0, "masked")
    x, dy = rng.normal(size=(2, 9, 4))
    there = np.array([1, 0, 1, 1, 0, 0, 1, 1, 0]) == 1
    given = layer.init(0) | layer.buffers()
    given["scale"], given["bias"] = rng.normal(size=(2, 4))
    with torch.enable_grad():  # a backend's scope is without
        tx, scale, bias = (
            torch.tensor(v, requires_grad=True) for v in (x, given["scale"], given["bias"])
        )
        norm = torch.nn.BatchNorm1d(4).double()
        norm(tx[there])
        mean, variance = tx[there].mean(0), tx[there].var(0, unbiased=False)
        ty = (tx - mean) / torch.sqrt(variance + norm.eps) * scale + bias
        ty.backward(torch.tensor(dy))

    arrays = {name: backend.asarray(value) for name, value in given.items()}
    present = backend.asarray(there.astype(np.float64))
    ctx = Context(training=True, present=present).inside("bn")
    y, cache = layer.forward(backend.xp, arrays, backend.asarray(x), ctx)
    dx, grads = layer.backward(backend.xp, arrays, cache, backend.asarray(dy))
    buffers = {name: arrays[name] for name in layer.buffers()}
    moved = layer.update_buffers(backend.xp, buffers, cache)
    for found, expected in (
        (y, ty.detach()), (dx, tx.grad), (grads["scale"], scale.grad), (grads["bias"], bias.grad),
        (moved["mean"], norm.running_mean), (moved["variance"], norm.running_var),
    ):  # fmt: skip
        np.testing.assert_allclose(
            backend.to_numpy(found), expected.numpy(), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("optimizer", [SGD(0.2), Adam(0.02)], ids=str)
def test_a_training_with_weights_of_0_is_that_of_the_others(training_backend, optimizer):
    """All samples in one batch, whose loss is divided by their number: of the others, so much."""
    options = {
        "batch_size": 300, "epochs": 4, "dtype": "float64", "backend": training_backend,
        "optimizer": optimizer,
    }  # fmt: skip
    x, y = DIGITS.train.images.reshape(300, 64) / 16, DIGITS.train.labels.astype(np.int64)
    there = WEIGHTS > 0
    network = fit(MODEL, (x, y), sample_weight=WEIGHTS, **options)
    less = np.full(there.sum(), there.mean())
    expected = fit(MODEL, (x[there], y[there]), sample_weight=less, **options)
    for name, value in host(expected).items():
        np.testing.assert_allclose(host(network)[name], value, rtol=1e-7, atol=1e-10, err_msg=name)
    # What is in the samples that are not there is of no interest, nor whether it has a square.
    for size in (7.0, 1e200):
        x[~there] = size
        again = host(fit(MODEL, (x, y), sample_weight=WEIGHTS, **options))
        for name, value in host(expected).items():
            np.testing.assert_allclose(again[name], value, rtol=1e-7, atol=1e-10, err_msg=name)


def test_pictures_that_are_not_there_are_in_no_statistic(backend):
    """As the pixels of the others alone."""
    layer, rng = BatchNorm(3), stream(0, "masked")
    x, dy = rng.normal(size=(2, 6, 2, 4, 3))
    there = np.array([1, 0, 1, 1, 0, 0]) == 1
    x[1] = 1e200  # whose square there is none of
    arrays = {n: backend.asarray(v) for n, v in (layer.init(0) | layer.buffers()).items()}
    buffers = {name: arrays[name] for name in layer.buffers()}
    found = []
    for rows, present in ((slice(None), backend.asarray(there.astype(np.float64))), (there, None)):
        here = backend.asarray(x[rows])
        y, cache = layer.forward(backend.xp, arrays, here, Context(training=True, present=present))
        up = backend.asarray(np.where(there[:, None, None, None], dy, 0)[rows])
        dx, grads = layer.backward(backend.xp, arrays, cache, up)
        moved = layer.update_buffers(backend.xp, buffers, cache)
        kept = there if present is not None else slice(None)
        found.append(
            [backend.to_numpy(y)[kept], backend.to_numpy(dx)[kept]]
            + [backend.to_numpy(v) for v in (grads["bias"], *moved.values())]
        )
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def test_a_batch_of_one_picture_has_a_variance():
    x, y = DIGITS.train.images[:9, :, :, None] / 16, DIGITS.train.labels[:9]
    model = Sequential(bn=BatchNorm(1), flat=Flatten((8, 8, 1)), fc=Dense(64, 10))
    network = fit(model, (x, y), batch_size=4, epochs=1, backend="numpy")
    assert network.buffers["bn.mean"].any()
    with pytest.raises(ValueError, match="the model needs 2 or more"):
        fit(MODEL, (x, y), batch_size=4, epochs=1, backend="numpy")


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_ranks_that_train_on_pictures_are_one_process(n_ranks):
    model = Sequential(
        picture=Reshape((8, 8, 1)), bn1=BatchNorm(1), pool=MaxPool2D(2), ln=LayerNorm(1),
        bn2=BatchNorm(1), flat=Flatten(), fc=Dense(16, 10),
    )  # fmt: skip
    alone = trained(model=model, epochs=2)
    ranks = threads(n_ranks, timeout=30)
    network, *_ = ranks.run(lambda group: trained(model=model, epochs=2, group=group))
    for name, value in host(alone).items():
        np.testing.assert_allclose(host(network)[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("n_there", [0, 1])
def test_fewer_than_two_samples_move_no_statistics(backend, n_there):
    layer = BatchNorm(4)
    arrays = {n: backend.asarray(v) for n, v in (layer.init(0) | layer.buffers()).items()}
    x = backend.asarray(stream(0, "x").normal(size=(5, 4)))
    present = backend.asarray((np.arange(5) < n_there).astype(np.float64))
    y, cache = layer.forward(backend.xp, arrays, x, Context(training=True, present=present))
    buffers = {name: arrays[name] for name in layer.buffers()}
    for name, value in layer.update_buffers(backend.xp, buffers, cache).items():
        np.testing.assert_array_equal(backend.to_numpy(value), layer.buffers()[name])
    assert np.isfinite(backend.to_numpy(y)).all()
    assert not backend.to_numpy(y)[:n_there].any()  # what is its own mean is nothing but the bias


def test_an_estimator_with_weights_of_0_is_that_of_the_others():
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPClassifier

    x, y = DIGITS.train.images.reshape(300, 64) / 16, DIGITS.train.labels.astype(np.int64)
    there = WEIGHTS > 0
    options = {
        "batch_norm": True,
        "max_iter": 5,
        "batch_size": 300,
        "random_state": 0,
        "alpha": 0.1,
    }
    estimators = [
        MLPClassifier((8,), dtype="float64", **{**options, "batch_size": len(part)})
        for part in (x, x[there])
    ]
    with pytest.warns(UserWarning, match="Maximum iterations"):
        estimators[0].fit(x, y, sample_weight=WEIGHTS)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        estimators[1].fit(x[there], y[there])
    for found, expected in zip(*(e.coefs_ for e in estimators), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-10)
    for name in ("mean", "variance"):
        found, expected = (e.batch_norm_[0][name] for e in estimators)
        np.testing.assert_allclose(found, expected, rtol=1e-7)


# -- a whole training -------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD(0.2), OtherSGD(0.2)], ids=["plain", "gradients"])
def test_a_run_equals_a_loop_written_in_torch(optimizer):
    """Weights, running statistics, and the network in evaluation, after the same batches."""
    torch = pytest.importorskip("torch")
    network = trained(optimizer=optimizer)
    start = MODEL.init(derive(5, "initialization"))
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 16, bias=False), torch.nn.BatchNorm1d(16), torch.nn.Tanh(),
        torch.nn.Linear(16, 10),
    ).double()  # fmt: skip
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(start["fc1.weight"]).T)
        net[3].weight.copy_(torch.tensor(start["fc2.weight"]).T)
        net[3].bias.zero_()
    x = torch.tensor(DIGITS.train.images.reshape(-1, 64) / 16)
    y = torch.tensor(DIGITS.train.labels.astype(np.int64))
    descent = torch.optim.SGD(net.parameters(), lr=0.2)
    criterion, losses = torch.nn.CrossEntropyLoss(), []
    for epoch in (1, 2, 3):
        net.train()
        for rows in torch.split(torch.tensor(permutation(5, epoch, 300)), 64):
            descent.zero_grad()
            criterion(net(x[rows]), y[rows]).backward()
            descent.step()
        net.eval()
        losses.append(criterion(net(x), y).item())
    np.testing.assert_allclose(network.history["train_loss"], losses, rtol=1e-10)
    expected = {
        "bn1.scale": net[1].weight, "bn1.bias": net[1].bias,
        "bn1.mean": net[1].running_mean, "bn1.variance": net[1].running_var,
        "fc1.weight": net[0].weight.T,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(
            network.arrays[name], value.detach().numpy(), rtol=1e-8, atol=1e-12
        )
    probabilities = torch.softmax(net(x), dim=1).detach().numpy()
    found = network.predict_proba(DIGITS.train.images)
    np.testing.assert_allclose(found, probabilities, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("batch_size", [64, 30], ids=["smaller last batch", "all alike"])
def test_every_backend_gives_the_same_run(training_backend, batch_size):
    """Compiled, and in JAX's loop of steps."""
    expected = host(trained(batch_size=batch_size))
    network = trained(training_backend, batch_size=batch_size)
    assert set(network.buffers) == {"bn1.mean", "bn1.variance"}
    for name, value in host(network).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
    on_host = trained(batch_size=batch_size)
    np.testing.assert_allclose(
        network.history["test_loss"], on_host.history["test_loss"], rtol=1e-9
    )


def test_single_steps_and_groups_of_them_are_the_same():
    require("jax")
    alone = trained("jax", callbacks=[EveryStep()])
    for name, value in host(trained("jax")).items():
        np.testing.assert_allclose(value, host(alone)[name], rtol=1e-12, atol=1e-14)


class EveryStep(xpnet.Callback):
    def on_step(self, state, count):
        assert count == 1


def test_float32_stays_float32(training_backend):
    backend = type(training_backend)(
        type(training_backend).device_of(training_backend.asarray(1.0)), "float32"
    )
    network = xpnet.fit(MODEL, DIGITS, backend=backend, **{**OPTIONS, "epochs": 1})
    assert all(value.dtype == backend.dtype for value in network.arrays.values())


def test_parity_of_a_network_with_batch_norm():
    require("array_api_strict")
    model = mlp(64, 12, 10, batch_norm=True, dropout=0.2)
    report = compare_backends(model, DIGITS, ["numpy", "array_api_strict"], epochs=2)
    assert report.holds, report


def test_the_state_has_buffers_and_a_step_replaces_them(training_backend):
    backend = training_backend
    with backend.scope():
        state = initial_state(backend, MODEL, SGD(0.1), 0)
        keys = list(state)
        x = backend.asarray(stream(0, "x").normal(size=(8, 64)) + 3)
        y = backend.asarray(np.arange(8), dtype=backend.index_dtype)
        step = make_step(backend, MODEL, softmax_cross_entropy, SGD(0.1))
        before = backend.to_numpy(state["buffer/bn1.mean"]).copy()
        state = step(state, x, y, y)
        after = backend.to_numpy(state["buffer/bn1.mean"])
    assert sorted(state) == sorted(keys)
    assert {"buffer/bn1.mean", "buffer/bn1.variance"} < set(keys)
    assert not before.any()
    assert after.any()


def test_the_state_of_a_network_without_buffers_has_none():
    backend = open_backend("numpy")
    state = initial_state(backend, mlp(3, 2), SGD(0.1), 0)
    assert not [key for key in state if key.startswith("buffer/")]


@pytest.mark.parametrize("frozen", [(), ("fc1", "bn1")], ids=["", "frozen"])
def test_recorded_groups_keep_the_buffers_where_they_are(frozen):
    """The logic of CUDA graphs with a step that makes new buffers, on a pretended device."""
    from test_cuda_graph import Device

    backend, device = open_backend("numpy", None, "float64"), Device()
    rows = np.arange(12).reshape(3, 4)
    x, y = stream(0, "x").normal(size=(12, 64)), np.arange(12) % 10
    model = freeze_layers(MODEL, frozen)
    step = make_step(backend, model, softmax_cross_entropy, SGD(0.1))
    expected = initial_state(backend, model, SGD(0.1), 0)
    state = initial_state(backend, model, SGD(0.1), 0)
    run = GraphRunner(step, lambda: device)
    places = {name: id(value) for name, value in state.items()}
    for _ in range(2):  # as often as a group is run step by step before it is recorded
        state = run(state, x, y, rows)
        for group in rows:
            expected = step(expected, x, y, group)
    assert run.use == GraphUse()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)
        assert id(state[name]) == places[name], name


@pytest.mark.gpu
def test_recorded_training_equals_eager_bit_for_bit():
    require("cupy")
    runs = []
    for capture in (True, False):
        backend = open_backend("cupy", None, "float32")
        backend.capture = capture
        network = xpnet.fit(MODEL, DIGITS, backend=backend, **OPTIONS)
        assert (backend.graphs.launches > 0) == capture, backend.graphs
        runs.append({name: value.tobytes() for name, value in host(network).items()})
    assert runs[0] == runs[1]


# -- the network ------------------------------------------------------------------------------


def test_evaluation_uses_the_running_statistics(reference):
    """One sample alone and in a batch of any others: the same answer."""
    x = DIGITS.test.images
    whole = reference.predict_proba(x)
    np.testing.assert_allclose(reference.predict_proba(x[3:4]), whole[3:4], rtol=1e-12)
    record = reference.history[-1]
    found = reference.evaluate(x, DIGITS.test.labels)
    assert (found.loss, found.accuracy) == (record.test_loss, record.test_accuracy)
    untrained = xpnet.Network(
        MODEL, reference.params, reference.backend, pixel_maximum=reference.pixel_maximum
    )
    assert untrained.buffers["bn1.variance"].tolist() == [1] * 16
    assert untrained.evaluate(x, DIGITS.test.labels).loss != pytest.approx(found.loss, rel=1e-3)


def test_params_are_the_trainable_ones(reference):
    assert set(reference.params) == set(MODEL.parameter_shapes())
    assert set(reference.arrays) == set(reference.params) | set(reference.buffers)


def test_a_network_goes_to_a_file_and_comes_back(training_backend, reference, tmp_path):
    path = tmp_path / "model.safetensors"
    reference.save(path)
    loaded = xpnet.load(path, backend=training_backend)
    assert loaded.model == MODEL
    for name, value in host(loaded).items():
        np.testing.assert_array_equal(value, host(reference)[name])
    with training_backend.scope():
        x = training_backend.asarray(DIGITS.test.images)
        found = training_backend.to_numpy(loaded.predict_proba(x))
    expected = reference.predict_proba(DIGITS.test.images)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_it_predicts_where_the_samples_live(reference):
    torch = pytest.importorskip("torch")
    expected = reference.predict_proba(DIGITS.test.images)
    found = reference.predict_proba(torch.tensor(DIGITS.test.images))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_copy_has_buffers_of_its_own(training_backend):
    network = trained(training_backend, epochs=1)
    twin = network.copy()
    before = np.array(training_backend.to_numpy(network.buffers["bn1.mean"]))
    with training_backend.scope():
        twin.buffers["bn1.mean"] += 1.0
    np.testing.assert_array_equal(training_backend.to_numpy(network.buffers["bn1.mean"]), before)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda buffers: buffers.pop("bn1.mean"), "missing: buffer/bn1.mean"),
        (lambda b: b.update(extra=np.ones(3)), "unexpected: buffer/extra"),
        (lambda b: b.update({"bn1.mean": np.ones(3)}), r"buffer/bn1.mean has shape \(3,\)"),
        (lambda b: b.update({"bn1.mean": np.full(16, np.nan)}), "not finite"),
    ],
)
def test_a_file_whose_buffers_do_not_fit_is_refused(reference, tmp_path, damage, message):
    network = reference.copy()
    damage(network.buffers)
    network.save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        xpnet.load(tmp_path / "model.safetensors")


# -- a layer of one's own ---------------------------------------------------------------------


@dataclass(frozen=True)
class Counter(Layer):
    """Counts the samples that it was trained on, and lets them through."""

    def buffers(self):
        return {"seen": np.zeros(())}

    def update_buffers(self, xp, buffers, cache):
        return {"seen": buffers["seen"] + cache[0].shape[0]}

    def forward(self, xp, params, x, ctx):
        return x * (1 + 0 * params["seen"]), (x,)

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        return dy, {}


def test_buffers_of_ones_own_layer(training_backend):
    model = Sequential(count=Counter(), fc=Dense(64, 10), inner=Sequential(again=Counter()))
    network = trained(training_backend, model=model, epochs=2)
    seen = {name: float(value) for name, value in host(network).items() if "seen" in name}
    assert seen == {"count.seen": 600, "inner.again.seen": 600}


def test_the_layer_alone_is_a_model():
    x, y = stream(0, "x").normal(size=(20, 3)), np.arange(20) % 3
    network = xpnet.fit(BatchNorm(3), (x, y), epochs=2, batch_size=5, backend="numpy")
    assert network.buffers["mean"].any()


def test_replace_keeps_what_was_checked():
    assert replace(BatchNorm(3), momentum=np.float32(0.5)) == BatchNorm(3, momentum=0.5)


@pytest.mark.parametrize("optimizer", [SGD(0.1, ema=0.9), Adam(0.01, ema=0.9)], ids=repr)
def test_averages_are_of_parameters_and_not_of_buffers(training_backend, optimizer):
    """Plain descent gives a layer's buffers back with its parameters."""
    x = stream(0, "x").normal(size=(40, 6))
    y = stream(0, "y").integers(0, 3, 40)
    model = mlp(6, 5, 3, batch_norm=True)
    networks = [
        fit(model, (x, y), epochs=2, batch_size=10, optimizer=optimizer, backend=backend)
        for backend in (training_backend, open_backend("numpy", None, "float64"))
    ]
    assert set(networks[0].params) == set(model.parameter_shapes())
    for name, expected in networks[1].arrays.items():
        found = training_backend.to_numpy(networks[0].arrays[name])
        np.testing.assert_allclose(found, expected, rtol=1e-10)
