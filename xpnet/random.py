"""Every random number of xpnet.

One seed gives the same run on every backend because numbers are never drawn on a device: they
come from host bit streams. Each purpose (the initial weights of one layer, the shuffle of one
epoch) has a stream of its own, derived from the seed and the names of the purpose, so that using
more numbers for one purpose, or adding a purpose, changes no other.
"""

import hashlib
import operator

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

Seed = int | SeedSequence
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
    if isinstance(seed, SeedSequence):
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(
            f"seed must be a non-negative integer or a numpy.random.SeedSequence, got {seed!r}"
        )
    if seed < 0:
        raise ValueError(f"seed must be non-negative, got {seed}")
    return SeedSequence(int(seed))


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
    parent = seed_sequence(seed)
    # A NumPy integer counts as the number that it is; repr keeps ("a", 1) and ("a", "1") apart.
    names = tuple(str(p) if isinstance(p, str) else operator.index(p) for p in purpose)
    digest = hashlib.sha256(repr(names).encode()).digest()
    words = tuple(int(word) for word in np.frombuffer(digest, dtype="<u4"))
    return SeedSequence(
        entropy=parent.entropy,
        spawn_key=(*parent.spawn_key, *words),
        pool_size=parent.pool_size,
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
    return Generator(PCG64(derive(seed, *purpose)))


def permutation(seed: Seed, epoch: int, n: int) -> np.ndarray:
    """The order in which epoch number `epoch` visits `n` samples: int64, shape (n,)."""
    return stream(seed, "shuffle", epoch).permutation(n)
