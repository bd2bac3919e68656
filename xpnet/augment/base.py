"""What an augmentation is: a frozen description, a pure function of a batch and random numbers."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from xpnet.fields import Checked, checked_by
from xpnet.random import box_muller, counters, layer_key, threefry2x32
from xpnet.suggestions import did_you_mean
from xpnet.typing import Array, DType, HostArray, Namespace, SeedSequence, Shape

_ROUNDS = 13
"""Of Threefry: the fewest that pass BigCrush, as for the masks of dropout."""

EDGES = ("zero", "nearest")
"""What lies beside a picture: zeros, or its nearest pixel."""


class Random(NamedTuple):
    """The random numbers of an augmentation in a step, and what it has on the device.

    The numbers of a picture are a function of the seed of the run, the names of the augmentation
    and of what is drawn, the number of the step and that of the picture's row in the batch: the
    same on every library, and for a part of a batch. Nothing is kept between steps.

    Attributes
    ----------
    seed
        What the streams are derived from.
    step
        The number of the training step: an int32 array of shape (), or an integer.
    rows
        The number of each picture in the batch, int32, shape (B,).
    dtype
        The floating-point dtype of the batch.
    index_dtype
        That of indices.
    constants
        What `Augmentation.constants` gave, on the device, by name.
    path
        The names of the augmentation, from the outermost inwards.
    """

    seed: SeedSequence
    step: Array | int
    rows: Array
    dtype: DType
    index_dtype: DType
    constants: Mapping[str, Array] = {}
    path: tuple[str, ...] = ()

    def inside(self, name: str) -> "Random":
        """That of an augmentation of this name within this one."""
        start = f"{name}/"
        own = {n[len(start) :]: x for n, x in self.constants.items() if n.startswith(start)}
        return self._replace(constants=own, path=(*self.path, name))

    def without_first(self, count: int) -> "Random":
        """That of the batch without its first rows."""
        return self._replace(rows=self.rows[count:]) if count else self

    def uniform(
        self, xp: Namespace, name: str, count: int, low: float = 0.0, high: float = 1.0
    ) -> Array:
        """Uniform numbers from `low` to below `high` for each picture: shape (B, count).

        They are multiples of 2**-24 of the range, whatever the dtype is. Each `name` has a stream
        of its own.
        """
        x = xp.astype(self._words(xp, name, count) >> 8, self.dtype)
        x *= 2.0**-24
        x += 0.5
        if (low, high) != (0.0, 1.0):
            x *= high - low
            x += low
        return x

    def normal(self, xp: Namespace, name: str, count: int) -> Array:
        """Normal numbers of mean 0 and variance 1 for each picture: shape (B, count).

        By Box and Muller, as `xpnet.random.normal`.
        """
        half = -(-count // 2)
        u = self.uniform(xp, name, 2 * half)
        return box_muller(xp, 1.0 - u[:, :half], u[:, half:])[:, :count]

    def integers(self, xp: Namespace, name: str, count: int, below: int) -> Array:
        """Integers from 0 to `below` - 1, at most 2**15, for each picture: int32, (B, count).

        Each has its probability to within 2**-16.

        Raises
        ------
        ValueError
            If there are more.
        """
        if below > 2**15:
            raise ValueError(f"augmentation: a side of {below} is more than {2**15}")
        upper = (self._words(xp, name, count) >> 16) & 0xFFFF
        return (upper * below) >> 16

    def chance(self, xp: Namespace, name: str, probability: float) -> Array:
        """Whether something happens to each picture: Booleans, shape (B, 1).

        The probability is rounded to a multiple of 2**-24.
        """
        limit = round(probability * 2**24) - 2**23
        return (self._words(xp, name, 1) >> 8) < limit

    def _words(self, xp: Namespace, name: str, count: int) -> Array:
        """Random words for each picture: int32, shape (B, count)."""
        n_blocks = -(-count // 2)
        x0, x1 = counters(xp, self.rows, n_blocks, self.step)
        key = layer_key(self.seed, (*self.path, name))
        both = xp.concat(list(threefry2x32(xp, key, x0, x1, rounds=_ROUNDS)), axis=1)
        return both[:, :count]


class Augmentation(Checked):
    """A random change of the pictures of a batch, in training alone.

    An augmentation is a frozen dataclass of numbers, and holds no array. Its one method is a pure
    function of a batch and of `random`, in array operations on the device: it becomes a part of the
    training step. `xpnet.testing.check_augmentation` checks one of your own.

    **What it is given.** `x` is the batch in the dtype of the network: of pictures (B, H, W, C),
    with one channel where they are grey, from 0 to 1 where they were integers; what was floating
    point is as it was. Samples that are no pictures are (B, features). `y` is the targets of the
    batch as the loss takes them. Lengths, in its fields, are parts of the height and width of a
    picture, so that they mean the same for pictures of any size.
    """

    name: ClassVar[str]
    """What the command line calls it, and what its random numbers are derived from."""

    takes_pictures: ClassVar[bool] = True
    """Whether samples must be pictures; else they may be of any shape."""

    changes_targets: ClassVar[bool] = False
    """Whether it changes targets. Labels are then given to it as rows (B, classes) of 0 and 1."""

    neighbours: ClassVar[int] = 0
    """How many rows it wants in front of a batch, to mix with: `x` and `y` then have so many more,
    of the rows before each, and what is given back has them no more. They go around: before the
    first is the last. So each row is known wherever a part of the batch is."""

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        """The changed batch and its targets, of the same shapes and dtypes; writes to neither."""
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def constants(self, shape: Shape, dtype: str) -> Mapping[str, HostArray]:
        """What it needs on the device for samples (H, W, C): arrays by name, brought there once.

        Floating-point ones are in `dtype`.
        """
        return {}

    def parts(self) -> Mapping[str, "Augmentation"]:
        """The augmentations that it is made of, by the names of their random numbers."""
        return {}

    def all_parts(self) -> Iterator["Augmentation"]:
        """Itself, and all that it is made of."""
        yield self
        for part in self.parts().values():
            yield from part.all_parts()

    def check_shape(self, shape: Shape) -> None:
        """Check that samples of a shape, (H, W, C) or another, can be augmented.

        Raises
        ------
        ValueError
            If they are no pictures, and must be.
        """
        if self.takes_pictures and len(shape) != 3:
            raise ValueError(
                f"{type(self).__name__} needs pictures, and samples have shape {shape}: if they "
                f"are pixels in rows, say how, such as Compose([...], shape=(28, 28))"
            )

    @classmethod
    def examples(cls) -> Iterator["Augmentation"]:
        """Augmentations of this class, on which the tests try the whole contract."""
        yield cls()


def name_of(augmentation: Augmentation) -> str:
    """What the random numbers of an augmentation are derived from."""
    return getattr(augmentation, "name", type(augmentation).__name__)


def along(name: str) -> dict[Any, Any]:
    """The metadata of a field that holds one of some words."""
    words = {"edge": EDGES}[name]

    def check(field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            near = did_you_mean(value, words)
            raise ValueError(f"{field} must be one of {', '.join(words)}; got {value!r}{near}")
        return value

    return checked_by(check)
