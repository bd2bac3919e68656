"""What an optimizer is: how one parameter is updated, and what is the same for all of them."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, ClassVar

from array_api_compat import device

from xpnet.checks import is_one_of
from xpnet.errors import one_line, shown
from xpnet.fields import Checked, checked_by, number
from xpnet.optimizers.around import averaged, clipped, shrinkage, with_decay
from xpnet.schedules import ReduceOnPlateau, Schedule
from xpnet.typing import Array, Grads, Namespace, Params


def _decayed(name: str, value: Any) -> str | tuple[str, ...]:
    if is_one_of(("weights", "all"), value):
        return str(value)
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError(
            f"{name} must be 'weights', 'all' or a tuple of names of parameters such as "
            f"('fc1.weight',), got {shown(value)}"
        )
    return tuple(value)


def _schedule(name: str, value: Any) -> Schedule | ReduceOnPlateau:
    if not isinstance(value, Schedule | ReduceOnPlateau):
        raise TypeError(f"{name} must be one such as xpnet.schedules.Cosine(), got {shown(value)}")
    return value


@dataclass(frozen=True, repr=False)
class Optimizer(Checked):
    """How gradients change parameters: a frozen description, which holds no arrays.

    A subclass names what it keeps for every parameter (`slots`), and says how one parameter is
    updated (`update_one`). The loop over the parameters is here, and so is what any optimizer can
    be asked to do besides.

    In each step, in this order: the gradients are clipped; `l2` times the parameter is added to
    them; `learning_rate * weight_decay` times the parameter is taken from it; `update_one`. Then,
    with `ema`, the averages follow.

    Parameters
    ----------
    learning_rate
        The step length, positive and finite.
    weight_decay
        Decoupled weight decay w: parameter -= learning_rate * w * parameter, beside the update and
        not through the gradient. 0 for none.
    l2
        The penalty l in gradient += l * parameter, the gradient of l/2 times the sum of squares;
        what torch calls weight_decay in all optimizers but AdamW. 0 for none.
    decayed
        What `weight_decay` and `l2` act on: `"weights"`, which are parameters of two or more axes,
        not biases nor the scales and shifts of a normalisation; `"all"`; or a tuple of names such
        as `("fc1.weight",)`.
    clip_norm
        If the norm of all gradients together, the root of the sum of all squares, is more than
        this, they are scaled down to it; that it would overflow is no matter. None for no limit.
    clip_value
        Every element of the gradients is limited to -clip_value ... clip_value. None for no limit.
    ema
        The decay d, from 0 to below 1, of an exponential moving average of the parameters: a mean
        over all steps in which the parameters k steps ago have a weight proportional to d**k.
        Evaluation and the trained network use the average. None for no average.
    schedule
        How the learning rate changes in the course of the training; see `xpnet.schedules`.

    Raises
    ------
    ValueError
        If an option is out of its range, or both clip_norm and clip_value are given.
    TypeError
        If the schedule is not one.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019,
    https://arxiv.org/abs/1711.05101
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", ICML
    2013, https://arxiv.org/abs/1211.5063
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on
    Control and Optimization 30, 1992, https://doi.org/10.1137/0330046
    """

    learning_rate: float = field(default=0.01, metadata=number(above=0))
    _: KW_ONLY
    weight_decay: float = field(default=0.0, metadata=number(at_least=0))
    l2: float = field(default=0.0, metadata=number(at_least=0))
    decayed: str | tuple[str, ...] = field(default="weights", metadata=checked_by(_decayed))
    clip_norm: float | None = field(default=None, metadata=number(above=0, optional=True))
    clip_value: float | None = field(default=None, metadata=number(above=0, optional=True))
    ema: float | None = field(default=None, metadata=number(at_least=0, below=1, optional=True))
    schedule: Schedule | ReduceOnPlateau | None = field(
        default=None, metadata=checked_by(_schedule, optional=True)
    )

    name: ClassVar[str]
    """What the command line calls it, and `xpnet.optimizers.OPTIMIZERS`."""

    # -- what an optimizer defines --------------------------------------------------------------

    def slots(self) -> dict[str, float]:
        """The arrays kept for each parameter, by name, with the value that they begin with."""
        return {}

    def numbers(self) -> dict[str, float]:
        """The numbers kept from step to step, the same for all parameters; where they begin."""
        return {}

    def advance(self, xp: Namespace, numbers: Params, rate: Array) -> dict[str, Array]:
        """The numbers of a step from those of the step before: arrays of shape ().

        Called once in a step. Others than those of `numbers` may be among them: `update_one` is
        given all, and those of `numbers` are kept.
        """
        return dict(numbers)

    def update_one(
        self,
        xp: Namespace,
        parameter: Array,
        gradient: Array,
        slots: dict[str, Array],
        rate: Array,
    ) -> tuple[Array, dict[str, Array]]:
        """Consumes `parameter` and `slots`: one step for one parameter.

        Parameters
        ----------
        xp
            The array namespace of all arrays.
        parameter, gradient
            Of one shape. The gradient must not be written to.
        slots
            By name, the arrays of `slots` for this parameter and the numbers of `advance`.
        rate
            The learning rate of this step, shape ().

        Returns
        -------
        parameter, slots
            The updated parameter, and a dictionary with its updated slots.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update_one")

    @classmethod
    def examples(cls) -> "Iterator[Optimizer]":
        """Optimizers of this class, on which `xpnet conformance` and the tests try the contract."""
        yield cls(0.1)

    def torch(self) -> str | None:
        """The optimizer of PyTorch with the same update: an expression of `parameters`, a list.

        Without what is the same for all optimizers: clipping, decay, averages and schedules. None
        if PyTorch has none.
        """
        return None

    # -- what is the same for all ---------------------------------------------------------------

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(f"{type(self).__name__}: give clip_norm or clip_value, not both")

    def init(self, xp: Namespace, params: Params) -> dict[str, Array]:
        """The arrays kept between steps: `SLOT/PARAMETER` for each parameter, and `NUMBER`.

        Raises
        ------
        ValueError
            If `decayed` names a parameter that is not there.
        """
        named = self.decayed if isinstance(self.decayed, tuple) else ()
        unknown = [name for name in named if name not in params]
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: decayed has {one_line(', '.join(unknown))}, but the "
                f"parameters are {', '.join(params)}"
            )
        arrays = {
            f"{slot}/{name}": xp.full_like(parameter, value)
            for slot, value in self.slots().items()
            for name, parameter in params.items()
        }
        numbers = self.numbers() | ({} if self.ema is None else {"ema_weights": 0.0})
        for parameter in list(params.values())[:1]:
            for name, value in numbers.items():
                like = {"dtype": parameter.dtype, "device": device(parameter)}
                arrays[name] = xp.full((), value, **like)
        return arrays

    def update(
        self,
        xp: Namespace,
        params: dict[str, Array],
        grads: Grads,
        slots: dict[str, Array],
        learning_rate: Array,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Consumes `params` and `slots`: one step, in place where the library writes in place.

        Parameters
        ----------
        xp
            The array namespace of all arrays.
        params, grads
            Parameters and their gradients, with the same names and shapes.
        slots
            What `init` or the last `update` returned.
        learning_rate
            The step length, shape ().

        Returns
        -------
        params, slots
            The updated arrays; those given must not be used again.
        """
        if not grads:
            return params, slots
        # The order in which the options stand around the rule; `ema` comes after all parameters.
        grads = clipped(xp, grads, norm=self.clip_norm, value=self.clip_value)
        kept, names = self.numbers(), self.slots()
        numbers = self.advance(xp, {name: slots[name] for name in kept}, learning_rate)
        for name in kept:
            slots[name] = numbers[name]
        shrink = shrinkage(learning_rate, self.weight_decay)
        for name, gradient in grads.items():
            parameter = params[name]
            if self._decays(name, parameter):
                parameter, gradient = with_decay(parameter, gradient, self.l2, shrink)
            own = dict(numbers)
            for slot in names:
                own[slot] = slots[f"{slot}/{name}"]
            params[name], own = self.update_one(xp, parameter, gradient, own, learning_rate)
            for slot in names:
                slots[f"{slot}/{name}"] = own[slot]
        return params, slots

    def average(
        self, averages: dict[str, Array], params: Params, slots: dict[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Consumes `averages` and `slots`: the averages of the parameters after a step, by `ema`.

        See `xpnet.optimizers.around.averaged`.
        """
        if params:
            averages, slots["ema_weights"] = averaged(
                averages, params, slots["ema_weights"], self.ema
            )
        return averages, slots

    @property
    def takes_unmade(self) -> bool:
        """Whether a gradient may be `xpnet.operations.Unmade`: nothing but `update_one` sees it."""
        return False

    def _decays(self, name: str, parameter: Array) -> bool:
        if not (self.l2 or self.weight_decay):
            return False
        if self.decayed == "weights":
            return bool(parameter.ndim >= 2)
        return self.decayed == "all" or name in self.decayed

    def __repr__(self) -> str:
        given = [
            f"{one.name}={getattr(self, one.name)!r}"
            for one in fields(self)[1:]
            if getattr(self, one.name) != one.default
        ]
        return f"{type(self).__name__}({', '.join([repr(self.learning_rate), *given])})"
