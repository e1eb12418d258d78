"""ATOMO: right on average, with the least error that a budget allows, as its paper says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.compression.atomo import ATOMO, probabilities, variance
from ddml_kit.compression.payload import Payload

SHAPES = ((8, 5), (4,), (3, 2, 2))
DIM = 40 + 4 + 12

falling = st.lists(st.floats(0, 100, width=32), min_size=1, max_size=12).map(
    lambda sizes: np.sort(np.array(sizes))[::-1]
)


def vector(seed=0, dim=DIM):
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


@given(falling, st.floats(0.1, 12))
def test_probabilities_add_up_to_the_budget_and_keep_the_order(sizes, budget):
    p = probabilities(sizes, budget)
    assert np.all((p >= 0) & (p <= 1 + 1e-12))
    assert np.all(np.diff(p) <= 1e-12)
    assert p.sum() == pytest.approx(min(budget, np.count_nonzero(sizes)))
    assert np.all(p[sizes > 0] > 0)


@given(falling, st.floats(0.1, 12), st.integers(0, 99))
def test_no_other_probabilities_of_this_budget_have_less_variance(sizes, budget, seed):
    """The paper's optimum, by its conditions (a convex problem) and beside others at random."""
    sizes = sizes[sizes > 1e-3]
    if len(sizes) <= budget:
        np.testing.assert_array_equal(probabilities(sizes, budget), np.ones(len(sizes)))
        return
    p = probabilities(sizes, budget)
    shared = sizes[p < 1] / p[p < 1]  # the slope of the variance, but for its square
    assert np.ptp(shared) <= 1e-9 * shared.max()
    assert np.all(sizes[p == 1] >= shared.max() * (1 - 1e-9))
    rng = np.random.default_rng(seed)
    for _ in range(10):
        other = rng.dirichlet(np.ones(len(p))) * budget
        mixed = 0.9 * p + 0.1 * np.minimum(other, 1)  # spends the budget or less
        assert variance(sizes, mixed) >= variance(sizes, p) * (1 - 1e-9)


def test_where_no_atom_is_too_large_the_second_moment_is_the_square_of_the_l1_norm_over_s():
    """The paper's s-balanced case: s ||lambda||_inf <= ||lambda||_1."""
    sizes = np.array([3.0, 2.5, 2.0, 1.5, 1.0])
    for s in (1.0, 2.0, 3.0):
        assert s * sizes.max() <= sizes.sum()
        moment = variance(sizes, probabilities(sizes, s)) + np.sum(sizes**2)
        assert moment == pytest.approx(sizes.sum() ** 2 / s)
    assert 4 * sizes.max() > sizes.sum()
    assert variance(sizes, probabilities(sizes, 4)) + np.sum(sizes**2) > sizes.sum() ** 2 / 4


def test_on_entries_it_is_terngrad_and_qsgd():
    """A claim of the paper: both are algorithm 1, at budgets of their own."""
    x = np.sort(np.abs(vector(3)))[::-1].astype(np.float64)
    terngrad = probabilities(x, x.sum() / x.max())
    np.testing.assert_allclose(terngrad, x / x.max())
    qsgd = probabilities(x, x.sum() / np.linalg.norm(x))
    np.testing.assert_allclose(qsgd, x / np.linalg.norm(x))


@given(st.integers(0, 200), st.sampled_from([1.0, 2.0, 3.0]))
def test_singular_vectors_have_less_variance_than_entries_at_equal_budget(seed, s):
    """The nuclear norm is at most the sum of all sizes; the paper's case for spectral atoms."""
    M = np.random.default_rng(seed).standard_normal((6, 5))
    spectral = np.linalg.svd(M, compute_uv=False)
    entries = np.sort(np.abs(M).reshape(-1))[::-1]
    assert variance(spectral, probabilities(spectral, s)) < variance(
        entries, probabilities(entries, s)
    )


def test_it_is_right_on_average_with_the_variance_that_is_said():
    codec, x, rng = ATOMO(SHAPES, 1.5), vector(), np.random.default_rng(0)
    draws = np.array([codec.decode(codec.encode(x, rng)) for _ in range(4000)], np.float64)
    expected = 0.0
    for M in (x[:40].reshape(8, 5), x[44:].reshape(3, 4)):
        sizes = np.linalg.svd(M, compute_uv=False)
        expected += variance(sizes, probabilities(sizes, 1.5))
    errors = np.sum((draws - x) ** 2, axis=1)
    np.testing.assert_allclose(errors.mean(), expected, rtol=0.05)
    # the mean of 4,000 draws is off by sqrt(expected / 4000) or so in all
    assert np.linalg.norm(draws.mean(axis=0) - x) < 2 * np.sqrt(expected / 4000)
    np.testing.assert_array_equal(draws[:, 40:44], np.tile(x[40:44], (4000, 1)))


def test_the_budget_is_the_number_of_atoms_on_average_and_each_takes_n_plus_m_floats():
    codec, x, rng = ATOMO(((30, 20),), 3), vector(1, 600), np.random.default_rng(1)
    sizes = np.array([codec.encode(x, rng).nbytes for _ in range(300)])
    assert set((sizes - 4) % (4 * 50)) == {0}
    assert np.mean((sizes - 4) / (4 * 50)) == pytest.approx(3, rel=0.1)


def test_a_budget_of_the_whole_rank_is_exact():
    codec, x = ATOMO(SHAPES, 5), vector(2)
    y = codec.decode(codec.encode(x, np.random.default_rng(0)))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, x, atol=1e-5)


def test_zeros_stay_zeros():
    codec = ATOMO(SHAPES, 2)
    payload = codec.encode(np.zeros(DIM), np.random.default_rng(0))
    np.testing.assert_array_equal(codec.decode(payload), np.zeros(DIM))
    assert payload.nbytes == 4 + 16 + 4


def test_bad_input_gets_a_sentence():
    rng = np.random.default_rng(0)
    codec = ATOMO(SHAPES, 2)
    with pytest.raises(ValueError, match="budget must be more than 0 atoms, got 0"):
        ATOMO(SHAPES, 0)
    with pytest.raises(ValueError, match="budget must be more than 0 atoms, got nan"):
        ATOMO(SHAPES, float("nan"))
    with pytest.raises(ValueError, match="ATOMO is random"):
        codec.encode(vector())
    with pytest.raises(ValueError, match=r"shapes hold 56 values, got a vector of shape \(55,\)"):
        codec.encode(vector(dim=55), rng)
    for wrong in (np.nan, np.inf):
        x = vector()
        x[7] = wrong
        with pytest.raises(FloatingPointError, match="finite"):
            codec.encode(x, rng)
    payload = codec.encode(vector(), rng)
    for data in (payload.data[:-1], payload.data + b"0", payload.data[:3], b""):
        with pytest.raises(ValueError, match="truncated, or another codec's"):
            codec.decode(Payload(data, DIM))
    with pytest.raises(ValueError, match="shapes hold 56 values"):
        codec.decode(Payload(payload.data, DIM + 1))
    with pytest.raises(ValueError, match="a 8 x 5 matrix of 16843009 atoms: the payload is not"):
        codec.decode(Payload(b"\x01" * 400, DIM))
    with pytest.raises(ValueError, match="sizes must fall"):
        probabilities(np.array([1.0, 2.0]), 1)
