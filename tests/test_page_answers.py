"""What the page is told of a drawing: the same as `predict` says of its picture."""

import base64
import json
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from drawing import ONE, SEVEN, digits_network, drawn, pixels

import xpnet
from xpnet import Dense, Flatten, Network, ReLU, Sequential
from xpnet.backends import open_backend
from xpnet.data import Framing
from xpnet.data.picture_shape import PictureShape
from xpnet.errors import DataError
from xpnet.models import build_model
from xpnet.page import Answers, look_inside
from xpnet.random import stream

pytestmark = pytest.mark.libraries

pytest.importorskip("PIL", reason="pictures are prepared with Pillow")


def network(shape, outputs, kind="classes", **options):
    """A network of drawn parameters for samples of this shape."""
    n_in = int(np.prod(shape))
    model = Sequential(fc1=Dense(n_in, 12), act1=ReLU(), fc2=Dense(12, outputs))
    params = {
        name: stream(0, name).normal(size=size) / 4
        for name, size in model.parameter_shapes().items()
    }
    opened = open_backend("numpy", dtype="float64")
    return Network(model, params, opened, sample_shape=shape, target_kind=kind, **options)


def asked(network, lines=SEVEN):
    answers = Answers(network)
    answer = answers.answer(drawn(lines, answers).tobytes())
    json.dumps(answer, allow_nan=False)
    return answer


def test_a_drawing_is_answered_as_its_picture_is(tmp_path):
    from PIL import Image

    net = digits_network()
    answers = Answers(net, "digits")
    for name, lines in [("seven", SEVEN), ("one", ONE)]:
        drawing = drawn(lines, answers)
        Image.fromarray(drawing).save(tmp_path / f"{name}.png")
        (expected,) = net.predict_pictures(tmp_path / f"{name}.png")
        answer = answers.answer(drawing.tobytes())
        numbers = [output["value"] for output in answer["outputs"]]
        np.testing.assert_allclose(numbers, expected.probabilities, rtol=0, atol=1e-12)
        assert answer["best"] == [expected.prediction]
        seen = np.rint(255 * expected.prepared.sample)
        np.testing.assert_array_equal(pixels(answer["seen"]), seen)
        assert answer["problem"] is None


def convolutional(name, shape):
    model = build_model(name, shape, 4)
    backend = open_backend("numpy", dtype="float64")
    return Network(model, model.init(0), backend, sample_shape=shape)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (3, 28, 28)])
@pytest.mark.parametrize("name", ["lenet5", "small_cnn", "resnet8"])
def test_of_convolutions_the_maps_are_shown(name, shape):
    """Side by side, with a line between two; and the strongest unit of each."""
    net = convolutional(name, shape)
    found, answer = Answers(net).description, asked(net)
    (x,) = PictureShape.of(shape).samples(pixels(answer["seen"])[None] / 255)
    numbers = [output["value"] for output in answer["outputs"]]
    # What is shown of the picture has a byte for each number, and what is asked about more.
    np.testing.assert_allclose(numbers, net.predict_proba(x[None])[0], atol=0.01)
    first, said = found["layers"][0], answer["layers"][0]
    (inside, *_) = look_inside(net, x)
    height, width, channels = inside.shape
    assert (first["channels"], first["units"]) == (channels, height * width * channels)
    shown = np.array(said["values"]).reshape(-1, first["columns"])
    if height * width * channels < 2000:
        maps = inside.values.reshape(inside.shape)
        np.testing.assert_allclose(shown[:height, :width], maps[..., 0], atol=0.05)
        np.testing.assert_allclose(shown[:height, width + 1 : 2 * width + 1], maps[..., 1],
                                   atol=0.05)  # fmt: skip
    else:
        assert shown.size <= 4096  # of many units each is the mean of a few
    assert len({unit["number"] % channels for unit in said["strongest"]}) == first["pictures"]
    last = found["layers"][-1]
    assert (last["columns"], last["channels"], last["units"]) == (None, None, 4)
    assert last["unit_names"] == list("0123")


def test_what_is_said_before_anything_is_drawn():
    found = Answers(digits_network(), "runs/\x1b[31mred").description
    json.dumps(found, allow_nan=False)
    assert found["title"] == "runs/\\x1b[31mred"
    assert found["sheet"] == {"height": 336, "width": 336}
    assert found["seen"] == {"height": 8, "width": 8, "channels": 1}
    assert found["outputs"] == list("0123456789")
    assert [layer["units"] for layer in found["layers"]] == [48, 10]
    assert [layer["names"] for layer in found["layers"]] == ["fc1, act1", "fc2"]
    assert "8 × 8" in found["summary"]
    assert "numpy" in found["summary"]


def test_a_blank_drawing_is_said_to_be_blank():
    answers = Answers(digits_network())
    answer = answers.answer(bytes(answers.size[0] * answers.size[1]))
    assert "blank" in answer["problem"]
    assert "outputs" not in answer


def test_the_names_of_classes():
    answer = asked(network((8, 8), 3, classes=["ant", "bee", "cow"]))
    assert [output["name"] for output in answer["outputs"]] == ["ant", "bee", "cow"]
    (best,) = answer["best"]
    assert answer["outputs"][best]["value"] == max(o["value"] for o in answer["outputs"])


def test_two_classes_of_one_output():
    net = network((8, 8), 1, "multilabel", classes=["no", "yes"], target_shape=())
    answers = Answers(net)
    assert answers.description["kind"] == "classes"
    assert answers.description["layers"][-1]["unit_names"] == ["yes"]
    first, second = answers.answer(drawn(SEVEN, answers).tobytes())["outputs"]
    assert (first["name"], second["name"]) == ("no", "yes")
    assert first["value"] + second["value"] == pytest.approx(1)


def test_several_labels_and_values():
    answer = asked(network((8, 8), 5, "multilabel"))
    assert answer["best"] == [i for i, o in enumerate(answer["outputs"]) if o["value"] > 0.5]
    assert 0 < len(answer["best"]) < 5
    answer = asked(network((8, 8), 2, "values"))
    assert answer["best"] == []
    assert any(not 0 <= output["value"] <= 1 for output in answer["outputs"])


@pytest.mark.parametrize(
    ("shape", "field"),
    [((8, 8), (280, 280)), ((28, 28), (280, 280)), ((20, 40), (140, 280)), ((128, 64), (512, 256))],
)
def test_the_field_has_the_proportions_of_the_pictures(shape, field):
    answers = Answers(network(shape, 3))
    assert answers.size == field
    answer = answers.answer(drawn(SEVEN, answers).tobytes())
    assert (answer["seen"]["height"], answer["seen"]["width"]) == shape
    size = answers.description["weights"]
    assert max(size["height"], size["width"]) <= 64


@pytest.mark.parametrize("shape", [(12, 10, 3), (3, 12, 10), (12, 10, 1)])
def test_networks_for_colours_see_the_same_grey_in_each(shape):
    """White ink is white in every order of the axes; the weights have the colours last."""
    net = network(shape, 4)
    answers = Answers(net)
    answer = answers.answer(drawn(SEVEN, answers).tobytes())
    grey = pixels(answer["seen"]) / 255
    axis = shape.index(3) if 3 in shape else shape.index(1)
    sample = np.broadcast_to(np.expand_dims(grey, axis), shape)
    numbers = [output["value"] for output in answer["outputs"]]
    np.testing.assert_allclose(numbers, net.predict_proba(sample[None])[0], atol=0.01)
    assert answers.description["weights"]["channels"] == shape[axis]
    strongest = answer["layers"][0]["strongest"][0]
    weights = net.params["fc1.weight"][:, strongest["number"]].reshape(shape)
    expected = np.rint(127 * np.moveaxis(weights, axis, -1) / np.abs(weights).max())
    found = np.frombuffer(base64.b64decode(strongest["picture"]), np.int8)
    np.testing.assert_array_equal(found, expected.ravel())


def test_of_very_many_outputs_the_most_probable_are_said():
    answer = asked(network((8, 8), 1500))
    values = [output["value"] for output in answer["outputs"]]
    assert len(values) == 1000
    names = [int(output["name"]) for output in answer["outputs"]]
    assert names == sorted(names)
    assert values[answer["best"][0]] == max(values)
    assert len(answer["layers"][-1]["values"]) == 1500


@pytest.mark.parametrize("shape", [None, (64,), (2, 8, 8), (4, 8, 8, 3)])
def test_a_network_that_is_not_for_pictures_is_refused(shape):
    net = network((8, 8) if shape is None else shape, 3)
    net.sample_shape = shape
    with pytest.raises(DataError, match="not pictures"):
        Answers(net)


def test_a_drawing_of_another_size_is_refused():
    with pytest.raises(DataError, match=r"336 x 336 bytes, not 5"):
        Answers(digits_network()).answer(b"12345")


def test_numbers_that_are_not_finite_are_refused():
    net = network((8, 8), 3)
    answers = Answers(net)
    net.params["fc2.bias"] = net.params["fc2.bias"] * np.nan
    with pytest.raises(DataError, match="no finite numbers"):
        answers.answer(drawn(SEVEN, answers).tobytes())


def test_a_colour_network_is_read_again_from_its_file(tmp_path):
    network((12, 10, 3), 4).save(tmp_path / "colours.safetensors")
    again = xpnet.load(tmp_path / "colours.safetensors", backend="numpy")
    assert Answers(again).size == (280, 233)


def test_whatever_is_drawn_ink_is_told_from_paper():
    """Also where the field is more ink than paper: the margin is paper."""
    answers = Answers(digits_network())
    large = [((0, 0.25), (1, 0.25)), ((0, 0.6), (1, 0.6)), ((0.5, 0), (0.5, 1))]
    drawing = drawn(large, answers, 0.3)
    assert (drawing > 0).mean() >= 0.5
    seen = pixels(answers.answer(drawing.tobytes())["seen"])
    assert seen[:, 0].mean() < seen[:, 4].mean()
    assert sorted(seen.mean(axis=1))[-2] > 200  # the two bars
    assert seen[-1].mean() < 50


@pytest.mark.parametrize("module", ["PIL", "scipy"])
def test_what_is_not_installed_is_named(module, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"pip install 'xpnet\[image\]'"):
        Answers(digits_network())


def test_every_backend_says_the_same(other_backend):
    """Also in another thread than that where it was opened."""
    here = digits_network()
    drawing = drawn(SEVEN, Answers(here)).tobytes()
    expected = Answers(here).answer(drawing)
    opened = open_backend(other_backend)
    with opened.scope():
        params = {name: opened.asarray(value) for name, value in here.params.items()}
        there = Network(
            here.model,
            params,
            opened,
            sample_shape=(8, 8),
            pixel_maximum=16.0,
            framing=here.framing,
        )
    answers, found = Answers(there), {}
    thread = threading.Thread(target=lambda: found.update(answers.answer(drawing)))
    thread.start()
    thread.join()
    for key in ("problem", "seen", "best"):
        assert found[key] == expected[key]
    for key in ("outputs", "layers"):
        ours, theirs = (list(numbers(answer[key])) for answer in (expected, found))
        np.testing.assert_allclose(theirs, ours, atol=1e-3)


def numbers(found):
    """All numbers in JSON values, but for the order of units that are as strong."""
    if isinstance(found, dict):
        found = [value for key, value in found.items() if key not in ("name", "picture")]
    if isinstance(found, list):
        for value in found:
            yield from numbers(value)
    else:
        yield found


def test_of_networks_of_dark_ink_and_of_other_numbers(tmp_path):
    """Of paper that is white, and samples from -1 to 1: as `predict` prepares for them."""
    from PIL import Image

    framing = Framing((16, 16), "box", (10.0, 10.0), paper=1, black=-1.0, white=1.0)
    net = network((20, 20), 4, framing=framing)
    answers = Answers(net)
    drawing = drawn(SEVEN, answers)
    Image.fromarray(drawing).save(tmp_path / "seven.png")
    (expected,) = net.predict_pictures(tmp_path / "seven.png")
    answer = answers.answer(drawing.tobytes())
    found = [output["value"] for output in answer["outputs"]]
    np.testing.assert_allclose(found, expected.probabilities, rtol=0, atol=1e-12)
    assert pixels(answer["seen"])[0, 0] == 255


def test_a_small_file_does_not_make_much_of_little():
    """Of four million outputs few units are looked at: they take memory, and the file is small."""
    model = Sequential(flat=Flatten((1024, 2048)), act=ReLU())
    net = Network(model, {}, open_backend("numpy"), sample_shape=(1024, 2048), target_kind="values")
    tracemalloc.start()
    try:
        answers = Answers(net)
        answer = answers.answer(drawn(SEVEN, answers, 0.02).tobytes())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500e6
    assert len(json.dumps(answer)) + len(json.dumps(answers.description)) < 1e6
    assert len(answer["layers"][0]["strongest"]) == 2
