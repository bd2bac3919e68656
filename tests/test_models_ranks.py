"""The networks by name on several ranks: as on one, batch norm over the whole batch included."""

import numpy as np
import pytest

from xpnet import Adam, fit
from xpnet.distributed import threads
from xpnet.models import MODELS, build_model
from xpnet.random import stream

pytestmark = pytest.mark.numerics

SHAPE = (12, 12)
X = stream(0, "pixels").integers(0, 256, (22, *SHAPE)).astype("uint8")
LABELS = stream(0, "labels").integers(0, 3, 22)
OPTIONS = {
    "epochs": 2, "batch_size": 8, "optimizer": Adam(0.01), "backend": "numpy", "dtype": "float64",
    "seed": 1, "callbacks": (), "train_metrics": "running",
}  # fmt: skip


def content(network):
    return {name: np.array(value) for name, value in network.arrays.items()}


def on_ranks(size, model, **options):
    """What all ranks have, each the same."""

    def train(group):
        return content(fit(model, (X, LABELS), group=group, **OPTIONS, **options))

    first, *others = threads(size, timeout=60).run(train)
    for other in others:
        assert all(value.tobytes() == other[name].tobytes() for name, value in first.items())
    return first


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "mlp"])
def test_each_is_that_of_one_process(name, size):
    """But for the last digits: parts of a batch are added in another order."""
    model = build_model(name, SHAPE, 3)
    alone = content(fit(model, (X, LABELS), **OPTIONS))
    for array, value in on_ranks(size, model).items():
        np.testing.assert_allclose(value, alone[array], rtol=1e-9, atol=1e-11, err_msg=array)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mlp"])
def test_exact_sums_have_the_same_bits_on_any_number_of_ranks(name):
    model = build_model(name, SHAPE, 3)
    options = {"reduction": "exact", "shards": 4}
    alone = on_ranks(1, model, **options)
    for size in (2, 4):
        there = on_ranks(size, model, **options)
        assert all(value.tobytes() == there[array].tobytes() for array, value in alone.items())
