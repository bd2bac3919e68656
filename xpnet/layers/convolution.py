"""Convolution of pictures, and of sequences."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from xpnet.checks import positive_integer, true_or_false
from xpnet.descriptions import written_as
from xpnet.fields import checked_by
from xpnet.initializers import (
    Initializer,
    build_initializer,
    describe_initializer,
    draw_kernels,
    he_normal,
    zeros,
)
from xpnet.layers.base import Context, Layer
from xpnet.layers.constraints import Constraint, MaxNorm, build_constraint, describe_constraint
from xpnet.layers.convolution_files import onnx_convolution, torch_convolution
from xpnet.layers.dense import checked_constraint, checked_initializer
from xpnet.layers.pictures import PICTURE_AXES, picture_shape
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.operations import (
    channel_sums,
    convolution_input_gradient,
    convolution_output,
    convolution_weight_gradient,
)
from xpnet.random import Seed, stream
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape
from xpnet.windows import Pair, Windows, checked_padding, pair, pixels


def _padding_of_length(name: str, value: Any) -> str | int:
    if isinstance(value, tuple | list):
        raise ValueError(f"{name} must be 'same', 'valid', or an integer of at least 0, got a pair")
    checked = checked_padding(name, value)
    return checked if isinstance(checked, str) else checked[0]


class Convolution(Layer):
    """What convolutions of pictures and of sequences have in common.

    A sequence is a picture of one row: see `_picture`.
    """

    n_in: int
    n_out: int
    groups: int
    bias: bool
    init_weight: Initializer
    constraint: Constraint | None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, n in (("n_in", self.n_in), ("n_out", self.n_out)):
            if n % self.groups:
                raise ValueError(
                    f"{type(self).__name__}: groups must divide {name}, {n}, got {self.groups}: "
                    f"{n} = {n // self.groups} x {self.groups} + {n % self.groups}"
                )

    @property
    def windows(self) -> Windows:
        """The windows, over pictures of any size."""
        raise NotImplementedError

    def kernel_shape(self) -> Shape:
        """The shape of a kernel, without channels."""
        raise NotImplementedError

    def __repr__(self) -> str:
        texts = [str(self.n_in), str(self.n_out)]
        mine: Any = self
        for one in fields(mine):
            value = getattr(self, one.name)
            if isinstance(value, tuple) and value[0] == value[1]:
                value = value[0]  # as it was given
            if one.name in ("n_in", "n_out") or value == one.default:
                continue
            named = one.name == "init_weight"
            text = getattr(value, "__name__", repr(value)) if named else repr(value)
            texts.append(text if one.name == "kernel" else f"{one.name}={text}")
        return f"{type(self).__name__}({', '.join(texts)})"

    def parameter_shapes(self) -> dict[str, Shape]:
        bias: dict[str, Shape] = {"bias": (self.n_out,)} if self.bias else {}
        return {"weight": (*self.kernel_shape(), self.n_in // self.groups, self.n_out), **bias}

    def init(self, seed: Seed) -> dict[str, HostArray]:
        shape, groups = self.parameter_shapes()["weight"], self.groups
        weight = draw_kernels(self.init_weight, stream(seed, "weight"), shape, groups)
        return {"weight": weight, **({"bias": zeros((self.n_out,))} if self.bias else {})}

    def constraints(self) -> dict[str, Constraint]:
        return {} if self.constraint is None else {"weight": self.constraint}

    def flops(self, shape: Shape) -> int:
        *pixels, _ = self.output_shape(shape)
        inner = math.prod(self.kernel_shape()) * self.n_in // self.groups
        return math.prod(pixels) * self.n_out * (2 * inner + self.bias)

    def input_shape(self) -> Shape:
        unknown: Any = None
        return (*(unknown for _ in self.kernel_shape()), self.n_in)

    def output_shape(self, shape: Shape | None) -> Shape:
        raise NotImplementedError

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        # A shape is known before anything is computed, also where this is compiled.
        shape = self.output_shape(tuple(x.shape[1:]))
        picture, weight = self._picture(xp, x), self._weight(xp, params)
        y = convolution_output(xp, picture, weight, self.windows, groups=self.groups)
        if self.bias:
            y += params["bias"]
        return xp.reshape(y, (x.shape[0], *shape)), (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        picture, d_picture = self._picture(xp, x), self._picture(xp, dy)
        dw = convolution_weight_gradient(xp, picture, d_picture, self.windows, groups=self.groups)
        grads = {"weight": xp.reshape(dw, self.parameter_shapes()["weight"])}
        if self.bias:
            grads["bias"] = channel_sums(xp, d_picture)
        return (self.input_gradient(xp, params, cache, dy) if need_dx else None), grads

    def input_gradient(self, xp: Namespace, params: Params, cache: Cache, dy: Array) -> Array:
        (x,) = cache
        _, height, width, _ = self._picture(xp, x).shape
        dx = convolution_input_gradient(
            xp, self._picture(xp, dy), self._weight(xp, params), self.windows, (height, width),
            groups=self.groups,
        )  # fmt: skip
        return xp.reshape(dx, x.shape)

    def _picture(self, xp: Namespace, x: Array) -> Array:
        """A batch as pictures."""
        return x if x.ndim == PICTURE_AXES + 1 else x[:, None, ...]

    def _weight(self, xp: Namespace, params: Params) -> Array:
        """The weight for pictures."""
        weight = params["weight"]
        return weight if weight.ndim == PICTURE_AXES + 1 else weight[None, ...]

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return onnx_convolution(self, place, x)

    def torch(self, place: TorchPlace) -> str:
        return torch_convolution(self, place)


@dataclass(frozen=True, repr=False)
class Conv2D(Convolution):
    """Convolution of pictures with channels last: (B, H, W, n_in) to (B, H', W', n_out).

    y[b, i, j, o] = bias[o] + the sum over the pixels (u, v) of the kernel and the channels c of
    weight[u, v, c, o] x[b, i s + u d - p, j s + v d - p, c], with the stride s, the dilation d and
    the padding p in front; what lies outside of the picture is 0. As in all libraries, the kernel
    is not turned: it is a cross-correlation.

    Parameters
    ----------
    n_in, n_out
        Numbers of channels that come in and go out, positive.
    kernel
        The height and width of the kernel: a positive integer, or two.
    stride
        How far apart windows begin, down and to the right: a positive integer, or two.
    padding
        `"same"` for so much that there are ceil(n / stride) windows along n pixels, as in
        TensorFlow and JAX; where it is odd, one more behind than in front. `"valid"` for none. Or
        an integer of at least 0, or two for the height and the width: so much on both sides.
    dilation
        How far apart the pixels of a window are: a positive integer, or two.
    groups
        Into how many parts the channels are divided, each of which goes into a part of the outputs
        alone; `n_in` for a kernel for each channel ("depthwise"). Both numbers of channels must be
        multiples of it.
    bias
        Whether there is one. In front of batch norm it would do nothing.
    init_weight
        How the weight is drawn, one of `xpnet.initializers`, with the fans of a kernel: kernel
        height x kernel width x n_in / groups numbers come into an output, and one goes into kernel
        height x kernel width x n_out / groups outputs. The bias starts at zero.
    constraint
        What the weight is to keep to after every update, such as `MaxNorm(3.0)`, of the numbers
        that come into an output; nothing if None.

    Notes
    -----
    Parameters: `weight` (kernel height, kernel width, n_in / groups, n_out) and, where there is
    one, `bias` (n_out,). The gradients are those of `xpnet.operations.convolution_weight_gradient`
    and `convolution_input_gradient`; that of the bias is the sum of dy over samples and pixels. The
    columns of a batch take 16 MB in float32 at the most, or what one sample needs.

    Raises
    ------
    ValueError
        If an argument is out of range, samples of another shape come in, or such that there is no
        window.

    References
    ----------
    LeCun, Boser, Denker, Henderson, Howard, Hubbard and Jackel, "Backpropagation applied to
    handwritten zip code recognition", 1989, https://doi.org/10.1162/neco.1989.1.4.541

    Examples
    --------
    >>> from xpnet import Conv2D
    >>> Conv2D(1, 6, 5, padding="valid").output_shape((28, 28, 1))
    (24, 24, 6)
    >>> Conv2D(6, 16, stride=2).output_shape((28, 28, 6))
    (14, 14, 16)
    """

    n_in: int = field(metadata=checked_by(positive_integer))
    n_out: int = field(metadata=checked_by(positive_integer))
    kernel: int | Pair = field(default=3, metadata=checked_by(pair))
    stride: int | Pair = field(default=1, metadata=checked_by(pair))
    padding: str | int | Pair = field(default="same", metadata=checked_by(checked_padding))
    dilation: int | Pair = field(default=1, metadata=checked_by(pair))
    groups: int = field(default=1, metadata=checked_by(positive_integer))
    bias: bool = field(default=True, metadata=checked_by(true_or_false))
    init_weight: Initializer = field(
        default=he_normal,
        metadata=checked_by(checked_initializer)
        | written_as(describe_initializer, build_initializer),
    )
    constraint: Constraint | None = field(
        default=None,
        metadata=checked_by(checked_constraint, optional=True)
        | written_as(describe_constraint, build_constraint),
    )

    @property
    def windows(self) -> Windows:
        return Windows.of(self.kernel, self.stride, self.padding, self.dilation)

    def kernel_shape(self) -> Shape:
        return self.windows.kernel

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape is None:
            shape = self.input_shape()
        kind = f"Conv2D({self.n_in}, {self.n_out})"
        height, width, channels = picture_shape(kind, shape)
        if channels not in (None, self.n_in):
            raise ValueError(
                f"{kind} takes samples of shape (height, width, {self.n_in}), but is given shape "
                f"{shape}"
            )
        if None in (height, width):
            return (None, None, self.n_out)  # type: ignore[return-value]
        self.windows.check(kind, (height, width))
        return (*self.windows.output_size((height, width)), self.n_out)

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(2, 3), (2, 4, 5, 2)
        yield cls(1, 2, 2, padding="valid", bias=False), (3, 3, 4, 1)
        yield cls(4, 6, (3, 2), (2, 1), (2, 1), groups=2), (2, 5, 4, 4)
        yield cls(2, 2, 2, dilation=(1, 2), groups=2, constraint=MaxNorm(1.0)), (2, 4, 4, 2)


@dataclass(frozen=True, repr=False)
class Conv1D(Convolution):
    """Convolution of sequences with channels last: (B, L, n_in) to (B, L', n_out).

    What `Conv2D` does to pictures of one row: y[b, i, o] = bias[o] + the sum over the places u of
    the kernel and the channels c of weight[u, c, o] x[b, i s + u d - p, c].

    Parameters
    ----------
    n_in, n_out
        Numbers of channels that come in and go out, positive.
    kernel, stride, dilation
        Positive integers, as for `Conv2D`.
    padding
        `"same"`, `"valid"`, or an integer of at least 0: so much on both sides.
    groups, bias, init_weight, constraint
        As for `Conv2D`.

    Notes
    -----
    Parameters: `weight` (kernel, n_in / groups, n_out) and, where there is one, `bias` (n_out,).

    Raises
    ------
    ValueError
        If an argument is out of range, samples of another shape come in, or such that there is no
        window.

    References
    ----------
    Waibel, Hanazawa, Hinton, Shikano and Lang, "Phoneme recognition using time-delay neural
    networks", 1989, https://doi.org/10.1109/29.21701

    Examples
    --------
    >>> from xpnet import Conv1D
    >>> Conv1D(3, 8, 5, stride=2).output_shape((100, 3))
    (50, 8)
    """

    n_in: int = field(metadata=checked_by(positive_integer))
    n_out: int = field(metadata=checked_by(positive_integer))
    kernel: int = field(default=3, metadata=checked_by(pixels))
    stride: int = field(default=1, metadata=checked_by(pixels))
    padding: str | int = field(default="same", metadata=checked_by(_padding_of_length))
    dilation: int = field(default=1, metadata=checked_by(pixels))
    groups: int = field(default=1, metadata=checked_by(positive_integer))
    bias: bool = field(default=True, metadata=checked_by(true_or_false))
    init_weight: Initializer = field(
        default=he_normal,
        metadata=checked_by(checked_initializer)
        | written_as(describe_initializer, build_initializer),
    )
    constraint: Constraint | None = field(
        default=None,
        metadata=checked_by(checked_constraint, optional=True)
        | written_as(describe_constraint, build_constraint),
    )

    @property
    def windows(self) -> Windows:
        padding = self.padding if isinstance(self.padding, str) else (0, self.padding)
        return Windows.of((1, self.kernel), (1, self.stride), padding, (1, self.dilation))

    def kernel_shape(self) -> Shape:
        return (self.kernel,)

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape is None:
            shape = self.input_shape()
        kind = f"Conv1D({self.n_in}, {self.n_out})"
        if len(shape) != 2 or shape[1] not in (None, self.n_in):
            raise ValueError(
                f"{kind} takes samples of shape (length, {self.n_in}), but is given shape {shape}"
            )
        length = shape[0]
        if length is None:
            return (None, self.n_out)
        self.windows.check(kind, (1, length))
        return (self.windows.output_size((1, length))[1], self.n_out)

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(2, 3), (3, 5, 2)
        yield cls(2, 4, 2, 2, 1, 2, 2), (2, 6, 2)
