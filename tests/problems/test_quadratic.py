"""Quadratics beside what can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from ddml_kit.problems import LeastSquares, Quadratic


def test_one_component_by_hand() -> None:
    problem = Quadratic(np.diag([2.0, 4.0]), np.array([2.0, 0.0]))
    batch = next(problem.batches(None, 1, 1))
    np.testing.assert_array_equal(problem.gradient(np.array([3.0, 1.0]), batch), [4.0, 4.0])
    assert problem.loss(np.array([3.0, 1.0])) == 9 + 2 - 6
    assert problem.loss(np.array([1.0, 0.0])) == -1  # the minimum
    assert np.isnan(problem.accuracy(problem.initial()))
    assert problem.seconds(batch) == 8e-9


def test_components_are_averaged() -> None:
    A = np.array([[[1.0]], [[3.0]]])
    problem = Quadratic(A, np.array([[0.0], [4.0]]))
    both = next(problem.batches(None, 2, 1))
    np.testing.assert_array_equal(problem.gradient(np.array([1.0]), both), [0.0])
    second = problem.shard(1, 2)
    assert len(second) == 1
    np.testing.assert_array_equal(
        second.gradient(np.array([1.0]), next(second.batches(None, 1, 1))), [-1.0]
    )


def test_least_squares_has_ridges_minimum() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    w = Ridge(alpha=30 * 0.2, fit_intercept=False).fit(x, y).coef_
    problem = LeastSquares(x, y, l2=0.2)
    gradient = problem.gradient(w, next(problem.batches(None, 30, 1)))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    assert problem.loss(w) == pytest.approx(np.mean((x @ w - y) ** 2) / 2 + 0.1 * w @ w)


def test_single_precision_stays_single() -> None:
    problem = LeastSquares(np.ones((3, 2)), np.ones(3), l2=0.1, dtype=np.float32)
    gradient = problem.gradient(problem.initial(), next(problem.batches(None, 2, 1)))
    assert problem.initial().dtype == gradient.dtype == np.float32


def test_what_they_refuse() -> None:
    with pytest.raises(ValueError, match=r"A \(n, d, d\) and b \(n, d\), got A \(1, 2, 3\)"):
        Quadratic(np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="symmetric matrices"):
        Quadratic(np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones(2))
    with pytest.raises(ValueError, match=r"x \(n, features\) and y \(n,\), got \(3,\)"):
        LeastSquares(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="l2 must be 0 or more, got -2"):
        LeastSquares(np.ones((3, 1)), np.ones(3), l2=-2)
