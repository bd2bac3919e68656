"""Parts of a network as JSON values, and back."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from xpnet import (
    Checkpoint,
    CheckpointError,
    Dense,
    Huber,
    LeakyReLU,
    MaxNorm,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
)
from xpnet.descriptions import (
    build_from_fields,
    describe_fields,
    named_classes,
    same_description,
    same_in_words,
    written_as,
)
from xpnet.initializers import Normal, he_normal, orthogonal
from xpnet.layers import Layer, build_layer, describe_layer
from xpnet.losses import build_loss, describe_loss


@dataclass(frozen=True)
class Part:
    """A part with another part in it, which is written by its number alone."""

    name = "part"
    size: int
    inner: Huber | None = field(
        default=Huber(), metadata=written_as(lambda loss: loss.delta, lambda delta: Huber(delta))
    )


@pytest.mark.parametrize("part", [Part(3), Part(3, Huber(2.5)), Part(3, None)])
def test_a_field_is_written_as_it_says(part):
    options = json.loads(json.dumps(describe_fields(part)))
    assert options == {"size": 3, "inner": None if part.inner is None else part.inner.delta}
    assert build_from_fields(Part, options) == part


def test_what_is_not_described_is_as_the_class_has_it():
    assert build_from_fields(Part, {"size": 3}) == Part(3)
    with pytest.raises(TypeError, match="size"):
        build_from_fields(Part, {})
    with pytest.raises(TypeError, match="colour"):
        build_from_fields(Part, {"size": 3, "colour": "red"})


def test_what_is_no_dataclass_is_described_by_its_attributes():
    class Plain:
        def __init__(self, size):
            self.size = size

    assert describe_fields(Plain(2)) == {"size": 2}
    assert build_from_fields(Plain, {"size": 2}).size == 2


def test_what_is_described_is_what_a_part_is_made_with():
    """In slots too, and without what it has worked out of that."""

    @dataclass(frozen=True, slots=True)
    class Slots:
        size: int

    @dataclass(frozen=True)
    class Doubled:
        size: int
        double: int = field(init=False)

        def __post_init__(self):
            object.__setattr__(self, "double", 2 * self.size)
            object.__setattr__(self, "_table", object())

    for part in (Slots(2), Doubled(2)):
        assert describe_fields(part) == {"size": 2}
        assert build_from_fields(type(part), {"size": 2}) == part


def test_a_class_with_a_constructor_of_its_own_keeps_its_attributes():
    class Named(Part):
        def __init__(self, size, colour):
            super().__init__(size)
            object.__setattr__(self, "colour", colour)

    assert describe_fields(Named(2, "red")) == {"size": 2, "inner": 1.0, "colour": "red"}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            Dense(2, 3, Normal(0.1), False, MaxNorm(2.0)),
            {
                "layer": "Dense",
                "options": {
                    "n_in": 2,
                    "n_out": 3,
                    "init_weight": {"initializer": "Normal", "standard_deviation": 0.1},
                    "bias": False,
                    "constraint": {"constraint": "MaxNorm", "options": {"limit": 2.0}},
                },
            },
        ),
        (LeakyReLU(0.2), {"layer": "LeakyReLU", "options": {"slope": 0.2}}),
        (
            SoftmaxCrossEntropy(0.1, {1: 2.0}),
            {
                "loss": "softmax_cross_entropy",
                "options": {"label_smoothing": 0.1, "class_weight": [[1, 2.0]]},
            },
        ),
    ],
    ids=["layer", "activation", "loss"],
)
def test_the_form_in_files_is_what_it_was(part, expected):
    describe, build = (
        (describe_loss, build_loss) if "loss" in expected else (describe_layer, build_layer)
    )
    assert json.loads(json.dumps(describe(part))) == expected
    assert build(expected) == part


def test_a_dense_layer_of_an_older_file():
    """From before there were layers without a bias, and constraints."""
    old = {"layer": "Dense", "options": {"n_in": 2, "n_out": 3, "init_weight": "he_normal"}}
    assert build_layer(old) == Dense(2, 3, he_normal)


def test_classes_are_named_by_themselves_and_not_by_what_they_are_made_of():
    class Child(Part):
        pass

    class Other(Part):
        name = "other"

    assert named_classes({"a": Part, "b": Child, "c": Other, "d": 3, "e": Huber}, Part) == {
        "part": Part, "other": Other,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": [1, {"b": 0}]}, {"a": [1.0, {"b": 0.0}]}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": 1}, {"b": 1}, False),
        ([1, 2], [1], False),
        ([1, 2], [2, 1], False),
        ([1], {"0": 1}, False),
        ({"bias": True}, {"bias": 1}, False),
        (0.0, False, False),
        (True, True, True),
        (None, 0, False),
        ("1", "1.0", False),  # the label of a class
        ("1", 1, False),
        (2**53, float(2**53), True),
        (2**53 + 1, float(2**53), False),
    ],
)
def test_descriptions_are_compared_by_value(one, other, same):
    assert same_description(one, other) is same
    assert same_description(other, one) is same


def test_the_depth_of_a_description_has_no_end():
    one, other = [1], [1.0]
    for _ in range(100_000):
        one, other = [one], [other]
    assert same_description(one, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Loss(smoothing=0, weight=None)", "Loss(smoothing=0.0, weight=None)", True),
        ("Loss(weight=(1, 2))", "Loss(weight=(1.0, 2.0))", True),
        ("Adam(rate=1e-08)", "Adam(rate=0.00000001)", True),
        ("Adam(rate=1e-08)", "Adam(rate=1e+08)", False),
        ("SGD(0.1)", "SGD(-0.1)", False),
        ("SGD(0.1)", "SGD(0.2)", False),
        ("SGD(0.1)", "SGD(0.1, l2=0.0)", False),
        ("SGD(nesterov=True)", "SGD(nesterov=1)", False),
        ("Named('1')", "Named('1.0')", False),
        ('Named("it\'s 1")', 'Named("it\'s 1.0")', False),
        (r"Named('\'1')", r"Named('\'1.0')", False),
        ("Named('a', 1)", "Named('a', 1.0)", True),
        ("Named('1", "Named('1.0", False),
        ("layer1.0", "layer1", False),
        ("v1", "v1.0", False),
        ("<f at 1>", "<f at 1.0>", True),
        ("int(16)", "int(0x10)", False),
        ("int(%s)" % ("1" * 5000), "int(%s.0)" % ("1" * 5000), False),
    ],
)
def test_numbers_in_words_are_compared_by_value(one, other, same):
    assert same_in_words(one, other) is same
    assert same_in_words(other, one) is same
    assert same_in_words(one, one)


@dataclass(frozen=True)
class Kept(Layer):
    """A layer of one's own that may be made with anything."""

    thing: object

    def forward(self, xp, params, x, ctx):
        return x, ()

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        return dy, {}


@pytest.mark.parametrize(
    ("thing", "other", "described"),
    [
        (np.float32(0.5), 0.25, 0.5),
        (np.arange(3), np.arange(4), [0, 1, 2]),
        ((1, (2, np.int8(3))), (1, 2), [1, [2, 3]]),
        ({1: np.True_}, {1: False}, {"1": True}),
        ({"b", "a"}, {"a"}, ["a", "b"]),
        (float("nan"), 0.0, "nan"),
        (float("-inf"), float("inf"), "-inf"),
        (Path("a"), Path("b"), repr(Path("a"))),
        (he_normal, orthogonal, "xpnet.initializers.he_normal"),
        (None, 0, None),
    ],
)
def test_a_network_with_any_layer_can_be_saved_and_gone_on_with(thing, other, described, tmp_path):
    """A training is not lost because of what a layer of one's own holds."""
    model = Sequential(kept=Kept(thing), fc=Dense(4, 3))
    assert describe_layer(model)["options"]["layers"][0]["options"] == {"thing": described}
    x, y = np.linspace(0, 1, 32).reshape(8, 4), np.arange(8) % 3
    file = tmp_path / "training.safetensors"
    asked = {"epochs": 2, "backend": "numpy"}
    fit(model, (x, y), stop_after=1, callbacks=[Checkpoint(file)], **asked)
    network = fit(model, (x, y), resume=file, **asked)
    network.save(tmp_path / "network")
    again = load(tmp_path / "network", model=model)
    np.testing.assert_array_equal(again.params["fc.weight"], network.params["fc.weight"])
    changed = Sequential(kept=Kept(other), fc=Dense(4, 3))
    with pytest.raises(CheckpointError, match=r"model was .*kept.*, and is"):
        fit(changed, (x, y), resume=file, **asked)
