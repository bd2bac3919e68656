"""Samples and targets as an estimator is given them, checked as scikit-learn checks them.

Arrays of other libraries than NumPy stay where they are. What is wrong with one is said by
scikit-learn, which is shown a copy on the host.
"""

from functools import cache
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from xpnet.backends import Backend, backend_of, open_backend
from xpnet.backends.steps import CALLED
from xpnet.data.masked import unmasked
from xpnet.data.stored import LARGEST_LOADED
from xpnet.inputs.containers import SparseRows
from xpnet.inputs.samples import Streamed, all_finite, dtype_name, move
from xpnet.network.state import load_array
from xpnet.sklearn.private import check_y
from xpnet.sklearn.warning import warn_of_call
from xpnet.typing import Array, HostArray

_FORMATS = ["csr", "csc"]
_REAL = "real floating"
_PLAIN = {np.dtype(name): name for name in ("float32", "float64")}
_FAR, _LOOKED_AT = 10, 4096


def home_of_array(x: Any, dtype: str = "float32") -> Backend | None:
    """The library and device of an array that is not NumPy's; None for all else."""
    if isinstance(x, np.ndarray | list | tuple) or x is None or issparse(x):
        return None
    try:
        backend = backend_of(x, dtype)
    except TypeError:
        return None
    return None if backend.name == "numpy" else backend


@cache
def numpy_home(dtype: str, *, compiles: bool) -> Backend:
    """NumPy, where predictions are made of samples that are there: opened once, and not changed."""
    return open_backend("numpy", None, dtype, steps=None if compiles else CALLED)


def hosted(x: Any) -> Any:
    """An array of any library as one of NumPy's; all else as it is.

    Raises
    ------
    DataError
        If anything is masked, which scikit-learn looks through.
    """
    x = unmasked("targets or weights", x)
    home = home_of_array(x)
    return x if home is None else home.to_numpy(x)


def check_samples(estimator: BaseEstimator, x: Any, *, reset: bool = False) -> Any:
    """Samples (N, features) as an array of their library, or a sparse matrix.

    Raises
    ------
    ValueError
        If they are no samples, not those that the estimator was fitted with, or anything is masked.
    TypeError
        If they are sparse, and not SciPy's.
    """
    if not reset and _is_plain(estimator, x):
        return x
    x = unmasked("samples", x)
    home = home_of_array(x)
    if home is None:
        return validate_data(estimator, x, accept_sparse=_FORMATS, reset=reset)
    if "sparse" in str(getattr(x, "layout", "")):
        raise TypeError(
            f"sparse samples of {home.name} are not supported: make them dense, or give a sparse "
            f"matrix of SciPy"
        )
    xp = home.xp
    sound = x.ndim == 2 and min(x.shape) > 0 and xp.isdtype(x.dtype, ("bool", "integral", _REAL))
    if not sound or (xp.isdtype(x.dtype, _REAL) and not _is_finite(home, x)):
        return validate_data(estimator, home.to_numpy(x), accept_sparse=_FORMATS, reset=reset)
    return validate_data(estimator, x, reset=reset, skip_check_array=True)


def _is_plain(estimator: BaseEstimator, x: Any) -> bool:
    """Whether scikit-learn, which takes longer than a small network, would find nothing to say."""
    seen = vars(estimator)
    return (
        type(x) is np.ndarray
        and x.ndim == 2
        and x.dtype in _PLAIN
        and x.flags.c_contiguous
        and x.shape[0] > 0
        and x.shape[1] == seen.get("n_features_in_")
        and "feature_names_in_" not in seen
        and numpy_home(_PLAIN[x.dtype], compiles=True).are_finite(x)
    )


def _is_finite(home: Backend, x: Array) -> bool:
    wide = backend_of(x, "float64") if dtype_name(x) == "float64" else home
    with wide.scope():
        return all_finite(wide, x)


def check_pair(
    estimator: BaseEstimator, x: Any, y: Any, *, reset: bool, numeric: bool
) -> tuple[Any, HostArray]:
    """Samples where they are, and their targets on the host: (N,), or (N, outputs).

    If `reset`, scikit-learn writes the number and the names of the features to the estimator.

    Raises
    ------
    ValueError
        If they are no samples or targets (texts where real numbers are wanted), or do not fit each
        other.
    """
    x, y = unmasked("samples", x), hosted(y)
    if home_of_array(x) is None:
        floats = (np.float64, np.float32)
        x, y = validate_data(
            estimator, x, y, accept_sparse=_FORMATS, multi_output=True, y_numeric=numeric,
            dtype=floats, reset=reset,
        )  # fmt: skip
    else:
        x = check_samples(estimator, x, reset=reset)
        if y is None:
            raise ValueError(
                f"This {type(estimator).__name__} estimator requires y to be passed, but the "
                f"target y is None."
            )
        y = check_y(y, multi_output=True, y_numeric=numeric, estimator=estimator)
        check_consistent_length(np.empty((x.shape[0], 0)), y)
    if numeric and y.dtype.kind not in "biuf":
        # NumPy makes numbers of times, and of texts that look like some.
        raise ValueError(
            f"{type(estimator).__name__} takes real numbers for targets, and y has dtype "
            f"{y.dtype}: take MLPClassifier for classes, or make numbers of them, as by "
            f"y.astype(float)"
        )
    if y.ndim == 2 and y.shape[1] == 1:
        warn_of_call(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of "
            "y to (n_samples, ), for example using ravel().",
            DataConversionWarning,
        )
        y = column_or_1d(y)
    return x, y


def validation_set(
    data: Any, X_val: Any = None, y_val: Any = None, sample_weight_val: Any = None
) -> tuple[Any, Any, Any] | None:
    """What an estimator is given to validate on, in either way: `(X, y, weights or None)`.

    Raises
    ------
    ValueError
        If it is given in both ways, or a part of it is missing.
    """
    named = {"X_val": X_val, "y_val": y_val, "sample_weight_val": sample_weight_val}
    given = [name for name, value in named.items() if value is not None]
    if data is not None:
        if given:
            raise ValueError(
                f"validation_data and {', '.join(given)} are both given: a validation set is given "
                f"in one way or the other"
            )
        if not (isinstance(data, tuple | list) and len(data) in (2, 3)):
            raise ValueError(
                f"validation_data must be a pair (X, y), or (X, y, sample_weight), got "
                f"{type(data).__name__}"
            )
        return data[0], data[1], data[2] if len(data) == 3 else None
    missing = [name for name in ("X_val", "y_val") if named[name] is None]
    if given and missing:
        raise ValueError(
            f"{' and '.join(given)} given without {' and '.join(missing)}: a validation set has "
            f"X_val and y_val, and may have sample_weight_val"
        )
    return (X_val, y_val, sample_weight_val) if given else None


def warn_of_other_scale(work: Backend, x: Any, held: Any) -> None:
    """Warn if samples to validate on are far from all that is trained on, in most features."""
    if isinstance(x, Streamed) or isinstance(held, Streamed):
        return
    xp = work.xp
    x, held = [part[:: -(-part.shape[0] // _LOOKED_AT), ...] for part in (x, held)]
    mean = xp.mean(x, axis=0)
    reach = xp.max(xp.abs(x - mean), axis=0)
    far = xp.mean(xp.abs(held - mean), axis=0) > _FAR * reach
    varying = work.to_numpy(reach) > 0
    if varying.any() and work.to_numpy(far)[varying].mean() > 0.5:
        warn_of_call(
            "The samples to validate on are of another scale than those to train on. In a "
            "pipeline validation_data is not transformed by the steps before: give X_val and "
            "y_val, with Pipeline(..., transform_input=['X_val'])"
        )


def dtype_of(x: Any, dtype: str | None) -> str:
    """The dtype to compute in: the one that was asked for, that of the samples, the library's."""
    if dtype is not None:
        return dtype
    name = dtype_name(x)
    if name in ("float32", "float64"):
        return name
    home = home_of_array(x)
    if home is None:
        return "float64"
    with home.scope():
        return dtype_name(home.xp.asarray(0.0))


def taken_rows(x: Any, y: Any, rows: HostArray | None = None) -> tuple[Any, Any]:
    """Checked samples on the host, and targets as they came: all of them, or some rows."""
    home = home_of_array(x)
    if rows is not None:
        if home is not None:
            x = home.xp.take(x, home.asarray(rows, dtype=home.index_dtype), axis=0)
        else:
            x = (x.tocsr() if issparse(x) else x)[rows]
        y = y[rows]
    return x if home is None else home.to_numpy(x), y


def load_samples(backend: Backend, x: Any) -> Any:
    """Checked samples on the backend in its dtype; large sparse ones are made dense in parts."""
    if issparse(x):
        if x.shape[0] * x.shape[1] * x.dtype.itemsize > LARGEST_LOADED:
            return Streamed(backend, SparseRows(x), backend.dtype)
        x = x.toarray()
    if isinstance(x, np.ndarray):
        x = np.ascontiguousarray(x)  # data frames have columns together, and rows are taken
    return moved(backend, x)


def moved(backend: Backend, x: Any) -> Array:
    """An array on the backend, in its dtype; not copied where it is there already."""
    if type(x) is np.ndarray and backend.name == "numpy" and x.dtype == backend.dtype:
        return x  # as the rest would, in a hundredth of the time
    return backend.xp.astype(move(backend, x), backend.dtype, copy=False)


def load_target(backend: Backend, target: HostArray, kind: str) -> Array:
    """Targets on the backend: classes in its index dtype, all others in its dtype."""
    if kind == "classes":
        return backend.asarray(target, dtype=backend.index_dtype, copy=True)
    return load_array(backend, target)
