"""The fully connected layer."""

from dataclasses import dataclass
from typing import Any

from xpnet.checks import positive_integer
from xpnet.initializers import INITIALIZERS, Initializer, he_normal, zeros
from xpnet.layers.base import Context, Layer
from xpnet.operations import subtract_product
from xpnet.random import Seed, stream
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected: y = x W + b, with samples as rows.

    Parameters
    ----------
    n_in, n_out
        Numbers of input and output features, positive.
    init_weight
        How the weight is drawn, one of `xpnet.initializers`; the bias starts at zero.

    Notes
    -----
    Parameters: `weight` (n_in, n_out) and `bias` (n_out,). For x (B, n_in) and dy (B, n_out):
    dW = xᵀ dy, db = the column sums of dy, dx = dy Wᵀ.

    Raises
    ------
    ValueError
        If a number of features is not a positive integer, or samples of another shape come in.
    """

    n_in: int
    n_out: int
    init_weight: Initializer = he_normal

    def __post_init__(self) -> None:
        for name in ("n_in", "n_out"):
            size = positive_integer(f"Dense: {name}", getattr(self, name))
            object.__setattr__(self, name, size)
        if not callable(self.init_weight):
            raise ValueError(
                f"Dense: init_weight must be an initializer such as xpnet.initializers.he_normal, "
                f"got {self.init_weight!r}"
            )

    def __repr__(self) -> str:
        init = "" if self.init_weight is he_normal else f", {self.config()['init_weight']}"
        return f"Dense({self.n_in}, {self.n_out}{init})"

    def parameter_shapes(self) -> dict[str, Shape]:
        return {"weight": (self.n_in, self.n_out), "bias": (self.n_out,)}

    def init(self, seed: Seed) -> dict[str, HostArray]:
        return {
            "weight": self.init_weight(stream(seed, "weight"), self.n_in, self.n_out),
            "bias": zeros((self.n_out,)),
        }

    def input_shape(self) -> Shape:
        return (self.n_in,)

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape not in (None, (self.n_in,)):
            raise ValueError(
                f"Dense({self.n_in}, {self.n_out}) takes samples of shape ({self.n_in},), "
                f"but is given shape {shape}"
            )
        return (self.n_out,)

    def config(self) -> dict[str, Any]:
        return {
            "n_in": self.n_in,
            "n_out": self.n_out,
            "init_weight": getattr(self.init_weight, "__name__", "custom"),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Dense":
        # An initializer of the user's own is not needed any more once the weights exist.
        init_weight = INITIALIZERS.get(config["init_weight"], he_normal)
        return cls(config["n_in"], config["n_out"], init_weight)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = xp.matmul(x, params["weight"])
        y += params["bias"]
        return y, (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        grads = {"weight": xp.matmul(x.T, dy), "bias": xp.sum(dy, axis=0)}
        dx = xp.matmul(dy, params["weight"].T) if need_dx else None
        return dx, grads

    def descend(
        self,
        xp: Namespace,
        params: dict[str, Array],
        cache: Cache,
        dy: Array,
        rate: Array,
        *,
        need_dx: bool = True,
    ) -> tuple[Array | None, dict[str, Array]]:
        (x,) = cache
        # Before the weight changes.
        dx = xp.matmul(dy, params["weight"].T) if need_dx else None
        # The rate goes into dy, which is small, and not into the gradient of the weight.
        step = dy * rate
        params["weight"] = subtract_product(xp, params["weight"], x.T, step)
        params["bias"] -= xp.sum(step, axis=0)
        return dx, params
