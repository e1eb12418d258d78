"""Mean, median and trimmed mean, beside NumPy; and the networks that sort for them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.aggregation import mean, median, trimmed_mean
from ddml_kit.aggregation.networks import network


def drawn(n, d, dtype="f8"):
    rng = np.random.default_rng(n * 1000 + d)
    x = rng.standard_normal((n, d)) * 10.0 ** rng.integers(-5, 5, d)
    return np.where(rng.random((n, d)) < 0.2, x[0], x).astype(dtype)  # some are equal


sizes = st.integers(1, 40)
lengths = st.sampled_from([1, 2, 127, 128, 130, 300])
dtypes = st.sampled_from(["f4", "f8"])


@given(n=sizes, d=lengths, dtype=dtypes)
def test_median_is_numpys(n, d, dtype):
    x = drawn(n, d, dtype)
    wanted = np.median(x.astype("f8"), axis=0).astype(dtype)
    np.testing.assert_array_equal(median(x), wanted, strict=True)


@given(n=sizes, d=lengths, dtype=dtypes, data=st.data())
def test_trimmed_mean_leaves_out_f_at_each_end(n, d, dtype, data):
    f = data.draw(st.integers(0, (n - 1) // 2))
    x = drawn(n, d, dtype)
    kept = np.sort(x, axis=0)[f : n - f].astype("f8")
    wanted = kept.mean(axis=0)
    scale = np.abs(kept).max(axis=0)
    eps = np.finfo(dtype).eps
    assert (np.abs(trimmed_mean(x, f) - wanted) <= 4 * eps * scale).all()


@given(n=sizes, d=lengths, dtype=dtypes)
def test_mean_is_numpys(n, d, dtype):
    x = drawn(n, d, dtype)
    scale = np.abs(x).max(axis=0)
    wanted = x.astype("f8").mean(axis=0)
    assert (np.abs(mean(x) - wanted) <= 4 * np.finfo(dtype).eps * scale).all()


def test_trimming_all_but_the_middle_is_the_median():
    x = drawn(11, 200)
    np.testing.assert_array_equal(trimmed_mean(x, 5), median(x, 5))


def test_the_mean_of_large_float32_does_not_lose_small_ones():
    x = np.full((1000, 1), 1e8, np.float32)
    x[500:] = -1e8
    x[0] += 1e4
    assert mean(x)[0] == pytest.approx(10)


def test_one_liar_makes_the_mean_what_it_likes():
    x = drawn(7, 30)
    wish = np.arange(30.0)
    x[-1] = 7 * wish - x[:-1].sum(axis=0)
    np.testing.assert_allclose(mean(x), wish, atol=1e-8)


@given(n=st.integers(1, 12), data=st.data())
def test_a_network_sorts_all_zeros_and_ones(n, data):
    """And so everything: Knuth 5.3.4, theorem Z. Also where only some places are asked for."""
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first + 1, n))
    values = np.array(list(itertools.product([0, 1], repeat=n))).T.copy()
    wanted = np.sort(values, axis=0)
    for low, high in network(n, first, last):
        values[[low, high]] = np.sort(values[[low, high]], axis=0)
    np.testing.assert_array_equal(values[first:last], wanted[first:last])


def test_networks_are_as_small_as_batchers():
    assert [len(network(n)) for n in (1, 2, 4, 8, 16, 32)] == [0, 1, 5, 19, 63, 191]
    assert len(network(25, 12, 13)) < len(network(25))
