"""The peers of the benchmark, and its floor: that they compute what they claim to."""

import itertools
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarking.cases import Case, Task  # noqa: E402
from benchmarking.peers import PEERS  # noqa: E402
from benchmarking.peers.floor import all_products, epoch_of_products, products  # noqa: E402
from benchmarking.runner import Settings, measure  # noqa: E402
from benchmarking.scaling import flops_per_epoch  # noqa: E402


def small_task(epochs=2, hidden=(16,), batch_size=64):
    return Task(Case(hidden, batch_size), "digits", epochs=epochs)


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
    step = products(sizes, batch, lambda shape: np.ones(shape, np.float32))
    assert len(step) == 3 * layers - 1
    operations = 0
    for left, right, out in step:
        assert (left.shape[0], right.shape[1]) == out.shape
        assert out.flags.c_contiguous
        assert not any(np.shares_memory(out, operand) for operand in (left, right))
        np.matmul(left, right, out=out)
        operations += 2 * left.shape[0] * left.shape[1] * right.shape[1]
    assert operations == flops_per_epoch(sizes, batch)


def test_the_floor_counts_the_smaller_last_batch():
    counted = epoch_of_products(150, (6, 5, 4), 64, np.ones)
    assert [(times, step[0][0].shape) for times, step in counted] == [(2, (64, 6)), (1, (22, 6))]
    assert len(list(all_products(counted))) == 3 * 5
    assert [times for times, _ in epoch_of_products(128, (6, 5), 64, np.ones)] == [2]


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
