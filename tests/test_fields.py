"""Rules of the fields of frozen dataclasses: what is refused, kept, and inherited."""

import pickle
from dataclasses import MISSING, dataclass, field, fields, replace

import numpy as np
import pytest

import xpnet
from xpnet.callbacks.early_stopping import Monitor
from xpnet.descriptions import build_from_fields, describe_fields, written_as
from xpnet.dtype_limits import check_numbers, names_in_dtype
from xpnet.fields import Checked, checked_by, number, rules_of
from xpnet.initializers import FAMILIES
from xpnet.layers import CONSTRAINTS, LAYERS, Dense, Layer
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import SCHEDULES

ALL = (LAYERS, CONSTRAINTS, FAMILIES, LOSSES, OPTIMIZERS, SCHEDULES)
KINDS = [kind for kinds in ALL for kind in kinds.values() if "__dataclass_fields__" in vars(kind)]


def several(name, value):
    """One number, or a tuple of numbers."""
    try:
        return tuple(map(float, value))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, got {value!r}") from None


@dataclass(frozen=True)
class Part(Checked):
    size: float = field(default=1.0, metadata=number(above=0, at_most=8))
    shift: float = field(default=0.0, metadata=number())
    limit: float | None = field(default=None, metadata=number(at_least=0, optional=True))
    weights: tuple[float, ...] = field(default=(), metadata=checked_by(several, in_dtype=True))
    label: str = "x"


@pytest.mark.parametrize("kind", [*KINDS, Monitor])
def test_every_number_and_every_choice_of_two_has_a_rule(kind):
    wanted = {one.name for one in fields(kind) if one.type in (float, int, bool, float | None)}
    assert wanted <= set(rules_of(kind))
    assert not any(isinstance(one.type, str) for one in fields(kind))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0}, "Part: size must be above 0 and at most 8, got 0"),
        ({"size": 9}, "Part: size must be above 0 and at most 8, got 9"),
        ({"size": True}, "Part: size must be above 0 and at most 8, got True"),
        ({"size": None}, "Part: size must be above 0 and at most 8, got None"),
        ({"shift": float("inf")}, "Part: shift must be finite, got inf"),
        ({"limit": -1}, "Part: limit must be at least 0 and finite, got -1"),
        ({"weights": 1}, "Part: weights must be numbers, got 1"),
    ],
)
def test_what_is_not_allowed_is_refused(given, message):
    with pytest.raises(ValueError) as caught:
        Part(**given)
    assert str(caught.value) == message


def test_values_are_kept_as_python_has_them():
    part = Part(np.float32(2), 3, np.int64(4), [np.float64(1), 2])
    assert part == Part(2.0, 3.0, 4.0, (1.0, 2.0))
    assert hash(part) == hash(Part(2.0, 3.0, 4.0, (1.0, 2.0)))
    assert repr(part) == "Part(size=2.0, shift=3.0, limit=4.0, weights=(1.0, 2.0), label='x')"
    assert [type(value) for value in vars(part).values()] == [float, float, float, tuple, str]
    assert pickle.loads(pickle.dumps(part)) == part
    assert build_from_fields(Part, describe_fields(part)) == part


def test_a_subclass_with_other_defaults_keeps_the_rules():
    @dataclass(frozen=True)
    class Other(Part):
        size: float = 4.0
        limit: float | None = 2.0

    assert Other(limit=None) == Other(4, 0, None)
    with pytest.raises(ValueError, match=r"^Other: size must be above 0 and at most 8, got -1"):
        Other(-1)
    assert names_in_dtype(Other) == names_in_dtype(Part)

    class Plain(Other):
        pass

    with pytest.raises(ValueError, match=r"^Plain: limit must be at least 0"):
        Plain(limit=-1)


def test_a_subclass_may_have_another_rule():
    @dataclass(frozen=True)
    class Wider(Part):
        size: float = field(default=0.0, metadata=number(at_least=0))

    assert Wider(100).size == 100.0
    assert "size" not in names_in_dtype(Wider)


def test_a_subclass_checks_more_after_its_base():
    @dataclass(frozen=True)
    class Paired(xpnet.SGD):
        longest: float = field(default=1.0, metadata=number(above=0))

        def __post_init__(self):
            super().__post_init__()
            if self.longest < self.learning_rate:
                raise ValueError(f"longest must not be less than {self.learning_rate!r}")

    assert Paired(np.float64(0.5), longest=2) == Paired(0.5, longest=2.0)
    with pytest.raises(ValueError, match=r"longest must not be less than 2\.0"):
        Paired(2)
    with pytest.raises(ValueError, match=r"^Paired: learning_rate must be positive"):
        Paired(0)
    with pytest.raises(ValueError, match=r"^Paired: longest must be positive"):
        Paired(longest=0)
    with pytest.raises(ValueError, match=r"^Paired: give clip_norm or clip_value, not both"):
        Paired(clip_norm=1, clip_value=1)


def test_a_class_without_rules_may_check_as_it_likes():
    """Alone, and in a class that stands behind the layer."""

    class Noted:
        def __post_init__(self):
            object.__setattr__(self, "seen", True)

    @dataclass(frozen=True)
    class Mixed(Layer, Noted):
        scale: float = field(default=1.0, metadata=number())

    @dataclass(frozen=True)
    class Alone(Layer):
        scale: float = 1.0

        def __post_init__(self):
            assert self.scale

    assert Mixed(2).seen
    assert type(Mixed(2).scale) is float
    assert Alone(2).scale == 2


def test_a_rule_and_a_form_stand_beside_each_other():
    @dataclass(frozen=True)
    class Both(Checked):
        size: float = field(
            default=1.0, metadata=number(above=0) | written_as(lambda n: str(n), float)
        )

    assert describe_fields(Both(2)) == {"size": "2.0"}
    assert build_from_fields(Both, {"size": "2.0"}) == Both(2)
    with pytest.raises(ValueError, match="size must be positive"):
        build_from_fields(Both, {"size": "-1"})


NEEDED = {
    "axes": (1,), "shape": (2,),
    "n_in": 3, "n_out": 2, "n_features": 3, "limit": 1.0, "standard_deviation": 1.0, "every": 1,
    "factor": 0.5,
}  # fmt: skip
"""Values of the fields that have none by themselves."""

ODD = [
    None, "", "x", True, np.True_, float("nan"), float("inf"), -1, 0, 1, 0.5, 10**400, -(10**400),
    2**63, np.float32(0.5), np.float64("nan"), np.uint8(3), np.asarray(0.5), np.asarray([0.5, 0.2]),
    np.asarray([]), [1], [], (), {}, {"a": 1}, object(), 1j, b"1", [None], [[1]], ("fc.weight", 1),
    [float("nan")], float,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_given_is_refused_by_name_or_kept_as_a_value(kind):
    """What is kept can be compared, hashed and pickled: nothing is an array, or holds a list."""
    needed = {one.name: NEEDED[one.name] for one in fields(kind) if one.default is MISSING}
    for one in fields(kind):
        for value in ODD:
            part, problem = made(kind, needed | {one.name: value})
            if part is None:
                assert problem.startswith(f"{kind.__name__}: {one.name}")
                continue
            assert pickle.loads(pickle.dumps(part)) == part == replace(part)
            assert hash(part) == hash(replace(part))
            assert type(getattr(part, one.name)).__module__ != "numpy"


def made(kind, given):
    """An instance; or None, and why there is none."""
    try:
        return kind(**given), ""
    except (TypeError, ValueError) as error:
        return None, str(error)


def test_a_choice_of_two_may_be_numpys():
    part = xpnet.Momentum(0.1, rate_inside=np.True_)
    assert part.rate_inside is True
    assert Dense(2, 3, bias=np.bool_(False)).bias is False
    for wrong in (1, "no", None):
        with pytest.raises(ValueError, match=r"^Adam: epsilon_hat must be True or False, got"):
            xpnet.Adam(epsilon_hat=wrong)


def test_what_must_be_positive_must_be_so_in_the_dtype():
    """What may be 0 need not be one, unless its field says so; in a tuple too."""
    assert names_in_dtype(Part) == ["size", "weights"]
    assert names_in_dtype(xpnet.Adam) == ["learning_rate", "clip_norm", "clip_value", "epsilon"]
    assert names_in_dtype(xpnet.SoftmaxCrossEntropy) == ["class_weight"]
    assert names_in_dtype(int) == []
    check_numbers("float32", Part(shift=1e-50, limit=1e-50, weights=(0.0, 1.0)))
    for wrong in (Part(1e-50), Part(weights=(1.0, 1e-50))):
        with pytest.raises(ValueError, match=r"^Part: \w+ must be 1.18e-38 or more in float32"):
            check_numbers("float32", wrong)
        check_numbers("float64", wrong)
