"""Groups of steps by CUDA graphs: the logic on a device that is pretended, and CuPy on a GPU."""

import gc
import logging
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import require

from xpnet import SGD, fit, load_dataset, mlp, open_backend
from xpnet.backends.cupy.graph import MOST_GRAPHS, WARM_UPS, GraphRunner, GraphUse

STAGES = ("open", "begin", "step", "end", "launch")


class BrokenError(RuntimeError):
    """What the pretended device raises."""


class Device:
    """A device that records work and does it later, and that reuses its memory."""

    def __init__(self, fail_at=None):
        self.fail_at = fail_at
        self.recording = None
        self.is_inside = False
        self.temporaries = []
        self.events = []
        self.closed = 0

    def at(self, stage):
        self.events.append(stage)
        if stage == self.fail_at:
            raise BrokenError(f"at {stage}\nof the capture")

    def do(self, work):
        """What a step does its work with: at once, or later if it is recorded."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def new(self, shape, dtype):
        array = np.zeros(shape, dtype)
        if self.is_inside:
            self.temporaries.append(array)
        return array

    # -- the stream ---------------------------------------------------------------------------

    @contextmanager
    def inside(self):
        assert not self.is_inside
        self.is_inside = True
        try:
            yield
        finally:
            assert self.recording is None, "recording goes on"
            self.is_inside = False
            # Others use the memory now: what should last must not lie there.
            for array in self.temporaries:
                array[...] = 77

    def place(self, x):
        return (x.__array_interface__["data"][0], x.shape, x.strides, x.dtype.str)

    def lasting(self, x):
        return np.zeros_like(x)

    def temporary(self, x):
        assert self.is_inside
        copy = self.new(x.shape, x.dtype)
        self.copy(copy, x)
        return copy

    def copy(self, target, source):
        assert target.shape == source.shape
        assert target.dtype == source.dtype
        self.do(lambda: np.copyto(target, source))

    def begin(self):
        assert self.is_inside
        self.at("begin")
        self.recording = []

    def end(self):
        self.at("end")
        recorded, self.recording = self.recording, None
        return recorded

    def abort(self):
        self.events.append("abort")
        self.recording = None

    def launch(self, graph):
        assert self.is_inside
        self.at("launch")
        for work in graph:
            work()

    def wait(self):
        self.events.append("wait")

    def close(self):
        assert self.events[-1] == "wait"
        self.closed += 1
        return 1000


def make_step(device):
    """A step that overwrites its parameter, and makes all else anew."""

    def step(state, x, y, rows):
        if device.recording is not None:
            device.at("step")
        weight, number = state["weight"], device.new((), np.int64)
        loss = device.new((), np.float64)
        batch = device.new((rows.shape[0],), np.float64)
        device.do(lambda: np.copyto(batch, x[rows] - y[rows]))
        device.do(lambda: np.copyto(loss, batch.mean() + state["step"]))

        def descend():
            weight[...] -= state["rate"] * (batch.sum() + weight * state["step"])

        device.do(descend)
        device.do(lambda: np.add(state["step"], 1, out=number))
        return {"weight": weight, "rate": state["rate"], "step": number, "loss": loss}

    return step


def initial():
    return {
        "weight": np.array([1.0, -2.0]),
        "rate": np.array(0.01),
        "step": np.array(0),
        "loss": np.array(0.0),
    }


X = np.random.default_rng(0).normal(size=60)
Y = np.random.default_rng(1).normal(size=60)


def epochs(n):
    """The groups of some epochs, in new arrays: of three steps, of one, and a smaller one."""
    for epoch in range(n):
        order = np.random.default_rng(epoch).permutation(46)
        for first in range(0, 36, 9):
            yield order[first : first + 9].reshape(3, 3).copy()
        for first in range(36, 45, 3):
            yield order[first : first + 3].reshape(1, 3).copy()
        yield order[45:].reshape(1, 1).copy()


def expected(groups, changes=None):
    device = Device()
    step, state = make_step(device), initial()
    for number, group in enumerate(groups):
        state |= (changes or {}).get(number, {})
        for rows in group:
            state = step(state, X, Y, rows)
    return state


def runner(device):
    def open_stream():
        device.at("open")
        return device

    return GraphRunner(make_step(device), open_stream)


def assert_same(state, other):
    assert state.keys() == other.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_recorded_steps_are_the_steps():
    device = Device()
    run, state, groups = runner(device), initial(), list(epochs(6))
    first = dict(state)
    for number, group in enumerate(groups, start=1):
        state = run(state, X, Y, group)
        assert_same(state, expected(groups[:number]))
        assert all(state[name] is first[name] for name in state)
    # Three kinds of groups, each run twice before it was recorded.
    assert run.use.captures == 3
    assert run.use.launches == len(groups) - 3 * WARM_UPS
    assert run.use.reason == ""
    run.close()
    assert device.closed == 1
    assert run.use.most_bytes == 1000
    assert_same(state, expected(groups))


def test_two_halves_in_turn_share_the_arrays_of_a_state():
    """As `Backend.repeat_in_turn` has them: between them the sum is put in its place."""
    devices = Device(), Device()

    def first(state, x, y, rows):
        total, place = devices[0].new((1,), np.float64), state["place"]
        devices[0].do(lambda: np.copyto(total, (x[rows] - y[rows] + place).sum()))
        return {**state, "sums": total}

    def second(state, x, y, rows):
        weight, number = state["weight"], devices[1].new((), np.int64)

        def descend():
            weight[...] -= state["rate"] * (state["sums"] + weight * state["step"])

        devices[1].do(descend)
        devices[1].do(lambda: np.add(state["step"], 1, out=number))
        return {**state, "weight": weight, "step": number}

    halves = [GraphRunner(first, lambda: devices[0]), GraphRunner(second, lambda: devices[1])]
    halves[0].share_state(halves[1])
    state = initial() | {"sums": np.zeros(1), "place": np.array(0.0)}
    weight, step, nothing, arrays = initial()["weight"], 0, np.zeros((1, 1)), None
    for number in range(40):
        rows = np.random.default_rng(number).permutation(46)[: 3 if number % 4 else 2]
        if number % 4 < 2:  # the part of another batch begins elsewhere
            state["place"] = np.array(float(number % 4))
        place = float(min(number % 4, 1))
        state = halves[0](state, X, Y, rows[None, :])
        arrays = arrays or dict(state)
        assert all(state[name] is value for name, value in arrays.items())
        total = (X[rows] - Y[rows] + place).sum()
        np.testing.assert_allclose(state["sums"], total)
        if number % 2:
            state["sums"] *= 2  # in its place, as on a device
        else:
            state["sums"] = 2 * state["sums"]  # by way of the host
        state = halves[1](state, nothing, nothing, nothing)
        assert all(state[name] is value for name, value in arrays.items())
        weight = weight - 0.01 * (2 * total + weight * step)
        step += 1
        np.testing.assert_allclose(state["weight"], weight)
    captures = [half.use.captures for half in halves]
    # Two sizes of batches; samples and rows of the second half are always the same.
    assert captures == [2, 1]
    assert halves[1].use.launches == 40 - WARM_UPS
    # A state of another shape is forgotten by both.
    state["weight"] = np.array([1.0, 2.0, 3.0])
    state = halves[0](state, X, Y, rows[None, :])
    state = halves[1](state, nothing, nothing, nothing)
    total = (X[rows] - Y[rows] + place).sum()
    np.testing.assert_allclose(
        state["weight"], np.array([1.0, 2.0, 3.0]) * (1 - 0.01 * step) - 0.01 * total
    )


def test_targets_may_be_a_tuple():
    """As those with weights are: recorded once, and again where one of its arrays is another."""
    device, other = Device(), Y.copy()
    inner = make_step(device)

    def step(state, x, y, rows):
        return inner(state, x, y[0], rows)

    run, state, group = GraphRunner(step, lambda: device), initial(), np.arange(6).reshape(2, 3)
    for _ in range(2 * WARM_UPS + 2):
        state = run(state, X, (Y, other), group)
    assert (run.use.captures, run.use.launches, run.use.reason) == (1, WARM_UPS + 2, "")
    assert_same(state, expected([group] * (2 * WARM_UPS + 2)))
    for _ in range(WARM_UPS + 1):
        state = run(state, X, (Y, X), group)
    assert run.use.captures == 2


def test_samples_can_be_forgotten():
    """Those that were copied to where graphs read them; the steps go on, and are recorded again."""
    device = Device()
    run, state, groups = runner(device), initial(), list(epochs(4))
    state = run(state, X, Y, groups[0])
    x, y = X.copy(), Y.copy()
    for group in groups[1:12]:
        state = run(state, x, y, group)
    assert run._samples
    run.forget()
    assert device.closed == 1
    del x, y
    gc.collect()
    assert not [one for one in gc.get_referents(vars(run)) if getattr(one, "shape", ()) == X.shape]
    assert (run._samples, run._graphs, run._state) == ({}, {}, {})
    captures = run.use.captures
    for group in groups[12:]:
        state = run(dict(state), X.copy(), Y.copy(), group)
    assert_same(state, expected(groups))
    assert run.use.captures > captures


@pytest.mark.parametrize("stage", STAGES)
def test_what_cannot_be_recorded_is_run_step_by_step(stage, caplog):
    device = Device(fail_at=stage)
    run, state, groups = runner(device), initial(), list(epochs(4))
    with caplog.at_level(logging.WARNING, "xpnet"):
        for number, group in enumerate(groups, start=1):
            state = run(state, X, Y, group)
            assert_same(state, expected(groups[:number]))
    assert run.use.launches == 0
    assert run.use.reason == f"BrokenError: at {stage} of the capture"
    assert [record.getMessage() for record in caplog.records] == [
        "steps are started one by one, which is slower on a GPU: they cannot be recorded as a "
        f"CUDA graph (BrokenError: at {stage} of the capture)"
    ]
    assert device.closed == (stage != "open")
    assert device.events.count(stage) == 1


def test_an_interruption_ends_the_recording():
    device = Device()
    run, state = runner(device), initial()
    groups = list(epochs(1))[:3]
    for group in groups[:2]:
        state = run(state, X, Y, group)

    def interrupt():
        raise KeyboardInterrupt

    device.end = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(state, X, Y, groups[2])
    assert "abort" in device.events
    assert_same(state, expected(groups[:2]))


def test_what_a_step_does_in_spite_of_the_recording_is_undone():
    device = Device(fail_at="end")
    step = make_step(device)

    def careless(state, x, y, rows):
        if device.recording is not None:
            state["weight"] += 1
        return step(state, x, y, rows)

    run, state, groups = GraphRunner(careless, lambda: device), initial(), list(epochs(1))
    for group in groups:
        state = run(state, X, Y, group)
    assert_same(state, expected(groups))


def test_an_error_of_the_step_itself_is_raised():
    device = Device()

    def step(state, x, y, rows):
        raise ZeroDivisionError

    run = GraphRunner(step, lambda: device)
    with pytest.raises(ZeroDivisionError):
        run(initial(), X, Y, next(epochs(1)))


def test_a_replaced_array_is_seen():
    """A callback may set the learning rate; the graph reads it where it was."""
    groups = list(epochs(3))
    changes = {n: {"rate": np.array(0.1 / n)} for n in (1, 9, 10, 19)}
    device = Device()
    run, state = runner(device), initial()
    for number, group in enumerate(groups):
        state = run(state | changes.get(number, {}), X, Y, group)
    assert_same(state, expected(groups, changes))
    assert run.use.launches


def test_a_state_of_another_shape_begins_anew():
    device = Device()
    run, groups = runner(device), list(epochs(2))
    for weight in ([1.0, 2.0], [3.0, 4.0, 5.0]):
        state = initial() | {"weight": np.array(weight)}
        other = initial() | {"weight": np.array(weight)}
        step = make_step(Device())
        for group in groups:
            state = run(state, X, Y, group)
            for rows in group:
                other = step(other, X, Y, rows)
        assert_same(state, other)
    assert device.events.count("begin") == 2 * run.use.captures // 2 == run.use.captures
    assert run.use.launches


def test_a_step_may_return_other_dtypes_and_exchange_arrays():
    device = Device()

    def step(state, x, y, rows):
        loss = device.new((1,), np.float32)
        device.do(lambda: np.copyto(loss, x[rows[:1]]))
        device.do(lambda: np.add(state["a"], 1, out=state["a"]))
        return {"a": state["b"], "b": state["a"], "loss": loss}

    run = GraphRunner(step, lambda: device)
    state = {"a": np.array(0.0), "b": np.array(10.0), "loss": np.array(0.0)}
    for number in range(1, 8):
        state = run(state, X, Y, np.array([[number]]))
        assert float(state["a"]) == (number // 2 + (10 if number % 2 else 0))
        assert state["loss"].dtype == np.float32
        assert state["loss"] == X[number].astype(np.float32)
    assert run.use.launches


def test_samples_that_lie_elsewhere_each_time_are_copied_to_one_place(monkeypatch):
    groups = [group for group in epochs(3) if group.shape == (3, 3)]
    for most, captures in ((2**28, 1), (0, 0)):
        monkeypatch.setattr("xpnet.backends.cupy.graph.MOST_COPIED", most)
        device = Device()
        run, state, kept = runner(device), initial(), []
        for number, group in enumerate(groups):
            x, y = X.copy(), Y.copy()
            kept.append((x, y))
            state = run(state, x, y, group)
            assert_same(state, expected(groups[: number + 1]))
        assert run.use.captures == captures
        assert (run.use.launches > 0) == bool(captures)


def test_one_array_under_two_names_becomes_two():
    device = Device()

    def step(state, x, y, rows):
        a, b = device.new((), np.float64), device.new((), np.float64)
        device.do(lambda: np.copyto(a, state["a"] + 1))
        device.do(lambda: np.copyto(b, state["b"] + 2))
        return {"a": a, "b": b}

    run, shared = GraphRunner(step, lambda: device), np.zeros(())
    state = run({"a": shared, "b": shared}, X, Y, np.arange(3).reshape(1, 3))
    assert (float(state["a"]), float(state["b"])) == (1, 2)


def test_where_there_can_be_no_graph_the_fallback_is_taken():
    taken = []

    def fallback(state, x, y, rows):
        taken.append(len(rows))
        return state

    run = GraphRunner(make_step(Device()), lambda: 1 / 0, fallback=fallback)
    run(initial(), X, Y, np.arange(6).reshape(2, 3))
    assert taken == [3, 3]


def test_there_are_only_so_many_graphs():
    device = Device()
    run, state, groups = runner(device), initial(), []
    for size in range(1, 8):
        for _ in range(4):
            groups.append(np.arange(size)[None, :])
            state = run(state, X, Y, groups[-1])
    assert run.use.captures == MOST_GRAPHS
    assert_same(state, expected(groups))


def test_what_is_held_goes_with_the_runner():
    device = Device()
    run, state = runner(device), initial()
    for group in epochs(2):
        state = run(state, X, Y, group)
    del run
    gc.collect()
    assert device.closed == 1


def test_nothing_is_opened_before_the_first_group():
    device = Device()
    run = runner(device)
    run.close()
    assert device.events == []
    assert GraphUse() == run.use


# -- on a GPU ---------------------------------------------------------------------------------

TRAINING = {"epochs": 4, "batch_size": 50, "optimizer": SGD(0.2), "seed": 5}
MODEL = mlp(64, 40, 24, 10, dropout=0.2)


def opened(*, capture, dtype="float32"):
    require("cupy")
    backend = open_backend("cupy", None, dtype)
    backend.capture = capture
    return backend


def bits(network):
    """Parameters and losses, as they are in memory."""
    params = {k: network.backend.to_numpy(v).tobytes() for k, v in network.params.items()}
    return params, [(r.train_loss, r.test_loss, r.train_accuracy) for r in network.history]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("one_hot", [False, True], ids=["labels", "one-hot"])
def test_recorded_equals_eager_bit_for_bit(dtype, one_hot):
    data = load_dataset("digits")
    x, y = data.train.images, data.train.labels
    assert x.shape[0] % TRAINING["batch_size"], "there should be a smaller last batch"
    y = np.eye(10)[y] if one_hot else y
    runs = []
    for capture in (True, False):
        backend = opened(capture=capture, dtype=dtype)
        runs.append(bits(fit(MODEL, (x, y), backend=backend, **TRAINING)))
        assert (backend.graphs.launches > 0) == capture, backend.graphs
        assert backend.graphs.reason == ""
    assert runs[0] == runs[1]


@pytest.mark.gpu
def test_a_second_training_is_the_first(caplog):
    with caplog.at_level(logging.WARNING, "xpnet"):
        backend = opened(capture=True)
        first = fit(MODEL, load_dataset("digits"), backend=backend, **TRAINING)
        before = bits(first)
        second = fit(MODEL, load_dataset("digits"), backend=backend, **TRAINING)
        assert bits(second) == before == bits(first)
    assert not caplog.records


@pytest.mark.gpu
def test_memory_is_given_back_after_a_training(monkeypatch):
    require("cupy")
    import cupy

    pools, make_pool = [], cupy.cuda.MemoryPool

    def memory_pool(*arguments):
        pools.append(make_pool(*arguments))
        return pools[-1]

    monkeypatch.setattr(cupy.cuda, "MemoryPool", memory_pool)
    backend = opened(capture=True)
    for number in range(1, 4):
        network = fit(MODEL, load_dataset("digits"), backend=backend, **TRAINING)
        assert len(pools) == number, "one for the graphs of each training"
        assert backend.graphs.most_bytes > 0
        del network
        gc.collect()
        with backend.scope():
            # Not what the device has free: other processes use it too.
            assert [pool.total_bytes() for pool in pools] == [0] * number
            cupy.get_default_memory_pool().free_all_blocks()
            assert cupy.get_default_memory_pool().used_bytes() < 2**20


SPIN = r"""
extern "C" __global__ void spin(long long cycles) {
    long long start = clock64();
    while (clock64() - start < cycles) { }
}
"""


@pytest.mark.gpu
@pytest.mark.parametrize("capture", [True, False])
def test_groups_are_started_without_waiting(capture):
    """While a kernel of about a second is running, whole groups can be asked for."""
    require("cupy")
    import cupy

    from xpnet.losses import softmax_cross_entropy
    from xpnet.training.step import initial_state
    from xpnet.training.step import make_step as make_training_step

    backend, data = opened(capture=capture), load_dataset("digits")
    with backend.scope():
        x = backend.asarray(data.train.images)
        y = backend.asarray(data.train.labels, dtype=backend.index_dtype)
        groups = backend.asarray(np.arange(400).reshape(8, 50), dtype=backend.index_dtype)
        step = make_training_step(
            backend, MODEL, softmax_cross_entropy, SGD(0.1), pixel_maximum=16.0
        )
        run, state = backend.repeat(step), initial_state(backend, MODEL, SGD(0.1), 0)
        for _ in range(WARM_UPS + 1):
            state = run(state, x, y, groups)
        backend.synchronize()
        spin, done = cupy.RawKernel(SPIN, "spin"), cupy.cuda.Event()
        spin((1,), (1,), (np.int64(10),))
        spin((1,), (1,), (np.int64(2 * 10**9),))
        done.record()
        # A device takes about a thousand kernels ahead, a graph counting as one.
        asked = 3 if capture else 1
        for _ in range(asked):
            state = run(state, x, y, groups)
        assert not done.done, "the steps waited for the device"
        # What the caller asks for next comes after the steps.
        number = int(backend.to_numpy(state["step"]))
        assert done.done
        assert number == 8 * (WARM_UPS + 1 + asked)


@pytest.mark.gpu
def test_callbacks_see_each_step_of_a_recorded_training():
    from xpnet.callbacks import Callback

    class Losses(Callback):
        def __init__(self):
            self.losses = []

        def on_step(self, state, count):
            assert count == 1
            self.losses.append(float(state["loss"]))

    runs = []
    for capture in (True, False):
        watcher, backend = Losses(), opened(capture=capture)
        fit(MODEL, load_dataset("digits"), backend=backend, callbacks=[watcher], **TRAINING)
        assert (backend.graphs.launches > 0) == capture
        runs.append(watcher.losses)
    assert runs[0] == runs[1]
