"""Augmentations made of others: one after the other, and sometimes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from xpnet.augment.base import Augmentation, Random, name_of
from xpnet.augment.mixing import Mixup
from xpnet.augment.moves import Flip
from xpnet.augment.warps import Affine, Elastic, Mover, Places, Warp, warped
from xpnet.checks import positive_integer
from xpnet.errors import shown
from xpnet.fields import checked_by, number
from xpnet.typing import Array, HostArray, Namespace, Shape


def _augmentation(name: str, given: Any) -> Augmentation:
    if not isinstance(given, Augmentation):
        raise TypeError(f"{name} must be an augmentation such as Elastic(), got {shown(given)}")
    return given


def _augmentations(name: str, given: Any) -> tuple[Augmentation, ...]:
    if isinstance(given, Augmentation | str) or not isinstance(given, Iterable):
        raise TypeError(f"{name} must be a list of augmentations, got {shown(given)}")
    return tuple(_augmentation(f"{name}: each", one) for one in given)


def _shape(name: str, given: Any) -> Shape:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(
            f"{name} must be (height, width) or (height, width, channels), got {given!r}"
        )
    shape = tuple(positive_integer(name, side) for side in given)
    if len(shape) not in (2, 3):
        raise ValueError(
            f"{name} must be (height, width) or (height, width, channels), got {shape}"
        )
    return shape


class _Outer(Augmentation):
    """One that is made of others."""

    @property
    def takes_pictures(self) -> bool:  # type: ignore[override]
        return any(part.takes_pictures for part in self.parts().values())

    @property
    def changes_targets(self) -> bool:  # type: ignore[override]
        return any(part.changes_targets for part in self.parts().values())

    @property
    def neighbours(self) -> int:  # type: ignore[override]
        return sum(part.neighbours for part in self.parts().values())

    def constants(self, shape: Shape, dtype: str) -> Mapping[str, HostArray]:
        return {
            f"{name}/{key}": value
            for name, part in self.parts().items()
            for key, value in part.constants(shape, dtype).items()
        }

    def check_shape(self, shape: Shape) -> None:
        for part in self.parts().values():
            part.check_shape(shape)


@dataclass(frozen=True)
class Sometimes(_Outer):
    """Another augmentation for some of the samples; the others stay as they are.

    Parameters
    ----------
    augmentation
        The other one.
    probability
        How likely it is, for each sample by itself.
    """

    augmentation: Augmentation = field(default=Elastic(), metadata=checked_by(_augmentation))
    probability: float = field(default=0.5, metadata=number(at_least=0, at_most=1))

    name = "sometimes"

    def parts(self) -> Mapping[str, Augmentation]:
        return {name_of(self.augmentation): self.augmentation}

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        inner, left = self.augmentation, self.augmentation.neighbours
        changed, targets = inner.apply(xp, x, y, random.inside(name_of(inner)))
        chosen = random.without_first(left).chance(xp, "chosen", self.probability)
        x = xp.where(_beside(xp, chosen, x), changed, x[left:, ...])
        if inner.changes_targets:
            y = xp.where(_beside(xp, chosen, y), targets, y[left:, ...])
        return x, y

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls(Flip(1.0))
        yield cls(Elastic(), 0.3)
        yield cls(Mixup(1.0))


@dataclass(frozen=True)
class Compose(_Outer):
    """Augmentations one after the other.

    The random numbers of each follow from its name, so that another one put in front of it does not
    change them. Of several of one name these are `affine`, `affine-2`, ...

    Parameters
    ----------
    augmentations
        In their order.
    shape
        Of samples whose pixels are in rows: the (height, width), or (height, width, channels), that
        they are pictures of. Samples that have a shape of their own need none.
    """

    augmentations: tuple[Augmentation, ...] = field(metadata=checked_by(_augmentations))
    shape: Shape | None = field(default=None, metadata=checked_by(_shape, optional=True))

    name = "compose"

    def parts(self) -> Mapping[str, Augmentation]:
        named: dict[str, Augmentation] = {}
        for part in self.augmentations:
            name, count = name_of(part), 1
            while name in named:
                count += 1
                name = f"{name_of(part)}-{count}"
            named[name] = part
        return named

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        movers: list[tuple[Mover, Random]] = []
        edge = ""
        for name, part in self.parts().items():
            own = random.inside(name)
            found = _mover(part)
            if movers and (found is None or found[1] != edge):
                x, movers = warped(xp, x, movers, edge, random), []
            if found is not None:
                edge = found[1]
                movers.append((found[0], own))
                continue
            x, y = part.apply(xp, x, y, own)
            random = random.without_first(part.neighbours)
        return (warped(xp, x, movers, edge, random) if movers else x), y

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls((Elastic(), Affine()))
        yield cls((Mixup(), Affine(edge="nearest"), Sometimes(Elastic()), Flip(), Mixup()))


def _mover(part: Augmentation) -> tuple[Mover, str] | None:
    """What moves places, and the edge, of a deformation or one that sometimes is; else None."""
    if isinstance(part, Warp):
        # One of one's own may do something else as well.
        return (part.move, part.edge) if type(part).apply is Warp.apply else None
    if isinstance(part, Sometimes) and isinstance(part.augmentation, Warp):
        inner = _mover(part.augmentation)
        return None if inner is None else (_sometimes(part, inner[0]), inner[1])
    return None


def _sometimes(part: Sometimes, move: Mover) -> Mover:
    def moved(xp: Namespace, places: Places, shape: Shape, random: Random) -> Places:
        there = move(xp, places, shape, random.inside(name_of(part.augmentation)))
        chosen = random.chance(xp, "chosen", part.probability)
        return xp.where(chosen, there[0], places[0]), xp.where(chosen, there[1], places[1])

    return moved


def _beside(xp: Namespace, chosen: Array, x: Array) -> Array:
    """Booleans (B, 1) with as many axes as an array."""
    return xp.reshape(chosen, (chosen.shape[0], *[1] * (x.ndim - 1)))
