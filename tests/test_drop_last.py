"""The last batch of an epoch left out where it would be smaller."""

import numpy as np
import pytest

from xpnet import (
    SGD,
    Adam,
    BatchNorm,
    Callback,
    Checkpoint,
    CheckpointError,
    Dense,
    Dropout,
    ReLU,
    Sequential,
    fit,
    mlp,
    open_backend,
    read_snapshot,
    shuffled_batches,
)
from xpnet.random import derive, permutation, stream
from xpnet.schedules import Schedule

N = 75  # four batches of 16, and 11 samples
X = stream(0, "x").normal(size=(N, 5))
Y = (X @ stream(0, "truth").normal(size=(5, 3))).argmax(axis=1)
MODEL = Sequential(fc1=Dense(5, 8), bn=BatchNorm(8), act=ReLU(), drop=Dropout(0.3), fc2=Dense(8, 3))
OPTIONS = {"epochs": 3, "batch_size": 16, "optimizer": SGD(0.2), "seed": 4, "dtype": "float64"}


def train(backend="numpy", *, model=MODEL, data=(X, Y), **changes):
    return fit(model, data, backend=backend, **{"drop_last": True, **OPTIONS, **changes})


def arrays(network):
    return {name: network.backend.to_numpy(value) for name, value in network.arrays.items()}


def assert_same(network, expected):
    found, wanted = arrays(network), arrays(expected)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


class Steps(Callback):
    """Writes down how many steps there are."""

    def __init__(self):
        self.counts = []

    def on_step(self, state, count):
        self.counts.append(count)


def test_equals_a_loop_written_in_torch(training_backend):
    """Torch's sampler leaves out the last batch; losses in an epoch are of those that it gives."""
    torch = pytest.importorskip("torch")
    model = mlp(5, 8, 3)
    params = model.init(derive(4, "initialization"))
    net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    net = net.double()
    with torch.no_grad():
        for layer, name in ((net[0], "fc1"), (net[2], "fc2")):
            layer.weight.copy_(torch.tensor(params[f"{name}.weight"]).T)
            layer.bias.copy_(torch.tensor(params[f"{name}.bias"]))
    x, y = torch.tensor(X), torch.tensor(Y)
    optimizer, criterion = torch.optim.SGD(net.parameters(), lr=0.2), torch.nn.CrossEntropyLoss()
    running, measured = [], []
    for epoch in (1, 2, 3):
        sampler = torch.utils.data.BatchSampler(permutation(4, epoch, N), 16, drop_last=True)
        losses = []
        for rows in sampler:
            optimizer.zero_grad()
            loss = criterion(net(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert len(losses) == 4
        running.append(np.mean(losses))
        measured.append(criterion(net(x), y).item())
    network = train(training_backend, model=model)
    np.testing.assert_allclose(network.history["train_loss"], measured, rtol=1e-10)
    weight = training_backend.to_numpy(network.params["fc1.weight"])
    np.testing.assert_allclose(weight, net[0].weight.detach().numpy().T, rtol=1e-9, atol=1e-12)
    network = train(training_backend, model=model, train_metrics="running")
    np.testing.assert_allclose(network.history["train_loss"], running, rtol=1e-10)


def test_each_epoch_leaves_out_others():
    backend = open_backend("numpy")
    epochs = []
    for epoch in (1, 2):
        found = list(shuffled_batches(backend, N, 16, seed=4, epoch=epoch, drop_last=True))
        assert [rows.shape[0] for rows in found] == [16] * 4
        epochs.append(np.concatenate(found))
        np.testing.assert_array_equal(epochs[-1], permutation(4, epoch, N)[:64])
    assert set(epochs[0].tolist()) != set(epochs[1].tolist())
    assert list(shuffled_batches(backend, 15, 16, seed=4, epoch=1, drop_last=True)) == []


def test_a_schedule_and_callbacks_count_the_steps_that_there_are():
    asked = []

    class Asks(Schedule):
        def factors(self, epochs, steps_per_epoch):
            asked.append((epochs, steps_per_epoch))
            return np.linspace(1, 0, epochs * steps_per_epoch)

    steps = Steps()
    network = train(optimizer=SGD(0.2, schedule=Asks()), callbacks=[steps])
    assert asked == [(3, 4)]
    assert sum(steps.counts) == 12
    assert network.history[-1].learning_rate == 0  # the last of the table


def test_where_the_size_divides_nothing_is_left_out():
    data = (X[:64], Y[:64])
    assert_same(train(data=data), train(data=data, drop_last=False))
    whole = {"data": (X, Y), "batch_size": N}
    assert_same(train(**whole), train(**whole, drop_last=False))


def test_of_what_is_kept_for_validation_nothing_is_missed():
    """60 samples are left to train on: three batches of 16, and 12 samples."""
    steps = Steps()
    network = train(validation=0.2, callbacks=[steps])
    assert sum(steps.counts) == 9
    assert network.history[-1].validation_loss is not None


def test_streamed_samples_are_left_out_as_well(training_backend, tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_same(train(training_backend, data=(mapped, Y)), train(training_backend))


def test_it_goes_on_after_a_break_to_the_same_bytes(training_backend, tmp_path):
    options = {"backend": training_backend, "optimizer": Adam(0.01), "train_metrics": "running"}
    expected = train(**options)

    class Fails(Callback):
        every_step, left = True, 6

        def on_step(self, state, count):
            self.left -= count
            if not self.left:
                raise RuntimeError("the machine fails")

    with pytest.raises(RuntimeError, match="the machine fails"):
        train(**options, callbacks=[Checkpoint(tmp_path, every_steps=1), Fails()])
    saved = read_snapshot(tmp_path)
    assert (saved.epoch, saved.step) in {(1, 1), (1, 2)}
    found = train(**options, resume=tmp_path)
    assert_same(found, expected)
    assert found.history["train_loss"] == expected.history["train_loss"]
    with pytest.raises(CheckpointError, match="drop_last was True, and is None"):
        train(**options, resume=tmp_path, drop_last=False)


def test_batch_norm_needs_no_last_batch():
    """Of 65 samples one is left for the last batch, which has no variance."""
    data = (X[:65], Y[:65])
    with pytest.raises(ValueError, match=r"leaves 1 of 65 .*another batch size, or drop_last=True"):
        train(data=data, drop_last=False)
    train(data=data)
    with pytest.raises(ValueError, match=r"batch_size 1 leaves 1 of 65 samples .*or leave samples"):
        train(data=data, batch_size=1)


def test_what_leaves_no_batch_is_refused():
    message = "for 75 samples make no batch of batch_size 76: take a batch size up to 75, or"
    with pytest.raises(ValueError, match=message):
        train(batch_size=76)
    with pytest.raises(ValueError, match="for 60 samples make no batch of batch_size 75"):
        train(batch_size=75, validation=0.2)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_what_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(TypeError, match="drop_last must be True or False, got"):
        train(drop_last=value)
