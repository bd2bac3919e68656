"""Networks made again of what the exports wrote, and of the weights of others."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from exporting import EXAMPLES, Square, example_network, inputs_of, network_of, small

import xpnet
from xpnet import BatchNorm, Dense, LayerNorm, ReLU, Sequential
from xpnet.errors import CheckpointError, ExportError
from xpnet.export import save_torch, to_npz, to_torch_state_dict
from xpnet.layers import EVALUATION
from xpnet.random import stream

pytestmark = pytest.mark.libraries

NETWORK = small(fc1=Dense(5, 4), bn=BatchNorm(4), ln=LayerNorm(4), act=ReLU(), fc2=Dense(4, 3))


def assert_same(found, network):
    assert found.model == network.model
    assert list(found.params) == list(network.params)
    assert list(found.buffers) == list(network.buffers)
    for name, value in network.arrays.items():
        assert found.arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(found.arrays[name], value)
    for name in ("sample_shape", "input_dtype", "pixel_maximum", "target_kind"):
        assert getattr(found, name) == getattr(network, name)


def npz(path, arrays, **more):
    np.savez(path, **arrays, **more)
    return path


# -- back to the bit -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_layer_comes_back_to_the_bit(example, dtype, tmp_path):
    network = example_network(example, dtype)
    to_npz(network, tmp_path / "model.npz")
    save_torch(network, tmp_path / "model.torch.safetensors")
    shape = network.sample_shape
    for found in (
        xpnet.Network.from_npz(tmp_path / "model.npz"),
        xpnet.Network.from_torch(tmp_path / "model.torch.safetensors"),
        xpnet.Network.from_torch(
            to_torch_state_dict(network), network.model, sample_shape=shape, input_dtype=dtype
        ),
    ):
        assert_same(found, network)
        for x in inputs_of(example, dtype):
            expected, _ = network.model.forward(np, network.arrays, x, EVALUATION)
            y, _ = found.model.forward(np, found.arrays, x, EVALUATION)
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("name", ["numpy", "torch", "array_api_strict"])
def test_a_trained_network_comes_back_on_every_backend(name, tmp_path):
    if name != "numpy":
        pytest.importorskip(name)
    data = xpnet.load_dataset("digits").limited(300)
    network = xpnet.fit(xpnet.mlp(64, 16, 10, batch_norm=True), data, epochs=1, backend="numpy")
    to_npz(network, tmp_path / "a.npz")
    save_torch(network, tmp_path / "a.safetensors")
    x = data.test.images
    for found in (
        xpnet.Network.from_npz(tmp_path / "a.npz", backend=name),
        xpnet.Network.from_torch(tmp_path / "a.safetensors", backend=name),
    ):
        assert found.backend.name == name
        assert found.sample_shape == (8, 8)
        np.testing.assert_allclose(found.predict_proba(x), network.predict_proba(x), 1e-5, 1e-6)
        if name == "numpy":
            np.testing.assert_array_equal(found.predict_proba(x), network.predict_proba(x))
            found.save(tmp_path / "again.safetensors")
            again = xpnet.load(tmp_path / "again.safetensors")
            np.testing.assert_array_equal(again.predict_proba(x), network.predict_proba(x))


def test_the_dtype_can_be_chosen(tmp_path):
    to_npz(NETWORK, tmp_path / "a.npz")
    save_torch(NETWORK, tmp_path / "a.safetensors")
    for found in (
        xpnet.Network.from_npz(tmp_path / "a.npz", dtype="float64"),
        xpnet.Network.from_torch(tmp_path / "a.safetensors", dtype="float64"),
    ):
        assert {value.dtype for value in found.arrays.values()} == {np.dtype("float64")}
        np.testing.assert_array_equal(found.params["fc1.weight"], NETWORK.params["fc1.weight"])


def test_arrays_of_others_need_the_model(tmp_path):
    """As by numpy.savez, compressed, in another order of bytes and of axes."""
    arrays = {
        name: np.asfortranarray(value).astype(">f8") for name, value in NETWORK.arrays.items()
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with pytest.raises(CheckpointError, match="does not say of which layers it is: give the model"):
        xpnet.Network.from_npz(tmp_path / "a.npz")
    found = xpnet.Network.from_npz(
        tmp_path / "a.npz", model=NETWORK.model, target_kind="values", pixel_maximum=3
    )
    assert (found.target_kind, found.pixel_maximum, found.sample_shape) == ("values", 3.0, None)
    assert found.backend.dtype_name == "float64"
    np.testing.assert_array_equal(found.params["fc1.weight"], NETWORK.params["fc1.weight"])


# -- PyTorch ---------------------------------------------------------------------------------------


def test_the_weights_of_a_module_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential()
    module.add_module("fc1", torch.nn.Linear(5, 4))
    module.add_module("bn", torch.nn.BatchNorm1d(4))
    module.add_module("ln", torch.nn.LayerNorm(4))
    module.add_module("act", torch.nn.ReLU())
    module.add_module("fc2", torch.nn.Linear(4, 3))
    for _ in range(3):
        module(3 * torch.randn(8, 5) + 1)
    module.eval()
    assert int(module.bn.num_batches_tracked) == 3
    x = stream(0, "x").normal(size=(7, 5)).astype("float32")
    expected = module(torch.asarray(x)).detach().numpy()
    network = NETWORK.copy()
    for given in (
        module,
        module.state_dict(),
        dict(module.named_parameters(remove_duplicate=True)),
    ):
        strict = len(given) != 8
        keys = network.load_state_dict(given, strict=strict)
        assert keys == (["bn.running_mean", "bn.running_var"] if not strict else [], [])
        y, _ = network.model.forward(np, network.arrays, x, EVALUATION)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    found = xpnet.Network.from_torch(module.double(), NETWORK.model, backend="torch")
    assert found.backend.dtype_name == "float64"
    half = {name: value.bfloat16() for name, value in module.state_dict().items()}
    found = xpnet.Network.from_torch(half, NETWORK.model)
    assert found.params["fc1.weight"].dtype == np.float32
    np.testing.assert_array_equal(found.params["fc1.bias"], half["fc1.bias"].float().numpy())


def test_what_does_not_fit_is_listed_and_nothing_is_changed():
    state = to_torch_state_dict(NETWORK)
    state["fc1.weight"] = state["fc1.weight"].T + 1
    state["fc2.weight"] = state["fc2.weight"] + 1
    state["module.fc2.bias"] = state.pop("fc2.bias")
    del state["bn.num_batches_tracked"]
    network = NETWORK.copy()
    with pytest.raises(CheckpointError) as raised:
        network.load_state_dict(state)
    assert str(raised.value) == (
        "state_dict: does not fit the model: missing: fc2.bias; unexpected: module.fc2.bias; "
        "fc1.weight has shape (5, 4), the model (4, 5)"
    )
    with pytest.raises(CheckpointError, match=r"model: fc1.weight has shape \(5, 4\)"):
        network.load_state_dict(state, strict=False)
    assert_same(network, NETWORK)
    del state["fc1.weight"]
    keys = network.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["fc1.weight", "fc2.bias"]
    assert keys.unexpected_keys == ["module.fc2.bias"]
    np.testing.assert_array_equal(network.params["fc2.weight"].T, state["fc2.weight"])
    np.testing.assert_array_equal(network.params["fc1.weight"], NETWORK.params["fc1.weight"])


@pytest.mark.parametrize("value", [np.nan, 1e300, "integers"])
def test_numbers_that_a_network_cannot_have_are_refused(value, tmp_path):
    state = to_torch_state_dict(NETWORK, dtype="float64")
    arrays = {name: x.astype("float64") for name, x in NETWORK.arrays.items()}
    for given in (state, arrays):
        given["fc1.bias"] = np.ones(4, "int64") if value == "integers" else np.full(4, value)
    message = (
        "fc1.bias has values that float32 does not" if value == 1e300 else "fc1.bias .* finite"
    )
    network = NETWORK.copy()
    with pytest.raises(CheckpointError, match=message):
        network.load_state_dict(state)
    assert_same(network, NETWORK)
    with pytest.raises(CheckpointError, match=message):
        xpnet.Network.from_torch(state, NETWORK.model, dtype="float32")
    path = npz(tmp_path / "a.npz", arrays)
    with pytest.raises(CheckpointError, match=message):
        xpnet.Network.from_npz(path, model=NETWORK.model, dtype="float32")


def test_layers_of_ones_own(tmp_path):
    def export_square(place, layer):
        place.keep("scales", place.array("factor").reshape(1, -1))
        place.keep("constant", np.eye(2))
        return "Square()"

    network = small(fc=Dense(5, 4), own=Square(4))
    layers = {Square: export_square}
    save_torch(network, tmp_path / "a.safetensors", layers=layers)
    to_npz(network, tmp_path / "a.npz")
    options = {"sample_shape": (5,), "input_dtype": "float32"}
    for given in (str(tmp_path / "a.safetensors"), to_torch_state_dict(network, layers=layers)):
        found = xpnet.Network.from_torch(given, network.model, layers=layers, **options)
        assert_same(found, network)
    assert_same(xpnet.Network.from_npz(tmp_path / "a.npz", model=network.model), network)
    for read, path in (
        (xpnet.Network.from_npz, "a.npz"),
        (xpnet.Network.from_torch, "a.safetensors"),
    ):
        with pytest.raises(CheckpointError, match=r"layers of your own, give model=\.\.\."):
            read(tmp_path / path)

    def export_changed(place, layer):
        place.keep("scales", 2 * place.array("factor"))
        return "Square()"

    with pytest.raises(ExportError, match="does more than to move numbers"):
        network.load_state_dict({}, layers={Square: export_changed})


def test_a_network_without_parameters(tmp_path):
    network = small(act=ReLU())
    to_npz(network, tmp_path / "a.npz")
    save_torch(network, tmp_path / "a.safetensors")
    assert_same(xpnet.Network.from_npz(tmp_path / "a.npz"), network)
    assert_same(xpnet.Network.from_torch(tmp_path / "a.safetensors"), network)
    assert network.load_state_dict({}) == ([], [])


# -- damaged and foreign files ---------------------------------------------------------------------


class Opened:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


def damaged(kind, path):
    """A file at `path`, and what is said of it."""
    to_npz(NETWORK, path)
    content = path.read_bytes()
    arrays = {name: np.asarray(value) for name, value in NETWORK.arrays.items()}
    if kind == "missing":
        path.unlink()
        return "there is no such file"
    if kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "changed":
        place = content.index(NETWORK.params["fc1.weight"].tobytes()[:16])
        path.write_bytes(content[:place] + b"\0" + content[place + 1 :])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Opened()))
    elif kind == "npy":
        np.save(path.with_suffix(".npy"), np.ones(3))
        path.write_bytes(path.with_suffix(".npy").read_bytes())
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "objects":
        arrays["fc1.bias"] = np.asarray([Opened()], dtype=object)
        npz(path, arrays)
        return "holds Python objects, which can run code"
    elif kind == "pytorch":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps(Opened()))
        return r"a file of PyTorch can run code .* weights_only=True"
    elif kind == "bomb":
        npz(path, arrays)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros.npy", bytes(10**7))
        return "can be packed so densely"
    elif kind == "header":
        head = io.BytesIO()
        with zipfile.ZipFile(path, "w") as file:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**9)}
            np.lib.format.write_array_header_1_0(head, shape)
            file.writestr("fc1.weight.npy", head.getvalue())
        return "has not the size that its header says"
    return "not a readable .npz file"


@pytest.mark.parametrize(
    "kind",
    [
        "missing", "cut", "changed", "pickle", "npy", "empty", "objects", "pytorch", "bomb",
        "header",
    ],
)  # fmt: skip
def test_damaged_and_foreign_npz_files(kind, tmp_path):
    message = damaged(kind, tmp_path / "a.npz")
    with pytest.raises(CheckpointError, match=message) as raised:
        xpnet.Network.from_npz(tmp_path / "a.npz", model=NETWORK.model)
    assert str(raised.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"model": 3},
        {"model": {"layer": "Dense", "options": {"n_in": 10**9, "n_out": 10**9}}},
        {"model": {"layer": "Dense", "options": {"n_in": 10**400, "n_out": 1}}},
        {"model": {"layer": ["Dense"], "options": {}}},
        {"model": {"layer": "\x1b[2Jx", "options": {}}},
        {"sample_shape": 5},
        {"sample_shape": [-5]},
        {"sample_shape": [10**400]},
        {"pixel_maximum": 0},
        {"pixel_maximum": "16"},
        {"dtype": "object"},
        {"target_kind": ["classes"]},
        {"input_dtype": 3},
    ],
    ids=lambda change: repr(change)[:60],
)
def test_forged_descriptions(change, tmp_path):
    to_npz(NETWORK, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    text = json.dumps({**json.loads(str(arrays.pop("xpnet"))), **change})
    npz(tmp_path / "b.npz", arrays, xpnet=np.asarray(text))
    from safetensors.numpy import save_file

    save_file(to_torch_state_dict(NETWORK), tmp_path / "b.safetensors", {"network": text})
    for read, name in (
        (xpnet.Network.from_npz, "b.npz"),
        (xpnet.Network.from_torch, "b.safetensors"),
    ):
        with pytest.raises(CheckpointError) as raised:
            read(tmp_path / name)
        said = str(raised.value).removeprefix(str(tmp_path))
        assert said.isprintable()
        assert len(said) < 700


@pytest.mark.parametrize("code", [0xD800, 0x110000, 0xFFFFFFFF])
def test_a_description_of_characters_that_are_none(code, tmp_path):
    np.savez(tmp_path / "a.npz", xpnet=np.array(code, dtype="<u4").view("<U1"))
    with pytest.raises(CheckpointError, match=r"not a readable \.npz file"):
        xpnet.Network.from_npz(tmp_path / "a.npz")


def test_a_description_is_not_read_at_any_size(tmp_path, monkeypatch):
    to_npz(NETWORK, tmp_path / "a.npz")
    monkeypatch.setattr("xpnet.network.npz._LARGEST_TEXT", 400)
    with pytest.raises(CheckpointError, match=r"a description of \d,?\d* bytes"):
        xpnet.Network.from_npz(tmp_path / "a.npz")


def test_a_description_in_the_other_byte_order(tmp_path):
    to_npz(NETWORK, tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    arrays["xpnet"] = arrays["xpnet"].astype(arrays["xpnet"].dtype.newbyteorder())
    np.savez(tmp_path / "b.npz", **arrays)
    assert_same(xpnet.Network.from_npz(tmp_path / "b.npz"), NETWORK)


def test_npz_files_of_other_models(tmp_path):
    to_npz(small(fc1=Dense(5, 4), other=Dense(4, 2)), tmp_path / "a.npz")
    with pytest.raises(
        CheckpointError, match=r"missing: bn.scale, bn.bias, ln.scale, ln.bias, fc2"
    ):
        xpnet.Network.from_npz(tmp_path / "a.npz", model=NETWORK.model)
    with pytest.raises(CheckpointError, match=r"model: unexpected: other.weight, other.bias$"):
        xpnet.Network.from_npz(tmp_path / "a.npz", model=Sequential(fc1=Dense(5, 4)))
    with pytest.raises(CheckpointError, match=r"fc1.weight has shape \(5, 4\), the model \(5, 3\)"):
        xpnet.Network.from_npz(tmp_path / "a.npz", model=Sequential(fc1=Dense(5, 3)))


def test_files_that_are_not_pytorchs(tmp_path):
    read = xpnet.Network.from_torch
    with pytest.raises(CheckpointError, match="there is no such file"):
        read(tmp_path / "a.safetensors", NETWORK.model)
    NETWORK.save(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="a network that xpnet saved: read it with xpnet"):
        read(tmp_path / "a.safetensors")
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    brain = {name: torch.asarray(x).bfloat16() for name, x in to_torch_state_dict(NETWORK).items()}
    save_file(brain, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"give what safetensors.torch.load_file\(path\) ret"):
        read(tmp_path / "b.safetensors", NETWORK.model)


def test_pickles_and_other_things_are_no_state_dicts(tmp_path):
    read = xpnet.Network.from_torch
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Opened()))
    with pytest.raises(CheckpointError, match=r"torch.load\(..., weights_only=True\)"):
        read(tmp_path / "a.pt", NETWORK.model)
    with pytest.raises(CheckpointError, match="does not say of which layers it is"):
        read(to_torch_state_dict(NETWORK))
    for wrong in (3, [1, 2], None):
        with pytest.raises(TypeError, match=r"must be a module of PyTorch, its state_dict\(\) or"):
            NETWORK.copy().load_state_dict(wrong)


def test_a_network_of_one_layer_has_names_without_dots():
    layer = Dense(5, 3)
    network = network_of(layer, layer.init(0))
    assert network.load_state_dict({"weight": np.ones((3, 5)), "bias": np.zeros(3)}) == ([], [])
    np.testing.assert_array_equal(network.params["weight"], np.ones((5, 3)))
