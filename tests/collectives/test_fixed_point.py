"""Fixed point of 32 bits: what it is off by, and what overflows."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ddml_kit.collectives.fixed_point import (
    LEAST,
    LIMIT,
    block_scale,
    exponent,
    quantised,
    refuse,
    saturate,
    scale_for,
)

bounds = st.floats(1e-300, 1e300)


def wrong(i):
    return f"element {i}"


@given(n=st.integers(1, 64), bound=bounds, data=st.data())
def test_with_the_scale_for_a_bound_nothing_overflows_and_the_error_is_below_n_over_f(
    n, bound, data
):
    values = st.lists(st.floats(-bound, bound), min_size=n, max_size=n)
    x = np.array(data.draw(values | st.just([bound] * n) | st.just([-bound] * n)))
    f = scale_for(n, bound)
    total = int(quantised(x, f, 0, refuse).sum(dtype=np.int64))
    assert -LIMIT <= total < LIMIT
    exact = sum(map(Fraction, x.tolist()))
    assert abs(Fraction(total / f) - exact) < n / Fraction(f)


@given(n=st.integers(1, 5000), m=st.integers(-900, 900))
def test_with_the_scale_for_an_exponent_nothing_below_it_overflows(n, m):
    largest = math.ldexp(math.nextafter(1.0, 0.0), m)
    f = block_scale(n, m)
    assert f == pytest.approx(scale_for(n, math.ldexp(1.0, m)))
    assert n * round(f * largest) < LIMIT


def test_the_published_codes_scale_is_a_little_too_large_for_float64():
    n, largest = 4, math.nextafter(1.0, 0.0)
    assert n * round((LIMIT - 1) / n * largest) == LIMIT
    of_float32 = float(np.nextafter(np.float32(1), np.float32(0)))
    assert all(n * round((LIMIT - 1) / n * of_float32) < LIMIT for n in range(1, 257))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5))
@example([5e-324])
@example([2.0, -4.0])
def test_an_exponent_is_the_least_whose_power_is_above_all(values):
    x = np.array(values, np.float64)
    m = exponent(x)
    assert all(abs(Fraction(v)) < Fraction(2) ** m for v in values)
    assert m >= LEAST
    if m > LEAST:
        assert any(abs(Fraction(v)) >= Fraction(2) ** (m - 1) for v in values)


def test_nothing_and_zeros_have_the_least_exponent():
    assert exponent(np.empty(0)) == exponent(np.zeros(3)) == LEAST
    assert math.isfinite(block_scale(1, LEAST))


def test_rounding_is_to_the_nearest():
    numbers = quantised(np.array([0.26, -0.26, 0.24, 1.0]), 2.0, 0, refuse)
    np.testing.assert_array_equal(numbers, np.array([1, -1, 0, 2], np.int32), strict=True)


def test_what_is_beyond_is_refused_with_a_sentence():
    edge = np.array([-(2.0**31), 2.0**31 - 1])
    np.testing.assert_array_equal(refuse(edge, wrong), edge.astype(np.int32), strict=True)
    for x in (2.0**31, -(2.0**31) - 1, np.inf):
        with pytest.raises(OverflowError, match="element 1, which is beyond 32 bits"):
            refuse(np.array([0.0, x, x]), wrong)
    with pytest.raises(
        OverflowError, match=r"rank 3's value 5e\+09 at scale 2 is 1e\+10, which is "
    ):
        quantised(np.array([1.0, 5e9]), 2.0, 3, refuse)


def test_what_is_beyond_is_saturated_if_asked():
    numbers = saturate(np.array([1.0, 3e9, -3e9, np.inf]), wrong)
    expected = np.array([1, LIMIT - 1, -LIMIT, LIMIT - 1], np.int32)
    np.testing.assert_array_equal(numbers, expected, strict=True)
    numbers = quantised(np.array([1e300, -1e300]), 1e300, 0, saturate)
    np.testing.assert_array_equal(numbers, np.array([LIMIT - 1, -LIMIT], np.int32))


def test_a_scale_needs_workers_and_a_bound():
    assert scale_for(2, 1.0) == (2**31 - 2) / 2
    assert math.isfinite(scale_for(1, 5e-324))
    for n, bound in ((0, 1.0), (2, 0.0), (2, -1.0), (2, math.inf), (2, math.nan)):
        with pytest.raises(ValueError, match=r"n >= 1 workers and a bound > 0, got \d and "):
            scale_for(n, bound)
