"""SketchML: quantiles, a table that only makes values smaller, and keys as differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.compression.payload import Payload
from ddml_kit.compression.reading import Reader
from ddml_kit.compression.sketch import Sketch, decode_keys, encode_keys, hashes, quantised

WIDE = 1000.0  # columns for each value, so that nothing collides


def sparse(seed, d=2000, share=0.2):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(d) ** 3
    x[rng.random(d) > share] = 0
    return x.astype(np.float32)


def passed_through(codec, x, seed=0):
    return codec.decode(codec.encode(x, np.random.default_rng(seed)))


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), max_size=60),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([0.1, 0.5, 2.0]),
)
def test_no_sign_is_turned_no_zero_is_lost_and_values_only_decay(
    values, buckets, groups, rows, columns
):
    x = np.array(values, np.float32)
    y = passed_through(Sketch(buckets, groups, rows, columns), x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(np.sign(y), np.sign(x))
    exact = passed_through(Sketch(buckets, groups, rows, WIDE), x)
    assert np.all(np.abs(y) <= np.abs(exact))
    for sign in (1, -1):
        inside = sign * x > 0
        if inside.any():
            assert np.all(sign * y[inside] >= (sign * x[inside]).min() * (1 - 1e-6))
            assert np.all(sign * y[inside] <= (sign * x[inside]).max() * (1 + 1e-6))


@given(st.integers(0, 100), st.sampled_from([4, 16, 64]))
def test_the_error_of_the_quantiles_is_within_the_bound(seed, q):
    """d (min^2 + max^2) / 4q, as derived in sketch.py; without collisions."""
    x = np.random.default_rng(seed).standard_normal(1000).astype(np.float32)
    y = passed_through(Sketch(q, 1, 1, WIDE), x)
    within = len(x) * (x.min() ** 2 + x.max() ** 2) / (4 * q)
    assert 0 < np.sum((y - x) ** 2) <= within


def test_equal_sizes_are_exact_and_so_is_a_bucket_for_each_value():
    x = np.array([2, -3, 0, 2, 2, -3, 2], np.float32)
    np.testing.assert_array_equal(passed_through(Sketch(4, 1, 1, WIDE), x), x)
    x = np.array([1, 5, -2, 0, 3, -7], np.float32)
    np.testing.assert_array_equal(passed_through(Sketch(columns=WIDE), x), x)


def test_buckets_are_equally_full():
    sizes = np.random.default_rng(0).random(4000) ** 4
    buckets, means = quantised(sizes, 16)
    np.testing.assert_allclose(np.bincount(buckets), 250, atol=1)
    assert np.all(np.diff(means) > 0)
    np.testing.assert_allclose(means[3], sizes[buckets == 3].mean())


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_as_many_buckets_come_back_right_as_the_formula_says(rows):
    """Of v values in buckets of their own, the l-th is right unless a smaller one is in each of
    its cells: 1 - (1 - (1 - 1/w)^(l-1))^rows, as derived in sketch.py.
    """
    v, columns = 200, 0.6
    w = int(columns * v)
    smaller = np.arange(v)
    expected = np.mean(1 - (1 - (1 - 1 / w) ** smaller) ** rows)
    x = np.random.default_rng(0).permutation(np.arange(1, v + 1)).astype(np.float32)
    codec = Sketch(buckets=v, groups=1, rows=rows, columns=columns)
    right = np.mean([np.mean(passed_through(codec, x, seed) == x) for seed in range(100)])
    assert right == pytest.approx(expected, abs=0.015)
    assert 0.3 < expected < 0.9


def test_groups_keep_a_collision_near():
    x = np.random.default_rng(1).permutation(np.arange(1, 257)).astype(np.float32)

    def lost(groups):
        codec = Sketch(256, groups, 2, 0.3)
        return np.mean([np.mean(x - passed_through(codec, x, seed)) for seed in range(20)])

    assert lost(1) > 3 * lost(8) > 0


def test_another_seed_lets_others_collide_and_one_seed_the_same():
    x = sparse(0)
    a, b, c = (passed_through(Sketch(), x, seed) for seed in (0, 1, 0))
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, c)


def test_hashes_spread_keys_evenly_and_each_row_otherwise():
    cells = hashes(np.arange(50_000), 7, 3, 10)
    assert cells.min() == 0
    assert cells.max() == 9
    for row in cells:
        np.testing.assert_allclose(np.bincount(row), 5000, rtol=0.06)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.mean(cells[a] == cells[b]) == pytest.approx(0.1, abs=0.01)


# ------------------------------------------------------------------------------------ keys


@given(st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=50))
def test_keys_come_back(keys):
    keys = np.sort(np.array(keys, np.int64))
    reader = Reader(Payload(encode_keys(keys), 0), "keys")
    np.testing.assert_array_equal(decode_keys(reader, len(keys)), keys)
    reader.end()


def test_a_key_takes_two_bits_and_the_bytes_of_its_difference():
    keys = np.array([255, 256 + 255, 1 << 17, (1 << 17) + (1 << 24)])
    assert len(encode_keys(keys)) == 1 + 1 + 2 + 3 + 4
    dense = np.flatnonzero(np.random.default_rng(0).random(100_000) < 0.1)
    assert len(encode_keys(dense)) / len(dense) == pytest.approx(1.25, abs=0.001)


def test_a_value_takes_about_two_bytes_with_its_key():
    """1.25 to 2 bytes a key; 2 rows of 0.3 cells of 5 bits; and the means."""
    x = sparse(0, 100_000, 0.2)
    number = np.count_nonzero(x)
    payload = Sketch().encode(x, np.random.default_rng(0))
    head = 4 + 2 * (4 + 4 * 256 + 8 * 4)
    assert payload.nbytes - head < number * (1.3 + 2 * 0.3 * 5 / 8 + 0.01)
    assert payload.nbytes < 8 * number / 3.5


# ------------------------------------------------------------------------------- bad input


def test_bad_input_gets_a_sentence():
    rng, x = np.random.default_rng(0), sparse(1)
    for settings, sentence in (
        ({"buckets": 0}, "buckets must be 1 or more, got 0"),
        ({"groups": -1}, "groups must be 1 or more, got -1"),
        ({"rows": 0}, "rows must be 1 or more, got 0"),
        ({"columns": 0.0}, "columns must be more than 0 for each value, got 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Sketch(**settings)
    with pytest.raises(ValueError, match="Sketch is random"):
        Sketch().encode(x)
    for wrong in (np.nan, -np.inf):
        y = x.copy()
        y[3] = wrong
        with pytest.raises(FloatingPointError, match="finite"):
            Sketch().encode(y, rng)
    payload = Sketch().encode(x, rng)
    for data in (payload.data[:-1], payload.data + b"0", payload.data[:5], b""):
        with pytest.raises(ValueError, match="truncated, or another codec's"):
            Sketch().decode(Payload(data, len(x)))
    with pytest.raises(ValueError, match="of a vector of 5: the payload is not one of Sketch's"):
        Sketch().decode(Payload(payload.data, 5))
