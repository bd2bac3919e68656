"""The peers of the benchmark, and its floor: that they compute what they claim to."""

import itertools
import math
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarking.cases import Case, Task  # noqa: E402
from benchmarking.networks import NETWORKS, matrix_products  # noqa: E402
from benchmarking.peers import PEERS  # noqa: E402
from benchmarking.peers.floor import (  # noqa: E402
    LARGEST,
    all_products,
    epoch_of_products,
    products,
)
from benchmarking.runner import Settings, measure  # noqa: E402
from benchmarking.scaling import flops_per_epoch  # noqa: E402

from xpnet.layers import BatchNorm  # noqa: E402
from xpnet.models import mlp  # noqa: E402


def small_task(epochs=2, hidden=(16,), batch_size=64):
    return Task(Case(hidden, batch_size), "digits", epochs=epochs)


def pictures_task(network, *, epochs=1, batch_size=50, limit=300):
    """Of the digits' 8 x 8 pixels; LeNet-5, for which these are too few, of synthetic pictures."""
    dataset = "synthetic" if network == "lenet5" else "digits"
    return Task(Case((), batch_size, network), dataset, limit=limit, epochs=epochs)


# -- the data ----------------------------------------------------------------------------------


def test_synthetic_data_is_mnist_like_and_the_same_each_time():
    task = Task(Case((16,), 64), "synthetic", limit=300)
    first, second = task.load(), task.load()
    assert first.sizes == (784, 16, 10)
    assert (first.x.shape, first.x.dtype) == ((300, 784), np.uint8)
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.test_y, second.test_y)


def test_each_epoch_has_its_order():
    job = small_task().load()
    assert not np.array_equal(job.order(0), job.order(1))
    np.testing.assert_array_equal(np.sort(job.order(1)), np.arange(len(job.x)))


def test_jobs_need_no_more_samples_than_there_are():
    job = Task(Case((16,), 5_000), "digits").load()
    assert job.batch_size == len(job.x)


# -- the floor --------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(784, 128, 10), (6, 5, 4, 3), (6, 3)])
def test_the_floor_has_the_products_of_a_step(sizes):
    """3 L - 1 products with the shapes of forward and backward, into arrays of their own."""
    layers, batch = len(sizes) - 1, 7
    step = products(
        matrix_products(mlp(*sizes), sizes[:1]), batch, lambda shape: np.ones(shape, np.float32)
    )
    assert len(step) == 3 * layers - 1
    operations = 0
    for left, right, out in step:
        assert (left.shape[0], right.shape[1]) == out.shape
        assert out.flags.c_contiguous
        assert not any(np.shares_memory(out, operand) for operand in (left, right))
        np.matmul(left, right, out=out)
        operations += 2 * left.shape[0] * left.shape[1] * right.shape[1]
    assert operations == flops_per_epoch(sizes, batch)


def test_the_floor_of_a_dense_network_goes_on_with_what_it_made():
    """The output of a layer is the input of the next, forward and backward."""
    step = products(matrix_products(mlp(6, 5, 4), (6,)), 7, np.ones)
    first, second, _, dy_w, x_dy = step
    assert np.shares_memory(first[2], second[0])
    assert np.shares_memory(dy_w[2], x_dy[1])


@pytest.mark.parametrize("largest", [1, 3000, 2**40])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_floor_of_convolutions_has_their_operations(network, largest):
    """Those of the layers forward without their biases, and twice as many back."""
    model = NETWORKS[network]((12, 12), 10)
    layers, batch = matrix_products(model, (12, 12)), 3
    forward, shape = [], (12, 12, 1)
    for layer in model.layers.values():
        if layer.parameter_shapes() and not isinstance(layer, BatchNorm):
            biases = layer.bias * math.prod(layer.output_shape(shape))
            forward.append(layer.flops(shape) - biases)
        shape = layer.output_shape(shape)
    operations = 0
    for left, right, out in products(layers, batch, np.ones, largest):
        assert (left.shape[0], right.shape[1]) == out.shape
        np.matmul(left, right, out=out)
        operations += 2 * left.shape[0] * left.shape[1] * right.shape[1]
    assert operations == batch * (3 * sum(forward) - forward[0])


def test_columns_of_a_piece_have_a_bound():
    layers = [(784, 25, 6), (1, 10, 10)]
    step = products(layers, 64, np.ones)
    pieces = [left for left, right, _ in step if right.shape == (25, 6)]
    assert {piece.size <= LARGEST for piece in pieces} == {True}
    assert sum(len(piece) for piece in pieces) == 64 * 784


def test_the_floor_counts_the_smaller_last_batch():
    counted = epoch_of_products(150, [(1, 6, 5), (1, 5, 4)], 64, np.ones)
    assert [(times, step[0][0].shape) for times, step in counted] == [(2, (64, 6)), (1, (22, 6))]
    assert len(list(all_products(counted))) == 3 * 5
    assert [times for times, _ in epoch_of_products(128, [(1, 6, 5)], 64, np.ones)] == [2]


# -- the peers --------------------------------------------------------------------------------


@pytest.fixture
def one_thread():
    """PyTorch on one thread: two wait for each other on a machine that is busy."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_process(peer, job):
    """What a peer reports and predicts, without a worker."""
    ticks = []
    predicted = peer.load()(
        job, lambda seconds, eval_seconds=None: ticks.append(seconds), **dict(peer.options)
    )
    return ticks, predicted


LIBRARIES = {
    "torch": "torch",
    "torch-loader": "torch",
    "xpnet-torch": "torch",
    "jax-step": "jax",
    "jax-epoch": "jax",
    "xpnet-jax": "jax",
    "sklearn": "sklearn",
    "xpnet-sklearn": "sklearn",
    "numpy": "numpy",
    "xpnet-numpy": "numpy",
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_peers_learn_the_digits(name, request):
    pytest.importorskip(LIBRARIES[name])
    if LIBRARIES[name] == "torch":
        request.getfixturevalue("one_thread")
    job = small_task(epochs=12, hidden=(32,), batch_size=50).load()
    assert len(job.x) % 50, "the last batch is smaller"
    ticks, predicted = in_process(PEERS[name], job)
    assert len(ticks) == 12
    assert min(ticks) > 0
    assert job.accuracy(predicted) > 0.9


def test_hand_written_peers_take_the_same_steps(monkeypatch, one_thread):
    """One epoch in the same order from the same weights gives the same network."""
    pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    job = small_task(epochs=2, batch_size=100).load()
    orders = itertools.count()
    monkeypatch.setattr(
        torch, "randperm", lambda n, device: torch.from_numpy(job.order(next(orders)))
    )
    predictions = [
        in_process(PEERS[name], job)[1] for name in ("numpy", "torch", "jax-step", "jax-epoch")
    ]
    for other in predictions[1:]:
        assert np.mean(predictions[0] != other) < 0.005


@pytest.mark.parametrize("network", ["lenet5", "small_cnn"])
def test_hand_written_convolutions_take_the_same_steps(network, monkeypatch, one_thread):
    """A few steps from the same weights in the same order give the same network."""
    pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    job = pictures_task(network, batch_size=20 if network == "lenet5" else 50).load()
    monkeypatch.setattr(torch, "randperm", lambda n, device: torch.from_numpy(job.order(0)))
    first, second = (in_process(PEERS[name], job)[1] for name in ("torch", "jax-step"))
    assert len(set(first)) > 1
    assert np.mean(first != second) < 0.03


@pytest.mark.parametrize("name", ["xpnet-numpy", "torch"])
def test_peers_learn_the_digits_by_convolution(name, request):
    pytest.importorskip(LIBRARIES[name])
    if LIBRARIES[name] == "torch":
        request.getfixturevalue("one_thread")
    job = pictures_task("small_cnn", epochs=3, limit=700).load()
    ticks, predicted = in_process(PEERS[name], job)
    assert len(ticks) == 3
    assert job.accuracy(predicted) > 0.8


def test_who_knows_dense_networks_alone_is_not_asked_about_others():
    task = pictures_task("small_cnn", epochs=2, batch_size=20, limit=40)
    assert [name for name, peer in PEERS.items() if peer.dense] == [
        *("numpy", "cupy", "sklearn", "xpnet-sklearn", "keras", "thinc"),
    ]
    floor, plain = measure([PEERS["floor"], PEERS["numpy"]], task, Settings(1, 1, pause=0.0))
    assert (floor.failure, len(floor.seconds)) == ("", 1)
    assert plain.failure == "it has no convolution here"
    (plain,) = measure([PEERS["numpy"]], task, Settings(1, 1, pause=0.0))
    assert plain.failure


@pytest.mark.parametrize(("name", "library"), [("keras", "keras"), ("thinc", "thinc")])
def test_other_libraries_learn_the_digits(name, library):
    """In a worker: they warn, and Keras has a backend for the whole process."""
    pytest.importorskip("jax")
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    peers, task = [PEERS[name]], Task(Case((32,), 32), "digits", epochs=6)
    (found,) = measure(peers, task, Settings(5, 1, pause=0.0))
    assert found.failure == ""
    assert found.result["accuracy"] > 0.85


def test_estimators_are_measured_side_by_side(monkeypatch):
    pytest.importorskip("sklearn")
    from benchmarking import estimators

    ours, theirs = estimators.estimator_peers("adam")
    assert (ours.name, theirs.name) == ("xpnet-sklearn-adam", "sklearn-adam")
    assert dict(ours.options) == {"module": "xpnet.sklearn", "solver": "adam"}
    monkeypatch.setattr(estimators, "SOLVERS", ("plain",))
    case, settings = Case((16,), 64), Settings(1, 1, pause=0.0)
    task = Task(case, "digits", epochs=2)
    (row,) = estimators.measure_estimators([case], task, settings, lambda text: None)
    assert row["solver"] == "plain"
    assert row["failure"] == ""
    assert min(row["ratio"]) > 0
    assert min(row["accuracies"]) > 0.5
    assert len(estimators.estimator_lines([row])) == 3
