"""Functions that NumPy records: forward passes and evaluations, against the layers as written."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from compiling import HAS_COMPILER
from threadpoolctl import threadpool_limits

from xpnet import DataError, Network, fit, load_dataset, mlp, open_backend
from xpnet.backends.numpy import recorded
from xpnet.backends.numpy import tape as tape_module
from xpnet.backends.numpy.calls import Call, Kind
from xpnet.backends.numpy.liveness import Account, Arena, Names
from xpnet.backends.numpy.recorded import WARM_UPS, RecordedFunction
from xpnet.backends.numpy.threads import blas_threads, in_threads
from xpnet.layers import EVALUATION, Dense, Layer, Sequential, Tanh, softmax
from xpnet.losses import DEFAULT_LOSSES, SoftmaxCrossEntropy
from xpnet.metrics import predicted_classes
from xpnet.models import lenet5
from xpnet.network.evaluation import make_evaluator
from xpnet.network.prediction import PROBABILITIES, Forward

pytestmark = pytest.mark.numerics

rng = np.random.default_rng(5)
WEIGHTS = {"w": rng.normal(size=(5, 3)), "b": rng.normal(size=3)}


def affine(weights, x):
    return np.maximum(np.dot(x, weights["w"]) + weights["b"], 0.0)


def batches(count, rows, dtype="float64"):
    return [rng.normal(size=(rows, 5)).astype(dtype) for _ in range(count)]


def counting(function):
    """The function, and a list that grows by one with each call of it."""
    calls = []

    def counted(*args):
        calls.append(1)
        return function(*args)

    return counted, calls


@pytest.mark.parametrize("limit", [0, 10**9])  # read where they lie, or copied
@pytest.mark.parametrize("rows", [1, 2, 64])
def test_the_same_bits_without_a_call(monkeypatch, rows, limit):
    monkeypatch.setattr(recorded, "MOST_COPIED", limit)
    function, calls = counting(affine)
    run = RecordedFunction(function)
    for x in batches(12, rows):
        assert run(WEIGHTS, x).tobytes() == affine(WEIGHTS, x).tobytes()
    assert len(calls) == WARM_UPS + 2  # and the one that is recorded


def test_results_are_arrays_of_their_own():
    run = RecordedFunction(affine)
    results = [run(WEIGHTS, x) for x in batches(9, 4)]
    assert all(x.flags.owndata and x.flags.writeable for x in results)
    kept = [x.copy() for x in results]
    results[-1][...] = 7
    run(WEIGHTS, batches(1, 4)[0])
    for x, expected in zip(results[:-1], kept, strict=False):
        np.testing.assert_array_equal(x, expected)


def test_trees_of_arrays():
    def function(weights, x, pair, nothing):
        assert nothing is None
        y = np.dot(x, weights["w"])
        return y * pair[1], (None, np.sum(pair[0] * y))

    run = RecordedFunction(function)
    for x in batches(8, 3):
        args = x, (x[:, :3] + 0.0, x[:, :1] + 0.0), None
        found, expected = run(WEIGHTS, *args), function(WEIGHTS, *args)
        assert found[0].tobytes() == expected[0].tobytes()
        assert found[1][0] is None
        assert found[1][1].tobytes() == expected[1][1].tobytes()


def test_what_stays_is_read_where_it_lies_and_may_be_replaced():
    weights = {name: x.copy() for name, x in WEIGHTS.items()}
    run = RecordedFunction(affine)
    for number, x in enumerate(batches(20, 4)):
        if number == 8:
            weights["b"] += 1  # in place
        if number == 12:
            weights["w"] = weights["w"] * 2
        assert run(weights, x).tobytes() == affine(weights, x).tobytes()


def test_what_stays_is_replaced_now_and_then():
    function, calls = counting(affine)
    run = RecordedFunction(function)
    for _ in range(3 * recorded.MOST_IN_VAIN):
        weights = {name: value.copy() for name, value in WEIGHTS.items()}
        for x in batches(10, 4):
            run(weights, x)
    assert len(calls) == 3 * recorded.MOST_IN_VAIN * (WARM_UPS + 2)


def test_what_stays_changes_each_time():
    function, calls = counting(affine)
    run = RecordedFunction(function)
    for x in batches(40, 4):
        weights = {name: value.copy() for name, value in WEIGHTS.items()}
        run(weights, x)
    assert len(calls) == 40  # nothing is recorded for nothing


def test_arrays_in_other_orders_are_taken_as_written():
    function, calls = counting(affine)
    run = RecordedFunction(function)
    wide = rng.normal(size=(6, 11))
    for x in (wide[:, :5], np.asfortranarray(wide[:, :5]), wide[::-1, 1:6]):
        for _ in range(5):
            assert run(WEIGHTS, x).tobytes() == affine(WEIGHTS, x).tobytes()
    memory = np.zeros(6 * 5 * 8 + 1, np.uint8)[1:].view(np.float64).reshape(6, 5)
    memory[...] = wide[:, :5]
    for _ in range(5):
        assert run(WEIGHTS, memory).tobytes() == affine(WEIGHTS, memory).tobytes()
    assert len(calls) == 20


def test_read_only_arrays(monkeypatch):
    monkeypatch.setattr(recorded, "MOST_COPIED", 0)
    run = RecordedFunction(affine)
    for x in batches(8, 4):
        x.flags.writeable = False
        assert run(WEIGHTS, x).tobytes() == affine(WEIGHTS, x).tobytes()


@pytest.mark.parametrize(
    "function",
    [
        lambda weights, x: x * float(x[0, 0]),  # reads
        lambda weights, x: np.sort(np.dot(x, weights["w"]), axis=1),
        lambda weights, x: np.ones(3),  # depends on nothing
    ],
)
def test_what_cannot_be_recorded_is_called(function):
    function, calls = counting(function)
    run = RecordedFunction(function)
    for x in batches(40, 4):
        assert run(WEIGHTS, x).tobytes() == function(WEIGHTS, x).tobytes()
    assert not run._memory.idle
    assert len(calls) == 80 + 1  # the one that was tried to be recorded


def test_other_values_than_those_recorded_decide():
    """A recording that had kept a value of the first batch would give others wrong."""
    run = RecordedFunction(lambda weights, x: np.where(x > 0, x, np.exp(x)) @ weights["w"])
    for x in batches(10, 3):
        expected = np.where(x > 0, x, np.exp(x)) @ WEIGHTS["w"]
        np.testing.assert_array_equal(run(WEIGHTS, x), expected)


@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("function", [lambda weights, x: x, lambda weights, x: (x[:, 1:], x * 2)])
def test_results_that_lie_in_the_samples(monkeypatch, function, limit):
    """Recorded of samples that are all the same, of which nothing shows that others are wanted."""
    monkeypatch.setattr(recorded, "MOST_COPIED", limit)
    run = RecordedFunction(function)
    for x in [np.zeros((4, 5))] * 5 + batches(3, 4):
        for found, expected in zip(run(WEIGHTS, x), function(WEIGHTS, x), strict=True):
            np.testing.assert_array_equal(found, expected)
            assert run(WEIGHTS, x)[0] is not x
    assert run._memory.idle


def test_results_that_are_weights_are_arrays_of_their_own():
    run = RecordedFunction(lambda weights, x: (weights["b"], x + weights["b"]))
    weights = {"b": np.zeros(5)}
    for x in batches(6, 5):
        kept, _ = run(weights, x)
    kept[...] = 1
    assert not weights["b"].any()


def test_weights_whose_names_are_exchanged():
    weights = {"w": rng.normal(size=(5, 5)), "v": rng.normal(size=(5, 5))}

    def function(weights, x):
        return np.dot(np.dot(x, weights["w"]), weights["v"])

    run = RecordedFunction(function)
    for x in batches(6, 3):
        run(weights, x)
    exchanged = {"v": weights["w"], "w": weights["v"]}
    for x in batches(6, 3):
        np.testing.assert_array_equal(run(exchanged, x), function(exchanged, x))


def test_arrays_in_another_place_are_another_call():
    def function(weights, x, y):
        return x if y is None else -y

    run = RecordedFunction(function)
    for x in batches(6, 3):
        np.testing.assert_array_equal(run(WEIGHTS, x, None), x)
    for x in batches(6, 3):
        np.testing.assert_array_equal(run(WEIGHTS, None, x), -x)


def test_what_was_not_compared_is_not_used(monkeypatch):
    """Ctrl-C, when compiled code is tried for the first time."""
    x = np.ones(3)
    call = Call(Kind.ELEMENTWISE, np.add, (x, x), np.empty(3))
    tape = tape_module.Tape([call], [call.output], names=Names(), arena=Arena(Account(0)))

    def interrupted():
        call.output[...] = 7
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tape.play_both([interrupted])
    np.testing.assert_array_equal(call.output, [2, 2, 2])
    tape.play()
    assert not tape.is_compiled


def test_a_product_that_has_addresses_is_not_moved():
    xp = open_backend("numpy", dtype="float64").xp
    if not hasattr(xp, "subtract_product"):
        pytest.skip("this NumPy's BLAS is not found")

    def function(weights, x):
        return xp.subtract_product(np.zeros((x.shape[0], 3)), x, weights["w"])

    run = RecordedFunction(function)
    for x in batches(8, 700):
        np.testing.assert_allclose(run(WEIGHTS, x), -x @ WEIGHTS["w"], rtol=1e-12)


def test_samples_are_not_held(monkeypatch):
    monkeypatch.setattr(recorded, "MOST_COPIED", 0)
    run = RecordedFunction(affine)
    for x in batches(6, 4):
        run(WEIGHTS, x)
    held = weakref.ref(x)
    del x
    gc.collect()
    assert held() is None


def test_shapes_in_turn_and_too_many():
    run = RecordedFunction(affine)
    for _ in range(6):
        for rows in range(1, 40):
            (x,) = batches(1, rows)
            np.testing.assert_array_equal(run(WEIGHTS, x), affine(WEIGHTS, x))
    assert sum(map(len, run._memory.idle.values())) == recorded.MOST_TAPES


def test_threads_share_it():
    run = RecordedFunction(affine)
    xs = batches(300, 4)
    expected = [affine(WEIGHTS, x) for x in xs]
    failures = []

    def work(start):
        for number in range(start, 300, 4):
            for _ in range(5):
                if run(WEIGHTS, xs[number]).tobytes() != expected[number].tobytes():
                    failures.append(number)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.compiler
@pytest.mark.skipif(not HAS_COMPILER, reason="there is no C compiler")
@pytest.mark.parametrize("limit", [0, 10**9])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_compiled_to_the_same_bits(monkeypatch, dtype, limit):
    monkeypatch.setattr(recorded, "MOST_COPIED", limit)
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0.0)
    weights = {name: x.astype("float32") for name, x in WEIGHTS.items()}

    def function(weights, x):
        x = x.astype(np.float32)
        x *= 1 / 255
        y = np.maximum(np.dot(x, weights["w"]) + weights["b"], np.float32(0))
        return np.argmax(y, axis=1), np.exp(y)

    run = RecordedFunction(function)

    def ask():
        x = (rng.random((7, 5)) * 255).astype(dtype)
        for found, expected in zip(run(weights, x), function(weights, x), strict=True):
            assert found.tobytes() == expected.tobytes()

    for _ in range(4):
        ask()
    ((tape,),) = run._memory.idle.values()
    assert tape._compiling is not None
    assert not tape.is_compiled  # no call waits for the compiler
    tape._compiling.join(60)
    for _ in range(4):
        ask()
    assert tape.is_compiled
    assert not tape.wants_compiler


def test_without_a_compiler_it_is_asked_for_once(monkeypatch):
    monkeypatch.setenv("XPNET_CC", "")
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0.0)
    run = RecordedFunction(affine)
    for _ in range(4):
        (x,) = batches(1, 3)
        run(WEIGHTS, x)
    ((tape,),) = run._memory.idle.values()
    tape._compiling.join(60)
    for _ in range(3):
        assert run(WEIGHTS, x).tobytes() == affine(WEIGHTS, x).tobytes()
    assert (tape.is_tried, tape.is_compiled, tape.wants_compiler) == (True, False, False)


# -- networks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    data = load_dataset("digits").limited(200)
    model = mlp(64, 12, 10, batch_norm=True, dropout=0.3)
    return fit(model, data, epochs=1, backend="numpy", batch_size=50), data.train.images


def as_written(network, x, head):
    backend = network.backend
    prepared = network.preparation(backend.xp, x)
    output, _ = network.model.forward(backend.xp, network.arrays, prepared, EVALUATION)
    return head(backend.xp, output)


@pytest.mark.parametrize("rows", [0, 1, 3, 64, 150])
def test_answers_are_those_of_the_layers(network, rows):
    network, samples = network
    for x in (samples[:rows], samples[:rows].astype("float32") / 16):
        for _ in range(6):
            found = network.predict(x)
            assert found.tobytes() == as_written(network, x, predicted_classes).tobytes()
            found = network.predict_proba(x)
            assert found.tobytes() == as_written(network, x, softmax).tobytes()


def test_many_chunks_in_threads_are_the_same(network, monkeypatch):
    network, samples = network
    x = np.concatenate([samples] * 3)[:590]
    with threadpool_limits(1, user_api="blas"):
        # Ten chunks of one size: the fewest of at most 64 rows that are an even number.
        expected = [as_written(network, x[i : i + 59], softmax) for i in range(0, 590, 59)]
    monkeypatch.setattr(network.backend, "chunk_values", 64 * 64)
    for _ in range(3):
        assert network.predict_proba(x).tobytes() == np.concatenate(expected).tobytes()


def test_what_is_wrong_with_values_is_found_in_every_call(network):
    network, samples = network
    x = samples.astype("float32") / 16
    for _ in range(5):
        network.predict(x)
    for wrong in (np.nan, np.inf, -np.inf):
        bad = x.copy()
        bad[-1, -1, -1] = wrong
        with pytest.raises(DataError, match="must be finite"):
            network.predict(bad)
    with pytest.raises(DataError, match="too large values"):
        network.predict(np.full((2, 64), 1e300))
    large = np.full((2, 64), 1e30, "float32")  # whose square is not finite
    assert network.predict(large).shape == (2,)
    with pytest.raises(DataError, match="samples of shape"):
        network.predict(x[:, :4])
    with pytest.raises(DataError):
        network.predict(np.ma.masked_array(x, mask=True))


def test_parameters_and_layers_may_be_replaced(network):
    trained, samples = network
    other = trained.copy()
    for _ in range(5):
        other.predict_proba(samples)
    other.params["fc2.bias"] = other.params["fc2.bias"] + 5 * np.eye(10, dtype="float32")[3]
    assert other.predict_proba(samples).tobytes() == as_written(other, samples, softmax).tobytes()
    other.params["fc2.bias"] -= 10 * np.eye(10, dtype="float32")[3]
    assert other.predict_proba(samples).tobytes() == as_written(other, samples, softmax).tobytes()
    other.model = Sequential(fc1=Dense(64, 10))
    other.params = {"fc1.weight": np.ones((64, 10), "float32"), "fc1.bias": np.zeros(10, "float32")}
    np.testing.assert_allclose(other.predict_proba(samples), 0.1, rtol=1e-6)


def test_a_layer_of_ones_own_is_called_each_time():
    class Counts(Layer):
        calls = 0

        def forward(self, xp, params, x, ctx):
            type(self).calls += 1
            return x * self.calls, None

    model = Sequential(fc=Dense(4, 3), counts=Counts())
    params = {"fc.weight": np.eye(4, 3), "fc.bias": np.zeros(3)}
    network = Network(model, params, open_backend("numpy", dtype="float64"), target_kind="values")
    x = np.ones((2, 4))
    assert [network.predict(x)[0, 0] for _ in range(6)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_libraries(backend):
    pytest.importorskip(backend)
    data = load_dataset("digits").limited(100)
    network = fit(mlp(64, 8, 10), data, epochs=1, backend=backend)
    there = network.backend.asarray(data.train.images)
    xp = network.backend.xp
    for _ in range(4):
        found = network.backend.to_numpy(network.predict_proba(there))
        with network.backend.scope():
            prepared = network.preparation(xp, there)
            output, _ = network.model.forward(xp, network.arrays, prepared, EVALUATION)
            expected = network.backend.to_numpy(PROBABILITIES["classes"](xp, output))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_layer_of_ones_own_may_read_values_on_jax():
    pytest.importorskip("jax")

    class Scaled(Layer):
        def forward(self, xp, params, x, ctx):
            largest = float(xp.max(x))
            return (x / largest if largest > 1 else x), None

    network = Network(Sequential(own=Scaled()), {}, open_backend("jax"), target_kind="values")
    x = np.arange(6, dtype="float32").reshape(2, 3)
    there = network.backend.asarray(x)
    for _ in range(2):
        np.testing.assert_allclose(network.backend.to_numpy(network.predict(there)), x / 5)


def test_evaluations_are_those_of_the_chunks_as_written():
    backend = open_backend("numpy", threads=1)
    model = Sequential(fc1=Dense(64, 9), act=Tanh(), fc2=Dense(9, 10))
    loss, found = DEFAULT_LOSSES["classes"], {}
    data = load_dataset("digits").limited(300)
    samples = data.train.images, data.train.labels
    network = fit(model, data, epochs=1, backend=backend)
    for pure in (True, False):
        evaluate = make_evaluator(backend, model, loss, pixel_maximum=16.0, pure=pure)
        backend.chunk_values = 64 * 70
        with backend.scope():
            found[pure] = {evaluate(network.arrays, *samples) for _ in range(4)}
    assert found[True] == found[False]
    assert len(found[True]) == 1


def test_an_evaluator_is_kept_for_a_loss_and_what_is_evaluated(network):
    network, samples = network
    labels = network.predict(samples)
    backend, model, maximum = network.backend, network.model, network.pixel_maximum
    losses = {
        loss: make_evaluator(backend, model, loss, pixel_maximum=maximum)
        for loss in (SoftmaxCrossEntropy(), SoftmaxCrossEntropy(label_smoothing=0.1))
    }
    for _ in range(4):
        for loss, fresh in losses.items():
            kept = network._forward.evaluator(loss, "classes")
            assert kept is network._forward.evaluator(loss, "classes")
            found = network.evaluate(samples, labels, loss=loss)
            assert found == fresh(network.arrays, samples, labels)
    network.params = {name: 2 * value for name, value in network.params.items()}
    changed = network.evaluate(samples, labels, loss=loss)
    assert changed == fresh(network.arrays, samples, labels)
    assert changed != found


def test_a_copy_and_a_pickle_keep_nothing(network):
    network, samples = network
    for _ in range(5):
        network.predict(samples)
    assert "_forward_pass" in vars(network)
    assert "_forward_pass" not in vars(network.copy())
    assert "_forward_pass" not in network.__getstate__()


def test_a_network_whose_chunks_are_large_is_recorded_for_few_rows(monkeypatch):
    monkeypatch.setattr(recorded, "MOST_BYTES", 40_000)
    run = RecordedFunction(affine)
    for _ in range(6):
        for rows in (1000, 2):
            (x,) = batches(1, rows)
            assert run(WEIGHTS, x).tobytes() == affine(WEIGHTS, x).tobytes()
    assert [key[0][0] for key in run._memory.idle] == [(2, 5)]


def test_the_chunks_of_a_network_with_convolutions_are_recorded():
    """Their columns take some megabytes."""
    backend = open_backend("numpy", dtype="float32")
    model = lenet5((28, 28), 10)
    network = Network(model, model.init(0), backend)
    pictures = rng.integers(0, 256, (300, 28, 28)).astype(np.uint8)
    expected = [as_written(network, pictures[i : i + 50], softmax) for i in range(0, 300, 50)]
    for _ in range(4):
        answers = network.predict_proba(pictures)
        assert answers.tobytes() == np.concatenate(expected).tobytes()
    (function,) = network._forward_pass._functions.values()
    tapes = [tape for idle in function._memory.idle.values() for tape in idle]
    assert tapes
    assert 1e6 < function._memory.account.taken <= recorded.MOST_BYTES


def test_many_heads_do_not_fill_the_memory(network):
    network, samples = network
    forward = Forward(network.backend, network.model, network.preparation)
    for number in range(30):
        forward(lambda xp, output, number=number: output + number, network.arrays, samples)
    assert len(forward._functions) <= 8


# -- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [2, 5])
def test_items_in_threads(n_threads):
    assert in_threads(lambda x: x * x, list(range(50)), n_threads) == [x * x for x in range(50)]
    assert in_threads(str, [], n_threads) == []


def test_the_first_failure_of_the_items_is_raised():
    done = []

    def work(number):
        if number in (3, 4):
            raise ValueError(number)
        done.append(number)
        return number

    with pytest.raises(ValueError, match=r"^[34]$"):
        in_threads(work, list(range(1000)), 2)
    assert len(done) < 999
    assert threading.active_count() < 20


def test_products_have_their_threads_again(network):
    network, samples = network
    before = blas_threads()
    network.backend.map(lambda x: network.predict(x), [samples[:3]] * 5, pure=True)
    assert blas_threads() == before


def test_a_thread_that_cannot_be_started_leaves_none_at_work(monkeypatch):
    """Some systems give a process so many threads, and no more."""
    start, started, done = threading.Thread.start, [], []

    def first_alone(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", first_alone)
    with pytest.raises(RuntimeError, match="can't start"):
        in_threads(lambda x: (time.sleep(0.001), done.append(x)), list(range(1000)), 3)
    assert not started[0].is_alive()
    assert len(done) < 1000


def test_layers_of_ones_own_are_called_by_one_thread(monkeypatch):
    threads = set()

    class Remembers(Layer):
        def forward(self, xp, params, x, ctx):
            threads.add(threading.get_ident())
            time.sleep(0.001)
            return x, None

    backend = open_backend("numpy")
    monkeypatch.setattr(backend, "chunk_values", 1)
    network = Network(Sequential(own=Remembers()), {}, backend, target_kind="values")
    x = np.ones((64 * 8, 3), "float32")
    network.predict(x)
    network.evaluate(x, x)
    assert threads == {threading.get_ident()}
