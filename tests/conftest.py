"""Fixtures that all tests share: the backends, and MNIST where it is there."""

import os
import shutil
import signal
import sys
import tempfile
import time

# Several test processes on a few cores: the threads of one BLAS would wait for those of another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As in what a shell starts in the background: tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings

from xpnet.backends import BACKENDS, Backend, backend_class, open_backend, probe_backends
from xpnet.backends.numpy import NumpyBackend, compiler
from xpnet.data.known import FILES

# The first call of a library loads and compiles, which takes as long as it takes. The examples are
# the same in every run, so that what is red can be seen again; another profile looks for new ones.
settings.register_profile("xpnet", deadline=None, derandomize=True)
settings.load_profile("xpnet")

REQUIRED = {name for name in os.environ.get("XPNET_REQUIRE", "").split(",") if name}
"""Backends, `mnist`, `browser` and `mpi`, whose absence is a failure and not a reason to skip."""


@dataclass(frozen=True)
class Target:
    """A backend on a device, as a test parameter."""

    name: str
    device: str | None = None
    read_only: bool = False

    def __str__(self) -> str:
        return "-".join(filter(None, [self.name, self.device, self.read_only and "read-only"]))

    def open(self, dtype: str = "float64") -> Backend:
        """The backend; skips the test, with the reason, where it is not usable here."""
        require(self.name)
        if self.read_only:
            return ReadOnlyNumpy(self.device, dtype)
        return open_backend(self.name, self.device, dtype)


class ReadOnlyNumpy(NumpyBackend):
    """NumPy whose arrays refuse to be written to: proves that arguments are left alone."""

    def asarray(self, x, dtype=None, *, copy=None):
        array = np.array(super().asarray(x, dtype, copy=copy))
        array.flags.writeable = False
        return array


TARGETS = [
    Target("numpy", read_only=True),
    *(Target(name, device) for name in BACKENDS for device in backend_class(name).tested_on),
]
"""Where the array code is tested."""

GPU_BACKENDS = [name for name in BACKENDS if backend_class(name).needs_gpu]
CPU_BACKENDS = [name for name in BACKENDS if name not in GPU_BACKENDS]

TRAINING_TARGETS = [target for target in TARGETS if not target.read_only]
"""Where whole networks are trained: their parameters must be writable."""


def require(name: str) -> None:
    """Skip where a backend is not usable, or fail if the environment asks for it."""
    status = probe_backends()[name]
    if status.usable:
        return
    if name in REQUIRED:
        pytest.fail(f"XPNET_REQUIRE asks for {name}, but: {status.reason}")
    pytest.skip(status.reason)


def page(name: str) -> str:
    """The text of a page, by its path in the checkout; skips where the tests are elsewhere."""
    path = Path(__file__).parent.parent / name
    if not path.exists():
        pytest.skip(f"{name} is not here: these tests are apart from the checkout")
    return path.read_text(encoding="utf-8")


def _params(targets):
    return [
        pytest.param(
            target, id=str(target), marks=[pytest.mark.gpu] * (target.name in GPU_BACKENDS)
        )
        for target in targets
    ]


@pytest.fixture(params=_params(TARGETS))
def backend(request) -> Backend:
    """Each backend in float64."""
    opened = request.param.open()
    with opened.scope():
        yield opened


@pytest.fixture(params=_params(TRAINING_TARGETS))
def training_backend(request) -> Backend:
    """Each backend whose arrays can be written to, in float64."""
    return request.param.open()


@pytest.fixture(params=[name for name in BACKENDS if name != "numpy"])
def other_backend(request) -> str:
    """The name of each backend other than NumPy."""
    require(request.param)
    return request.param


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with MNIST's files; skips, or fails if required, where there is none."""
    root = os.environ.get("XPNET_DATA_DIR")
    folders = [Path(root), Path(root) / "mnist"] if root else []
    found = [f for f in folders if all(any(f.glob(f"{name}*")) for name in FILES)]
    if not found:
        message = "MNIST is not here: set XPNET_DATA_DIR to the folder that holds it"
        if "mnist" in REQUIRED:
            pytest.fail(f"XPNET_REQUIRE asks for mnist, but: {message}")
        pytest.skip(message)
    return found[0]


COMPILED = pytest.StashKey[str]()
"""The folder of the programs that JAX has compiled, where this process has made it."""


def pytest_configure(config):
    """Let JAX compile a program once for all tests and all their processes.

    What a test gets is the machine code that the same program, of the same JAX on the same
    machine, was compiled to before: most of the time of the tests on JAX was spent on that.
    """
    # Loading what was compiled has crashed elsewhere: https://github.com/uwplasma/vmex/pull/142
    if sys.platform == "linux" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="xpnet-tests-jax-")
        config.stash[COMPILED] = os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_addoption(parser):
    parser.addoption(
        "--budget", type=float, metavar="SECONDS", help="skip what has not begun after so long"
    )


STARTED = time.monotonic()


def pytest_runtest_setup(item):
    budget = item.config.getoption("budget")
    if budget is not None and time.monotonic() - STARTED > budget:
        pytest.skip(f"the budget of time, {budget:g} s, is used up")


def pytest_unconfigure(config):
    if COMPILED in config.stash:
        shutil.rmtree(config.stash[COMPILED], ignore_errors=True)


def pytest_collection_modifyitems(items):
    """Mark what is run on a GPU alone; and order: what needs MNIST or much time comes last."""
    for item in items:
        parameters = getattr(item, "callspec", SimpleNamespace(id="")).id.split("-")
        if not set(GPU_BACKENDS).isdisjoint(parameters):
            item.add_marker(pytest.mark.gpu)
        # Several processes share the tests by their names: these must be the same in all of them.
        assert " at 0x" not in item.nodeid, f"an address in the name of a test: {item.nodeid}"
    items.sort(key=lambda item: bool({"mnist", "slow"} & {m.name for m in item.iter_markers()}))


def name_of(value) -> str | None:
    """The name of a test parameter: a function has an address in its text, new in each process."""
    return getattr(value, "__name__", "function") if callable(value) else str(value)[:40]


@pytest.fixture(autouse=True)
def nothing_compiles_from_before():
    """What an earlier test has asked a network is compiled by a thread that nobody waits for, and
    meanwhile nothing else is."""
    if compiler._ONE_AT_A_TIME.acquire(timeout=60):
        compiler._ONE_AT_A_TIME.release()
