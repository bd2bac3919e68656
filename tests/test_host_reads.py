"""A training step reads nothing on the host: on arrays that refuse to be read."""

import numpy as np
import pytest

from xpnet import (
    ELU,
    GELU,
    SGD,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    LeakyReLU,
    MaxNorm,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.conformance.recording import Recorder, RecordingBackend
from xpnet.layers import Layer
from xpnet.losses import softmax_cross_entropy
from xpnet.training.step import initial_state, make_step

pytestmark = pytest.mark.installed

MODEL = Sequential(
    flat=Flatten((4, 4)),
    fc1=Dense(16, 12),
    act1=ReLU(),
    drop1=Dropout(0.3),
    fc2=Dense(12, 8),
    act2=Tanh(),
    soft=Softmax(),
    inner=Sequential(fc=Dense(8, 6), act=Sigmoid(), drop=Dropout(0.1)),
    res=Residual(
        Sequential(fc=Dense(6, 6, bias=False, constraint=MaxNorm(2.0)), bn=BatchNorm(6)), SiLU()
    ),
    norm=LayerNorm(6),
    more=Sequential(a=LeakyReLU(), b=ELU(), c=GELU(), d=GELU("tanh"), e=Softplus()),
    fc3=Dense(6, 3),
)


class OtherSGD(SGD):
    """Takes the way of optimizers that want to see the gradients."""

    def update(self, *arguments):
        return super().update(*arguments)


def take_steps(model=MODEL, *, one_hot=False, images=np.uint8, optimizer=SGD(0.1), loss=None):  # noqa: B008
    """Two steps on arrays that raise when they are read; the function has no other arrays."""
    backend = RecordingBackend(Recorder())
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=20)
    x = backend.asarray(rng.integers(255, size=(20, 4, 4)).astype(images))
    y = backend.asarray(np.eye(3)[labels] if one_hot else labels)
    rows = backend.asarray(np.arange(5))
    state = initial_state(backend, model, optimizer, 0, epochs=1, steps_per_epoch=2)
    step = make_step(backend, model, loss or softmax_cross_entropy, optimizer, pixel_maximum=255)
    backend.to_numpy = backend.asarray = None  # nor does anything go there or come from there
    for _ in range(2):
        state = step(state, x, y, rows)
    return state


@pytest.mark.parametrize("optimizer", [SGD(0.1), OtherSGD(0.1)])
@pytest.mark.parametrize("images", [np.uint8, np.float64])
@pytest.mark.parametrize("one_hot", [False, True], ids=["labels", "one-hot"])
def test_a_step_reads_nothing(one_hot, images, optimizer):
    state = take_steps(one_hot=one_hot, images=images, optimizer=optimizer)
    assert int(state["step"].value) == 2


READS = {
    "float": float,
    "int": int,
    "bool": bool,
    "index": lambda x: range(x),
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "array": np.asarray,
    "iteration": list,
    "branch": lambda x: 1 if x > 0 else 2,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("where", ["forward", "backward", "loss", "optimizer"])
def test_a_read_anywhere_in_the_step_is_seen(where, read):
    class Reading(Layer):
        def forward(self, xp, params, x, ctx):
            if where == "forward":
                read(xp.sum(x))
            return x, ()

        def backward(self, xp, params, cache, dy, *, need_dx=True):
            if where == "backward":
                read(xp.sum(dy))
            return dy, {}

    def loss(xp, output, target):
        value, d_output = softmax_cross_entropy(xp, output, target)
        if where == "loss":
            read(value)
        return value, d_output

    class ReadingSGD(SGD):
        def update(self, xp, params, grads, slots, learning_rate):
            if where == "optimizer":
                read(learning_rate)
            return super().update(xp, params, grads, slots, learning_rate)

    model = Sequential(flat=Flatten((4, 4)), fc1=Dense(16, 5), reading=Reading(), fc2=Dense(5, 3))
    with pytest.raises(TypeError, match="read on the host"):
        take_steps(model, loss=loss, optimizer=ReadingSGD(0.1))
