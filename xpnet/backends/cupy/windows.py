"""Windows of pictures in one CUDA kernel each: columns and back, and both poolings with theirs.

A kernel computes each element of what it makes by itself: whatever an element is made of it looks
up, so that nothing is added to one place by several threads. The geometry is written into its
source as constants, by which a compiler divides fast.

References
----------
Jia, "Learning semantic image representations at a large scale", 2014, of `im2col` and `col2im` in
Caffe, which gather in the same way.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from xpnet.errors import one_line
from xpnet.streams import log_warning
from xpnet.typing import Array
from xpnet.windows import Pair, Windows

# They are C++ as well, and are compiled as such by the tests. `e` counts elements with channels
# last; of a window (i, j) of picture b the pixel (u, v) is (i SH + u DH - TOP, j SW + v DW - LEFT).
PARTS = """
#define INSIDE(r, s) ((r) >= 0 && (r) < H && (s) >= 0 && (s) < W)
#define PIXEL(b, r, s, c) ((((b) * H + (r)) * W + (s)) * C + (c))
#define WINDOW(b, i, j, c) ((((b) * OH + (i)) * OW + (j)) * C + (c))
#define EACH_PIXEL(i, j) \\
    for (int u = 0, r = (i) * SH - TOP; u < KH; u++, r += DH) \\
        for (int v = 0, s = (j) * SW - LEFT; v < KW; v++, s += DW) \\
            if (INSIDE(r, s))
/* The windows (i, j) that have the pixel (y, x) as their pixel (u, v). */
#define EACH_WINDOW(y, x) \\
    for (int u = 0, down = (y) + TOP; u < KH && down >= 0; u++, down -= DH) \\
        if (down % SH == 0 && down / SH < OH) \\
            for (int v = 0, across = (x) + LEFT; v < KW && across >= 0; v++, across -= DW) \\
                if (across % SW == 0 && across / SW < OW)

template <typename T> __device__ inline T xpnet_columns(const T* x, long long e)
{
    const int c = (int)(e % C);
    e /= C;
    const int v = (int)(e % KW), u = (int)(e / KW % KH);
    e /= KW * KH;
    const int j = (int)(e % OW), i = (int)(e / OW % OH);
    const long long b = e / (OW * OH);
    const int r = i * SH + u * DH - TOP, s = j * SW + v * DW - LEFT;
    return INSIDE(r, s) ? x[PIXEL(b, r, s, c)] : (T)0;
}

template <typename T> __device__ inline T xpnet_added(const T* columns, long long e)
{
    const int c = (int)(e % C), x = (int)(e / C % W), y = (int)(e / C / W % H);
    const long long b = e / C / W / H;
    T sum = 0;
    EACH_WINDOW(y, x) {
        const long long window = (b * OH + down / SH) * OW + across / SW;
        sum += columns[((window * KH + u) * KW + v) * C + c];
    }
    return sum;
}

template <typename T> __device__ inline T xpnet_largest(const T* x, long long e)
{
    const int c = (int)(e % C), j = (int)(e / C % OW), i = (int)(e / C / OW % OH);
    const long long b = e / C / OW / OH;
    bool is_first = true;
    T largest = 0;
    EACH_PIXEL(i, j) {
        const T value = x[PIXEL(b, r, s, c)];
        /* A NaN is larger than all, and nothing is larger than it. */
        if (is_first || value > largest || value != value) largest = value;
        is_first = false;
    }
    return largest;
}

template <typename T> __device__ inline T xpnet_largest_gradient(
    const T* x, const T* largest, const T* dy, long long e)
{
    const int c = (int)(e % C), column = (int)(e / C % W), row = (int)(e / C / W % H);
    const long long b = e / C / W / H;
    T sum = 0;
    EACH_WINDOW(row, column) {
        const int i = down / SH, j = across / SW;
        const long long window = WINDOW(b, i, j, c);
        bool is_taken = false;
        EACH_PIXEL(i, j) {
            const T value = x[PIXEL(b, r, s, c)];
            if (!is_taken && (value == largest[window] || value != value)) {
                is_taken = true;
                if (r == row && s == column) sum += dy[window];
            }
        }
    }
    return sum;
}

template <typename T> __device__ inline T xpnet_mean(const T* x, long long e)
{
    const int c = (int)(e % C), j = (int)(e / C % OW), i = (int)(e / C / OW % OH);
    const long long b = e / C / OW / OH;
    T sum = 0;
    int count = 0;
    EACH_PIXEL(i, j) {
        sum += x[PIXEL(b, r, s, c)];
        count++;
    }
    return sum / (T)count;
}

template <typename T> __device__ inline T xpnet_mean_gradient(const T* dy, long long e)
{
    const int c = (int)(e % C), column = (int)(e / C % W), row = (int)(e / C / W % H);
    const long long b = e / C / W / H;
    T sum = 0;
    EACH_WINDOW(row, column) {
        const int i = down / SH, j = across / SW;
        int count = 0;
        EACH_PIXEL(i, j) count++;
        sum += dy[WINDOW(b, i, j, c)] / (T)count;
    }
    return sum;
}
"""


def source_of(windows: Windows, size: Pair, channels: int) -> str:
    """The functions for windows over pictures of a size."""
    (top, _), (left, _) = windows.pads(size)
    named = {
        "H": size[0], "W": size[1], "C": channels, "TOP": top, "LEFT": left,
        **dict(zip(("KH", "KW"), windows.kernel, strict=True)),
        **dict(zip(("SH", "SW"), windows.stride, strict=True)),
        **dict(zip(("DH", "DW"), windows.dilation, strict=True)),
        **dict(zip(("OH", "OW"), windows.output_size(size), strict=True)),
    }  # fmt: skip
    defined = "".join(f"#define {name} {value}\n" for name, value in named.items())
    # What comes after it has names of its own.
    macros = re.findall(r"#define (\w+)", defined + PARTS)
    return "\n".join([defined + PARTS, *(f"#undef {name}" for name in macros), ""])


def make_window_functions(cupy: Any) -> dict[str, Callable[..., Array | None]]:
    """What `xpnet.operations` asks a namespace for of convolution and pooling, for CuPy.

    They answer None, and the general way is taken, from the first time on that a kernel cannot be
    made.
    """
    broken = False

    def guarded(function: Callable[..., Array]) -> Callable[..., Array | None]:
        def either(*args: Any) -> Array | None:
            nonlocal broken
            if broken:
                return None
            try:
                return function(*args)
            except Exception as error:
                broken = True
                log_warning(
                    "convolution and pooling take many kernels, since those of their own cannot be "
                    "used (%s)",
                    one_line(error, 300),
                )
                return None

        return either

    @lru_cache(maxsize=256)
    def kernel(name: str, arrays: tuple[str, ...], windows: Windows, size: Pair, c: int) -> Any:
        given = ", ".join(f"raw T {array}" for array in arrays)
        call = f"made = {name}({', '.join(f'&{array}[0]' for array in arrays)}, (long long)i);"
        source = source_of(windows, size, c)
        return cupy.ElementwiseKernel(given, "T made", call, name, preamble=source)

    def run(
        name: str, windows: Windows, size: Pair, shape: Sequence[int], **arrays: Array
    ) -> Array:
        given = [cupy.ascontiguousarray(array) for array in arrays.values()]
        count = math.prod(shape)
        if not count:
            return cupy.empty(shape, dtype=given[0].dtype)
        run_kernel = kernel(name, tuple(arrays), windows, size, shape[-1])
        return run_kernel(*given, size=count).reshape(shape)

    def window_columns(x: Array, windows: Windows) -> Array:
        batch, height, width, channels = x.shape
        size, pixels = (height, width), windows.kernel[0] * windows.kernel[1]
        shape = (batch, *windows.output_size(size), pixels, channels)
        return run("xpnet_columns", windows, size, shape, x=x)

    def surrounded(x: Array, pads: Sequence[Pair], value: float) -> Array:
        batch, height, width, channels = x.shape
        (top, bottom), (left, right) = pads
        shape = (batch, top + height + bottom, left + width + right, channels)
        whole = cupy.full(shape, value, dtype=x.dtype)
        whole[:, top : top + height, left : left + width, :] = x
        return whole

    def added_columns(columns: Array, windows: Windows, size: Pair) -> Array:
        shape = (columns.shape[0], *size, columns.shape[4])
        # The size is that of pictures with their padding.
        bare = Windows(windows.kernel, windows.stride, "valid", windows.dilation)
        return run("xpnet_added", bare, size, shape, columns=columns)

    def pooled(name: str, x: Array, windows: Windows) -> Array:
        batch, height, width, channels = x.shape
        size = (height, width)
        return run(name, windows, size, (batch, *windows.output_size(size), channels), x=x)

    def max_pooling_gradient(x: Array, y: Array, dy: Array, windows: Windows) -> Array:
        arrays = {"x": x, "largest": y, "dy": dy}
        return run("xpnet_largest_gradient", windows, x.shape[1:3], x.shape, **arrays)

    def average_pooling_gradient(x: Array, dy: Array, windows: Windows) -> Array:
        return run("xpnet_mean_gradient", windows, x.shape[1:3], x.shape, dy=dy)

    named: dict[str, Callable[..., Array]] = {
        "padded_columns": window_columns,
        "window_columns": window_columns,
        "surrounded": surrounded,
        "added_columns": added_columns,
        "max_pooling": partial(pooled, "xpnet_largest"),
        "max_pooling_gradient": max_pooling_gradient,
        "average_pooling": partial(pooled, "xpnet_mean"),
        "average_pooling_gradient": average_pooling_gradient,
    }
    return {name: guarded(function) for name, function in named.items()}
