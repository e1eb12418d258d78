"""Signs as bits, one bit with column means, and short mantissas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ddml_kit.compression import ErrorFeedback, Mantissa, OneBit, Payload, Sign


@pytest.mark.parametrize("d", [1, 7, 8, 9, 64, 1001])
def test_signs_take_a_bit_each(d: int) -> None:
    """And not a byte, as where a vector of booleans is sent."""
    x = np.random.default_rng(d).normal(size=d)
    assert Sign(scaled=False).encode(x).nbytes == math.ceil(d / 8)
    assert Sign().encode(x).nbytes == math.ceil(d / 8) + 4
    expected = np.packbits(x < 0, bitorder="little").tobytes()
    assert Sign().encode(x).data[4:] == expected


@given(x=hnp.arrays(np.float32, st.integers(1, 70), elements=st.floats(-1e6, 1e6, width=32)))
@settings(deadline=None)
def test_signs_come_back_with_the_mean_size(x: np.ndarray) -> None:
    y = Sign().decode(Sign().encode(x))
    scale = np.float32(abs(x.astype(float)).mean())
    np.testing.assert_allclose(y, np.where(x < 0, -scale, scale), rtol=1e-6)
    plain = Sign(scaled=False)
    np.testing.assert_array_equal(plain.decode(plain.encode(x)), np.where(x < 0, -1, 1))


@given(x=hnp.arrays(np.float64, st.integers(1, 70), elements=st.floats(-1e3, 1e3, width=32)))
@settings(deadline=None)
def test_scaled_signs_leave_out_what_the_paper_says(x: np.ndarray) -> None:
    """1 - ||x||_1^2 / (d ||x||_2^2) of the squared norm."""
    lost = np.sum((x - Sign().decode(Sign().encode(x))) ** 2)
    whole = np.sum(x**2)
    said = whole - np.sum(abs(x)) ** 2 / len(x)
    np.testing.assert_allclose(lost, said, rtol=1e-5, atol=1e-5 * whole)


def test_in_one_dimension_sign_and_scale_are_the_number() -> None:
    for x in (0.3, -7.0):
        np.testing.assert_array_equal(Sign().decode(Sign().encode(np.array([x]))), np.float32(x))


def descent(codec: Sign | ErrorFeedback, steps: int = 4000, lr: float = 0.01) -> float:
    """Where x ends, from 0, by f = x / 4, whose gradient is 4 with probability 1/4, else -1."""
    rng, x = np.random.default_rng(0), 0.0
    for gradient in np.where(rng.random(steps) < 0.25, 4.0, -1.0):
        x -= lr * codec.decode(codec.encode(np.array([gradient])))[0]
    return x


def test_unscaled_signs_ascend_where_feedback_descends() -> None:
    """Karimireddy et al. 2019, counterexample 1: up by 1/2 a step, and down by 1/4."""
    assert descent(Sign(scaled=False)) == pytest.approx(4000 * 0.01 / 2, rel=0.1)
    assert descent(ErrorFeedback(Sign(scaled=False))) == pytest.approx(-4000 * 0.01 / 4, rel=0.2)
    assert descent(Sign()) == pytest.approx(-4000 * 0.01 / 4, rel=0.2)


def test_feedback_refuses_vectors_of_another_length_and_forgets_nothing() -> None:
    feedback = ErrorFeedback(Sign())
    feedback.encode(np.array([1.0, 2.0]))
    before = feedback.memory
    with pytest.raises(ValueError, match=r"one length, got shape \(3,\) after \(2,\)"):
        feedback.encode(np.ones(3))
    with pytest.raises(FloatingPointError):
        feedback.encode(np.array([np.nan, 1.0]))
    assert feedback.memory is before


def test_feedback_remembers_what_float32_rounds_away() -> None:
    feedback = ErrorFeedback(Mantissa(23))
    for _ in range(3):
        feedback.encode(np.array([0.1]))
    assert feedback.memory is not None
    assert feedback.memory.dtype == np.float64
    assert feedback.memory[0] != 0
    single = ErrorFeedback(Sign())
    single.encode(np.ones(3, np.float32))
    assert single.memory is not None
    assert single.memory.dtype == np.float32


SHAPES = [(3, 4), (5,), (2, 3, 2)]


def test_a_column_s_two_values_are_the_means_of_its_sides() -> None:
    x = np.random.default_rng(1).normal(size=29)
    codec = OneBit(SHAPES)
    y = codec.decode(codec.encode(x))
    first = 0
    for rows, columns in [(3, 4), (5, 1), (2, 6)]:
        last = first + rows * columns
        ours, whole = y[first:last].reshape(rows, columns), x[first:last].reshape(rows, columns)
        for j in range(columns):
            for side in (whole[:, j] >= 0, whole[:, j] < 0):
                np.testing.assert_allclose(
                    ours[side, j], whole[side, j].mean() if side.any() else 0
                )
        np.testing.assert_allclose(ours.sum(0), whole.sum(0), rtol=1e-5, atol=1e-6)
        first = last


def test_one_bit_takes_a_bit_an_entry_and_8_bytes_a_column() -> None:
    payload = OneBit(SHAPES).encode(np.ones(29))
    assert payload.nbytes == 4 + 8 * (4 + 1 + 6)
    for length in (28, 30):
        with pytest.raises(ValueError, match=r"shapes hold 29 values, got a vector of shape"):
            OneBit(SHAPES).encode(np.ones(length))
        with pytest.raises(ValueError, match=r"shapes hold 29 values, got a vector of shape"):
            OneBit(SHAPES).decode(Payload(payload.data, length))


@given(
    x=hnp.arrays(np.float32, 20, elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    bits=st.integers(0, 23),
)
@settings(deadline=None)
def test_a_short_mantissa_errs_by_less_than_its_last_bit(x: np.ndarray, bits: int) -> None:
    codec = Mantissa(bits)
    payload = codec.encode(x)
    assert payload.nbytes == math.ceil(20 * (9 + bits) / 8)
    y = codec.decode(payload).astype(float)
    tiny = np.finfo(np.float32).tiny  # below it numbers have fewer bits
    assert (abs(y - x) <= np.maximum(abs(x), tiny) * 2.0**-bits).all()
    assert (abs(y) <= abs(x)).all()
    if bits == 23:
        np.testing.assert_array_equal(y, x)


def test_a_mantissa_has_so_many_bits() -> None:
    for bits in (-1, 24):
        with pytest.raises(ValueError, match=f"0 to 23 bits, got bits={bits}"):
            Mantissa(bits)
