"""Which device each of several ranks opens a backend on, where it is not said which of a kind."""

from types import SimpleNamespace

import pytest

from xpnet.distributed.group import ALONE
from xpnet.training import ranks


def devices_of_ranks(monkeypatch, name, device, local_ranks=3):
    """The device that each rank of a machine opens the backend on."""
    opened = []
    monkeypatch.setattr(
        ranks, "open_backend", lambda name, device, *args, **kw: opened.append(device)
    )
    for local_rank in range(local_ranks):
        ranks.open_for_rank(SimpleNamespace(size=8, local_rank=local_rank), name, device)
    return opened


KINDS_OF_TORCH = [
    ("cuda", ["cuda:0", "cuda:1", "cuda:0"]), ("cuda:1", 3 * ["cuda:1"]), ("cpu", 3 * ["cpu"]),
    (None, 3 * [None]), ("meta", 3 * ["meta"]),
]  # fmt: skip


@pytest.mark.parametrize(("device", "taken"), KINDS_OF_TORCH)
def test_each_rank_has_a_device_of_torch(monkeypatch, device, taken):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of_ranks(monkeypatch, "torch", device) == taken
    # Without a GPU it is torch that says so.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_of_ranks(monkeypatch, "torch", "cuda") == 3 * ["cuda"]


KINDS_OF_JAX = [
    ("cuda", ["cuda:0", "cuda:1", "cuda:0"]), ("gpu", ["gpu:0", "gpu:1", "gpu:0"]),
    ("tpu", 3 * ["tpu"]), ("cuda:1", 3 * ["cuda:1"]), ("cpu", 3 * ["cpu"]), (None, 3 * [None]),
]  # fmt: skip


@pytest.mark.parametrize(("device", "taken"), KINDS_OF_JAX)
def test_each_rank_has_a_device_of_jax(monkeypatch, device, taken):
    jax = pytest.importorskip("jax")

    def devices(platform):
        if platform != "gpu":
            raise RuntimeError(f"Unknown backend {platform}")
        return [object(), object()]

    monkeypatch.setattr(jax, "devices", devices)
    assert devices_of_ranks(monkeypatch, "jax", device) == taken


@pytest.mark.parametrize("name", ["numpy", "array_api_strict"])
def test_ranks_share_what_has_no_numbers(monkeypatch, name):
    assert devices_of_ranks(monkeypatch, name, None) == 3 * [None]
    assert devices_of_ranks(monkeypatch, name, "cpu") == 3 * ["cpu"]


def test_a_rank_by_itself_takes_what_is_said(monkeypatch):
    opened = []
    monkeypatch.setattr(
        ranks, "open_backend", lambda name, device, *args, **kw: opened.append(device)
    )
    ranks.open_for_rank(ALONE, "torch", "cuda")
    assert opened == ["cuda"]
