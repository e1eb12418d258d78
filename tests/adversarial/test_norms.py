"""Balls: their nearest points, alone and together with bounds, steepest steps, draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from ddml_kit.adversarial import clipped, l1, l2, linf, sparse_l1

NORMS = {"linf": linf, "l2": l2, "l1": l1}
every_norm = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
numbers = st.floats(-3, 3, width=32)
rows = st.integers(1, 6).flatmap(lambda d: arrays(np.float32, (3, d), elements=numbers))
radii = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5])


@st.composite
def crowded(draw):
    """Moves, and how far each coordinate may go down and up; some not at all, some without end."""
    v = draw(rows)
    ends = st.sampled_from([0.0, 0.05, 0.3, 1.0, np.inf])
    low, high = (draw(arrays(np.float32, v.shape, elements=ends)) for _ in range(2))
    return torch.from_numpy(v), torch.from_numpy(-low), torch.from_numpy(high)


@every_norm
@given(v=rows, eps=radii)
def test_a_projection_lands_in_the_ball_and_stays(norm, v, eps):
    v = torch.from_numpy(v)
    once = norm.project(v, eps)
    assert norm.length(once.double()).max() <= eps + 1e-6
    torch.testing.assert_close(norm.project(once, eps), once, rtol=0, atol=1e-6)
    inside = norm.length(v) <= eps
    torch.testing.assert_close(once[inside], v[inside], rtol=0, atol=1e-6)
    assert (once * v >= 0).all()


@every_norm
@given(case=crowded(), eps=radii)
def test_a_projection_within_bounds_lands_in_both_and_stays(norm, case, eps):
    v, low, high = case
    for tried in (norm, clipped(norm)):
        once = tried.within(v, eps, low, high)
        assert norm.length(once.double()).max() <= eps + 1e-6
        assert ((once >= low) & (once <= high)).all()
        torch.testing.assert_close(tried.within(once, eps, low, high), once, rtol=0, atol=1e-6)


@every_norm
@given(v=rows, eps=radii)
def test_without_bounds_both_projections_are_the_same(norm, v, eps):
    v = torch.from_numpy(v)
    far = torch.full_like(v, torch.inf)
    torch.testing.assert_close(
        norm.within(v, eps, -far, far), norm.project(v, eps), rtol=0, atol=1e-6
    )


@every_norm
@given(case=crowded(), eps=radii, seed=st.integers(0, 2**32 - 1))
def test_no_point_of_ball_and_bounds_is_nearer(norm, case, eps, seed):
    """z is the nearest to v in a convex set if and only if (v - z)(a - z) <= 0 for all a in it."""
    v, low, high = (part.double() for part in case)
    z = norm.within(v, eps, low, high)
    rng = np.random.default_rng(seed)
    drawn = norm.draw(rng, 60, v.shape[1]) * eps
    for i, others in enumerate(drawn.reshape(3, 20, -1)):
        corners = np.concatenate([others, np.eye(v.shape[1]) * eps, -np.eye(v.shape[1]) * eps])
        points = np.clip(corners, low[i].numpy(), high[i].numpy())  # nearer 0: still in the ball
        assert ((points - z[i].numpy()) @ (v - z)[i].numpy()).max() <= 1e-9


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("name", ["l2", "l1"])
def test_projections_are_scipys(name, bounded):
    norm = NORMS[name]
    rng = np.random.default_rng(3)
    for _ in range(8):
        v = rng.normal(size=5)
        room = rng.uniform(0.05, 0.6, 5) if bounded else np.full(5, np.inf)
        eps = 0.8
        if norm is l2:
            inside = {"type": "ineq", "fun": lambda z, eps=eps: eps**2 - z @ z}
        else:  # z has the signs of v, so its length is linear there
            inside = {"type": "ineq", "fun": lambda z, v=v, eps=eps: eps - np.sign(v) @ z}
        box = [(0.0, r) if sign > 0 else (-r, 0.0) for r, sign in zip(room, v, strict=True)]
        found = minimize(
            lambda z, v=v: 0.5 * (z - v) @ (z - v),
            np.zeros(5),
            jac=lambda z, v=v: z - v,
            bounds=box,
            constraints=[inside],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        far = torch.from_numpy(room)[None]
        mine = norm.within(torch.from_numpy(v)[None], eps, -far, far)[0].numpy()
        np.testing.assert_allclose(mine, found.x, atol=2e-6)


def test_the_l1_projection_is_the_best_over_all_supports():
    """On the coordinates that stay, all give up as much; the best such choice, tried one by one."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        v, eps = rng.normal(size=4), 0.7
        candidates = [np.zeros(4)]
        for size in range(1, 5):
            for kept in map(list, itertools.combinations(range(4), size)):
                z = np.zeros(4)
                theta = (np.abs(v[kept]).sum() - eps) / size
                z[kept] = np.sign(v[kept]) * (np.abs(v[kept]) - theta)
                if np.abs(z).sum() <= eps + 1e-12:
                    candidates.append(z)
        best = min(candidates, key=lambda z: np.sum((z - v) ** 2))
        np.testing.assert_allclose(l1.project(torch.from_numpy(v)[None], eps)[0], best, atol=1e-12)


def test_projecting_and_then_clipping_is_not_the_nearest_point():
    v, room = torch.tensor([[2.0, 2.0]]), torch.tensor([[0.1, 9.0]])
    for norm, nearest in ((l2, [0.1, 0.99**0.5]), (l1, [0.1, 0.9])):
        torch.testing.assert_close(norm.within(v, 1.0, -room, room)[0], torch.tensor(nearest))
        assert clipped(norm).within(v, 1.0, -room, room)[0, 1] < nearest[1] - 0.1


def test_a_long_image_in_float32_is_within_the_ball():
    v = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3072)).astype(np.float32))
    room = torch.full_like(v, 0.4)
    for norm, eps in ((l2, 3.0), (l1, 20.0)):
        for z in (norm.project(v, eps), norm.within(v, eps, -room, room)):
            lengths = norm.length(z.double())
            assert (lengths - eps).abs().max() <= 1e-5
            assert lengths.max() <= eps * (1 + 1e-6)


@every_norm
@given(gradient=rows)
def test_a_steepest_step_has_length_one_and_climbs(norm, gradient):
    g = torch.from_numpy(gradient)
    at = torch.full_like(g, 0.5)
    step = norm.steepest(g, at, (0.0, 1.0)).double()
    there = g.abs().amax(dim=1) > 0
    torch.testing.assert_close(norm.length(step[there]), torch.ones(3).double()[there])
    assert (step[~there] == 0).all()
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm.name]
    climbed = (step * g).sum(dim=1)
    torch.testing.assert_close(climbed, torch.linalg.vector_norm(g.double(), dual, dim=1))


def test_the_direction_of_a_tiny_gradient_is_kept():
    step = l2.steepest(torch.tensor([[3e-30, 4e-30]]), torch.zeros(1, 2), (0.0, 1.0))
    torch.testing.assert_close(step, torch.tensor([[0.6, 0.8]]))


def test_a_sparse_step_takes_the_steepest_that_have_room():
    gradient = torch.tensor([[9.0, -8.0, 3.0, -2.0, 1.0, 0.0]])
    at = torch.tensor([[1.0, 0.0, 0.5, 0.5, 0.5, 0.5]])  # the first two are at their bounds
    step = sparse_l1(1 / 3).steepest(gradient, at, (0.0, 1.0))
    assert step.tolist() == [[0.0, 0.0, 0.5, -0.5, 0.0, 0.0]]
    assert (sparse_l1(1.0).steepest(gradient, at, (0.0, 1.0)) != 0).sum() == 3
    with pytest.raises(
        ValueError, match="share of the coordinates is above 0 and at most 1, got 0"
    ):
        sparse_l1(0)


@every_norm
def test_draws_are_uniform_in_the_ball(norm):
    """Of a uniform point in a ball of d dimensions, the length to the power of d is uniform."""
    rng = np.random.default_rng(0)
    lengths = norm.length(torch.from_numpy(norm.draw(rng, 4000, 3))).numpy()
    assert lengths.max() <= 1
    for share in (0.1, 0.3, 0.5, 0.8):
        assert np.mean(lengths**3 < share) == pytest.approx(share, abs=0.03)
    drawn = norm.draw(rng, 4000, 3)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.04)
