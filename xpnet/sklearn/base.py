"""What `MLPClassifier` and `MLPRegressor` have in common."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from xpnet.augment import Augmentation
from xpnet.backends import BACKENDS, DTYPES, Backend, backend_of, open_backend
from xpnet.backends.steps import CALLED
from xpnet.distributed.group import ALONE, Group, agreed, ending_all
from xpnet.distributed.reduction import REDUCTIONS, Reduction
from xpnet.dtype_limits import check_numbers
from xpnet.inputs.samples import move
from xpnet.layers import ACTIVATIONS, Layer
from xpnet.network.network import Network
from xpnet.network.prediction import Head
from xpnet.optimizers import Optimizer
from xpnet.schedules import ReduceOnPlateau, Schedule
from xpnet.sklearn import lbfgs, minibatch, scoring
from xpnet.sklearn.architecture import Structure, arrays_of, layer_sizes
from xpnet.sklearn.checking import (
    check_pair,
    check_samples,
    dtype_of,
    home_of_array,
    load_samples,
    load_target,
    moved,
    numpy_home,
    taken_rows,
    warn_of_other_scale,
)
from xpnet.sklearn.encoding import Labels
from xpnet.sklearn.fitted import SEEN, Fitted, Kept, check_finite, take_on
from xpnet.sklearn.holding import CheckedSamples, Held
from xpnet.sklearn.private import Interval, Options, StrOptions
from xpnet.sklearn.problem import Problem
from xpnet.sklearn.ranks import check_same_call
from xpnet.sklearn.scoring import is_scored, make_score
from xpnet.sklearn.settings import Settings, check_combination
from xpnet.sklearn.task import Score, Task, make_structure
from xpnet.sklearn.weights import check_some_count, check_takes_weight, check_weights, in_dtype
from xpnet.sklearn.whole import NetworkStructure
from xpnet.training.ranks import open_for_rank, settle_for_ranks
from xpnet.typing import Array, HostArray

_KINDS = {"softmax": "classes", "logistic": "multilabel"}


class BaseMLP(BaseEstimator):
    """Training and prediction; a subclass says what targets are, and what is predicted of them."""

    _kept: Kept
    _numeric: ClassVar[bool]
    _pixel_maximum: ClassVar[float] = 1.0

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [
            StrOptions({"identity", "logistic", "tanh", "relu"}),
            StrOptions(set(ACTIVATIONS)),
            Layer,
            "array-like",
        ],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "backend": [StrOptions({"auto", *BACKENDS}), None],
        "device": [str, None],
        "dtype": [StrOptions(set(DTYPES)), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
        "optimizer": [Optimizer, None],
        "schedule": [Schedule, ReduceOnPlateau, None],
        "callbacks": [list, tuple, None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "augment": [Augmentation, list, tuple, None],
        "compile": ["boolean"],
        "scoring": scoring.ALLOWED,
        "group": [Group, None],
        "reduction": [StrOptions(set(REDUCTIONS))],
        "shards": [Interval(Integral, 1, None, closed="left"), None],
    }

    def _keep(self, given: dict[str, Any]) -> None:
        """Keep the parameters of a constructor, which are its `locals()`, as they are."""
        self.__dict__.update({name: value for name, value in given.items() if name != "self"})

    # -- what a subclass says -------------------------------------------------------------------

    @abstractmethod
    def _learn(self, y: Any, known: Labels | None, *, incremental: bool) -> Problem:
        """What the network is to give, from checked targets and the classes that are `known`."""

    @abstractmethod
    def _encode(self, y: Any, problem: Problem) -> HostArray:
        """Checked targets as the loss takes them, on the host."""

    def _as_rows(self, X: Any, *, reset: bool) -> Any:
        """Samples as rows of numbers, which all else takes. If `reset`, their shape is kept."""
        return X

    def _as_given(self, x: Any) -> Any:
        """The inverse of `_as_rows`."""
        return x

    def _structure(
        self, settings: Settings, n_features: int, problem: Problem, before: Fitted | None
    ) -> Structure | NetworkStructure:
        """The layers that are asked for, for rows of so many numbers."""
        return make_structure(settings, n_features, problem, before)

    @abstractmethod
    def _held_score(
        self, target: HostArray, predicted: HostArray, weight: HostArray | None
    ) -> float:
        """The score of predictions on the validation set."""

    def _kind(self) -> str:
        """The kind of targets of what was fitted."""
        return _KINDS.get(getattr(self, "out_activation_", "softmax"), "values")

    def _weighted_by_class(
        self, y: Any, weight: HostArray | None, problem: Problem
    ) -> HostArray | None:
        return weight

    def _attributes(self, fitted: Fitted, home: Backend) -> dict[str, Any]:
        """The attributes that the estimator has, fitted so, with its arrays there."""
        arrays = {name: move(home, value) for name, value in fitted.arrays.items()}
        return replace(fitted, arrays=arrays).attributes()

    # -- training -------------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Callable[[], Any],
        *,
        incremental: bool,
        classes: Callable[[], Labels | None] = lambda: None,
    ) -> None:
        """Compute what this call comes to, and then have it.

        Nothing of the estimator is written before that: a call that fails leaves it as it was.
        `validation()` is a validation set, and `classes()` are those that `partial_fit` was given:
        what is wrong with them on one rank is found here.
        """
        group = self._ranks()
        with ExitStack() as stack:
            stack.enter_context(ending_all(group))

            def prepare() -> tuple[Task, Settings, Fitted | None]:
                given = X, y, sample_weight, validation()
                return self._task(stack, *given, incremental=incremental, classes=classes())

            task, settings, before = agreed(group, prepare)
            check_same_call(task, settings, before)
            solve = lbfgs.solve if self.solver == "lbfgs" else minibatch.solve
            fitted = solve(task, settings, before)
            agreed(group, lambda: check_finite(task.work, fitted))
            attributes = self._attributes(fitted, self._home(task.work, task.samples.pair[0]))
        take_on(self, attributes)

    def _ranks(self) -> Group:
        """The ranks that train together; what is no group is refused with all else."""
        return self.group if isinstance(self.group, Group) else ALONE

    def _task(
        self,
        stack: ExitStack,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        *,
        incremental: bool,
        classes: Labels | None,
    ) -> tuple[Task, Settings, Fitted | None]:
        """What this call asks for, by which settings, and what it goes on from.

        The scope of the backend is entered, and is left with the stack.
        """
        ranks = Reduction.of(self.group, self.reduction, self.shards)
        layer_sizes(1, self.hidden_layer_sizes, 1)
        check_combination(self, incremental=incremental, held=validation is not None)
        goes_on = hasattr(self, "coefs_") and (self.warm_start or incremental)
        before = Fitted.of(self) if goes_on else None
        looked_at = self._twin()  # scikit-learn writes there what it has seen
        X = looked_at._as_rows(X, reset=not goes_on)
        X, y = check_pair(looked_at, X, y, reset=not goes_on, numeric=self._numeric)
        own_weight = check_weights(sample_weight, X.shape[0])
        known = classes if before is None else before.labels
        problem = self._learn(y, known, incremental=incremental)
        weight = self._weighted_by_class(y, own_weight, problem)
        check_takes_weight(problem.loss, weight)
        work = self._open(X, ranks)
        check_numbers(work.dtype_name, problem.loss)
        if weight is not None:
            weight = in_dtype(weight, work.dtype_name)
            check_some_count(weight, incremental=incremental)
        settings = Settings.of(self)
        stack.enter_context(work.scope())
        target = self._encode(y, problem)
        x, held = load_samples(work, X), looked_at._load_held(work, validation, problem)
        if held is not None and not incremental:  # a part may have a scale of its own
            warn_of_other_scale(work, x, held.x)
        samples = CheckedSamples(x, target, weight, own_weight, (X, y))
        structure = looked_at._structure(settings, x.shape[1], problem, before)
        score = self._score(settings, problem, work)
        seen = {name: value for name, value in vars(looked_at).items() if name in SEEN}
        task = Task(
            work, problem, structure, structure.model(), samples, held, incremental, score, seen,
            ranks,
        )  # fmt: skip
        return task, settings, before

    def _open(self, x: Any, ranks: Reduction) -> Backend:
        """Where the work is done: where the samples are, unless another place was asked for."""
        dtype = dtype_of(x, self.dtype)
        home = home_of_array(x, dtype)
        if home is not None and self.backend is None and self.device is None:
            work = home
        else:
            name = self.backend or ("numpy" if home is None else home.name)
            work = open_for_rank(ranks.group, name, self.device, dtype)
        self._choose_steps(work)
        settle_for_ranks(work, ranks)
        # The one of the call before, where it is the same, knows how many threads are best.
        engine = self._kept.engine if "_kept" in vars(self) else None
        known = engine is not None and engine.is_on(work) and engine.recipe.ranks == ranks
        return engine.backend if engine is not None and known else work

    def _choose_steps(self, work: Backend) -> None:
        if not self.compile and CALLED in work.offered_steps:
            work.choose_steps(CALLED)

    def _score(self, settings: Settings, problem: Problem, work: Backend) -> Score | None:
        """The score that epochs are judged by; None of a solver without epochs."""

        def become(fitted: Fitted, x: Any) -> Any:
            """Another estimator, fitted so, with its arrays where these samples are."""
            twin = self._twin()
            take_on(twin, twin._attributes(fitted, twin._home(work, x)))
            return twin

        return None if settings.solver == "lbfgs" else make_score(self, problem, work, become)

    def _twin(self) -> Self:
        """Another estimator with the same parameters and attributes, to be written to."""
        twin = object.__new__(type(self))
        twin.__dict__.update(vars(self))
        return twin

    def _load_held(self, work: Backend, given: Any, problem: Problem) -> Held | None:
        """The validation set that was given, `(X, y, weights or None)`, on the backend."""
        if given is None:
            return None
        x = self._as_rows(given[0], reset=False)
        x, y = check_pair(self, x, given[1], reset=False, numeric=self._numeric)
        weight = check_weights(given[2], x.shape[0])
        check_takes_weight(problem.loss, weight)
        if problem.labels is not None:
            problem.labels.check_same(y, exactly=False)
        target = self._encode(y, problem)
        return Held.weighted(
            work, load_samples(work, x), load_target(work, target, problem.kind), target, weight,
            taken_rows(x, y) if is_scored(self) else None,
        )  # fmt: skip

    def _home(self, work: Backend, x: Any) -> Backend:
        """The library and device of the samples, with the dtype of the work."""
        home = home_of_array(x, work.dtype_name)
        if home is not None:
            return home
        return work if work.name == "numpy" else open_backend("numpy", None, work.dtype_name)

    # -- prediction -----------------------------------------------------------------------------

    def _outputs(self, X: Any, head: Head, method: str) -> tuple[Backend, Array]:
        """`head(xp, output)` for all samples, and the backend of the samples, where it is."""
        if "_kept" not in vars(self):
            check_is_fitted(self)  # which takes longer than a small network
        self._check_home(X, method)
        x = check_samples(self, self._as_rows(X, reset=False))
        home = self._predicts_on(x)
        work = home
        if self.backend is not None:
            work = open_backend(self.backend, self.device, self._kept.dtype)
            self._choose_steps(work)
            home = self._home(work, x)
        with work.scope():
            x = load_samples(work, x)
            arrays = {name: moved(work, value) for name, value in arrays_of(self).items()}
            result = self._kept.forwards.on(work, self._kept.model)(head, arrays, x)
        return home, result if home is work else move(home, result)

    def _predicts_on(self, x: Any) -> Backend:
        home = home_of_array(x, self._kept.dtype)
        return numpy_home(self._kept.dtype, compiles=self.compile) if home is None else home

    def _check_home(self, x: Any, method: str) -> None:
        """With scikit-learn's dispatch, samples must be where the estimator was fitted."""
        if not get_config().get("array_api_dispatch") or self.backend is not None:
            return
        fitted = backend_of(self.coefs_[0], self._kept.dtype)
        home = home_of_array(x, self._kept.dtype)
        here = ("numpy", "cpu") if home is None else (home.name, home.device)
        if here != (fitted.name, fitted.device):
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace "
                f"and the same device as those passed to fit(). It was fitted on {fitted.name} "
                f"({fitted.device}), and is given {here[0]} ({here[1]}). Give backend=... to have "
                f"predictions made there for all inputs, or leave array_api_dispatch off"
            )

    def to_network(self) -> Network:
        """What was trained, as a `Network`: to be saved without pickle, or exported.

        It gives what the loss is taken of: logits, and for `"poisson"` logarithms; its classes are
        numbers from 0, or the labels themselves where these are text or Booleans.
        """
        check_is_fitted(self)
        backend = backend_of(self.coefs_[0], self._kept.dtype)
        arrays, kind = arrays_of(self), self._kind()
        buffers = self._kept.model.buffers()
        labels = self._kept.labels
        single = self.n_outputs_ == 1 if labels is None else labels.kind != "multilabel"
        return Network(
            self._kept.model,
            {name: value for name, value in arrays.items() if name not in buffers},
            backend,
            sample_shape=getattr(self, "sample_shape_", (self.n_features_in_,)),
            pixel_maximum=self._pixel_maximum,
            target_kind=kind,
            buffers={name: arrays[name] for name in buffers},
            input_dtype=self._kept.dtype,
            classes=None if labels is None else labels.names(),
            target_shape=() if single else None,
        )

    # -- scikit-learn ---------------------------------------------------------------------------

    def _validate_params(self) -> None:
        agreed(self._ranks(), super()._validate_params)

    def _check_solver(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not "
                f"stochastic."
            )
        return True

    def __getstate__(self) -> dict[str, Any]:
        # What is compiled, and open backends, stay behind: they are made again where wanted.
        state: dict[str, Any] = dict(super().__getstate__())
        if "_kept" in state:
            state["_kept"] = state["_kept"].without_steps()
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return "_kept" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
