"""A trained network: a model together with its parameters. `saved.py` reads it again."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from xpnet.backends import Backend, open_backend
from xpnet.checks import is_one_of, positive_integer
from xpnet.data import Framing, Preparation, TablePreparation, taken_shape
from xpnet.data.tables.arrow import is_frame
from xpnet.dtype_limits import check_numbers
from xpnet.errors import shown
from xpnet.history import History
from xpnet.inputs.labels import check_class_names, check_classes, decode
from xpnet.inputs.samples import check_finite, home_of, load_inputs
from xpnet.inputs.targets import load_targets, load_weights
from xpnet.inputs.weighted import Weighted
from xpnet.layers import Layer
from xpnet.layers.container import wanted_shape
from xpnet.losses import DEFAULT_LOSSES, TARGET_KINDS, LossFunction, target_kind
from xpnet.metrics import predicted_classes
from xpnet.network.arrays import KEPT, TrainedArrays
from xpnet.network.evaluation import Evaluation
from xpnet.network.foreign import Foreign
from xpnet.network.metadata import check_table, network_metadata
from xpnet.network.output import check_loss_fits, check_output
from xpnet.network.pictures import Pictures
from xpnet.network.prediction import (
    PREDICTIONS,
    PROBABILITIES,
    Forward,
    Head,
    kind_of,
    output_itself,
)
from xpnet.network.report import (
    Report,
    count_confusions,
    report_on_classes,
    report_on_labels,
    report_on_values,
)
from xpnet.network.saliency import Salient
from xpnet.network.state import arrays_there, load_array
from xpnet.network.tabular import Tabular, in_units, pair_of, predictions_for, samples_of
from xpnet.saving import tensors
from xpnet.typing import Array, HostArray, Shape


class Network(Foreign, Pictures, Salient, Tabular, TrainedArrays):
    """A model with its parameters, ready to predict. `fit` returns one, `load` reads one.

    It can be pickled, for other processes and caches; files to keep are written by `save`.

    Attributes
    ----------
    model
        The layers.
    backend
        Where the parameters live. It may be given by its name, such as `"numpy"`: then it is
        opened, and arrays of NumPy become its own, in float32.
    params
        The parameters by name, such as `fc1.weight`.
    buffers
        The arrays that are not trained by name, such as `bn1.mean`; the initial ones if not given.
    history
        The epochs of its training.
    sample_shape
        The shape of one sample as it was trained on, such as (28, 28); None if not known.
    pixel_maximum
        What integer and Boolean inputs are divided by. Floating-point ones are taken as they are.
    preparation
        How samples become what the layers take, by `pixel_maximum`; to be replaced for another.
    framing
        How the figures of the pictures lie that it was trained on, which `predict_pictures` makes
        others like; None if they are no pictures in grey, or there is no such rule.
    table
        How the rows of tables are prepared, and what the label is, where it was trained on a table;
        else None. Then a table can be given as `x`, with the label in it, or as `y`.
    input_dtype
        The dtype of the samples that it was trained on, such as `"uint8"`; None if not known.
    target_kind
        What it was trained to give: `"classes"`, `"multilabel"` or `"values"`; see `xpnet.losses`.
    loss
        The loss that it was trained with; None if that is not known, as after loading a network
        that was trained with a function of one's own.
    classes
        The labels that it was trained on where these are text or Booleans, a NumPy array (C,) that
        is sorted: what it predicts. None where labels are integers, the numbers of the outputs.
    class_names
        What classes that are numbers are called in reports, pictures and on the command line, such
        as `("T-shirt/top", "Trouser", ...)`; None where they have no names. It predicts numbers.
    target_shape
        The shape of the target of one sample in its training: () gives predictions (N,) of a single
        output. None, if it is not known, gives (N, 1).

    Raises
    ------
    ValueError
        If there is no such kind of targets, there is not one of `classes`, or of `class_names`, for
        each output, or a number of a layer is 0 or infinite in the dtype of the backend.
    """

    def __init__(
        self,
        model: Layer,
        params: Mapping[str, Array],
        backend: Backend | str,
        *,
        history: History | None = None,
        sample_shape: Shape | None = None,
        pixel_maximum: float = 255.0,
        target_kind: str = "classes",
        loss: LossFunction | None = None,
        buffers: Mapping[str, Array] | None = None,
        input_dtype: str | None = None,
        classes: Any = None,
        target_shape: Shape | None = None,
        framing: Framing | None = None,
        class_names: Any = None,
        table: TablePreparation | None = None,
    ) -> None:
        if not is_one_of(TARGET_KINDS, target_kind):
            raise ValueError(
                f"target_kind must be one of {', '.join(TARGET_KINDS)}; got {shown(target_kind)}"
            )
        if not isinstance(backend, Backend):
            backend = open_backend(backend)
            params = arrays_there(backend, params)
            buffers = None if buffers is None else arrays_there(backend, buffers)
        check_numbers(backend.dtype_name, model)
        self.model = model
        self.params = dict(params)
        self.backend = backend
        if buffers is None:
            buffers = {name: load_array(backend, value) for name, value in model.buffers().items()}
        self.buffers = dict(buffers)
        self.history = history if history is not None else History()
        self.sample_shape = sample_shape
        self.preparation = Preparation(
            float(pixel_maximum), backend.dtype_name, wanted_shape(model)
        )
        if framing is not None:
            framing.check_fits(sample_shape or ())
        self.framing = framing
        check_table(model, table, target_kind)
        self.table = table
        self.target_kind = target_kind
        self.loss = loss
        self.input_dtype = input_dtype
        output = model.output_shape(model.input_shape())
        self.classes = check_classes(classes, target_kind, output)
        self.class_names = check_class_names(class_names, target_kind, output)
        self.target_shape = target_shape

    # -- prediction -----------------------------------------------------------------------------

    def predict(self, x: Any) -> Array:
        """The most probable class of each sample; or which labels hold; or the values.

        Parameters
        ----------
        x
            Samples as in training, shape (N, ...): an array of any backend's library, on any of
            its devices, nested lists, a data frame, or a sparse matrix of SciPy. Integers and
            Booleans are divided by `pixel_maximum`.

        Returns
        -------
        predictions
            Classes: integers, shape (N,), or the labels of `classes`. Several labels: int32 rows of
            0 and 1, shape (N, C), with 1 where the probability is above 1/2. Values: the output of
            the network, shape (N, C). The latter two are of shape (N,) where the targets of the
            training were. Of the kind and on the device of `x` (NumPy for lists, and for text).

        Raises
        ------
        DataError
            If the shape does not fit, or a value is not finite, missing or masked.
        """
        if self.table is not None and is_frame(x):
            return predictions_for(self, "predict", x)
        backend, predicted = self._map(x, PREDICTIONS[self.target_kind])
        if self.classes is None:
            return predicted
        with backend.scope():
            return decode(backend, self.classes, predicted)

    def predict_proba(self, x: Any) -> Array:
        """The probability of each class for each sample: the softmax of the network's output.

        Of several labels the probability of each by itself, the logistic function of the output.
        Parameters and errors as in `predict`; returns shape (N, C), in the network's dtype, or (N,)
        where `predict` does: the probability of 1, or of the second of two `classes`.

        Raises
        ------
        ValueError
            If the network gives values, which have no probabilities.
        """
        if self.target_kind == "values":
            raise ValueError(
                "predict_proba: this network was trained on real numbers and gives values, not "
                "probabilities; take predict"
            )
        x = samples_of(self.table, "predict_proba", x)
        return self._map(x, PROBABILITIES[self.target_kind])[1]

    def evaluate(
        self, x: Any, y: Any = None, *, sample_weight: Any = None, loss: LossFunction | None = None
    ) -> Evaluation:
        """Loss, accuracy and number of errors on samples with known targets.

        Parameters
        ----------
        x, y
            Samples, and their targets as in training (of those with `classes`, none else), on any
            backend; the work is done where the network's parameters live.
        sample_weight
            As in `fit`: numbers (N,) for the loss; accuracy and errors are counted without.
        loss
            The loss to report. If None, that of the training, so that the figures can be compared
            with those of the history; where it is not known, the usual one for the kind of targets,
            as in `xpnet.losses.DEFAULT_LOSSES`.

        Raises
        ------
        DataError
            If shapes or targets do not fit the network.
        ValueError
            If the loss does not fit its outputs.
        """
        backend, kind = self.backend, self.target_kind
        x, y = pair_of(self.table, "evaluate", x, y)
        if loss is not None:
            check_output(self.model, loss)
        loss = loss or self.loss or DEFAULT_LOSSES[kind]
        check_loss_fits(self.model, loss)
        kind = target_kind(loss) or kind
        with backend.scope():
            x = load_inputs(backend, "evaluate", x, self.model)
            y = load_targets(backend, "evaluate", y, x, self.model, kind, self.classes)
            if sample_weight is not None:
                y = Weighted(y, load_weights(backend, "evaluate", sample_weight, x))
            return self._forward.evaluator(loss, kind)(self.arrays, x, y)

    def confusion_matrix(self, x: Any, y: Any = None) -> HostArray:
        """How often each class was taken for each, as a NumPy array of integers (C, C).

        Entry (i, j) counts the samples of class i that were predicted as class j, in the order of
        `classes` where there are any.

        Raises
        ------
        ValueError
            If the network does not tell classes apart.
        """
        if self.target_kind != "classes":
            raise ValueError(
                f"confusion_matrix: this network was trained on targets of the kind "
                f"{shown(self.target_kind)}, which are not classes; take report"
            )
        backend = self.backend
        x, y = pair_of(self.table, "confusion_matrix", x, y)
        with backend.scope():
            x = load_inputs(backend, "confusion_matrix", x, self.model)
            y = load_targets(backend, "confusion_matrix", y, x, self.model, classes=self.classes)
            taken = taken_shape(wanted_shape(self.model), tuple(x.shape[1:]))
            output = self.model.output_shape(taken)
            if output is None:
                raise ValueError("a confusion matrix needs a model of known output shape")
            parts = self._forward.in_chunks(predicted_classes, self.arrays, x)
            return count_confusions(
                backend, ((predicted, y[rows, ...]) for rows, predicted in parts), output[-1]
            )

    def report(
        self,
        x: Any,
        y: Any = None,
        *,
        names: Sequence[str] | None = None,
        top_k: int = 5,
        n_bins: int = 15,
    ) -> Report:
        """All that is usually asked of a network, on samples with known targets.

        Parameters
        ----------
        x, y
            As in `evaluate`.
        names
            The names of the classes or labels; if None `class_names` or those of `classes`, or
            their numbers.
        top_k
            For classes: how many of the most probable are looked at for the top-k accuracy.
        n_bins
            For classes: the number of bins of the calibration error.

        Returns
        -------
        report
            A `ClassificationReport` for classes and several labels, a `RegressionReport` for
            values. `print` shows it as a table; the numbers are attributes.

        Raises
        ------
        DataError
            If shapes or targets do not fit the network.
        ValueError
            If an option is not a positive integer, or there is not one name for each class.
        """
        backend, kind = self.backend, self.target_kind
        top_k = positive_integer("report: top_k", top_k)
        n_bins = positive_integer("report: n_bins", n_bins)
        x, y = pair_of(self.table, "report", x, y)
        with backend.scope():
            x = load_inputs(backend, "report", x, self.model)
            y = load_targets(backend, "report", y, x, self.model, kind, self.classes)
            outputs = self._forward.in_chunks(output_itself, self.arrays, x)
            parts = ((output, y[rows, ...]) for rows, output in outputs)
            if kind == "classes":
                names = self.names if names is None else names
                return report_on_classes(backend, parts, names=names, top_k=top_k, n_bins=n_bins)
            if kind == "multilabel":
                return report_on_labels(backend, parts, names=names)
            return in_units(self.table, report_on_values(backend, parts))

    def _map(self, x: Any, head: Head) -> tuple[Backend, Array]:
        """Where `x` lives, and `head(xp, output)` of the network's output."""
        backend, forward = self.backend, self._forward
        floating = forward.floating.get(kind_of(x)) if backend.holds(x) else None
        if floating is None:
            backend = home_of(backend, x)
        with backend.scope():
            if floating is None:
                given, x = (
                    x,
                    load_inputs(backend, "predict", x, self.model, allow_none=True, finite=False),
                )
                floating = bool(backend.xp.isdtype(x.dtype, "real floating"))
                if backend is not self.backend:
                    forward = Forward(backend, self.model, self.preparation, once=True)
                elif x is given:
                    forward.floating[kind_of(x)] = floating
            check = partial(check_finite, backend, "predict") if floating else None
            found = forward(head, self._arrays_on(backend), x, check)
            if self.target_shape == () and found.shape[1:] == (1,):
                found = backend.xp.reshape(found, (found.shape[0],))
            return backend, found

    @property
    def _forward(self) -> Forward:
        """The forward pass, with what the backend has made of it so far."""
        parts = self.backend, self.model, self.preparation
        kept: Forward | None = vars(self).get(KEPT)
        if kept is None or not kept.is_of(*parts):
            kept = vars(self)[KEPT] = Forward(*parts)
        return kept

    def _arrays_on(self, backend: Backend) -> dict[str, Array]:
        arrays = self.arrays
        if backend is self.backend:
            return arrays
        return {k: backend.asarray(self.backend.to_numpy(v)) for k, v in arrays.items()}

    # -- files ----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as a safetensors file, which `load` reads on any backend.

        Raises
        ------
        OSError
            If the file cannot be written; an existing file is then still whole.
        """
        arrays = {name: self.backend.to_numpy(value) for name, value in self.state_arrays().items()}
        tensors.write_tensors(path, arrays, self.metadata())

    def metadata(self) -> dict[str, Any]:
        """What the file says beside the arrays, as JSON values."""
        return network_metadata(self)

    def __repr__(self) -> str:
        return f"<Network on {self.backend.name} {self.backend.device_name()}: {self.model!r}>"
