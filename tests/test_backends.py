"""Opening backends, and what they say when they cannot be used."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CPU_BACKENDS, require

import xpnet
from xpnet import BackendUnavailable, backend_of, open_backend, probe_backends
from xpnet.backends.array_api_strict import ArrayApiStrictBackend
from xpnet.backends.cupy import backend as cupy_backend
from xpnet.backends.cupy.backend import CupyBackend, why_no_gpu, why_not_working
from xpnet.backends.jax import JaxBackend
from xpnet.backends.torch import TorchBackend

pytestmark = pytest.mark.libraries


def test_arrays_go_there_and_come_back(backend):
    for host in (np.arange(6.0).reshape(2, 3), np.arange(4, dtype=np.uint8), np.array(True)):
        array = backend.asarray(host)
        assert type(backend).owns(array)
        np.testing.assert_array_equal(backend.to_numpy(array), host)
        assert backend.to_numpy(array).dtype == host.dtype or backend.name == "jax"


def test_a_copy_shares_nothing(training_backend):
    backend = training_backend
    host = np.zeros(4)
    array = backend.asarray(host, copy=True)
    with backend.scope():
        array += 1.0
    assert not host.any()


def test_read_only_data_is_taken(training_backend):
    host = np.arange(4.0)
    host.flags.writeable = False
    np.testing.assert_array_equal(training_backend.to_numpy(training_backend.asarray(host)), host)


def test_the_backend_of_an_array(backend):
    found = backend_of(backend.asarray(1.0), "float64")
    assert (found.name, found.device, found.dtype_name) == (
        backend.name,
        backend.device,
        "float64",
    )


@pytest.mark.parametrize("thing", [[1.0], 3, "numpy", None, object()])
def test_what_is_no_array_has_no_backend(thing):
    with pytest.raises(TypeError, match="expected an array of numpy, cupy, torch"):
        backend_of(thing)


def test_an_opened_backend_is_returned_as_it_is():
    backend = open_backend("numpy")
    assert open_backend(backend) is backend
    assert open_backend(backend, None, "float32") is backend
    for device, dtype in (("cpu", None), (None, "float64")):
        with pytest.raises(ValueError, match="is open already"):
            open_backend(backend, device, dtype)


def test_synchronize_waits_for_the_arrays():
    pytest.importorskip("jax")
    backend = open_backend("jax")
    with backend.scope():
        x = backend.asarray(np.ones((1500, 1500), dtype=np.float32))
        product = backend.compile(lambda x: x @ x @ x @ x)
        backend.synchronize(product(x))
        y = product(x)
        backend.synchronize(y)
        assert y.is_ready()


def test_float64_of_jax_stays_inside_its_scope():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    backend = open_backend("jax", None, "float64")
    with backend.scope():
        assert backend.xp.ones(1).dtype == np.float64
    assert backend.asarray(np.ones(1)).dtype == np.float64
    assert jax.config.jax_enable_x64 == before
    assert jax.numpy.ones(1).dtype == (np.float64 if before else np.float32)


def test_jax_multiplies_in_full_precision_inside_its_scope():
    jax = pytest.importorskip("jax")
    with open_backend("jax").scope():
        assert jax.config.jax_default_matmul_precision == "highest"
    assert jax.config.jax_default_matmul_precision is None


def test_torch_records_no_gradients_inside_its_scope():
    torch = pytest.importorskip("torch")
    with open_backend("torch").scope():
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", [*CPU_BACKENDS, "auto"])
def test_tf32_is_refused_where_it_means_nothing(name):
    if name != "auto":
        require(name)
    elif probe_backends()["cupy"].usable:
        pytest.skip("there is a GPU")
    device = "cpu" if name in ("torch", "jax") else None
    with pytest.raises(
        ValueError, match=r"(?i)^tf32 means nothing on .*cpu.* with .*: it needs"
    ) as e:
        open_backend(name, device, tf32=True)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match=r"tf32 is .* it means nothing in float64"):
        open_backend(name, device, "float64", tf32=True)


def test_tf32_cannot_be_asked_of_an_opened_backend():
    backend = open_backend("numpy")
    assert not backend.tf32
    with pytest.raises(ValueError, match=r"is open already: give .*tf32=True to open_backend"):
        open_backend(backend, tf32=True)


@pytest.fixture
def torch_precision():
    """Where torch keeps its precision of products, put back afterwards."""
    torch = pytest.importorskip("torch")
    switch = torch.backends.cuda.matmul
    name = "fp32_precision" if hasattr(switch, "fp32_precision") else "allow_tf32"
    before = getattr(switch, name)
    yield switch, name
    setattr(switch, name, before)


@pytest.mark.parametrize("before", [None, "tf32", "ieee"])
def test_tf32_of_torch_stays_inside_its_scope(before, torch_precision, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(TorchBackend, "has_tf32", lambda self: True)
    switch, name = torch_precision
    if before is not None and name == "fp32_precision":
        setattr(switch, name, before)
    setting = getattr(switch, name)
    backend = open_backend("torch", "cpu", tf32=True)
    for _ in range(2):
        with backend.scope():
            assert getattr(switch, name) in ("tf32", True)
            assert not torch.is_grad_enabled()
        assert getattr(switch, name) == setting
        assert torch.is_grad_enabled()
    with open_backend("torch", "cpu").scope():
        assert getattr(switch, name) == setting


def test_tf32_of_jax_stays_inside_its_scope(monkeypatch):
    jax = pytest.importorskip("jax")
    monkeypatch.setattr(JaxBackend, "has_tf32", lambda self: True)
    with open_backend("jax", "cpu", tf32=True).scope():
        assert jax.config.jax_default_matmul_precision == "tensorfloat32"
        jax.numpy.ones((2, 2)) @ jax.numpy.ones((2, 2))
    assert jax.config.jax_default_matmul_precision is None


@pytest.mark.parametrize(
    ("platform", "capability", "answer"),
    [("gpu", "9.0", True), ("gpu", "7.5", False), ("gpu", "gfx90a", False), ("cpu", None, False)],
)
def test_what_jax_can_multiply_in_tf32(platform, capability, answer):
    pytest.importorskip("jax")
    backend = open_backend("jax", "cpu")
    backend.device = SimpleNamespace(platform=platform, compute_capability=capability)
    assert backend.has_tf32() == answer


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cupy", "torch", "jax"])
def test_tf32_is_coarser_on_a_gpu(name):
    require("cupy")
    require(name)
    host = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    errors = {}
    for tf32 in (False, True):
        try:
            backend = open_backend(name, "cuda:0", tf32=tf32)
        except (BackendUnavailable, ValueError) as error:
            pytest.skip(str(error))
        with backend.scope():
            x = backend.asarray(host)
            product = backend.to_numpy(backend.compile(backend.xp.matmul)(x, x))
        errors[tf32] = np.abs(product - host.astype(float) @ host).max()
    assert errors[False] < 1e-3 < errors[True] < 1


@pytest.mark.parametrize("name", ["tensorflow", "", "NumPy", "cuda"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match="backend must be 'auto' or one of numpy, cupy, torch"):
        open_backend(name)


@pytest.mark.parametrize("dtype", ["float16", "int32", ""])
def test_an_unknown_dtype_is_refused(dtype):
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, got"):
        open_backend("numpy", None, dtype)


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("numpy", "cuda:0", "it runs on 'cpu'; for a CUDA GPU take backend='cupy'"),
        ("torch", "warp", "the torch backend cannot use device 'warp'"),
        ("torch", "meta", "the torch backend cannot use device 'meta'"),
        ("jax", "warp", "jax finds no 'warp' platform"),
        ("jax", "cpu:99", "has no device 'cpu:99': there is one device, 'cpu:0'"),
        ("jax", "cpu:²", "has no device 'cpu:²': device may be 'cpu', 'cpu:0'"),
        ("jax", "cpu:x", "has no device 'cpu:x': device may be 'cpu', 'cpu:0'"),
        ("array_api_strict", "cuda", "device may be 'cpu' or 'CPU_DEVICE', 'device1'"),
    ],
)
def test_a_device_that_is_not_there(name, device, message):
    require(name)
    with pytest.raises(BackendUnavailable, match=r"^[^\n]*$") as error:
        open_backend(name, device)
    assert message in str(error.value)


def test_a_device_of_torch_without_a_gpu():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailable, match="cannot use device 'cuda:0' with float32"):
        open_backend("torch", "cuda:0")


def test_auto_takes_numpy_and_says_why(monkeypatch):
    status = xpnet.backends.Status(usable=False, reason="no GPU in here: buy one")
    monkeypatch.setattr(CupyBackend, "probe", classmethod(lambda cls: status))
    backend = open_backend("auto")
    assert (backend.name, backend.reason) == ("numpy", "no GPU in here")
    with pytest.raises(BackendUnavailable, match=r"device 'cuda:0' needs a GPU backend.*no GPU in"):
        open_backend("auto", "cuda:0")


@pytest.mark.gpu
def test_auto_takes_cupy_and_says_why():
    require("cupy")
    backend = open_backend("auto")
    assert (backend.name, backend.reason) == ("cupy", "a CUDA device is usable")
    assert open_backend("auto", "cpu").name == "numpy"


@pytest.mark.parametrize("cls", [CupyBackend, TorchBackend, JaxBackend, ArrayApiStrictBackend])
def test_a_missing_package_names_its_extra(cls, monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    status = cls.probe()
    assert not status.usable
    assert f"xpnet[{cls.extra}]" in status.reason
    assert "is not installed: pip install" in status.reason


def test_the_way_to_torch_says_how_long_it_is(monkeypatch):
    monkeypatch.setattr(TorchBackend, "distribution", "nothing_of_this_name")
    reason = TorchBackend.probe().reason
    assert "3 GB" in reason
    assert "CPU alone: https://pytorch.org/get-started/locally/" in reason


def test_probing_never_raises():
    statuses = probe_backends()
    assert list(statuses) == list(xpnet.BACKENDS)
    assert statuses["numpy"].usable
    for status in statuses.values():
        assert status.usable == (not status.reason)
        assert "\n" not in status.reason


class FakeError(RuntimeError):
    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status


def fake_runtime(*, driver, status=None, count=0):
    """CUDA's runtime in a given condition."""

    def count_devices():
        if status is not None:
            raise FakeError(status)
        return count

    return SimpleNamespace(
        getDeviceCount=count_devices,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 12090,
        CUDARuntimeError=FakeError,
    )


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        (fake_runtime(driver=13000, count=1), ""),
        (fake_runtime(driver=0, status=35), "no NVIDIA driver is loaded: install"),
        (fake_runtime(driver=11080, status=35), "supports CUDA 11.8, CuPy was built for CUDA 12.9"),
        (fake_runtime(driver=13000, status=100), "check that CUDA_VISIBLE_DEVICES"),
        (fake_runtime(driver=13000, count=0), "check that CUDA_VISIBLE_DEVICES"),
        (fake_runtime(driver=13000, status=802), "error 802"),
    ],
    ids=["usable", "no driver", "old driver", "hidden", "none", "other"],
)
def test_why_there_is_no_gpu(runtime, message):
    reason = why_no_gpu(runtime)
    assert message in reason
    assert bool(reason) == bool(message)
    assert "\n" not in reason


class DynamicLibNotFoundError(RuntimeError):
    """Named like cuda.pathfinder's."""


class OutOfMemoryError(RuntimeError):
    """Named like CuPy's."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("libcublas.so.12: cannot open shared object file"), "'xpnet[cuda12]'"),
        (DynamicLibNotFoundError('Failure finding "libnvrtc.so"'), "'xpnet[cuda12]'"),
        (RuntimeError("libcublas.so: cannot open shared object file"), "'xpnet[cuda12]'"),
        (OutOfMemoryError("Out of memory allocating 512 bytes"), "no free memory"),
        (RuntimeError("something\nelse"), "a first product on it failed: something else"),
    ],
)
def test_why_the_gpu_does_not_work(error, message):
    reason = why_not_working(error)
    assert message in reason
    assert "\n" not in reason


def test_cupy_without_a_gpu_says_so(monkeypatch):
    pytest.importorskip("cupy")
    if probe_backends()["cupy"].usable:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailable) as error:
        open_backend("cupy")
    assert str(error.value) == probe_backends()["cupy"].reason


def test_cupy_that_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(CupyBackend, "installed_version", classmethod(lambda cls: "14.0.0"))
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    status = cupy_backend.CupyBackend.probe()
    assert not status.usable
    assert status.version == "14.0.0"
    assert "cupy is installed but cannot be imported" in status.reason


@pytest.mark.parametrize(
    ("cls", "module"),
    [(CupyBackend, "cupy"), (TorchBackend, "torch"), (JaxBackend, "jax")],
)
@pytest.mark.parametrize("error", [ImportError, RuntimeError, OSError, AttributeError])
def test_a_library_that_breaks_on_import(cls, module, error, monkeypatch):
    """Whatever it raises: one sentence, and the other backends are still listed."""
    import builtins

    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name.partition(".")[0] == module:
            raise error("mismatched\nversions")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(cls, "installed_version", classmethod(lambda cls: "1.0"))
    monkeypatch.setattr(builtins, "__import__", broken)
    status = cls.probe()
    assert not status.usable
    assert "is installed but cannot be imported: mismatched versions" in status.reason
    with pytest.raises(BackendUnavailable, match="cannot be imported: mismatched versions"):
        cls(None, "float32")


@pytest.mark.gpu
def test_cupy_device_strings():
    require("cupy")
    assert open_backend("cupy", "cuda:0").device.id == 0
    with pytest.raises(BackendUnavailable, match="has no device 'cuda:99'"):
        open_backend("cupy", "cuda:99")
    with pytest.raises(BackendUnavailable, match="has no device 'cpu'"):
        open_backend("cupy", "cpu")
