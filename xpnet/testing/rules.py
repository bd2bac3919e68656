"""What a layer and a loss keep to, beside their slopes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from array_api_compat import numpy as xp

from xpnet.layers import Context, Layer
from xpnet.random import derive
from xpnet.testing.report import Check
from xpnet.typing import Grads, HostArray


def forward(layer: Layer, arrays: Mapping[str, HostArray], x: HostArray, ctx: Context) -> HostArray:
    return layer.forward(xp, copies(arrays), x.copy(), ctx)[0]


def backward(
    layer: Layer,
    arrays: Mapping[str, HostArray],
    x: HostArray,
    dy: HostArray,
    ctx: Context,
    **options: bool,
) -> tuple[HostArray | None, Grads]:
    _, cache = layer.forward(xp, copies(arrays), x.copy(), ctx)
    return layer.backward(xp, copies(arrays), cache, dy.copy(), **options)


def layer_rules(
    layer: Layer, arrays: dict[str, HostArray], x: HostArray, dy: HostArray, ctx: Context
) -> Iterator[Check]:
    """What a layer keeps to beside its slopes."""
    shapes = {name: tuple(shape) for name, shape in layer.parameter_shapes().items()}
    found = {name: value.shape for name, value in layer.init(derive(0, "rules")).items()}
    yield _rule("init", found == shapes, f"gives {found}, parameter_shapes() is {shapes}")
    y = forward(layer, arrays, x, ctx)
    wanted = (x.shape[0], *(layer.output_shape(x.shape[1:]) or y.shape[1:]))
    yield _rule("output", y.shape == wanted, f"has shape {y.shape}, output_shape gives {wanted}")

    given, at, grad = copies(arrays), x.copy(), dy.copy()
    _, cache = layer.forward(xp, given, at, ctx)
    written = [n for n, a in {**arrays, "x": x}.items() if not _same({**given, "x": at}[n], a)]
    dx, grads = layer.backward(xp, given, cache, grad)
    again = layer.backward(xp, given, cache, dy.copy())
    buffers = {name: given[name] for name in layer.buffers()}
    moved = layer.update_buffers(xp, buffers, cache) if ctx.training else buffers
    now = {**given, "x": at, "dy": grad}
    written += [n for n, a in {**arrays, "x": x, "dy": dy}.items() if not _same(now[n], a)]
    names = ", ".join(dict.fromkeys(written))
    yield _rule("arguments", not written, f"written to: {names}")
    yield _rule(
        "cache", _alike((dx, grads), again), "backward gives something else the second time"
    )
    kept = {n: (np.shape(a), np.asarray(a).dtype) for n, a in moved.items()}
    like = {n: (a.shape, a.dtype) for n, a in buffers.items()}
    yield _rule("buffers", kept == like, f"update_buffers gives {kept}, not {like}")

    short, less = backward(layer, arrays, x, dy, ctx, need_dx=False)
    fits = short is None and _alike((None, grads), (None, less))
    yield _rule("need_dx=False", fits, "gives dx, or other gradients")
    single = _single({**arrays, "x": x, "dy": dy})
    x, dy = single.pop("x"), single.pop("dy")
    dx, grads = backward(layer, single, x, dy, ctx)
    yield _float32_rule({"y": forward(layer, single, x, ctx), "dx": dx, **grads})


def run_loss(
    loss: Callable[..., Any], arrays: Mapping[str, HostArray], **options: bool
) -> tuple[Any, Any]:
    """A loss of copies of `output`, `target` and, where it is there, `weight`."""
    return _call(loss, copies(arrays), **options)


def _call(
    loss: Callable[..., Any], arrays: Mapping[str, HostArray], **options: bool
) -> tuple[Any, Any]:
    weight = {"weight": arrays["weight"]} if "weight" in arrays else {}
    value, gradient = loss(xp, arrays["output"], arrays["target"], **weight, **options)
    return value, gradient


def loss_rules(loss: Callable[..., Any], arrays: dict[str, HostArray]) -> Iterator[Check]:
    """What a loss keeps to beside its slope."""
    given = copies(arrays)
    value, _ = _call(loss, given)
    yield _rule("loss", np.shape(value) == (), f"has shape {np.shape(value)}, should have no axes")
    written = [name for name, array in arrays.items() if not _same(given[name], array)]
    yield _rule("arguments", not written, f"written to: {', '.join(written)}")
    alone, nothing = run_loss(loss, arrays, need_grad=False)
    fits = nothing is None and _same(alone, value)
    yield _rule("need_grad=False", fits, "gives a gradient, or another loss")
    value, gradient = run_loss(loss, _single(arrays))
    yield _float32_rule({"loss": value, "d_output": gradient})


def _single(arrays: Mapping[str, HostArray]) -> dict[str, HostArray]:
    """Floating-point arrays in float32."""
    return {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in arrays.items()}


def _float32_rule(results: Mapping[str, Any]) -> Check:
    wide = [n for n, a in results.items() if a is not None and np.asarray(a).dtype != np.float32]
    return _rule("float32", not wide, f"of another dtype: {', '.join(wide)}")


def _rule(what: str, ok: bool, detail: str) -> Check:
    return Check(what, bool(ok), detail="" if ok else detail)


def copies(arrays: Mapping[str, HostArray]) -> dict[str, HostArray]:
    return {name: array.copy() for name, array in arrays.items()}


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _alike(one: tuple[Any, Grads], other: tuple[Any, Grads], tolerance: float = 1e-12) -> bool:
    """Whether two pairs `(dx, grads)` are the same, up to rounding."""
    pairs = [(one[0], other[0]), *((value, other[1].get(n)) for n, value in one[1].items())]
    if set(one[1]) != set(other[1]):
        return False
    return all(
        a is b
        or (
            a is not None
            and b is not None
            and np.shape(a) == np.shape(b)
            and np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
        )
        for a, b in pairs
    )
