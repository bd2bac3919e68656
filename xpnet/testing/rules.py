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
    yield _descend_rule(layer, arrays, x, dy, ctx)
    single = {name: value.astype(np.float32) for name, value in arrays.items()}
    x, dy = x.astype(np.float32), dy.astype(np.float32)
    dx, grads = backward(layer, single, x, dy, ctx)
    results = {"y": forward(layer, single, x, ctx), "dx": dx, **grads}
    wide = [name for name, value in results.items() if np.asarray(value).dtype != np.float32]
    yield _rule("float32", not wide, f"of another dtype: {', '.join(wide)}")


def _descend_rule(
    layer: Layer, arrays: dict[str, HostArray], x: HostArray, dy: HostArray, ctx: Context
) -> Check:
    dx, grads = backward(layer, arrays, x, dy, ctx)
    _, cache = layer.forward(xp, arrays, x.copy(), ctx)
    found_dx, found = layer.descend(xp, copies(arrays), cache, dy.copy(), np.asarray(0.25))
    wanted = {name: arrays[name] - 0.25 * np.asarray(value) for name, value in grads.items()}
    fits = _alike((dx, wanted), (found_dx, {name: found.get(name) for name in wanted}), 1e-9)
    return _rule("descend", fits, "is not backward and a step against the gradient")


def loss_rules(
    loss: Callable[..., Any],
    run: Callable[..., tuple[Any, Any]],
    output: HostArray,
    target: HostArray,
    options: dict[str, HostArray],
) -> Iterator[Check]:
    """What a loss keeps to beside its slope."""
    value, _ = run(output)
    yield _rule("loss", np.shape(value) == (), f"has shape {np.shape(value)}, should have no axes")
    given = {"output": output.copy(), "target": target.copy(), **copies(options)}
    weight = {"weight": given["weight"]} if options else {}
    loss(xp, given["output"], given["target"], **weight)
    before = {"output": output, "target": target, **options}
    written = [name for name, array in before.items() if not _same(given[name], array)]
    yield _rule("arguments", not written, f"written to: {', '.join(written)}")
    alone, nothing = run(output, need_grad=False)
    fits = nothing is None and _same(alone, value)
    yield _rule("need_grad=False", fits, "gives a gradient, or another loss")
    results = dict(zip(("loss", "d_output"), run(output.astype(np.float32)), strict=True))
    wide = [name for name, array in results.items() if np.asarray(array).dtype != np.float32]
    yield _rule("float32", not wide, f"of another dtype: {', '.join(wide)}")


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
