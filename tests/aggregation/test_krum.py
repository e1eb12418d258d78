"""Krum chooses as brute force with exact arithmetic does, near the origin and far from it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ddml_kit.aggregation import bulyan, krum, multi_krum, one_more, squared_distances
from ddml_kit.aggregation import distances as module
from ddml_kit.aggregation.distances import Distances


def exactly(x):
    """Squared distances as fractions."""
    rows = [[Fraction(float(value)) for value in row] for row in x]
    return [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in rows] for p in rows]


def scored(distances, left, count):
    return {i: sum(sorted(distances[i][j] for j in left if j != i)[:count]) for i in left}


def chosen(x, f, count=None, distances=None, root=False):
    """The number of the gradient that the paper's definition selects; of ties the lowest vector."""
    distances = exactly(x) if distances is None else distances
    if root:
        distances = np.sqrt(np.array(distances, float))
    n = len(x)
    scores = scored(distances, range(n), n - f - 2 if count is None else count)
    return min(scores, key=lambda i: (scores[i], x[i].tolist()))


def far_away(n, d, seed, norm=316.0, spread=1e-3):
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal(d)
    centre *= norm / np.linalg.norm(centre)
    return (centre + spread * rng.standard_normal((n, d)) / np.sqrt(d)).astype(np.float32)


# ------------------------------------------------------------------------------ exact choice


@pytest.mark.parametrize("seed", range(150))
def test_krum_is_brute_force_with_fractions(seed):
    rng = np.random.default_rng(seed)
    f = int(rng.integers(0, 4))
    n, d = 2 * f + 3 + int(rng.integers(0, 4)), int(rng.integers(1, 12))
    x = rng.standard_normal((n, d)).astype(np.float32)
    np.testing.assert_array_equal(krum(x, f), x[chosen(x, f)])


@pytest.mark.parametrize("seed", range(60))
def test_far_from_the_origin_too(seed):
    x = far_away(11, 30, seed)
    assert np.linalg.norm(x[0]) == pytest.approx(316, rel=1e-3)
    np.testing.assert_array_equal(krum(x, 3), x[chosen(x, 3)])
    np.testing.assert_array_equal(krum(torch.from_numpy(x), 3).numpy(), x[chosen(x, 3)])


def test_where_the_naive_product_in_float32_chooses_wrongly():
    wrong = 0
    for seed in range(20):
        x = far_away(11, 2000, seed)
        d = x.astype(np.longdouble)
        true = ((d[:, None] - d) ** 2).sum(axis=2)
        np.testing.assert_array_equal(krum(x, 3), x[chosen(x, 3, distances=true)])
        squares = (x**2).sum(axis=1)
        naive = squares[:, None] + squares - 2 * x @ x.T
        wrong += chosen(x, 3, distances=naive) != chosen(x, 3, distances=true)
    assert wrong > 10


@pytest.mark.parametrize("liar", [0, 5])
@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1e15])
def test_liars_at_any_distance_and_gradients_of_any_size(liar, scale):
    for seed in range(20):
        x = (scale * np.random.default_rng(seed).standard_normal((11, 40))).astype(np.float32)
        x[liar] = 1e20 * scale
        np.testing.assert_array_equal(krum(x, 2), x[chosen(x, 2)])


@pytest.mark.parametrize("reference", [0, 3, 10])
def test_a_bad_guess_of_what_lies_in_the_midst_is_slow_and_not_wrong(reference, monkeypatch):
    for seed in range(20):
        x = far_away(11, 30, seed).astype(np.float64)
        x[[0, 10]] = 1e12
        wanted = x[chosen(x, 3)]
        monkeypatch.setattr(module, "central", lambda rows: reference)
        np.testing.assert_array_equal(krum(x, 3), wanted)


def test_a_liar_does_not_become_the_reference():
    x = far_away(11, 500, 0)
    x[[0, 4]] *= 1e6
    assert module.central(x) not in (0, 4)


@given(x=arrays.arrays(np.float64, (7, 2), elements=st.integers(-2, 2).map(float)))
def test_of_equal_scores_the_lowest_vector_is_chosen(x):
    np.testing.assert_array_equal(krum(x, 1), x[chosen(x, 1)])
    np.testing.assert_array_equal(krum(x[::-1], 1), krum(x, 1))


@pytest.mark.parametrize("seed", range(60))
def test_where_scores_nearly_tie_the_chosen_ones_is_the_least_but_for_the_last_bits(seed):
    """In tenths, which float64 has not, others than with fractions are chosen now and then."""
    x = 0.1 * np.random.default_rng(seed).integers(-3, 4, (7, 2))
    scores = scored(exactly(x), range(7), 4)
    [ours] = {scores[i] for i in range(7) if np.array_equal(x[i], krum(x, 1))}
    assert ours <= min(scores.values()) * (1 + Fraction(1e-15))


# ------------------------------------------------------------------- neighbouring definitions


def test_the_published_variants_choose_differently():
    differs = {"one more": 0, "unsquared": 0}
    for seed in range(100):
        x = np.random.default_rng(seed).standard_normal((11, 3))
        ours = krum(x, 3)
        byzfl = krum(x, 3, neighbours=one_more)
        garfield = krum(x, 3, neighbours=one_more, squared=False)
        np.testing.assert_array_equal(byzfl, x[chosen(x, 3, count=7)])
        np.testing.assert_array_equal(garfield, x[chosen(x, 3, count=7, root=True)])
        differs["one more"] += not np.array_equal(ours, byzfl)
        differs["unsquared"] += not np.array_equal(byzfl, garfield)
    assert min(differs.values()) > 3, differs


def test_neighbours_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="a gradient has 1 to 4 neighbours, got 5 that count"):
        krum(np.eye(5), 1, neighbours=lambda n, f: n)


# ---------------------------------------------------------------------------------- multi-Krum


@given(seed=st.integers(0, 200), f=st.integers(0, 3))
def test_multi_krum_with_one_is_krum(seed, f):
    x = np.random.default_rng(seed).standard_normal((2 * f + 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(multi_krum(x, f, m=1), krum(x, f), strict=True)


@pytest.mark.parametrize("m", [1, 2, 5, 8, 11, None])
def test_multi_krum_is_the_mean_of_the_m_best(m):
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((11, 4))
        scores = scored(exactly(x), range(11), 6)
        best = sorted(scores, key=scores.__getitem__)[: 11 - 3 if m is None else m]
        np.testing.assert_allclose(multi_krum(x, 3, m=m), x[best].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("m", [0, -1, 12])
def test_multi_krum_refuses_more_than_there_are(m):
    with pytest.raises(ValueError, match=f"m must be from 1 to the 11 .*, got {m}"):
        multi_krum(np.eye(11), 3, m=m)


# -------------------------------------------------------------------------------------- Bulyan


def by_hand(x, f, update=True):
    n = len(x)
    distances = exactly(x)
    left, selected = list(range(n)), []
    scores = scored(distances, left, n - f - 2)
    while len(selected) < n - 2 * f:
        if update:
            scores = scored(distances, left, max(1, len(left) - f - 2))
        best = min(left, key=lambda i: (scores[i], x[i].tolist()))
        left.remove(best)
        selected.append(best)
    chosen = x[selected]
    middle = np.median(chosen, axis=0)
    nearest = np.argsort(np.abs(chosen - middle), axis=0, kind="stable")[: n - 4 * f]
    return np.take_along_axis(chosen, nearest, axis=0).mean(axis=0)


def test_bulyan_updates_its_scores():
    differs = 0
    for seed in range(60):
        x = np.random.default_rng(seed).standard_normal((11, 3))
        got = bulyan(x, 2)
        np.testing.assert_allclose(got, by_hand(x, 2), atol=1e-12)
        differs += not np.allclose(got, by_hand(x, 2, update=False))
    assert differs > 10


def test_bulyan_of_nobody_is_the_mean():
    x = np.random.default_rng(0).standard_normal((5, 9))
    np.testing.assert_allclose(bulyan(x, 0), x.mean(axis=0), atol=1e-12)


def test_bulyan_bounds_each_coordinate_where_krum_takes_the_liar():
    """A liar in the honest gradients' mean, but for one coordinate (El Mhamdi et al., sec. 3)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((11, 10_000))
    x[9:] = x[:9].mean(axis=0)
    x[9:, 0] = 30
    assert krum(x, 2)[0] == 30
    assert abs(bulyan(x, 2)[0]) < 3


# ----------------------------------------------------------------------------------- distances


@given(seed=st.integers(0, 100), n=st.integers(1, 12), d=st.sampled_from([1, 7, 511, 512, 1025]))
def test_squared_distances_are_right_and_symmetric(seed, n, d):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) * 10.0 ** rng.integers(-3, 3, (n, 1)) + 100).astype("f4")
    x[n // 2] = x[0]
    x[n // 3] = np.nextafter(x[0], 1)
    wide = x.astype(np.longdouble)
    wanted = ((wide[:, None] - wide) ** 2).sum(axis=2).astype(float)
    np.testing.assert_allclose(squared_distances(x), wanted, rtol=2e-9, atol=0)
    np.testing.assert_array_equal(squared_distances(x), squared_distances(x).T)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_bounds_hold_the_true_distance(dtype):
    for seed in range(30):
        x = far_away(8, 1500, seed).astype(dtype)
        x[3] *= 1e3
        wide = x.astype(np.longdouble)
        true = ((wide[:, None] - wide) ** 2).sum(axis=2)
        bounds = Distances(x)
        assert (bounds.low <= true).all()
        assert (true <= bounds.high).all()
        assert (bounds.high - bounds.low <= 1e-10 * (1e6 * 316**2)).all()
