"""A classifier with scikit-learn's interface."""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from xpnet.backends import Backend
from xpnet.sklearn.base import BaseMLP
from xpnet.sklearn.checking import hosted, validation_set
from xpnet.sklearn.encoding import Labels
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.predicting import ClassPredictions
from xpnet.sklearn.private import StrOptions, fit_context
from xpnet.sklearn.problem import Problem, classification
from xpnet.sklearn.weights import check_class_weight_of_parts, in_range, weights_by_class
from xpnet.typing import HostArray


class MLPClassifier(ClassPredictions):
    """Dense layers that tell classes apart, with the interface of scikit-learn's `MLPClassifier`.

    Parameters, attributes and results are those of `sklearn.neural_network.MLPClassifier` of
    version 1.9, up to the random numbers. Samples may be arrays of NumPy, CuPy, torch or JAX:
    predictions and fitted arrays are of the same library, on the same device.

    Parameters
    ----------
    hidden_layer_sizes
        The number of outputs of each hidden layer; a single number for a single one.
    activation
        After each hidden layer: `"identity"`, `"logistic"`, `"tanh"`, `"relu"`, another name of
        `xpnet.layers.ACTIVATIONS` such as `"gelu"`, or a layer such as `LeakyReLU(0.2)`; or a list
        of these, one for each hidden layer. Initial arrays are uniform within
        ±sqrt(6 / (fan_in + fan_out)); in front of a logistic activation, and in the output layer
        behind one, with 2 in the place of 6.
    solver
        `"adam"`, `"sgd"`, or `"lbfgs"`, which takes all samples at once.
    alpha
        The strength of the L2 penalty on weights. Half of it times their sum of squares, divided by
        the number of samples of the batch, is added to the loss.
    batch_size
        How many samples make a step; `"auto"` is 200, or all if there are fewer.
    learning_rate
        For `solver="sgd"`: `"constant"`; `"invscaling"`, learning_rate_init / (t + 1)**power_t
        after t samples; `"adaptive"`, divided by 5 where training would end otherwise.
    learning_rate_init
        The learning rate at the beginning.
    power_t
        The exponent of `"invscaling"`.
    max_iter
        The most epochs, or iterations of `"lbfgs"`.
    shuffle
        Whether each epoch takes the samples in a new order.
    random_state
        None, an integer or a `RandomState`: what initial weights, orders, dropout and the split for
        early stopping follow from. An integer gives the same result on every backend.
    tol, n_iter_no_change
        Training ends when for more than `n_iter_no_change` epochs the loss has not become smaller
        by `tol`; with early stopping, the validation score not larger. Of `"lbfgs"` `tol` is the
        largest gradient that is taken for 0.
    verbose
        Whether to print the loss of each epoch.
    warm_start
        Whether `fit` goes on from what is fitted.
    momentum, nesterovs_momentum
        For `solver="sgd"`: how much of a step is left in the next one, from 0 to 1; and whether to
        look ahead along it.
    early_stopping
        Whether a part of the samples is kept, and training ends by the score on it. The best
        parameters are restored. The part has each class in proportion. `partial_fit` needs
        `validation_data` for it: it goes on from the last epoch, while the attributes are those of
        the best.
    validation_fraction
        How large that part is, below 1.
    beta_1, beta_2, epsilon
        For `solver="adam"`: the decay of its two means, and what keeps its quotient finite.
    max_fun
        The most evaluations of the loss by `"lbfgs"`.
    loss
        `"log_loss"`, or a loss of `xpnet.losses`, or a function of one's own. One for classes
        (`SoftmaxCrossEntropy`) has an output for each class, one for several labels
        (`BinaryCrossEntropy`) a single one for two classes. A function is called as
        `loss(xp, output, target, *, need_grad=True)`, and with `weight=` where samples have
        weights; it gives the mean loss and its gradient by the output, or None in its place. For
        more than two classes its targets are integer labels (N,), counted from 0 in the order of
        `classes_`; for two, rows (N, 1) of 0 and 1; for several labels, rows (N, labels).
    class_weight
        What the samples of a class count for: a dictionary from classes to numbers, or
        `"balanced"`, for N / (C N_c), in which samples count by their weights. They are multiplied
        with the weights of samples, and weigh no validation set. For several labels a list of
        dictionaries, one for each label, whose numbers are multiplied.
    backend, device
        Where the work is done, as in `xpnet.open_backend`; if None, where the samples are.
    dtype
        `"float32"` or `"float64"`; if None, that of the samples.
    dropout
        The part of each hidden layer's outputs that is left out in training, from 0 to below 1.
    batch_norm
        Whether there is a batch norm in front of each activation.
    optimizer
        One of `xpnet.optimizers`, in the place of `solver`, its learning rate included.
    schedule
        One of `xpnet.schedules`, over `max_iter` epochs of each `fit`; `partial_fit` takes the next
        of these epochs, whatever the number of samples. After the last one the rate stays.
    callbacks
        A list of `xpnet.Callback`. Copies of them, which are `callbacks_`, are told of the epochs,
        and may end the training; they cannot save it.
    clip_norm
        The largest norm of all gradients together; None for no limit.
    augment
        How the samples of each batch are changed at random: one of `xpnet.augment`, or a list of
        them. Rows of pixels need to be told how they are pictures, such as
        `Compose([Elastic(), Affine()], shape=(28, 28))`. None for not at all.
    compile
        Whether the steps may be recorded and replayed, as NumPy and CuPy do, or are called one by
        one, which is slower. JAX always compiles its own.
    scoring
        What early stopping goes by: None for that of `score`, `"loss"` for the loss on the
        validation set made negative, the name of a scorer of scikit-learn, or a function
        `scorer(estimator, X, y)`, given `sample_weight=` too where it takes it and there are any.
    group, reduction, shards
        The ranks that train together, such as `xpnet.distributed.mpi_group()`, and how what they
        compute is added up, as in `xpnet.fit`; this process alone if None. All of them make the
        same calls with the same samples, and get what one process would. `batch_size` is that of
        the whole batch. A group is not pickled with the estimator.

    Attributes
    ----------
    classes_
        The classes, sorted. With the samples, unless they are strings or numbers that the library
        has not, such as 2**40 where integers have 32 bits.
    coefs_, intercepts_
        Weights (n_in, n_out) and biases (n_out,) of the layers, where the samples were.
    batch_norm_
        With `batch_norm`: a dictionary with scale, mean and variance for each.
    loss_, best_loss_, loss_curve_
        The mean loss of the last epoch over its batches, with the penalty; the smallest; and all.
    validation_scores_, best_validation_score_
        With early stopping: the accuracy, or what `scoring` gives, after each epoch, and the best.
    validation_loss_curve_
        With a validation set: the loss on it after each epoch, without the penalty.
    stopped_
        Whether a rule or a callback has ended the training; after `partial_fit`, whether it would.
    callbacks_
        The copies of `callbacks` that were told: what they have found is here. Calls that go on
        (`partial_fit`, `warm_start`) go on with them.
    n_iter_, t_
        The number of epochs, and of samples trained on.
    n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xpnet.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((20,), solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> model.predict(X[:3]).tolist()
    [0, 0, 0]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss"}), callable],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    _numeric = False

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        backend: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        optimizer: Any = None,
        schedule: Any = None,
        callbacks: Any = None,
        clip_norm: float | None = None,
        augment: Any = None,
        compile: bool = True,
        scoring: Any = None,
        group: Any = None,
        reduction: str = "fast",
        shards: int | None = None,
    ) -> None:
        self._keep(locals())

    # -- training -------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPClassifier":
        """Train on samples and their classes.

        Parameters
        ----------
        X
            Samples (N, features): an array of any library, a data frame, or a sparse matrix.
        y
            Their classes (N,), numbers or strings; or rows of 0 and 1 (N, labels).
        sample_weight
            What each sample counts for, (N,): a batch whose weights are all 0 is left out.
        validation_data
            A pair like (X, y), to measure the loss on after each epoch, or (X, y, sample_weight).
            With early stopping it is used in the place of a part of the samples.
        X_val, y_val, sample_weight_val
            The same under the names of scikit-learn's `HistGradientBoosting` estimators: a pipeline
            with `transform_input=["X_val"]` does with X_val what it does with X.

        Returns
        -------
        self
        """
        held = partial(validation_set, validation_data, X_val, y_val, sample_weight_val)
        self._fit(X, y, sample_weight, held, incremental=False)
        return self

    @available_if(lambda self: self._check_solver())  # type: ignore[untyped-decorator]
    @fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        validation_data: Any = None,
    ) -> "MLPClassifier":
        """Train for one epoch on these samples.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes
            All classes that there will be. Needed in the first call, and not afterwards.
        validation_data
            As in `fit`. With early stopping it is needed, and should be the same in all calls.

        Returns
        -------
        self
        """

        def known() -> Labels:
            check_class_weight_of_parts(self.class_weight)
            return self._known_classes(hosted(classes), hosted(y))

        held = partial(validation_set, validation_data)
        self._fit(X, y, sample_weight, held, incremental=True, classes=known)
        return self

    def _known_classes(self, classes: Any, y: Any) -> Labels:
        """The classes that there will be, those of the calls before where there were any."""
        if "_kept" in vars(self):
            known = self._kept.labels
            assert known is not None
            if classes is not None and not np.array_equal(known.classes, unique_labels(classes)):
                raise ValueError(
                    f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                    f"{known.classes!r}"
                )
            return known
        if classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        several = type_of_target(y).startswith("multilabel")
        labels = Labels.learn(y if several else classes)
        if several:
            return Labels("multilabel", unique_labels(classes), labels.sparse)
        return labels

    def _learn(self, y: Any, known: Labels | None, *, incremental: bool) -> Problem:
        if known is None:
            return classification(self.loss, Labels.learn(y))
        known.check_same(y, exactly=self.warm_start and not incremental)
        return classification(self.loss, known)

    def _encode(self, y: Any, problem: Problem) -> HostArray:
        assert problem.labels is not None
        return problem.labels.encode(y, as_classes=problem.kind == "classes")

    def _weighted_by_class(
        self, y: Any, weight: HostArray | None, problem: Problem
    ) -> HostArray | None:
        if self.class_weight is None:
            return weight
        assert problem.labels is not None
        own = weights_by_class(self.class_weight, y, problem.labels.classes, weight)
        own = in_range(own)
        return own if weight is None else in_range(own * weight)

    def _held_score(
        self, target: HostArray, predicted: HostArray, weight: HostArray | None
    ) -> float:
        if target.ndim == 2 and target.shape[1] == 1:
            target, predicted = target[:, 0], predicted[:, 0]
        # `accuracy_score` of what is known to be labels: its checks take longer than an epoch.
        right = target == predicted
        return float(np.average(right if right.ndim == 1 else right.all(axis=1), weights=weight))

    def _attributes(self, fitted: Fitted, home: Backend) -> dict[str, Any]:
        assert fitted.labels is not None
        classes = fitted.labels.placed(home)
        return {**super()._attributes(fitted, home), "classes_": classes}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
