"""PowerSGD's linear algebra: orthonormal columns whatever the rank, and which matrices pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.compression.matrices import Part, check_length, parts, size
from ddml_kit.compression.power_sgd import draw_empty, orthonormal, pays, product


def test_tensors_are_their_first_dimension_against_the_others():
    shapes = ((3, 4), (5,), (), (2, 3, 2, 2), (0, 7), (1, 6))
    found = parts(shapes)
    assert [(part.rows, part.columns) for part in found] == [
        (3, 4),
        (5, 1),
        (1, 1),
        (2, 12),
        (1, 6),
    ]
    assert [part.is_matrix for part in found] == [True, False, False, True, False]
    assert [part.where.start for part in found] == [0, 12, 17, 18, 42]
    assert size(shapes) == found[-1].where.stop == 48
    vector = np.arange(48.0)
    np.testing.assert_array_equal(found[3].of(vector), vector[18:42].reshape(2, 12))
    assert found[3].of(vector).base is vector
    with pytest.raises(ValueError, match=r"shapes hold 48 values, got a vector of shape \(47,\)"):
        check_length(vector[1:], shapes)
    with pytest.raises(ValueError, match=r"shapes must be those of tensors, got \(3, -1\)"):
        parts([(3, -1)])


@given(n=st.integers(1, 30), m=st.integers(1, 30), rank=st.integers(1, 8))
def test_a_matrix_is_compressed_where_that_is_fewer_values(n, m, rank):
    part = Part(slice(0, n * m), n, m)
    assert pays(part, rank) == (rank * (n + m) < n * m)
    if pays(part, rank):
        assert part.is_matrix
        assert rank < min(n, m)


@given(
    seed=st.integers(0, 99),
    n=st.integers(4, 40),
    rank=st.integers(0, 4),
    dtype=st.sampled_from([np.float32, np.float64]),
    scale=st.sampled_from([1e-20, 1.0, 1e20]),
)
def test_columns_become_orthonormal_and_span_what_they_did(seed, n, rank, dtype, scale):
    rng = np.random.default_rng(seed)
    P = (rng.standard_normal((n, rank)) @ rng.standard_normal((rank, 4)) * scale).astype(dtype)
    basis = orthonormal(P.copy())
    assert basis.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=tolerance)
    np.testing.assert_allclose(basis @ (basis.T @ P), P, atol=tolerance * scale * 10)


def test_a_step_is_exact_for_a_matrix_of_that_rank_or_less():
    rng = np.random.default_rng(0)
    for true_rank in range(4):
        M = rng.standard_normal((12, true_rank)) @ rng.standard_normal((true_rank, 9))
        P = orthonormal(M @ rng.standard_normal((9, 3)))
        low = np.empty((12, 9))
        product(P, M.T @ P, out=low)
        np.testing.assert_allclose(low, M, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_product_is_that_of_both(rank):
    rng = np.random.default_rng(1)
    P, Q = rng.standard_normal((7, rank)), rng.standard_normal((6, rank))
    out = np.empty((7, 6))
    product(P, Q, out=out)
    np.testing.assert_allclose(out, P @ Q.T, atol=1e-14)


def test_the_power_method_finds_the_largest_singular_vectors():
    rng = np.random.default_rng(2)
    U, _, Vt = np.linalg.svd(rng.standard_normal((20, 15)))
    M = U[:, :15] * 0.7 ** np.arange(15) @ Vt
    best = U[:, :2] * 0.7 ** np.arange(2) @ Vt[:2]
    Q, errors = rng.standard_normal((15, 2)), []
    for _ in range(30):
        P = orthonormal(M @ Q)
        Q = M.T @ P
        errors.append(np.linalg.norm(P @ Q.T - best))
    assert errors[0] > 0.1
    assert errors[-1] < 1e-4


def test_only_columns_that_are_zero_are_drawn_again():
    Q = np.zeros((5, 3), np.float32)
    Q[:, 1] = before = np.arange(5)
    draw_empty(Q, np.random.default_rng(0))
    np.testing.assert_array_equal(Q[:, 1], before)
    assert np.all(Q[:, [0, 2]] != 0)
    again = Q.copy()
    draw_empty(Q, np.random.default_rng(1))
    np.testing.assert_array_equal(Q, again)
