"""Files of xpnet whose metadata say anything, with the checksum that belongs to it."""

import copy
import json

from hypothesis import strategies as st

from xpnet.saving.tensors import read_tensors, write_tensors


def forge(source, target, change):
    """Write the file `source` again as `target`, with the metadata that `change` makes of its own.

    `change` is given a copy, and may also change the dictionary of arrays, which it gets second.
    """
    arrays, metadata = read_tensors(source)
    metadata.pop("schema")
    changed = change(metadata, arrays)
    write_tensors(target, arrays, metadata if changed is None else changed)


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


NASTY = [
    None, True, False, 0, -1, 1, 2, 10**8, 2**31, 2**63, -(10**20), 10**400,
    0.5, -0.0, 1e-300, 1e300, "", "nan", "inf", "x", "\x1b[31mred\x07", "\ud800", "\u202e",
    "x" * 100_000, "a\nb", "fc1", "ReLU", [], [0],
    [1, 2], [[1, 2], [3, 4]], [10**400], _nested(200), {}, {"layer": "ReLU"},
    {"layer": "ReLU", "options": {}}, {"loss": "huber", "options": {"delta": 10**400}},
    {"initializer": "Normal", "standard_deviation": 10**400},
]  # fmt: skip
"""Values that come from no writer of xpnet, and yet are JSON."""

VALUES = st.sampled_from(NASTY) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value, path=()):
    """The paths of all values inside of JSON values."""
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@st.composite
def changed(draw, metadata):
    """The metadata with one or two values replaced, left out, or there twice."""
    metadata = copy.deepcopy(metadata)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        *path, last = draw(st.sampled_from(places(metadata)))
        inner = metadata
        for key in path:
            inner = inner[key]
        how = draw(st.sampled_from(["replace"] * 6 + ["leave out", "twice"]))
        if how == "replace":
            inner[last] = copy.deepcopy(draw(VALUES))
        elif how == "leave out":
            del inner[last]
        elif isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        else:
            inner[draw(st.text(max_size=3))] = inner[last]
        if not metadata:
            metadata = {"model": None}
    json.dumps(metadata)
    return metadata
