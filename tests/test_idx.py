"""The IDX reader and writer, against bytes put together by hand."""

import gzip
import math
import os
import random
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet.data.idx import idx_header, read_idx, write_idx
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

# The type codes of the format, and the letters that `struct` has for the same types.
TYPES = {
    "uint8": (0x08, "B"),
    "int8": (0x09, "b"),
    "int16": (0x0B, "h"),
    "int32": (0x0C, "i"),
    "float32": (0x0D, "f"),
    "float64": (0x0E, "d"),
}
VALUES = {
    "uint8": [0, 1, 127, 128, 255],
    "int8": [0, 1, -1, 127, -128],
    "int16": [0, 1, -2, 32767, -32768],
    "int32": [0, 1, -2, 2**31 - 1, -(2**31)],
    "float32": [0.0, 1.5, -2.25, math.inf, 2.0**-140],
    "float64": [-0.0, 1 / 3, -2.25, -math.inf, 5e-324],
}
SHAPES = [(), (1,), (7,), (2, 3), (2, 1, 3), (2, 2, 2, 2), (1, 2, 1, 3, 2), (0,), (0, 28, 28)]
PACKINGS = {"plain": lambda content: content, "gz": lambda content: gzip.compress(content)}


def header(dtype, *shape):
    return struct.pack(f">4B{len(shape)}I", 0, 0, TYPES[dtype][0], len(shape), *shape)


def idx_bytes(dtype, shape, values):
    return header(dtype, *shape) + struct.pack(f">{len(values)}{TYPES[dtype][1]}", *values)


LABELS = idx_bytes("uint8", (5,), [5, 0, 4, 1, 9])
PIXELS = idx_bytes("int16", (2, 3), range(6))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A file that every example of a property may overwrite."""
    return tmp_path_factory.mktemp("idx") / "values"


def refused(path, *parts):
    """Check that reading the file is a DataError which names it and says all of `parts`."""
    with pytest.raises(DataError) as info:
        read_idx(path)
    message = str(info.value)
    assert message.startswith(f"{path}: ")
    for part in parts:
        assert part in message


def read_or_refuse(path):
    """The values, or None where reading the file is a DataError which names it."""
    try:
        return read_idx(path)
    except DataError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    return None


# -- what is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", TYPES)
def test_reads_what_struct_wrote(tmp_path, dtype, shape, packing):
    size = math.prod(shape)
    values = (VALUES[dtype] * size)[:size]
    path = tmp_path / "values"
    path.write_bytes(PACKINGS[packing](idx_bytes(dtype, shape, values)))
    found = read_idx(path)
    assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
    assert found.dtype.isnative
    assert found.tobytes() == struct.pack(f"={size}{TYPES[dtype][1]}", *values)


@pytest.mark.parametrize("dtype", TYPES)
def test_writes_what_struct_wrote(tmp_path, dtype):
    expected = idx_bytes(dtype, (5, 1), VALUES[dtype])
    values = np.array(VALUES[dtype], dtype=dtype).reshape(5, 1)
    for name, unpack in {"values": bytes, "values.gz": gzip.decompress}.items():
        write_idx(tmp_path / name, values)
        assert unpack((tmp_path / name).read_bytes()) == expected


def test_a_file_of_mnist_labels_byte_for_byte(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes.fromhex("0000 0801 0000 0003 05 00 04"))
    assert read_idx(path).tolist() == [5, 0, 4]


@given(
    values=st.sampled_from(sorted(TYPES)).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0))
    ),
    suffix=st.sampled_from(["", ".gz"]),
)
@settings(deadline=None)
def test_round_trip(scratch, values, suffix):
    path = scratch.with_name(f"round_trip{suffix}")
    write_idx(path, values)
    found = read_idx(path)
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert found.tobytes() == values.tobytes()  # NaN equal to itself
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (suffix == ".gz")


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.int16).reshape(3, 2).T,
        np.arange(12, dtype=np.int16).reshape(2, 6)[:, ::-2],
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.arange(6, dtype="<i2").reshape(2, 3),
    ],
    ids=["transposed", "strided", "big-endian", "little-endian"],
)
def test_layout_in_memory_does_not_matter(tmp_path, values):
    write_idx(tmp_path / "values", values)
    assert read_idx(tmp_path / "values").tolist() == values.tolist()


def test_equal_arrays_are_equal_gz_files(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_idx(tmp_path / name, np.arange(5, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_gz_is_seen_from_the_content_not_the_name(tmp_path):
    (tmp_path / "labels.gz").write_bytes(LABELS)
    (tmp_path / "labels").write_bytes(gzip.compress(LABELS))
    assert read_idx(tmp_path / "labels.gz").tolist() == [5, 0, 4, 1, 9]
    assert read_idx(str(tmp_path / "labels")).tolist() == [5, 0, 4, 1, 9]


# -- what cannot be written -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float16", "bool", "complex64", "object"])
def test_a_dtype_without_a_code_cannot_be_written(tmp_path, dtype):
    with pytest.raises(DataError, match=rf"no code for {dtype}.*uint8.*float64"):
        write_idx(tmp_path / "values", np.zeros(3, dtype=dtype))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(1,) * 33, (2**32,)], ids=["33 axes", "an axis of 2**32"])
def test_a_shape_that_the_header_cannot_say_cannot_be_written(shape):
    with pytest.raises(DataError, match="cannot hold an array of shape"):
        idx_header(np.broadcast_to(np.uint8(0), shape))


# -- what is wrong --------------------------------------------------------------------------------

WRONG = {
    "empty": (b"", "not an IDX file", "found an empty file"),
    "one byte": (b"\0", "not an IDX file", "found 00"),
    "no number of axes": (b"\0\0\x08", "not an IDX file", "found 00 00 08"),
    "first byte": (b"\1\0\x08\1", "expected the bytes 00 00", "found 01 00 08 01"),
    "second byte": (b"\0\1\x08\1", "expected the bytes 00 00", "found 00 01 08 01"),
    "type code": (b"\0\0\x0a\1", "08, 09, 0b, 0c, 0d, 0e", "found 00 00 0a 01"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "not an IDX file", "found 89 50 4e 47"),
    "no sizes": (b"\0\0\x08\2", "header of 2 axes takes 12 bytes", "ends after 4"),
    "half the sizes": (PIXELS[:9], "header of 2 axes takes 12 bytes", "ends after 9"),
    "too many axes": (header("uint8", *[1] * 33) + b"\0", "33 axes are more than the 32 supported"),
    "no values": (LABELS[:8], "truncated", "5 uint8 (5 bytes)", "holds 0 bytes"),
    "a value short": (LABELS[:-1], "truncated", "5 uint8 (5 bytes)", "holds 4 bytes"),
    "a byte short": (PIXELS[:-1], "truncated", "2 x 3 int16 (12 bytes)", "holds 11 bytes"),
    "no scalar": (header("float32"), "float32 (4 bytes)", "holds 0 bytes"),
    "a byte more": (LABELS + b"\0", "trailing bytes", "5 uint8 (5 bytes)"),
    "values after none": (header("uint8", 0, 28, 28) + b"\0", "trailing", "0 x 28 x 28 uint8"),
    "no array has the shape": (header("uint8", 0, 2**32 - 1, 2**32 - 1), "no array can have"),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_content_is_refused(tmp_path, case, packing):
    content, *parts = WRONG[case]
    path = tmp_path / "wrong-idx"
    path.write_bytes(PACKINGS[packing](content))
    refused(path, *parts)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "missing", "cannot be read", os.strerror(2))
    refused(tmp_path, "cannot be read")


def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(LABELS)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user (root?) may read every file")
    refused(path, "cannot be read", os.strerror(13))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("content", [LABELS, PIXELS], ids=["labels", "pixels"])
def test_a_file_cut_anywhere_is_refused(tmp_path, content, packing):
    path = tmp_path / "cut"
    content = PACKINGS[packing](content)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(path)


def test_a_gz_file_with_any_bit_flipped_is_refused_or_reads_the_same(tmp_path):
    path = tmp_path / "flipped.gz"
    whole = gzip.compress(LABELS, mtime=0)
    for position in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        values = read_or_refuse(path)
        assert values is None or values.tolist() == [5, 0, 4, 1, 9]


def test_a_gz_file_with_something_after_it_is_refused(tmp_path):
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(LABELS) + b"more")
    refused(path, "gzip stream is damaged")
    path.write_bytes(gzip.compress(LABELS) + gzip.compress(b"more"))
    refused(path, "trailing bytes")


@given(content=st.binary(max_size=64), start=st.sampled_from([b"", LABELS[:4], PIXELS[:8]]))
@settings(deadline=None)
def test_any_bytes_are_an_array_or_refused(scratch, content, start):
    scratch.write_bytes(start + content)
    values = read_or_refuse(scratch)
    if values is not None:
        assert len(start + content) == 4 + 4 * values.ndim + values.nbytes


# -- what is hostile ------------------------------------------------------------------------------

NOISE = random.Random(0).randbytes(100_000)
HOSTILE = {
    "plain": (header("uint8", 2**32 - 1) + b"\0", "more than the file of 9 bytes can hold"),
    "plain, every axis": (header("float64", *[2**32 - 1] * 32) + b"\0", "more than the file"),
    "gz": (gzip.compress(header("uint8", 2**32 - 1) + b"\0"), "more than the file of "),
    "gz, large enough for it": (gzip.compress(header("uint8", 6_000_000) + NOISE), "truncated"),
    "gz, a bomb": (
        gzip.compress(header("uint8", 40_000_000) + bytes(40_000_000)),
        "unpack it first",
    ),
    "gz, a thousandfold": (gzip.compress(header("uint8", 5) + bytes(64_000_000)), "trailing bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_takes_no_memory(tmp_path, case):
    content, part = HOSTILE[case]
    path = tmp_path / "hostile"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        refused(path, part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
