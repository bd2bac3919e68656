"""Losses for real numbers. All are means over samples and outputs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.fields import number
from xpnet.losses.base import ElementwiseLoss, Example
from xpnet.typing import Array, Namespace


@dataclass(frozen=True)
class MeanSquaredError(ElementwiseLoss):
    """The mean of (output - target)² over samples and outputs.

    Without a factor 1/2, as PyTorch's MSELoss has it; the gradient is 2 (output - target) / (B C).
    """

    name = "mean_squared_error"
    target_kind: ClassVar[str] = "values"

    def terms(
        self, xp: Namespace, output: Array, target: Array, *, need_grad: bool, **constants: Array
    ) -> tuple[Array, Array | None]:
        difference = output - target
        return difference * difference, 2.0 * difference if need_grad else None

    def torch(self) -> str:
        return 'F.mse_loss(output, target, reduction="none").mean(1)'


@dataclass(frozen=True)
class MeanAbsoluteError(ElementwiseLoss):
    """The mean of abs(output - target) over samples and outputs.

    As PyTorch's L1Loss. The gradient is the sign of the difference, divided by B C, and 0 where
    there is none. It does not become smaller near the target, so the learning rate has to; outliers
    weigh no more than by their distance. The best constant is the median, and not the mean.
    """

    name = "mean_absolute_error"
    target_kind: ClassVar[str] = "values"

    def terms(
        self, xp: Namespace, output: Array, target: Array, *, need_grad: bool, **constants: Array
    ) -> tuple[Array, Array | None]:
        difference = output - target
        return xp.abs(difference), xp.sign(difference) if need_grad else None

    def torch(self) -> str:
        return 'F.l1_loss(output, target, reduction="none").mean(1)'


@dataclass(frozen=True)
class Huber(ElementwiseLoss):
    """Squared near the target, absolute further away: the mean of h(output - target).

    h(d) = d² / 2 where abs(d) <= delta, and delta (abs(d) - delta / 2) beyond, which continues it
    with the same slope. As PyTorch's HuberLoss, with its factors: half of the squared error for
    small differences, delta times the absolute error for large ones. The slope is d, kept between
    -delta and delta.

    Parameters
    ----------
    delta
        Where the two meet, positive and finite, in the unit of the targets.

    Raises
    ------
    ValueError
        If `delta` is not positive and finite; when called, if the shapes do not fit.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964, https://doi.org/10.1214/aoms/1177703732
    """

    # With 0 there would be no slope, and nothing would be learnt.
    delta: float = field(default=1.0, metadata=number(above=0))

    name = "huber"
    target_kind: ClassVar[str] = "values"

    def terms(
        self, xp: Namespace, output: Array, target: Array, *, need_grad: bool, **constants: Array
    ) -> tuple[Array, Array | None]:
        difference = output - target
        slope = xp.minimum(xp.maximum(difference, -self.delta), self.delta)
        # Both parts in one: d²/2 where the slope is d, delta (abs(d) - delta/2) where it is delta.
        difference -= 0.5 * slope
        difference *= slope
        return difference, slope if need_grad else None

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield cls(), "values", False
        yield cls(delta=2.5), "values", True

    def torch(self) -> str:
        return f'F.huber_loss(output, target, reduction="none", delta={self.delta!r}).mean(1)'


@dataclass(frozen=True)
class PoissonDeviance(ElementwiseLoss):
    """For counts: the mean of exp(z) - y z + y log y - y, from logarithms z of the expected count.

    It is half of the deviance of a Poisson distribution, and 0 where exp(z) is the target y. The
    network gives the logarithm of what it expects, which may be any number; take exp of its
    predictions. The gradient is (exp(z) - y) / (B C). PyTorch's PoissonNLLLoss is the same without
    the terms that depend on y alone.

    Notes
    -----
    Targets: not negative; they need not be whole.

    References
    ----------
    McCullagh and Nelder, "Generalized linear models", 1989,
    https://doi.org/10.1007/978-1-4899-3242-6
    """

    name = "poisson_deviance"
    target_kind: ClassVar[str] = "values"
    applies: ClassVar[str | None] = "the exponential"

    def terms(
        self, xp: Namespace, output: Array, target: Array, *, need_grad: bool, **constants: Array
    ) -> tuple[Array, Array | None]:
        slopes = xp.exp(output)
        slopes -= target
        # Of 0 the logarithm is taken of another number, and multiplied by 0.
        terms = xp.log(xp.maximum(target, 1e-30))
        terms -= output
        terms *= target
        terms += slopes
        return terms, slopes if need_grad else None

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield cls(), "counts", False
        yield cls(), "counts", True

    def torch(self) -> str:
        terms = 'F.poisson_nll_loss(output, target, reduction="none")'
        return f"({terms} + torch.xlogy(target, target) - target).mean(1)"


mean_squared_error = MeanSquaredError()
mean_absolute_error = MeanAbsoluteError()
huber = Huber()
poisson_deviance = PoissonDeviance()
