"""Sums by NCCL, on a CuPy that is pretended and an NCCL that adds up across threads."""

import ctypes
import logging
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import require
from test_cublas import EmulatedCublas, on_device
from test_cupy_pretended import pretended  # noqa: F401 - a fixture

from xpnet import SGD, TrainingDiverged, fit, mlp, open_backend
from xpnet.backends import probe_device_sums
from xpnet.backends.cupy.nccl import connect
from xpnet.distributed import threads
from xpnet.errors import GroupError
from xpnet.random import stream
from xpnet.training.summed import FLAGS_EVERY

N = 45
X = stream(0, "x").normal(size=(N, 4))
LABELS = stream(0, "labels").integers(3, size=N)
MODEL = mlp(4, 6, 3)
OPTIONS = {
    "epochs": 2, "batch_size": 4, "optimizer": SGD(0.3), "dtype": "float64", "seed": 3,
}  # fmt: skip


class NcclError(RuntimeError):
    pass


class PretendedNccl:
    """`cupy.cuda.nccl`: each communicator is used by a thread; `calls` has what they did."""

    available = True
    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = 7, 8, 0
    NcclError = NcclError

    def __init__(self, size):
        self.meeting = SimpleNamespace(barrier=threading.Barrier(size), values=[None] * size)
        self.calls, self.ended, self.failing, self.wrong = [], [], set(), 0

        nccl = self

        class NcclCommunicator:
            def __init__(self, ndev, commId, rank):
                assert (ndev, commId) == (size, (1, -2, 3))
                if rank in nccl.failing:
                    raise NcclError("unhandled system error")
                self.rank = rank

            def _all(self, pointer, count, datatype):
                kind = {7: ctypes.c_float, 8: ctypes.c_double}[datatype]
                own = np.ctypeslib.as_array((kind * count).from_address(pointer))
                meeting = nccl.meeting
                meeting.values[self.rank] = own.copy()
                meeting.barrier.wait(20)
                values = np.stack(meeting.values)
                meeting.barrier.wait(20)
                return values

            def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):  # noqa: N802
                nccl.calls.append((self.rank, "sum", count))
                assert (op, stream) == (0, 0)
                total = self._all(sendbuf, count, datatype).sum(axis=0) + nccl.wrong
                ctypes.memmove(recvbuf, total.ctypes.data, total.nbytes)

            def allGather(self, sendbuf, recvbuf, count, datatype, stream):  # noqa: N802
                nccl.calls.append((self.rank, "gather", count))
                values = self._all(sendbuf, count, datatype)
                ctypes.memmove(recvbuf, values.ctypes.data, values.nbytes)

            def check_async_error(self):
                if nccl.failing:
                    raise NcclError("remote process exited")

            def abort(self):
                nccl.ended.append((self.rank, "abort"))

            def destroy(self):
                nccl.ended.append((self.rank, "destroy"))

        self.NcclCommunicator = NcclCommunicator

    def get_version(self):
        return 22105

    def get_unique_id(self):
        return (1, -2, 3)


@pytest.fixture
def install(pretended):  # noqa: F811 - the fixture
    def put(size, devices=None):
        cupy = pretended(EmulatedCublas(), devices=size if devices is None else devices)
        cupy.cuda.nccl = PretendedNccl(size)
        return cupy.cuda.nccl

    return put


def train(size, model=MODEL, **options):
    """The networks of all ranks."""
    options = OPTIONS | options
    return threads(size, timeout=30).run(
        lambda group: fit(model, (X, LABELS), group=group, **options)
    )


def content(network):
    return {k: np.array(network.backend.to_numpy(v)) for k, v in network.arrays.items()}


NORM = mlp(4, 6, 3, batch_norm=True)


@pytest.mark.parametrize(
    ("model", "size", "batch_size"), [(MODEL, 2, 4), (MODEL, 3, 2), (NORM, 2, 6), (NORM, 3, 7)]
)
def test_gradients_are_added_up_on_the_devices(install, model, size, batch_size):
    nccl = install(size)
    alone = fit(model, (X, LABELS), **OPTIONS | {"backend": "numpy", "batch_size": batch_size})
    networks = train(size, model=model, backend="cupy", batch_size=batch_size)
    for network in networks:
        for name, value in content(alone).items():
            np.testing.assert_allclose(content(network)[name], value, rtol=1e-11, atol=1e-12)
    assert {network.backend.sums for network in networks} == {"NCCL 2.21.5"}
    assert networks[0].backend.taken_steps().endswith(", added up by NCCL 2.21.5")
    n_values = sum(np.size(v) for v in alone.params.values()) + 4
    sums = [call for call in nccl.calls if call[1:] == ("sum", n_values)]
    assert len(sums) == size * 2 * -(-N // batch_size)
    assert sorted(nccl.ended) == [(rank, "destroy") for rank in range(size)]


def test_exact_sums_are_the_same_bytes_on_the_devices_and_on_the_host(install):
    options = {"backend": "cupy", "reduction": "exact", "shards": 8}
    nccl, by_size = install(1), {}
    by_size[1] = content(train(1, **options)[0])
    assert {call[1] for call in nccl.calls} == {"sum", "gather"}  # the sum is that of the start
    for size in (2, 3):
        nccl = install(size)
        by_size[size] = content(train(size, **options)[1])
        assert {call[1] for call in nccl.calls} == {"sum", "gather"}
    install(2, devices=1)
    by_size["host"] = content(train(2, **options)[0])
    first = by_size.pop(1)
    for other in by_size.values():
        assert all(value.tobytes() == other[name].tobytes() for name, value in first.items())


def messages(caplog):
    return [m for m in caplog.messages if m.startswith("gradients")]


def test_ranks_that_share_a_gpu_add_up_on_the_host(install, caplog):
    nccl = install(3, devices=2)
    with caplog.at_level(logging.WARNING, "xpnet"):
        networks = train(3, backend="cupy")
    assert messages(caplog) == [
        "gradients are added up by way of the host, which is slower: ranks 0 and 2 share a GPU, "
        "which NCCL refuses"
    ]
    assert (nccl.calls, networks[0].backend.sums) == ([], "")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"available": False}, "pip install nvidia-nccl-cu12"),
        ({"failing": {1}}, "(NcclError: unhandled system error) (rank 1)"),
        ({"wrong": 1}, "NCCL 2.21.5 gives wrong results (rank 0)"),
        ({"get_unique_id": lambda: 1 / 0}, "(ZeroDivisionError: division by zero)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_where_nccl_does_not_work_the_host_does_it(install, caplog, change, text):
    nccl = install(2)
    for name, value in change.items():
        setattr(nccl, name, value)
    if nccl.failing:  # as the other rank finds it after a while
        nccl.failing = {0, 1}
        text = text.replace("rank 1", "rank 0")
    alone = content(fit(MODEL, (X, LABELS), **OPTIONS, backend="numpy"))
    with caplog.at_level(logging.WARNING, "xpnet"):
        network = train(2, backend="cupy")[0]
    (message,) = messages(caplog)
    assert text in message
    for name, value in alone.items():
        np.testing.assert_allclose(content(network)[name], value, rtol=1e-11, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy for a GPU
def test_the_step_of_a_loss_that_is_not_finite_is_named_though_it_is_seen_later(install):
    install(2)
    texts = []
    for backend in ("numpy", "cupy"):
        with pytest.raises(TrainingDiverged) as raised:
            train(2, backend=backend, optimizer=SGD(1e200))
        texts.append(str(raised.value).partition(" with")[0])
    assert texts[0] == texts[1]
    assert "first in step" in texts[0]


def test_an_error_of_nccl_ends_the_wait(install):
    nccl = install(1)
    backend = open_backend("cupy")
    (group,) = threads(1)
    sums = connect(backend._cupy, backend.device, group)
    sums._event = SimpleNamespace(record=lambda stream: None, done=False)
    nccl.failing = {0}
    with pytest.raises(RuntimeError, match="NCCL has failed: remote process exited"):
        sums.read(on_device(np.zeros(2)))
    assert nccl.ended == [(0, "abort")]


def test_a_group_that_has_ended_is_not_waited_for_on_the_device(install):
    install(1)
    first, _ = threads(2, timeout=5)
    first.abort(reason="rank 1 of 2 has failed")
    with pytest.raises(GroupError, match="rank 1 of 2 has failed"):
        first.wait_until(lambda: False)


def test_flags_are_read_at_the_same_steps_on_all_ranks(install):
    """So a rank that is asked to stop does so after the step after which all do."""
    install(2)
    reads = {0: 0, 1: 0}

    def on_rank(group):
        wait = group.wait_until

        def counted(done):
            reads[group.rank] += 1
            wait(done)

        group.wait_until = counted
        return fit(MODEL, (X, LABELS), group=group, backend="cupy", **OPTIONS)

    threads(2, timeout=30).run(on_rank)
    n_steps = -(-N // 4)
    each_epoch = -(-n_steps // FLAGS_EVERY)
    assert reads == dict.fromkeys(reads, 1 + 2 * each_epoch)  # and once at the start


def test_what_is_usable_is_said(install):
    nccl = install(1)
    status = probe_device_sums()["nccl"]
    assert (status.usable, status.version) == (True, "2.21.5")
    nccl.available = False
    status = probe_device_sums()["nccl"]
    assert not status.usable
    assert "pip install nvidia-nccl-cu12" in status.reason


def test_since_when_a_sum_is_waited_for(install):
    """By which a rank of MPI knows that another is stuck, also where nobody reads the sums."""
    install(1)
    backend = open_backend("cupy")
    (group,) = threads(1)
    sums = connect(backend._cupy, backend.device, group)
    assert group.since_sum is None
    sums.sum(on_device(np.zeros(2)))
    first = group.since_sum
    x = sums.sum(on_device(np.zeros(2)))
    assert group.since_sum == first <= time.monotonic()
    sums.read(x)
    assert group.since_sum is None


@pytest.mark.gpu
def test_nccl_with_one_rank_on_a_gpu():
    """Its sums, and a training with exact ones, against those by way of the host."""
    require("cupy")
    if not probe_device_sums()["nccl"].usable:
        pytest.skip(probe_device_sums()["nccl"].reason)
    (network,) = train(1, backend="cupy", reduction="exact", shards=4)
    assert network.backend.sums.startswith("NCCL ")
    by_host = train(2, backend="cupy", device="cuda:0", reduction="exact", shards=4)[0]
    assert by_host.backend.sums == ""
    other = content(by_host)
    assert all(value.tobytes() == other[name].tobytes() for name, value in content(network).items())
