"""Losses against torch, JAX, SciPy and finite differences."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet import losses
from xpnet.conformance.examples import LOSS_EXAMPLES
from xpnet.losses import (
    LOSSES,
    BinaryCrossEntropy,
    Huber,
    Loss,
    SoftmaxCrossEntropy,
    accepts_weight,
    balanced_class_weight,
    build_loss,
    describe_loss,
    one_hot,
    softmax_cross_entropy,
    target_kind,
)
from xpnet.random import stream
from xpnet.testing import check_loss

pytestmark = pytest.mark.numerics


def example(n=6, c=4):
    z = 3 * stream(0, "z").normal(size=(n, c))
    labels = stream(0, "labels").integers(c, size=n)
    return z, labels


@pytest.mark.parametrize("encoding", ["labels", "one-hot"])
def test_cross_entropy_equals_torch(backend, encoding):
    torch = pytest.importorskip("torch")
    z, labels = example()
    leaf = torch.tensor(z, requires_grad=True)
    with torch.enable_grad():
        expected = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels))
        expected.backward()
    target = labels if encoding == "labels" else np.eye(4)[labels]
    dtype = backend.index_dtype if encoding == "labels" else backend.dtype
    loss, d_output = softmax_cross_entropy(
        backend.xp, backend.asarray(z), backend.asarray(target, dtype=dtype)
    )
    assert loss.shape == ()
    assert float(backend.to_numpy(loss)) == pytest.approx(expected.item(), rel=1e-14)
    np.testing.assert_allclose(backend.to_numpy(d_output), leaf.grad.numpy(), atol=1e-15)


def test_cross_entropy_of_probabilities_equals_torch():
    torch = pytest.importorskip("torch")
    z, _ = example()
    y = stream(0, "p").dirichlet(np.ones(4), size=6)
    leaf = torch.tensor(z, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(leaf, torch.tensor(y))
    expected.backward()
    loss, d_output = softmax_cross_entropy(np, z, y)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-14)
    np.testing.assert_allclose(d_output, leaf.grad.numpy(), atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_rows_of_any_sum_equals_torch(backend, smoothing):
    """Rows of zeros are among them, as where samples are padded; torch does not look at sums."""
    torch = pytest.importorskip("torch")
    z, labels = example()
    y = np.eye(4)[labels] * np.array([0, 1, 2, 0.25, 0, 3])[:, None]
    leaf = torch.tensor(z, requires_grad=True)
    with torch.enable_grad():
        expected = torch.nn.functional.cross_entropy(
            leaf, torch.tensor(y), label_smoothing=smoothing
        )
        expected.backward()
    loss, d_output = SoftmaxCrossEntropy(smoothing)(
        backend.xp, backend.asarray(z), backend.asarray(y)
    )
    assert float(backend.to_numpy(loss)) == pytest.approx(expected.item(), rel=1e-14)
    np.testing.assert_allclose(backend.to_numpy(d_output), leaf.grad.numpy(), atol=1e-15)


def test_one_hot_rows_give_the_bits_of_labels():
    z, labels = example()
    for dtype in (np.float32, np.float64):
        expected = softmax_cross_entropy(np, z.astype(dtype), labels)
        found = softmax_cross_entropy(np, z.astype(dtype), np.eye(4, dtype=dtype)[labels])
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_cross_entropy_gradient_equals_jax():
    jax = pytest.importorskip("jax")
    z, labels = example()
    with jax.enable_x64(True):
        y = jax.numpy.asarray(labels)
        loss_of = lambda z: softmax_cross_entropy(jax.numpy, z, y)[0]  # noqa: E731
        expected = jax.grad(loss_of)(jax.numpy.asarray(z))
    _, d_output = softmax_cross_entropy(np, z, labels)
    np.testing.assert_allclose(d_output, expected, atol=1e-15)


def test_cross_entropy_without_gradient(backend):
    z, labels = example()
    z, labels = backend.asarray(z), backend.asarray(labels, dtype=backend.index_dtype)
    expected, _ = softmax_cross_entropy(backend.xp, z, labels)
    loss, d_output = softmax_cross_entropy(backend.xp, z, labels, need_grad=False)
    assert d_output is None
    assert float(backend.to_numpy(loss)) == float(backend.to_numpy(expected))


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes():
    loss, d_output = softmax_cross_entropy(np, np.zeros((5, 10)), np.arange(5))
    assert float(loss) == pytest.approx(np.log(10), rel=1e-15)
    np.testing.assert_allclose(d_output, (0.1 - np.eye(10)[:5]) / 5, atol=1e-17)


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e300, 1e300)))
def test_cross_entropy_never_overflows(z):
    loss, d_output = softmax_cross_entropy(np, z, np.array([0, 1, 2]))
    assert np.isfinite(loss)
    assert loss >= 0
    assert np.isfinite(d_output).all()
    assert np.abs(d_output.sum(axis=1)).max() < 1e-15


def test_cross_entropy_in_float32_stays_in_float32(backend):
    backend = type(backend)(type(backend).device_of(backend.asarray(1.0)), "float32")
    with backend.scope():
        z, labels = example()
        z = backend.asarray(z, dtype=backend.dtype)
        loss, d_output = softmax_cross_entropy(
            backend.xp, z, backend.asarray(labels, dtype=backend.index_dtype)
        )
    assert loss.dtype == d_output.dtype == backend.dtype


@pytest.mark.parametrize("shape", [(5,), (6, 3), (5, 4)])
def test_cross_entropy_refuses_shapes(shape):
    z, _ = example()
    with pytest.raises(ValueError, match=r"needs labels of shape \(6,\) or one-hot rows"):
        softmax_cross_entropy(np, z, np.zeros(shape, dtype=int))


def test_one_hot(backend):
    labels = backend.asarray(np.array([2, 0, 1, 2]), dtype=backend.index_dtype)
    y = one_hot(backend.xp, labels, 3, backend.dtype)
    assert y.dtype == backend.dtype
    np.testing.assert_array_equal(backend.to_numpy(y), np.eye(3)[[2, 0, 1, 2]])


# -- every loss, on the examples of its class -----------------------------------------------------

each_example = pytest.mark.parametrize("example", LOSS_EXAMPLES, ids=str)


def on(backend, example):
    """Output, target and options of an example on a backend."""
    output, target, weight = example.arrays()
    dtype = backend.index_dtype if example.target == "labels" else backend.dtype
    options = {} if weight is None else {"weight": backend.asarray(weight, dtype=backend.dtype)}
    z = backend.asarray(output, dtype=backend.dtype)
    return z, backend.asarray(target, dtype=dtype), options


def torch_loss(torch, loss, output, target, weight):
    """sum(w_i l_i) / B by torch, from what the loss says that its l_i are there."""
    names = {"torch": torch, "F": torch.nn.functional, "output": output, "target": target}
    each = eval(loss.torch(), names)
    assert each.shape == (output.shape[0],)
    return (each if weight is None else each * torch.tensor(weight)).sum() / output.shape[0]


def test_every_public_loss_has_an_example():
    shown = {type(example.loss) for example in LOSS_EXAMPLES}
    public = {
        value
        for value in vars(losses).values()
        if isinstance(value, type) and issubclass(value, Loss) and hasattr(value, "target_kind")
    }
    assert shown == public == set(LOSSES.values())
    assert {type(e.loss) for e in LOSS_EXAMPLES if e.weighted} == public
    for name, loss in LOSSES.items():  # each has a ready-made instance under its name
        assert getattr(losses, name) == loss()


@each_example
def test_a_loss_equals_torch(backend, example):
    torch = pytest.importorskip("torch")
    output, target, weight = example.arrays()
    with torch.enable_grad():
        leaf = torch.tensor(output, requires_grad=True)
        expected = torch_loss(torch, example.loss, leaf, torch.tensor(target), weight)
        expected.backward()
    z, y, options = on(backend, example)
    value, d_output = example.loss(backend.xp, z, y, **options)
    assert value.shape == ()
    assert value.dtype == d_output.dtype == backend.dtype
    assert float(backend.to_numpy(value)) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(backend.to_numpy(d_output), leaf.grad.numpy(), atol=1e-15)
    alone, nothing = example.loss(backend.xp, z, y, need_grad=False, **options)
    assert nothing is None
    assert float(backend.to_numpy(alone)) == float(backend.to_numpy(value))


@each_example
def test_a_loss_loaded_on_a_device_is_the_same(backend, example):
    """What `make_step` uses, compiled where the backend compiles."""
    z, y, options = on(backend, example)
    loaded = example.loss.loaded(lambda v: backend.asarray(np.asarray(v)), 4)
    run = backend.compile(lambda z, y, options: loaded(backend.xp, z, y, **options))
    value, d_output = run(z, y, options)
    expected, expected_gradient = example.loss(backend.xp, z, y, **options)
    assert float(backend.to_numpy(value)) == pytest.approx(float(backend.to_numpy(expected)))
    np.testing.assert_allclose(
        backend.to_numpy(d_output), backend.to_numpy(expected_gradient), atol=1e-15
    )
    # Also without: constants are then made inside of what is compiled.
    plain = backend.compile(lambda z, y, options: example.loss(backend.xp, z, y, **options))
    assert float(backend.to_numpy(plain(z, y, options)[0])) == pytest.approx(
        float(backend.to_numpy(expected))
    )


@each_example
def test_the_gradient_of_a_loss_equals_jax(example):
    jax = pytest.importorskip("jax")
    output, target, weight = example.arrays()
    with jax.enable_x64(True):
        y = jax.numpy.asarray(target)
        options = {} if weight is None else {"weight": jax.numpy.asarray(weight)}
        value = lambda z: example.loss(jax.numpy, z, y, **options)[0]  # noqa: E731
        expected = jax.grad(value)(jax.numpy.asarray(output))
    options = {} if weight is None else {"weight": weight}
    _, d_output = example.loss(np, output, target, **options)
    np.testing.assert_allclose(d_output, expected, atol=1e-15)


@each_example
def test_the_slope_of_a_loss(example):
    output, target, weight = example.arrays()
    check_loss(example.loss, output, target, weight=weight).raise_if_wrong()


@each_example
def test_a_loss_keeps_float32(backend, example):
    backend = type(backend)(type(backend).device_of(backend.asarray(1.0)), "float32")
    with backend.scope():
        z, y, options = on(backend, example)
        value, d_output = example.loss(backend.xp, z, y, **options)
        expected, _ = example.loss(np, *example.arrays()[:2], weight=example.arrays()[2])
    assert value.dtype == d_output.dtype == backend.dtype
    assert float(backend.to_numpy(value)) == pytest.approx(float(expected), rel=1e-5)


@each_example
def test_a_weight_is_as_many_samples(example):
    """A sample of weight 2 does what it would do twice in the sum; weight 0 what is left out."""
    output, target, _ = example.arrays()
    value, d_output = example.loss(np, output, target, weight=np.asarray([2.0, 1, 1, 1, 0]))
    twice = [0, 0, 1, 2, 3]
    expected, gradient = example.loss(np, output[twice], target[twice])
    assert float(value) == pytest.approx(float(expected), rel=1e-14)
    np.testing.assert_allclose(d_output[0], 2 * gradient[0], atol=1e-16)
    np.testing.assert_array_equal(d_output[4], np.zeros(4))


@each_example
def test_a_loss_is_a_value(example):
    loss = example.loss
    again = build_loss(json.loads(json.dumps(describe_loss(loss))))
    assert again == loss
    assert hash(again) == hash(loss)
    assert eval(repr(loss), vars(losses)) == loss


@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, BinaryCrossEntropy])
def test_a_smoothing_of_numpy_is_a_number_in_the_file(kind):
    loss = kind(label_smoothing=np.float32(0.25))
    assert loss == kind(0.25)
    assert json.loads(json.dumps(describe_loss(loss)))["options"]["label_smoothing"] == 0.25
    assert "np." not in loss.torch()


@pytest.mark.parametrize("scale", [1e4, 1e300])
@each_example
def test_no_loss_overflows(example, scale):
    output, target, weight = example.arrays()
    if example.target == "values":
        scale = min(scale, 1e150)  # a square is no larger than the largest number
    if example.target == "counts":
        scale = 700.0  # the logarithm of the largest number is 709
    options = {} if weight is None else {"weight": weight}
    value, d_output = example.loss(np, np.sign(output) * scale, target, **options)
    assert np.isfinite(value)
    assert value >= 0
    assert np.isfinite(d_output).all()


@given(
    hnp.arrays(np.float64, (3, 2), elements=st.floats(-1e4, 1e4)),
    hnp.arrays(np.float64, (3, 2), elements=st.floats(0, 1)),
)
def test_binary_cross_entropy_equals_scipy(z, y):
    special = pytest.importorskip("scipy.special")
    expected = -(y * special.log_expit(z) + (1 - y) * special.log_expit(-z)).mean()
    value, d_output = losses.binary_cross_entropy(np, z, y)
    assert float(value) == pytest.approx(float(expected), rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(d_output, (special.expit(z) - y) / 6, atol=1e-16)


def test_one_logit_tells_two_classes_apart_as_two_logits_do():
    z, labels = stream(0, "z").normal(size=(6, 1)), np.array([0, 1, 1, 0, 1, 0])
    one, _ = losses.binary_cross_entropy(np, z, labels)
    two, _ = losses.softmax_cross_entropy(np, np.concatenate([0 * z, z], axis=1), labels)
    assert float(one) == pytest.approx(float(two), rel=1e-14)


def test_one_class_costs_nothing():
    value, d_output = losses.softmax_cross_entropy(np, np.ones((3, 1)), np.zeros(3, int))
    assert float(value) == 0
    np.testing.assert_array_equal(d_output, np.zeros((3, 1)))


def test_class_weights_equal_torch_but_for_the_mean():
    """torch divides by the sum of the weights, we by the number of samples."""
    torch = pytest.importorskip("torch")
    z, labels = example()
    weights = (0.5, 1.0, 2.0, 4.0)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(z), torch.tensor(labels), weight=torch.tensor(weights, dtype=torch.float64)
    )
    value, _ = SoftmaxCrossEntropy(class_weight=weights)(np, z, labels)
    share = np.mean([weights[label] for label in labels])
    assert float(value) / share == pytest.approx(expected.item(), rel=1e-14)


def test_balanced_class_weight_equals_sklearn(backend):
    sk = pytest.importorskip("sklearn.utils.class_weight")
    labels = stream(0, "labels").integers(4, size=50)
    expected = sk.compute_class_weight("balanced", classes=np.arange(4), y=labels)
    on_device = backend.asarray(labels, dtype=backend.index_dtype)
    for some in (on_device, labels, labels.tolist()):
        np.testing.assert_allclose(balanced_class_weight(some, 4), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("labels", "n_classes", "message"),
    [
        ([0, 1], 3, "class 2 has no sample"),
        ([0, 1, 5], 2, "found label 5"),
        ([0, -1, 1], 2, "found label -1"),
        (np.eye(2), 2, "argmax"),
        ([0], 0, "positive integer"),
    ],
)
def test_balanced_class_weight_refuses(labels, n_classes, message):
    with pytest.raises(ValueError, match=message):
        balanced_class_weight(labels, n_classes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftmaxCrossEntropy(label_smoothing=1.0), "from 0 to below 1, got 1.0"),
        (lambda: SoftmaxCrossEntropy(label_smoothing=-0.1), "from 0 to below 1"),
        (lambda: SoftmaxCrossEntropy(label_smoothing=True), "from 0 to below 1"),
        (lambda: SoftmaxCrossEntropy(class_weight=()), "one number for each class"),
        (lambda: SoftmaxCrossEntropy(class_weight=(0, 0)), "not all 0"),
        (lambda: SoftmaxCrossEntropy(class_weight=(1, -1)), "not negative"),
        (lambda: SoftmaxCrossEntropy(class_weight="balanced"), "see balanced_class_weight"),
        (lambda: SoftmaxCrossEntropy(class_weight={-1: 2.0}), "one number for each class"),
        (lambda: SoftmaxCrossEntropy(class_weight={1: float("nan")}), "finite"),
        (lambda: BinaryCrossEntropy(label_smoothing="x"), "from 0 to below 1"),
        (lambda: BinaryCrossEntropy(positive_weight=0), "positive number"),
        (lambda: BinaryCrossEntropy(positive_weight=(1, float("inf"))), "positive number"),
        (lambda: Huber(0), "positive and finite, got 0"),
        (lambda: Huber(float("inf")), "positive and finite"),
        (lambda: build_loss({"loss": "hinge", "options": {}}), "must be one of softmax_cross"),
    ],
)
def test_options_of_a_loss_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_are_checked_against_the_outputs():
    z, y = np.zeros((2, 3)), np.zeros((2, 3))
    for loss, message in (
        (SoftmaxCrossEntropy(class_weight=(1, 2)), "has 2 numbers, but the network has 3 outputs"),
        (SoftmaxCrossEntropy(class_weight={3: 2.0}), "names class 3, but the network has 3"),
        (BinaryCrossEntropy(positive_weight=(1, 2)), "has 2 numbers, the network 3 outputs"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(np, z, y)
        with pytest.raises(ValueError, match=message):
            loss.loaded(np.asarray, 3)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "softmax_cross_entropy"])
def test_shapes_that_would_broadcast_are_refused(name):
    loss = LOSSES[name]()
    with pytest.raises(ValueError, match=r"output of shape \(4, 2\) needs targets of the same"):
        loss(np, np.zeros((4, 2)), np.zeros(4))
    with pytest.raises(ValueError, match="needs targets of the same shape"):
        loss(np, np.zeros((4, 1)), np.zeros((4, 4)))
    # One output, and one number for each sample: not (4, 4) differences.
    column, _ = loss(np, np.arange(4.0)[:, None], np.ones(4))
    rows, _ = loss(np, np.arange(4.0)[:, None], np.ones((4, 1)))
    assert float(column) == float(rows)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_another_shape_are_refused(name):
    with pytest.raises(ValueError, match=r"4 samples need weights of shape \(4,\), got \(4, 1\)"):
        LOSSES[name]()(np, np.zeros((4, 2)), np.zeros((4, 2)), weight=np.ones((4, 1)))


def test_a_kind_is_one_of_three():
    with pytest.raises(ValueError, match="target_kind must be one of classes, multilabel, values"):
        type("Mine", (Loss,), {"target_kind": "numbers"})

    def mine(xp, output, target):
        raise NotImplementedError

    assert target_kind(mine) is None
    assert not accepts_weight(mine)
    assert accepts_weight(lambda xp, output, target, *, weight=None, need_grad=True: None)
    mine.target_kind = "values"
    assert target_kind(mine) == "values"
    mine.target_kind = "numbers"
    with pytest.raises(ValueError, match="mine: target_kind must be one of"):
        target_kind(mine)
