"""Checkpoints: against the safetensors format itself, and against every kind of damage."""

import errno
import itertools
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xpnet
from xpnet.errors import CheckpointError
from xpnet.saving.tensors import check_arrays, read_tensors, write_tensors

pytestmark = pytest.mark.libraries

ARRAYS = {
    "param/fc1.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "param/fc1.bias": np.array([1 / 3, -0.0]),
    "step": np.array(7, dtype=np.int64),
    "learning_rate": np.array(0.1, dtype=np.float32),
}
METADATA = {"model": {"layers": [{"name": "fc1", "options": {"n_in": 2}}]}, "scale": 0.1, "π": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A file that every example of a property may overwrite."""
    return tmp_path_factory.mktemp("checkpoint") / "model.safetensors"


def content(arrays):
    """Arrays as something that can be compared, down to the bit."""
    return {name: (a.shape, a.dtype, a.tobytes()) for name, a in arrays.items()}


def refused(path, *parts):
    """Check that reading the file is a CheckpointError which names it and says all of `parts`."""
    with pytest.raises(CheckpointError) as info:
        read_tensors(path)
    message = str(info.value)
    assert message.startswith(f"{path}: ")
    for part in parts:
        assert part in message


def read_or_refuse(path):
    """Arrays and metadata, or None where reading is a CheckpointError which names the file."""
    try:
        arrays, metadata = read_tensors(path)
    except CheckpointError as error:
        message = str(error)
    else:
        return content(arrays), metadata
    assert message.startswith(f"{path}: ")
    return None


def parts_of(data):
    """Header and arrays of a safetensors file, taken apart by hand as its specification says."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.pop("__metadata__")
    return metadata, {
        name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


# -- round trip -----------------------------------------------------------------------------------

DTYPES = st.sampled_from(["bool", "uint8", "int32", "int64", "float16", "f4", "f8", ">f4", ">i8"])
ANY_ARRAYS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter("__metadata__".__ne__),
    DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))),
    max_size=4,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | FINITE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(arrays=ANY_ARRAYS, metadata=st.dictionaries(st.text(), JSON, max_size=3))
@settings(deadline=None, max_examples=50)
def test_round_trip(scratch, arrays, metadata):
    metadata.pop("schema", None)
    metadata.pop("sha256", None)
    write_tensors(scratch, arrays, metadata)
    found, found_metadata = read_tensors(scratch)
    native = {name: a.astype(a.dtype.newbyteorder("=")) for name, a in arrays.items()}
    assert content(found) == content(native)
    assert found_metadata == {**metadata, "schema": 1}


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3).T, np.arange(12.0)[::-2], np.asfortranarray(np.eye(2, 3))],
    ids=["transposed", "strided", "Fortran"],
)
def test_layout_in_memory_does_not_matter(path, array):
    write_tensors(path, {"a": array}, {})
    np.testing.assert_array_equal(read_tensors(path)[0]["a"], array)


def test_what_is_read_outlives_the_file_and_may_be_written_to(path):
    write_tensors(path, ARRAYS, METADATA)
    arrays, _ = read_tensors(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert content(arrays) == content(ARRAYS)
    arrays["param/fc1.weight"] += 1


def test_equal_content_is_equal_bytes(path):
    write_tensors(path, ARRAYS, METADATA)
    first = path.read_bytes()
    for _ in range(5):
        write_tensors(path, dict(reversed(ARRAYS.items())), dict(reversed(METADATA.items())))
        assert path.read_bytes() == first
    write_tensors(path, ARRAYS, {**METADATA, "scale": 0.2})
    assert path.read_bytes() != first


# -- the format -----------------------------------------------------------------------------------


def test_the_file_is_what_the_specification_says(path):
    write_tensors(path, ARRAYS, METADATA)
    metadata, arrays = parts_of(path.read_bytes())
    assert arrays == {
        "param/fc1.weight": ("F32", [2, 3], struct.pack("<6f", *(i / 7 for i in range(6)))),
        "param/fc1.bias": ("F64", [2], struct.pack("<2d", 1 / 3, -0.0)),
        "step": ("I64", [], struct.pack("<q", 7)),
        "learning_rate": ("F32", [], struct.pack("<f", 0.1)),
    }
    assert list(metadata) == ["xpnet"]
    assert METADATA.items() <= json.loads(metadata["xpnet"]).items()


def test_safetensors_reads_what_xpnet_writes(path):
    write_tensors(path, ARRAYS, METADATA)
    assert content(safetensors.numpy.load_file(path)) == content(ARRAYS)


def test_torch_is_not_needed(path):
    write_tensors(path, ARRAYS, METADATA)
    code = "from xpnet.saving.tensors import read_tensors as read; import sys; read(sys.argv[1])"
    code += "; assert not {'torch', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, path], check=True)


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_metadata_that_json_cannot_say_is_refused_and_writes_nothing(path, number):
    with pytest.raises(ValueError, match="JSON"):
        write_tensors(path, ARRAYS, {"loss": float(number)})
    assert not list(path.parent.iterdir())


# -- what is wrong --------------------------------------------------------------------------------


def test_a_missing_file_and_a_folder_are_refused(path):
    refused(path, "no such file")
    refused(path.parent, "it is a folder")
    refused(path.with_name("x" * 1000), os.strerror(errno.ENAMETOOLONG))


def test_a_safetensors_file_of_another_program_is_refused(path):
    for metadata in (None, {"format": "pt"}):
        safetensors.numpy.save_file(ARRAYS, path, metadata)
        refused(path, "not one that xpnet wrote")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "metadata is damaged"),
        ("{", "metadata is damaged"),
        ("[1]", "metadata is damaged"),
        ("{}", "metadata is damaged ('schema')"),
        ('{"schema": 1, "a": ' + "[" * 100_000, "metadata is damaged"),
        ('{"schema": 1, "a": 1e999}', "metadata is damaged"),
        ('{"schema": 1, "a": ' + "1" * 5000 + "}", "metadata is damaged"),
        ('{"schema": 1}', "content is damaged"),
        ('{"schema": 2}', "version 2, this xpnet reads version 1: update xpnet"),
        ('{"schema": "1"}', "version '1', this xpnet reads version 1"),
    ],
    ids=lambda value: value[:20],
)
def test_wrong_metadata_is_refused(path, text, part):
    safetensors.numpy.save_file(ARRAYS, path, {"xpnet": text})
    refused(path, part)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F8_E4M3", [2], 2),
        ("BF16", [2], 4),
        ("F4", [2], 1),
        ("X9", [2], 2),
        ("F32", [0, 2**32, 2**32], 0),
        ("F32", [1] * 65, 4),
        ("F32", [2**40], 8),
        ("F32", [-1], 4),
    ],
    ids=str,
)
def test_arrays_that_numpy_cannot_hold_are_refused(path, dtype, shape, size):
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"xpnet": '{"schema": 1}'}, "a": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    refused(path)


@pytest.fixture(scope="module")
def whole(scratch):
    """The bytes of a good file."""
    write_tensors(scratch, ARRAYS, METADATA)
    return scratch.read_bytes()


def test_a_file_cut_anywhere_is_refused(path, whole):
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read_or_refuse(path) is None


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**63, 2**64 - 1])
def test_a_wrong_header_length_is_refused(path, whole, length):
    path.write_bytes(struct.pack("<Q", length) + whole[8:])
    assert read_or_refuse(path) is None


def test_a_flipped_bit_anywhere_in_the_numbers_is_found(path, whole):
    (length,) = struct.unpack("<Q", whole[:8])
    for position, bit in itertools.product(range(8 + length, len(whole)), (1, 128)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        refused(path, "content is damaged: expected SHA-256")


@given(data=st.data())
@settings(deadline=None, max_examples=400)
def test_a_damaged_file_is_refused_or_reads_the_same(scratch, whole, data):
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3), label="number of places")):
        position = data.draw(st.integers(0, len(damaged) - 1), label="position")
        length = data.draw(st.sampled_from([1, 1, 1, 0, 4]), label="bytes taken out")
        damaged[position : position + length] = data.draw(st.binary(max_size=4), label="put in")
    scratch.write_bytes(damaged)
    assert read_or_refuse(scratch) in (None, (content(ARRAYS), {**METADATA, "schema": 1}))


# -- what does not fit the model ------------------------------------------------------------------

SHAPES = {name: array.shape for name, array in ARRAYS.items() if name.startswith("param")}
FITTING = {name: ARRAYS[name] for name in SHAPES}


def misfit(arrays, shapes=SHAPES):
    with pytest.raises(CheckpointError) as info:
        check_arrays("run/model.safetensors", arrays, shapes)
    message = str(info.value)
    assert message.startswith("run/model.safetensors: does not fit the model: ")
    return message.partition("model: ")[2].split("; ")


def test_arrays_that_fit_pass():
    check_arrays("model", FITTING, SHAPES)
    check_arrays("model", FITTING, {name: list(shape) for name, shape in SHAPES.items()})


def test_everything_that_does_not_fit_is_listed():
    arrays = {
        "b": np.zeros(2),
        "a": np.zeros(2),
        "param/fc2.weight": np.zeros((3, 2)),
        "param/fc2.bias": np.zeros(3),
        "param/fc3.bias": np.full(3, np.nan, dtype=np.float32),
    }
    shapes = {
        "param/fc2.weight": (2, 3),
        "param/fc2.bias": (1, 3),
        "param/fc3.bias": (3,),
        "param/fc1.weight": (2, 3),
        "param/fc1.bias": (3,),
    }
    assert misfit(arrays, shapes) == [
        "missing: param/fc1.bias, param/fc1.weight",
        "unexpected: a, b",
        "param/fc2.bias has shape (3,), the model (1, 3)",
        "param/fc2.weight has shape (3, 2), the model (2, 3)",
        "param/fc3.bias (float32) holds what are not finite floating-point numbers",
    ]


@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, np.nan, 1, True, 1j], ids=lambda value: f"{value}"
)
def test_weights_must_be_finite_floating_point_numbers(value):
    bias = np.array([1 if isinstance(value, int) else 0.5, value], dtype=np.asarray(value).dtype)
    (problem,) = misfit({**FITTING, "param/fc1.bias": bias})
    assert (
        problem == f"param/fc1.bias ({bias.dtype}) holds what are not finite floating-point numbers"
    )


def test_a_program_that_only_loads(tmp_path):
    """What `load` needs is there, whatever else has been imported."""
    xpnet.fit(xpnet.mlp(64, 10), xpnet.load_dataset("digits"), epochs=1, backend="numpy").save(
        tmp_path / "a.safetensors"
    )
    code = "import sys, xpnet; print(xpnet.load(sys.argv[1]).model)"
    command = [sys.executable, "-c", code, str(tmp_path / "a.safetensors")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "Sequential(fc1=Dense(64, 10))\n"
