"""The geometric median to 1e-6: its gradient vanishes, or a gradient that is there holds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from ddml_kit.aggregation import geometric_median
from ddml_kit.aggregation.geometric_median import median_weights, residual


def total(x, z):
    return np.linalg.norm(x - z, axis=1).sum()


def excess(x, z):
    """By how much the unit vectors from z outweigh the gradients at z: at most 0 at the median."""
    differences = np.asarray(x - z, np.longdouble)
    distances = np.sqrt((differences**2).sum(axis=1))
    there = distances <= 1e-9 * (np.median(distances) + np.abs(z).max())
    units = differences[~there] / distances[~there, None]
    return float(np.sqrt((units.sum(axis=0) ** 2).sum())) - there.sum()


def plain(rng, n, d):
    return rng.standard_normal((n, d))


def on_a_grid(rng, n, d):
    return rng.integers(-2, 3, (n, d)).astype(float)


def with_liars_far_away(rng, n, d):
    x = rng.standard_normal((n, d))
    x[: n // 3] *= 10.0 ** rng.choice([2, 5, 9, 18, 35])
    return x


def with_liars_that_agree(rng, n, d):
    x = rng.standard_normal((n, d))
    x[: (n - 1) // 2] = 5
    return x


def on_a_line(rng, n, d):
    return np.outer(rng.standard_normal(n), rng.standard_normal(d)) + 1


def nearly_on_a_line(rng, n, d):
    return on_a_line(rng, n, d) + 1e-3 * rng.standard_normal((n, d))


def half_on_one(rng, n, d):
    x = rng.standard_normal((n, d))
    x[n // 2 :] = x[0]
    return x


SHAPES = [
    plain,
    on_a_grid,
    with_liars_far_away,
    with_liars_that_agree,
    on_a_line,
    nearly_on_a_line,
    half_on_one,
]


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 15), d=st.integers(1, 20))
def test_it_is_where_the_gradient_vanishes(shape, seed, n, d):
    x = shape(np.random.default_rng(seed), n, d)
    assert excess(x, geometric_median(x)) <= 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_it_is_within_1e_6_of_a_general_minimiser(seed):
    x = np.random.default_rng(seed).standard_normal((9, 4)) * 3 + 7
    wanted = minimize(
        lambda z: total(x, z),
        x.mean(axis=0),
        jac=lambda z: -((x - z) / np.linalg.norm(x - z, axis=1)[:, None]).sum(axis=0),
        method="BFGS",
        options={"gtol": 1e-10},
    ).x
    np.testing.assert_allclose(geometric_median(x), wanted, atol=1e-6)


def test_where_byzfl_returns_3_79_it_is_4():
    """Of 5 on a line the third; 3 steps of Weiszfeld's from the origin don't get there."""
    x = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
    assert geometric_median(x)[0] == 4


def test_of_three_corners_it_is_fermats_point():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    np.testing.assert_allclose(geometric_median(x), x.mean(axis=0), atol=1e-12)
    wide = np.array([[0.0, 0.0], [1.0, 0.1], [-1.0, 0.1]])  # an angle of more than 120 degrees
    np.testing.assert_array_equal(geometric_median(wide), wide[0])


def test_weiszfelds_trap_a_start_on_a_gradient():
    """The mean is one of the gradients, where the weights are infinite, and not the median."""
    x = np.array([[-2.0, 0.0], [0.0, 0.0], [-1.0, 3.0], [3.0, -3.0], [0.0, 0.0]])
    x[1] = x[[0, 2, 3, 4]].mean(axis=0)
    z = geometric_median(x)
    assert excess(x, z) <= 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_far_from_the_origin_it_is_as_exact(seed):
    """In float64, where nothing is lost on input, a shift shifts the median."""
    x = np.random.default_rng(seed).integers(-1000, 1000, (9, 30)) / 2.0**10
    near, far = geometric_median(x), geometric_median(x + 2.0**20)
    np.testing.assert_allclose(far - 2.0**20, near, atol=1e-9)


def test_many_gradients_in_few_dimensions_and_few_in_many():
    rng = np.random.default_rng(0)
    for n, d in ((200, 2), (100, 30), (5, 3000), (25, 1200)):
        x = rng.standard_normal((n, d))
        assert excess(x, geometric_median(x)) <= 1e-6


def test_float32_is_rounded_only_in_the_end():
    x = np.random.default_rng(0).standard_normal((9, 50)).astype(np.float32)
    wanted = geometric_median(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(geometric_median(x), wanted)
    np.testing.assert_array_equal(geometric_median(torch.from_numpy(x)).numpy(), wanted)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-30, 1e-6, 1e6, 1e30]))
def test_it_turns_and_grows_with_the_gradients(seed, scale):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8, 5))
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    z = geometric_median(x)
    np.testing.assert_allclose(
        geometric_median(scale * x @ turn), scale * z @ turn, atol=1e-6 * scale
    )


@given(seed=st.integers(0, 1000), push=st.floats(0, 1))
def test_the_residual_proves_how_close_the_sum_is_to_the_least(seed, push):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((9, 4))
    best = geometric_median(x)
    z = best + 0.3 * push * rng.standard_normal(4)
    differences = x - z
    r = residual(differences / np.linalg.norm(differences, axis=1)[:, None])
    assert total(x, z) <= total(x, best) * (1 + r) / (1 - r) * (1 + 1e-12)


@pytest.mark.parametrize(("n", "d"), [(3, 5), (4, 2), (5, 3), (7, 2)])
@pytest.mark.parametrize("far", [1e9, 1e18, 1e35])
def test_a_gradient_that_is_the_median_is_found_beside_a_liar_however_far(n, d, far):
    """In few dimensions one often is; beside the liar's distance those of the honest are lost."""
    for seed in range(60):
        x = np.random.default_rng(seed).standard_normal((n, d))
        x[0] *= far
        assert excess(x, geometric_median(x, 1)) <= 1e-6
    x = np.float32([[1e20, -1e20], [1.7, 0.7], [-1.6, -0.0], [-0.6, 0.1]])
    np.testing.assert_array_equal(geometric_median(x, 1), x[3])


@pytest.mark.parametrize("tolerance", [0, -1, 1e-10, 0.5, float("nan")])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(
        ValueError, match=f"tolerance must be from 1e-9 to below 0.5, got {tolerance}"
    ):
        geometric_median(np.eye(3), tolerance=tolerance)


def test_weights_are_a_mean():
    weights = median_weights(np.random.default_rng(0).standard_normal((7, 3)), 1e-6)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_half_that_lie_minus_one_cannot_move_it_far():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((11, 6))
    moved = []
    for distance in (1e2, 1e5, 1e12):
        x[6:] = distance
        moved.append(np.linalg.norm(geometric_median(x, 5)))
    assert max(moved) < 10
    assert moved[2] == pytest.approx(moved[1], rel=1e-3)
