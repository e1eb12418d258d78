"""Centred clipping and norm clipping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddml_kit.aggregation import CentredClipping, centred_clipping, mean, norm_clipping


def paper(x, v, radius, steps):
    """Karimireddy et al. 2021, algorithm 2."""
    for _ in range(steps):
        v = v + np.mean([(g - v) * min(1, radius / np.linalg.norm(g - v)) for g in x], axis=0)
    return v


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("radius", [0.1, 3.0, 100.0])
def test_centred_clipping_is_the_papers(steps, radius):
    rng = np.random.default_rng(0)
    x, start = rng.standard_normal((9, 1100)) + 5, rng.standard_normal(1100)
    for given in (start, torch.from_numpy(start)):
        got = centred_clipping(x, 2, radius=radius, steps=steps, start=given)
        np.testing.assert_allclose(got, paper(x, start, radius, steps), atol=1e-12)


def test_a_radius_beyond_all_is_the_mean_and_a_start_stays_as_it_was():
    x = np.random.default_rng(0).standard_normal((9, 30))
    start = np.ones(30)
    np.testing.assert_allclose(centred_clipping(x, 1, radius=1e6, start=start), mean(x), atol=1e-12)
    np.testing.assert_array_equal(start, np.ones(30))


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_with_history_it_starts_from_the_last_result(kind):
    rule, start = CentredClipping(radius=0.5, steps=2), np.zeros(4)
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal((9, 4)) + 5
        start = paper(x, start, 0.5, 2)
        got = rule(kind(x), 2)
        np.testing.assert_allclose(got, start, atol=1e-12)
        got += 100  # the caller's own
    with pytest.raises(ValueError, match="at most f gradients may lie, got 1"):
        rule(np.full((1, 4), np.nan), 0)
    with pytest.raises(ValueError, match=r"start must be finite and of shape \(5,\), got \(4,\)"):
        rule(np.ones((9, 5)), 2)
    np.testing.assert_allclose(rule(kind(x), 2), paper(x, start, 0.5, 2), atol=1e-12)


def test_history_reaches_what_the_origin_never_does():
    """From the origin no result is further than the radius times the steps."""
    x = np.full((5, 3), 10.0)
    rule = CentredClipping(radius=1.0)
    results = [rule(x, 1) for _ in range(20)]
    np.testing.assert_allclose(results[-1], x[0])
    assert np.linalg.norm(centred_clipping(x, 1, radius=1.0)) == pytest.approx(1)


def test_a_gradient_that_is_the_start_does_not_divide_by_zero():
    x = np.zeros((5, 3))
    x[0] = 4
    np.testing.assert_allclose(centred_clipping(x, 1, radius=1), x[0] / np.linalg.norm(x[0]) / 5)


def test_liars_move_it_by_their_share_of_the_radius():
    x = np.zeros((10, 4))
    x[9] = 1e30
    assert np.linalg.norm(centred_clipping(x, 1, radius=2.0)) == pytest.approx(2.0 / 10)
    assert np.linalg.norm(norm_clipping(x, 1, radius=2.0)) == pytest.approx(2.0 / 10)


def test_norm_clipping_shortens_what_is_longer():
    x = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(norm_clipping(x, 1, radius=1.0), [0.3, 0.4])


@pytest.mark.parametrize("radius", [0, -1.0, float("nan"), float("inf")])
def test_a_radius_that_is_none_is_refused(radius):
    for rule in (centred_clipping, norm_clipping):
        with pytest.raises(ValueError, match=f"radius must be positive and finite, got {radius}"):
            rule(np.eye(3), 1, radius=radius)


def test_other_bad_settings_are_refused():
    with pytest.raises(ValueError, match="steps must be 1 or more, got 0"):
        centred_clipping(np.eye(3), 1, radius=1, steps=0)
    with pytest.raises(ValueError, match=r"start must be finite and of shape \(3,\), got \(2,\)"):
        centred_clipping(np.eye(3), 1, radius=1, start=np.zeros(2))
    with pytest.raises(ValueError, match="start must be finite"):
        centred_clipping(np.eye(3), 1, radius=1, start=np.full(3, np.nan))
