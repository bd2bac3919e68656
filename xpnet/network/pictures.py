"""What a network says of pictures in files: each read, prepared and asked about."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.data.framing import Box, Framing
from xpnet.data.picture_shape import PictureShape
from xpnet.data.pictures import Picture, open_picture
from xpnet.data.prepared import (
    Prepared,
    brightness,
    find_figures,
    fit_picture,
    prepare_picture,
)
from xpnet.errors import DataError
from xpnet.typing import HostArray, Shape


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network says of one picture, or of one figure in it.

    Attributes
    ----------
    path
        The file.
    prediction
        What `predict` gives for it: the class as an integer or text, rows of 0 and 1 for several
        labels, the values of a network that gives values. None if there is a problem.
    probabilities
        Those of the classes or labels, shape (C,); None for values, and if there is a problem.
    box
        Where in the picture the figure is, (top, left, bottom, right) in its pixels, upright; None
        if none was looked for, or found.
    prepared
        What the network was given, as brightness: shape (height, width), or (height, width, 3)
        where it takes three colours.
    """

    path: str
    prediction: Any
    probabilities: HostArray | None
    box: Box | None
    prepared: Prepared

    @property
    def problem(self) -> str | None:
        """Why there is no prediction, in a sentence; None if there is one."""
        return self.prepared.problem


class Pictures:
    """How a `Network` is asked about pictures in files."""

    sample_shape: Shape | None
    framing: Framing | None
    target_kind: str

    def predict_pictures(
        self: Any,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        invert: bool | None = None,
        as_is: bool = False,
        several: bool = False,
    ) -> list[Answer]:
        """What the network says of pictures in files, prepared as those that it was trained on.

        A network for colours, samples of shape (height, width, 3) or (3, height, width), is given
        the whole picture in colour, as numbers from 0 to 1.

        Parameters
        ----------
        paths
            The files, or one of them; see `xpnet.data.read_picture`.
        invert
            Whether to swap black and white; if None, this is found out (with `as_is`, and without a
            `framing`, it is not done then).
        as_is
            Whether the whole picture is fitted, and no figure looked for.
        several
            Whether there may be several figures in a picture.

        Returns
        -------
        answers
            One for each picture, in their order; of `several` one for each figure, in the order in
            which they are read: line by line, from left to right. Where there is nothing to ask
            about, as in a blank picture, the answer has a `problem`.

        Raises
        ------
        DataError
            If the network takes no pictures, or a file cannot be read as one.
        """
        shape = PictureShape.of(self.sample_shape)
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        answers: list[Answer] = []
        for path in paths:
            picture = open_picture(path, invert=invert, colour=shape.in_colour)
            found = prepare_for(
                picture, shape.size, self.framing, invert=invert, as_is=as_is, several=several
            )
            answers += self._answer(os.fspath(path), picture, found, shape)
        return answers

    def _answer(
        self: Any, path: str, picture: Picture, found: list[Prepared], shape: PictureShape
    ) -> list[Answer]:
        asked = np.stack([prepared.sample for prepared in found])
        if self.framing is not None:
            asked = self.framing.as_samples(asked)
        asked = shape.samples(asked)
        said = self.predict(asked)
        has_probabilities = self.target_kind != "values"
        probabilities = self.predict_proba(asked) if has_probabilities else said
        if not np.isfinite(probabilities).all():
            raise DataError(f"{path}: the network gives no finite numbers for this picture")
        answers = []
        for i, prepared in enumerate(found):
            asked_about = prepared.problem is None
            answers.append(
                Answer(
                    path,
                    said[i] if asked_about else None,
                    probabilities[i] if asked_about and has_probabilities else None,
                    in_file(prepared.box, picture),
                    prepared,
                )
            )
        return answers


def prepare_for(
    picture: Picture,
    size: tuple[int, int],
    framing: Framing | None,
    *,
    invert: bool | None,
    as_is: bool,
    several: bool,
) -> list[Prepared]:
    """What of a picture a network of this (height, width) and framing is to see."""
    if as_is or framing is None:
        if several:
            reason = "as_is takes the whole picture" if as_is else "there is no rule of the framing"
            raise DataError(f"several figures cannot be told apart: {reason}")
        sample = fit_picture(brightness(picture.pixels), size, invert=bool(invert))
        return [Prepared(sample, None, bool(invert))]
    if several:
        return find_figures(picture.pixels, size, framing, invert=invert)
    return [prepare_picture(picture.pixels, size, framing, invert=invert)]


def in_file(box: Box | None, picture: Picture) -> Box | None:
    """A box in the pixels of the file, whose picture may have been made smaller."""
    if box is None:
        return None
    down, across = (n / m for n, m in zip(picture.size, picture.pixels.shape[:2], strict=True))
    top, left, bottom, right = box
    return round(top * down), round(left * across), round(bottom * down), round(right * across)
