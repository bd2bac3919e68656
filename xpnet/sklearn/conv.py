"""A classifier of pictures with scikit-learn's interface."""

import math
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse

from xpnet.data.masked import unmasked
from xpnet.inputs.containers import plain
from xpnet.layers import Layer
from xpnet.models import MODELS
from xpnet.sklearn.checking import home_of_array
from xpnet.sklearn.classifier import MLPClassifier
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.private import StrOptions
from xpnet.sklearn.problem import Problem
from xpnet.sklearn.settings import Settings
from xpnet.sklearn.whole import NetworkStructure, make_network_structure
from xpnet.typing import Shape


class ConvClassifier(MLPClassifier):
    """Convolutions that tell pictures apart, with scikit-learn's interface for arrays of pictures.

    Samples X are pictures, shape (N, height, width) in grey or (N, height, width, channels); of any
    library, as in `MLPClassifier`. Integers and Booleans are pixels from 0 to 255, and are divided
    by 255 in float32; floating-point numbers are taken as they are. All methods are those of
    `MLPClassifier`, and so are all parameters but `model`.

    Parameters
    ----------
    model
        The network: `"lenet5"`, `"small_cnn"`, `"resnet8"`, or another of `xpnet.models.MODELS`;
        layers, such as a `Sequential` for pictures of this shape; or a function
        `model(sample_shape, n_outputs)` that gives layers, such as
        `functools.partial(xpnet.models.lenet5, activation=Tanh())`. The number of outputs is that
        of the classes, and 1 for two.
    solver
        `"adam"` or `"sgd"`.
    alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, \
    random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, loss, class_weight, backend, \
    device, dtype, optimizer, schedule, callbacks, clip_norm, augment, compile, scoring, \
    group, reduction, shards
        As in `MLPClassifier`; `max_iter` is 20 unless it is given. An
        `augment` knows here how samples are pictures.

    Attributes
    ----------
    sample_shape_
        The shape of one sample, such as (28, 28) or (32, 32, 3).
    coefs_, intercepts_
        Kernels (height, width, channels, filters), the weights of dense layers (n_in, n_out), and
        biases, in the order of the layers.
    batch_norm_
        Where there are batch norms: a dictionary with scale, mean and variance for each.
    n_features_in_
        The number of pixels, times that of the channels.
    classes_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, \
    validation_loss_curve_, stopped_, callbacks_, n_iter_, t_, n_layers_, n_outputs_, \
    out_activation_
        As in `MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xpnet.sklearn import ConvClassifier
    >>> digits = load_digits()
    >>> X, y = digits.images[:300].astype("float32") / 16, digits.target[:300]
    >>> options = {"batch_size": 32, "tol": 1.0, "n_iter_no_change": 2, "random_state": 0}
    >>> model = ConvClassifier("small_cnn", **options).fit(X, y)
    >>> model.predict(X[:3]).tolist()
    [0, 1, 2]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MLPClassifier._parameter_constraints,
        "model": [StrOptions(set(MODELS)), Layer, callable],
        "solver": [StrOptions({"sgd", "adam"})],
    }
    _pixel_maximum = 255.0

    # Parameters of an MLP, which the model has in itself.
    hidden_layer_sizes: ClassVar[tuple[int, ...]] = ()
    activation: ClassVar[str] = "relu"
    dropout: ClassVar[float] = 0.0
    batch_norm: ClassVar[bool] = False
    max_fun: ClassVar[int] = 15000

    sample_shape_: Shape

    def __init__(
        self,
        model: Any = "lenet5",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 20,
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
        loss: Any = "log_loss",
        class_weight: Any = None,
        backend: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
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

    def _as_rows(self, X: Any, *, reset: bool) -> Any:
        """Pictures as rows of floating-point pixels.

        Raises
        ------
        ValueError
            If they are no pictures, or, unless `reset`, of another shape than in `fit`.
        """
        X = unmasked("samples", X)
        home = None if issparse(X) else home_of_array(X)
        how = "toarray()." if issparse(X) else "to_numpy()." if hasattr(X, "to_numpy") else ""
        if home is None:
            X = X if issparse(X) else np.asarray(X)
            if X.dtype == object:  # integers among them are pixels too
                X = plain("samples", X)
        shape = tuple(X.shape)
        wanted = None if reset else self.sample_shape_
        if len(shape) not in (3, 4) or wanted not in (None, shape[1:]):
            raise ValueError(self._not_pictures(shape, wanted, how))
        if reset:
            self.sample_shape_ = shape[1:]
        rows = (shape[0], math.prod(shape[1:]))
        if home is None:
            X = X.reshape(rows)
            exact = X.dtype.kind in "biu"
            return X.astype(np.float32) * np.float32(1 / self._pixel_maximum) if exact else X
        with home.scope():
            X = home.xp.reshape(X, rows)
            if not home.xp.isdtype(X.dtype, ("bool", "integral")):
                return X
            return home.xp.astype(X, home.xp.float32) * (1 / self._pixel_maximum)

    def _not_pictures(self, shape: Shape, wanted: Shape | None, how: str) -> str:
        """What is wrong with samples, and how they become pictures, by way of an array."""
        takes = "(N, height, width) or (N, height, width, channels)"
        if wanted is not None:
            takes = f"(N, {', '.join(map(str, wanted))}), as those that it was fitted with"
        text = f"{type(self).__name__} takes pictures of shape {takes}, got shape {shape}"
        if shape == wanted:
            return f"{text}: give a single picture as X[None]"
        if len(shape) != 2:
            return text
        side = math.isqrt(shape[1])
        sides = wanted or ((side, side) if side * side == shape[1] else ("height", "width"))
        return (
            f"{text}: make rows of pixels pictures, as by X.{how}reshape((-1, "
            f"{', '.join(map(str, sides))})); in a pipeline by a FunctionTransformer in front"
        )

    def _as_given(self, x: Any) -> Any:
        return x.reshape((x.shape[0], *self.sample_shape_))

    def _structure(
        self, settings: Settings, n_features: int, problem: Problem, before: Fitted | None
    ) -> NetworkStructure:
        return make_network_structure(self.model, self.sample_shape_, problem.n_outputs, before)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags
