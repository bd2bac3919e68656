"""The CuPy backend on a CuPy that is pretended: what can be run of it where there is no GPU."""

import copy
import logging
import pickle
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import array_api_compat
import array_api_compat.numpy as compat_numpy
import numpy as np
import pytest
from test_cublas import DeviceArray, EmulatedCublas, on_device

from xpnet import SGD, BackendUnavailable, fit, mlp, open_backend
from xpnet.backends.cupy import backend as cupy_backend
from xpnet.backends.cupy.cublas import Handles
from xpnet.distributed import threads
from xpnet.losses import softmax_cross_entropy
from xpnet.training.step import initial_state, make_step


class Context:
    """What can be entered; `log` has what is inside of what."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def __enter__(self):
        self.log.append(self.name)
        return self

    def __exit__(self, *error):
        assert self.log.pop() == self.name


class Entered(threading.local):
    """What a thread is inside of."""

    def __init__(self, *outermost):
        self.names = list(outermost)
        self.append, self.pop = self.names.append, self.names.pop


class Used(threading.local):
    """What a thread has used."""

    def __init__(self):
        self.devices = set()


def pretend_cupy(capability="90", devices=1):
    """A module like CuPy on NumPy; work is never recorded.

    `used` has for each thread the devices that it has made arrays, streams and events on.
    """
    events, used = [], Used()
    entered = Entered(0)  # the devices; the outermost is the current one of CuPy's default

    def noting(function):
        def noted(*arguments, **options):
            used.devices.add(entered.names[-1])
            return function(*arguments, **options)

        return noted

    class Stream(Context):
        def __init__(self, null=False, non_blocking=True):
            super().__init__(current, self)
            self.ptr = 0 if null else 7
            assert null or non_blocking
            used.devices.update(() if null else entered.names[-1:])

        def wait_event(self, event):
            events.append((self.ptr, "waits for", event.recorded_on))

        def begin_capture(self):
            raise NotImplementedError("nothing is recorded here")

        def end_capture(self):
            raise RuntimeError("the stream does not record")

        def synchronize(self):
            events.append((self.ptr, "is done"))

    class Event:
        def __init__(self, disable_timing):
            assert disable_timing
            used.devices.add(entered.names[-1])
            self.done = True

        def record(self, stream):
            self.recorded_on = stream.ptr

    class Pool:
        def malloc(self, size):
            raise AssertionError

        def total_bytes(self):
            return 1234

        def free_all_blocks(self):
            events.append("freed")

    class Device(Context):
        compute_capability = capability

        def __init__(self, number):
            super().__init__(entered, number)
            self.id = number
            self.pci_bus_id = f"0000:0{number}:00.0"

        def synchronize(self):
            pass

    @contextmanager
    def using_allocator(allocator):
        current_allocator.append(allocator)
        yield
        current_allocator.pop()

    current_allocator, default = Entered("default"), Pool()
    current = Entered(None)
    null = Stream(null=True)
    runtime = SimpleNamespace(
        getDeviceCount=lambda: devices,
        getDevice=lambda: entered.names[-1],
        getDeviceProperties=lambda number: {"name": b"Pretended"},
        CUDARuntimeError=RuntimeError,
        runtimeGetVersion=lambda: 12090,
    )
    cuda = SimpleNamespace(
        runtime=runtime, Device=Device, Stream=Stream, Event=Event, MemoryPool=Pool,
        using_allocator=using_allocator, get_allocator=lambda: current_allocator.names[-1],
        get_current_stream=lambda: current.names[-1] or null,
    )  # fmt: skip

    def no_kernel(*arguments, **options):
        raise RuntimeError("there is no compiler")

    return SimpleNamespace(
        **{**vars(compat_numpy), "__name__": "cupy", "__version__": "14.2"},
    ), SimpleNamespace(
        ndarray=DeviceArray, cuda=cuda, events=events, used=used, noting=noting,
        bool=bool, int32=np.int32, uint32=np.uint32, int64=np.int64, float32=np.dtype(np.float32),
        full=noting(lambda shape, x, dtype: on_device(np.full(shape, x, dtype))),
        ascontiguousarray=noting(lambda x: on_device(np.ascontiguousarray(x))),
        ones=noting(lambda shape, dtype: on_device(np.ones(shape, dtype))),
        empty=noting(lambda shape, dtype: on_device(np.zeros(shape, dtype) + dtype.type(77))),
        may_share_memory=np.may_share_memory, RawKernel=no_kernel,
        array=noting(lambda x, order, copy: on_device(np.array(x, order=order))),
        empty_like=noting(np.empty_like), copyto=noting(np.copyto), asnumpy=np.asarray,
        matmul=noting(np.matmul),
        get_default_memory_pool=lambda: default,
        ElementwiseKernel=lambda *arguments, **options: no_kernel,
    )  # fmt: skip


def without_device(function):
    return lambda *args, device=None, **options: on_device(function(*args, **options))


@pytest.fixture
def pretended(monkeypatch):
    """The module, in the place of CuPy, with cuBLAS emulated."""

    def install(library, **options):
        namespace, cupy = pretend_cupy(**options)
        namespace.asarray = cupy.noting(
            lambda x, dtype=None, copy=None: on_device(np.array(x, dtype=dtype))
        )
        for name in ("arange", "zeros", "ones", "full", "empty"):
            setattr(namespace, name, cupy.noting(without_device(getattr(np, name))))
        for name in ("take", "where", "exp", "sum", "max", "concat", "stack", "multiply", "astype"):
            setattr(namespace, name, cupy.noting(getattr(namespace, name)))
        info = SimpleNamespace(default_dtypes=lambda device: {"indexing": np.dtype(np.int64)})
        namespace.__array_namespace_info__ = lambda: info
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "array_api_compat.cupy", namespace)
        monkeypatch.setattr(array_api_compat, "cupy", namespace, raising=False)
        monkeypatch.setattr(
            cupy_backend.CupyBackend, "installed_version", classmethod(lambda cls: "14.2")
        )

        monkeypatch.setattr(
            cupy_backend.CupyBackend, "device_of", classmethod(lambda cls, x: "cuda:0")
        )

        def find_handles():
            if library is None:
                raise OSError("libcublas.so: not\nfound")
            return Handles(library, lambda size: SimpleNamespace(ptr=size))

        monkeypatch.setattr(cupy_backend, "find_handles", find_handles)
        return cupy

    return install


MODEL = mlp(6, 5, 3, dropout=0.2)


def train(backend, n=6):
    """Groups of steps by `repeat`."""
    rng = np.random.default_rng(0)
    with backend.scope():
        x = backend.asarray(rng.integers(255, size=(40, 6)).astype(np.uint8))
        y = backend.asarray(rng.integers(3, size=40))
        step = make_step(backend, MODEL, softmax_cross_entropy, SGD(0.1), pixel_maximum=255)
        run, state = backend.repeat(step), initial_state(backend, MODEL, SGD(0.1), 0)
        for group in range(n):
            rows = backend.asarray(np.random.default_rng(group).permutation(40).reshape(4, 10))
            state = run(state, x, y, rows)
    return {name: backend.to_numpy(value) for name, value in state.items()}, run


def expected(n=6):
    return train(open_backend("numpy", None, "float64"), n)[0]


def assert_close(state, other):
    for name, value in other.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-12, err_msg=name)


def test_groups_run_on_the_stream_and_where_they_cannot_be_recorded_beside_it(pretended, caplog):
    library = EmulatedCublas()
    cupy = pretended(library)
    backend = open_backend("cupy", None, "float64")
    assert backend.device_name() == "cuda:0 (Pretended)"
    with caplog.at_level(logging.WARNING, "xpnet"):
        state, _ = train(backend, 2)
        assert_close(state, expected(2))
        # No kernel for the masks, and none for the rest.
        assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
            "dropout takes many kernels instead of one",
            "small kernels are not put together",
        ]
        state, _ = train(backend)
    assert_close(state, expected())
    assert backend.graphs.reason == "NotImplementedError: nothing is recorded here"
    assert [record.getMessage() for record in caplog.records][3:] == [
        "steps are started one by one, which is slower on a GPU: they cannot be recorded as a "
        "CUDA graph (NotImplementedError: nothing is recorded here)"
    ]
    # Each group is ordered after what came before, and what comes then after it.
    assert cupy.events[:4] == [
        (7, "waits for", 0), (0, "waits for", 7), (7, "waits for", 0), (0, "waits for", 7)
    ]  # fmt: skip
    assert cupy.events[-2:] == [(7, "is done"), "freed"]
    assert library.opened[:2] == [0, 7]
    assert library.closed[-1] == 1007
    assert backend.graphs.most_bytes == 1234
    assert backend.peak_memory() == 1234 + 1234
    # No product was left to CuPy, and the update was one with its product.
    assert {call[0] for call in library.calls} == {1000, 1007}
    assert {c[1].swapped for c in library.calls} == {True}


@pytest.mark.parametrize("by", ["capture", "steps"])
def test_without_capture_nothing_is_opened(pretended, by):
    library = EmulatedCublas()
    cupy = pretended(library)
    backend = open_backend("cupy", None, "float64", steps="called" if by == "steps" else None)
    backend.capture = False if by == "capture" else backend.capture
    assert (backend.steps, backend.fuse, backend.capture) == ("called", by == "capture", False)
    assert backend.planned_steps() == "steps called"
    state, _ = train(backend)
    assert backend.taken_steps() == "all steps called"
    assert_close(state, expected())
    assert cupy.events == []
    assert library.opened == [0]


def test_which_steps_there_are(pretended):
    pretended(EmulatedCublas())
    assert open_backend("cupy").planned_steps() == "steps recorded"
    backend = open_backend("cupy", steps="recorded")
    backend.graphs.captures, backend.graphs.launches = 2, 1234
    assert backend.taken_steps() == "2 CUDA graphs recorded, and started 1,234 times"
    with pytest.raises(ValueError, match="has no steps that are compiled, they are recorded or ca"):
        open_backend("cupy", steps="compiled")


def set_capture(backend, capture):
    backend.capture = capture


@pytest.mark.parametrize(
    ("choose", "steps", "fuse"),
    [
        (lambda backend: None, "recorded", True),
        (lambda backend: set_capture(backend, False), "called", True),
        (lambda backend: backend.choose_steps("called"), "called", False),
        (lambda backend: setattr(backend, "fuse", False), "recorded", False),
        (lambda b: (b.choose_steps("called"), setattr(b, "fuse", True)), "called", True),
        (lambda b: (set_capture(b, False), b.choose_steps("recorded")), "recorded", True),
        (lambda b: (set_capture(b, False), set_capture(b, True)), "recorded", True),
    ],
)
def test_copies_and_pickles_take_their_steps_as_chosen(pretended, choose, steps, fuse):
    pretended(EmulatedCublas())
    backend = open_backend("cupy", None, "float64")
    choose(backend)
    for one in (backend, pickle.loads(pickle.dumps(backend)), copy.deepcopy(backend)):
        assert (one.steps, one.capture, one.fuse) == (steps, steps == "recorded", fuse)
        assert one.planned_steps() == f"steps {steps}"
        assert open_backend(one, steps=steps) is one


def test_where_there_is_no_gpu_nothing_is_left_of_its_settings(pretended, caplog):
    cupy = pretended(EmulatedCublas())
    backend = open_backend("cupy", None, "float64", steps="called")
    backend.fuse, backend.chunk_values = True, 5
    content = pickle.dumps(backend)
    assert pickle.loads(content).chunk_values == 5
    cupy.cuda.runtime.getDeviceCount = lambda: 0
    cupy.cuda.runtime.driverGetVersion = lambda: 0
    again = pickle.loads(content)
    assert (again.name, again.chunk_values) == ("numpy", type(again).chunk_values)
    assert not hasattr(again, "fuse")


def test_without_cublas_cupy_makes_the_products(pretended, caplog):
    pretended(None)
    backend = open_backend("cupy", None, "float64")
    assert backend.graphs.reason == "cuBLAS cannot be called: OSError: libcublas.so: not found"
    assert backend.planned_steps() == f"steps called ({backend.graphs.reason})"
    with caplog.at_level(logging.WARNING, "xpnet"):
        state, _ = train(backend)
    assert_close(state, expected())
    assert caplog.records[0].getMessage() == (
        "steps are started one by one: cuBLAS cannot be called: OSError: libcublas.so: not found"
    )
    with pytest.raises(BackendUnavailable, match="tf32 cannot be switched on, since cuBLAS cannot"):
        open_backend("cupy", tf32=True)


def test_cublas_that_gives_wrong_results_is_not_taken(pretended):
    class Wrong(EmulatedCublas):
        def gemm(self, *arguments, **options):
            pass

    pretended(Wrong())
    reason = open_backend("cupy").graphs.reason
    assert reason == "cuBLAS cannot be called: RuntimeError: it gives wrong results"


def test_tf32_is_told_to_cublas(pretended):
    library = EmulatedCublas()
    pretended(library)
    backend = open_backend("cupy", tf32=True)
    assert backend.tf32
    assert library.calls[-1][3] is True
    assert open_backend(backend) is backend
    assert open_backend("cupy").tf32 is False
    assert library.calls[-1][3] is False


def test_an_old_gpu_has_no_tf32(pretended):
    pretended(EmulatedCublas(), capability="75")
    with pytest.raises(ValueError, match=r"tf32 means nothing on cuda:0 \(Pretended\) with cupy"):
        open_backend("cupy", tf32=True)


# -- several ranks --------------------------------------------------------------------------------


def train_on_ranks(cupy, size, **options):
    """For each rank its device, and those that it has used."""
    cupy.cuda.nccl = SimpleNamespace(available=False)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(12, 6)), rng.integers(3, size=12)

    def train(group):
        cupy.used.devices.clear()
        network = fit(MODEL, data, epochs=1, batch_size=4, group=group, **options)
        return str(network.backend.device.id), cupy.used.devices

    return threads(size, timeout=30).run(train)


@pytest.mark.parametrize("options", [{"backend": "cupy"}, {"backend": "auto"}, {"device": "cuda"}])
@pytest.mark.parametrize(("size", "devices", "taken"), [(2, 2, "01"), (3, 4, "012"), (3, 2, "010")])
def test_each_rank_has_a_device_of_its_own_and_uses_no_other(
    pretended, options, size, devices, taken
):
    cupy = pretended(EmulatedCublas(), devices=devices)
    found = train_on_ranks(cupy, size, **options)
    assert [device for device, _ in found] == list(taken)
    assert [used for _, used in found] == [{int(device)} for device in taken]


def test_ranks_share_a_device_that_has_a_number(pretended):
    cupy = pretended(EmulatedCublas(), devices=2)
    assert train_on_ranks(cupy, 2, backend="cupy", device="cuda:1") == 2 * [("1", {1})]
    cupy.used.devices.clear()
    opened = open_backend("cupy", "cuda:1")
    assert train_on_ranks(cupy, 2, backend=opened) == 2 * [("1", {1})]
    # By itself a rank has the first.
    assert train_on_ranks(cupy, 1, backend="cupy") == [("0", {0})]
