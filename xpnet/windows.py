"""Windows over a picture: how many there are, where they lie, and how much padding they need."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from operator import index
from typing import Any, TypeAlias

from xpnet.checks import positive_integer
from xpnet.errors import shown

Pair: TypeAlias = tuple[int, int]
"""Of the height and of the width."""

Padding: TypeAlias = str | Pair
"""`"same"`, `"valid"`, or how many pixels are put on both sides of each axis."""

MOST_PIXELS = 2**31 - 1
"""No window reaches further, begins further apart or has more padding along an axis: libraries
count these in 32 bits."""

_LARGEST_PICTURE = 2**40
"""So many pixels no picture has: it is padding that was given by mistake."""


def pair(name: str, value: Any) -> Pair:
    """Check that an argument is a positive integer below 2**31, or two; kept as a pair.

    Raises
    ------
    ValueError
        If it is not; the message has the argument's name and value.
    """
    try:
        first, second = value if isinstance(value, tuple | list) else (value, value)
        return pixels(name, first), pixels(name, second)
    except ValueError:
        raise ValueError(
            f"{name} must be a positive integer, or two for the height and the width, below 2**31, "
            f"got {shown(value)}"
        ) from None


def pixels(name: str, value: Any) -> int:
    """Check that an argument is a positive integer below 2**31: along one axis.

    Raises
    ------
    ValueError
        If it is not; the message has the argument's name and value.
    """
    number = positive_integer(name, value)
    if number > MOST_PIXELS:
        raise ValueError(f"{name} must be a positive integer below 2**31, got {shown(value)}")
    return number


def checked_padding(name: str, value: Any) -> Padding:
    """Check that an argument is a padding; a number is kept as a pair.

    Raises
    ------
    ValueError
        If it is not; the message has the argument's name and value.
    """
    if isinstance(value, str) and value in ("same", "valid"):
        return value
    try:
        first, second = value if isinstance(value, tuple | list) else (value, value)
        return _count(name, first), _count(name, second)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be 'same', 'valid', or an integer of at least 0, or two for the height "
            f"and the width, below 2**31, got {shown(value)}"
        ) from None


def _count(name: str, value: Any) -> int:
    """Check that something is an integer of at least 0."""
    is_zero = not isinstance(value, bool) and index(value) == 0
    return 0 if is_zero else pixels(name, value)


@dataclass(frozen=True)
class Windows:
    """Windows over pictures of any size, which begin `stride` pixels apart.

    Attributes
    ----------
    kernel
        How many pixels are in a window, along the height and the width.
    stride
        How far apart windows begin.
    padding
        `"valid"`: none. A pair: so much on both sides of each axis. `"same"`: so much that there
        are ceil(n / stride) windows along an axis of n pixels, as in TensorFlow and JAX; where it
        is odd, one more behind than in front.
    dilation
        How far apart the pixels of a window are.
    """

    kernel: Pair
    stride: Pair
    padding: Padding = "valid"
    dilation: Pair = (1, 1)

    @classmethod
    def of(cls, kernel: Any, stride: Any, padding: Any, dilation: Any = 1) -> "Windows":
        """The windows that the fields of a layer say: each an integer, a pair, or a word."""
        return cls(
            pair("kernel", kernel),
            pair("stride", stride),
            checked_padding("padding", padding),
            pair("dilation", dilation),
        )

    @property
    def spans(self) -> Pair:
        """How many pixels a window reaches over: (kernel - 1) dilation + 1."""
        height, width = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return height, width

    def places(self, count: Pair) -> Iterator[tuple[slice, slice]]:
        """For each pixel of a window, in row order, its rows and columns in pictures that have
        their padding around them, over all of so many windows down and to the right."""
        for i, j in product(*map(range, self.kernel)):
            rows, columns = (
                slice(pixel * apart, pixel * apart + (n - 1) * step + 1, step)
                for pixel, apart, n, step in zip(
                    (i, j), self.dilation, count, self.stride, strict=True
                )
            )
            yield rows, columns

    def pads(self, size: Pair) -> tuple[Pair, Pair]:
        """The padding in front of and behind the height, and the width, of pictures of a size."""
        before_after = []
        for axis, n in enumerate(size):
            if self.padding == "valid":
                before_after.append((0, 0))
            elif self.padding == "same":
                stride = self.stride[axis]
                whole = max((-(-n // stride) - 1) * stride + self.spans[axis] - n, 0)
                before_after.append((whole // 2, whole - whole // 2))
            else:
                before_after.append((int(self.padding[axis]),) * 2)
        height, width = before_after
        return height, width

    def output_size(self, size: Pair) -> Pair:
        """How many windows there are along the height and the width of pictures of a size."""
        height, width = (
            (n + sum(around) - span) // stride + 1
            for n, around, span, stride in zip(
                size, self.pads(size), self.spans, self.stride, strict=True
            )
        )
        return height, width

    def check(self, what: str, size: Pair) -> None:
        """Check that there is a window at all, and no more padding than an array can have.

        Parameters
        ----------
        what
            What the message calls the layer.
        size
            The (height, width) of the pictures.

        Raises
        ------
        ValueError
            If there is none, or that much.
        """
        pads = self.pads(size)
        for axis, (name, n, (before, after)) in enumerate(
            zip(("high", "wide"), size, pads, strict=True)
        ):
            kernel, dilation, span = self.kernel[axis], self.dilation[axis], self.spans[axis]
            if n + before + after < span:
                spread = f" with dilation {dilation} spans {span} pixels" if dilation > 1 else ""
                raise ValueError(
                    f"{what}: a kernel of {kernel}{spread}{',' if spread else ' is'} more than the "
                    f"{n} that the picture is {name} and its padding of {before} + {after}: take "
                    f"a smaller kernel, more padding or larger pictures"
                )
        height, width = (n + sum(around) for n, around in zip(size, pads, strict=True))
        if height * width > max(_LARGEST_PICTURE, size[0] * size[1]):
            raise ValueError(
                f"{what}: with its padding a picture of {size[0]:,} x {size[1]:,} pixels would "
                f"have {height:,} x {width:,}: take less padding, or a smaller kernel or dilation"
            )
