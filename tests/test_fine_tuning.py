"""Trainings that begin with a trained network, and layers that are not trained."""

import numpy as np
import pytest

from xpnet import (
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Callback,
    Checkpoint,
    CheckpointError,
    Dataset,
    Dense,
    Dropout,
    EarlyStopping,
    LayerNorm,
    MaxNorm,
    Momentum,
    ReLU,
    Residual,
    Sequential,
    Split,
    Tanh,
    fit,
    initial_state,
    load,
    make_step,
    mlp,
    open_backend,
    read_snapshot,
    softmax_cross_entropy,
)
from xpnet.conformance.examples import LAYER_EXAMPLES
from xpnet.layers.frozen import freeze_layers
from xpnet.losses import binary_cross_entropy, mean_squared_error
from xpnet.random import derive, permutation, stream

N = 70
X = stream(0, "x").normal(size=(N, 6))
Y = (X @ stream(0, "truth").normal(size=(6, 3))).argmax(axis=1)
MODEL = Sequential(
    fc1=Dense(6, 8), bn1=BatchNorm(8), act1=ReLU(), fc2=Dense(8, 7), act2=Tanh(), fc3=Dense(7, 3)
)
OPTIONS = {"epochs": 3, "batch_size": 16, "seed": 4, "dtype": "float64", "optimizer": SGD(0.2)}


def train(model=MODEL, backend="numpy", data=(X, Y), **changes):
    return fit(model, data, backend=backend, **{**OPTIONS, **changes})


@pytest.fixture(scope="module")
def trained():
    return train(epochs=2, seed=9)


def each_way(*names):
    """The same names in whatever is gone through in an order."""
    return [
        (name for name in names),
        dict.fromkeys(names).keys(),
        dict.fromkeys(names),
        set(names),
        map(str, names),
        np.array(names),
    ]


@pytest.mark.parametrize("number", range(6))
def test_names_come_in_any_iterable(trained, number):
    options = {"start": trained, "epochs": 1}
    wanted = train(freeze=("fc1", "bn1"), fresh=["fc3"], **options)
    freeze, fresh = each_way("fc1", "bn1")[number], each_way("fc3")[number]
    network = train(freeze=freeze, fresh=fresh, **options)
    for name, value in arrays(wanted).items():
        np.testing.assert_array_equal(arrays(network)[name], value)


def arrays(network):
    return {name: np.array(network.backend.to_numpy(x)) for name, x in network.arrays.items()}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


# -- against torch --------------------------------------------------------------------------------


def torch_copy(torch, network):
    """The same layers in torch, with the arrays of the network."""
    values = {name: torch.tensor(value.T) for name, value in arrays(network).items()}
    parts = {
        "fc1": torch.nn.Linear(6, 8), "bn1": torch.nn.BatchNorm1d(8), "act1": torch.nn.ReLU(),
        "fc2": torch.nn.Linear(8, 7), "act2": torch.nn.Tanh(), "fc3": torch.nn.Linear(7, 3),
    }  # fmt: skip
    net = torch.nn.Sequential()
    for name, part in parts.items():
        net.add_module(name, part)
    net = net.double()
    state = {
        f"{name}.{there}": values[f"{name}.{here}"]
        for name in parts
        for here, there in (("weight", "weight"), ("bias", "bias"), ("scale", "weight"),
                            ("mean", "running_mean"), ("variance", "running_var"))
        if f"{name}.{here}" in values
    }  # fmt: skip
    net.load_state_dict(state, strict=False)
    return net


def torch_trajectory(torch, network, frozen, kind, clip):
    """Training losses of torch's own loop, in which some layers want no gradients."""
    net = torch_copy(torch, network)
    for name in frozen:
        net.get_submodule(name).requires_grad_(False)
    optimizer = kind([p for p in net.parameters() if p.requires_grad])
    criterion, x, y = torch.nn.CrossEntropyLoss(), torch.tensor(X), torch.tensor(Y)
    losses = []
    for epoch in (1, 2, 3):
        net.train()
        for name in frozen:
            net.get_submodule(name).eval()
        for rows in torch.split(torch.tensor(permutation(4, epoch, N)), 16):
            optimizer.zero_grad()
            criterion(net(x[rows]), y[rows]).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
        net.eval()
        losses.append(criterion(net(x), y).item())
    return losses, net.fc3.weight.detach().numpy().T


FROZEN = [("fc1",), ("fc2",), ("fc1", "bn1"), ("bn1",), ("bn1", "fc3"), ("fc1", "bn1", "fc2")]


@pytest.mark.parametrize("frozen", FROZEN, ids="-".join)
@pytest.mark.parametrize("name", ["sgd", "momentum", "adamw"])
def test_frozen_layers_are_torchs_that_want_no_gradients(trained, frozen, name):
    torch = pytest.importorskip("torch")
    ours, theirs, clip = {
        "sgd": (SGD(0.2), lambda p: torch.optim.SGD(p, 0.2), None),
        "momentum": (Momentum(0.1), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), None),
        "adamw": (
            AdamW(0.01, weight_decay=0.1, decayed="all", clip_norm=0.3),
            lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
            0.3,
        ),
    }[name]
    losses, weight = torch_trajectory(torch, trained, frozen, theirs, clip)
    network = train(start=trained, freeze=frozen, optimizer=ours)
    np.testing.assert_allclose(network.history["train_loss"], losses, rtol=1e-9)
    np.testing.assert_allclose(network.params["fc3.weight"], weight, rtol=1e-8, atol=1e-11)
    before, after = arrays(trained), arrays(network)
    for name, value in after.items():
        stays = name.rpartition(".")[0] in frozen
        assert np.array_equal(value, before[name]) == stays, name


def test_on_every_backend(training_backend, trained):
    """From a network of NumPy, in steps that a backend records or compiles."""
    options = {"start": trained, "freeze": ("fc1", "bn1"), "optimizer": Adam(0.01, ema=0.9)}
    network, expected = train(backend=training_backend, **options), train(**options)
    for name, value in arrays(expected).items():
        np.testing.assert_allclose(arrays(network)[name], value, rtol=1e-9, atol=1e-12)
    for name in ("fc1.weight", "bn1.mean", "bn1.scale"):
        np.testing.assert_array_equal(arrays(network)[name], arrays(trained)[name])
    assert list(network.params) == list(MODEL.parameter_shapes())
    assert list(network.buffers) == ["bn1.mean", "bn1.variance"]


# -- what begins a training -----------------------------------------------------------------------


def test_the_network_is_taken_and_left_alone(training_backend, trained):
    start = train(backend=training_backend, epochs=1)
    before = arrays(start)
    # So small a step that next to nothing changes: what comes out is what went in.
    network = train(start=start, epochs=1, optimizer=SGD(1e-300), freeze=("bn1",))
    for name, value in arrays(network).items():
        np.testing.assert_allclose(value, before[name], rtol=0, atol=1e-290)
    train(start=start, backend=training_backend, epochs=1)
    assert_equal(arrays(start), before)
    assert len(network.history) == len(start.history) == 1


def test_a_training_in_another_dtype(trained):
    network = train(start=trained, dtype="float32", epochs=1, freeze=("fc1", "bn1"))
    weight = network.params["fc1.weight"]
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, trained.params["fc1.weight"].astype(np.float32))
    wide = trained.copy()
    wide.params["fc1.weight"] = wide.params["fc1.weight"] * 1e39
    with pytest.raises(ValueError, match=r"fc1\.weight .* not finite in float32"):
        train(start=wide, dtype="float32")


def test_what_a_seed_draws_is_the_same_beside_a_start(trained):
    """A new layer begins as it would in a training from nothing, and so does what is frozen."""
    model = Sequential(**{**MODEL.layers, "fc3": Dense(7, 5)})
    network = train(model, start=trained, fresh=("fc3",), freeze=["fc1", "fc3"], epochs=1)
    drawn = model.init(derive(4, "initialization"))
    np.testing.assert_array_equal(network.params["fc3.weight"], drawn["fc3.weight"])
    network = train(model, freeze=("fc1",), epochs=1)
    np.testing.assert_array_equal(network.params["fc1.weight"], drawn["fc1.weight"])
    assert (network.params["fc2.weight"] != drawn["fc2.weight"]).any()


def test_a_new_head_of_another_name(trained):
    layers = {name: layer for name, layer in MODEL.layers.items() if name != "fc3"}
    model = Sequential(**layers, head=Dense(7, 3))
    with pytest.raises(ValueError) as info:
        train(model, start=trained)
    for part in (
        "it has no head.weight, head.bias;", "the model has no fc3.weight, fc3.bias.",
        "fresh=('head',)",
    ):  # fmt: skip
        assert part in str(info.value)
    network = train(model, start=trained, fresh=("head",), freeze=("fc1", "bn1", "fc2"))
    np.testing.assert_array_equal(network.params["fc2.bias"], trained.params["fc2.bias"])
    assert network.history[-1].train_loss < network.history[0].train_loss


def test_a_model_without_the_last_layers(trained):
    layers = {name: layer for name, layer in MODEL.layers.items() if name[-1] != "3"}
    model = Sequential(**layers)
    with pytest.raises(ValueError, match=r"the model has no fc3\.weight, fc3\.bias\..*fresh=\(\)"):
        train(model, start=trained)
    network = train(model, start=trained, fresh=(), freeze=("fc1",), epochs=1)
    np.testing.assert_array_equal(network.params["fc1.weight"], trained.params["fc1.weight"])


def test_other_shapes_and_buffers_that_are_missing(trained):
    with pytest.raises(ValueError, match=r"fc2\.weight is 8 x 7 there and 8 x 9 in the model"):
        train(mlp(6, 8, 9, 3, batch_norm=True), start=trained)
    plain = train(mlp(6, 8, 3), epochs=1)
    with pytest.raises(ValueError, match=r"it has no bn1\.scale, bn1\.bias, bn1\.mean, bn1\.var"):
        train(mlp(6, 8, 3, batch_norm=True), start=plain)


def test_pixels_of_another_maximum_stay_those():
    images = stream(0, "pixels").integers(17, size=(40, 2, 3), dtype=np.uint8)
    labels = (images.sum(axis=(1, 2)) > 48).astype(np.int64)
    data = Dataset("small", Split(images, labels), None, 2, 16.0)
    start = fit(mlp(6, 2), data, epochs=1, backend="numpy")
    assert start.pixel_maximum == 16
    again = fit(mlp(6, 2), (images, labels), epochs=1, backend="numpy", start=start)
    assert again.pixel_maximum == 16
    assert fit(mlp(6, 2), (images, labels), epochs=1, backend="numpy").pixel_maximum == 255


# -- what is frozen -------------------------------------------------------------------------------


def test_nothing_is_kept_for_what_is_frozen(tmp_path, trained):
    train(
        start=trained, freeze=("fc1", "bn1"), optimizer=Adam(0.01, ema=0.9),
        callbacks=[Checkpoint(tmp_path)], epochs=1,
    )  # fmt: skip
    names = set(read_snapshot(tmp_path).arrays)
    assert {"param/fc2.weight", "ema/fc2.weight"} <= names
    assert any(name.startswith("opt/") and name.endswith("/fc2.weight") for name in names)
    assert {name for name in names if "fc1" in name or "bn1" in name} == {
        "buffer/fc1.weight", "buffer/fc1.bias", "buffer/bn1.scale", "buffer/bn1.bias",
        "buffer/bn1.mean", "buffer/bn1.variance",
    }  # fmt: skip


class NoBackward(Dense):
    """A layer that must not be asked for gradients."""

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        raise AssertionError("a backward pass")


def test_there_is_no_backward_pass_below_the_lowest_layer_that_is_trained():
    model = Sequential(
        one=NoBackward(6, 8), act=ReLU(), block=Sequential(two=NoBackward(8, 7), norm=LayerNorm(7)),
        around=Residual(NoBackward(7, 7)), fc=Dense(7, 3),
    )  # fmt: skip
    for optimizer in (SGD(0.2), Adam(0.01)):
        network = train(model, freeze=("one", "block", "around"), optimizer=optimizer)
        assert network.history[-1].train_loss < network.history[0].train_loss


@pytest.mark.parametrize("row", LAYER_EXAMPLES, ids=str)
def test_the_input_gradient_is_that_of_backward(row):
    params, x, dy = row.arrays()
    _, cache = row.layer.forward(np, params, x, row.context())
    dx, _ = row.layer.backward(np, params, cache, dy)
    np.testing.assert_array_equal(row.layer.input_gradient(np, params, cache, dy), dx)


def test_a_frozen_layer_in_between_makes_no_gradients_of_its_own(monkeypatch):
    """The products of weights' gradients are not made: two trained layers, one product each."""
    shapes = []

    class Counting:
        def __getattr__(self, name):
            return getattr(np, name)

        def matmul(self, a, b):
            shapes.append((a.shape, b.shape))
            return np.matmul(a, b)

    model = Sequential(fc1=Dense(6, 8), fc2=Dense(8, 7), fc3=Dense(7, 3))
    backend = open_backend("numpy", dtype="float64")
    optimizer = Adam(0.01)
    frozen = freeze_layers(model, ("fc2",))
    state = initial_state(backend, frozen, optimizer, 0, arrays=model.init(0))
    backend.xp = Counting()
    step = make_step(backend, frozen, softmax_cross_entropy, optimizer)
    step(state, X, Y, np.arange(16))
    assert ((8, 16), (16, 7)) not in shapes
    assert ((6, 16), (16, 8)) in shapes
    assert ((7, 16), (16, 3)) in shapes


def test_a_subclass_with_a_backward_of_its_own_has_no_strange_input_gradient():
    class Reversed(Dense):
        def backward(self, xp, params, cache, dy, *, need_dx=True):
            dx, grads = super().backward(xp, params, cache, dy, need_dx=need_dx)
            return None if dx is None else -dx, grads

    layer = Reversed(2, 3)
    params, dy = layer.init(0), np.ones((4, 3))
    found = layer.input_gradient(np, params, (np.ones((4, 2)),), dy)
    np.testing.assert_array_equal(found, -dy @ params["weight"].T)


def test_layers_inside_of_layers_are_frozen_by_their_whole_name():
    model = Sequential(
        first=Dense(6, 8),
        res=Residual(Sequential(fc1=Dense(8, 5), act=ReLU(), fc2=Dense(5, 8)), Dense(8, 8)),
        drop=Dropout(0.2), last=Dense(8, 3),
    )  # fmt: skip
    drawn = model.init(derive(4, "initialization"))
    network = train(model, freeze=("res.block.fc1", "res.skip"))
    stays = {name for name, x in arrays(network).items() if np.array_equal(x, drawn[name])}
    assert stays == {n for n in drawn if n.startswith(("res.block.fc1.", "res.skip."))}
    whole = train(model, freeze=("res", "res.block.fc1"))
    stays = {name for name, x in arrays(whole).items() if np.array_equal(x, drawn[name])}
    assert stays == {name for name in drawn if name.startswith("res.")}


def test_a_frozen_layer_is_as_in_evaluation():
    """Its dropout drops nothing, and its constraint asks nothing of weights that stay."""
    block = Sequential(fc=Dense(6, 8, constraint=MaxNorm(1e-3)), drop=Dropout(0.9))
    model = Sequential(block=block, fc=Dense(8, 3))
    drawn = model.init(derive(4, "initialization"))
    network = train(model, freeze=("block",))
    np.testing.assert_array_equal(network.params["block.fc.weight"], drawn["block.fc.weight"])
    hidden = X @ drawn["block.fc.weight"]
    expected = train(Sequential(fc=Dense(8, 3)), data=(hidden, Y))
    np.testing.assert_allclose(
        network.history["train_loss"], expected.history["train_loss"], rtol=1e-10
    )


def test_one_sample_is_a_batch_where_the_batch_norm_is_frozen(trained):
    data = (X[:33], Y[:33])
    with pytest.raises(ValueError, match="leaves 1 of 33 samples"):
        train(data=data, start=trained)
    train(data=data, start=trained, freeze=("bn1",))


def test_early_stopping_gives_the_best_of_them_back(trained):
    network = train(
        start=trained, freeze=("fc1", "bn1"), optimizer=SGD(3.0), epochs=6, validation=(X, Y),
        callbacks=[EarlyStopping(patience=6)],
    )  # fmt: skip
    best = min(network.history["validation_loss"])
    assert network.evaluate(X, Y).loss == pytest.approx(best)
    np.testing.assert_array_equal(network.params["fc1.weight"], trained.params["fc1.weight"])


def test_the_file_is_that_of_the_plain_network(tmp_path, trained):
    network = train(start=trained, freeze=("fc1", "bn1"))
    network.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path)
    assert loaded.model == MODEL
    assert_equal(arrays(loaded), arrays(network))
    # All that is left of the freezing is what it did: the next training trains all of it.
    again = train(start=loaded)
    assert (again.params["fc1.weight"] != loaded.params["fc1.weight"]).any()


# -- going on after a break -----------------------------------------------------------------------


class Fails(Callback):
    every_step = True

    def __init__(self, steps):
        self.left = steps

    def on_step(self, state, count):
        self.left -= count
        if self.left <= 0:
            raise RuntimeError("the machine fails")


def test_it_goes_on_with_and_without_the_network(training_backend, tmp_path, trained):
    options = {"backend": training_backend, "freeze": ("fc1", "bn1"), "optimizer": Adam(0.01)}
    expected = train(start=trained, **options)
    with pytest.raises(RuntimeError, match="the machine fails"):
        train(
            start=trained, **options,
            callbacks=[Checkpoint(tmp_path, every_steps=1), Fails(7)],
        )  # fmt: skip
    for start in (None, trained):
        network = train(resume=tmp_path, start=start, **options)
        assert_equal(arrays(network), arrays(expected))
    other = trained.copy()
    other.params["fc3.bias"] = other.params["fc3.bias"] + 1e-6
    with pytest.raises(CheckpointError, match=r"start was .*, and is"):
        train(resume=tmp_path, start=other, **options)
    with pytest.raises(CheckpointError, match=r"freeze was \['bn1', 'fc1'\], and is \['fc1'\]"):
        train(resume=tmp_path, **{**options, "freeze": ("fc1",)})


def test_a_training_from_nothing_does_not_go_on_with_a_network(tmp_path, trained):
    train(epochs=2, stop_after=1, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(CheckpointError, match="start was None, and is "):
        train(epochs=2, resume=tmp_path, start=trained)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"freeze": ("fc4",)}, ValueError, r"no layer 'fc4'; did you mean 'fc3'\? Its layers are"),
        ({"freeze": ("nonsense",)}, ValueError, "no layer 'nonsense'. Its layers are fc1, bn1"),
        ({"freeze": ("fc1.weight",)}, ValueError, "a parameter: name its layer, 'fc1'"),
        ({"freeze": "fc1"}, TypeError, r"names of layers, .*; got 'fc1': give \('fc1',\)"),
        ({"freeze": b"fc1"}, TypeError, "freeze must be names of layers"),
        ({"freeze": {b"fc1": 0}.keys()}, TypeError, "freeze must be names of layers"),
        ({"fresh": "fc1"}, TypeError, r"got 'fc1': give \('fc1',\)"),
        ({"fresh": {"fc3": 0}.keys()}, ValueError, "give start=network as well"),
        ({"freeze": (1,)}, TypeError, "freeze must be names of layers"),
        ({"freeze": ""}, TypeError, "freeze must be names of layers"),
        ({"freeze": 3}, TypeError, "freeze must be names of layers"),
        ({"freeze": ("fc1", "bn1", "fc2", "fc3")}, ValueError, "leaves nothing to train"),
        ({"fresh": ("fc3",)}, ValueError, "give start=network as well"),
        ({"start": "model.safetensors"}, TypeError, "start must be a trained Network, got 'model"),
        ({"start": {}}, TypeError, r"give load\(file\)"),
    ],
    ids=str,
)
def test_refused(options, error, message):
    with pytest.raises(error, match=message):
        train(**options)


def test_names_of_fresh_layers_are_looked_at(trained):
    with pytest.raises(ValueError, match=r"fresh: the model has no layer 'head'\. "):
        train(start=trained, fresh=("head",))


def test_a_bare_layer_has_no_names():
    with pytest.raises(ValueError, match="without names: it is not made of layers"):
        train(Dense(6, 3), freeze=("weights",))


def test_an_estimator_says_how_it_is_a_network():
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPClassifier

    estimator = MLPClassifier((8,), max_iter=2, tol=0, n_iter_no_change=2, dtype="float64")
    with pytest.raises(TypeError, match=r"give its to_network\(\)"):
        train(start=estimator)


# -- labels that are text -------------------------------------------------------------------------


def test_classes_are_those_of_the_start_unless_the_last_layer_begins_anew():
    names = np.asarray(["ash", "elm", "oak"])
    start = train(epochs=1, data=(X, names[Y]))
    some = np.flatnonzero(Y != 1)[:48]
    network = train(epochs=1, start=start, data=(X[some], names[Y[some]]))
    assert network.classes.tolist() == names.tolist()
    assert set(network.predict(X)) <= set(names)
    two = Sequential(**{name: layer for name, layer in MODEL.layers.items() if name != "fc3"},
                     head=Dense(7, 2))  # fmt: skip
    anew = train(two, epochs=1, start=start, fresh=("head",), data=(X[some], names[Y[some]]))
    assert anew.classes.tolist() == ["ash", "oak"]


def test_a_start_with_classes_goes_on_to_what_has_none():
    names = np.asarray(["ash", "elm", "oak"])
    start = fit(MODEL, (X, names[Y]), **OPTIONS)
    rows = np.eye(3)[Y]
    for loss, kind in ((mean_squared_error, "values"), (binary_cross_entropy, "multilabel")):
        network = fit(MODEL, (X, rows), start=start, loss=loss, **OPTIONS)
        assert network.target_kind == kind
        assert network.classes is None
        assert network.predict(X).shape == (N, 3)
