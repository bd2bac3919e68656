"""Every random number of xpnet.

One seed gives the same run on every backend, because no library's own generator is used. Each
purpose (the initial weights of one layer, the shuffle of one epoch, the dropout of one layer) has
a stream of its own, derived from the seed and the names of the purpose, so that using more numbers
for one purpose, or adding a purpose, changes no other. There are two kinds of streams:

- `stream`: NumPy's PCG64 on the host, for what is drawn once (weights) or once an epoch (shuffles);
- `keep_mask`: Threefry-2x32, a generator without state, in array operations on the device, for
  what is drawn in every step. Its numbers are a function of key, step, row and column, so that
  they can be computed anywhere, in any order, and for a part of a batch alone.
"""

import math
import operator
import struct
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import device

from xpnet.typing import Array, Generator, Namespace, SeedSequence

Seed: TypeAlias = "int | SeedSequence"
"""What starts a run: a non-negative integer, or a `numpy.random.SeedSequence`."""


def seed_sequence(seed: Seed) -> SeedSequence:
    """Check a seed and give it the form that streams are derived from.

    Raises
    ------
    TypeError
        If the seed is neither an integer nor a `SeedSequence`. `None` is refused because a run
        that cannot be repeated would be a surprise; draw a seed and keep it instead.
    ValueError
        If the seed is negative.
    """
    if isinstance(seed, np.random.SeedSequence):
        return seed
    return np.random.SeedSequence(_checked(seed))


def _checked(seed: Any) -> int:
    """An integer as one of Python's, if it can be a seed."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(
            f"seed must be a non-negative integer or a numpy.random.SeedSequence, got {seed!r}"
        )
    if seed < 0:
        raise ValueError(f"seed must be non-negative, got {seed}")
    return int(seed)


def derive(seed: Seed, *purpose: str | int) -> SeedSequence:
    """The seed of one purpose, independent of those of all other purposes.

    Parameters
    ----------
    seed
        The seed of the run.
    purpose
        Names and numbers that identify what the numbers are for, such as
        `("initialization", "fc1")` or `("shuffle", 3)`.

    Notes
    -----
    The purpose is hashed with SHA-256 into the spawn key of a `SeedSequence`, which mixes it
    into the seed (O'Neill's seed_seq_fe construction).
    """
    import hashlib

    # A NumPy integer counts as the number that it is; repr keeps ("a", 1) and ("a", "1") apart.
    names = tuple(str(p) if isinstance(p, str) else operator.index(p) for p in purpose)
    digest = hashlib.sha256(repr(names).encode()).digest()
    words = struct.unpack("<8I", digest)
    if not isinstance(seed, np.random.SeedSequence):  # to make one of it takes as long again
        return np.random.SeedSequence(_checked(seed), spawn_key=words)
    return np.random.SeedSequence(
        entropy=seed.entropy, spawn_key=(*seed.spawn_key, *words), pool_size=seed.pool_size
    )


def stream(seed: Seed, *purpose: str | int) -> Generator:
    """A random generator for one purpose: PCG64 seeded by `derive(seed, *purpose)`.

    The same NumPy release gives the same numbers on every platform.

    Examples
    --------
    >>> a = stream(0, "shuffle", 1).integers(1000, size=3)
    >>> b = stream(0, "shuffle", 1).integers(1000, size=3)
    >>> bool((a == b).all())
    True
    """
    return np.random.Generator(np.random.PCG64(derive(seed, *purpose)))


def permutation(seed: Seed, epoch: int, n: int) -> np.ndarray:
    """The order in which epoch number `epoch` visits `n` samples: int64, shape (n,)."""
    return stream(seed, "shuffle", epoch).permutation(n)


# -- on the device -------------------------------------------------------------------------------

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
_DROPOUT_ROUNDS = 13
_RESOLUTION = 1 << 16
_BITS = (1 << 24) - 1


def threefry2x32(
    xp: Namespace, key: tuple[int, int], x0: Array, x1: Array, *, rounds: int = 20
) -> tuple[Array, Array]:
    """Threefry-2x32: 64 random bits from a 64-bit key and a 64-bit counter.

    Parameters
    ----------
    xp
        The array namespace of the counters.
    key
        Two words, integers from 0 to 2**32 - 1.
    x0, x1
        The words of the counters: int32 arrays of the same shape, whose bits are taken as those of
        an unsigned number (the standard's uint32 has no arithmetic in PyTorch).
    rounds
        How often to mix: 20 with a margin of safety, 13 are the fewest that pass BigCrush.

    Returns
    -------
    y0, y1
        The random words: int32 arrays, all bits random.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011,
    https://doi.org/10.1145/2063384.2063405
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x0 = x0 + _signed(keys[0])
    x1 = x1 + _signed(keys[1])
    for i in range(rounds):
        rotation = _ROTATIONS[i % 8]
        x0 += x1
        # The shift of a signed number to the right copies its sign: mask the copies out.
        low = x1 >> (32 - rotation)
        low &= (1 << rotation) - 1
        x1 <<= rotation
        x1 |= low
        x1 ^= x0
        if i % 4 == 3:
            j = i // 4 + 1
            x0 += _signed(keys[j % 3])
            x1 += _signed(keys[(j + 1) % 3] + j)
    return x0, x1


def keep_mask(
    xp: Namespace,
    key: tuple[int, int],
    step: Array | int,
    x: Array,
    rate: float,
    *,
    row_offset: Array | int = 0,
) -> Array:
    """Which elements of a batch dropout keeps: true with probability 1 - rate.

    Parameters
    ----------
    xp
        The array namespace of `x`.
    key
        The stream, from `layer_key`.
    step
        The number of the training step; an int32 array of shape () where a step is compiled.
    x
        The batch that the mask is for, shape (B, ...), of which only the shape and the device
        are used.
    rate
        The probability of dropping, rounded to a multiple of 2**-16 (see `dropped_fraction`).
    row_offset
        The number of the first row of `x` in the whole batch: a part of a batch, given its offset,
        gets that part of the whole batch's mask.

    Returns
    -------
    keep
        Booleans of the shape of `x`, on its device; the same bits on every array library. A
        namespace with a `keep_mask` of its own is asked first (see `xpnet.operations`).

    Raises
    ------
    ValueError
        If the rate is, when it is rounded, below 0 or not below 1.
    """
    if not 0 <= dropped_fraction(rate) < 1:  # the limit would be no number of 32 bits
        raise ValueError(f"keep_mask: rate must be from 0 to 1 - 2**-16, got {rate!r}")
    own = getattr(xp, "keep_mask", None)
    mask = None if own is None else own(key, step, x, rate, row_offset)
    if mask is not None:
        return mask
    n_columns = math.prod(x.shape[1:])
    x0, x1 = _counters(xp, x, -(-n_columns // 4), step, row_offset)
    y0, y1 = threefry2x32(xp, key, x0, x1, rounds=_DROPOUT_ROUNDS)
    # Each word holds two numbers of 16 bits. A comparison of the word sees the upper one, since
    # the lower bits of the limit are zero; a shift brings the lower one up.
    limit = round(rate * _RESOLUTION) * _RESOLUTION - 2**31
    quarters = [y0 >= limit, (y0 << 16) >= limit, y1 >= limit, (y1 << 16) >= limit]
    keep = xp.concat(quarters, axis=1)
    return xp.reshape(keep[:, :n_columns], x.shape)


def normal(
    xp: Namespace,
    key: tuple[int, int],
    step: Array | int,
    x: Array,
    *,
    row_offset: Array | int = 0,
) -> Array:
    """A standard normal number for each element of a batch.

    By Box and Muller: of pairs of uniform numbers u, v of 24 random bits each,
    sqrt(-2 log u) cos(2 pi v) and the same with the sine. So none is beyond 5.9.

    Parameters
    ----------
    xp, key, step, row_offset
        As for `keep_mask`.
    x
        The batch that the numbers are for, shape (B, ...), of which only the shape, the dtype and
        the device are used.

    Returns
    -------
    numbers
        Of the shape and the dtype of `x`, on its device: from the same random bits on every array
        library, whose logarithms and cosines may differ in the last digits.

    References
    ----------
    Box and Muller, "A note on the generation of random normal deviates", 1958,
    https://doi.org/10.1214/aoms/1177706645
    """
    n_columns = math.prod(x.shape[1:])
    n_blocks = -(-n_columns // 2)
    y0, y1 = threefry2x32(
        xp, key, *_counters(xp, x, n_blocks, step, row_offset), rounds=_DROPOUT_ROUNDS
    )
    # Half a unit keeps the logarithm from 0: a sum that is rounded up to 1 has the logarithm 0.
    u, v = ((xp.astype((y >> 8) & _BITS, x.dtype) + 0.5) * (1 / (_BITS + 1)) for y in (y0, y1))
    return xp.reshape(box_muller(xp, u, v)[:, :n_columns], x.shape)


def box_muller(xp: Namespace, u: Array, v: Array) -> Array:
    """Standard normal numbers, (B, 2 n), of uniform ones, each (B, n), of which `u` is never 0:
    sqrt(-2 log u) cos(2 pi v), and then the same with the sine.
    """
    radius, angle = xp.sqrt(-2.0 * xp.log(u)), 2.0 * math.pi * v
    return xp.concat([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)


def _counters(
    xp: Namespace, x: Array, n_blocks: int, step: Array | int, row_offset: Array | int
) -> tuple[Array, Array]:
    """The words of the counters of a batch, each (B, n_blocks): row and block, and the step."""
    rows = xp.arange(x.shape[0], dtype=xp.int32, device=device(x)) + row_offset
    return counters(xp, rows, n_blocks, step)


def counters(xp: Namespace, rows: Array, n_blocks: int, step: Array | int) -> tuple[Array, Array]:
    """The words of the counters of rows by their numbers, int32, each (B, n_blocks): row and block,
    and the step."""
    blocks = xp.arange(n_blocks, dtype=xp.int32, device=device(rows))
    x0 = rows[:, None] * n_blocks + blocks[None, :]
    x1 = xp.zeros_like(x0) + step
    # A 64-bit offset or step would widen the counters, which must wrap at 32 bits.
    return xp.astype(x0, xp.int32, copy=False), xp.astype(x1, xp.int32, copy=False)


def dropped_fraction(rate: float) -> float:
    """The probability with which `keep_mask` drops: `rate` as a multiple of 2**-16."""
    return round(rate * _RESOLUTION) / _RESOLUTION


@lru_cache(maxsize=1024)
def layer_key(seed: SeedSequence, path: tuple[str, ...]) -> tuple[int, int]:
    """The key of one layer's random numbers: two words derived from the seed and its names."""
    first, second = derive(seed, *path).generate_state(2, np.uint32)
    return int(first), int(second)


def _signed(word: int) -> int:
    """The low 32 bits of a number, as those of a signed one."""
    return (word + 2**31) % 2**32 - 2**31
