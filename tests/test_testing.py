"""The check of gradients passes what is right, and names what was broken on purpose."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

import xpnet
from xpnet import Dense, Layer, ReLU, Sequential, Tanh, softmax_cross_entropy
from xpnet.layers import EVALUATION
from xpnet.testing import GradientError, check_layer, check_loss


@dataclass(frozen=True)
class Scale(Layer):
    """y = x w + b with a weight for each column; `broken` says how it goes wrong."""

    n: int = 4
    broken: str = ""

    def parameter_shapes(self):
        return {"weight": (self.n,), "bias": (self.n,)}

    def init(self, seed):
        zeros = {"weight": np.zeros(self.n), "bias": np.zeros(self.n)}
        if self.broken == "init":
            zeros.pop("bias")
        return zeros

    def input_shape(self):
        return (self.n,)

    def output_shape(self, shape):
        return (self.n + 1,) if self.broken == "output" else (self.n,)

    def forward(self, xp, params, x, ctx):
        y = x * params["weight"] + params["bias"]
        if self.broken == "writes to x":
            before, x[:] = x.copy(), 7
            return y, (before,)
        return y, (x,)

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        (x,) = cache
        grads = {"weight": xp.sum(x * dy, axis=0), "bias": xp.sum(dy, axis=0)}
        dx = dy * params["weight"] if need_dx else None
        match self.broken:
            case "sign":
                grads["weight"] = -grads["weight"]
            case "factor":
                grads["bias"] = grads["bias"] / 2
            case "element":
                grads["weight"] = grads["weight"] + np.asarray([0, 0, 1e-4, 0], x.dtype)
            case "forgotten":
                grads.pop("bias")
            case "too many":
                grads["offset"] = grads["bias"]
            case "shape":
                grads["bias"] = xp.sum(dy, axis=0, keepdims=True)
            case "nan":
                grads["bias"] = grads["bias"] * np.nan
            case "dx":
                dx = None if dx is None else dx + dy
            case "no dx":
                dx = None
            case "always dx":
                dx = dy * params["weight"]
            case "need_dx":
                grads["weight"] = grads["weight"] * (2 if dx is None else 1)
            case "writes to dy":
                dy += 1
            case "cache":
                x *= 2
        return dx, grads


def wrong(report):
    """The names of what is wrong."""
    assert not report.ok
    return {check.what for check in report.checks if not check.ok}


def test_a_right_layer_passes():
    report = check_layer(Scale())
    assert report.ok
    report.raise_if_wrong()
    assert {c.what for c in report.checks} >= {"dx", "dweight", "dbias", "arguments"}
    # Three directions for each gradient.
    assert sum(check.what == "dweight" for check in report.checks) == 3


@pytest.mark.parametrize(
    ("broken", "found"),
    {
        "sign": {"dweight"},
        "factor": {"dbias"},
        "element": {"dweight"},
        "forgotten": {"dbias"},
        "too many": {"doffset"},
        "shape": {"dbias"},
        "nan": {"dbias"},
        "dx": {"dx"},
        "no dx": {"dx"},
        "always dx": {"need_dx=False"},
        "need_dx": {"need_dx=False"},
        "writes to x": {"arguments"},
        "writes to dy": {"arguments"},
        "cache": {"arguments", "cache"},
        "init": {"init"},
        "output": {"output"},
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named_and_nothing_else(broken, found):
    report = check_layer(Scale(broken=broken))
    assert wrong(report) - {"cache", "need_dx=False"} <= found <= wrong(report)
    with pytest.raises(AssertionError, match="is wrong:"):
        report.raise_if_wrong()


def test_the_error_says_which_and_by_how_much():
    with pytest.raises(GradientError) as caught:
        check_layer(Scale(broken="factor"), directions=1).raise_if_wrong()
    message = str(caught.value)
    assert message.startswith("Scale(n=4, broken='factor') is wrong:\n  dbias: the slope is ")
    assert message.count("\n") == 1
    assert message.endswith("a relative error of 5.0e-01")
    with pytest.raises(GradientError, match="dbias: there is no such gradient"):
        check_layer(Scale(broken="forgotten")).raise_if_wrong()
    with pytest.raises(GradientError, match="arguments: written to: x"):
        check_layer(Scale(broken="writes to x")).raise_if_wrong()


def test_float32_that_becomes_float64_is_seen():
    @dataclass(frozen=True)
    class Upcast(Tanh):
        def forward(self, xp, params, x, ctx):
            y, cache = super().forward(xp, params, x, ctx)
            return y * np.sqrt(np.ones(1)), cache

    assert wrong(check_layer(Upcast(), shape=(3,))) == {"float32"}


def test_buffers_that_change_their_shape_are_seen():
    class Growing(xpnet.BatchNorm):
        def update_buffers(self, xp, buffers, cache):
            return {**buffers, "mean": buffers["mean"][None, :]}

    assert wrong(check_layer(Growing(3))) == {"buffers"}


def test_the_table():
    lines = str(check_layer(Scale(broken="sign"), directions=1)).splitlines()
    assert lines[0].split() == ["what", "analytic", "numeric", "rel.", "error", "ok"]
    (row,) = [line for line in lines if line.startswith("dweight")]
    what, analytic, numeric, error, verdict = row.split()
    assert float(analytic) == pytest.approx(-float(numeric))
    assert (what, float(error), verdict) == ("dweight", pytest.approx(2), "NO")
    assert len({len(line.rstrip()) for line in lines if line.endswith("yes")}) == 1


# -- kinks ------------------------------------------------------------------------------------


def test_on_a_kink_the_check_says_that_it_cannot_be_made():
    x = np.asarray([[0.0, 1.0, -1.0]])
    with pytest.raises(GradientError, match="dx: on a kink, where there are two slopes: give"):
        check_layer(ReLU(), x).raise_if_wrong()


@pytest.mark.parametrize("distance", [1e-3, 1e-4, 1e-5])
def test_a_kink_near_by_is_passed_by(distance):
    x = np.asarray([[distance, 1.0, -1.0], [-distance, 2.0, 0.3]])
    check_layer(ReLU(), x).raise_if_wrong()


@pytest.mark.parametrize("distance", [1e-3, 1e-4, 1e-5])
def test_a_wrong_gradient_is_seen_near_a_kink(distance):
    class Wrong(ReLU):
        def backward(self, xp, params, cache, dy, *, need_dx=True):
            dx, grads = super().backward(xp, params, cache, dy, need_dx=need_dx)
            return None if dx is None else 1.001 * dx, grads

    x = np.asarray([[distance, 1.0, -1.0], [-distance, 2.0, 0.3]])
    assert wrong(check_layer(Wrong(), x)) == {"dx"}


def test_many_inner_kinks():
    model = xpnet.mlp(20, 60, 60, 5)
    for seed in range(5):
        check_layer(model, seed=seed).raise_if_wrong()


def test_a_slope_that_is_zero():
    """A bias in front of batch norm changes nothing: differences give rounding errors alone."""
    model = Sequential(fc=Dense(4, 3), bn=xpnet.BatchNorm(3))
    check_layer(model).raise_if_wrong()


def test_a_function_without_a_slope_is_no_success():
    class Steps(Tanh):
        """Rough at every scale; whatever backward gives cannot be confirmed."""

        def forward(self, xp, params, x, ctx):
            y, cache = super().forward(xp, params, x, ctx)
            return y + 1e-3 * xp.sign(xp.sin(1e9 * x)), cache

    with pytest.raises(GradientError, match="dx"):
        check_layer(Steps(), shape=(3,)).raise_if_wrong()


def test_large_and_small_numbers():
    for scale in (1e-6, 1e6):
        x = scale * np.random.default_rng(0).normal(size=(4, 3))
        check_layer(Dense(3, 2), x).raise_if_wrong()


# -- what is given ----------------------------------------------------------------------------


def test_options():
    layer = xpnet.BatchNorm(3)
    check_layer(layer, ctx=EVALUATION).raise_if_wrong()
    check_layer(layer, params={"variance": np.full(3, 9.0)}, ctx=EVALUATION).raise_if_wrong()
    assert len(check_layer(Tanh(), shape=(2, 2), directions=7).checks) == 7 + 7
    assert check_layer(Tanh(), np.ones((2, 3), np.float32)).ok
    with pytest.raises(ValueError, match=r"Tanh\(\) takes samples of more than one shape: give x"):
        check_layer(Tanh())
    first, again, other = (
        [c.numeric for c in check_layer(Scale(), seed=seed).checks] for seed in (0, 0, 1)
    )
    assert first == again != other


def test_arguments_are_not_written_to():
    x, params = np.ones((2, 4)), {"weight": np.ones(4)}
    check_layer(Scale(broken="writes to x"), x, params=params)
    assert (x == 1).all()
    assert (params["weight"] == 1).all()


# -- losses -----------------------------------------------------------------------------------

OUTPUT = np.random.default_rng(0).normal(size=(5, 3))
TARGET = np.random.default_rng(1).normal(size=(5, 3))


def squares(xp, output, target, *, weight=None, need_grad=True, broken=""):
    """The mean square; `broken` says how it goes wrong."""
    difference = output - target
    size = difference.shape[0]
    rows = xp.sum(difference * difference, axis=1)
    if weight is not None:
        rows = rows * weight
        difference = difference * weight[:, None]
    loss = xp.sum(rows) / size
    gradient = (2 if broken != "factor" else 1) * difference / size
    if broken == "writes to output":
        output += 1
    if broken == "writes to target":
        target += 1
    if broken == "sum":
        gradient = gradient * size
    if broken == "axes":
        loss = loss[None]
    if broken == "need_grad":
        return loss, gradient
    if broken == "shape":
        gradient = gradient[:, :1]
    return loss, gradient if need_grad else None


def test_right_losses_pass():
    check_loss(squares, OUTPUT, TARGET).raise_if_wrong()
    check_loss(squares, OUTPUT, TARGET, weight=np.arange(5)).raise_if_wrong()
    check_loss(softmax_cross_entropy, OUTPUT, np.asarray([0, 2, 1, 1, 0])).raise_if_wrong()
    check_loss(softmax_cross_entropy, OUTPUT, np.eye(3)[[0, 2, 1, 1, 0]]).raise_if_wrong()
    assert check_loss(squares, OUTPUT, TARGET).subject == "squares"


@pytest.mark.parametrize(
    ("broken", "found"),
    {
        "factor": {"d_output"},
        "sum": {"d_output"},
        "shape": {"d_output"},
        "writes to output": {"arguments"},
        "writes to target": {"arguments"},
        "axes": {"loss"},
        "need_grad": {"need_grad=False"},
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_loss_is_named(broken, found):
    def loss(xp, output, target, *, need_grad=True):
        return squares(xp, output, target, need_grad=need_grad, broken=broken)

    assert wrong(check_loss(loss, OUTPUT, TARGET)) == found


def test_a_weight_that_the_gradient_forgets():
    def loss(xp, output, target, *, weight=None, need_grad=True):
        value, _ = squares(xp, output, target, weight=weight)
        return value, squares(xp, output, target, need_grad=need_grad)[1]

    assert check_loss(loss, OUTPUT, TARGET).ok
    assert wrong(check_loss(loss, OUTPUT, TARGET, weight=np.arange(5))) == {"d_output"}


def test_the_kink_of_an_absolute_value():
    def absolute(xp, output, target, *, need_grad=True):
        difference = output - target
        size = difference.shape[0]
        gradient = xp.sign(difference) / size if need_grad else None
        return xp.sum(xp.abs(difference)) / size, gradient

    check_loss(absolute, OUTPUT, TARGET).raise_if_wrong()
    # By chance the slope 0 of a kink in one element is that in the middle: the others decide.
    shifted = np.where(np.arange(15).reshape(5, 3) == 4, OUTPUT, TARGET)
    check_loss(absolute, OUTPUT, shifted).raise_if_wrong()


def test_numbers_that_are_not_finite_are_no_success():
    def loss(xp, output, target, *, need_grad=True):
        return xp.sum(output) * math.inf, output

    with np.errstate(invalid="ignore"):
        assert not check_loss(loss, OUTPUT, TARGET).ok


def test_it_is_imported_on_demand_only():
    import os
    import subprocess
    import sys

    code = "import sys, xpnet; print('xpnet.testing' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stdout.strip() == "False"
