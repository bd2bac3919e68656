"""Labels that are text or Booleans: which classes there are, and their numbers."""

from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.errors import DataError, counted
from xpnet.inputs.samples import source_of
from xpnet.typing import Array, HostArray, Shape

_SHOWN = 8


def learn_classes(
    what: str,
    backend: Backend,
    y: Any,
    kind: str,
    output: Shape | None,
    known: HostArray | None = None,
) -> Any:
    """The classes that labels of a training set have, sorted; None where they are numbers.

    Parameters
    ----------
    what
        What they are called in a message.
    backend
        Where the training is.
    y
        Targets, as `plain` gave them.
    kind
        The kind of the targets.
    output
        The shape of one output of the network; None if it is not known.
    known
        The classes that the network has already, if any: these, where it still tells classes apart.

    Returns
    -------
    classes
        On the host, shape (C,): text, or False and True. The place of a class is the number of its
        output. Of a network with one output, which says how probable the second is, there are two.

    Raises
    ------
    DataError
        If the network has another number of outputs than there are classes.
    """
    if known is not None and _count(kind, output) != 0:
        return known
    if not _are_named(what, backend, y, kind, output):
        return None
    text = isinstance(y, np.ndarray) and y.dtype.kind == "U"
    classes = np.unique(y) if text else np.asarray([False, True])
    wanted = _count(kind, output)
    if wanted not in (None, len(classes)):
        count = len(classes)
        raise DataError(
            f"{what}: the labels have {counted(count, 'class')} ({show(classes)}), "
            f"but the network has outputs for {wanted}: give it an output for each class, as in "
            f"mlp(..., {max(count, 2)}), and softmax_cross_entropy as the loss"
        )
    return classes


def encode(
    what: str, backend: Backend, y: Any, kind: str, output: Shape | None, classes: HostArray | None
) -> Any:
    """Labels as the numbers of their classes; all other targets as they are.

    Labels of shape (N, 1) become (N,) where the targets are classes, since no network for classes
    has one output.

    Raises
    ------
    DataError
        If a label is none of the classes, or is text where the classes are numbers.
    """
    if kind == "classes" and output not in ((1,),):
        y = _flat(backend, y)
    text = isinstance(y, np.ndarray) and y.dtype.kind == "U"
    if text:
        rows = kind == "multilabel" and output not in (None, (1,))
        if rows or kind == "values" or y.ndim != 1 + (y.shape[1:] == (1,)):
            raise DataError(
                f"{what}: expected an array of real numbers, got one of dtype {y.dtype} and shape "
                f"{y.shape} (for classes, labels (N,) of which may be text, take "
                f"softmax_cross_entropy as the loss)"
            )
        return _encode_text(what, y, classes)
    if _are_named(what, backend, y, kind, output):
        _check_numbers(what, y, classes, str(y.dtype))
        source, y = source_of(backend, y)
        with source.scope():
            return source.xp.astype(y, source.xp.uint8)
    if classes is not None and len(np.shape(y)) == 1:
        _check_numbers(what, y, classes, str(getattr(y, "dtype", "numbers")))
    return y


def decode(backend: Backend, classes: HostArray | None, predicted: Array) -> Array:
    """The classes of predicted numbers: Booleans where those are, and text on the host."""
    if classes is None:
        return predicted
    if classes.dtype.kind == "b":
        return backend.xp.astype(predicted, backend.xp.bool)
    return classes[backend.to_numpy(predicted)]


def check_classes(classes: Any, kind: str, output: Shape | None) -> HostArray | None:
    """The classes of a network as `learn_classes` gives them, from an array or a list.

    Raises
    ------
    ValueError
        If they are neither sorted texts nor False and True, or not as many as the network tells
        apart.
    """
    if classes is None:
        return None
    names = np.asarray(classes).tolist()
    text = isinstance(names, list) and len(names) > 0 and all(isinstance(n, str) for n in names)
    # 0 and 1 are equal to False and True, and are none.
    if not (text and sorted({*names}) == names) and repr(names) != "[False, True]":
        raise ValueError(
            f"classes must be texts that are sorted, or False and True; got {repr(names)[:200]}"
        )
    wanted = _count(kind, output)
    if wanted not in (None, len(names)):
        raise ValueError(
            f"classes must be one for each of {wanted} that the network tells apart, "
            f"got {len(names)}"
        )
    return np.asarray(names, dtype=str if text else bool)


def check_class_names(names: Any, kind: str, output: Shape | None) -> tuple[str, ...] | None:
    """The names of classes that are numbers, one for each output, from any sequence of texts.

    Raises
    ------
    ValueError
        If they are no texts, or not as many as the network tells apart.
    """
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names must be texts, one for each class; got {repr(names)[:200]}")
    wanted = _count(kind, output)
    if wanted not in (None, len(names)) or not len(names):
        raise ValueError(
            f"class_names must be one for each of {wanted} that the network tells apart, "
            f"got {len(names)}"
        )
    return tuple(map(str, names))


def fitting_names(
    names: tuple[str, ...] | None, kind: str, output: Shape | None
) -> tuple[str, ...] | None:
    """The names of the classes of a data set, if the network has an output for each; else None."""
    return names if names is not None and _count(kind, output) in (None, len(names)) else None


def show(classes: HostArray) -> str:
    """The first of the classes, for a message."""
    names = [repr(name)[:40] for name in classes[:_SHOWN].tolist()]
    return ", ".join([*names, "..."] if len(classes) > _SHOWN else names)


def _count(kind: str, output: Shape | None) -> int | None:
    """How many classes a network tells apart; None if that is not known."""
    if kind == "values" or (kind == "multilabel" and output not in (None, (1,))):
        return 0
    return None if output is None else 2 if kind == "multilabel" else output[-1]


def _are_named(what: str, backend: Backend, y: Any, kind: str, output: Shape | None) -> bool:
    """Whether targets are labels (N,) that are text or Booleans; of classes also (N, 1)."""
    if _count(kind, output) == 0:
        return False
    text = isinstance(y, np.ndarray) and y.dtype.kind == "U"
    if not text:
        source, y = source_of(backend, y, f"{what}: targets")
        if not source.xp.isdtype(y.dtype, "bool"):
            return False
    column = y.ndim == 2 and y.shape[1] == 1 and output != (1,)
    return bool(y.ndim == 1 or (kind == "classes" and column) or (text and y.shape[1:] == (1,)))


def _flat(backend: Backend, y: Any) -> Any:
    shape = np.shape(y)
    if len(shape) != 2 or shape[1] != 1:
        return y
    if isinstance(y, np.ndarray):
        return y[:, 0]
    source, y = source_of(backend, y)
    return source.xp.reshape(y, (shape[0],))


def _encode_text(what: str, y: HostArray, classes: HostArray | None) -> HostArray:
    if classes is None or classes.dtype.kind != "U":
        known = "numbers from 0" if classes is None else show(classes)
        raise DataError(
            f"{what}: the labels are text ({show(np.unique(y))}), but those that the network was "
            f"trained on are {known}: give them in the same way"
        )
    codes = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    unknown = classes[codes] != y
    if unknown.any():
        raise DataError(
            f"{what}: found labels that are not among those of the training set: "
            f"{show(np.unique(y[unknown]))}; the network knows {show(classes)}"
        )
    return codes


def _check_numbers(what: str, y: Any, classes: HostArray | None, dtype: str) -> None:
    if classes is not None and classes.dtype.kind == "U":
        raise DataError(
            f"{what}: the network was trained on labels that are text ({show(classes)}), and these "
            f"are of dtype {dtype}: give text"
        )
