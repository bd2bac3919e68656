"""The contract of a layer: a frozen description, pure functions, an explicit cache."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

from xpnet.descriptions import build_from_fields, describe_fields
from xpnet.fields import Checked
from xpnet.layers.constraints import Constraint
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.random import Seed, keep_mask, layer_key, normal
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, SeedSequence, Shape

Total = Callable[[Namespace, Array], Array]
"""`total(xp, part) -> whole`: the sum over all parts of a batch of an array that each has; all get
the same. Consumes `part`."""


class Context(NamedTuple):
    """What a layer may know of the pass it takes part in, besides its arrays.

    Attributes
    ----------
    training
        True in a training step; False in evaluation and prediction.
    seed
        What a layer's random numbers are derived from; needed in training by random layers only.
    step
        The number of the training step: an int32 array of shape (), or an integer.
    row_offset
        The number of the first row in the whole batch, where this is a part of a batch.
    path
        The names of the layer, from the outermost container inwards.
    present
        Which samples of the batch are there for what is computed of all of them: an array (B,) of
        1, and of 0 for samples of weight 0; None for all.
    total
        Where this is a part of a batch: what makes the sum over the whole batch of one over this
        part; None for a whole batch.
    """

    training: bool = False
    seed: "SeedSequence | None" = None
    step: Array | int = 0
    row_offset: Array | int = 0
    path: tuple[str, ...] = ()
    present: Array | None = None
    total: Total | None = None

    def inside(self, name: str) -> "Context":
        """The context of a layer of this name."""
        return self._replace(path=(*self.path, name))

    def keep_mask(self, xp: Namespace, x: Array, rate: float) -> Array:
        """Which elements of `x` dropout keeps in this layer and step; see `random.keep_mask`.

        Raises
        ------
        ValueError
            If the context has no seed.
        """
        return keep_mask(xp, self._key(), self.step, x, rate, row_offset=self.row_offset)

    def normal(self, xp: Namespace, x: Array) -> Array:
        """A normal number for each element of `x`, of this layer and step; see `random.normal`.

        Raises
        ------
        ValueError
            If the context has no seed.
        """
        return normal(xp, self._key(), self.step, x, row_offset=self.row_offset)

    def _key(self) -> tuple[int, int]:
        if self.seed is None:
            raise ValueError("a random layer needs a seed in training: Context(True, seed=...)")
        return layer_key(self.seed, self.path)


EVALUATION = Context()

_CONSTRAINING = {"constraints", "constrain"}
"""The second is what the first was called, where it was given all parameters at once."""


class Layer(Checked):
    """One differentiable function of a batch, with or without trainable parameters.

    A layer is a frozen dataclass of hyper-parameters: it holds no array, so it can be shared,
    compared, hashed and printed, and is static when a step is compiled. Its methods are pure:
    arrays go in and come out, and no argument is ever written to. What a hyper-parameter may be
    stands in the metadata of its field; see `xpnet.fields`.

    Subclasses implement `forward` and `backward`, and where they have parameters
    `parameter_shapes` and `init`. The defaults describe an element-wise function. `onnx` and
    `torch` are needed where networks with the layer are exported.
    `xpnet.testing.check_layer` checks a layer of one's own.
    """

    takes_totals: ClassVar[bool] = False
    """Whether what it computes of a batch as a whole goes through `Context.total`, so that it may
    be given parts of one, as where several processes train. A layer that computes each sample by
    itself is not asked."""

    gives_probabilities: ClassVar[bool] = False
    """Whether the output is probabilities, which a loss that takes logits would take for them."""

    @classmethod
    def examples(cls) -> Iterator[tuple["Layer", Shape]]:
        """Layers of this class, each with the shape of a batch for it.

        On each of them `xpnet conformance` and the tests of xpnet's own layers try the whole
        contract, so all ways that the layer has to compute should be among them; none for a layer
        that nothing tries.
        """
        yield from ()

    def last(self) -> "Layer":
        """The layer that the values of the output come from: itself, or one inside of it."""
        return self

    def parameter_shapes(self) -> dict[str, Shape]:
        """The shape of every trainable parameter by name; empty for a layer that has none."""
        return {}

    def init(self, seed: Seed) -> dict[str, HostArray]:
        """Initial parameters, float64 on the host: draw each from `stream(seed, its_name)`."""
        return {}

    def buffers(self) -> dict[str, HostArray]:
        """Initial arrays that are not trained, such as running means: float64 on the host, by name.

        `forward` and `backward` get them in `params`, beside the parameters, with which they must
        not share a name. A trained network keeps them.
        """
        return {}

    def update_buffers(self, xp: Namespace, buffers: Params, cache: Cache) -> dict[str, Array]:
        """The buffers after a training step in which `forward` returned `cache`: as they were.

        Parameters
        ----------
        xp
            The array namespace of all arrays.
        buffers
            The buffers by name; not written to.
        cache
            What `forward` returned.

        Returns
        -------
        buffers
            The new ones, of the same names, shapes and dtypes.
        """
        return dict(buffers)

    def constraints(self) -> dict[str, Constraint]:
        """What parameters must keep to after every update: by name, those that must to anything.

        Each is a function `(xp, parameter) -> parameter`, which may overwrite what it is given.
        """
        return {}

    def smallest_batch(self) -> int:
        """How many samples a batch must have for training."""
        return 1

    def flops(self, shape: Shape) -> int:
        """How many operations the evaluation of one sample of this shape takes.

        A sum, a product, a comparison count as one each, and so does a function such as `exp`.
        """
        return 0

    def input_shape(self) -> Shape | None:
        """The shape of one sample that the layer accepts; None where any will do."""
        return None

    def takes_more_axes(self) -> bool:
        """Whether samples may have any axes in front of those that `input_shape` says.

        As in batch norm, which looks at the last axis alone and leaves the shape as it is.
        """
        return False

    def output_shape(self, shape: Shape | None) -> Shape | None:
        """The shape of one output sample for the shape of one input sample.

        None stands for a shape that is not known (yet), on either side.

        Raises
        ------
        ValueError
            If the layer cannot take samples of this shape.
        """
        return shape

    def config(self) -> dict[str, Any]:
        """The hyper-parameters as JSON values, from which `from_config` makes an equal layer."""
        return describe_fields(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """The inverse of `config`."""
        return build_from_fields(cls, config)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        """Compute the layer's output, and keep what `backward` needs.

        Parameters
        ----------
        xp
            The array namespace of all arrays.
        params
            The layer's parameters by name, and its buffers.
        x
            The batch; the first axis numbers the samples.
        ctx
            The pass: training or evaluation.

        Returns
        -------
        y, cache
            The output, and a tuple of arrays for `backward`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        """Carry the gradient of the loss from the output to the input and the parameters.

        Parameters
        ----------
        xp, params
            As in `forward`.
        cache
            What `forward` returned.
        dy
            The gradient of the loss with respect to the output.
        need_dx
            Whether the gradient with respect to the input is wanted. The lowest layer with
            parameters is asked without, which saves about a quarter of a training step.

        Returns
        -------
        dx, grads
            The gradient with respect to the input (None if not wanted), and the gradients of
            exactly the trainable parameters.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    def input_gradient(self, xp: Namespace, params: Params, cache: Cache, dy: Array) -> Array:
        """The gradient with respect to the input alone, of a layer that is not trained.

        This default, which calls `backward`, is right for every layer. One whose gradients of
        parameters cost something defines its own.
        """
        dx, _ = self.backward(xp, params, cache, dy)
        return dx

    def onnx(self, place: OnnxPlace, x: str) -> str:
        """The layer in standard operators of ONNX, as it is in evaluation.

        Parameters
        ----------
        place
            Where it stands in the graph: what it adds nodes to.
        x
            The tensor that comes in.

        Returns
        -------
        y
            The tensor that goes out.
        """
        raise NotImplementedError(f"{type(self).__name__} must define onnx")

    def torch(self, place: TorchPlace) -> str:
        """The layer as a module of PyTorch: the text that makes it, such as `"nn.ReLU()"`.

        The arrays go into the state dict by `place.keep`. They may be transposed, reshaped and the
        like, but not changed: weights of PyTorch are read by the same method.

        Parameters
        ----------
        place
            Where it stands in the module.
        """
        raise NotImplementedError(f"{type(self).__name__} must define torch")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = next(vars(base) for base in cls.__mro__ if not _CONSTRAINING.isdisjoint(vars(base)))
        if "constraints" not in own:
            raise TypeError(
                f"{cls.__name__}: nothing calls constrain, and its parameters would be trained "
                f"without: define constraints(), which gives by name what each must keep to, as "
                f"functions (xp, parameter) -> parameter"
            )
        # Another backward, also that of a mixin, must not come with an input_gradient that knows
        # nothing of it.
        for base in cls.__mro__:
            if "input_gradient" in vars(base):
                break
            if "backward" in vars(base):
                cls.input_gradient = Layer.input_gradient  # type: ignore[method-assign]
                break
