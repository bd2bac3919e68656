"""Augmentations as text, such as `elastic` or `affine:rotation=10:scale=0.1`."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from xpnet.augment.base import Augmentation
from xpnet.augment.composing import Compose
from xpnet.errors import shown
from xpnet.suggestions import did_you_mean
from xpnet.typing import Shape

AUGMENTATIONS: dict[str, type[Augmentation]] = {}
"""The augmentations by the name that the command line gives them."""


def augmentations_from(texts: Iterable[str], *, shape: Shape | None = None) -> Compose:
    """The augmentations that texts say, one after the other, as those of `--augment`.

    Parameters
    ----------
    texts
        Each a name of `AUGMENTATIONS`, and behind colons what is not as by default.
    shape
        As in `Compose`.

    Raises
    ------
    ValueError
        If there is no such augmentation or number, or it is not allowed.

    Examples
    --------
    >>> from xpnet.augment import augmentations_from
    >>> augmentations_from(["flip:vertical=0.5", "noise"]).augmentations
    (Flip(horizontal=0.5, vertical=0.5), Noise(deviation=0.1))
    """
    return Compose(tuple(_one(text) for text in texts), shape)


def _one(text: str) -> Augmentation:
    name, *options = (part.strip() for part in text.split(":"))
    if name not in AUGMENTATIONS:
        near = did_you_mean(name, AUGMENTATIONS)
        raise ValueError(f"must be of {', '.join(AUGMENTATIONS)}; got {shown(name)}{near}")
    kind = AUGMENTATIONS[name]
    known = {one.name: one.default for one in fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for option in options:
        key, equals, value = (part.strip() for part in option.partition("="))
        if not equals or key not in known:
            first = next(iter(known))
            raise ValueError(
                f"has {shown(option)} for {name}, which has {', '.join(known)}: give such as "
                f"{name}:{first}={known[first]}{did_you_mean(key, known)}"
            )
        if key in given:
            raise ValueError(f"has {key} of {name} twice")
        try:
            given[key] = float(value)
        except ValueError:
            given[key] = value  # a word, such as that of an edge
    return kind(**given)
