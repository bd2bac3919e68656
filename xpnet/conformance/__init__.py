"""Can this namespace train a network? For the people who write array libraries.

`check_namespace` runs on an array-API namespace each operation that xpnet uses, one by one, then
each layer, loss, metric and optimizer, then a short training, and compares all with NumPy in
float64.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backends import Backend, backend_of_namespace, open_backend
from xpnet.backends.namespace import NamespaceBackend
from xpnet.conformance import examples
from xpnet.conformance.recording import (
    IN_PLACE,
    Device,
    Request,
    is_dtype,
    map_values,
    needed_dtypes,
    needed_functions,
    needed_operators,
    record,
    run_training,
)
from xpnet.errors import one_line
from xpnet.typing import Array, HostArray

__all__ = [
    "ConformanceReport",
    "Finding",
    "check_namespace",
    "needed_dtypes",
    "needed_functions",
    "needed_operators",
]

_TOLERANCES = {"float64": 1e-12, "float32": 1e-5}
_TRAINING_TOLERANCES = {"float64": 1e-9, "float32": 1e-3}


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes
    ----------
    group
        `transfer`, `operations`, `layers`, `losses`, `metrics`, `optimizers` or `training`.
    what
        What was asked.
    status
        `ok`; `missing`, if the namespace has no such function; `error`, if it raised; `wrong`, if
        the answer has another value, dtype or shape than NumPy's.
    detail
        What came back, where it is not ok; of the training, the times.
    difference
        The largest difference from NumPy in float64, relative to the largest number there; None
        where there is nothing to compare.
    """

    group: str
    what: str
    status: str
    detail: str = ""
    difference: float | None = None


@dataclass(frozen=True)
class ConformanceReport:
    """What `check_namespace` found; `print` shows it as a table, `conforms` is the verdict."""

    namespace: str
    version: str
    dtype: str
    findings: tuple[Finding, ...]

    @property
    def conforms(self) -> bool:
        """Whether everything that was tried worked."""
        return all(finding.status == "ok" for finding in self.findings)

    @property
    def trains(self) -> bool:
        """Whether the short training gave NumPy's losses."""
        return [finding.status for finding in self.group("training")] == ["ok"]

    def group(self, name: str) -> list[Finding]:
        """The findings of one group."""
        return [finding for finding in self.findings if finding.group == name]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "namespace": self.namespace,
            "version": self.version,
            "dtype": self.dtype,
            "conforms": self.conforms,
            "trains": self.trains,
            "needed_functions": needed_functions(),
            "needed_operators": needed_operators(),
            "needed_dtypes": needed_dtypes(),
            "findings": [asdict(finding) for finding in self.findings],
        }

    def verdict(self) -> str:
        """The report in a sentence."""
        failed = [f for f in self.findings if f.status != "ok"]
        if not failed:
            return f"yes: {self.namespace} trains networks, with NumPy's results"
        names = list(dict.fromkeys(f.what.partition("(")[0] for f in failed))
        where = f"{len(failed)} of {len(self.findings)} checks failed"
        which = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        if self.trains:
            return f"in part: {self.namespace} trains the small network, but {where} ({which})"
        return f"no: {self.namespace} does not train the small network; {where} ({which})"

    def __str__(self) -> str:
        lines = [f"{self.namespace} {self.version}, {self.dtype}, against NumPy in float64", ""]
        for group in dict.fromkeys(finding.group for finding in self.findings):
            found = self.group(group)
            failed = [finding for finding in found if finding.status != "ok"]
            differences = [f.difference for f in found if f.difference is not None]
            most = f", largest difference {max(differences):.1e}" if differences else ""
            lines.append(f"{group:<10}  {len(found) - len(failed):>3} of {len(found):>3} ok{most}")
            for finding in failed:
                lines.append(f"  {finding.status:<7}  {finding.what}")
                lines.append(f"           {finding.detail}")
            if group == "training" and not failed:
                lines += [f"           {finding.detail}" for finding in found]
        return "\n".join([*lines, "", self.verdict()])


def check_namespace(module: str, *, dtype: str = "float64") -> ConformanceReport:
    """Find out whether an array-API namespace can train a network.

    Parameters
    ----------
    module
        The name of an importable module, such as `array_api_strict`, `jax.numpy` or `dask.array`.
        The module of array-api-compat for it is used where there is one.
    dtype
        The floating-point dtype to test, `"float64"` or `"float32"`.

    Raises
    ------
    BackendUnavailable
        If the module cannot be imported, or is no array-API namespace.

    Examples
    --------
    >>> from xpnet.conformance import check_namespace
    >>> report = check_namespace("numpy")
    >>> report.conforms
    True
    >>> print(report.verdict())
    yes: numpy trains networks, with NumPy's results
    """
    backend: Backend
    ours = backend_of_namespace(module)
    if ours is not None:
        backend = ours(None, dtype)
        version = backend.installed_version() or "of unknown version"
    else:
        backend = NamespaceBackend(module, dtype)
        version = backend.found_version()
        if backend.through != module:
            version += f" (through {backend.through})"
    with backend.scope(), np.errstate(all="ignore"):
        findings = list(_findings(backend))
    return ConformanceReport(module, version, dtype, tuple(findings))


def _findings(backend: Backend) -> Iterator[Finding]:
    host = np.asarray([[0.5, -2.0], [3.0, 4.0]])
    there_and_back = partial(examples.floats, backend, host)
    transfer = _check(backend, "transfer", "an array from NumPy and back", there_and_back, host)
    yield transfer
    if transfer.status == "ok":
        yield from _operations(backend)
        yield from _components(backend)
        yield _training(backend)
        return
    # Nothing can be compared; what there is, can still be told.
    for name in needed_functions():
        there = hasattr(backend.xp, name)
        detail = "" if there else f"{backend.xp.__name__} has no attribute {name!r}"
        yield Finding("functions", name, "ok" if there else "missing", detail)


def _operations(backend: Backend) -> Iterator[Finding]:
    for request in record():
        asked = request.asked.replace("float64", backend.dtype_name)
        run = partial(_repeat, backend, request)
        yield _check(backend, "operations", asked, run, request.result)


def _components(backend: Backend) -> Iterator[Finding]:
    reference = open_backend("numpy", None, "float64")
    for group, what, run in _tasks():
        yield _check(backend, group, what, partial(run, backend), run(reference))


def _tasks() -> Iterator[tuple[str, str, Callable[[Backend], Mapping[str, Array]]]]:
    for row in examples.LAYER_EXAMPLES:
        yield "layers", str(row), partial(examples.run_layer, example=row)
    for case in examples.LOSS_EXAMPLES:
        yield "losses", str(case), partial(examples.run_loss, example=case)
    yield "metrics", "count_correct, confusion_matrix and the others", examples.run_metrics
    yield "metrics", "NaN, infinities and equal values", examples.run_edges
    for name, optimizer in examples.OPTIMIZER_EXAMPLES.items():
        yield "optimizers", name, partial(examples.run_optimizer, optimizer=optimizer)


def _training(backend: Backend) -> Finding:
    expected = run_training(open_backend("numpy", None, "float64")).history
    what = "three epochs of 64-16-10 with dropout, batch size 25"
    try:
        history = run_training(backend).history
    except Exception as error:  # whatever a library raises is the finding
        return Finding("training", what, "error", _describe(error))
    seconds = [(r.train_seconds or 0) + (r.eval_seconds or 0) for r in history]
    theirs = [(r.train_seconds or 0) + (r.eval_seconds or 0) for r in expected]
    times = f"seconds an epoch: {_list(seconds)}; NumPy: {_list(theirs)}"
    if seconds[0] > 0.1 and seconds == sorted(seconds) and seconds[-1] > 1.5 * seconds[0]:
        times += "; each took longer: is what was computed before computed again?"
    a = np.asarray(history["train_loss"], dtype=float)
    b = np.asarray(expected["train_loss"], dtype=float)
    difference = float(np.max(np.abs(a - b) / np.abs(b)))
    if not difference <= _TRAINING_TOLERANCES[backend.dtype_name]:
        detail = f"losses {a.tolist()}, NumPy {b.tolist()}; {times}"
        return Finding("training", what, "wrong", detail, difference)
    return Finding("training", what, "ok", times, difference)


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in seconds)


def _check(
    backend: Backend, group: str, what: str, run: Callable[[], Any], expected: Any
) -> Finding:
    try:
        found = run()
        pairs = _pairs(backend, found, expected)
    except AttributeError as error:
        missing = getattr(error, "obj", None) is backend.xp
        detail = str(error) if missing else _describe(error)
        return Finding(group, what, "missing" if missing else "error", detail)
    except Exception as error:  # whatever a library raises is the finding
        return Finding(group, what, "error", _describe(error))
    differences = [0.0]
    for name, a, b in pairs:
        problem, difference = _compare(a, b, backend.dtype_name)
        if problem:
            return Finding(group, what, "wrong", f"{name}{problem}", difference)
        differences.append(difference)
    return Finding(group, what, "ok", difference=max(differences))


def _repeat(backend: Backend, request: Request) -> Any:
    """The request with the other library's namespace and arrays."""

    def given(value: Any) -> Any:
        if isinstance(value, Device):
            return backend.device
        if is_dtype(value):
            return getattr(backend.xp, _dtype_name(np.dtype(value), backend.dtype_name))
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            return backend.asarray(
                array.astype(_dtype_name(array.dtype, backend.dtype_name)), copy=True
            )
        return value

    arguments, options = map_values(given, request.arguments), map_values(given, request.options)
    result = request.run(backend.xp, *arguments, **options)
    if request.name not in IN_PLACE:
        for argument, before in zip(arguments, request.arguments, strict=True):
            if isinstance(before, np.ndarray):
                problem, _ = _compare(backend.to_numpy(argument), before, backend.dtype_name)
                if problem:
                    raise RuntimeError(f"the function has written to its argument: {problem}")
    return result


def _dtype_name(dtype: np.dtype, float_name: str) -> str:
    """The name of a dtype; float64, in which was recorded, becomes the dtype that is tested."""
    return float_name if dtype.name == "float64" else dtype.name


def _pairs(backend: Backend, found: Any, expected: Any) -> list[tuple[str, Any, Any]]:
    """What came back beside what NumPy answered, on the host."""
    if isinstance(expected, Mapping):
        return [(f"{k}: ", backend.to_numpy(found[k]), np.asarray(expected[k])) for k in expected]
    if isinstance(expected, np.ndarray | np.generic):
        return [("", backend.to_numpy(found), np.asarray(expected))]
    return [("", np.asarray(found), np.asarray(expected))]


def _compare(a: HostArray, b: HostArray, dtype: str) -> tuple[str, float]:
    """What is wrong with `a`, if anything, and how far it is from `b`."""
    if a.shape != b.shape:
        return f"shape {a.shape}, NumPy {b.shape}", float("inf")
    expected = _dtype_name(b.dtype, dtype)
    # The default integer may be shorter than NumPy's, as where 64 bits are switched off.
    shorter = a.dtype.kind == b.dtype.kind == "i" and a.dtype.itemsize <= b.dtype.itemsize
    if not shorter and a.dtype.name != expected:
        return f"dtype {a.dtype.name}, expected {expected}", float("inf")
    if b.size == 0:
        return "", 0.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    scale = max(float(np.max(np.abs(y), where=np.isfinite(y), initial=0.0)), 1e-300)
    same = (x == y) | (np.isnan(x) & np.isnan(y))  # infinities and NaN in the same places
    difference = float(np.max(np.where(same, 0.0, np.abs(x - y)))) / scale
    tolerance = _TOLERANCES[dtype] if b.dtype.kind == "f" else 0.0
    if difference <= tolerance:
        return "", difference
    return f"{_short(a)}, NumPy {_short(b)}", difference


def _short(x: HostArray) -> str:
    text = np.array2string(x.ravel()[:4], separator=", ")
    return text if x.size <= 4 else text[:-1] + ", ...]"


def _describe(error: BaseException) -> str:
    """An exception on one line, with the place in the library that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" [{Path(frames[-1].filename).name}:{frames[-1].lineno}]" if frames else ""
    message = one_line(error)
    return f"{type(error).__name__}: {message[:160]}{place}"
