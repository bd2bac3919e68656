"""The figures that callbacks and schedules watch: whether a training has them."""

from xpnet.callbacks.base import Callback
from xpnet.history import UNMEASURED
from xpnet.inputs.sets import Given
from xpnet.optimizers import Optimizer


def check_monitors(callbacks: list[Callback], given: Given, train_metrics: str) -> None:
    """Check that there is a set for what each callback watches, and that it is measured there.

    Raises
    ------
    ValueError
        If not.
    """
    for callback in callbacks:
        if callback.monitor in UNMEASURED[train_metrics]:
            raise ValueError(
                f"{type(callback).__name__} watches {callback.monitor}, which is not measured with "
                f"train_metrics={train_metrics!r}: give train_metrics='evaluated', or let it watch "
                f"another figure"
            )
        part = (callback.monitor or "").partition("_")[0]
        if part in ("validation", "test") and getattr(given, part) is None:
            how = "validation=0.1, or validation=(x, y)" if part == "validation" else "test=(x, y)"
            raise ValueError(
                f"{type(callback).__name__} watches {callback.monitor}, but there is no {part} "
                f"set: give fit(..., {how}), or let it watch another figure"
            )


def check_accuracy(callbacks: list[Callback], optimizer: Optimizer, kind: str) -> None:
    """Check that no callback or schedule watches an accuracy where the targets are values.

    Raises
    ------
    ValueError
        If one does.
    """
    for watcher in (*callbacks, optimizer.schedule):
        monitor = getattr(watcher, "monitor", None) or ""
        if kind == "values" and monitor.endswith("_accuracy"):
            raise ValueError(
                f"{type(watcher).__name__} watches {monitor}, but the targets are real numbers, "
                f"which have no accuracy: let it watch {monitor.replace('accuracy', 'loss')}"
            )
