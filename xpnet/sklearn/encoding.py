"""Labels as a network takes them, and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import unique_labels

from xpnet.backends import Backend
from xpnet.errors import counted
from xpnet.sklearn.checking import hosted
from xpnet.typing import Array, HostArray


@dataclass(frozen=True)
class Labels:
    """The classes of a classifier, on the host.

    Attributes
    ----------
    kind
        `"binary"`, `"multiclass"` or `"multilabel"`: also a single class is `"binary"`.
    classes
        Sorted, shape (C,); of several labels their numbers.
    sparse
        Whether several labels were given, and are to be predicted, as a sparse matrix.
    """

    kind: str
    classes: HostArray
    sparse: bool = False

    @classmethod
    def learn(cls, y: Any) -> "Labels":
        """From targets, or from a list of all classes.

        Raises
        ------
        ValueError
            If they are no labels.
        """
        binarizer = LabelBinarizer().fit(y)
        kind = binarizer.y_type_.removesuffix("-indicator")
        return cls(kind, np.asarray(binarizer.classes_), bool(binarizer.sparse_input_))

    @property
    def n_outputs(self) -> int:
        """How many outputs the network has for them: one tells two classes apart."""
        return 1 if self.kind == "binary" else len(self.classes)

    def names(self) -> HostArray | None:
        """The classes as `Network.classes` has them: two or more texts, or False and True."""
        names = self.classes
        text = all(isinstance(name, str) for name in names.tolist())
        named = self.kind != "multilabel" and len(names) > 1
        return names if named and (text or names.dtype.kind == "b") else None

    @property
    def is_single(self) -> bool:
        """Whether there is one class, which is then predicted whatever the network gives."""
        return self.kind != "multilabel" and len(self.classes) == 1

    def check_same(self, y: Any, *, exactly: bool) -> None:
        """Check that targets have the classes that are known: `exactly` them, or some of them.

        Raises
        ------
        ValueError
            If they have others.
        """
        classes = unique_labels(y)
        if exactly:
            if set(classes) != set(self.classes):
                raise ValueError(
                    "warm_start can only be used where `y` has the same "
                    "classes as in the previous call to fit. Previously "
                    f"got {self.classes}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes}. 'y' has {classes}."
            )

    def encode(self, y: Any, *, as_classes: bool) -> HostArray:
        """Integer labels (N,) if `as_classes`, else rows of 0 and 1 (N, outputs).

        Raises
        ------
        ValueError
            If several labels were given and were not before, or the other way round.
        """
        if self.kind == "multilabel":
            rows = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
            if rows.ndim != 2 or rows.shape[1] != len(self.classes):
                raise ValueError(
                    f"y must have rows of {counted(len(self.classes), 'label')} as before, got "
                    f"shape {rows.shape}"
                )
            return rows != 0
        if hasattr(y, "toarray") or np.ndim(y) != 1:
            raise ValueError("The object was not fitted with multilabel input.")
        codes = np.searchsorted(self.classes, y)
        if as_classes:
            return codes
        return (codes == 1)[:, None]

    def placed(self, home: Backend) -> Any:
        """The classes where samples are; on the host if its library has not all of their values."""
        if home.name == "numpy" or self.classes.dtype.kind not in "biuf":
            return self.classes
        # torch can do little with unsigned integers, but for bytes.
        wide = self.classes.dtype.kind == "u" and self.classes.dtype.itemsize > 1
        with home.scope():
            there = home.asarray(self.classes.astype(np.int64) if wide else self.classes)
            same = np.array_equal(home.to_numpy(there), self.classes)
        return there if same else self.classes

    def decode(self, backend: Backend, predicted: Array, classes: Any) -> Any:
        """The labels of predictions: of classes (N,), or rows of 0 and 1 (N, outputs).

        Parameters
        ----------
        backend
            Where `predicted` is.
        predicted
            Integers.
        classes
            Those of the estimator: where they live there as well, the result does.
        """
        xp = backend.xp
        if self.kind == "multilabel":
            if self.sparse:
                from scipy.sparse import csr_matrix

                return csr_matrix(backend.to_numpy(predicted).astype(np.int64))
            return xp.astype(predicted, backend.index_dtype)
        codes = predicted if predicted.ndim == 1 else predicted[:, 0]
        codes = xp.astype(codes, backend.index_dtype)
        if self.is_single:
            codes = codes * 0
        if backend.name != "numpy" and backend.holds(classes):
            return xp.take(classes, codes, axis=0)
        if type(classes) is not np.ndarray:
            classes = hosted(classes)
        return classes[backend.to_numpy(codes)]
