"""Random streams: pinned numbers, and independence by purpose, epoch and layer."""

import hashlib
import itertools
import struct

import numpy as np
import pytest
from conftest import CPU_BACKENDS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.random import PCG64, Generator, SeedSequence

from xpnet import open_backend, probe_backends
from xpnet.layers import Dense, ReLU, Sequential
from xpnet.models import mlp
from xpnet.random import (
    derive,
    dropped_fraction,
    keep_mask,
    layer_key,
    permutation,
    seed_sequence,
    stream,
    threefry2x32,
)

# -- the same numbers for ever --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "purpose", "expected"),
    [
        (0, ("shuffle", 1), [299812396, 3363601999, 3758373011, 869131586]),
        (0, ("shuffle", 2), [170166205, 1691741529, 2873412404, 1476377689]),
        (1, ("shuffle", 1), [897435705, 3196525977, 634343428, 1523413513]),
        (0, ("initialization", "fc1"), [454673512, 582252824, 649833306, 1548346485]),
        (2**70, (), [976860639, 2580019187, 3250245010, 3020738022]),
    ],
)
def test_the_first_numbers_of_a_stream_are_pinned(seed, purpose, expected):
    assert stream(seed, *purpose).integers(2**32, size=4).tolist() == expected


def test_a_shuffle_is_pinned():
    assert permutation(0, 1, 10).tolist() == [9, 6, 7, 5, 1, 0, 4, 8, 2, 3]


def test_initial_weights_are_pinned():
    params = mlp(64, 32, 10).init(0)
    np.testing.assert_allclose(
        params["fc1.weight"][0, :3],
        [-0.05495836879945004, 0.06103317052612012, -0.03764228971045516],
        rtol=1e-14,
    )


def test_a_stream_is_pcg64_keyed_by_the_hash_of_its_purpose():
    words = struct.unpack("<8I", hashlib.sha256(b"('shuffle', 1)").digest())
    expected = Generator(PCG64(SeedSequence(5, spawn_key=words)))
    assert expected.bytes(100) == stream(5, "shuffle", 1).bytes(100)


# -- independence ---------------------------------------------------------------------------------

PURPOSES = [
    (),
    ("a",),
    ("a", 1),
    ("a", "1"),
    ("a1",),
    ("a, 1",),
    ("a', 1",),
    ("'a'", 1),
    (1, "a"),
    (1,),
    ("1",),
    (11,),
    (1, 1),
    ("shuffle", 1),
    ("shuffle", 2),
    ("initialization", "fc1"),
    ("initialization", "fc2"),
]


def test_every_seed_and_purpose_has_a_stream_of_its_own():
    streams = {stream(seed, *p).bytes(16) for seed in (0, 1, 2**32) for p in PURPOSES}
    assert len(streams) == 3 * len(PURPOSES)


def test_a_purpose_of_a_derived_seed_is_not_the_joined_purpose():
    nested = stream(derive(0, "a"), "b").bytes(16)
    assert nested != stream(0, "a", "b").bytes(16)
    assert nested != stream(derive(0, "b"), "a").bytes(16)
    assert nested == stream(derive(0, "a"), "b").bytes(16)


def test_streams_are_uncorrelated():
    n = 100_000
    streams = [stream(0, *purpose).standard_normal(n) for purpose in PURPOSES]
    for a, b in itertools.combinations(streams, 2):
        # A correlation of independent numbers has standard deviation 1 / sqrt(n).
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(n)


def test_using_more_numbers_for_one_purpose_changes_no_other():
    expected = stream(0, "shuffle", 2).bytes(16)
    stream(0, "shuffle", 1).bytes(10**6)
    assert stream(0, "shuffle", 2).bytes(16) == expected


def test_numpys_global_generator_is_neither_used_nor_changed():
    before = np.random.get_state()[1:3]
    first = stream(0, "a").bytes(16)
    np.testing.assert_equal(np.random.get_state()[1:3], before)
    np.random.random()
    assert stream(0, "a").bytes(16) == first


@pytest.mark.parametrize(
    "larger",
    [
        Sequential(fc1=Dense(4, 3), act1=ReLU(), fc2=Dense(3, 2), fc3=Dense(2, 5)),
        Sequential(fc0=Dense(7, 4), act0=ReLU(), fc1=Dense(4, 3), fc2=Dense(3, 2)),
        Sequential(fc1=Dense(4, 3), between=Dense(3, 3), fc2=Dense(3, 2)),
    ],
    ids=["after", "before", "between"],
)
def test_adding_a_layer_changes_no_other_layers_weights(larger):
    small = Sequential(fc1=Dense(4, 3), fc2=Dense(3, 2)).init(0)
    params = larger.init(0)
    for name, value in small.items():
        np.testing.assert_array_equal(params[name], value)


def test_layers_of_one_shape_have_different_weights():
    params = Sequential(a=Dense(3, 3), b=Dense(3, 3), inner=Sequential(a=Dense(3, 3))).init(0)
    weights = [params[f"{name}.weight"] for name in ("a", "b", "inner.a")]
    for one, other in itertools.combinations(weights, 2):
        assert not np.any(one == other)


# -- shuffles -------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**130), epoch=st.integers(0, 2**40), n=st.integers(0, 300))
def test_a_permutation_is_a_permutation(seed, epoch, n):
    order = permutation(seed, epoch, n)
    assert (order.dtype, order.shape) == (np.int64, (n,))
    assert sorted(order.tolist()) == list(range(n))


def test_every_epoch_and_every_seed_has_its_own_order():
    orders = {tuple(permutation(seed, epoch, 50)) for seed in range(5) for epoch in range(20)}
    assert len(orders) == 100


def test_every_sample_comes_first_equally_often():
    counts = np.bincount([permutation(0, epoch, 5)[0] for epoch in range(2000)], minlength=5)
    chi_squared = np.sum((counts - 400) ** 2 / 400)
    assert chi_squared < 28.5  # 4 degrees of freedom: one time in 100,000


# -- seeds ----------------------------------------------------------------------------------------


def test_an_integer_and_its_seed_sequence_are_the_same_seed():
    expected = stream(3, "a").bytes(16)
    for seed in (np.int64(3), np.uint8(3), SeedSequence(3), seed_sequence(3)):
        assert stream(seed, "a").bytes(16) == expected


def test_seed_sequences_keep_what_they_were_spawned_from():
    sequences = [SeedSequence(3), *SeedSequence(3).spawn(2), SeedSequence([3, 1])]
    sequences.append(SeedSequence(3, pool_size=8))
    assert len({stream(sequence, "a").bytes(16) for sequence in sequences}) == 5
    parent = SeedSequence(3)
    derive(parent, "a")
    assert parent.n_children_spawned == 0


def test_numpy_integers_and_strings_in_a_purpose_count_as_plain_ones():
    for purpose in [("a", np.int64(1)), ("a", np.uint8(1)), (np.str_("a"), 1)]:
        assert stream(0, *purpose).bytes(16) == stream(0, "a", 1).bytes(16)
    np.testing.assert_array_equal(permutation(0, np.int32(2), 9), permutation(0, 2, 9))


@pytest.mark.parametrize("seed", [None, 1.0, np.float64(1), "0", True, np.True_, [1], (1,), b"1"])
def test_a_seed_that_is_not_an_integer_is_refused(seed):
    for function in (seed_sequence, derive, stream, mlp(2, 2).init):
        with pytest.raises(TypeError, match=r"integer or a numpy\.random\.SeedSequence"):
            function(seed)


@pytest.mark.parametrize("seed", [-1, np.int8(-3), -(2**70)])
def test_a_negative_seed_is_refused(seed):
    with pytest.raises(ValueError, match=f"non-negative, got {seed}"):
        stream(seed, "a")


@pytest.mark.parametrize("part", [1.0, None, b"a", ("a",)])
def test_a_purpose_is_made_of_names_and_integers(part):
    with pytest.raises(TypeError, match="integer"):
        stream(0, part)


# -- on the device ---------------------------------------------------------------------------------

KNOWN_ANSWERS = [
    # rounds, counter, key, answer: from the kat_vectors of Random123 1.14.
    (13, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x9D1C5EC6, 0x8BD50731),
    (13, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFD36D048, 0x2D17272C),
    (13, 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xBA3E4725, 0xF27D669E),
    (20, 0x00000000, 0x00000000, 0x00000000, 0x00000000, 0x6B200159, 0x99BA4EFE),
    (20, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0x1CB996FC, 0xBB002BE7),
    (20, 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xC4923A9C, 0x483DF7A0),
]


def words(*values):
    """Unsigned words as the int32 array of their bits."""
    return np.array(values, dtype=np.uint32).view(np.int32)


@pytest.mark.parametrize(("rounds", "c0", "c1", "k0", "k1", "y0", "y1"), KNOWN_ANSWERS)
def test_threefry_gives_the_published_answers(backend, rounds, c0, c1, k0, k1, y0, y1):
    a, b = threefry2x32(
        backend.xp,
        (k0, k1),
        backend.asarray(words(c0, c0)),
        backend.asarray(words(c1, c1)),
        rounds=rounds,
    )
    assert backend.to_numpy(a).view(np.uint32).tolist() == [y0, y0]
    assert backend.to_numpy(b).view(np.uint32).tolist() == [y1, y1]


@given(
    st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
    hnp.arrays(np.uint32, (2, 16)),
)
def test_threefry_equals_jax(key, counters):
    prng = pytest.importorskip("jax.extend.random")
    expected = np.asarray(
        prng.threefry_2x32(np.array(key, dtype=np.uint32), counters.reshape(-1))
    ).reshape(2, -1)
    actual = threefry2x32(np, key, counters[0].view(np.int32), counters[1].view(np.int32))
    np.testing.assert_array_equal(np.stack(actual).view(np.uint32), expected)


@given(
    st.integers(0, 2**63),
    st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 5)),
    st.floats(0.01, 0.99),
    st.integers(0, 2**31 - 1),
    st.sampled_from([name for name in CPU_BACKENDS if name != "numpy"]),
)
@settings(max_examples=60)
def test_masks_are_the_same_bits_everywhere(seed, shape, rate, step, name):
    if not probe_backends()[name].usable:
        pytest.skip(probe_backends()[name].reason)
    key = layer_key(derive(seed, "dropout"), ("fc1",))
    expected = keep_mask(np, key, step, np.zeros(shape), rate)
    assert expected.shape == shape
    assert expected.dtype == bool
    backend = open_backend(name)
    with backend.scope():
        step_array = backend.asarray(np.int32(step), dtype=backend.xp.int32)
        x = backend.asarray(np.zeros(shape, dtype=np.float32))
        actual = keep_mask(backend.xp, key, step_array, x, rate)
    np.testing.assert_array_equal(backend.to_numpy(actual), expected)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.floats(0.01, 0.99))
def test_a_part_of_a_batch_has_that_part_of_the_mask(first, second, columns, rate):
    x = np.zeros((first + second, columns))
    whole = keep_mask(np, (1, 2), 3, x, rate)
    parts = [
        keep_mask(np, (1, 2), 3, x[:first], rate),
        keep_mask(np, (1, 2), 3, x[first:], rate, row_offset=first),
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("rate", [2**-16, 0.1, 0.25, 0.5, 0.75, 0.999])
def test_masks_drop_at_their_rate(rate):
    """Within five standard errors, over all elements and in each quarter of the columns."""
    n = 4096
    keep = keep_mask(np, (3, 4), 0, np.zeros((n, 256)), rate)
    fraction = dropped_fraction(rate)
    assert fraction == pytest.approx(rate, abs=2**-17)
    for part in (keep, *np.split(keep, 4, axis=1)):
        error = np.sqrt(fraction * (1 - fraction) / part.size)
        assert (~part).mean() == pytest.approx(fraction, abs=5 * error)


@pytest.mark.parametrize("rate", [-0.1, 1, 1 - 1e-9, 1.5])
def test_masks_at_other_rates_are_refused(rate):
    with pytest.raises(ValueError, match="rate must be from 0 to 1 - 2"):
        keep_mask(np, (3, 4), 0, np.zeros((2, 3)), rate)


def test_masks_are_not_correlated():
    """Between rows, columns, steps and keys, at one half, where elements are fair coins."""
    n = 512
    x = np.zeros((n, n))
    base = keep_mask(np, (1, 2), 7, x, 0.5) * 2.0 - 1
    others = {
        "row": np.roll(base, 1, axis=0),
        "column": np.roll(base, 1, axis=1),
        "quarter": np.roll(base, n // 4, axis=1),
        "step": keep_mask(np, (1, 2), 8, x, 0.5) * 2.0 - 1,
        "key": keep_mask(np, (1, 3), 7, x, 0.5) * 2.0 - 1,
        "swapped key": keep_mask(np, (2, 1), 7, x, 0.5) * 2.0 - 1,
    }
    for name, other in others.items():
        assert abs((base * other).mean()) < 5 / n, name


@pytest.mark.parametrize("kind", [int, np.int32, np.int64, np.asarray])
def test_offset_and_step_may_be_integers_of_any_kind(kind):
    """A 64-bit one must not widen the counters, which wrap at 32 bits."""
    x = np.zeros((6, 9))
    whole = keep_mask(np, (1, 2), 2**31 - 1, x, 0.5)
    part = keep_mask(np, (1, 2), kind(2**31 - 1), x[4:], 0.5, row_offset=kind(4))
    np.testing.assert_array_equal(part, whole[4:])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_a_mask_of_nothing(shape):
    assert keep_mask(np, (1, 2), 3, np.zeros(shape), 0.5).shape == shape


def test_layer_keys_are_pinned():
    """A resumed run derives them again: they must not change between versions."""
    seed = derive(0, "dropout")
    assert layer_key(seed, ("drop1",)) == (4211214131, 614779590)
    assert layer_key(seed, ("drop2",)) != (4211214131, 614779590)
    assert layer_key(derive(0, "dropout"), ("drop1",)) == (4211214131, 614779590)


def plain_threefry(key, counter, rounds):
    """Threefry-2x32 in Python integers, from the definition in the paper."""
    x, y = counter
    schedule = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    x, y = (x + schedule[0]) % 2**32, (y + schedule[1]) % 2**32
    for i in range(rounds):
        rotation = [13, 15, 26, 6, 17, 29, 16, 24][i % 8]
        x = (x + y) % 2**32
        y = (y << rotation | y >> (32 - rotation)) % 2**32 ^ x
        if i % 4 == 3:
            j = i // 4 + 1
            x = (x + schedule[j % 3]) % 2**32
            y = (y + schedule[(j + 1) % 3] + j) % 2**32
    return x, y


def test_a_mask_follows_from_its_definition():
    """Four columns to a block: upper and lower half of the first word, then of the second."""
    key, step, rate, n_rows, n_columns, offset = (0x13198A2E, 0x03707344), 42, 0.3, 3, 10, 5
    n_blocks = 3
    keep = keep_mask(np, key, step, np.zeros((n_rows, n_columns)), rate, row_offset=offset)
    for row in range(n_rows):
        for column in range(n_columns):
            quarter, block = divmod(column, n_blocks)
            counter = ((row + offset) * n_blocks + block, step)
            word = plain_threefry(key, counter, 13)[quarter // 2]
            # The upper half is compared as a signed number, the lower one after a shift: both
            # have their sign bit flipped.
            half = word >> 16 if quarter % 2 == 0 else word & 0xFFFF
            assert keep[row, column] == ((half ^ 0x8000) >= round(rate * 2**16)), (row, column)


def test_a_mask_is_pinned():
    keep = keep_mask(np, (0x13198A2E, 0x03707344), 42, np.zeros((2, 10)), 0.3)
    assert ["".join(map(str, row.astype(int))) for row in keep] == ["1111111111", "1010011110"]
